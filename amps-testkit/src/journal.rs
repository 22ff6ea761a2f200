//! The journal: what happened on a server, in order.
//!
//! Owns the recorded entries, bounded by a cap, and the waiting for them. The loop's thread
//! appends, any thread reads; waiting uses a condition variable and never polls.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amps_protocol::{CommandKind, Message};
use amps_transport::{ConnId, Time};

use crate::engine::{Disconnect, Event, Noted, Observe};
use crate::expect::{Expected, Times, Unmet};
use crate::fault::Firing;
use crate::matcher::Matcher;

mod json;
mod query;
pub use query::{JournalQuery, LintFinding, OutOfOrder, Unwanted};

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalMode {
    /// Nothing.
    Off,
    /// Connections, and what clients send except publishes.
    #[default]
    Commands,
    /// Every frame, in both directions.
    All,
}

impl JournalMode {
    pub(crate) const fn observe(self) -> Observe {
        match self {
            Self::Off => Observe::Nothing,
            Self::Commands => Observe::Commands,
            Self::All => Observe::All,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts all entries of the server, from 0; entries that were dropped leave a gap.
    pub sequence: u64,
    /// The server's time.
    pub time: Time,
    /// The number of the connection, from 0 in the order of arrival.
    pub connection: u64,
    /// The name of the client, once it has logged on.
    pub client: Option<Arc<str>>,
    /// What happened.
    pub what: What,
}

/// What an entry tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// A client connected.
    Accepted,
    /// A client logged on.
    LoggedOn,
    /// A client sent a frame.
    Received(Message),
    /// The server sent a frame.
    Sent(Message),
    /// The connection ended.
    Closed(Disconnect),
    /// A scripted fault fired. If it concerns no connection, the entry names the first one.
    Fault(Firing),
    /// Something a client should perhaps not have done.
    Noted(Noted),
}

impl Entry {
    /// The frame that the client sent, if this is one.
    pub const fn received(&self) -> Option<&Message> {
        match &self.what {
            What::Received(message) => Some(message),
            _ => None,
        }
    }

    /// The frame that the server sent, if this is one.
    pub const fn sent(&self) -> Option<&Message> {
        match &self.what {
            What::Sent(message) => Some(message),
            _ => None,
        }
    }

    /// Whether the client sent this command.
    pub fn is_command(&self, command: CommandKind) -> bool {
        self.received().is_some_and(|message| message.command() == command)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?} conn {}", self.sequence, self.time, self.connection)?;
        if let Some(client) = &self.client {
            write!(f, " ({client})")?;
        }
        match &self.what {
            What::Accepted => f.write_str(": connected"),
            What::LoggedOn => f.write_str(": logged on"),
            What::Received(message) => write!(f, " C> {message:?}"),
            What::Sent(message) => write!(f, " S> {message:?}"),
            What::Closed(reason) => write!(f, ": closed, {reason}"),
            What::Fault(firing) => write!(f, ": {firing}"),
            What::Noted(noted) => write!(f, ": note: {noted}"),
        }
    }
}

/// What was waited for did not come in time.
#[derive(Debug)]
pub struct WaitTimeout {
    wanted: usize,
    found: Vec<Entry>,
    seen: Vec<Entry>,
    waited: Duration,
}

impl WaitTimeout {
    /// The entries that did match.
    pub fn found(&self) -> &[Entry] {
        &self.found
    }
}

impl std::error::Error for WaitTimeout {}

impl fmt::Display for WaitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} awaited journal entries after {:?}; the last {} entries were:",
            self.found.len(),
            self.wanted,
            self.waited,
            self.seen.len()
        )?;
        for entry in &self.seen {
            write!(f, "\n  {entry}")?;
        }
        Ok(())
    }
}

/// Entries that an error of [`Journal::wait_for`] shows.
const SHOWN: usize = 30;

#[derive(Debug)]
pub(crate) struct Journal {
    records: Mutex<Records>,
    changed: Condvar,
    cap: usize,
}

#[derive(Debug, Default)]
struct Records {
    entries: VecDeque<Entry>,
    next: u64,
    dropped: u64,
    /// Number and client name of the connections that live.
    connections: BTreeMap<ConnId, (u64, Option<Arc<str>>)>,
    expected: Vec<Expected>,
    /// Commands that nobody expected, if that is not allowed.
    unexpected: Option<Vec<Entry>>,
}

impl Journal {
    pub(crate) fn new(cap: usize) -> Self {
        Self { records: Mutex::default(), changed: Condvar::new(), cap }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Nothing panics under this lock, so a poisoned one is still sound.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, events: Vec<(Time, Event)>) {
        if events.is_empty() {
            return;
        }
        let mut records = self.lock();
        for (time, event) in events {
            records.append(time, event, self.cap);
        }
        drop(records);
        self.changed.notify_all();
    }

    /// Counts such frames from now on; returns where.
    pub(crate) fn expect(&self, matcher: Matcher) -> usize {
        let mut records = self.lock();
        let since = records.next;
        records.expected.push(Expected { matcher, times: Times::AtLeast(1), seen: 0, since });
        records.expected.len() - 1
    }

    pub(crate) fn set_times(&self, index: usize, times: Times) {
        if let Some(expected) = self.lock().expected.get_mut(index) {
            expected.times = times;
        }
    }

    pub(crate) fn expect_nothing_else(&self) {
        self.lock().unexpected.get_or_insert_default();
    }

    /// Whether everything expected has come, and nothing else is to be told.
    pub(crate) fn verify(&self, findings: Vec<LintFinding>) -> Result<(), Unmet> {
        let records = self.lock();
        let entries: Vec<Entry> = records.entries.iter().cloned().collect();
        let (expected, unexpected) = (records.expected.clone(), records.unexpected.clone());
        drop(records);
        Unmet::judge(&expected, unexpected.unwrap_or_default(), &entries, findings)
    }

    /// Forgets everything, expectations included; the next entry is the first.
    pub(crate) fn clear(&self) {
        *self.lock() = Records::default();
        self.changed.notify_all();
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    /// What `write` makes of the last entries, the newest first, and how many entries there are. Nobody can
    /// append meanwhile: it should not take long.
    pub(crate) fn last<T>(&self, most: usize, write: impl Fn(&Entry) -> T) -> (Vec<T>, usize) {
        let records = self.lock();
        (records.entries.iter().rev().take(most).map(write).collect(), records.entries.len())
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(crate) fn wait_for(
        &self,
        wanted: impl Fn(&Entry) -> bool,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Entry>, WaitTimeout> {
        let deadline = Instant::now() + timeout;
        let mut found: Vec<Entry> = Vec::new();
        let mut looked_at = 0;
        let mut records = self.lock();
        loop {
            if records.next < looked_at {
                // It was cleared.
                looked_at = 0;
            }
            let skipped = records.entries.partition_point(|entry| entry.sequence < looked_at);
            found.extend(records.entries.range(skipped..).filter(|entry| wanted(entry)).cloned());
            looked_at = records.next;
            if found.len() >= count {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let from = records.entries.len().saturating_sub(SHOWN);
                let seen = records.entries.range(from..).cloned().collect();
                return Err(WaitTimeout { wanted: count, found, seen, waited: timeout });
            }
            records = self.changed.wait_timeout(records, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Records {
    fn append(&mut self, time: Time, event: Event, cap: usize) {
        let (conn, what) = match event {
            Event::Accepted { conn, index, .. } => {
                self.connections.insert(conn, (index, None));
                (conn, What::Accepted)
            }
            Event::LoggedOn { conn, client } => {
                if let Some((_, name)) = self.connections.get_mut(&conn) {
                    *name = Some(client);
                }
                (conn, What::LoggedOn)
            }
            Event::Received { conn, message } => (conn, What::Received(message)),
            Event::Sent { conn, message } => (conn, What::Sent(message)),
            Event::Closed { conn, reason } => (conn, What::Closed(reason)),
            Event::Fault { conn, firing } => (conn, What::Fault(firing)),
            Event::Noted { conn, noted } => (conn, What::Noted(noted)),
        };
        let (connection, client) = self.connections.get(&conn).cloned().unwrap_or_default();
        if matches!(what, What::Closed(_)) {
            self.connections.remove(&conn);
        }
        if self.entries.len() >= cap {
            self.entries.pop_front();
            self.dropped += 1;
        }
        let entry = Entry { sequence: self.next, time, connection, client, what };
        if let What::Received(message) = &entry.what {
            self.count_expected(&entry, message.command());
        }
        self.entries.push_back(entry);
        self.next += 1;
    }

    fn count_expected(&mut self, entry: &Entry, command: CommandKind) {
        let mut wanted = matches!(command, CommandKind::Logon | CommandKind::Heartbeat);
        for expected in &mut self.expected {
            if expected.matcher.matches(entry) {
                expected.seen += 1;
                wanted = true;
            }
        }
        if let Some(unexpected) = self.unexpected.as_mut().filter(|all| !wanted && all.len() < SHOWN) {
            unexpected.push(entry.clone());
        }
    }
}
