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

use crate::engine::{Disconnect, Event, Observe};

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
    /// Something a client should perhaps not have done.
    Noted(String),
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
            What::Noted(note) => write!(f, ": note: {note}"),
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

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
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
            Event::Noted { conn, note } => (conn, What::Noted(note)),
        };
        let (connection, client) = self.connections.get(&conn).cloned().unwrap_or_default();
        if matches!(what, What::Closed(_)) {
            self.connections.remove(&conn);
        }
        if self.entries.len() >= cap {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(Entry { sequence: self.next, time, connection, client, what });
        self.next += 1;
    }
}
