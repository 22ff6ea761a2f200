//! What an engine is told before it starts.
//!
//! Owns the configuration model and its checks. Nothing here changes while the engine runs.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::filter::{Dialect, Functions, Language};
use super::reasons::Reasons;
use super::switches::Switches;

mod action;
mod authentication;
mod entitlement;
mod keys;
mod limits;
mod log;
mod message_type;
mod queue;
mod replication;
mod sow;
mod transport;
mod view;

pub use action::{ActionConfig, ActionStep, ActionTrigger, Schedule};
pub use authentication::{Authentication, Conditions};
pub use entitlement::{Entitlement, EntitlementKind};
pub use keys::{SetError, Setting};
pub use limits::{RecoveryPoint, SlowClientLimits};
pub use log::{LogTopics, LoggedTopic};
pub(crate) use message_type::BUILT_IN_TYPES;
pub use message_type::{MessageLayout, MessageTypeConfig};
pub use queue::{ExpirationModel, Fairness, Leasing, QueueConfig, QueueKind, Semantics};
pub use replication::{DestinationConfig, ReplicatedTopic, SyncMode};
pub use sow::{SowConfig, SowExpiration, SowHistory};
pub use transport::{Access, TransportConfig, TransportLimits};
pub use view::{ConflatedTopicConfig, Join, JoinField, ViewConfig, ViewSource};

/// The version that the server claims to have.
pub(crate) const SERVER_VERSION: &str = "5.3.5.0";

/// The configuration of an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the instance; part of generated client names. Default `amps-testkit`.
    pub instance: String,
    /// The group of the instance, as other instances see it. Default: its name.
    pub group: Option<String>,
    /// The instances that get what is logged here. Default: none.
    pub destinations: Vec<DestinationConfig>,
    /// Whether clients are let in before every peer has sent what it has (PAIR-03). Each
    /// destination has to replicate back then. Default `true`.
    pub early_accept: bool,
    /// Which topics have a transaction log. Default: all.
    pub log: LogTopics,
    /// How long a message takes from the log to the disk. Until then it is not persisted: its
    /// publisher gets no `persisted` ack, and bookmark subscriptions that are not `live` wait.
    /// Default 0.
    pub log_flush_interval: Duration,
    /// The topics that keep a state of the world. Default: none.
    pub sow: Vec<SowConfig>,
    /// The queues. Default: none.
    pub queues: Vec<QueueConfig>,
    /// The views. Default: none.
    pub views: Vec<ViewConfig>,
    /// The conflated topics. Default: none.
    pub conflated_topics: Vec<ConflatedTopicConfig>,
    /// The message types beside the built-in ones. Default: none.
    pub message_types: Vec<MessageTypeConfig>,
    /// What the server does of its own accord. Default: nothing.
    pub actions: Vec<ActionConfig>,
    /// When slow clients are disconnected. Default: never.
    pub slow_clients: SlowClientLimits,
    /// How often `/AMPS/SOWStats` tells the sizes of topics. Default: never.
    pub sow_stats_interval: Option<Duration>,
    /// Who may log on. Default: everybody.
    pub authentication: Authentication,
    /// Challenges, one after the other, that a client has to answer before it is admitted: what
    /// each is told as `pw`. Any answer will do. Default: none.
    pub challenges: Vec<String>,
    /// Who may do what. Default: everybody everything.
    pub entitlements: Vec<Entitlement>,
    /// Nobody may do anything, not even log on, but what entitlements permit. Default `false`:
    /// that is so only as soon as there is an entitlement, and about logons as soon as one
    /// speaks of them.
    pub closed: bool,
    /// How long conflated `persisted` acks are gathered, unless the logon says otherwise.
    /// Default 1 s.
    pub ack_conflation: Duration,
    /// The longest inbound frame, in bytes. Default 200 MiB.
    pub max_frame: usize,
    /// Whether a topic with regular expression characters is a pattern. Default `true`.
    pub regex_topics: bool,
    /// What expressions can call beside the built-in functions. Default: none.
    pub functions: Functions,
    /// Answers to open questions.
    pub switches: Switches,
    /// The texts of refusals.
    pub reasons: Reasons,
    /// Some queue messages are delivered twice, as at-least-once delivery permits: the seed that
    /// it is drawn from which. Default: none.
    pub chaos: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: "amps-testkit".into(),
            group: None,
            destinations: Vec::new(),
            early_accept: true,
            log: LogTopics::Matching(vec![".*".into()]),
            log_flush_interval: Duration::ZERO,
            sow: Vec::new(),
            queues: Vec::new(),
            views: Vec::new(),
            actions: Vec::new(),
            conflated_topics: Vec::new(),
            message_types: Vec::new(),
            slow_clients: SlowClientLimits::default(),
            sow_stats_interval: None,
            authentication: Authentication::Disabled,
            challenges: Vec::new(),
            entitlements: Vec::new(),
            closed: false,
            ack_conflation: Duration::from_secs(1),
            max_frame: amps_protocol::DEFAULT_MAX_OUTBOUND,
            regex_topics: true,
            functions: Functions::default(),
            switches: Switches::default(),
            reasons: Reasons::default(),
            chaos: None,
        }
    }
}

impl Config {
    /// What expressions are written in.
    pub(crate) fn language(&self) -> Language {
        let Switches { null_logic, nan, untyped_string_compare, .. } = self.switches;
        let dialect = Dialect { null_logic, nan, untyped_string_compare };
        let group = self.group.as_ref().unwrap_or(&self.instance);
        let (instance, group) = (self.instance.as_str().into(), group.as_str().into());
        Language { dialect, functions: self.functions.clone(), instance, group }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A topic pattern that does not compile.
    #[error("{what} \"{pattern}\" is not a regular expression: {fault}")]
    Pattern {
        /// What it is for.
        what: &'static str,
        /// Its text.
        pattern: String,
        /// What the compiler says.
        fault: String,
    },
    /// A queue's filter does not parse.
    #[error("the filter of queue \"{queue}\" does not parse: {fault}")]
    Filter {
        /// The queue.
        queue: String,
        /// What the parser says.
        fault: String,
    },
    /// A key of a topic is no identifier.
    #[error("topic \"{topic}\": the key \"{key}\" is no identifier: {fault}")]
    Key {
        /// The topic.
        topic: String,
        /// The key as written.
        key: String,
        /// What the parser says.
        fault: String,
    },
    /// A field that a topic adds to its messages does not parse.
    #[error("topic \"{topic}\": the field \"{field}\": {fault}")]
    EnrichedField {
        /// The topic.
        topic: String,
        /// The field as written.
        field: String,
        /// What the parser says.
        fault: String,
    },
    /// A function that could never be called.
    #[error("the function \"{function}\" cannot be: {fault}")]
    Function {
        /// Its name.
        function: String,
        /// Why not.
        fault: &'static str,
    },
    /// Two topics of one name and type.
    #[error("topic \"{topic}\" is configured twice")]
    TopicTwice {
        /// The topic.
        topic: String,
    },
    /// A queue's priority does not parse.
    #[error("the priority of queue \"{queue}\" does not parse: {fault}")]
    Priority {
        /// The queue.
        queue: String,
        /// What the parser says.
        fault: String,
    },
    /// A queue with two ways of ordering that exclude each other.
    #[error("queue \"{queue}\": {what}")]
    QueueContradiction {
        /// The queue.
        queue: String,
        /// What contradicts what, and what to do.
        what: &'static str,
    },
    /// A view or a conflated topic over a topic that is not there.
    #[error(
        "topic \"{topic}\" is made of \"{underlying}\", which is no topic with a state of the world; configure that too"
    )]
    NoSource {
        /// The topic.
        topic: String,
        /// What it is made of.
        underlying: String,
    },
    /// A topic whose definition does not parse, or contradicts itself.
    #[error("topic \"{topic}\": {fault}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong.
        fault: String,
    },
    /// An action whose topic or filter does not parse.
    #[error("an action: {fault}")]
    Action {
        /// What is wrong.
        fault: String,
    },
    /// An entitlement that does not parse.
    #[error("the entitlement of user \"{user}\" for \"{topic}\": {fault}")]
    Entitlement {
        /// The user.
        user: String,
        /// The topic.
        topic: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Two queues of one name and type.
    #[error("queue \"{queue}\" is configured twice")]
    QueueTwice {
        /// The queue.
        queue: String,
    },
    /// The queue would be empty for ever.
    #[error(
        "queue \"{queue}\": its underlying topic \"{topic}\" has no transaction log{of}; add one with a txlog pattern",
        of = message_type.as_ref().map_or_else(String::new, |name| format!(" for {name}"))
    )]
    NotLogged {
        /// The queue.
        queue: String,
        /// The underlying topic.
        topic: String,
        /// The message type of the queue, if the topic has a log under another one.
        message_type: Option<String>,
    },
    /// AMPS allows at-most-once queues round-robin only.
    #[error("queue \"{queue}\": an at-most-once queue is always round-robin")]
    AtMostOnceFairness {
        /// The queue.
        queue: String,
    },
    /// Two destinations of one name.
    #[error("destination \"{destination}\" is configured twice")]
    DestinationTwice {
        /// The destination.
        destination: String,
    },
    /// Only what is logged can be replicated.
    #[error("destination \"{destination}\": there is no transaction log to replicate; add one")]
    DestinationWithoutLog {
        /// The destination.
        destination: String,
    },
    /// A destination whose address is none.
    #[error("destination \"{destination}\": \"{address}\" is no address; expected HOST:PORT")]
    DestinationAddress {
        /// The destination.
        destination: String,
        /// The address as given.
        address: String,
    },
    /// Only what is logged can be replicated.
    #[error(
        "destination \"{destination}\": its topic \"{topic}\" has no transaction log; add one with a txlog pattern"
    )]
    ReplicatedTopicNotLogged {
        /// The destination.
        destination: String,
        /// The topic.
        topic: String,
    },
    /// Nobody could tell where a publish to the queue's name goes.
    #[error(
        "queue \"{queue}\" is over a regular expression: say where publishes to its name go (publish_target)"
    )]
    PublishTarget {
        /// The queue.
        queue: String,
    },
}
