//! What is published by way of a publish store: numbers, what the server has, what it still
//! has to be sent.
//!
//! Owns promise P5: a message is in the store before it is on the wire; on one connection
//! numbers ascend; everything that the store holds is sent, in order, before anything that is
//! published later. There is one way out for what does not go straight to the wire, whatever
//! kept it back (no connection, a replay, a slow socket, a commit that is not done):
//! [`Publisher::fill`], which goes on where the connection is.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;

use amps_protocol::{Command as Wire, CommandKind, LENGTH_PREFIX, Message, ReasonClass};
use bytes::{Bytes, BytesMut};

use super::bugs::Bugs;
use super::refusals::Refusals;
use super::wire::Wire as Queue;
use crate::error::{Error, Result};
use crate::publish_store::{Attached, PublishStore};
use crate::store_error::StoreError;

/// So many bytes wait before no more is read from the store, unless a simulator says otherwise.
const FILL_BYTES: usize = 256 << 10;

/// A store grows by doubling from here, unless the application has a say.
const FIRST_CAPACITY: u64 = 1 << 20;

/// Waits that are over, and what has to be reported.
pub(super) type Over = (Vec<u64>, Option<Error>);

pub(crate) struct Publisher {
    store: Box<dyn PublishStore>,
    /// The last number given out, or never to be given out again.
    last: u64,
    /// What is kept up to here is on this connection's wire.
    sent: u64,
    /// The same of the last connection.
    sent_before: u64,
    /// The socket has taken everything up to here.
    written: u64,
    /// Everything up to here was persisted, or refused.
    persisted: u64,
    /// Kept since before this process.
    inherited: u64,
    /// A logon has succeeded, and its connection is not lost.
    open: bool,
    /// Up to here is sent before anything else, while a recovery is under way.
    replay_to: Option<u64>,
    /// Who waits until everything up to a number is persisted, by the number of the wait.
    waits: BTreeSet<(u64, u64)>,
    refusals: Refusals,
    /// Refused, and kept until everything before them is dealt with: a refusal says nothing of that.
    refused_early: BTreeSet<u64>,
    /// The same of what this server had already. Another one may not have it.
    known_early: BTreeSet<u64>,
    /// What a server has said that it has, which does not count what it refused.
    confirmed: u64,
    /// Bytes that may be kept.
    capacity: u64,
    /// The application decides whether more may be kept.
    asks: bool,
    /// A server that has less than another one had is refused.
    strict: bool,
    /// Something that is kept cannot be read: nothing behind it may be sent.
    stuck: Option<Error>,
    scratch: BytesMut,
    /// Bytes that wait to be written, up to which more is read from the store.
    fill_bytes: usize,
    bugs: Bugs,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("last", &self.last)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// How a client uses its store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoreUse {
    /// Bytes that may be kept before the application is asked; without, it never is.
    pub(crate) ask_above: Option<u64>,
    pub(crate) strict: bool,
}

/// What became of something that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// It must not leave before the store says so.
    pub(crate) held: bool,
}

/// How a publish store stands; see [`Client::publish_store`](crate::Client::publish_store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Messages that no server has confirmed yet.
    pub unpersisted: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The lowest sequence number among them.
    pub lowest_unpersisted: Option<u64>,
    /// Everything up to this sequence number was persisted, or refused.
    pub last_persisted: u64,
    /// The last sequence number that was given out.
    pub last_sequence: u64,
    /// Bytes that may be kept before the store has to grow.
    pub capacity: u64,
}

impl Publisher {
    pub(crate) fn new(mut store: Box<dyn PublishStore>, found: Attached, how: StoreUse, bugs: Bugs) -> Self {
        let mut last = found.last_used;
        if bugs.blocks_ignored {
            last = found.last_persisted;
            // What cannot be read is reported when it has to be sent.
            let _unread = store.read(0, &mut |number, _| {
                last = last.max(number);
                true
            });
        }
        let mut publisher = Self {
            last,
            sent: 0,
            sent_before: 0,
            written: 0,
            persisted: found.last_persisted,
            inherited: found.last_used,
            open: false,
            replay_to: None,
            waits: BTreeSet::new(),
            refusals: Refusals::default(),
            refused_early: store.refused().into_iter().collect(),
            known_early: BTreeSet::new(),
            confirmed: found.last_persisted,
            capacity: how.ask_above.unwrap_or(FIRST_CAPACITY).max(store.bytes()),
            asks: how.ask_above.is_some(),
            strict: how.strict,
            stuck: None,
            scratch: BytesMut::new(),
            fill_bytes: FILL_BYTES,
            store,
            bugs,
        };
        // What cannot be forgotten now is when the next number is persisted.
        let _tried_again = publisher.forget_early();
        publisher
    }

    /// Reads no more from the store while so many bytes wait.
    #[cfg(feature = "simulation")]
    pub(crate) fn fill_up_to(&mut self, bytes: usize) {
        self.fill_bytes = bytes;
    }

    // ----- keeping --------------------------------------------------------------------

    /// Gives a message its number, keeps it, and writes it if nothing is before it. `encode`
    /// makes its frame.
    ///
    /// # Errors
    /// It is not kept, and not written.
    pub(super) fn keep(
        &mut self,
        wire: &mut Queue,
        up: bool,
        limit: usize,
        asked: Option<u64>,
        encode: impl FnOnce(&mut BytesMut, u64) -> Result<()>,
    ) -> Result<Kept> {
        let Some(number) = asked.or(self.last.checked_add(1)) else {
            let text = "publish: a server has every sequence number of this client's name; use another name";
            return Err(Error::InvalidArgument(text.into()));
        };
        if number <= self.last {
            let text = format!(
                "sequence number {number}: numbers up to {} were given out; leave it to the publish store",
                self.last
            );
            return Err(Error::InvalidArgument(text));
        }
        if let Some(trouble) = self.store.trouble() {
            return Err(Error::Store(trouble));
        }
        let leaves = number <= self.store.may_leave();
        let direct = up && leaves && self.open && self.is_next() && wire.queued() < limit;
        self.scratch.clear();
        let out = if direct { &mut wire.tail } else { &mut self.scratch };
        let start = out.len();
        let kept = encode(out, number).and_then(|()| {
            let frame = out.get(start + LENGTH_PREFIX..).unwrap_or_default();
            let (used, more) = (self.store.bytes(), frame.len() as u64);
            if used + more > self.capacity && used > 0 {
                let proposed = (self.capacity * 2).max(used + more);
                if self.asks {
                    return Err(Error::StoreFull { kept: used, capacity: self.capacity, proposed });
                }
                self.capacity = proposed;
            }
            if self.bugs.store_forgets_while_offline && !up {
                return Ok(());
            }
            self.store.append(number, frame).map_err(Error::Store)
        });
        if let Err(error) = kept {
            out.truncate(start);
            return Err(error);
        }
        self.last = number;
        if direct {
            self.sent = number;
        }
        Ok(Kept { number, held: !leaves })
    }

    /// Nothing that is kept has to be sent before what comes now.
    const fn is_next(&self) -> bool {
        self.sent == self.last || self.bugs.new_overtakes_replay
    }

    /// The application allows as much.
    pub(crate) fn grow(&mut self, capacity: u64) {
        self.capacity = self.capacity.max(capacity);
    }

    // ----- a connection's life ---------------------------------------------------------

    /// Whether a server may be used that has everything up to `has`.
    ///
    /// # Errors
    /// It has less than another one had, and that is not to be accepted.
    pub(crate) fn accepts(&self, has: Option<u64>) -> Result<()> {
        match has.filter(|has| *has < self.confirmed && self.strict) {
            Some(has) => Err(Error::PublishStoreGap { server_has: has, persisted: self.confirmed }),
            None => Ok(()),
        }
    }

    /// A logon has succeeded, at a server that has everything up to `has`, if it says so; what
    /// that persists is dealt with already. Before that the last number was `given`, and `lost` messages more
    /// were kept. Returns what is strange about it.
    pub(super) fn logged_on(&mut self, has: Option<u64>, given: u64, lost: usize) -> Option<Error> {
        let ahead = has.filter(|has| *has > given);
        let strange = ahead.filter(|_| lost > 0).map(|has| ahead_of(given, has, lost));
        self.last = self.last.max(ahead.unwrap_or(0));
        self.sent = self.store.lowest().map_or(self.last, |lowest| lowest.saturating_sub(1));
        if self.bugs.replay_off_by_one && !self.store.is_empty() {
            self.sent += 1;
        }
        if self.bugs.unacknowledged_not_resent {
            self.sent = self.sent.max(self.sent_before);
        }
        self.written = self.sent;
        self.open = true;
        self.replay_to = Some(self.last);
        strange
    }

    /// How many messages are kept.
    pub(super) fn len(&self) -> usize {
        self.store.len()
    }

    pub(super) fn connection_lost(&mut self) {
        self.known_early.clear();
        self.sent_before = self.sent;
        self.open = false;
        self.replay_to = None;
        self.stuck = None;
    }

    /// Whether a recovery still has to send what was kept before it.
    pub(super) fn replays(&self) -> bool {
        // What a disk in trouble holds back is not waited for: subscriptions need no disk.
        let held = self.store.trouble().map(|_| self.store.may_leave());
        let open = self.stuck.is_some() || self.bugs.new_overtakes_replay;
        self.replay_to.is_some_and(|to| self.sent < to.min(held.unwrap_or(to))) && !open
    }

    /// The recovery has sent everything.
    pub(super) fn replayed(&mut self) {
        self.replay_to = None;
    }

    /// Whether everything that is kept is on the wire.
    pub(super) fn is_level(&self) -> bool {
        self.sent >= self.last || self.stuck.is_some()
    }

    /// What is on the wire has been written.
    pub(super) fn all_written(&mut self) {
        self.written = self.sent;
    }

    /// The last number that was given out.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Up to here is on the wire.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Writes what is kept and not yet on the wire, as far as it may leave and the wire is not
    /// full. Returns an error that nobody heard of before.
    pub(super) fn fill(&mut self, wire: &mut Queue) -> Option<Error> {
        if !self.open || self.sent >= self.last || self.stuck.is_some() || wire.queued() >= self.fill_bytes {
            return None;
        }
        let leaves = self.store.may_leave().min(self.last);
        if self.sent >= leaves {
            return None;
        }
        let (inherited, fill_bytes) = (self.inherited, self.fill_bytes);
        let (mut sent, mut stopped) = (self.sent, false);
        let leaves_out = self.bugs.acks_left_out_of_replay && self.replay_to.is_some();
        let refused_early = &self.refused_early;
        let read = self.store.read(self.sent + 1, &mut |number, frame| {
            if number > leaves || wire.queued() >= fill_bytes {
                stopped = true;
                return false;
            }
            if !(leaves_out && settles(frame) || refused_early.contains(&number)) {
                put_frame(&mut wire.tail, frame, number <= inherited);
            }
            sent = number;
            true
        });
        match read {
            Ok(()) => {
                self.sent = if stopped { sent } else { leaves };
                None
            }
            Err(error) => {
                self.sent = sent;
                let error = Error::Store(error);
                self.stuck = Some(error.clone());
                Some(error)
            }
        }
    }

    // ----- what the server says -------------------------------------------------------

    /// The server has persisted everything up to a number. Returns the waits that are over,
    /// and what is strange about it, or what the store has to say.
    pub(super) fn persisted(&mut self, number: u64) -> Over {
        self.confirmed = self.confirmed.max(number);
        self.dealt_with(number)
    }

    /// The server has refused one message, and will not take it again. What is before it and on the server may be
    /// on no replica yet, so it is kept until the server says more (server.md HA-03, PUB-24), and the refused
    /// message with it. Returns what is over by that.
    pub(super) fn refused(&mut self, number: u64, reason: String) -> Over {
        self.refusals.note(number, reason);
        if self.bugs.refused_not_removed {
            return Over::default();
        }
        if self.is_lowest(number) {
            return self.dealt_with(number);
        }
        self.refused_early.insert(number);
        (Vec::new(), self.store.refuse(number).err().map(Error::Store))
    }

    /// The server had one message already (client.md WF-7, inferred), which says nothing of those before it either.
    pub(super) fn known(&mut self, number: u64) -> Over {
        if self.is_lowest(number) {
            return self.persisted(number);
        }
        self.known_early.insert(number);
        Over::default()
    }

    /// Everything up to a number is persisted, or refused.
    fn dealt_with(&mut self, number: u64) -> Over {
        if number <= self.persisted {
            return Over::default();
        }
        self.persisted = number;
        let mut strange = None;
        if number > self.last {
            // What comes next must not count as persisted (protocol.md P-9, inferred).
            strange = self.open.then(|| ahead_of(self.last, number, self.store.len()));
            (self.last, self.sent) = (number, number);
        }
        let upto = if self.bugs.discards_one_too_many { number + 1 } else { number };
        let mut trouble = self.store.discard_up_to(upto).err().map(Error::Store);
        for early in [&mut self.refused_early, &mut self.known_early] {
            *early = early.split_off(&number.saturating_add(1));
        }
        trouble = self.forget_early().or(trouble);
        // Numbers behind it that are not kept, such as those reserved by an earlier process, are never reported.
        let over_to = self.store.lowest().map_or(u64::MAX, |lowest| self.persisted.max(lowest - 1));
        let open = over_to.checked_add(1).map(|next| self.waits.split_off(&(next, 0))).unwrap_or_default();
        let over = std::mem::replace(&mut self.waits, open);
        (over.into_iter().map(|(_, wait)| wait).collect(), trouble.or(strange))
    }

    /// Forgets what the server has dealt with singly, and nothing before it is kept.
    fn forget_early(&mut self) -> Option<Error> {
        let mut trouble = None;
        loop {
            let early = self.refused_early.first().into_iter().chain(self.known_early.first());
            let Some(next) = early.min().copied().filter(|next| self.is_lowest(*next)) else {
                return trouble;
            };
            self.refused_early.remove(&next);
            self.known_early.remove(&next);
            trouble = self.store.discard_up_to(next).err().map(Error::Store).or(trouble);
            self.persisted = self.persisted.max(next);
        }
    }

    /// Nothing before a number is kept.
    fn is_lowest(&self, number: u64) -> bool {
        self.store.lowest().is_none_or(|lowest| lowest >= number)
    }

    /// What was kept under a number: its frame.
    pub(super) fn original(&mut self, number: u64) -> Option<Bytes> {
        let mut original = None;
        let read = self.store.read(number, &mut |found, frame| {
            original = (found == number).then(|| Bytes::copy_from_slice(frame));
            false
        });
        read.ok().and(original)
    }

    /// Whether everything up to a number is persisted, or refused: what is not kept has been dealt with.
    pub(crate) fn is_dealt_with(&self, number: u64) -> bool {
        number <= self.persisted || self.store.lowest().is_none_or(|lowest| lowest > number)
    }

    /// As [`is_dealt_with`](Self::is_dealt_with); else the wait is noted.
    pub(super) fn await_persisted(&mut self, number: u64, wait: u64) -> bool {
        let over = self.is_dealt_with(number);
        if !over {
            self.waits.insert((number, wait));
        }
        over
    }

    pub(super) fn forget_wait(&mut self, wait: u64) {
        self.waits.retain(|(_, other)| *other != wait);
    }

    // ----- what callers ask -----------------------------------------------------------

    pub(crate) fn fate(&self, number: u64) -> Fate {
        if self.refusal(number).is_some() {
            Fate::Refused
        } else if number <= self.persisted {
            Fate::Persisted
        } else if self.open && number <= self.written {
            Fate::Written
        } else {
            Fate::Queued
        }
    }

    /// Why the server has refused a message.
    pub(crate) fn refusal(&self, number: u64) -> Option<&str> {
        self.refusals.reason(number)
    }

    pub(crate) fn is_safe(&self, number: u64) -> bool {
        number <= self.store.safe() || number <= self.persisted
    }

    pub(crate) fn may_leave(&self, number: u64) -> bool {
        number <= self.store.may_leave() || number <= self.persisted
    }

    pub(crate) fn trouble(&self) -> Option<Error> {
        self.stuck.clone().or_else(|| self.store.trouble().map(Error::Store))
    }

    pub(crate) fn status(&self) -> StoreStatus {
        StoreStatus {
            unpersisted: self.store.len(),
            bytes: self.store.bytes(),
            lowest_unpersisted: self.store.lowest(),
            last_persisted: self.persisted,
            last_sequence: self.last,
            capacity: self.capacity,
        }
    }

    /// The client is done: what receipts may still ask, and how the store was closed.
    pub(crate) fn close(mut self) -> (Closed, Result<()>) {
        let (persisted, lowest, safe) = (self.persisted, self.store.lowest(), self.store.safe());
        let closed = self.store.close().map_err(Error::Store);
        (Closed { persisted, lowest, safe, refusals: self.refusals }, closed)
    }
}

/// What was known of everything that was published, when the client was done with its store.
#[derive(Debug)]
pub(crate) struct Closed {
    persisted: u64,
    lowest: Option<u64>,
    safe: u64,
    refusals: Refusals,
}

impl Closed {
    pub(super) fn is_dealt_with(&self, number: u64) -> bool {
        number <= self.persisted || self.lowest.is_none_or(|lowest| lowest > number)
    }

    pub(super) fn refusal(&self, number: u64) -> Option<&str> {
        self.refusals.reason(number)
    }

    /// Whether the store kept it as safely as it promised.
    pub(super) const fn was_safe(&self, number: u64) -> bool {
        number <= self.safe || number <= self.persisted
    }
}

/// What became of a message that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Queued,
    Written,
    Persisted,
    Refused,
}

/// A server has more than was given out.
fn ahead_of(given: u64, has: u64, lost: usize) -> Error {
    Error::Store(StoreError::other(format!(
        "the server has sequence numbers up to {has} of this client's name, but this store has given out \
         none beyond {given}: another client uses the name, or the store is an old copy; {lost} kept \
         messages count as duplicates there and were dropped",
    )))
}

/// Whether a refusal says that the server has the message already (WF-7).
pub(super) fn is_duplicate(ack: &Message<&[u8]>) -> bool {
    ack.reason().is_some_and(|reason| ReasonClass::of(&**reason) == ReasonClass::Duplicate)
}

/// Whether a frame that was kept settles messages of a queue.
fn settles(frame: &[u8]) -> bool {
    Message::decode(frame)
        .is_ok_and(|message| message.command() == CommandKind::SowDelete && message.bookmark().is_some())
}

/// Writes a frame that was kept. One of an earlier process may bear a command id that means
/// something else by now, and nobody waits for its answer.
fn put_frame(out: &mut BytesMut, frame: &[u8], inherited: bool) {
    if inherited {
        if let Ok(message) = Message::decode(frame) {
            if message.command_id().is_some() && without_id(out, &message) {
                return;
            }
        }
    }
    out.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(frame);
}

fn without_id(out: &mut BytesMut, message: &Message<&[u8]>) -> bool {
    let Some(number) = message.sequence() else { return false };
    let Ok(command) = Wire::read(message) else { return false };
    match command {
        Wire::SowDelete(delete) if message.command() == CommandKind::SowDelete => {
            let (topic, what) = (delete.get_topic().clone(), delete.get_what().clone());
            Wire::sow_delete(topic, what).sequence(number).ask_persisted().encode(out).is_ok()
        }
        Wire::Publish(publish) => {
            let delta = message.command() == CommandKind::DeltaPublish;
            let topic = publish.get_topic().clone();
            let mut plain = if delta { Wire::delta_publish(topic) } else { Wire::publish(topic) };
            plain = plain.data(publish.get_data().clone()).sequence(number).ask_persisted();
            if let Some(seconds) = publish.get_expiration() {
                plain = plain.expiration(seconds);
            }
            if let Some(key) = publish.get_sow_key() {
                plain = plain.sow_key(key.clone());
            }
            if let Some(mark) = publish.get_correlation_id() {
                plain = plain.correlation_id(mark.clone());
            }
            plain.encode(out).is_ok()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish_store::MemoryPublishStore;

    fn with_three() -> Publisher {
        let mut store = MemoryPublishStore::new();
        for number in 1..=3 {
            store.append(number, b"{\"c\":\"p\"}").unwrap();
        }
        let found = Attached { last_used: 3, last_persisted: 0 };
        Publisher::new(Box::new(store), found, StoreUse::default(), Bugs::default())
    }

    #[test]
    fn a_refusal_says_nothing_of_what_was_published_before() {
        let mut publisher = with_three();
        assert!(publisher.refused(2, "not entitled".into()).0.is_empty());
        assert_eq!((publisher.len(), publisher.fate(1)), (3, Fate::Queued));
        assert_eq!(publisher.fate(2), Fate::Refused);
        publisher.logged_on(Some(0), 3, 0);
        let mut wire = Queue::default();
        assert!(publisher.fill(&mut wire).is_none());
        let sent = wire.tail.windows(5).filter(|bytes| bytes == b"{\"c\":").count();
        assert_eq!((sent, publisher.sent()), (2, 3), "what was refused is not sent again");
        publisher.persisted(1);
        assert_eq!((publisher.len(), publisher.persisted), (1, 2), "the refused one is done with the first");
    }

    #[test]
    fn a_refusal_of_the_lowest_number_is_dealt_with_at_once() {
        let mut publisher = with_three();
        publisher.persisted(1);
        assert!(!publisher.await_persisted(2, 7));
        assert_eq!(publisher.refused(2, "not entitled".into()).0, [7]);
    }

    #[test]
    fn a_wait_for_a_number_that_an_earlier_process_reserved_is_over_when_nothing_is_kept() {
        let mut store = MemoryPublishStore::new();
        store.append(7, b"{}").unwrap();
        let found = Attached { last_used: 1 << 20, last_persisted: 6 };
        let mut publisher = Publisher::new(Box::new(store), found, StoreUse::default(), Bugs::default());
        assert!(!publisher.await_persisted(publisher.last(), 1));
        let (over, _) = publisher.persisted(7);
        assert_eq!(over, [1], "no server ever reports {}", publisher.last());
    }

    #[test]
    fn what_a_server_had_already_says_nothing_of_what_was_published_before() {
        let mut publisher = with_three();
        assert!(publisher.known(2).0.is_empty());
        assert_eq!(publisher.len(), 3, "1 may be on no replica yet");
        publisher.connection_lost();
        publisher.persisted(1);
        assert_eq!(publisher.len(), 2, "another server may not have 2");
        publisher.known(2);
        publisher.known(3);
        assert_eq!((publisher.len(), publisher.persisted), (0, 3));
    }

    #[test]
    fn a_server_without_what_another_one_refused_has_not_less() {
        let how = StoreUse { strict: true, ..StoreUse::default() };
        let found = Attached { last_used: 3, last_persisted: 0 };
        let mut store = MemoryPublishStore::new();
        (1..=3).for_each(|number| store.append(number, b"{}").unwrap());
        let mut publisher = Publisher::new(Box::new(store), found, how, Bugs::default());
        publisher.persisted(2);
        publisher.refused(3, "not entitled".into());
        assert_eq!(publisher.persisted, 3);
        assert!(publisher.accepts(Some(2)).is_ok());
        assert!(publisher.accepts(Some(1)).is_err());
    }
}
