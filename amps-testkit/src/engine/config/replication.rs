//! The configuration of replication (server.md 7).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Whether a publisher's `persisted` ack waits for a destination (HA-03).
///
/// ```
/// use amps_testkit::SyncMode;
///
/// assert_eq!(SyncMode::default(), SyncMode::Sync);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Until the destination has the message.
    #[default]
    Sync,
    /// It does not.
    Async,
}

/// Another instance that gets what is logged here.
///
/// ```
/// use amps_testkit::{DestinationConfig, FakeServer, SyncMode};
///
/// let server = FakeServer::builder()
///     .instance("A")
///     .replicate_to(DestinationConfig::new("B").address("127.0.0.1:10004").mode(SyncMode::Async))
///     .start()?;
/// assert_eq!(server.links()[0].destination, "B");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationConfig {
    pub(crate) name: String,
    pub(crate) group: Option<String>,
    pub(crate) mode: SyncMode,
    pub(crate) addresses: Vec<String>,
    pub(crate) topics: Vec<ReplicatedTopic>,
}

impl DestinationConfig {
    /// A synchronous destination that gets everything that is logged.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            group: None,
            mode: SyncMode::default(),
            addresses: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// What this instance calls the destination.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group that the other instance has to be of. Default: any.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Whether publishers wait for it. Default [`SyncMode::Sync`].
    #[must_use]
    pub fn mode(mut self, mode: SyncMode) -> Self {
        self.mode = mode;
        self
    }

    /// Where it listens for replication, as `HOST:PORT`. Repeatable: they are tried in turn.
    /// Without any, nothing is sent until a test says where.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Adds topics that it gets. Default: all that are logged.
    #[must_use]
    pub fn topic(mut self, topic: ReplicatedTopic) -> Self {
        self.topics.push(topic);
        self
    }
}

/// Topics that a destination gets.
///
/// ```
/// use amps_testkit::{DestinationConfig, ReplicatedTopic};
///
/// let orders = ReplicatedTopic::new("^orders").message_type("json").pass_through("europe");
/// assert_eq!(DestinationConfig::new("B").topic(orders).name(), "B");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedTopic {
    pub(crate) topics: String,
    pub(crate) message_type: Option<String>,
    pub(crate) pass_through: Option<String>,
}

impl ReplicatedTopic {
    /// A topic, or a regular expression, of any message type.
    pub fn new(topics: impl Into<String>) -> Self {
        Self { topics: topics.into(), message_type: None, pass_through: None }
    }

    /// Only topics of this message type.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// Also what came here by replication from instances whose group matches this regular
    /// expression. Default: only what was published here.
    #[must_use]
    pub fn pass_through(mut self, groups: impl Into<String>) -> Self {
        self.pass_through = Some(groups.into());
        self
    }
}
