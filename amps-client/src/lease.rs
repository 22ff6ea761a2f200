//! Leases that had ended before their message was settled.
//!
//! Owns when that is noticed, and the clock by which: the server names the end of a lease by its own. Nothing here
//! costs a message anything while nobody listens.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amps_protocol::{LeaseEnd, Message as Raw};

/// A message of a queue that was acknowledged after its lease had ended: by then the server may have given it to
/// somebody else, who processes it again. The remedy is a smaller backlog, a longer lease, or
/// [`AckOption::ExtendLease`](crate::AckOption::ExtendLease) in time.
///
/// ```
/// use amps_client::Client;
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("worker-1").server(&uri).connect()?;
/// client.on_lease_overrun(|late| {
///     eprintln!("{} of {} was {:?} late", late.bookmark, late.topic, late.by);
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOverrun {
    /// The subscription id.
    pub subscription: String,
    /// The topic of the message.
    pub topic: String,
    /// The bookmark of the message.
    pub bookmark: String,
    /// When the lease ended, by the server's clock.
    pub lease_end: SystemTime,
    /// How much later the message was settled, by this machine's clock.
    pub by: Duration,
}

type Tell = Box<dyn Fn(LeaseOverrun) + Send + Sync>;
/// Tells the time in place of the system.
pub(crate) type WallClock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct LeaseWatch {
    on: AtomicBool,
    tell: OnceLock<Tell>,
    wall_clock: OnceLock<WallClock>,
}

impl LeaseWatch {
    /// Sets who is told, and the clock in place of the system's; once.
    pub(crate) fn set(&self, tell: Tell, wall_clock: Option<WallClock>) {
        let _ = self.tell.set(tell);
        if let Some(clock) = wall_clock {
            let _ = self.wall_clock.set(clock);
        }
    }

    /// Whether somebody listens.
    pub(crate) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// By how much a lease has ended; `None` while it lasts.
    pub(crate) fn late(&self, lease_end: SystemTime) -> Option<Duration> {
        let now = self.wall_clock.get().map_or_else(SystemTime::now, |clock| clock());
        now.duration_since(lease_end).ok().filter(|late| !late.is_zero())
    }

    pub(crate) fn tell(&self, overrun: LeaseOverrun) {
        if let Some(tell) = self.tell.get() {
            tell(overrun);
        }
    }
}

impl fmt::Debug for LeaseWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWatch").field("on", &self.is_on()).finish_non_exhaustive()
    }
}

/// When the lease of a message ends; `None` without one, or where it is no instant (protocol.md 3.4: a server that is
/// not AMPS may send how long a lease lasts, counted from an arrival that nobody has noted).
pub(crate) fn lease_end<B: AsRef<[u8]>>(message: &Raw<B>) -> Option<SystemTime> {
    let LeaseEnd::At(nanos) = message.lease_end()? else { return None };
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}
