//! Versions of servers: `5.2.1.17.717892.e742467`.

use core::fmt;
use core::str::FromStr;

use nom::Parser;
use nom::character::complete::{char, u32 as number};
use nom::sequence::preceded;

/// The version of a server, of which the first four numbers count (protocol.md 12.2).
///
/// ```
/// use amps_protocol::ServerVersion;
///
/// let version: ServerVersion = "5.2.1.17.717892.e742467".parse()?;
/// assert_eq!(version, ServerVersion::new(5, 2, 1, 17));
/// assert!(version < "5.3".parse()?);
/// assert_eq!(version.to_string(), "5.2.1.17");
/// # Ok::<(), amps_protocol::ServerVersionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion([u32; 4]);

/// A text that does not begin with a version number.
///
/// ```
/// use amps_protocol::ServerVersion;
/// assert!("develop".parse::<ServerVersion>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a server version such as 5.3.5.0 at byte {offset}")]
pub struct ServerVersionError {
    /// Where in the text, counted from 0.
    pub offset: usize,
}

impl ServerVersion {
    /// A version of four numbers.
    pub const fn new(major: u32, minor: u32, maintenance: u32, hotfix: u32) -> Self {
        Self([major, minor, maintenance, hotfix])
    }

    /// The four numbers.
    pub const fn numbers(self) -> [u32; 4] {
        self.0
    }

    /// Reads up to four dotted numbers; missing ones are 0, and what follows is ignored.
    ///
    /// # Errors
    /// The text does not begin with a number of 32 bits.
    pub fn parse(text: &[u8]) -> Result<Self, ServerVersionError> {
        let blanks = text.len() - text.trim_ascii_start().len();
        let (mut rest, major) =
            number::<_, ()>(text.trim_ascii_start()).map_err(|_| ServerVersionError { offset: blanks })?;
        let mut version = Self::new(major, 0, 0, 0);
        for part in version.0.iter_mut().skip(1) {
            let Ok((after, value)) = preceded(char('.'), number::<_, ()>).parse(rest) else { break };
            (rest, *part) = (after, value);
        }
        Ok(version)
    }
}

impl FromStr for ServerVersion {
    type Err = ServerVersionError;

    fn from_str(text: &str) -> Result<Self, ServerVersionError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, maintenance, hotfix] = self.0;
        write!(f, "{major}.{minor}.{maintenance}.{hotfix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn short_and_long_versions_are_read() {
        for (text, version) in [
            ("5.3.5.0", ServerVersion::new(5, 3, 5, 0)),
            (" 5", ServerVersion::new(5, 0, 0, 0)),
            ("5.3-rc1", ServerVersion::new(5, 3, 0, 0)),
            ("5.3.x.7", ServerVersion::new(5, 3, 0, 0)),
            ("4.0.0.0.1", ServerVersion::new(4, 0, 0, 0)),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for (text, offset) in [("", 0), (" v5", 1), ("99999999999.1", 0)] {
            assert_eq!(text.parse::<ServerVersion>(), Err(ServerVersionError { offset }), "{text}");
        }
    }

    #[test]
    fn a_version_prints_its_four_numbers() {
        let version: ServerVersion = "5.3.x".parse().unwrap();
        assert_eq!(version.numbers(), [5, 3, 0, 0]);
        assert_eq!(version.to_string(), "5.3.0.0");
        assert_eq!(version.to_string().parse(), Ok(version));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<ServerVersion>().unwrap();
        assert!(version("5.10.0.0") > version("5.9.9.9"));
        assert_eq!(version("5.2.1.17.1"), version("5.2.1.17.2"));
    }
}
