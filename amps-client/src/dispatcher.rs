//! From the session to the application: handlers, streams, listeners.
//!
//! Lives on the event loop's thread and runs user code there: message handlers and listeners.
//! A panic in any of them is caught and reported. Owns the targets of messages; other threads
//! hand new ones over through [`Targets`].

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use amps_protocol::{Header, Message as Raw};
use amps_transport::{Clock, Time};
use bytes::{Bytes, BytesMut};

use crate::client::Inner;
use crate::error::{DisconnectCause, Error, Result};
use crate::listener::ConnectionState;
use crate::message::{Message, Origin};
use crate::session::outbound::Generation;
use crate::session::subscription::SubKey;
use crate::session::{App, Delivery, Disposition, Shared};
use crate::stream::{Item, StreamQueue};

/// What a message handler returns. An error counts as "not processed".
pub type HandlerResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) type Handler = Box<dyn FnMut(&Message<&[u8]>) -> HandlerResult + Send>;
pub(crate) type StateListener = Arc<dyn Fn(ConnectionState) + Send + Sync>;
pub(crate) type ErrorListener = Arc<dyn Fn(&Error) + Send + Sync>;
pub(crate) type UnexpectedListener = Arc<dyn Fn(&Raw<&[u8]>) + Send + Sync>;
pub(crate) type DisconnectHandler = Box<dyn FnMut(&crate::Client, &Error) -> Result<()> + Send>;

/// Who takes the messages of one subscription.
pub(crate) enum Target {
    Handler { sub: String, handler: Handler },
    Stream { queue: Arc<StreamQueue>, silent: bool },
}

/// Targets on their way to the loop.
#[derive(Default)]
pub(crate) struct Targets {
    fresh: Mutex<Vec<(SubKey, Target)>>,
}

impl Targets {
    pub(crate) fn add(&self, key: SubKey, target: Target) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push((key, target));
    }

    fn take(&self) -> Vec<(SubKey, Target)> {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The application's listeners. Called without any lock held.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) state: Mutex<Vec<StateListener>>,
    pub(crate) error: Option<ErrorListener>,
    pub(crate) unexpected: Option<UnexpectedListener>,
    pub(crate) disconnect: Option<Arc<Mutex<DisconnectHandler>>>,
}

impl Listeners {
    pub(crate) fn report(&self, error: &Error) {
        if let Some(listener) = &self.error {
            // A listener's own panic has nobody left to be reported to.
            let _ = catch_unwind(AssertUnwindSafe(|| listener(error)));
        }
    }

    fn state(&self, state: ConnectionState) {
        let listeners = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| listener(state))) {
                let text = format!("a connection state listener panicked: {}", panic_text(panic));
                self.report(&Error::Handler { subscription: "none".into(), text });
            }
        }
    }
}

pub(crate) struct Dispatcher {
    fresh: Arc<Targets>,
    targets: BTreeMap<SubKey, Entry>,
    /// Streams that got messages in the read under way.
    touched: Vec<SubKey>,
    /// Streams over their limit.
    full: Vec<Arc<StreamQueue>>,
    listeners: Arc<Listeners>,
    client: Arc<OnceLock<Weak<Inner>>>,
    /// Lent to each borrowed message in turn, so that no reference count is touched.
    origin: Option<Origin>,
    shared: Arc<Shared>,
    clock: Clock,
    /// Of the connection that delivered last.
    generation: Generation,
    /// What a handler said, until its message is on its way back.
    failure: Option<Error>,
}

struct Entry {
    target: Target,
    gathered: Vec<Item>,
}

impl Dispatcher {
    pub(crate) fn new(
        fresh: Arc<Targets>,
        listeners: Arc<Listeners>,
        client: Arc<OnceLock<Weak<Inner>>>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        Self {
            fresh,
            targets: BTreeMap::new(),
            touched: Vec::new(),
            full: Vec::new(),
            listeners,
            client,
            origin: None,
            shared,
            clock,
            generation: 0,
            failure: None,
        }
    }

    fn take_fresh(&mut self) {
        for (key, target) in self.fresh.take() {
            self.targets.insert(key, Entry { target, gathered: Vec::new() });
        }
    }

    fn entry(&mut self, key: SubKey) -> Option<&mut Entry> {
        if !self.targets.contains_key(&key) {
            self.take_fresh();
        }
        self.targets.get_mut(&key)
    }

    /// Runs a handler with a message that borrows from the read buffer.
    fn handle(&mut self, delivery: Delivery<'_, '_>) -> Disposition {
        let Delivery { key, message, lease, .. } = delivery;
        let mut origin = self.origin.take().unwrap_or_else(|| Origin {
            shared: Arc::clone(&self.shared),
            clock: self.clock,
            key,
            lease,
        });
        origin.key = key;
        origin.lease = lease;
        let Some(Entry { target: Target::Handler { sub, handler }, .. }) = self.targets.get_mut(&key) else {
            return Disposition::Kept;
        };
        let raw = std::mem::replace(message, Raw::from_parts(&[], Header::default()));
        let view = Message::new(raw, origin);
        self.shared.set_busy(true);
        // Its error's text and destructor are user code as well.
        let outcome = catch_unwind(AssertUnwindSafe(|| handler(&view).map_err(|error| error.to_string())));
        self.shared.set_busy(false);
        let (raw, origin) = view.into_parts();
        *message = raw;
        self.origin = Some(origin);
        let text = match outcome {
            Ok(Ok(())) => return Disposition::Done,
            Ok(Err(text)) => text,
            Err(panic) => format!("it panicked: {}", panic_text(panic)),
        };
        self.failure = Some(Error::Handler { subscription: sub.clone(), text });
        Disposition::Failed
    }
}

impl App for Dispatcher {
    fn deliver(&mut self, delivery: Delivery<'_, '_>) -> Disposition {
        self.generation = delivery.generation;
        let key = delivery.key;
        // A subscription that just ended: its leases go back to the server with it.
        let Some(entry) = self.entry(key) else { return Disposition::Kept };
        if matches!(entry.target, Target::Handler { .. }) {
            return self.handle(delivery);
        }
        let Delivery { message, offset, lease, last, .. } = delivery;
        let end = offset + message.frame().len();
        let header = if last {
            let taken = std::mem::replace(message, Raw::from_parts(&[], Header::default()));
            taken.into_parts().1
        } else {
            message.header().clone()
        };
        if entry.gathered.is_empty() {
            entry.gathered.reserve(64);
        }
        entry.gathered.push(Item { start: offset, end, header, lease });
        if entry.gathered.len() == 1 {
            self.touched.push(key);
        }
        Disposition::Kept
    }

    fn report_failure(&mut self) {
        if let Some(error) = self.failure.take() {
            self.listeners.report(&error);
        }
    }

    fn now(&mut self, then: Time) -> Time {
        self.clock.now().max(then)
    }

    fn end_of_read(&mut self, bytes: BytesMut) {
        if self.touched.is_empty() {
            return;
        }
        let bytes = bytes.freeze();
        for key in std::mem::take(&mut self.touched) {
            let Some(entry) = self.targets.get_mut(&key) else { continue };
            let items = std::mem::take(&mut entry.gathered);
            if let Target::Stream { queue, .. } = &entry.target {
                let (bytes, items) = part_of_read(&bytes, items);
                if queue.push(bytes, items) {
                    self.full.push(Arc::clone(queue));
                }
            }
        }
    }

    fn wants_pause(&mut self) -> bool {
        self.full.retain(|queue| queue.is_paused());
        !self.full.is_empty()
    }

    fn ended(&mut self, key: SubKey, error: Option<Error>) {
        self.take_fresh();
        let Some(entry) = self.targets.remove(&key) else { return };
        match entry.target {
            Target::Stream { queue, .. } => {
                if error.is_some() {
                    // The server has its leases back.
                    queue.void_leases(self.generation);
                }
                queue.end(error);
                self.full.retain(|other| !Arc::ptr_eq(other, &queue));
            }
            Target::Handler { handler, .. } => {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
                    let text = format!("its destructor panicked: {}", panic_text(panic));
                    self.listeners.report(&Error::Handler { subscription: key.to_string(), text });
                }
            }
        }
    }

    fn interrupted(&mut self, key: SubKey) {
        let generation = self.generation;
        if let Some(Entry { target: Target::Stream { queue, .. }, .. }) = self.entry(key) {
            queue.void_leases(generation);
        }
    }

    fn resumed(&mut self, key: SubKey, queue: bool) {
        if let Some(Entry { target: Target::Stream { queue: stream, silent }, .. }) = self.entry(key) {
            // A queue delivers again what was lost on the way: only other streams have a gap.
            if !queue && !*silent {
                stream.notice(Error::Resumed);
            }
        }
    }

    fn draining(&mut self, key: SubKey) {
        if let Some(Entry { target: Target::Stream { queue, .. }, .. }) = self.entry(key) {
            queue.end(None);
        }
    }

    fn state(&mut self, state: ConnectionState) {
        self.listeners.state(state);
    }

    fn report(&mut self, error: &Error) {
        self.listeners.report(error);
    }

    fn disconnected(&mut self, error: &Error) {
        let Some(handler) = self.listeners.disconnect.clone() else { return };
        let Some(inner) = self.client.get().and_then(Weak::upgrade) else { return };
        let client = crate::Client::from_inner(inner);
        let (listeners, error) = (Arc::clone(&self.listeners), error.clone());
        // It may connect and wait, so it must not run here, on the loop.
        let spawned = std::thread::Builder::new().name("amps-disconnect".into()).spawn(move || {
            let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
            match catch_unwind(AssertUnwindSafe(|| handler(&client, &error))) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => listeners.report(&failure),
                Err(panic) => {
                    let text = format!("the disconnect handler panicked: {}", panic_text(panic));
                    listeners.report(&Error::Handler { subscription: "none".into(), text });
                }
            }
        });
        if let Err(error) = spawned {
            self.listeners.report(&Error::EventLoop(Arc::new(error)));
        }
    }

    fn unexpected(&mut self, message: &Raw<&[u8]>) {
        if let Some(listener) = &self.listeners.unexpected {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| listener(message))) {
                let text = format!("the listener for unexpected messages panicked: {}", panic_text(panic));
                self.listeners.report(&Error::Handler { subscription: "none".into(), text });
            }
        }
    }
}

impl Drop for Dispatcher {
    /// The loop is gone: nobody may wait for a message any more.
    fn drop(&mut self) {
        self.take_fresh();
        for entry in self.targets.values() {
            if let Target::Stream { queue, .. } = &entry.target {
                queue.end(Some(Error::disconnected(DisconnectCause::LoopEnded)));
            }
        }
    }
}

/// What a stream keeps of a read. A small part is copied, so that it does not pin the whole.
fn part_of_read(bytes: &Bytes, mut items: Vec<Item>) -> (Bytes, Vec<Item>) {
    let used: usize = items.iter().map(|item| item.end - item.start).sum();
    if used * 4 >= bytes.len() {
        return (bytes.clone(), items);
    }
    let mut part = BytesMut::with_capacity(used);
    for item in &mut items {
        let start = part.len();
        part.extend_from_slice(&bytes[item.start..item.end]);
        (item.start, item.end) = (start, part.len());
    }
    items.shrink_to_fit();
    (part.freeze(), items)
}

/// The message of a panic. The payload is dropped here, where its destructor may panic too.
fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    text.unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(start: usize, end: usize) -> Item {
        Item { start, end, header: Header::default(), lease: None }
    }

    #[test]
    fn a_stream_does_not_pin_a_read_of_which_it_has_little() {
        let read = Bytes::from((0..1000u16).map(|i| i as u8).collect::<Vec<_>>());
        let (part, items) = part_of_read(&read, vec![item(10, 20), item(500, 530)]);
        assert_eq!(part.len(), 40);
        assert_eq!(part[items[0].start..items[0].end], read[10..20]);
        assert_eq!(part[items[1].start..items[1].end], read[500..530]);
        let (whole, items) = part_of_read(&read, vec![item(0, 600)]);
        assert_eq!(whole.as_ptr(), read.as_ptr(), "most of it is shared, not copied");
        assert_eq!((items[0].start, items[0].end), (0, 600));
    }
}
