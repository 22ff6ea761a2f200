//! The transaction log: what happened to logged topics, in the one order of the instance.
//!
//! Owns the items of the log, how their bookmarks are found, per publisher the highest
//! sequence number seen, and up to where the log is written here and confirmed elsewhere
//! (server.md 5). Invariants: positions only grow and have no gap; a sequence number is logged
//! at most once; what is confirmed elsewhere is written here. It delivers nothing: that is
//! `replay`'s.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::Time;

use super::config::{ConfigError, LogTopics, LoggedTopic};
use super::log_record::LogRecord;
use super::topic::{MessageTypes, TopicPattern, TopicReading, TypeId};

/// A place in the order of everything that was logged.
pub(crate) type Position = u64;

/// The position of the first item ever.
const FIRST: Position = 1;

/// The hash of a client name in its bookmarks: FNV-1a with 64 bits, never zero (BMK-03).
pub(crate) fn name_hash(name: &str) -> u64 {
    bytes_hash(name.as_bytes())
}

/// The same of any bytes.
pub(crate) fn bytes_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

/// The key that the server makes of a domain and of values: bytes, whatever they mean (TYP-01).
/// They are joined by a byte that separates: ("a", "bc") and ("ab", "c") differ (SOW-04).
pub(crate) fn generated_key(domain: &str, values: &[Vec<u8>]) -> Arc<str> {
    let mut bytes = domain.as_bytes().to_vec();
    for value in values {
        bytes.push(0x1f);
        bytes.extend_from_slice(value);
    }
    bytes_hash(&bytes).to_string().into()
}

/// One message, as it was published: merged, if it was a delta (PUB-01).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) bookmark: MessageId,
    pub(crate) message_type: TypeId,
    pub(crate) topic: Arc<str>,
    pub(crate) body: Arc<[u8]>,
    /// The key of its record, where the topic keeps a state of the world.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) correlation: Option<Box<[u8]>>,
    pub(crate) publisher: Arc<str>,
    pub(crate) at: Time,
    /// Seconds to live, as the publisher said; 0 means for ever.
    pub(crate) expiration: Option<u64>,
    /// How it came here; `None` if it was published here.
    pub(crate) via: Option<Arc<Via>>,
}

impl Entry {
    /// When it was published, here or elsewhere: expiration counts from then (HA-05).
    pub(crate) fn happened(&self) -> Time {
        self.via.as_ref().map_or(self.at, |via| via.since)
    }
}

/// How something came to this instance from the one where it happened (server.md 7).
///
/// ```
/// use amps_testkit::{FakeServerBuilder, Pair, Side};
///
/// let pair = Pair::start(FakeServerBuilder::default().virtual_clock())?;
/// pair.publish(Side::A, "orders", "1").unwrap();
/// let messages = pair.server(Side::B).logged_messages();
/// let via = messages[0].via.as_ref().expect("it was published on A");
/// assert_eq!(via.path, ["A"]);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The names of the instances that it passed; it happened on the first one.
    pub path: Vec<String>,
    /// When it happened, by the clock of that instance.
    pub since: Time,
}

/// Records that one command deleted.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) bookmark: MessageId,
    pub(crate) message_type: TypeId,
    pub(crate) at: Time,
    /// Topic and key of each.
    pub(crate) records: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) via: Option<Arc<Via>>,
}

/// A message that left a queue for good, in whatever way.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    /// The number of the queue.
    pub(crate) queue: usize,
    pub(crate) bookmark: MessageId,
    pub(crate) at: Time,
    pub(crate) via: Option<Arc<Via>>,
    /// The last bookmark logged before, for this has none of its own.
    after: Option<MessageId>,
}

/// A message of a queue belongs to another instance from now on (Q-72).
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// The number of the queue.
    pub(crate) queue: usize,
    pub(crate) bookmark: MessageId,
    pub(crate) owner: Arc<str>,
    /// Counts the owners of the message, from 0 for the first.
    pub(crate) turn: u64,
    pub(crate) at: Time,
    pub(crate) via: Option<Arc<Via>>,
    /// The last bookmark logged before, for this has none of its own.
    after: Option<MessageId>,
}

/// What the log holds (TXL-02). Only messages are replayed.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Message(Arc<Entry>),
    Deletion(Arc<Deletion>),
    Departure(Departure),
    Transfer(Transfer),
}

impl Item {
    pub(crate) fn at(&self) -> Time {
        match self {
            Self::Message(entry) => entry.at,
            Self::Deletion(deletion) => deletion.at,
            Self::Departure(departure) => departure.at,
            Self::Transfer(transfer) => transfer.at,
        }
    }

    /// How it came here; `None` if it happened here.
    pub(crate) fn via(&self) -> Option<&Arc<Via>> {
        match self {
            Self::Message(entry) => entry.via.as_ref(),
            Self::Deletion(deletion) => deletion.via.as_ref(),
            Self::Departure(departure) => departure.via.as_ref(),
            Self::Transfer(transfer) => transfer.via.as_ref(),
        }
    }

    /// What it is, or, of a queue, which message it is about.
    pub(crate) fn subject(&self) -> MessageId {
        match self {
            Self::Message(entry) => entry.bookmark,
            Self::Deletion(deletion) => deletion.bookmark,
            Self::Departure(departure) => departure.bookmark,
            Self::Transfer(transfer) => transfer.bookmark,
        }
    }

    /// What names it, if it has a name of its own.
    pub(crate) fn bookmark(&self) -> Option<MessageId> {
        match self {
            Self::Message(entry) => Some(entry.bookmark),
            Self::Deletion(deletion) => Some(deletion.bookmark),
            Self::Departure(_) | Self::Transfer(_) => None,
        }
    }
}

/// How sure a message has to be before a subscription gets it (BS-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// Not at all.
    Live,
    /// Written here.
    Persisted,
    /// Written here, and confirmed by every synchronous peer.
    Full,
}

/// Something that a restart has to know of.
#[derive(Clone, Debug)]
pub(crate) enum LogChange {
    Item(Item),
    /// A sequence number was seen that no item names.
    Sequence(MessageId),
    /// So many of the oldest items are gone.
    Truncated(usize),
    /// Something that is not in the log, but has to be known.
    Record(Box<LogRecord>),
    /// Everything is gone.
    Reset,
}

/// The transaction log.
#[derive(Debug)]
pub(crate) struct TxLog {
    /// Each of one message type, or of all.
    topics: Option<Vec<(Option<TypeId>, TopicPattern)>>,
    items: VecDeque<Item>,
    /// The position of the oldest item that is left.
    first: Position,
    messages: usize,
    /// Where bookmarks are: sequence numbers and positions of each publisher, both ascending.
    index: BTreeMap<u64, VecDeque<(u64, Position)>>,
    /// Per name hash. Client names and server-made publishers alike.
    highest: BTreeMap<u64, u64>,
    /// Everything before is written.
    written: Position,
    /// Whether an item counts as written when it is appended.
    writes_at_once: bool,
    /// Everything before is confirmed by the peers; `None` if no peer is waited for.
    confirmed: Option<Position>,
    /// What changed since it was last asked; `None` if nobody asks.
    changes: Option<Vec<LogChange>>,
}

impl TxLog {
    pub(crate) fn new(
        topics: &LogTopics,
        types: &mut MessageTypes,
        writes_at_once: bool,
    ) -> Result<Self, ConfigError> {
        let topics = match topics {
            LogTopics::None => None,
            LogTopics::Matching(topics) => {
                Some(topics.iter().map(|topic| log_pattern(topic, types)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self {
            topics,
            items: VecDeque::new(),
            first: FIRST,
            messages: 0,
            index: BTreeMap::new(),
            highest: BTreeMap::new(),
            written: FIRST,
            writes_at_once,
            confirmed: None,
            changes: None,
        })
    }

    /// Whether there is a log at all.
    pub(crate) const fn exists(&self) -> bool {
        self.topics.is_some()
    }

    /// Whether what is published to a topic is logged (CONN-32: under this message type).
    pub(crate) fn covers(&self, message_type: TypeId, topic: &str) -> bool {
        let of_type = |only: &Option<TypeId>| only.is_none_or(|only| only == message_type);
        self.topics.iter().flatten().any(|(only, pattern)| of_type(only) && pattern.matches(topic))
    }

    /// Whether a topic is logged under any message type.
    pub(crate) fn covers_any(&self, topic: &str) -> bool {
        self.topics.iter().flatten().any(|(_, pattern)| pattern.matches(topic))
    }

    // --- Sequence numbers ----------------------------------------------------------------

    /// The highest sequence number of a publisher; 0 if it never published.
    pub(crate) fn highest(&self, publisher: u64) -> u64 {
        self.highest.get(&publisher).copied().unwrap_or(0)
    }

    /// The highest sequence number of a publisher that may be acknowledged as persisted: that
    /// before its first item that is not durable yet.
    pub(crate) fn highest_durable(&self, publisher: u64) -> u64 {
        let durable = self.horizon(Durability::Full);
        let Some(places) = self.index.get(&publisher) else { return self.highest(publisher) };
        let safe = places.partition_point(|(_, position)| *position < durable);
        if safe == places.len() {
            return self.highest(publisher);
        }
        safe.checked_sub(1).and_then(|last| places.get(last)).map_or(0, |(sequence, _)| *sequence)
    }

    /// Remembers a sequence number; `false` if it, or a higher one, was seen before.
    pub(crate) fn advance(&mut self, publisher: u64, sequence: u64) -> bool {
        let highest = self.highest.entry(publisher).or_insert(0);
        if sequence <= *highest {
            return false;
        }
        *highest = sequence;
        if let Some(changes) = &mut self.changes {
            changes.push(LogChange::Sequence(MessageId { publisher, sequence }));
        }
        true
    }

    // --- Items ---------------------------------------------------------------------------

    /// The position of the oldest item that is left.
    pub(crate) const fn first(&self) -> Position {
        self.first
    }

    /// Behind the last item: the position of the next one.
    pub(crate) fn end(&self) -> Position {
        self.first + self.items.len() as Position
    }

    /// Appends a message whose position is [`end`](Self::end).
    pub(crate) fn append(&mut self, entry: Arc<Entry>) {
        self.messages += 1;
        self.push(Item::Message(entry));
    }

    pub(crate) fn append_deletion(&mut self, deletion: Deletion) {
        self.push(Item::Deletion(Arc::new(deletion)));
    }

    pub(crate) fn append_departure(
        &mut self,
        queue: usize,
        bookmark: MessageId,
        at: Time,
        via: Option<Arc<Via>>,
    ) {
        let after = self.bookmark_before(self.end());
        self.push(Item::Departure(Departure { queue, bookmark, at, via, after }));
    }

    pub(crate) fn append_transfer(
        &mut self,
        queue: usize,
        bookmark: MessageId,
        (owner, turn): (Arc<str>, u64),
        at: Time,
        via: Option<Arc<Via>>,
    ) {
        let after = self.bookmark_before(self.end());
        self.push(Item::Transfer(Transfer { queue, bookmark, owner, turn, at, via, after }));
    }

    fn push(&mut self, item: Item) {
        if let Some(MessageId { publisher, sequence }) = item.bookmark() {
            let position = self.end();
            self.index.entry(publisher).or_default().push_back((sequence, position));
            let highest = self.highest.entry(publisher).or_insert(0);
            *highest = sequence.max(*highest);
        }
        if let Some(changes) = &mut self.changes {
            // An item that names a sequence number makes the mention of the number alone needless.
            let named = item.bookmark();
            if matches!(changes.last(), Some(LogChange::Sequence(id)) if Some(*id) == named) {
                changes.pop();
            }
            changes.push(LogChange::Item(item.clone()));
        }
        self.items.push_back(item);
        if self.writes_at_once {
            self.written = self.end();
        }
    }

    /// The item at a position, if it is (still) there.
    pub(crate) fn get(&self, position: Position) -> Option<&Item> {
        let index = position.checked_sub(self.first)?;
        self.items.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn items(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.iter()
    }

    /// How many messages there are.
    pub(crate) const fn len(&self) -> usize {
        self.messages
    }

    // --- Finding -------------------------------------------------------------------------

    /// Where the item with a bookmark is, if it is (still) there.
    pub(crate) fn find(&self, bookmark: MessageId) -> Option<Position> {
        let places = self.index.get(&bookmark.publisher)?;
        let at = places.binary_search_by_key(&bookmark.sequence, |(sequence, _)| *sequence).ok()?;
        places.get(at).map(|(_, position)| *position)
    }

    /// The position of the first item stamped with this time or a later one.
    pub(crate) fn first_at(&self, time: Time) -> Position {
        self.first + self.items.partition_point(|item| item.at() < time) as Position
    }

    /// The last bookmark before a position.
    pub(crate) fn bookmark_before(&self, position: Position) -> Option<MessageId> {
        match self.get(position.min(self.end()).checked_sub(1)?)? {
            Item::Departure(departure) => departure.after,
            Item::Transfer(transfer) => transfer.after,
            item => item.bookmark(),
        }
    }

    /// The position of the last message, or the end if there is none.
    pub(crate) fn last_message(&self) -> Position {
        let from_end = self.items.iter().rev().position(|item| matches!(item, Item::Message(_)));
        from_end.map_or(self.end(), |after| self.end() - 1 - after as Position)
    }

    // --- Durability ----------------------------------------------------------------------

    /// Everything before this position is as sure as that.
    pub(crate) fn horizon(&self, durability: Durability) -> Position {
        match durability {
            Durability::Live => self.end(),
            Durability::Persisted => self.written,
            Durability::Full => self.confirmed.map_or(self.written, |confirmed| confirmed.min(self.written)),
        }
    }

    /// All that was appended is written.
    pub(crate) fn write(&mut self) {
        self.written = self.end();
    }

    /// From now on, peers have confirmed what is before `until`, and nothing else; `None` if
    /// no peer is waited for.
    pub(crate) fn confirm(&mut self, until: Option<Position>) {
        self.confirmed = until;
    }

    /// What peers have confirmed, as it was last said.
    pub(crate) const fn confirmed(&self) -> Option<Position> {
        self.confirmed
    }

    // --- Retention -----------------------------------------------------------------------

    /// Removes everything before a position (RET-01). Sequence numbers stay known.
    pub(crate) fn truncate_before(&mut self, position: Position) {
        let count = position.min(self.end()).saturating_sub(self.first);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.items.len());
        let gone = self.items.drain(..count).filter(|item| matches!(item, Item::Message(_))).count();
        self.messages -= gone;
        self.first += count as Position;
        self.written = self.written.max(self.first);
        let first = self.first;
        self.index.retain(|_, places| {
            let gone = places.partition_point(|(_, position)| *position < first);
            places.drain(..gone);
            !places.is_empty()
        });
        if let Some(changes) = self.changes.as_mut().filter(|_| count > 0) {
            changes.push(LogChange::Truncated(count));
        }
    }

    // --- Changes, for whoever keeps the log ----------------------------------------------

    /// Gathers changes from now on.
    pub(crate) fn record_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// Whether changes are gathered.
    pub(crate) const fn records_changes(&self) -> bool {
        self.changes.is_some()
    }

    /// This log takes the place of one whose items are forgotten.
    pub(crate) fn record_reset(&mut self) {
        self.changes = Some(vec![LogChange::Reset]);
    }

    /// Gathers something that is no item.
    pub(crate) fn record_change(&mut self, record: LogRecord) {
        if let Some(changes) = &mut self.changes {
            changes.push(LogChange::Record(Box::new(record)));
        }
    }

    pub(crate) fn take_changes(&mut self) -> Vec<LogChange> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The highest sequence number of every publisher.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = MessageId> {
        self.highest.iter().map(|(&publisher, &sequence)| MessageId { publisher, sequence })
    }
}

fn log_pattern(
    topic: &LoggedTopic,
    types: &mut MessageTypes,
) -> Result<(Option<TypeId>, TopicPattern), ConfigError> {
    let wrong =
        |fault| ConfigError::Pattern { what: "transaction log topic", pattern: topic.topics.clone(), fault };
    let pattern = TopicPattern::parse(&topic.topics, TopicReading::Guess, false).map_err(wrong)?;
    Ok((topic.message_type.as_deref().map(|name| types.id(name)), pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(sequences: &[u64]) -> TxLog {
        let topics = LogTopics::Matching(vec![".*".into()]);
        let mut log = TxLog::new(&topics, &mut MessageTypes::default(), true).unwrap();
        for &sequence in sequences {
            let entry = Entry {
                position: log.end(),
                bookmark: id(sequence),
                message_type: TypeId(0),
                topic: "T".into(),
                body: b"".as_slice().into(),
                key: None,
                correlation: None,
                publisher: "p".into(),
                at: Time::from_unix_nanos(sequence * 10),
                expiration: None,
                via: None,
            };
            log.append(Arc::new(entry));
        }
        log
    }

    const fn id(sequence: u64) -> MessageId {
        MessageId { publisher: 7, sequence }
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(name_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(name_hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn bookmarks_and_times_are_found() {
        let log = log(&[1, 4, 9]);
        assert_eq!([log.find(id(1)), log.find(id(4)), log.find(id(9))], [Some(1), Some(2), Some(3)]);
        assert_eq!([log.find(id(2)), log.find(MessageId { publisher: 8, sequence: 1 })], [None, None]);
        let at = |nanos| log.first_at(Time::from_unix_nanos(nanos));
        assert_eq!([at(0), at(10), at(11), at(90), at(91)], [1, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_truncated_is_unknown_and_its_numbers_are_not() {
        let mut log = log(&[1, 4, 9]);
        log.truncate_before(3);
        assert_eq!((log.first(), log.end(), log.len()), (3, 4, 1));
        assert_eq!((log.find(id(4)), log.find(id(9))), (None, Some(3)));
        assert_eq!(log.bookmark_before(3), None);
        log.truncate_before(100);
        assert_eq!((log.first(), log.end(), log.len(), log.highest(7)), (4, 4, 0, 9));
        assert!(!log.advance(7, 9) && log.advance(7, 10));
    }

    #[test]
    fn a_departure_has_the_bookmark_of_what_came_before() {
        let mut log = log(&[1, 4]);
        log.append_departure(0, id(1), Time::EPOCH, None);
        log.append_departure(0, id(4), Time::EPOCH, None);
        assert_eq!(log.bookmark_before(log.end()), Some(id(4)));
        assert_eq!((log.len(), log.last_message()), (2, 2));
    }

    #[test]
    fn only_what_is_durable_is_acknowledged() {
        let mut log = log(&[1, 4]);
        log.confirm(Some(log.end()));
        assert_eq!(log.highest_durable(7), 4);
        log.advance(7, 5);
        assert_eq!(log.highest_durable(7), 5, "a failed publish waits for nobody");
        log.confirm(Some(2));
        assert_eq!(log.highest_durable(7), 1);
        log.confirm(None);
        assert_eq!(log.highest_durable(7), 5);
    }
}
