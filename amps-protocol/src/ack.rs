//! Kinds of acknowledgement, sets of them, and their status.

use core::fmt;

/// One kind of acknowledgement.
///
/// ```
/// assert_eq!(amps_protocol::AckType::Persisted.token(), "persisted");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AckType {
    /// The command arrived.
    Received = 1,
    /// Known to AMPS, supported by no command today.
    Parsed = 2,
    /// Accepted or refused: the filter compiled, the subscription registered.
    Processed = 4,
    /// Durable here and on synchronous replicas.
    Persisted = 8,
    /// The query, the replay or the operation is over.
    Completed = 16,
    /// Counters.
    Stats = 32,
}

impl AckType {
    const ALL: [Self; 6] =
        [Self::Received, Self::Parsed, Self::Processed, Self::Persisted, Self::Completed, Self::Stats];

    /// The word on the wire.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Parsed => "parsed",
            Self::Processed => "processed",
            Self::Persisted => "persisted",
            Self::Completed => "completed",
            Self::Stats => "stats",
        }
    }

    fn from_token(token: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|ack| ack.token().as_bytes() == token)
    }
}

/// A set of acknowledgements, as a command asks for them.
///
/// ```
/// use amps_protocol::{AckType, AckTypes};
///
/// let asked = AckTypes::parse(b"persisted, processed,unheard-of");
/// assert!(asked.contains(AckType::Processed));
/// assert_eq!(asked.to_string(), "processed,persisted");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AckTypes(u8);

impl AckTypes {
    /// No acknowledgement.
    pub const NONE: Self = Self(0);

    /// Reads a comma list; unknown names are skipped.
    #[inline]
    pub fn parse(list: &[u8]) -> Self {
        // What nearly every acknowledgement says.
        if list == b"processed" {
            return AckType::Processed.into();
        }
        list.split(|&byte| byte == b',')
            .filter_map(|token| AckType::from_token(token.trim_ascii()))
            .fold(Self::NONE, Self::with)
    }

    /// This set and `ack`.
    #[must_use]
    pub const fn with(self, ack: AckType) -> Self {
        Self(self.0 | ack as u8)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `ack` is in the set.
    pub const fn contains(self, ack: AckType) -> bool {
        self.0 & ack as u8 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order in which they are written.
    pub fn iter(self) -> impl Iterator<Item = AckType> {
        AckType::ALL.into_iter().filter(move |&ack| self.contains(ack))
    }
}

impl From<AckType> for AckTypes {
    fn from(ack: AckType) -> Self {
        Self(ack as u8)
    }
}

impl fmt::Display for AckTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, ack) in self.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            f.write_str(ack.token())?;
        }
        Ok(())
    }
}

impl fmt::Debug for AckTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckTypes({self})")
    }
}

/// The status of an acknowledgement.
///
/// ```
/// use amps_protocol::Status;
///
/// assert_eq!(Status::from_token(b"Failure"), Status::Failure);
/// assert_eq!(Status::from_token(b"timed out"), Status::Other);
/// assert!(Status::Success.is_success() && !Status::Other.is_success());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done.
    Success,
    /// Refused; the reason says why.
    Failure,
    /// Logon only: a challenge, to be answered by another logon.
    Retry,
    /// Any other word, such as the `stopped`, `alive`, `timed out` and `error` of legacy
    /// client monitoring: treated as a failure, in a logon as a challenge (protocol.md 5.5).
    /// The header keeps the word.
    Other,
}

impl Status {
    /// Reads the word on the wire, in any case.
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"success" => Self::Success,
            _ if token.eq_ignore_ascii_case(b"success") => Self::Success,
            _ if token.eq_ignore_ascii_case(b"failure") => Self::Failure,
            _ if token.eq_ignore_ascii_case(b"retry") => Self::Retry,
            _ => Self::Other,
        }
    }

    /// Whether the command was done. Everything else is a failure, or a challenge.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success)
    }

    /// The word on the wire; the empty string for [`Status::Other`].
    pub const fn token(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Retry => "retry",
            Self::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    #[test]
    fn a_set_prints_in_the_order_of_the_protocol_and_reads_back() {
        for (list, printed) in [
            ("", ""),
            ("processed", "processed"),
            ("stats, completed,processed,processed", "processed,completed,stats"),
            ("persisted,unheard-of,", "persisted"),
        ] {
            let set = AckTypes::parse(list.as_bytes());
            assert_eq!(format!("{set}"), printed);
            assert_eq!(format!("{set:?}"), format!("AckTypes({printed})"));
            assert_eq!(AckTypes::parse(printed.as_bytes()), set);
            assert_eq!(set.is_empty(), printed.is_empty());
        }
    }

    #[test]
    fn sets_are_united() {
        let both = AckTypes::from(AckType::Processed).union(AckType::Stats.into());
        assert_eq!(both.iter().collect::<Vec<_>>(), [AckType::Processed, AckType::Stats]);
        assert_eq!(both.union(AckTypes::NONE), both);
    }

    #[test]
    fn a_status_is_read_in_any_case_and_only_success_is_one() {
        for status in [Status::Success, Status::Failure, Status::Retry] {
            assert_eq!(Status::from_token(status.token().as_bytes()), status);
            assert_eq!(Status::from_token(status.token().to_ascii_uppercase().as_bytes()), status);
            assert_eq!(status.is_success(), status == Status::Success);
        }
        assert_eq!(Status::from_token(b"timed out"), Status::Other);
        assert_eq!((Status::Other.token(), Status::Other.is_success()), ("", false));
    }
}
