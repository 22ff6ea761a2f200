//! The transaction log as others see it: records that can be kept, shown, and given back.
//!
//! Owns the vocabulary, and the two ways of it: from the log's items to records, and from
//! records to a server that knows again what it knew. How records are kept is no business of
//! the engine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::{MessageId, OofReason};
use amps_transport::{CloseMode, ConnId, Outlet, Sink, Target, Time};

use super::Engine;
use super::event::Disconnect;
use super::replication::first_owner;
use super::selector::Facts;
use super::sow::{Change, Record};
use super::timers::Timer;
use super::topic::TypeId;
use super::txlog::{Deletion, Entry, Item, LogChange, Position, Via};

/// A message in the transaction log.
///
/// ```
/// use amps_testkit::FakeServer;
///
/// let server = FakeServer::builder().virtual_clock().start()?;
/// server.publish("orders", "{\"id\":1}").unwrap();
/// let messages = server.logged_messages();
/// assert_eq!((messages[0].topic.as_str(), messages[0].body.as_slice()), ("orders", &b"{\"id\":1}"[..]));
/// assert_eq!(messages[0].bookmark.sequence, 1);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedMessage {
    /// What names it, on every instance.
    pub bookmark: MessageId,
    /// The message type.
    pub message_type: String,
    /// The topic.
    pub topic: String,
    /// The whole body; of a delta publish, that of the merged record.
    pub body: Vec<u8>,
    /// The key of its record, where the topic keeps a state of the world.
    pub key: Option<String>,
    /// The correlation id.
    pub correlation: Option<Vec<u8>>,
    /// The client name of the publisher.
    pub publisher: String,
    /// When this server took it.
    pub at: Time,
    /// Seconds to live, as the publisher said; 0 means for ever.
    pub expiration: Option<u64>,
    /// How it came here by replication; `None` if it was published here.
    pub via: Option<Via>,
}

/// Something that the transaction log remembers. A server that gets all of them back, in
/// order, goes on as if it had never stopped: see [`Engine::restore`].
///
/// ```
/// use amps_testkit::{FakeServer, LogRecord};
///
/// let server = FakeServer::builder().virtual_clock().start()?;
/// server.publish("orders", "{}").unwrap();
/// assert!(matches!(server.log()[..], [LogRecord::Message(_)]));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogRecord {
    /// A message was published.
    Message(LoggedMessage),
    /// Records of the state of the world were deleted, or, where there are none, messages of a
    /// queue acknowledged: which ones, the departures before it say.
    Deletion {
        /// What names the delete.
        bookmark: MessageId,
        /// The message type of the topics.
        message_type: String,
        /// When.
        at: Time,
        /// Topic and key of each record.
        records: Vec<(String, String)>,
        /// How it came here by replication; `None` if it happened here.
        via: Option<Via>,
    },
    /// A message left a queue for good: acknowledged, expired, or sent at most once.
    Departure {
        /// The name of the queue.
        queue: String,
        /// The message type of the queue.
        message_type: String,
        /// The message.
        bookmark: MessageId,
        /// When.
        at: Time,
        /// How it came here by replication; `None` if it happened here.
        via: Option<Via>,
    },
    /// A message of a queue belongs to another instance from now on.
    Transfer {
        /// The name of the queue.
        queue: String,
        /// The message type of the queue.
        message_type: String,
        /// The message.
        bookmark: MessageId,
        /// The instance that it belongs to.
        owner: String,
        /// Counts the owners of the message, from 0 for the first: a lower number is older news.
        turn: u64,
        /// When.
        at: Time,
        /// How it came here by replication; `None` if it happened here.
        via: Option<Via>,
    },
    /// A record of a topic that is kept, but not logged.
    Kept {
        /// The message type.
        message_type: String,
        /// The topic.
        topic: String,
        /// The record key.
        key: String,
        /// The body.
        body: Vec<u8>,
        /// The correlation id.
        correlation: Option<Vec<u8>>,
        /// The client name of the publisher.
        publisher: String,
        /// When it was updated.
        at: Time,
        /// When it expires, if it does.
        expires: Option<Time>,
    },
    /// Such a record was deleted.
    Dropped {
        /// The message type.
        message_type: String,
        /// The topic.
        topic: String,
        /// The record key.
        key: String,
        /// When.
        at: Time,
    },
    /// This sequence number of a publisher was seen, and with it all lower ones.
    Sequence(MessageId),
    /// So many of the oldest messages, deletions and departures are gone.
    Truncation(u64),
    /// Everything before is forgotten.
    Reset,
}

/// What [`Engine::truncate_before`] leaves in the log.
///
/// ```
/// use amps_testkit::{FakeServer, LogCut};
///
/// let server = FakeServer::builder().virtual_clock().start()?;
/// for n in 0..5 {
///     server.publish("orders", n.to_string()).unwrap();
/// }
/// server.truncate_before(LogCut::Newest(2));
/// assert_eq!(server.logged_messages().len(), 2);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogCut {
    /// This message and what follows; nothing changes if it is unknown.
    Message(MessageId),
    /// What was logged at this time or later.
    Time(Time),
    /// So many of the newest messages, and what lies between them.
    Newest(usize),
}

/// Where frames go while nobody is connected: there are none.
struct Nowhere;

impl Sink for Nowhere {
    fn connect(&mut self, _: Target) -> ConnId {
        ConnId(u64::MAX)
    }
    fn send(&mut self, _: ConnId, _: &[u8]) {}
    fn close(&mut self, _: ConnId, _: CloseMode) {}
    fn set_reading(&mut self, _: ConnId, _: bool) {}
    fn outlet(&mut self, _: ConnId) -> Option<Outlet> {
        None
    }
    fn unsent(&self, _: ConnId) -> usize {
        0
    }
}

fn kept(message_type: &str, record: &Record) -> LogRecord {
    LogRecord::Kept {
        message_type: message_type.to_owned(),
        topic: record.topic.to_string(),
        key: record.key.to_string(),
        body: record.body.to_vec(),
        correlation: record.correlation.as_deref().map(<[u8]>::to_vec),
        publisher: record.publisher.to_string(),
        at: record.updated,
        expires: record.expires,
    }
}

impl Engine {
    /// The transaction log: everything that is left in it, oldest first.
    pub fn log(&self) -> Vec<LogRecord> {
        self.log.items().filter_map(|item| self.record(item)).collect()
    }

    /// The messages in the transaction log, oldest first.
    pub fn logged_messages(&self) -> Vec<LoggedMessage> {
        let messages = self.log.items().filter_map(|item| match item {
            Item::Message(entry) => Some(self.message(entry)),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn last_logged_at(&self) -> Option<Time> {
        self.log.items().last().map(Item::at)
    }

    /// Gathers what has to be kept for a restart, from now on: whoever asks for it has to
    /// [take](Self::take_log_records) it now and then.
    pub fn keep_log_records(&mut self) {
        self.log.record_changes();
    }

    /// What has to be kept for a restart and was not taken yet.
    pub fn take_log_records(&mut self) -> Vec<LogRecord> {
        let changes = self.log.take_changes();
        let record = |change: &LogChange| match change {
            LogChange::Item(item) => self.record(item),
            LogChange::Sequence(id) => Some(LogRecord::Sequence(*id)),
            LogChange::Truncated(count) => Some(LogRecord::Truncation(*count as u64)),
            LogChange::Record(record) => Some(LogRecord::clone(record)),
            LogChange::Reset => Some(LogRecord::Reset),
        };
        changes.iter().filter_map(record).collect()
    }

    pub(super) fn message(&self, entry: &Entry) -> LoggedMessage {
        LoggedMessage {
            bookmark: entry.bookmark,
            message_type: self.types.name(entry.message_type).to_owned(),
            topic: entry.topic.to_string(),
            body: entry.body.to_vec(),
            key: entry.key.as_deref().map(str::to_owned),
            correlation: entry.correlation.as_deref().map(<[u8]>::to_vec),
            publisher: entry.publisher.to_string(),
            at: entry.at,
            expiration: entry.expiration,
            via: entry.via.as_deref().cloned(),
        }
    }

    /// `None` only for a queue that does not exist.
    pub(super) fn record(&self, item: &Item) -> Option<LogRecord> {
        Some(match item {
            Item::Message(entry) => LogRecord::Message(self.message(entry)),
            Item::Deletion(deletion) => LogRecord::Deletion {
                bookmark: deletion.bookmark,
                message_type: self.types.name(deletion.message_type).to_owned(),
                at: deletion.at,
                records: deletion.records.iter().map(|(t, k)| (t.to_string(), k.to_string())).collect(),
                via: deletion.via.as_deref().cloned(),
            },
            Item::Departure(departure) => {
                let queue = self.queues.get(departure.queue)?;
                LogRecord::Departure {
                    queue: queue.name.to_string(),
                    message_type: self.types.name(queue.message_type).to_owned(),
                    bookmark: departure.bookmark,
                    at: departure.at,
                    via: departure.via.as_deref().cloned(),
                }
            }
            Item::Transfer(transfer) => {
                let queue = self.queues.get(transfer.queue)?;
                LogRecord::Transfer {
                    queue: queue.name.to_string(),
                    message_type: self.types.name(queue.message_type).to_owned(),
                    bookmark: transfer.bookmark,
                    owner: transfer.owner.to_string(),
                    turn: transfer.turn,
                    at: transfer.at,
                    via: transfer.via.as_deref().cloned(),
                }
            }
        })
    }

    /// Ends every connection and starts anew with what these records say, as a server that
    /// was stopped and started on the same files.
    pub fn restart<S: Sink>(
        &mut self,
        now: Time,
        records: impl IntoIterator<Item = LogRecord>,
        sink: &mut S,
    ) {
        let kept = self.log.records_changes();
        self.begin_anew(now, sink);
        self.restore(now, records);
        if kept {
            self.log.record_changes();
        }
    }

    /// All that a restart has to know: the log, the sequence numbers that are not in it, and the
    /// records of topics that are kept without a log.
    pub fn state_to_keep(&self) -> Vec<LogRecord> {
        let numbers = self.log.sequences().map(LogRecord::Sequence);
        let tables = self.sow.iter().filter(|table| table.persists);
        let kept = tables.flat_map(|table| {
            let unlogged =
                table.records().filter(|record| !self.log.covers(table.message_type, &record.topic));
            unlogged.map(|record| kept(self.types.name(table.message_type), record))
        });
        numbers.chain(self.log()).chain(kept).collect()
    }

    /// Takes down what became of a record that no log remembers.
    pub(super) fn note_kept(&mut self, now: Time, table: usize, change: &Change<'_>) {
        let record = change.record();
        let Some(table) = self.sow.get(table).filter(|table| table.persists) else { return };
        // What expires does so after a restart too.
        let expired = change.left() == Some(OofReason::Expired);
        if expired || !self.log.records_changes() || self.log.covers(table.message_type, &record.topic) {
            return;
        }
        let message_type = self.types.name(table.message_type);
        let note = match change.left() {
            None => kept(message_type, record),
            Some(_) => LogRecord::Dropped {
                message_type: message_type.to_owned(),
                topic: record.topic.to_string(),
                key: record.key.to_string(),
                at: now,
            },
        };
        self.log.record_change(note);
    }

    /// Gives a new engine back what it logged in an earlier life: the log with its bookmarks,
    /// the sequence numbers, the state of the world as far as it was logged, and the queues,
    /// in which everything that did not leave is available (Q-71).
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    /// use amps_transport::Time;
    ///
    /// let server = FakeServer::builder().virtual_clock().start()?;
    /// server.publish("orders", "1").unwrap();
    /// let mut again = FakeServer::builder().engine()?;
    /// again.restore(Time::EPOCH, server.log());
    /// assert_eq!(again.logged(), 1);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn restore(&mut self, now: Time, records: impl IntoIterator<Item = LogRecord>) {
        for record in records {
            match record {
                LogRecord::Message(message) => self.restore_message(message),
                LogRecord::Deletion { bookmark, message_type, at, records, via } => {
                    let message_type = self.types.id(&message_type);
                    let records: Vec<(Arc<str>, Arc<str>)> =
                        records.into_iter().map(|(t, k)| (t.into(), k.into())).collect();
                    self.catch_up(at);
                    for (topic, key) in &records {
                        self.delete_restored(at, message_type, topic, key);
                    }
                    let via = via.map(Arc::new);
                    self.log.append_deletion(Deletion { bookmark, message_type, at, records, via });
                }
                LogRecord::Departure { queue, message_type, bookmark, at, via } => {
                    // A queue that is not configured any more has nothing to forget.
                    if let Some(index) = self.queue_named(&queue, &message_type) {
                        let was_logged = self.log.find(bookmark).is_some();
                        if !self.queues[index].depart(bookmark, at) && !was_logged {
                            // It was acknowledged before it came, and is yet to come.
                            self.queues[index].defer(bookmark, at);
                        }
                        self.log.append_departure(index, bookmark, at, via.map(Arc::new));
                    }
                }
                LogRecord::Transfer { queue, message_type, bookmark, owner, turn, at, via } => {
                    if let Some(index) = self.queue_named(&queue, &message_type) {
                        let owner: Arc<str> = owner.into();
                        let elsewhere = (*owner != *self.config.instance).then(|| Arc::clone(&owner));
                        if let Some(position) = self.queues[index].position_of(bookmark) {
                            self.queues[index].give_to(position, elsewhere, turn);
                        }
                        self.log.append_transfer(index, bookmark, (owner, turn), at, via.map(Arc::new));
                    }
                }
                LogRecord::Kept { message_type, topic, key, body, correlation, publisher, at, expires } => {
                    let message_type = self.types.id(&message_type);
                    self.catch_up(at);
                    let Some(table) = self.table_of(message_type, &topic) else { continue };
                    let record = Arc::new(Record {
                        topic: topic.into(),
                        key: key.into(),
                        body: body.into(),
                        correlation: correlation.map(Into::into),
                        publisher: publisher.into(),
                        bookmark: None,
                        updated: at,
                        expires,
                    });
                    let old = self.sow[table].put(Arc::clone(&record));
                    let change = Change::Published { old: old.as_ref(), new: &record };
                    self.changed(at, table, &change, &mut Nowhere);
                }
                LogRecord::Dropped { message_type, topic, key, at } => {
                    let message_type = self.types.id(&message_type);
                    self.delete_restored(at, message_type, &topic.into(), &key.into());
                }
                LogRecord::Sequence(MessageId { publisher, sequence }) => {
                    self.log.advance(publisher, sequence);
                }
                LogRecord::Truncation(count) => {
                    self.log.truncate_before(self.log.first().saturating_add(count));
                }
                LogRecord::Reset => self.forget_everything(),
            }
        }
        self.log.write();
        for index in 0..self.queues.len() {
            self.queues[index].begin_counting();
            self.timers.set(Timer::Queue(index), self.queues[index].deadline());
            self.show_queue(now, index, &mut Nowhere);
        }
        self.catch_up(now);
    }

    fn delete_restored(&mut self, at: Time, message_type: TypeId, topic: &Arc<str>, key: &Arc<str>) {
        let Some(table) = self.table_of(message_type, topic) else { return };
        if let Some(record) = self.sow[table].remove(topic, key) {
            let change = Change::Left { record: &record, reason: OofReason::Deleted };
            self.changed(at, table, &change, &mut Nowhere);
        }
    }

    /// What time alone did until then happens again, for it is not logged (TXL-03): records
    /// expire, and conflated topics follow.
    fn catch_up(&mut self, now: Time) {
        self.replay_time(now);
        // Who acts on what happens has acted on this already.
        self.actions.forget();
    }

    fn replay_time(&mut self, now: Time) {
        for table in 0..self.sow.len() {
            self.sow_timer(now, table, &mut Nowhere);
        }
        for index in 0..self.derived.len() {
            self.derived_timer(now, index, &mut Nowhere);
        }
    }

    /// The entry that a message is, behind all that is in the log.
    pub(super) fn entry(&mut self, message: LoggedMessage) -> Entry {
        Entry {
            position: self.log.end(),
            bookmark: message.bookmark,
            message_type: self.types.id(&message.message_type),
            topic: message.topic.into(),
            body: message.body.into(),
            key: message.key.map(Into::into),
            correlation: message.correlation.map(Into::into),
            publisher: message.publisher.into(),
            at: message.at,
            expiration: message.expiration,
            via: message.via.map(Arc::new),
        }
    }

    pub(super) fn queue_named(&mut self, name: &str, message_type: &str) -> Option<usize> {
        let message_type = self.types.id(message_type);
        self.queues.iter().position(|queue| *queue.name == *name && queue.message_type == message_type)
    }

    fn restore_message(&mut self, message: LoggedMessage) {
        let entry = Arc::new(self.entry(message));
        let message_type = entry.message_type;
        let route = self.route(message_type, entry.topic.as_bytes());
        let table = route.table.filter(|&table| !self.sow[table].starts_empty);
        if let (Some(table), Some(key)) = (table, &entry.key) {
            self.catch_up(entry.at);
            let index = table;
            let table = &mut self.sow[index];
            let expires = table.expiry(entry.happened(), entry.expiration);
            let record = Arc::new(Record {
                topic: Arc::clone(&entry.topic),
                key: Arc::clone(key),
                body: Arc::clone(&entry.body),
                correlation: entry.correlation.clone(),
                publisher: Arc::clone(&entry.publisher),
                bookmark: Some(entry.bookmark),
                updated: entry.at,
                expires,
            });
            let old = table.put(Arc::clone(&record));
            let change = Change::Published { old: old.as_ref(), new: &record };
            self.changed(entry.at, index, &change, &mut Nowhere);
        }
        self.enter_queues(entry.at, &route, &entry);
        self.log.append(entry);
    }

    /// A logged message enters the queues of its topic.
    pub(super) fn enter_queues(&mut self, now: Time, route: &super::topic::Route, entry: &Arc<Entry>) {
        for &index in &route.queues {
            let queue = &mut self.queues[index];
            let wanted = queue.entry_filter.as_ref().is_none_or(|filter| {
                let document = queue.format.read(&entry.body);
                filter.matches(Facts::of(entry, &queue.format, &document), now)
            });
            if wanted {
                let owner = first_owner(&self.config, queue, entry);
                queue.enter(Arc::clone(entry), owner, now);
                self.dirty.insert(index);
            }
        }
    }

    /// What left its queue is logged, so that it does not come back with a restart.
    pub(super) fn log_departures(&mut self, now: Time, index: usize) {
        for bookmark in self.queues[index].take_departures() {
            self.log.append_departure(index, bookmark, now, None);
        }
    }

    /// Ends every connection, and forgets everything but the configuration.
    pub(super) fn begin_anew<S: Sink>(&mut self, now: Time, sink: &mut S) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for conn in connections {
            self.close(now, conn, Disconnect::Dropped, CloseMode::Abort, sink);
        }
        self.close_links(CloseMode::Abort, sink);
        self.forget_everything();
    }

    fn forget_everything(&mut self) {
        // The configuration was valid before, so this cannot fail; if it did, keeping the
        // present state would be the lesser evil.
        if let Ok(fresh) = Self::new(self.config.clone()) {
            let old = std::mem::replace(self, fresh);
            self.observe = old.observe;
            self.events = old.events;
            self.listeners = old.listeners;
            self.slowness = old.slowness;
            self.accepted = old.accepted;
            self.types = old.types;
            self.replication.take_over(old.replication);
            self.restricted = old.restricted;
        }
    }

    /// Removes the older part of the transaction log: EPOCH is then what is left, and the
    /// bookmarks of what is gone are unknown (RET-01). Queues and the state of the world keep
    /// their messages, until a restart.
    pub fn truncate_before(&mut self, cut: LogCut) {
        let position = match cut {
            LogCut::Message(bookmark) => self.log.find(bookmark),
            LogCut::Time(time) => Some(self.log.first_at(time)),
            LogCut::Newest(count) => self.oldest_of_newest(count),
        };
        if let Some(position) = position {
            self.log.truncate_before(position);
        }
    }

    /// Empties the transaction log, as [`truncate_before`](Self::truncate_before) does. The
    /// sequence numbers of publishers stay known.
    pub fn clear_log(&mut self) {
        self.log.truncate_before(self.log.end());
    }

    fn oldest_of_newest(&self, count: usize) -> Option<Position> {
        let first = self.log.first();
        let is_message = |position: &Position| matches!(self.log.get(*position), Some(Item::Message(_)));
        match count.checked_sub(1) {
            None => Some(self.log.end()),
            Some(others) => (first..self.log.end()).rev().filter(is_message).nth(others),
        }
    }
}
