//! What a client that does not read may cost (server.md 1.8), and where a topic or queue
//! starts again after a restart (server.md 4.1, 6.1).
//!
//! The points of recovery of queues the engine has no need to read: see [`RecoveryPoint`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// When a client that is slow to read is disconnected. By default never.
///
/// ```
/// use amps_testkit::SlowClientLimits;
/// use std::time::Duration;
///
/// let limits = SlowClientLimits { age: Some(Duration::from_secs(30)), ..Default::default() };
/// assert_eq!(limits.capacity_percent, 50);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowClientLimits {
    /// Bytes that wait for all clients, beyond which they count as kept on disk. Without a
    /// limit of the disk this one disconnects nobody. Here a client is measured by its share of
    /// memory and disk together, whatever others use.
    pub memory: Option<u64>,
    /// Bytes on disk, beyond which the client is disconnected.
    pub disk: Option<u64>,
    /// How long a message may wait for its client.
    pub age: Option<Duration>,
    /// How many frames may wait for one client, beyond which it is disconnected; those of a replay do not
    /// count. AMPS has no such limit, and its files cannot say it (server.md CONN-72, inferred).
    pub frames: Option<usize>,
    /// The share of the limits that one client may use up, in percent. Default 50.
    pub capacity_percent: u8,
}

impl Default for SlowClientLimits {
    fn default() -> Self {
        Self { memory: None, disk: None, age: None, frames: None, capacity_percent: 50 }
    }
}

/// From where in the transaction log a topic or a queue is rebuilt of which nothing is known yet.
///
/// What was kept of a queue tells more than any such point, and AMPS goes by it: so does the
/// server, which keeps with the log what became of each message of a queue. A queue that is
/// configured for the first time over a log with messages in it is filled from all of the log,
/// as by [`RecoveryPoint::Epoch`], whatever its point is; without a log from before, all points
/// are the same.
///
/// ```
/// use amps_testkit::RecoveryPoint;
///
/// assert_eq!(RecoveryPoint::default(), RecoveryPoint::Epoch);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryPoint {
    /// Its beginning.
    #[default]
    Epoch,
    /// Its end: what was there before is not taken in.
    Now,
    /// Where it was when the queue was first configured.
    Creation,
    /// A bookmark or a timestamp.
    At(String),
}
