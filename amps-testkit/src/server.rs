//! A server on loopback: the handle that tests hold.
//!
//! Owns the event loop, the listeners and the way to the engine on the loop's thread. Every
//! method returns when its effect is complete.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amps_transport::{CloseMode, EventLoop, MachineHandle, Time};

use crate::builder::{FakeServerBuilder, Listen, Plan, Rules};
use crate::config::ConfigFileError;
use crate::control::ControlPort;
use crate::engine::{
    ConfigError, Counters, Dropped, Engine, Entitlement, LogCut, LogRecord, LoggedMessage, NotPublished,
    PublishOptions, Published, QueueSnapshot,
};
use crate::fault::FaultLayer;
use crate::form::FaultError;
use crate::journal::{Entry, Journal, JournalMode, WaitTimeout};
use crate::shell::{Initial, Note, Script, Shell};
use crate::store::Store;

mod control;
mod faults;
mod inspect;
mod links;
mod listeners;
mod observe;
mod running;
mod set_up;
use control::StopSignal;
use listeners::Bound;
pub use listeners::Listening;
pub use running::SettleTimeout;
use running::complain;

/// How a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// In an orderly way: what was sent before still arrives.
    Fin,
    /// At once: what was not sent yet is lost.
    Reset,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A configuration file cannot be used.
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// An address to listen on that is none.
    #[error("cannot listen on \"{text}\": {fault}")]
    Address {
        /// The address as given.
        text: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A scripted fault that cannot fire.
    #[error("a fault cannot be: {0}")]
    Fault(#[from] FaultError),
    /// An address could not be bound.
    #[error(
        "{place}cannot listen on {addr}: {source}; end what listens there, or choose another port (0 is a free one)"
    )]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
        /// File, line and element of the configuration that named it, each with a colon and a blank
        /// behind it; empty if no file did.
        place: String,
    },
    /// A socket file could not be made.
    #[error(
        "{place}cannot listen on {path}: {source}; end what listens there, or choose another path",
        path = path.display()
    )]
    BindFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// As that of [`Bind`](Self::Bind).
        place: String,
    },
    /// A certificate or a key cannot be used.
    #[cfg(feature = "tls")]
    #[error("{place}cannot listen on \"{text}\": {source}")]
    Tls {
        /// The address as given.
        text: String,
        /// What is wrong, and where.
        source: amps_transport::TlsSetupError,
        /// As that of [`Bind`](Self::Bind).
        place: String,
    },
    /// The file of the transaction log could not be opened, read or made.
    #[error("cannot keep the log in {path}: {source}", path = path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The event loop could not be started.
    #[error("cannot start an event loop: {0}")]
    EventLoop(io::Error),
}

/// A fake AMPS server that listens on loopback until it is dropped.
///
/// ```
/// use amps_testkit::{FakeServer, QueueConfig};
/// use std::time::Duration;
///
/// let server = FakeServer::builder()
///     .queue(QueueConfig::new("work").lease(Duration::from_secs(30)).max_backlog(10))
///     .virtual_clock()
///     .start()?;
/// server.publish("work", "{\"job\":1}").unwrap();
/// assert!(server.uri("json").starts_with("tcp://127.0.0.1:"));
/// assert_eq!(server.queue("work").unwrap().available.len(), 1);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
pub struct FakeServer {
    // Declared first, so that it goes before the loop does.
    machine: MachineHandle<Shell>,
    listeners: Arc<Mutex<Vec<Bound>>>,
    /// The authority of the certificates that the server has made.
    ca: Option<Arc<str>>,
    journal: Arc<Journal>,
    rules: Rules,
    stop: Arc<StopSignal>,
    /// `None` for the handle of the control port, which ends nothing when it is dropped.
    owned: Option<Owned>,
}

/// What ends with the server.
struct Owned {
    control: Option<ControlPort>,
    _event_loop: EventLoop<Shell>,
}

impl FakeServer {
    /// Begins to describe a server.
    pub fn builder() -> FakeServerBuilder {
        FakeServerBuilder::default()
    }

    /// Starts the server that an AMPS configuration file describes, on free ports of
    /// loopback; see [`FakeServerBuilder::config_file`].
    ///
    /// # Errors
    /// The file cannot be read, or says something that cannot be.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self, StartError> {
        Self::builder().config_file(path).start()
    }

    pub(crate) fn start(
        mut engine: Engine,
        listen: &[Listen],
        plan: Plan,
        data_dir: Option<&Path>,
    ) -> Result<Self, StartError> {
        let strict = plan.rules.strict && plan.journal == JournalMode::Off;
        let mode = if strict { JournalMode::Commands } else { plan.journal };
        engine.set_observe(mode.observe());
        let config = engine.config().clone();
        let journal = Arc::new(Journal::new(plan.journal_cap));
        // Under a real clock what is due meanwhile is due at once.
        let start = plan.clock.unwrap_or(Time::EPOCH);
        let store = match data_dir {
            Some(dir) => {
                let keep_past = config.sow.iter().any(|topic| topic.history.is_some());
                Some(Store::open(dir, keep_past, |records| engine.restore(start, records))?)
            }
            None => None,
        };
        let event_loop = EventLoop::start("amps-testkit").map_err(StartError::EventLoop)?;
        let faults = FaultLayer::new(plan.seed, mode.observe());
        let (clock, seed, observe) = (plan.clock, plan.seed, mode.observe());
        let initial = Initial { config, clock, seed, faults: plan.faults.clone(), observe };
        let shell = Shell::new(engine, plan.clock, faults, store, Arc::clone(&journal), plan.bell);
        let machine = event_loop.add(shell.with_initial(initial));
        let (listeners, stop, ca) = (Arc::default(), Arc::default(), plan.ca);
        let owned = Some(Owned { control: None, _event_loop: event_loop });
        let mut server = Self { machine, listeners, ca, journal, rules: plan.rules, stop, owned };
        for fault in plan.faults {
            server.add_fault(fault)?;
        }
        for listen in listen {
            server.add_listener(listen)?;
        }
        if let Some(address) = &plan.control {
            let control = ControlPort::open(address, server.for_control())?;
            if let Some(owned) = &mut server.owned {
                owned.control = Some(control);
            }
        }
        Ok(server)
    }

    /// Moves the virtual clock. Timers fire in the order of their deadlines; when this
    /// returns, all that follows has been handed to the sockets. Without a virtual clock it
    /// does nothing.
    pub fn advance(&self, by: Duration) {
        self.ask(|done| Note::Advance(by, done));
        self.handed_over();
    }

    /// The server's time.
    pub fn now(&self) -> Time {
        self.inspect(|_, now| now).unwrap_or_default()
    }

    /// The server's time as a time of day: what it says in headers, and what the leases of queue messages end by.
    /// A client that is to see a virtual clock gets it by `ClientBuilder::system_time`.
    pub fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.now().as_unix_nanos())
    }

    /// Publishes a JSON message on behalf of the server. To publish under another message
    /// type, or in another name, see [`FakeServer::publish_as`].
    ///
    /// # Errors
    /// The publish of a client would be refused, for the same reason: a view is not published to, and a
    /// record needs its key. Nothing was done.
    pub fn publish(&self, topic: &str, body: impl AsRef<[u8]>) -> Result<Published, NotPublished> {
        self.publish_as(topic, body, &PublishOptions::default())
    }

    /// Ends every connection of a client; `false` if there was none.
    pub fn drop_connection(&self, client: &str, how: Drop) -> bool {
        self.drop_which(Dropped::Client(client.to_owned()), how) > 0
    }

    /// Ends one connection, by its [number](crate::ConnectionSnapshot::index), whether it has logged on or not;
    /// `false` if it is gone already.
    ///
    /// ```
    /// use amps_testkit::{Drop, FakeServer};
    ///
    /// let server = FakeServer::builder().start()?;
    /// assert!(!server.drop_connection_number(0, Drop::Fin));
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn drop_connection_number(&self, index: u64, how: Drop) -> bool {
        self.drop_which(Dropped::Connection(index), how) > 0
    }

    /// Ends every connection, and goes on to accept others. Returns how many there were.
    ///
    /// ```
    /// use amps_testkit::{Drop, FakeServer};
    ///
    /// let server = FakeServer::builder().start()?;
    /// assert_eq!(server.drop_all_connections(Drop::Reset), 0);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn drop_all_connections(&self, how: Drop) -> usize {
        self.drop_which(Dropped::Everybody, how)
    }

    fn drop_which(&self, which: Dropped, how: Drop) -> usize {
        let mode = match how {
            Drop::Fin => CloseMode::Flush,
            Drop::Reset => CloseMode::Abort,
        };
        let dropped = self.ask(|done| Note::Drop { which, mode, done });
        self.handed_over();
        dropped.unwrap_or_default()
    }

    /// Gives a user other rights, and ends the user's connections with `entitlement reset`. The
    /// rights of the user `*` stay. From then on what no entitlement permits is refused.
    ///
    /// # Errors
    /// One of them does not parse, or is of another user; nothing was changed.
    pub fn reset_entitlements(
        &self,
        user: &str,
        entitlements: impl IntoIterator<Item = Entitlement>,
    ) -> Result<(), ConfigError> {
        let (user, entitlements) = (user.to_owned(), entitlements.into_iter().collect());
        let done = self.ask(|done| Note::ResetEntitlements { user, entitlements, done });
        self.handed_over();
        done.unwrap_or(Ok(()))
    }

    /// Stops (`true`) or resumes (`false`) reading from a client, as a server that hangs;
    /// returns `false` if there is no such client.
    pub fn stall_reads(&self, client: &str, stalled: bool) -> bool {
        let client = client.to_owned();
        self.ask(|done| Note::Stall { client, stalled, done }).unwrap_or_default()
    }

    /// Drops every connection, and forgets every message, lease and sequence number, as a
    /// server that was started anew on the same port without its files.
    pub fn restart_empty(&self) {
        self.ask(Note::RestartEmpty);
        self.handed_over();
    }

    /// Drops every connection and starts anew with the transaction log, as a server that was
    /// stopped and started on its files; with [`FakeServerBuilder::data_dir`] it is really read
    /// from there. Sequence numbers, bookmarks and unacknowledged queue messages are the same
    /// as before, leases and counters are gone. The clock and the ports stay.
    pub fn restart(&self) {
        self.ask(Note::Restart);
        self.handed_over();
    }

    /// Makes the log wait for its peers (`true`): from now on nothing that is logged counts as
    /// durable, until this is called with `false`. Publishers then get no `persisted` ack, and
    /// `fully_durable` subscriptions no message.
    pub fn hold_durability(&self, held: bool) {
        self.ask(|done| Note::HoldDurability(held, done));
        self.handed_over();
    }

    /// Removes the older part of the transaction log. Bookmarks of what is gone are unknown.
    pub fn truncate_before(&self, cut: LogCut) {
        self.ask(|done| Note::Truncate(cut, done));
    }

    /// Empties the transaction log. The sequence numbers of publishers stay known.
    pub fn clear_log(&self) {
        self.truncate_before(LogCut::Newest(0));
    }

    /// Everything in the transaction log, oldest first.
    pub fn log(&self) -> Vec<LogRecord> {
        self.inspect(|engine, _| engine.log()).unwrap_or_default()
    }

    /// The messages in the transaction log, oldest first.
    pub fn logged_messages(&self) -> Vec<LoggedMessage> {
        self.inspect(|engine, _| engine.logged_messages()).unwrap_or_default()
    }

    /// Why the transaction log is no longer written to its file, if that failed. The server
    /// goes on without.
    pub fn data_error(&self) -> Option<String> {
        self.ask(Note::DataError).flatten()
    }

    /// A queue with all of its messages, or `None` if there is no such queue.
    pub fn queue(&self, name: &str) -> Option<QueueSnapshot> {
        let name = name.to_owned();
        self.inspect(move |engine, _| engine.queue(&name)).flatten()
    }

    /// Totals since the start (or the last [`FakeServer::restart_empty`]).
    pub fn counters(&self) -> Counters {
        self.inspect(|engine, _| engine.counters()).unwrap_or_default()
    }

    /// What was recorded, oldest first. How much that is says [`FakeServerBuilder::journal`].
    pub fn journal(&self) -> Vec<Entry> {
        self.journal.entries()
    }

    /// How many entries the journal has dropped because of its cap.
    pub fn journal_dropped(&self) -> u64 {
        self.journal.dropped()
    }

    /// Waits until the journal has `count` entries that `wanted` accepts, those recorded
    /// before included, and returns them.
    ///
    /// # Errors
    /// They did not come within `timeout` (of real time). The error shows what came instead.
    pub fn wait_for(
        &self,
        wanted: impl Fn(&Entry) -> bool,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Entry>, WaitTimeout> {
        self.journal.wait_for(wanted, count, timeout)
    }

    fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Time) -> T + Send + 'static,
    ) -> Option<T> {
        self.ask(|done| {
            Note::Inspect(Box::new(move |engine, now| {
                let _nobody_waits = done.try_send(look(engine, now));
            }))
        })
    }

    /// Posts a note and waits for its answer; `None` if the loop has ended.
    fn ask<T>(&self, note: impl FnOnce(SyncSender<T>) -> Note) -> Option<T> {
        let (done, answer) = sync_channel(1);
        self.machine.post(note(done)).then(|| answer.recv().ok()).flatten()
    }

    /// Waits until what the engine sent so far has been handed to the sockets: that happens
    /// between one note and the next.
    fn handed_over(&self) {
        self.ask(|done| Note::Script(Script::HandedOver(done)));
    }
}

/// Stops the server and waits until its sockets are closed.
impl std::ops::Drop for FakeServer {
    fn drop(&mut self) {
        let Some(owned) = &mut self.owned else { return };
        // First, so that nobody asks for anything any more.
        owned.control = None;
        let complaints = self.complaints();
        // Closed by the engine, for the loop would wait for clients to close their side.
        self.machine.post(Note::Stop);
        self.machine.remove_and_wait();
        complain(&complaints);
    }
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeServer").field("listeners", &self.listeners()).finish_non_exhaustive()
    }
}
