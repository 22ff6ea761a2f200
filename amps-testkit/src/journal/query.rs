//! Questions to the journal.
//!
//! Owns what can be asked of a list of entries, wherever it came from.

use std::fmt;
use std::sync::Arc;

use amps_transport::Time;

use super::{Entry, What};
use crate::engine::Lint;
use crate::matcher::Matcher;

/// Questions to a list of [`Entry`]; `FakeServer` answers the same ones.
///
/// ```
/// use amps_testkit::{FakeServer, JournalQuery, Matcher};
///
/// let server = FakeServer::builder().start()?;
/// let entries = server.journal();
/// assert_eq!(entries.count(&Matcher::any()), 0);
/// assert!(entries.never(&Matcher::any().topic("orders")).is_ok());
/// assert!(entries.in_order(&[Matcher::any()]).is_err());
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
pub trait JournalQuery {
    /// The frames that a matcher means.
    fn commands(&self, matcher: &Matcher) -> Vec<Entry>;

    /// How many they are.
    fn count(&self, matcher: &Matcher) -> usize;

    /// The last of them.
    fn last_of(&self, matcher: &Matcher) -> Option<Entry>;

    /// Whether there are such frames, each after the one before; others may lie between them.
    ///
    /// # Errors
    /// The first one that is missing.
    fn in_order(&self, matchers: &[Matcher]) -> Result<(), OutOfOrder>;

    /// Whether there is no such frame.
    ///
    /// # Errors
    /// The first one.
    fn never(&self, matcher: &Matcher) -> Result<(), Unwanted>;

    /// What clients should perhaps not have done.
    fn lint(&self) -> Vec<LintFinding>;
}

impl JournalQuery for [Entry] {
    fn commands(&self, matcher: &Matcher) -> Vec<Entry> {
        self.iter().filter(|entry| matcher.matches(entry)).cloned().collect()
    }

    fn count(&self, matcher: &Matcher) -> usize {
        self.iter().filter(|entry| matcher.matches(entry)).count()
    }

    fn last_of(&self, matcher: &Matcher) -> Option<Entry> {
        self.iter().rev().find(|entry| matcher.matches(entry)).cloned()
    }

    fn in_order(&self, matchers: &[Matcher]) -> Result<(), OutOfOrder> {
        let mut entries = self.iter();
        let mut after = None;
        for (place, matcher) in matchers.iter().enumerate() {
            match entries.find(|entry| matcher.matches(entry)) {
                Some(entry) => after = Some(entry.clone()),
                None => {
                    return Err(OutOfOrder {
                        place,
                        missing: Box::new(matcher.clone()),
                        after: after.map(Box::new),
                    });
                }
            }
        }
        Ok(())
    }

    fn never(&self, matcher: &Matcher) -> Result<(), Unwanted> {
        match self.iter().find(|entry| matcher.matches(entry)) {
            Some(entry) => {
                Err(Unwanted { matcher: Box::new(matcher.clone()), entry: Box::new(entry.clone()) })
            }
            None => Ok(()),
        }
    }

    fn lint(&self) -> Vec<LintFinding> {
        let finding = |entry: &Entry| match &entry.what {
            What::Noted(noted) => Some(LintFinding {
                kind: noted.kind,
                text: noted.text.clone(),
                sequence: entry.sequence,
                time: entry.time,
                connection: entry.connection,
                client: entry.client.clone(),
            }),
            _ => None,
        };
        self.iter().filter_map(finding).collect()
    }
}

/// Frames did not come in the order that was asked for.
///
/// ```
/// use amps_testkit::{FakeServer, Matcher};
///
/// let server = FakeServer::builder().start()?;
/// let error = server.in_order(&[Matcher::any().topic("T")]).unwrap_err();
/// assert_eq!(error.place(), 0);
/// assert_eq!(error.to_string(), "number 1 did not come: any frame with topic \"T\"");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct OutOfOrder {
    place: usize,
    missing: Box<Matcher>,
    after: Option<Box<Entry>>,
}

impl OutOfOrder {
    /// Which of the frames asked for is missing, counted from 0.
    pub const fn place(&self) -> usize {
        self.place
    }
}

impl std::error::Error for OutOfOrder {}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {} did not come: {}", self.place + 1, self.missing)?;
        self.after.as_ref().map_or(Ok(()), |after| write!(f, "\n  after {after}"))
    }
}

/// A frame came that should not.
///
/// ```
/// use amps_testkit::{FakeServer, Matcher, Unwanted};
///
/// fn check(server: &FakeServer) -> Result<(), Unwanted> {
///     server.never(&Matcher::any().topic("secret"))
/// }
/// assert!(check(&FakeServer::builder().start()?).is_ok());
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct Unwanted {
    matcher: Box<Matcher>,
    entry: Box<Entry>,
}

impl Unwanted {
    /// The frame.
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl std::error::Error for Unwanted {}

impl fmt::Display for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} came although it should not:\n  {}", self.matcher, self.entry)
    }
}

/// Something that a client should perhaps not have done.
///
/// ```
/// use amps_testkit::FakeServer;
///
/// let server = FakeServer::builder().start()?;
/// let violations = server.lint().into_iter().filter(|finding| finding.kind.is_violation());
/// assert_eq!(violations.count(), 0);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintFinding {
    /// The kind.
    pub kind: Lint,
    /// The case.
    pub text: String,
    /// The number of the journal's entry.
    pub sequence: u64,
    /// The server's time.
    pub time: Time,
    /// The number of the connection; 0 as well if the case is of no client.
    pub connection: u64,
    /// The name of the client.
    pub client: Option<Arc<str>>,
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kind.is_of_a_client() {
            return write!(f, "#{}: {}: {}", self.sequence, self.kind, self.text);
        }
        let client = self.client.as_deref().unwrap_or("not logged on");
        write!(f, "#{} conn {} ({client}): {}: {}", self.sequence, self.connection, self.kind, self.text)
    }
}
