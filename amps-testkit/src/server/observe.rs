//! The handle's questions to the journal, and what a test expects.

use std::io::{self, Write};
use std::time::Duration;

use super::FakeServer;
use crate::expect::{Expectation, Unmet};
use crate::journal::{Entry, JournalQuery, LintFinding, OutOfOrder, Unwanted, WaitTimeout};
use crate::matcher::Matcher;
use crate::shell::{Note, Script};

/// How long [`FakeServer::verify`] waits for the server to come to rest.
const SETTLE: Duration = Duration::from_secs(5);

impl FakeServer {
    /// The recorded frames that a matcher means: what clients sent, or with [`Matcher::sent`] what
    /// the server sent. How much is recorded says [`FakeServerBuilder::journal`]; publishes only
    /// if everything is.
    ///
    /// [`FakeServerBuilder::journal`]: crate::FakeServerBuilder::journal
    pub fn commands(&self, matcher: &Matcher) -> Vec<Entry> {
        self.journal().commands(matcher)
    }

    /// How many recorded frames a matcher means.
    pub fn count(&self, matcher: &Matcher) -> usize {
        self.journal().count(matcher)
    }

    /// The last recorded frame that a matcher means.
    pub fn last(&self, matcher: &Matcher) -> Option<Entry> {
        self.journal().last_of(matcher)
    }

    /// As [`wait_for`](Self::wait_for), for the frames that a matcher means.
    ///
    /// # Errors
    /// They did not come within `timeout` of real time.
    pub fn wait_for_commands(
        &self,
        matcher: &Matcher,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Entry>, WaitTimeout> {
        self.wait_for(|entry| matcher.matches(entry), count, timeout)
    }

    /// Whether such frames were recorded, each after the one before.
    ///
    /// # Errors
    /// The first one that is missing.
    pub fn in_order(&self, matchers: &[Matcher]) -> Result<(), OutOfOrder> {
        self.journal().in_order(matchers)
    }

    /// Whether no such frame was recorded so far.
    ///
    /// # Errors
    /// The first one.
    pub fn never(&self, matcher: &Matcher) -> Result<(), Unwanted> {
        self.journal().never(matcher)
    }

    /// What clients should perhaps not have done, as far as the journal goes back.
    pub fn lint(&self) -> Vec<LintFinding> {
        self.journal().lint()
    }

    /// Expects such a frame of a client from now on, once or more unless the expectation is told
    /// otherwise; [`verify`](Self::verify) says whether it came. From now on the journal has every
    /// frame.
    pub fn expect(&self, matcher: Matcher) -> Expectation<'_> {
        self.ask(|done| Note::Script(Script::ObserveAll(done)));
        Expectation::new(&self.journal, self.journal.expect(matcher))
    }

    /// From now on every command that no expectation means makes [`verify`](Self::verify) fail;
    /// logons and heartbeats excepted.
    pub fn expect_nothing_else(&self) {
        self.ask(|done| Note::Script(Script::ObserveAll(done)));
        self.journal.expect_nothing_else();
    }

    /// What `write` makes of the last entries of the journal, the newest first, and how many entries there are.
    pub(crate) fn last_entries<T>(&self, most: usize, write: impl Fn(&Entry) -> T) -> (Vec<T>, usize) {
        self.journal.last(most, write)
    }

    /// Whether everything that was expected has come, of what clients have sent before this call;
    /// on a [strict](crate::FakeServerBuilder::strict) server, whether they broke no rule, too.
    ///
    /// # Errors
    /// What did not come or should not have, with what came instead.
    pub fn verify(&self) -> Result<(), Unmet> {
        // One that does not come to rest is judged as it is.
        let _busy = self.settle(SETTLE);
        let mut findings = if self.rules.strict { self.lint() } else { Vec::new() };
        findings.retain(|finding| finding.kind.is_violation());
        self.journal.verify(findings)
    }

    /// Writes the journal as JSON, one entry a line; see [`Entry::to_json`].
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().start()?;
    /// let mut lines = Vec::new();
    /// server.journal_json_lines(&mut lines)?;
    /// assert!(lines.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What the writer says.
    pub fn journal_json_lines(&self, mut writer: impl Write) -> io::Result<()> {
        self.journal().iter().try_for_each(|entry| writeln!(writer, "{}", entry.to_json()))
    }

    /// Writes the frames of the journal as a packet capture, for tools that show such, and to be
    /// [played](crate::Capture::play) again. The packets around the frames are made up. It is whole with
    /// [`JournalMode::All`](crate::JournalMode::All) only, and frames are as they were sent: with their
    /// passwords.
    ///
    /// # Errors
    /// What the writer says.
    pub fn journal_pcap(&self, mut writer: impl Write) -> io::Result<()> {
        crate::capture::write(&mut writer, &self.journal())
    }
}
