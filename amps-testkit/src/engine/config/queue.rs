//! The configuration of queues (server.md 6.1).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::ConfigError;
use super::limits::RecoveryPoint;

/// The smallest target depth (6.1).
const MIN_TARGET_DEPTH: u64 = 1000;

/// On which instances of a replicated group a queue's messages may be delivered.
///
/// ```
/// use amps_testkit::QueueKind;
///
/// assert_eq!(QueueKind::default(), QueueKind::Distributed);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// All of them; each message has one owner at a time.
    #[default]
    Distributed,
    /// This one: other instances have queues of their own.
    Local,
    /// Some of them.
    GroupLocal {
        /// The instance or group that owns a message at first.
        initial_owner: String,
        /// The name that the instances of one queue share. `None`: the group's name.
        domain: Option<String>,
    },
}

/// Whether a message that was not acknowledged comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// Leased, and delivered again if the lease ends without acknowledgement.
    #[default]
    AtLeastOnce,
    /// Leaves the queue when it is sent.
    AtMostOnce,
}

/// Which of several willing subscriptions gets the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fairness {
    /// The first in the order of subscription.
    Fast,
    /// The next after the one served last, in the order of subscription.
    RoundRobin,
    /// The one with the smallest share of its backlog in use.
    Proportional,
}

/// Who may acknowledge a leased message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leasing {
    /// Anybody.
    #[default]
    Sublet,
    /// The connection that holds the lease.
    Strict,
}

/// How a message's own expiration and the queue's are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpirationModel {
    /// The message's, if it has one, else the queue's.
    #[default]
    Default,
    /// The queue's.
    Queue,
    /// The later one; none counts as never.
    Latest,
    /// The earlier one.
    Earliest,
}

/// The configuration of one queue.
///
/// ```
/// use amps_testkit::{Fairness, QueueConfig};
/// use std::time::Duration;
///
/// let queue = QueueConfig::new("work")
///     .underlying("flights")
///     .lease(Duration::from_secs(30))
///     .max_backlog(10)
///     .fairness(Fairness::RoundRobin)
///     .max_deliveries(3);
/// assert_eq!(queue.name(), "work");
/// ```
#[derive(Clone, Debug)]
pub struct QueueConfig {
    pub(crate) name: String,
    pub(crate) message_type: String,
    pub(crate) underlying: Option<String>,
    pub(crate) publish_target: Option<String>,
    pub(crate) semantics: Semantics,
    pub(crate) lease: Option<Duration>,
    pub(crate) total_backlog: Option<usize>,
    pub(crate) subscription_backlog: u32,
    pub(crate) expiration: Option<Duration>,
    pub(crate) expiration_model: ExpirationModel,
    pub(crate) filter: Option<String>,
    pub(crate) fairness: Option<Fairness>,
    pub(crate) leasing: Leasing,
    pub(crate) max_deliveries: u32,
    pub(crate) max_cancels: u32,
    pub(crate) deferred_ack_expiration: Duration,
    pub(crate) dead_letter: Option<String>,
    pub(crate) kind: QueueKind,
    pub(crate) priority: Option<String>,
    pub(crate) barrier: Option<String>,
    pub(crate) target_depth: Option<u64>,
    pub(crate) recovery_point: RecoveryPoint,
}

impl QueueConfig {
    /// A queue of JSON messages, at least once, without lease period, with a backlog of one
    /// message per subscription, over the topic of its own name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message_type: "json".into(),
            underlying: None,
            publish_target: None,
            semantics: Semantics::default(),
            lease: None,
            total_backlog: None,
            subscription_backlog: 1,
            expiration: None,
            expiration_model: ExpirationModel::default(),
            filter: None,
            fairness: None,
            leasing: Leasing::default(),
            max_deliveries: 0,
            max_cancels: 0,
            deferred_ack_expiration: Duration::from_secs(24 * 60 * 60),
            dead_letter: None,
            kind: QueueKind::default(),
            priority: None,
            barrier: None,
            target_depth: None,
            recovery_point: RecoveryPoint::default(),
        }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The message type. Default `json`.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = name.into();
        self
    }

    /// The topic, or the regular expression of topics, whose messages enter. Default: the
    /// queue's own name.
    #[must_use]
    pub fn underlying(mut self, topic: impl Into<String>) -> Self {
        self.underlying = Some(topic.into());
        self
    }

    /// The topic that messages published to the queue's name are stored under. Default: the
    /// underlying topic; required if that is a regular expression.
    #[must_use]
    pub fn publish_target(mut self, topic: impl Into<String>) -> Self {
        self.publish_target = Some(topic.into());
        self
    }

    /// At least once (default) or at most once.
    #[must_use]
    pub fn semantics(mut self, semantics: Semantics) -> Self {
        self.semantics = semantics;
        self
    }

    /// How long a lease lasts, from sending. Default: leases do not time out.
    #[must_use]
    pub fn lease(mut self, period: Duration) -> Self {
        self.lease = Some(period);
        self
    }

    /// The most messages that one subscription may have unacknowledged. Default 1.
    #[must_use]
    pub fn max_backlog(mut self, per_subscription: u32) -> Self {
        self.subscription_backlog = per_subscription;
        self
    }

    /// The most messages of the queue that may be leased in total. Default: no limit.
    #[must_use]
    pub fn total_backlog(mut self, messages: usize) -> Self {
        self.total_backlog = Some(messages);
        self
    }

    /// How long a message stays in the queue. Default: for ever.
    #[must_use]
    pub fn expiration(mut self, period: Duration) -> Self {
        self.expiration = Some(period);
        self
    }

    /// How the expiration of a message and of the queue are combined.
    #[must_use]
    pub fn expiration_model(mut self, model: ExpirationModel) -> Self {
        self.expiration_model = model;
        self
    }

    /// Which messages of the underlying topic enter. Default: all.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Who gets the next message. Default: proportional; for at-most-once, round-robin.
    #[must_use]
    pub fn fairness(mut self, fairness: Fairness) -> Self {
        self.fairness = Some(fairness);
        self
    }

    /// Who may acknowledge. Default: anybody.
    #[must_use]
    pub fn leasing(mut self, leasing: Leasing) -> Self {
        self.leasing = leasing;
        self
    }

    /// After how many unsuccessful deliveries a message expires; 0 (default) for never.
    #[must_use]
    pub fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.max_deliveries = deliveries;
        self
    }

    /// After how many cancels a message expires; 0 (default) for never.
    #[must_use]
    pub fn max_cancels(mut self, cancels: u32) -> Self {
        self.max_cancels = cancels;
        self
    }

    /// How long an acknowledgement of a message that is not there yet is remembered.
    /// Default one day.
    #[must_use]
    pub fn deferred_ack_expiration(mut self, period: Duration) -> Self {
        self.deferred_ack_expiration = period;
        self
    }

    /// The topic that expired messages are published to. Default: none.
    #[must_use]
    pub fn dead_letter(mut self, topic: impl Into<String>) -> Self {
        self.dead_letter = Some(topic.into());
        self
    }

    /// How the queue is spread over replicated instances. Default
    /// [`QueueKind::Distributed`]. An instance that replicates to no other does not show the
    /// difference.
    #[must_use]
    pub fn kind(mut self, kind: QueueKind) -> Self {
        self.kind = kind;
        self
    }

    /// An expression; messages with a greater value go first. Default: none.
    #[must_use]
    pub fn priority(mut self, expression: impl Into<String>) -> Self {
        self.priority = Some(expression.into());
        self
    }

    /// Messages that match this filter wait for all earlier ones, and hold up all later ones
    /// (server.md 6.8). Default: none.
    #[must_use]
    pub fn barrier(mut self, filter: impl Into<String>) -> Self {
        self.barrier = Some(filter.into());
        self
    }

    /// How many messages are in the active part of the queue, at least 1000 (server.md 6.9).
    /// Default: all.
    #[must_use]
    pub fn target_depth(mut self, messages: u64) -> Self {
        self.target_depth = Some(messages);
        self
    }

    /// From where in the log the queue is rebuilt after a restart. Default
    /// [`RecoveryPoint::Epoch`]. Not read by the engine yet.
    #[must_use]
    pub fn recovery_point(mut self, point: RecoveryPoint) -> Self {
        self.recovery_point = point;
        self
    }

    pub(crate) fn underlying_topic(&self) -> &str {
        self.underlying.as_deref().unwrap_or(&self.name)
    }

    pub(crate) fn effective_fairness(&self) -> Fairness {
        self.fairness.unwrap_or(match self.semantics {
            Semantics::AtLeastOnce => Fairness::Proportional,
            Semantics::AtMostOnce => Fairness::RoundRobin,
        })
    }

    /// What excludes what (6.1).
    pub(crate) fn check_order(&self) -> Result<(), ConfigError> {
        let contradicts = |what| Err(ConfigError::QueueContradiction { queue: self.name.clone(), what });
        let (priority, barrier) = (self.priority.is_some(), self.barrier.is_some());
        if priority && barrier {
            return contradicts("it has both a priority and a barrier expression; remove one");
        }
        match self.target_depth {
            Some(_) if priority || barrier => {
                contradicts("a target depth goes with neither priority nor barrier expression; remove one")
            }
            Some(depth) if depth < MIN_TARGET_DEPTH => {
                contradicts("the target depth is below 1000; raise it")
            }
            _ => Ok(()),
        }
    }
}
