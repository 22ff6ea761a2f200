//! What a configuration file is told: where, which element, what, and what to write instead.

use std::fmt;

/// How bad a [`Finding`] is, from the least to the most.
///
/// ```
/// use amps_testkit::FindingKind;
///
/// assert_eq!(FindingKind::NotSupported.severity(), "warning");
/// assert!(FindingKind::Ignored < FindingKind::Error);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// Known, and without effect that a client could see; nothing has to be done.
    Ignored,
    /// Known, and with an effect that the server does not have: tests that rely on it fail.
    NotSupported,
    /// An element that AMPS does not know, as far as we do. An error if the reader is strict.
    Unknown,
    /// The file cannot be used.
    Error,
}

impl FindingKind {
    /// `note`, `warning` or `error`.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Ignored => "note",
            Self::NotSupported | Self::Unknown => "warning",
            Self::Error => "error",
        }
    }
}

/// One remark on a configuration file.
///
/// ```
/// use amps_testkit::{ConfigFile, FindingKind};
///
/// let file = ConfigFile::parse("amps.xml", "<AMPSConfig>\n<Name>a</Name>\n<Admin/>\n</AMPSConfig>")?;
/// let finding = &file.findings()[0];
/// assert_eq!(finding.kind, FindingKind::Ignored);
/// assert_eq!(finding.to_string(), "amps.xml:3: Admin: ignored");
/// # Ok::<(), amps_testkit::ConfigFileError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// The element; empty if it concerns the whole file.
    pub element: String,
    /// What is to be said, on one line.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.element.is_empty() {
            write!(f, ": {}", self.element)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// A configuration file that cannot be used.
///
/// ```
/// use amps_testkit::ConfigFile;
///
/// let error = ConfigFile::parse("amps.xml", "<AMPSConfig/>").unwrap_err();
/// assert_eq!(error.to_string(), "amps.xml:1: AMPSConfig: Name is missing; add <Name>...</Name>");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFileError {
    findings: Vec<Finding>,
}

impl ConfigFileError {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// Everything that was found until then, in the order of the lines; at least one is an
    /// error.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl std::error::Error for ConfigFileError {}

/// The errors, one a line.
impl fmt::Display for ConfigFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.findings.iter().filter(|finding| finding.kind == FindingKind::Error);
        for (number, finding) in errors.enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}
