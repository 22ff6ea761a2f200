//! What time will do next (server.md CLK-06).
//!
//! Owns the description of timers, for tests.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use amps_transport::Time;

/// The next thing that time does to a server.
///
/// ```
/// use amps_testkit::{FakeServer, QueueConfig, TimerKind};
/// use std::time::Duration;
///
/// let server = FakeServer::builder()
///     .queue(QueueConfig::new("work").expiration(Duration::from_secs(5)))
///     .virtual_clock()
///     .start()?;
/// assert_eq!(server.next_timer(), None);
/// server.publish("work", "{}").unwrap();
/// let next = server.next_timer().expect("the message expires");
/// assert_eq!(next.at, server.now() + Duration::from_secs(5));
/// assert!(matches!(next.kind, TimerKind::QueueExpiration { .. }));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextTimer {
    /// When.
    pub at: Time,
    /// What.
    pub kind: TimerKind,
}

/// What waits for a time.
///
/// ```
/// use amps_testkit::TimerKind;
///
/// let lease = TimerKind::Lease { queue: "work".into(), bookmark: "1|1|".into(), client: "a".into() };
/// assert_eq!(lease.to_string(), "the lease of 1|1| in work, held by a, ends");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimerKind {
    /// A lease ends.
    Lease {
        /// The queue.
        queue: String,
        /// The message.
        bookmark: String,
        /// The client that holds it.
        client: String,
    },
    /// A message expires in its queue.
    QueueExpiration {
        /// The queue.
        queue: String,
        /// The message.
        bookmark: String,
    },
    /// An early acknowledgement is forgotten.
    DeferredAck {
        /// The queue.
        queue: String,
    },
    /// A record of the state of the world expires.
    RecordExpiration {
        /// The topic.
        topic: String,
    },
    /// A conflated topic passes on what it held back.
    ConflatedTopic {
        /// Its name.
        topic: String,
    },
    /// A conflated subscription passes on what it held back.
    ConflatedSubscription {
        /// Its id.
        sub_id: String,
    },
    /// A conflated `persisted` ack is due.
    PersistedAck {
        /// The client.
        client: String,
    },
    /// A client that gave no sign of life is disconnected.
    Silence {
        /// The client.
        client: String,
    },
    /// A heartbeat is due, if nothing else was sent.
    Heartbeat {
        /// The client.
        client: String,
    },
    /// A scheduled action runs.
    Action {
        /// Its place among the configured actions, from 0.
        number: usize,
    },
    /// Statistics are published.
    Statistics,
    /// The log is written.
    LogWrite,
    /// A replay goes on, or ends.
    Replay,
    /// A client may have left something untaken for too long.
    SlowClient {
        /// The client.
        client: String,
    },
    /// Bookmark subscriptions are told what is durable.
    Durable {
        /// The client.
        client: String,
    },
    /// What was logged may be sent to another instance.
    Replication {
        /// What this instance calls it.
        destination: String,
    },
    /// A queue message may be given to another instance.
    QueueTransfer {
        /// The queue.
        queue: String,
    },
    /// A scripted fault fires, or lets go of something.
    Fault {
        /// In words.
        what: String,
    },
}

impl NextTimer {
    pub(crate) const fn of_fault(at: Time, what: String) -> Self {
        Self { at, kind: TimerKind::Fault { what } }
    }
}

impl fmt::Display for TimerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease { queue, bookmark, client } => {
                write!(f, "the lease of {bookmark} in {queue}, held by {client}, ends")
            }
            Self::QueueExpiration { queue, bookmark } => write!(f, "{bookmark} expires in {queue}"),
            Self::DeferredAck { queue } => write!(f, "an early acknowledgement is forgotten in {queue}"),
            Self::RecordExpiration { topic } => write!(f, "a record of {topic} expires"),
            Self::ConflatedTopic { topic } => write!(f, "the conflated topic {topic} is published"),
            Self::ConflatedSubscription { sub_id } => write!(f, "the subscription {sub_id} gets what waits"),
            Self::PersistedAck { client } => write!(f, "a persisted ack for {client} is due"),
            Self::Silence { client } => write!(f, "{client} is disconnected for its silence"),
            Self::Heartbeat { client } => write!(f, "a heartbeat for {client} is due"),
            Self::Action { number } => write!(f, "action {number} runs"),
            Self::Statistics => f.write_str("statistics are published"),
            Self::LogWrite => f.write_str("the log is written"),
            Self::Replay => f.write_str("a replay goes on"),
            Self::SlowClient { client } => write!(f, "{client} may be too slow"),
            Self::Durable { client } => write!(f, "{client} is told what is durable"),
            Self::Replication { destination } => write!(f, "an entry may be sent to {destination}"),
            Self::QueueTransfer { queue } => write!(f, "a message of {queue} may change its owner"),
            Self::Fault { what } => f.write_str(what),
        }
    }
}
