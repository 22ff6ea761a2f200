//! What a test expects of the clients, and how it is told what came instead.
//!
//! Owns the counts, which go on while the server runs, and the report. It asks the journal for
//! frames that come close; it records none.

use std::fmt;

use crate::journal::{Entry, Journal, LintFinding};
use crate::matcher::{Discrepancy, Matcher};

/// An expectation that a server has; how often the frame is to come can still be said.
///
/// ```
/// use amps_protocol::CommandKind;
/// use amps_testkit::{FakeServer, Matcher};
///
/// let server = FakeServer::builder().start()?;
/// server.expect(Matcher::command(CommandKind::Publish).topic("T")).times(2);
/// server.expect(Matcher::command(CommandKind::SowDelete)).never();
/// let unmet = server.verify().unwrap_err();
/// assert_eq!(
///     unmet.to_string(),
///     "1 expectation is not met:\n  p with topic \"T\": expected 2, received 0: 2 short\n    nothing like it was received"
/// );
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct Expectation<'s> {
    journal: &'s Journal,
    index: usize,
}

impl<'s> Expectation<'s> {
    pub(crate) const fn new(journal: &'s Journal, index: usize) -> Self {
        Self { journal, index }
    }

    /// Exactly so often. Without any call it is [`at_least`](Self::at_least) once.
    pub fn times(self, count: u64) {
        self.journal.set_times(self.index, Times::Exactly(count));
    }

    /// So often, or more.
    pub fn at_least(self, count: u64) {
        self.journal.set_times(self.index, Times::AtLeast(count));
    }

    /// Not at all.
    pub fn never(self) {
        self.times(0);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Exactly(u64),
    AtLeast(u64),
}

/// An expectation, and how often it was met.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) matcher: Matcher,
    pub(crate) times: Times,
    pub(crate) seen: u64,
    /// The first entry that counts.
    pub(crate) since: u64,
}

impl Expected {
    const fn is_met(&self) -> bool {
        match self.times {
            Times::Exactly(count) => self.seen == count,
            Times::AtLeast(count) => self.seen >= count,
        }
    }
}

/// What was expected and did not happen, or happened and should not.
///
/// Its `Display` shows for each expectation what was expected and received, and the frames that
/// come closest, with what is different in them.
///
/// ```
/// use amps_testkit::{FakeServer, Matcher};
///
/// let server = FakeServer::builder().start()?;
/// server.expect(Matcher::any().topic("T"));
/// let unmet = server.verify().unwrap_err();
/// assert!(unmet.to_string().contains("any frame with topic \"T\": expected 1 or more, received 0"));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct Unmet {
    shortfalls: Vec<Shortfall>,
    unexpected: Vec<Entry>,
    findings: Vec<LintFinding>,
}

#[derive(Debug)]
struct Shortfall {
    expected: Expected,
    closest: Vec<(Entry, Vec<Discrepancy>)>,
}

/// The most frames that are shown for one expectation.
const CLOSEST: usize = 3;

impl Unmet {
    /// `Err` if there is anything to tell.
    pub(crate) fn judge(
        expected: &[Expected],
        unexpected: Vec<Entry>,
        entries: &[Entry],
        findings: Vec<LintFinding>,
    ) -> Result<(), Self> {
        let unmet = expected.iter().filter(|expected| !expected.is_met());
        let shortfalls: Vec<Shortfall> = unmet.map(|expected| Shortfall::of(expected, entries)).collect();
        if shortfalls.is_empty() && unexpected.is_empty() && findings.is_empty() {
            return Ok(());
        }
        Err(Self { shortfalls, unexpected, findings })
    }

    /// The commands that nobody expected, if that is not allowed.
    pub fn unexpected(&self) -> &[Entry] {
        &self.unexpected
    }

    /// What clients should not have done, on a strict server.
    pub fn findings(&self) -> &[LintFinding] {
        &self.findings
    }
}

impl Shortfall {
    fn of(expected: &Expected, entries: &[Entry]) -> Self {
        let since = entries.iter().filter(|entry| entry.sequence >= expected.since);
        let differences = |entry: &Entry| Some((entry.clone(), expected.matcher.differences_of(entry)?));
        let mut closest: Vec<_> = since.filter_map(differences).collect();
        // Of equals the latest first: it is what the test did last.
        closest.reverse();
        let distance = |differences: &[Discrepancy]| {
            (differences.iter().any(|difference| difference.what == "command"), differences.len())
        };
        closest.sort_by_key(|(_, differences)| distance(differences));
        closest.truncate(CLOSEST);
        Self { expected: expected.clone(), closest }
    }
}

impl std::error::Error for Unmet {}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        if !self.shortfalls.is_empty() {
            let count = self.shortfalls.len();
            let are = if count == 1 { "expectation is" } else { "expectations are" };
            let shortfalls: Vec<String> = self.shortfalls.iter().map(ToString::to_string).collect();
            parts.push(format!("{count} {are} not met:\n{}", shortfalls.join("\n")));
        }
        if !self.unexpected.is_empty() {
            let entries: Vec<String> = self.unexpected.iter().map(|entry| format!("\n  {entry}")).collect();
            parts.push(format!("nobody expected:{}", entries.concat()));
        }
        if !self.findings.is_empty() {
            let findings: Vec<String> =
                self.findings.iter().map(|finding| format!("\n  {finding}")).collect();
            parts.push(format!("clients broke rules:{}", findings.concat()));
        }
        f.write_str(&parts.join("\n"))
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected { matcher, times, seen, .. } = &self.expected;
        write!(f, "  {matcher}: expected ")?;
        let wanted = match *times {
            Times::Exactly(count) => {
                write!(f, "{count}, received {seen}")?;
                count
            }
            Times::AtLeast(count) => {
                write!(f, "{count} or more, received {seen}")?;
                count
            }
        };
        match seen.checked_sub(wanted) {
            None => write!(f, ": {} short", wanted - seen)?,
            Some(more) => write!(f, ": {more} too many")?,
        }
        if let Err(error) = matcher.check() {
            write!(f, "\n    nothing can match: {error}")?;
        }
        if self.closest.is_empty() {
            return f.write_str("\n    nothing like it was received");
        }
        f.write_str("\n    the closest of what was received:")?;
        for (entry, differences) in &self.closest {
            write!(f, "\n      {entry}")?;
            for difference in differences {
                write!(f, "\n        {difference}")?;
            }
            if differences.is_empty() {
                f.write_str("\n        this is one")?;
            }
        }
        Ok(())
    }
}
