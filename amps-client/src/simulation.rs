//! The pure heart of a client, open to a simulator. Outside semver; behind the feature
//! `simulation`.
//!
//! [`SimClient`] is the session that ships, both halves of it, with a model in place of the
//! application. A driver feeds it inputs and the time through [`Machine`]; a model acts like
//! the application's threads through its methods, after each of which the driver passes
//! [`SimNote::Wake`], as the production shell does.

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{CommandKind, Message as Raw};
use amps_transport::{ConnId, Input, Machine, Sink, Time};
use bytes::Bytes;

use crate::advisor::News;
use crate::authenticator::{Authenticator, Question};
use crate::bookmark_store::BookmarkStore;
use crate::bookmarks::MessageId;
use crate::command::Command;
use crate::error::{Error, Result};
pub use crate::journal::{SimDisk, Step, Steps};
use crate::listener::{AfterRefusal, ConnectionState};
use crate::publish::Publishing;
use crate::publish_store::{Progress, PublishStore};
use crate::reconnect::Reconnect;
use crate::session::acks::{AckOption, AckSettings};
pub use crate::session::bugs::Bugs;
use crate::session::commands::Wait;
use crate::session::line::{Counters, SendLimits};
use crate::session::outbound::Outbound;
use crate::session::publisher::{Publisher, StoreStatus, StoreUse};
use crate::session::replay::Bookmarks;
use crate::session::settling::Lease;
use crate::session::shared::Urgency;
use crate::session::subscription::{Spec, SubKey};
use crate::session::waiter::Waiter;
use crate::session::{
    App, Delivery, Disposition, HeartbeatSettings, LogonSettings, Note, Session, SessionConfig, Shared,
};
use crate::transports::Transports;

/// Names a subscription of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sub(SubKey);

/// Names one delivery of one leased message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(Lease);

/// What a model did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// As a handler that returned `Ok`.
    Done,
    /// As a handler that failed or panicked.
    Failed,
    /// As a stream: to be read later.
    Kept,
}

/// The application's side.
pub trait Model {
    /// A message arrived.
    fn deliver(&mut self, sub: Sub, message: &Raw<&[u8]>, lease: Option<LeaseId>) -> Handled;
    /// A subscription is over; with an error if nobody asked for that.
    fn ended(&mut self, sub: Sub, error: Option<Error>);
    /// The server agreed to a replacement of what the subscription asks for.
    fn replaced(&mut self, sub: Sub);
    /// The connection is gone: unread leased messages belong to the server again.
    fn interrupted(&mut self, sub: Sub);
    /// The subscription was placed again; `gapless`: nothing was missed.
    fn resumed(&mut self, sub: Sub, gapless: bool);
    /// A message of a replay came again.
    fn duplicate(&mut self, message: &Raw<&[u8]>);
    /// No message comes any more; what is there may still be read.
    fn draining(&mut self, sub: Sub);
    /// The connection's state changed.
    fn state(&mut self, state: ConnectionState);
    /// An error that has no caller.
    fn report(&mut self, error: &Error);
}

struct Bridge<M> {
    model: M,
    /// The application has no room for more.
    full: bool,
}

impl<M: Model> App for Bridge<M> {
    fn deliver(&mut self, delivery: Delivery<'_, '_>) -> Disposition {
        let Delivery { key, message, lease, .. } = delivery;
        match self.model.deliver(Sub(key), message, lease.map(LeaseId)) {
            Handled::Done => Disposition::Done,
            Handled::Failed => Disposition::Failed,
            Handled::Kept => Disposition::Kept,
        }
    }
    fn report_failure(&mut self) {}
    fn now(&mut self, then: Time) -> Time {
        then
    }
    fn holds_bytes(&self) -> bool {
        false
    }
    fn end_of_read(&mut self, _: Bytes) {}
    fn is_full(&self) -> bool {
        self.full
    }
    fn held_back(&self) -> Vec<u64> {
        Vec::new()
    }
    fn wants_pause(&mut self) -> bool {
        self.full
    }
    fn ended(&mut self, key: SubKey, error: Option<Error>) {
        self.model.ended(Sub(key), error);
    }
    fn replaced(&mut self, key: SubKey, _: SubKey, _: bool) {
        self.model.replaced(Sub(key));
    }
    fn interrupted(&mut self, key: SubKey) {
        self.model.interrupted(Sub(key));
    }
    fn resumed(&mut self, key: SubKey, gapless: bool) {
        self.model.resumed(Sub(key), gapless);
    }
    fn not_resubscribed(&mut self, _: &Command, _: &Error) -> AfterRefusal {
        AfterRefusal::default()
    }
    fn duplicate(&mut self, message: &Raw<&[u8]>) {
        self.model.duplicate(message);
    }
    fn draining(&mut self, key: SubKey) {
        self.model.draining(Sub(key));
    }
    fn state(&mut self, state: ConnectionState) {
        self.model.state(state);
    }
    fn recovered(&mut self) {}
    fn report(&mut self, error: &Error) {
        self.model.report(error);
    }
    fn disconnected(&mut self, _: &Error) {}
    fn watches(&self, _: CommandKind) -> bool {
        false
    }
    fn observe(&mut self, _: &Raw<&[u8]>) {}
    fn failed_write(&mut self, _: &Raw<&[u8]>, _: Option<&Raw<&[u8]>>) -> bool {
        false
    }
    fn authenticate(&mut self, _: ConnId, _: &Question) -> bool {
        false
    }
    fn advises(&self) -> bool {
        false
    }
    fn advise(&mut self, _: News) {}
    fn chosen(&mut self, _: Option<Arc<dyn Authenticator>>) {}
    fn raw_inbound(&mut self, _: &[u8]) {}
    fn unexpected(&mut self, _: &Raw<&[u8]>) {}
}

/// How a simulated client is set up.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The client name.
    pub name: String,
    /// Connection strings, in order.
    pub servers: Vec<String>,
    /// The reconnect policy.
    pub reconnect: Option<Reconnect>,
    /// Heartbeat interval, in whole seconds.
    pub heartbeat: Option<Duration>,
    /// Acknowledgements per batch.
    pub ack_batch_size: usize,
    /// The longest a batch waits.
    pub ack_timeout: Duration,
    /// Bytes that may wait to be sent.
    pub send_limit: usize,
    /// For the jitter of the back-off.
    pub seed: u64,
    /// Mistakes to make on purpose.
    pub bugs: Bugs,
}

/// What a simulated client keeps beyond a connection.
#[derive(Default)]
pub struct SimStores {
    /// What it publishes.
    pub publishes: Option<Box<dyn PublishStore>>,
    /// What it has processed of replays.
    pub bookmarks: Option<Arc<dyn BookmarkStore>>,
    /// Servers that have less than another one had are refused.
    pub strict: bool,
    /// Commands that a lost connection left unanswered are sent again.
    pub retry: bool,
    /// So many bytes fit into the socket at a time, and are read ahead from the publish store: whoever
    /// drives the client says [`SimNote::Room`] when there is room again.
    pub socket: Option<usize>,
}

impl std::fmt::Debug for SimStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimStores").finish_non_exhaustive()
    }
}

/// The end of a command, to be asked for.
#[derive(Clone, Debug, Default)]
pub struct Ticket(Arc<Waiter>);

impl Ticket {
    /// Takes the outcome if the command has ended.
    pub fn outcome(&self) -> Option<Result<()>> {
        self.0.take().map(|result| result.map(drop))
    }

    /// How often the command was ended.
    pub fn completions(&self) -> u32 {
        self.0.completions()
    }
}

/// What a driver may tell the client.
#[derive(Debug)]
pub enum SimNote {
    /// Connect.
    Connect(Ticket),
    /// Close in an orderly way.
    Close {
        /// At the latest after this time.
        within: Duration,
        /// Told when it is done.
        ticket: Ticket,
    },
    /// Close at once.
    Abort(Ticket),
    /// A model acted.
    Wake,
    /// The socket has room again.
    Room,
}

/// See the module's documentation.
pub struct SimClient<M> {
    session: Session<Bridge<M>>,
    shared: Arc<Shared>,
}

impl<M: Model> SimClient<M> {
    /// A client that is not connected.
    ///
    /// # Errors
    /// A connection string cannot be used.
    pub fn new(config: SimConfig, model: M) -> Result<Self> {
        Self::with_stores(config, SimStores::default(), model)
    }

    /// A client that is not connected, and takes its stores, as one that was built with them.
    ///
    /// # Errors
    /// A connection string cannot be used, or a store.
    pub fn with_stores(config: SimConfig, stores: SimStores, model: M) -> Result<Self> {
        let servers =
            config.servers.iter().map(|uri| crate::builder::parse_server(uri)).collect::<Result<_>>()?;
        let mut outbound = Outbound::new(
            AckSettings { batch_size: config.ack_batch_size, timeout: config.ack_timeout },
            SendLimits { queue: config.send_limit, message: 1 << 20 },
            config.bugs,
        );
        outbound.set_retry(stores.retry);
        if let Some(mut store) = stores.publishes {
            // Whoever takes the steps of the store wakes the client.
            let found = store.attach(&config.name, Progress::new(|| {}))?;
            let how = StoreUse { ask_above: None, strict: stores.strict };
            let mut publisher = Publisher::new(store, found, how, config.bugs);
            if let Some(bytes) = stores.socket {
                publisher.fill_up_to(bytes);
            }
            outbound.set_publisher(publisher);
        }
        if let Some(store) = &stores.bookmarks {
            store.attach(&config.name)?;
        }
        outbound.set_bookmarks(Bookmarks(stores.bookmarks));
        let session = SessionConfig {
            name: config.name,
            servers,
            reconnect: config.reconnect,
            heartbeat: config.heartbeat.map(|interval| HeartbeatSettings { interval, timeout: 2 * interval }),
            connect_timeout: Duration::from_secs(10),
            logon_timeout: Duration::from_secs(5),
            connect_deadline: Duration::from_secs(3600),
            max_inbound: 1 << 20,
            logon: LogonSettings::default(),
            transports: Transports::default(),
            seed: config.seed,
        };
        let shared = Arc::new(Shared::new(outbound));
        if let Some(bytes) = stores.socket {
            shared.set_socket(bytes);
        }
        Ok(Self {
            session: Session::new(session, Arc::clone(&shared), Bridge { model, full: false }),
            shared,
        })
    }

    /// The model.
    pub fn model(&mut self) -> &mut M {
        &mut self.session.app().model
    }

    /// The application has room for more messages, or has none, as a stream that nobody reads. Without room
    /// one more message comes at most.
    pub fn set_room(&mut self, room: bool) {
        self.session.app().full = !room;
    }

    /// A word for the session's state.
    pub fn state_name(&self) -> &'static str {
        self.session.state_name()
    }

    /// Whether commands can be sent.
    pub fn is_up(&self) -> bool {
        self.shared.with(|outbound| outbound.is_up())
    }

    /// Whether bytes wait for room in the socket.
    pub fn is_blocked(&self) -> bool {
        self.shared.with(|outbound| outbound.line.wire.is_blocked())
    }

    /// What the client counted.
    pub fn counters(&self) -> Counters {
        self.shared.with(|outbound| outbound.line.stats)
    }

    /// Publishes. With a publish store, returns the number of the message.
    ///
    /// # Errors
    /// As `Client::publish`, without waiting.
    pub fn publish(&mut self, now: Time, topic: &str, data: &[u8]) -> Result<Option<u64>> {
        let published = self.act(now, |outbound| outbound.publish(now, &Publishing::new(topic, data)))?;
        Ok(published.number)
    }

    /// Whether the publish store has a message as safely as it promises: as `Receipt::is_stored`.
    pub fn is_stored(&self, number: u64) -> bool {
        self.shared.with(|outbound| outbound.store_has(number))
    }

    /// Why the server has refused a message, if it has.
    pub fn refusal(&self, number: u64) -> Option<String> {
        self.shared.with(|outbound| outbound.refusal(number))
    }

    /// How the publish store stands.
    pub fn store_status(&self) -> Option<StoreStatus> {
        self.shared.with(|outbound| outbound.store_status())
    }

    /// Waits until a message is persisted or refused: as `Receipt::wait_persisted`.
    pub fn await_persisted(&mut self, now: Time, number: u64, timeout: Option<Duration>) -> Ticket {
        let ticket = Ticket::default();
        self.act(now, |outbound| outbound.await_persisted(now, number, timeout, &ticket.0));
        ticket
    }

    /// The application is done with a message of a replay: as `Message::discard`.
    ///
    /// # Errors
    /// The store cannot keep that.
    pub fn discard(&self, sub: Sub, message: MessageId) -> Result<()> {
        let replay = self.shared.with(|outbound| outbound.replay(sub.0));
        replay.map_or(Ok(()), |replay| replay.discard(message))
    }

    /// Places a subscription.
    ///
    /// # Errors
    /// As `Subscribe::start`, before the answer.
    pub fn subscribe(
        &mut self,
        now: Time,
        topic: &str,
        max_backlog: u32,
        auto_ack: bool,
        timeout: Option<Duration>,
    ) -> Result<(Sub, Ticket)> {
        let command = Command::subscribe(topic).max_backlog(max_backlog);
        self.place(now, command, auto_ack, timeout)
    }

    /// Places a subscription or a query.
    ///
    /// # Errors
    /// As `Client::execute`, before the answer.
    pub fn place(
        &mut self,
        now: Time,
        command: Command,
        auto_ack: bool,
        timeout: Option<Duration>,
    ) -> Result<(Sub, Ticket)> {
        command.check()?;
        let spec = Spec { auto_ack, ..Spec::new(command) };
        let ticket = Ticket::default();
        self.act(now, |outbound| {
            let key = outbound.reserve();
            let command = spec.command.clone();
            outbound.place(now, key, spec, timeout, &ticket.0)?;
            if let Some(replay) = outbound.replay(key) {
                replay.begin(&command)?;
            }
            Ok((Sub(key), ticket.clone()))
        })
    }

    /// Replaces what a subscription asks for.
    ///
    /// # Errors
    /// As `Subscription::replace`, before the answer.
    pub fn replace(
        &mut self,
        now: Time,
        sub: Sub,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<Ticket> {
        let ticket = Ticket::default();
        self.act(now, |outbound| {
            let serial = outbound.reserve();
            let change = |spec: &Spec| Ok(Spec { command, ..spec.clone() });
            outbound.replace(now, sub.0, serial, false, change, timeout, &ticket.0)
        })?;
        Ok(ticket)
    }

    /// Executes a command whose messages nobody wants, such as a `sow_delete`.
    ///
    /// # Errors
    /// As `Client::perform`, before the answer.
    pub fn perform(&mut self, now: Time, command: &Command, timeout: Option<Duration>) -> Result<Ticket> {
        command.check()?;
        let ticket = Ticket::default();
        let wait = Wait::processed(timeout, &ticket.0);
        self.act(now, |outbound| outbound.perform(now, command, Some(wait)))?;
        Ok(ticket)
    }

    /// What a subscription asks for at present, if it has not ended.
    pub fn command_of(&self, sub: Sub) -> Option<Command> {
        self.shared.with(|outbound| outbound.spec(sub.0).map(|spec| spec.command.clone()))
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, now: Time, sub: Sub) {
        self.act(now, |outbound| outbound.unsubscribe(now, sub.0));
    }

    /// Settles a message: acknowledges it, or with an option.
    pub fn settle(
        &mut self,
        now: Time,
        lease: LeaseId,
        topic: &[u8],
        bookmark: &[u8],
        option: Option<&AckOption>,
    ) {
        self.act(now, |outbound| outbound.settle(|| now, lease.0, topic, bookmark, option));
    }

    /// Asks the server to confirm that it has processed everything.
    ///
    /// # Errors
    /// As `Client::flush`, before the answer.
    pub fn flush(&mut self, now: Time, timeout: Option<Duration>) -> Result<Ticket> {
        let ticket = Ticket::default();
        self.act(now, |outbound| outbound.flush(now, timeout, &ticket.0))?;
        Ok(ticket)
    }

    fn act<T>(&self, now: Time, f: impl FnOnce(&mut Outbound) -> T) -> T {
        self.shared.act(now, Urgency::Now, f)
    }
}

impl<M: Model> Machine for SimClient<M> {
    type Note = SimNote;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, SimNote>, sink: &mut S) {
        let input = match input {
            Input::Note(note) => Input::Note(match note {
                SimNote::Connect(ticket) => Note::Connect { servers: None, waiter: ticket.0.into() },
                SimNote::Close { within, ticket } => Note::Close { within, waiter: ticket.0.into() },
                SimNote::Abort(ticket) => Note::Abort { waiter: ticket.0.into() },
                SimNote::Wake => Note::Wake,
                SimNote::Room => {
                    self.shared.with(|outbound| outbound.line.wire.unblock());
                    Note::Wake
                }
            }),
            Input::Connected { conn, local, peer } => Input::Connected { conn, local, peer },
            Input::ConnectFailed { conn, error } => Input::ConnectFailed { conn, error },
            Input::Accepted { conn, listener, peer } => Input::Accepted { conn, listener, peer },
            Input::Received { conn, bytes } => Input::Received { conn, bytes },
            Input::Writable { conn } => Input::Writable { conn },
            Input::Closed { conn, reason } => Input::Closed { conn, reason },
            Input::Timer => Input::Timer,
        };
        self.session.handle(now, input, sink);
    }

    fn deadline(&self) -> Option<Time> {
        self.session.deadline()
    }
}

impl<M: std::fmt::Debug> std::fmt::Debug for SimClient<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimClient").finish_non_exhaustive()
    }
}
