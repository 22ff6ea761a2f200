//! Describing a server before it starts.
//!
//! Owns the defaults of [`FakeServer`] and the reading of listen addresses.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::{
    Authentication, Config, ConflatedTopicConfig, Engine, LogTopics, QueueConfig, Reasons, SowConfig,
    Switches, ViewConfig,
};
use crate::journal::JournalMode;
use crate::server::{FakeServer, StartError};

/// Entries that a journal keeps by default.
const JOURNAL_CAP: usize = 100_000;

/// Describes a [`FakeServer`]; everything has a default.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `start` is called"]
pub struct FakeServerBuilder {
    config: Config,
    log: Option<Vec<String>>,
    listen: Vec<String>,
    virtual_clock: bool,
    journal: JournalMode,
    journal_cap: usize,
    data_dir: Option<PathBuf>,
}

impl Default for FakeServerBuilder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            log: None,
            listen: Vec::new(),
            virtual_clock: false,
            journal: JournalMode::default(),
            journal_cap: JOURNAL_CAP,
            data_dir: None,
        }
    }
}

impl FakeServerBuilder {
    /// Adds a topic with a state of the world.
    pub fn sow(mut self, topic: SowConfig) -> Self {
        self.config.sow.push(topic);
        self
    }

    /// Adds a view: a topic whose records are computed from those of another.
    pub fn view(mut self, view: ViewConfig) -> Self {
        self.config.views.push(view);
        self
    }

    /// Adds a conflated topic: a copy of another topic that changes less often.
    pub fn conflated_topic(mut self, topic: ConflatedTopicConfig) -> Self {
        self.config.conflated_topics.push(topic);
        self
    }

    /// Adds a queue.
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.config.queues.push(queue);
        self
    }

    /// Gives topics a transaction log: a name, or a regular expression. Repeatable. Without
    /// any call, every topic has one.
    pub fn txlog(mut self, topics: impl Into<String>) -> Self {
        self.log.get_or_insert_default().push(topics.into());
        self.config.log = LogTopics::Matching(Vec::new());
        self
    }

    /// No transaction log at all. Then there can be no queues, and client names need not be
    /// unique.
    pub fn no_txlog(mut self) -> Self {
        self.log = None;
        self.config.log = LogTopics::None;
        self
    }

    /// How long a message takes from the transaction log to the disk. Until then it is not
    /// persisted. Default 0.
    pub fn txlog_flush_interval(mut self, interval: Duration) -> Self {
        self.config.log_flush_interval = interval;
        self
    }

    /// Keeps the transaction log in a file in this directory, which is made if need be, and
    /// begins with what the file holds: messages with their bookmarks, the sequence number of
    /// each publisher, the logged state of the world, and queue messages that were not
    /// acknowledged. Default: a server that ends forgets everything.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Listens on an address: `127.0.0.1:0`, `tcp://127.0.0.1:9007/amps`, or with a message
    /// type that the listener is bound to, `tcp://127.0.0.1:0/amps/json`. Repeatable.
    /// Default: a free port of 127.0.0.1, any message type.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Time stands still, at 2026-01-01T00:00:00Z (or, with a [`data_dir`](Self::data_dir), at
    /// the last entry of the log, if that is later), until [`FakeServer::advance`] moves it.
    pub fn virtual_clock(mut self) -> Self {
        self.virtual_clock = true;
        self
    }

    /// Refuses every logon, with this reason.
    pub fn refuse_logon(mut self, reason: impl Into<String>) -> Self {
        self.config.authentication = Authentication::Refuse(reason.into());
        self
    }

    /// Lets in this user with this password, and nobody who is not named by such a call.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        if !matches!(self.config.authentication, Authentication::Passwords(_)) {
            self.config.authentication = Authentication::Passwords(BTreeMap::new());
        }
        if let Authentication::Passwords(passwords) = &mut self.config.authentication {
            passwords.insert(user.into(), password.into());
        }
        self
    }

    /// How long `persisted` acks are gathered. Default 1 s.
    pub fn ack_conflation(mut self, interval: Duration) -> Self {
        self.config.ack_conflation = interval;
        self
    }

    /// Whether topics with regular expression characters are patterns. Default `true`.
    pub fn regex_topics(mut self, on: bool) -> Self {
        self.config.regex_topics = on;
        self
    }

    /// The longest frame that a client may send, in bytes. Default 200 MiB.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.config.max_frame = bytes;
        self
    }

    /// Answers to questions that the documentation leaves open.
    pub fn switches(mut self, switches: Switches) -> Self {
        self.config.switches = switches;
        self
    }

    /// The texts of refusals.
    pub fn reasons(mut self, reasons: Reasons) -> Self {
        self.config.reasons = reasons;
        self
    }

    /// How much is recorded. Default [`JournalMode::Commands`].
    pub fn journal(mut self, mode: JournalMode) -> Self {
        self.journal = mode;
        self
    }

    /// The most entries that the journal keeps; older ones are dropped, and counted.
    /// Default 100,000.
    pub fn journal_cap(mut self, entries: usize) -> Self {
        self.journal_cap = entries.max(1);
        self
    }

    /// The engine that the server would run, for tests without sockets. It keeps nothing in
    /// files.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn engine(self) -> Result<Engine, StartError> {
        let mut config = self.config;
        if let Some(topics) = self.log {
            config.log = LogTopics::Matching(topics);
        }
        Ok(Engine::new(config)?)
    }

    /// Starts the server. When this returns, clients can connect.
    ///
    /// # Errors
    /// The configuration contradicts itself, an address cannot be bound, or the log's file
    /// cannot be used.
    pub fn start(mut self) -> Result<FakeServer, StartError> {
        if self.listen.is_empty() {
            self.listen.push("127.0.0.1:0".to_owned());
        }
        let listen = self.listen.iter().map(|text| Listen::parse(text)).collect::<Result<_, _>>()?;
        let (clock, journal, cap) = (self.virtual_clock, self.journal, self.journal_cap);
        let data_dir = self.data_dir.take();
        FakeServer::start(self.engine()?, listen, clock, (journal, cap), data_dir.as_deref())
    }
}

/// Where to listen, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) addr: SocketAddr,
    pub(crate) message_type: Option<String>,
}

impl Listen {
    fn parse(text: &str) -> Result<Self, StartError> {
        let wrong = |fault| StartError::Address { text: text.to_owned(), fault };
        let rest = match text.split_once("://") {
            Some(("tcp", rest)) => rest,
            Some(_) => return Err(wrong("only tcp is supported")),
            None => text,
        };
        let (addr, path) = rest.split_once('/').unwrap_or((rest, "amps"));
        let message_type = match path.split_once('/') {
            None if path == "amps" => None,
            Some(("amps", message_type)) if !message_type.is_empty() => Some(message_type.to_owned()),
            _ => return Err(wrong("the path has to be /amps or /amps/MESSAGE-TYPE")),
        };
        let resolved = addr.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        let addr = resolved.ok_or_else(|| wrong("expected HOST:PORT"))?;
        Ok(Self { addr, message_type })
    }
}
