//! The application's hooks: what it hears of besides the messages of its subscriptions.
//!
//! Owns who listens, and calls it: without any lock held, each panic caught and reported.
//! Each can be set, replaced and removed at any time; a call under way ends normally.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amps_protocol::{CommandKind, Message as Raw};

use crate::Client;
use crate::caller;
use crate::command::Command;
use crate::dispatcher::panic_text;
use crate::error::{Error, Result};
use crate::lease::LeaseOverrun;
use crate::listener::{AfterRefusal, ConnectionState};
use crate::trace::Trace;
use crate::write_failure::FailedWrite;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server.
    Inbound,
    /// To the server.
    Outbound,
}

/// Names a hook, to remove what was set for it; see [`Client::remove_hook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// Every listener for connection states.
    States,
    /// The listener for errors that have no caller.
    Errors,
    /// The listener for messages that no subscription took.
    Unexpected,
    /// The listener for messages that were seen before.
    Duplicates,
    /// The listener for writes that the server refused.
    FailedWrites,
    /// Who decides whether the publish store may grow; without, it may.
    StoreGrowth,
    /// Who decides what becomes of subscriptions that are refused after a reconnect.
    FailedResubscriptions,
    /// The listener for every message of one kind.
    Messages(CommandKind),
    /// What happens after an unexpected disconnect.
    Disconnect,
    /// Who sees the raw bytes.
    Traffic,
    /// The listener for streams that are full.
    SlowConsumer,
    /// The listener for leases that ended before their message was settled.
    LeaseOverruns,
    /// What runs when a connection begins.
    ConnectionStart,
    /// What runs when a connection ends.
    ConnectionEnd,
}

/// Names a listener for connection states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

pub(crate) type StateListener = Arc<dyn Fn(ConnectionState) + Send + Sync>;
pub(crate) type ErrorListener = Arc<dyn Fn(&Error) + Send + Sync>;
pub(crate) type MessageListener = Arc<dyn Fn(&Raw<&[u8]>) + Send + Sync>;
pub(crate) type WriteListener = Arc<dyn Fn(&FailedWrite<'_>) + Send + Sync>;
pub(crate) type GrowthListener = Arc<dyn Fn(u64) -> bool + Send + Sync>;
pub(crate) type RefusalListener = Arc<dyn Fn(&Command, &Error) -> AfterRefusal + Send + Sync>;
pub(crate) type TrafficListener = Arc<Mutex<dyn FnMut(Direction, &[u8]) + Send>>;
pub(crate) type OverrunListener = Arc<dyn Fn(&LeaseOverrun) + Send + Sync>;
pub(crate) type SlowListener = Arc<dyn Fn(&SlowConsumer) + Send + Sync>;
/// What is to run once the client is recovered.
pub(crate) type Deferred = Box<dyn FnOnce(&Client) + Send>;
pub(crate) type ThreadHook = Arc<dyn Fn() + Send + Sync>;
pub(crate) type DisconnectHandler = Arc<Mutex<dyn FnMut(&Client, &Error) -> Result<()> + Send>>;

/// A stream that is full, because nobody reads it as fast as messages come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowConsumer {
    /// The subscription id.
    pub subscription: String,
    /// Unread messages.
    pub depth: usize,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) trace: Trace,
    set: Mutex<Set>,
    /// One bit for each kind of message that somebody watches.
    watched: AtomicU32,
    /// Somebody sees the raw bytes.
    tapped: AtomicBool,
    /// The thread on which the listener for traffic runs; 0 for none.
    tapping: AtomicU64,
}

#[derive(Default)]
struct Set {
    states: Vec<(ListenerId, StateListener)>,
    last_state: Option<ConnectionState>,
    last_id: u64,
    error: Option<ErrorListener>,
    unexpected: Option<MessageListener>,
    duplicate: Option<MessageListener>,
    failed_write: Option<WriteListener>,
    growth: Option<GrowthListener>,
    refusal: Option<RefusalListener>,
    messages: Vec<(CommandKind, MessageListener)>,
    disconnect: Option<DisconnectHandler>,
    traffic: Option<TrafficListener>,
    slow: Option<SlowListener>,
    overrun: Option<OverrunListener>,
    start: Option<ThreadHook>,
    end: Option<ThreadHook>,
    deferred: Vec<Deferred>,
    /// Somebody runs what was put off.
    deferring: bool,
    /// The connection is there, and everything is as it was.
    recovered: bool,
}

/// Notes, when it is dropped, that nobody runs any more.
struct Over<'a>(&'a AtomicU64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Takes the listener for one kind of message out.
fn take_of(
    messages: &mut Vec<(CommandKind, MessageListener)>,
    kind: CommandKind,
) -> Option<(CommandKind, MessageListener)> {
    let at = messages.iter().position(|(other, _)| *other == kind)?;
    Some(messages.remove(at))
}

const fn bit(kind: CommandKind) -> u32 {
    1 << (kind as u8 % 32)
}

impl Hooks {
    pub(crate) fn add_state(&self, listener: StateListener) -> ListenerId {
        let mut set = self.lock();
        set.last_id += 1;
        let id = ListenerId(set.last_id);
        set.states.push((id, listener));
        id
    }

    pub(crate) fn remove_state(&self, id: ListenerId) -> bool {
        let mut set = self.lock();
        let at = set.states.iter().position(|(other, _)| *other == id);
        let old = at.map(|at| set.states.remove(at));
        drop(set);
        old.is_some()
    }

    pub(crate) fn set_error(&self, listener: ErrorListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().error.replace(listener);
    }

    pub(crate) fn set_unexpected(&self, listener: MessageListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().unexpected.replace(listener);
    }

    pub(crate) fn set_duplicate(&self, listener: MessageListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().duplicate.replace(listener);
    }

    pub(crate) fn set_failed_write(&self, listener: WriteListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().failed_write.replace(listener);
    }

    pub(crate) fn set_growth(&self, listener: GrowthListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().growth.replace(listener);
    }

    pub(crate) fn set_refusal(&self, listener: RefusalListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().refusal.replace(listener);
    }

    pub(crate) fn set_messages(&self, kind: CommandKind, listener: MessageListener) {
        let mut set = self.lock();
        let _old = take_of(&mut set.messages, kind);
        set.messages.push((kind, listener));
        self.watched.fetch_or(bit(kind), Ordering::Relaxed);
        drop(set);
    }

    pub(crate) fn set_disconnect(&self, handler: DisconnectHandler) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().disconnect.replace(handler);
    }

    pub(crate) fn set_traffic(&self, listener: TrafficListener) {
        let _old = self.lock().traffic.replace(listener);
        self.tapped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_slow(&self, listener: SlowListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().slow.replace(listener);
    }

    pub(crate) fn set_overrun(&self, listener: OverrunListener) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().overrun.replace(listener);
    }

    /// Whether anybody wants to know of leases that ended too early.
    pub(crate) fn watches_leases(&self) -> bool {
        self.trace.tells_warnings() || self.lock().overrun.is_some()
    }

    pub(crate) fn set_start(&self, hook: ThreadHook) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().start.replace(hook);
    }

    pub(crate) fn set_end(&self, hook: ThreadHook) {
        // What was there is let go without the lock: its destructor is user code.
        let _old = self.lock().end.replace(hook);
    }

    pub(crate) fn defer(&self, deferred: Deferred) {
        self.lock().deferred.push(deferred);
    }

    pub(crate) fn set_recovered(&self, recovered: bool) {
        self.lock().recovered = recovered;
    }

    /// The first that was put off, if it is time and nobody is at it already.
    pub(crate) fn begin_deferred(&self) -> Option<Deferred> {
        let mut set = self.lock();
        if !set.recovered || set.deferring || set.deferred.is_empty() {
            return None;
        }
        set.deferring = true;
        Some(set.deferred.remove(0))
    }

    /// The next; `None` if there is none, and then somebody else may begin.
    pub(crate) fn next_deferred(&self) -> Option<Deferred> {
        let mut set = self.lock();
        if set.recovered && !set.deferred.is_empty() {
            return Some(set.deferred.remove(0));
        }
        set.deferring = false;
        None
    }

    pub(crate) fn remove(&self, hook: Hook) {
        let mut set = self.lock();
        // Let go without the lock: its destructor is user code.
        let old: Box<dyn Any> = match hook {
            Hook::States => Box::new(std::mem::take(&mut set.states)),
            Hook::Errors => Box::new(set.error.take()),
            Hook::Unexpected => Box::new(set.unexpected.take()),
            Hook::Duplicates => Box::new(set.duplicate.take()),
            Hook::FailedWrites => Box::new(set.failed_write.take()),
            Hook::StoreGrowth => Box::new(set.growth.take()),
            Hook::FailedResubscriptions => Box::new(set.refusal.take()),
            Hook::Messages(kind) => {
                let old = take_of(&mut set.messages, kind);
                let watched = set.messages.iter().fold(0, |bits, (kind, _)| bits | bit(*kind));
                self.watched.store(watched, Ordering::Relaxed);
                Box::new(old)
            }
            Hook::Disconnect => Box::new(set.disconnect.take()),
            Hook::Traffic => {
                self.tapped.store(false, Ordering::Relaxed);
                Box::new(set.traffic.take())
            }
            Hook::SlowConsumer => Box::new(set.slow.take()),
            Hook::LeaseOverruns => Box::new(set.overrun.take()),
            Hook::ConnectionStart => Box::new(set.start.take()),
            Hook::ConnectionEnd => Box::new(set.end.take()),
        };
        drop(set);
        drop(old);
    }

    pub(crate) fn disconnect_handler(&self) -> Option<DisconnectHandler> {
        self.lock().disconnect.clone()
    }

    /// Whether somebody wants to do something to the thread that serves the client.
    pub(crate) fn minds_the_thread(&self) -> bool {
        let hooks = self.lock();
        hooks.start.is_some() || hooks.end.is_some()
    }

    pub(crate) fn last_state(&self) -> Option<ConnectionState> {
        self.lock().last_state
    }

    // ----- calls ----------------------------------------------------------------------

    pub(crate) fn report(&self, error: &Error) {
        self.trace.error(error);
        let listener = self.lock().error.clone();
        if let Some(listener) = listener {
            // A listener's own panic has nobody left to be reported to.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(error)));
        }
    }

    pub(crate) fn state(&self, state: ConnectionState) {
        self.trace.state(state);
        let listeners: Vec<StateListener> = {
            let mut set = self.lock();
            set.last_state = Some(state);
            set.states.iter().map(|(_, listener)| Arc::clone(listener)).collect()
        };
        for listener in listeners {
            self.guarded("a connection state listener", || listener(state));
        }
    }

    /// A connection begins or ends, on the thread that serves it.
    pub(crate) fn connection(&self, begins: bool) {
        let set = self.lock();
        let hook = if begins { set.start.clone() } else { set.end.clone() };
        drop(set);
        if let Some(hook) = hook {
            self.guarded("the hook of the receive thread", || hook());
        }
    }

    #[inline]
    pub(crate) fn watches(&self, kind: CommandKind) -> bool {
        self.watched.load(Ordering::Relaxed) & bit(kind) != 0
    }

    pub(crate) fn observe(&self, message: &Raw<&[u8]>) {
        let kind = message.command();
        let listener =
            self.lock().messages.iter().find(|(other, _)| *other == kind).map(|(_, l)| Arc::clone(l));
        if let Some(listener) = listener {
            self.guarded("the listener for messages of one kind", || listener(message));
        }
    }

    pub(crate) fn unexpected(&self, message: &Raw<&[u8]>) {
        let listener = self.lock().unexpected.clone();
        if let Some(listener) = listener {
            self.guarded("the listener for unexpected messages", || listener(message));
        }
    }

    pub(crate) fn duplicate(&self, message: &Raw<&[u8]>) {
        let listener = self.lock().duplicate.clone();
        if let Some(listener) = listener {
            self.guarded("the listener for duplicates", || listener(message));
        }
    }

    /// What becomes of a subscription that is refused after a reconnect.
    pub(crate) fn not_resubscribed(&self, command: &Command, error: &Error) -> AfterRefusal {
        let mut decision = AfterRefusal::default();
        let listener = self.lock().refusal.clone();
        if let Some(listener) = listener {
            let what = "the listener for failed resubscriptions";
            self.guarded(what, || decision = listener(command, error));
        }
        decision
    }

    /// Returns whether somebody wanted to know.
    pub(crate) fn failed_write(&self, ack: &Raw<&[u8]>, original: Option<&Raw<&[u8]>>) -> bool {
        self.trace.refused_write(ack, original);
        let Some(listener) = self.lock().failed_write.clone() else { return false };
        self.guarded("the listener for failed writes", || listener(&FailedWrite::new(ack, original)));
        true
    }

    /// Whether the publish store may keep so many bytes.
    pub(crate) fn may_grow(&self, proposed: u64) -> bool {
        let Some(listener) = self.lock().growth.clone() else { return true };
        let mut may = false;
        self.guarded("the listener for the growth of the publish store", || may = listener(proposed));
        may
    }

    #[inline]
    pub(crate) fn is_tapped(&self) -> bool {
        self.tapped.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn traffic(&self, direction: Direction, bytes: &[u8]) {
        if !self.is_tapped() || bytes.is_empty() {
            return;
        }
        let listener = self.lock().traffic.clone();
        // What the listener sends by itself is not shown to it: it would wait for itself.
        let caller = caller::current();
        if self.tapping.load(Ordering::Relaxed) == caller {
            return;
        }
        if let Some(listener) = listener {
            self.guarded("the listener for traffic", || {
                let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
                self.tapping.store(caller, Ordering::Relaxed);
                let _over = Over(&self.tapping);
                listener(direction, bytes);
            });
        }
    }

    pub(crate) fn slow(&self, subscription: String, depth: usize) {
        self.trace.slow(&subscription, depth);
        let listener = self.lock().slow.clone();
        if let Some(listener) = listener {
            let event = SlowConsumer { subscription, depth };
            self.guarded("the listener for slow consumers", || listener(&event));
        }
    }

    pub(crate) fn overrun(&self, event: &LeaseOverrun) {
        self.trace.overrun(event);
        let listener = self.lock().overrun.clone();
        if let Some(listener) = listener {
            self.guarded("the listener for overrun leases", || listener(event));
        }
    }

    fn guarded(&self, what: &str, call: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
            let text = format!("{what} panicked: {}", panic_text(panic));
            self.report(&Error::Handler { subscription: "none".into(), text });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
