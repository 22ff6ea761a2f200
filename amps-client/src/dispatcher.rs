//! From the session to the application: handlers, streams, listeners.
//!
//! Lives on the event loop's thread and runs user code there: message handlers and listeners.
//! A panic in any of them is caught and reported. Owns the targets of messages; other threads
//! hand new ones over through [`Targets`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use amps_protocol::{CommandKind, Header, Message as Raw};
use amps_transport::{Clock, ConnId, Time};
use bytes::{Bytes, BytesMut};

use crate::advisor::{Advisor, News};
use crate::authenticator::{Answer, Authenticator, AuthenticatorError, Question, Step};
use crate::client::Inner;
use crate::command::Command;
use crate::error::{DisconnectCause, Error};
use crate::hooks::{Direction, Hooks};
use crate::listener::{AfterRefusal, ConnectionState};
use crate::message::{Message, Origin};
use crate::session::by_key::ByKey;
use crate::session::outbound::Generation;
use crate::session::replay::{self, Replay};
use crate::session::settling::Lease;
use crate::session::shared::Urgency;
use crate::session::subscription::SubKey;
use crate::session::{App, Delivery, Disposition, Note, Shared};
use crate::stream::{Item, Pushed, StreamQueue};

/// What a message handler returns. An error counts as "not processed".
pub type HandlerResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) type Handler = Box<dyn FnMut(&Message<&[u8]>) -> HandlerResult + Send>;
/// Who takes the messages of one subscription.
pub(crate) enum Target {
    Handler { sub: String, handler: Handler },
    Stream { sub: String, queue: Arc<StreamQueue>, silent: bool },
}

/// Targets on their way to the loop.
#[derive(Default)]
pub(crate) struct Targets {
    fresh: Mutex<Vec<(SubKey, Target)>>,
    /// Streams over their limit, because of which nothing is received.
    full: Mutex<Vec<Arc<StreamQueue>>>,
    /// For when the server has agreed to the replacement of this number.
    replacements: Mutex<Vec<(SubKey, Target)>>,
}

impl Targets {
    pub(crate) fn add(&self, key: SubKey, target: Target) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push((key, target));
    }

    /// Whether nothing can be received before this caller has read a stream of its own. Asked of the streams
    /// themselves: who has just read one is not held back any more, whatever the loop knows.
    pub(crate) fn holds_back(&self, caller: u64) -> bool {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.iter().any(|queue| queue.awaited_reader() == Some(caller))
    }

    fn set_full(&self, full: &[Arc<StreamQueue>]) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = full.to_vec();
    }

    /// Takes the messages of a subscription over once its replacement is in force.
    pub(crate) fn add_replacement(&self, serial: SubKey, target: Target) {
        self.lock_replacements().push((serial, target));
    }

    /// A replacement came to an end, one way or the other.
    pub(crate) fn take_replacement(&self, serial: SubKey) -> Option<Target> {
        let mut replacements = self.lock_replacements();
        let at = replacements.iter().position(|(other, _)| *other == serial)?;
        Some(replacements.swap_remove(at).1)
    }

    fn lock_replacements(&self) -> MutexGuard<'_, Vec<(SubKey, Target)>> {
        self.replacements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<(SubKey, Target)> {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Dispatcher {
    fresh: Arc<Targets>,
    targets: ByKey<Entry>,
    /// Streams that got messages in the read under way.
    touched: Vec<SubKey>,
    /// Streams over their limit; the same as other threads see.
    full: Vec<Arc<StreamQueue>>,
    /// The next message must wait until streams over their limit were read.
    no_room: bool,
    /// Streams that their policy has ended.
    overrun: Vec<(SubKey, Arc<StreamQueue>)>,
    /// Streams whose messages go to somebody else from now on, with what they still get of this read.
    replaced: Vec<(SubKey, Target, Vec<Item>)>,
    listeners: Arc<Hooks>,
    authenticator: Option<Arc<dyn Authenticator>>,
    /// Of the server that was chosen.
    chosen: Option<Arc<dyn Authenticator>>,
    advisor: Option<Advisor>,
    client: Arc<OnceLock<Weak<Inner>>>,
    /// Lent to each borrowed message in turn, so that no reference count is touched.
    lent: Option<Arc<Shared>>,
    shared: Arc<Shared>,
    clock: Clock,
    /// Of the connection that delivered last.
    generation: Generation,
    /// What a handler said, until its message is on its way back.
    failure: Option<Error>,
}

/// A batch of records in a frame larger than this is copied record by record, where its stream is bounded.
const LARGE_BATCH: usize = 16 << 10;

/// Room for so many messages of one read is made at once.
const MOST_RESERVED: usize = 1024;

struct Entry {
    target: Target,
    /// Streams that had the messages before, and may hold some.
    former: Vec<Weak<StreamQueue>>,
    gathered: Vec<Item>,
    /// How many the last read brought: as many are likely to come again.
    usual: usize,
    /// How many more the stream may take.
    room: usize,
}

impl Entry {
    /// Leases up to `generation` have ended, whoever holds the messages.
    fn void_leases(&self, generation: Generation) {
        if let Target::Stream { queue, .. } = &self.target {
            queue.void_leases(generation);
        }
        for former in self.former.iter().filter_map(Weak::upgrade) {
            former.void_leases(generation);
        }
    }
}

impl Dispatcher {
    #[allow(
        clippy::too_many_arguments,
        reason = "it is made in one place, from parts that have nothing in common"
    )]
    pub(crate) fn new(
        fresh: Arc<Targets>,
        listeners: Arc<Hooks>,
        authenticator: Option<Arc<dyn Authenticator>>,
        advisor: Option<Advisor>,
        client: Arc<OnceLock<Weak<Inner>>>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        Self {
            fresh,
            targets: ByKey::default(),
            no_room: false,
            overrun: Vec::new(),
            replaced: Vec::new(),
            touched: Vec::new(),
            full: Vec::new(),
            listeners,
            authenticator,
            chosen: None,
            advisor,
            client,
            lent: None,
            shared,
            clock,
            generation: 0,
            failure: None,
        }
    }

    #[cold]
    fn take_fresh(&mut self) {
        for (key, target) in self.fresh.take() {
            self.targets
                .insert(key, Entry { target, former: Vec::new(), gathered: Vec::new(), usual: 0, room: 0 });
        }
    }

    #[inline]
    fn entry(&mut self, key: SubKey) -> Option<&mut Entry> {
        if self.targets.get_mut(key).is_none() {
            self.take_fresh();
        }
        self.targets.get_mut(key)
    }

    fn pushed(&mut self, key: SubKey, pushed: Pushed, queue: &Arc<StreamQueue>) {
        let name = || match self.targets.get(key).map(|entry| &entry.target) {
            Some(Target::Stream { sub, .. } | Target::Handler { sub, .. }) => sub.clone(),
            None => key.to_string(),
        };
        match pushed {
            Pushed::Room => {}
            Pushed::Full(depth) => {
                self.no_room = true;
                if !self.full.iter().any(|other| Arc::ptr_eq(other, queue)) {
                    let name = name();
                    self.full.push(Arc::clone(queue));
                    self.fresh.set_full(&self.full);
                    self.listeners.slow(name, depth);
                }
            }
            Pushed::Returned(leased) => self.give_back(leased),
            Pushed::Overrun => {
                let name = name();
                self.overrun.push((key, Arc::clone(queue)));
                self.listeners.slow(name, queue.depth());
            }
        }
    }

    /// Nobody is going to read these.
    fn give_back(&self, leased: Vec<(Raw, Lease)>) {
        let now = self.clock.now();
        for (message, lease) in leased {
            self.shared.act_timed(now, |outbound| outbound.give_back(now, &message, lease));
        }
    }

    /// Lets whoever took messages go.
    fn dispose(&mut self, key: SubKey, target: Target, error: Option<Error>) {
        match target {
            Target::Stream { queue, .. } => {
                queue.end(error);
                self.full.retain(|other| !Arc::ptr_eq(other, &queue));
                self.fresh.set_full(&self.full);
            }
            Target::Handler { handler, .. } => {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
                    let text = format!("its destructor panicked: {}", panic_text(panic));
                    self.listeners.report(&Error::Handler { subscription: key.to_string(), text });
                }
            }
        }
    }

    /// Runs a handler with a message that borrows from the read buffer.
    #[inline]
    fn handle(
        &mut self,
        key: SubKey,
        message: &Raw<&[u8]>,
        lease: Option<Lease>,
        replay: Option<Arc<Replay>>,
    ) -> Disposition {
        let Some(Entry { target: Target::Handler { sub, handler }, .. }) = self.targets.get_mut(key) else {
            return Disposition::Kept;
        };
        let shared = self.lent.take().unwrap_or_else(|| Arc::clone(&self.shared));
        let origin = Origin { shared, clock: self.clock, key, lease, replay };
        let view = Message::new(message.clone(), origin);
        self.shared.set_busy(true);
        // Its error's text and destructor are user code as well.
        let outcome = catch_unwind(AssertUnwindSafe(|| handler(&view).map_err(|error| error.to_string())));
        self.shared.set_busy(false);
        let watched = lease.filter(|_| self.shared.leases.is_on() && matches!(outcome, Ok(Ok(()))));
        if watched.is_some_and(|lease| self.shared.with(|outbound| outbound.acknowledges(lease))) {
            view.watch_lease(true);
        }
        self.lent = Some(view.origin.shared);
        let text = match outcome {
            Ok(Ok(())) => return Disposition::Done,
            Ok(Err(text)) => text,
            Err(panic) => format!("it panicked: {}", panic_text(panic)),
        };
        self.failure = Some(Error::Handler { subscription: sub.clone(), text });
        Disposition::Failed
    }

    /// Keeps a message for the stream that it belongs to, until the end of the read.
    #[inline(never)]
    fn gather(&mut self, delivery: Delivery<'_, '_>) -> Disposition {
        let Delivery { key, message, offset, lease, replay, last, .. } = delivery;
        let Some(entry) = self.targets.get_mut(key) else { return Disposition::Kept };
        let Target::Stream { queue, .. } = &entry.target else { return Disposition::Kept };
        if entry.gathered.is_empty() {
            // A bounded stream stops within a large batch again and again: what it takes of it is copied, record by
            // record, and not the whole each time.
            let room = queue.room();
            let large = room != usize::MAX
                && message.command() == CommandKind::Sow
                && message.frame().len() > LARGE_BATCH;
            if queue.conflates() || large {
                let queue = Arc::clone(queue);
                let (pushed, replaced) = queue.push_single(message.to_owned(), lease, self.clock.now());
                self.pushed(key, pushed, &queue);
                // Else nobody would ever discard it, and the recovery point would stay before it.
                let unseen = replay.zip(replaced.as_ref().and_then(replay::logged));
                if let Some(Err(error)) = unseen.map(|(replay, message)| replay.discard(message)) {
                    self.listeners.report(&error);
                }
                return Disposition::Kept;
            }
            entry.gathered.reserve(entry.usual.clamp(4, MOST_RESERVED));
            entry.room = room;
        }
        let end = offset + message.frame().len();
        let header = if last {
            let taken = std::mem::replace(message, Raw::from_parts(&[], Header::default()));
            taken.into_parts().1
        } else {
            message.header().clone()
        };
        // Of the records of one frame each has what lies behind the one before it.
        let before = entry.gathered.last().filter(|before| before.start == offset).map(|before| before.end);
        let own = end - before.unwrap_or(offset).min(end);
        entry.gathered.push(Item { start: offset, end, own, header, lease });
        entry.room = entry.room.saturating_sub(1);
        let (full, first) = (entry.room == 0, entry.gathered.len() == 1);
        self.no_room |= full;
        if first {
            self.touched.push(key);
        }
        Disposition::Kept
    }
}

impl App for Dispatcher {
    #[inline]
    fn deliver(&mut self, delivery: Delivery<'_, '_>) -> Disposition {
        // Taken apart and put together again, so that a handler's way needs no `Delivery` in memory.
        let Delivery { key, generation, message, offset, lease, replay, last } = delivery;
        self.generation = generation;
        // A subscription that just ended: its leases go back to the server with it.
        let Some(entry) = self.entry(key) else { return Disposition::Kept };
        match entry.target {
            Target::Handler { .. } => self.handle(key, message, lease, replay),
            Target::Stream { .. } => {
                self.gather(Delivery { key, generation, message, offset, lease, replay, last })
            }
        }
    }

    fn report_failure(&mut self) {
        if let Some(error) = self.failure.take() {
            self.listeners.report(&error);
        }
    }

    fn now(&mut self, then: Time) -> Time {
        self.clock.now().max(then)
    }

    fn holds_bytes(&self) -> bool {
        !self.touched.is_empty() || !self.replaced.is_empty()
    }

    fn end_of_read(&mut self, bytes: Bytes) {
        self.no_room = false;
        let now = self.clock.now();
        for (key, old, items) in std::mem::take(&mut self.replaced) {
            if let Target::Stream { queue, .. } = &old {
                if !items.is_empty() {
                    let (bytes, items) = part_of_read(&bytes, items);
                    // Whoever took over is not to be held back by it.
                    if let Pushed::Returned(leased) = queue.push(bytes, items, now) {
                        self.give_back(leased);
                    }
                }
            }
            self.dispose(key, old, None);
        }
        for key in std::mem::take(&mut self.touched) {
            let Some(entry) = self.targets.get_mut(key) else { continue };
            let items = std::mem::take(&mut entry.gathered);
            entry.usual = items.len() + items.len() / 8;
            if items.is_empty() {
                continue;
            }
            if let Target::Stream { queue, .. } = &entry.target {
                let queue = Arc::clone(queue);
                let (bytes, items) = part_of_read(&bytes, items);
                self.pushed(key, queue.push(bytes, items, now), &queue);
            }
        }
        self.no_room = false;
    }

    fn is_full(&self) -> bool {
        self.no_room
    }

    fn wants_pause(&mut self) -> bool {
        self.no_room = false;
        let now = self.clock.now();
        for (key, queue) in std::mem::take(&mut self.overrun) {
            // Unless the messages have gone over to somebody else in the same read.
            let target = self.targets.get(key).map(|entry| &entry.target);
            if matches!(target, Some(Target::Stream { queue: current, .. }) if Arc::ptr_eq(current, &queue)) {
                self.shared.act(now, Urgency::Now, |outbound| outbound.unsubscribe(now, key));
            }
        }
        let before = self.full.len();
        self.full.retain(|queue| queue.is_paused());
        if self.full.len() != before {
            self.fresh.set_full(&self.full);
        }
        !self.full.is_empty()
    }

    fn held_back(&self) -> Vec<u64> {
        self.full.iter().filter_map(|queue| queue.awaited_reader()).collect()
    }

    fn replaced(&mut self, key: SubKey, serial: SubKey, takes_over: bool) {
        let Some(target) = self.fresh.take_replacement(serial).filter(|_| takes_over) else { return };
        let Some(entry) = self.entry(key) else { return };
        let old = std::mem::replace(&mut entry.target, target);
        // What came before the server agreed is the old one's.
        let gathered = std::mem::take(&mut entry.gathered);
        entry.room = 0;
        match old {
            Target::Stream { ref queue, .. } => {
                entry.former.retain(|former| former.strong_count() > 0);
                entry.former.push(Arc::downgrade(queue));
                self.replaced.push((key, old, gathered));
            }
            Target::Handler { .. } => self.dispose(key, old, None),
        }
    }

    fn ended(&mut self, key: SubKey, error: Option<Error>) {
        self.take_fresh();
        let Some(entry) = self.targets.remove(key) else { return };
        // The server has its leases back, with the subscription or with the connection.
        entry.void_leases(self.generation);
        self.dispose(key, entry.target, error);
    }

    fn interrupted(&mut self, key: SubKey) {
        let generation = self.generation;
        if let Some(entry) = self.entry(key) {
            entry.void_leases(generation);
        }
    }

    fn resumed(&mut self, key: SubKey, gapless: bool) {
        if let Some(Entry { target: Target::Stream { queue: stream, silent, .. }, .. }) = self.entry(key) {
            // A queue, and a replay, delivers again what was lost on the way: only other streams have a gap.
            if !gapless && !*silent {
                stream.notice(Error::Resumed);
            }
        }
    }

    fn not_resubscribed(&mut self, command: &Command, error: &Error) -> AfterRefusal {
        self.listeners.not_resubscribed(command, error)
    }

    fn duplicate(&mut self, message: &Raw<&[u8]>) {
        self.listeners.duplicate(message);
    }

    fn draining(&mut self, key: SubKey) {
        if let Some(Entry { target: Target::Stream { queue, .. }, .. }) = self.entry(key) {
            queue.end(None);
        }
    }

    fn state(&mut self, state: ConnectionState) {
        // Whoever prepares the thread comes before whoever is told that it serves.
        if state == ConnectionState::Connected {
            self.listeners.connection(true);
            // Who listens to `tracing` may have come since.
            self.shared.leases.turn(self.listeners.watches_leases());
        }
        if state == ConnectionState::LoggedOn {
            let info = self.shared.with(|outbound| outbound.info.clone());
            self.listeners.trace.server(info.as_deref());
        }
        self.listeners.state(state);
        if state == ConnectionState::Disconnected {
            self.listeners.set_recovered(false);
            self.listeners.connection(false);
        }
    }

    fn recovered(&mut self) {
        self.listeners.set_recovered(true);
        if let Some(inner) = self.client.get().and_then(Weak::upgrade) {
            run_deferred(crate::Client::from_inner(inner), &self.listeners);
        }
    }

    fn report(&mut self, error: &Error) {
        self.listeners.report(error);
    }

    fn disconnected(&mut self, error: &Error) {
        let Some(handler) = self.listeners.disconnect_handler() else { return };
        let Some(inner) = self.client.get().and_then(Weak::upgrade) else { return };
        let client = crate::Client::from_inner(inner);
        let (listeners, error) = (Arc::clone(&self.listeners), error.clone());
        // It may connect and wait, so it must not run here, on the loop.
        let spawned = std::thread::Builder::new().name("amps-disconnect".into()).spawn(move || {
            let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
            match catch_unwind(AssertUnwindSafe(|| handler(&client, &error))) {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    listeners.report(&Error::disconnected(DisconnectCause::GaveUp(Box::new(failure))));
                }
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

    fn watches(&self, kind: CommandKind) -> bool {
        self.listeners.watches(kind)
    }

    fn observe(&mut self, message: &Raw<&[u8]>) {
        self.listeners.observe(message);
    }

    fn failed_write(&mut self, ack: &Raw<&[u8]>, original: Option<&Raw<&[u8]>>) -> bool {
        self.listeners.failed_write(ack, original)
    }

    fn authenticate(&mut self, conn: ConnId, question: &Question) -> bool {
        let chosen = self.chosen.as_ref().or(self.authenticator.as_ref());
        let Some(authenticator) = chosen.cloned() else { return false };
        let (back, question, listeners) =
            (Arc::clone(&self.client), question.clone(), Arc::clone(&self.listeners));
        // It may ask other systems and wait, so it must not run here, on the loop.
        let step = question.step;
        let spawned = std::thread::Builder::new().name("amps-authenticate".into()).spawn(move || {
            let user = question.user.clone();
            let answer =
                catch_unwind(AssertUnwindSafe(|| question.ask(&*authenticator))).unwrap_or_else(|panic| {
                    let text = format!("the authenticator panicked: {}", panic_text(panic));
                    listeners.report(&Error::Handler { subscription: "none".into(), text: text.clone() });
                    Answer { user, password: Err(Arc::from(AuthenticatorError::from(text))) }
                });
            let inner = back.get().and_then(Weak::upgrade).filter(|_| step != Step::Completed);
            if let Some(inner) = inner {
                inner.handle.post(Note::Authenticated { conn, answer: Box::new(answer) });
            }
        });
        if let Err(error) = spawned {
            let error = Arc::new(error);
            self.listeners.report(&Error::EventLoop(Arc::clone(&error)));
            if let Some(inner) = self.client.get().and_then(Weak::upgrade).filter(|_| step != Step::Completed)
            {
                let answer = Answer { user: String::new(), password: Err(error) };
                inner.handle.post(Note::Authenticated { conn, answer: Box::new(answer) });
            }
        }
        true
    }

    fn advises(&self) -> bool {
        self.advisor.is_some()
    }

    fn advise(&mut self, news: News) {
        if let Some(advisor) = &self.advisor {
            advisor.tell(news);
        }
    }

    fn chosen(&mut self, authenticator: Option<Arc<dyn Authenticator>>) {
        self.chosen = authenticator;
    }

    fn raw_inbound(&mut self, bytes: &[u8]) {
        self.listeners.traffic(Direction::Inbound, bytes);
    }

    fn unexpected(&mut self, message: &Raw<&[u8]>) {
        self.listeners.unexpected(message);
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

/// Runs what was put off, if the client is recovered: in order, on a thread where it may wait.
pub(crate) fn run_deferred(client: crate::Client, hooks: &Arc<Hooks>) {
    let Some(first) = hooks.begin_deferred() else { return };
    let (reporter, hooks) = (Arc::clone(hooks), Arc::clone(hooks));
    let spawned = std::thread::Builder::new().name("amps-deferred".into()).spawn(move || {
        let mut next = Some(first);
        while let Some(one) = next {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(&client))) {
                let text = format!("what was put off panicked: {}", panic_text(panic));
                hooks.report(&Error::Handler { subscription: "none".into(), text });
            }
            next = hooks.next_deferred();
        }
    });
    if let Err(error) = spawned {
        reporter.report(&Error::EventLoop(Arc::new(error)));
    }
}

/// What a stream keeps of a read. A small part is copied, so that it does not pin the whole.
fn part_of_read(bytes: &Bytes, mut items: Vec<Item>) -> (Bytes, Vec<Item>) {
    let used: usize = items.iter().map(|item| item.own).sum();
    if used * 4 >= bytes.len() {
        return (bytes.clone(), items);
    }
    let mut part = BytesMut::with_capacity(used);
    // Records of one frame begin at the same place: what they share is copied once.
    let (mut frame, mut copied, mut begin) = (usize::MAX, 0, 0);
    for item in &mut items {
        if item.start != frame {
            (frame, copied, begin) = (item.start, item.start, part.len());
        }
        part.extend_from_slice(bytes.get(copied..item.end).unwrap_or_default());
        copied = copied.max(item.end);
        item.end = begin + (item.end - item.start);
        item.start = begin;
    }
    items.shrink_to_fit();
    (part.freeze(), items)
}

/// The message of a panic. The payload is dropped here, where its destructor may panic too.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    text.unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(start: usize, end: usize) -> Item {
        Item { start, end, own: end - start, header: Header::default(), lease: None }
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
