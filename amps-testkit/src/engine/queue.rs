//! One queue: what waits, what is leased to whom, and what is remembered.
//!
//! Owns the life of a queue message (server.md 6):
//!
//! ```text
//!  enter ──▶ available ──lease──▶ leased ──▶ gone (acknowledged, or expired with a reason)
//!   │  ▲          ▲                  │
//!   ▼  │          └──── give back ───┘
//!  elsewhere (another instance delivers it: `owner`)
//! ```
//!
//! Invariants: a message is in `available` exactly if it is not leased; `leases` holds exactly
//! the leases that end by time; nothing is scanned per message but what a filter has not
//! looked at yet. It sends nothing and counts no backlog: that is `delivery`'s.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::MessageId;
use amps_transport::{ConnId, Time};

use super::config::{ConfigError, ExpirationModel, Fairness, QueueConfig, Semantics};
use super::filter::{Context, Expression, Language, Value};
use super::format::Format;
use super::selector::{Facts, Selector};
use super::subscription::SubKey;
use super::switches::{MaxCancels, ReturnPosition, Switches};
use super::topic::{TopicPattern, TopicReading, TypeId};
use super::txlog::{Entry, Position};

mod books;
mod browse;
mod ends;
mod owner;
mod tally;
pub(crate) use tally::Tally;

/// Why a message expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiryReason {
    /// Its time was up.
    TimeLimit,
    /// A client asked for it.
    ForcedExpire,
    /// It was cancelled too often.
    MaxCancels,
    /// It was delivered too often.
    MaxDeliveries,
}

impl ExpiryReason {
    /// The word that AMPS uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimeLimit => "time_limit",
            Self::ForcedExpire => "forced_expire",
            Self::MaxCancels => "max_cancels",
            Self::MaxDeliveries => "max_deliveries",
        }
    }
}

/// A lease, or for at-most-once a message that was sent and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) sub: SubKey,
    pub(crate) conn: ConnId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: Holder,
    /// `None` if it does not end by time.
    pub(crate) until: Option<Time>,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueMessage {
    pub(crate) entry: Arc<Entry>,
    /// What comes before what: the higher the priority, the lower.
    rank: u64,
    /// The instance that delivers it; `None`: this one.
    pub(crate) owner: Option<Arc<str>>,
    /// How many owners it had before.
    pub(crate) turn: u64,
    pub(crate) lease: Option<Lease>,
    pub(crate) deliveries: u32,
    pub(crate) cancels: u32,
    pub(crate) expires: Option<Time>,
}

/// Where a message stands among those that can be delivered: by priority, then by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    rank: u64,
    pub(crate) position: Position,
}

impl Place {
    const LAST: Self = Self { rank: u64::MAX, position: Position::MAX };
}

/// A subscription as this queue sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    /// No available message before this place matches the filter.
    pub(crate) cursor: Place,
    /// The message at this place matches the filter.
    pub(crate) confirmed: Option<Place>,
    /// Of the messages before this position that other instances own, all that match were
    /// asked for.
    pub(crate) asked: Position,
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages that entered.
    pub entered: u64,
    /// Frames sent, redeliveries included.
    pub delivered: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Leases that ended by time.
    pub expired_leases: u64,
    /// Leases that ended because their holder went away.
    pub returned_leases: u64,
    /// Messages given back by their holder.
    pub cancels: u64,
    /// Messages that expired, by reason.
    pub expired: BTreeMap<ExpiryReason, u64>,
}

/// How a lease ended without acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsuccessful {
    TimedOut,
    HolderLeft,
    Cancelled,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) config: QueueConfig,
    pub(crate) name: Arc<str>,
    pub(crate) message_type: TypeId,
    pub(crate) format: Format,
    pub(crate) underlying: TopicPattern,
    pub(crate) fairness: Fairness,
    pub(crate) entry_filter: Option<Selector>,
    pub(crate) members: BTreeMap<SubKey, Member>,
    pub(crate) last_served: Option<SubKey>,
    pub(crate) counters: QueueCounters,
    messages: BTreeMap<Position, QueueMessage>,
    by_bookmark: BTreeMap<MessageId, Position>,
    available: BTreeSet<Place>,
    /// Messages that wait until everything before them is done (Q-60).
    barriers: BTreeSet<Position>,
    /// Messages beyond the target depth (Q-70).
    inactive: BTreeSet<Position>,
    /// Messages that other instances deliver (Q-72).
    elsewhere: BTreeSet<Position>,
    /// Those of them that this instance asked for.
    asked: BTreeSet<Position>,
    priority: Option<Expression>,
    barrier: Option<Selector>,
    leases: BTreeSet<(Time, Position)>,
    expirations: BTreeSet<(Time, Position)>,
    held: BTreeMap<SubKey, BTreeSet<Position>>,
    /// At-most-once: sent, and still on somebody's backlog.
    sent: BTreeMap<MessageId, Holder>,
    deferred: BTreeMap<MessageId, Time>,
    forget: BTreeSet<(Time, MessageId)>,
    leased: usize,
    max_cancels: MaxCancels,
    expire_leased: bool,
    return_position: ReturnPosition,
    tail: Position,
    /// What left for good since it was last asked.
    departures: Vec<MessageId>,
    /// What came into sight, or went out of it; `None` if nobody looks.
    stirred: Option<Vec<Arc<Entry>>>,
}

impl Queue {
    pub(crate) fn new(
        config: QueueConfig,
        message_type: TypeId,
        format: Format,
        switches: &Switches,
        language: &Language,
    ) -> Result<Self, ConfigError> {
        let underlying =
            TopicPattern::parse(config.underlying_topic(), TopicReading::Guess, false).map_err(|fault| {
                ConfigError::Pattern {
                    what: "underlying topic",
                    pattern: config.underlying_topic().to_owned(),
                    fault,
                }
            })?;
        if !underlying.is_literal() && config.publish_target.is_none() {
            return Err(ConfigError::PublishTarget { queue: config.name });
        }
        let fairness = config.effective_fairness();
        if config.semantics == Semantics::AtMostOnce && fairness != Fairness::RoundRobin {
            return Err(ConfigError::AtMostOnceFairness { queue: config.name });
        }
        let entry_filter = match &config.filter {
            Some(text) => Some(
                Selector::parse_steady(text, language)
                    .map_err(|fault| ConfigError::Filter { queue: config.name.clone(), fault })?,
            ),
            None => None,
        };
        config.check_order()?;
        let priority = match &config.priority {
            Some(text) => Some(Expression::parse_in(text, language).map_err(|fault| {
                ConfigError::Priority { queue: config.name.clone(), fault: fault.to_string() }
            })?),
            None => None,
        };
        let barrier = match &config.barrier {
            Some(text) => Some(
                Selector::parse_steady(text, language)
                    .map_err(|fault| ConfigError::Filter { queue: config.name.clone(), fault })?,
            ),
            None => None,
        };
        Ok(Self {
            name: config.name.as_str().into(),
            format,
            config,
            message_type,
            underlying,
            fairness,
            entry_filter,
            members: BTreeMap::new(),
            last_served: None,
            counters: QueueCounters::default(),
            messages: BTreeMap::new(),
            by_bookmark: BTreeMap::new(),
            available: BTreeSet::new(),
            barriers: BTreeSet::new(),
            inactive: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            asked: BTreeSet::new(),
            priority,
            barrier,
            leases: BTreeSet::new(),
            expirations: BTreeSet::new(),
            held: BTreeMap::new(),
            sent: BTreeMap::new(),
            deferred: BTreeMap::new(),
            forget: BTreeSet::new(),
            leased: 0,
            max_cancels: switches.max_cancels,
            expire_leased: switches.expire_leased,
            return_position: switches.return_position,
            tail: 0,
            departures: Vec::new(),
            stirred: None,
        })
    }

    /// A message enters, unless it was acknowledged before it came.
    pub(crate) fn enter(&mut self, entry: Arc<Entry>, owner: Option<Arc<str>>, now: Time) {
        self.counters.entered += 1;
        if let Some(until) = self.deferred.remove(&entry.bookmark) {
            self.forget.remove(&(until, entry.bookmark));
            self.counters.acknowledged += 1;
            self.departures.push(entry.bookmark);
            return;
        }
        // Messages that returned to the tail may be beyond the log's end.
        let position = entry.position.max(self.tail + 1);
        let expires = self.expiry(&entry, now);
        self.tail = self.tail.max(position);
        self.by_bookmark.insert(entry.bookmark, position);
        if let Some(at) = expires.filter(|_| owner.is_none()) {
            self.expirations.insert((at, position));
        }
        let rank = self.rank(&entry);
        self.messages.insert(
            position,
            QueueMessage { entry, rank, owner, turn: 0, lease: None, deliveries: 0, cancels: 0, expires },
        );
        self.inactive.insert(position);
        self.activate(now);
    }

    /// Makes messages deliverable, oldest first, up to the target depth (Q-70).
    fn activate(&mut self, now: Time) {
        let depth =
            self.config.target_depth.map_or(usize::MAX, |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        while self.messages.len() - self.inactive.len() < depth {
            let Some(position) = self.inactive.pop_first() else { return };
            let Some(message) = self.messages.get(&position) else { continue };
            let entry = Arc::clone(&message.entry);
            let is_barrier = self.barrier.as_ref().is_some_and(|barrier| {
                let document = self.format.read(&message.entry.body);
                barrier.matches(Facts::of(&message.entry, &self.format, &document), now)
            });
            if is_barrier {
                self.barriers.insert(position);
            } else if message.owner.is_some() {
                self.elsewhere.insert(position);
            } else {
                self.offer(Place { rank: message.rank, position });
            }
            self.stir(&entry);
        }
    }

    /// Lets a message be delivered, to members too that have looked beyond its place.
    fn offer(&mut self, place: Place) {
        self.available.insert(place);
        for member in self.members.values_mut().filter(|member| member.cursor > place) {
            *member = Member { cursor: place, confirmed: None, ..*member };
        }
    }

    /// Descending priority as an unsigned number; what is none is lowest.
    fn rank(&self, entry: &Entry) -> u64 {
        let Some(priority) = &self.priority else { return 0 };
        let document = self.format.read(&entry.body);
        let value = priority.evaluate(&document, &Context::default()).into_value();
        u64::MAX - unsigned(&value)
    }

    fn place_of(&self, position: Position) -> Place {
        Place { rank: self.messages.get(&position).map_or(0, |message| message.rank), position }
    }

    /// Before this place messages may be delivered: a barrier holds up what comes after it.
    fn bound(&self) -> Place {
        self.barriers.first().map_or(Place::LAST, |&position| Place { rank: 0, position })
    }

    /// A barrier whose turn it is: everything before it is done. It leaves the queue.
    pub(crate) fn take_barrier(&mut self, now: Time) -> Option<Arc<Entry>> {
        let &position = self.barriers.first()?;
        let first = *self.messages.first_key_value()?.0;
        if first != position || !self.sent.is_empty() {
            return None;
        }
        self.counters.delivered += 1;
        let entry = self.forget_message(position, now)?.entry;
        // What it held up can be looked at now.
        let held_up = Place { rank: 0, position };
        for member in self.members.values_mut().filter(|member| member.cursor > held_up) {
            *member = Member { cursor: held_up, confirmed: None, ..*member };
        }
        Some(entry)
    }

    fn expiry(&self, entry: &Entry, now: Time) -> Option<Time> {
        let own = entry.expiration.filter(|&seconds| seconds > 0).map(Duration::from_secs);
        let queue = self.config.expiration;
        let period = match self.config.expiration_model {
            // An `e` of 0 is set, and means never.
            ExpirationModel::Default if entry.expiration.is_some() => own,
            ExpirationModel::Default | ExpirationModel::Queue => queue,
            ExpirationModel::Latest => own.zip(queue).map(|(own, queue)| own.max(queue)),
            ExpirationModel::Earliest => own.into_iter().chain(queue).min(),
        };
        period.map(|period| now + period)
    }

    /// Whether anything could be delivered if somebody wanted it.
    pub(crate) fn can_deliver(&self) -> bool {
        self.oldest_available().is_some() && self.config.total_backlog.is_none_or(|limit| self.leased < limit)
    }

    pub(crate) fn oldest_available(&self) -> Option<Place> {
        self.available.first().copied().filter(|place| *place < self.bound())
    }

    /// The first available message at or after `from` that `matches` accepts.
    pub(crate) fn find_available(
        &self,
        from: Place,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Option<Place> {
        let bound = self.bound();
        if from >= bound {
            return None;
        }
        let matches =
            |place: &Place| self.messages.get(&place.position).is_some_and(|message| wanted(&message.entry));
        self.available.range(from..bound).copied().find(matches)
    }

    pub(crate) fn is_available(&self, place: Place) -> bool {
        self.available.contains(&place)
    }

    /// Behind everything that can be delivered now.
    pub(crate) fn end(&self) -> Place {
        let last = self
            .available
            .last()
            .map_or(Place::default(), |place| Place { position: place.position + 1, ..*place });
        last.min(self.bound())
    }

    /// Hands a message to a subscription; returns it with the end of its lease.
    pub(crate) fn deliver(
        &mut self,
        position: Position,
        holder: Holder,
        now: Time,
    ) -> Option<(Arc<Entry>, Option<Time>)> {
        if !self.available.remove(&self.place_of(position)) {
            return None;
        }
        self.counters.delivered += 1;
        self.last_served = Some(holder.sub);
        if self.config.semantics == Semantics::AtMostOnce {
            let message = self.forget_message(position, now)?;
            self.sent.insert(message.entry.bookmark, holder);
            return Some((message.entry, None));
        }
        let until = self.config.lease.map(|period| now + period);
        let expire_leased = self.expire_leased;
        let message = self.messages.get_mut(&position)?;
        message.deliveries += 1;
        message.lease = Some(Lease { holder, until });
        if let (Some(at), false) = (message.expires, expire_leased) {
            self.expirations.remove(&(at, position));
        }
        if let Some(at) = until {
            self.leases.insert((at, position));
        }
        let entry = Arc::clone(&message.entry);
        self.leased += 1;
        self.held.entry(holder.sub).or_default().insert(position);
        self.stir(&entry);
        Some((entry, until))
    }

    /// The message with a bookmark, if it is in the queue.
    pub(crate) fn position_of(&self, bookmark: MessageId) -> Option<Position> {
        self.by_bookmark.get(&bookmark).copied()
    }

    pub(crate) fn lease_of(&self, position: Position) -> Option<Lease> {
        self.messages.get(&position)?.lease
    }

    pub(crate) fn message(&self, position: Position) -> Option<&QueueMessage> {
        self.messages.get(&position)
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (Position, &QueueMessage)> {
        self.messages.iter().map(|(position, message)| (*position, message))
    }

    /// The part of the queue that can be delivered, looked at, and acknowledged by filter.
    pub(crate) fn active_messages(&self) -> impl Iterator<Item = (Position, &QueueMessage)> {
        self.messages().filter(|(position, _)| !self.inactive.contains(position))
    }

    /// What a subscription holds, in queue order.
    pub(crate) fn held_by(&self, sub: SubKey) -> Vec<Position> {
        self.held.get(&sub).into_iter().flatten().copied().collect()
    }

    /// At-most-once: nobody waits for acknowledgements of this subscription any more.
    pub(crate) fn forget_sent(&mut self, sub: SubKey) {
        self.sent.retain(|_, holder| holder.sub != sub);
    }

    /// The next lease that has ended, still in place.
    pub(crate) fn lease_due(&self, now: Time) -> Option<Position> {
        self.leases.first().filter(|(at, _)| *at <= now).map(|(_, position)| *position)
    }

    /// The next message whose time is up, still in place.
    pub(crate) fn expiration_due(&self, now: Time) -> Option<Position> {
        self.expirations.first().filter(|(at, _)| *at <= now).map(|(_, position)| *position)
    }

    /// Forgets deferred acknowledgements whose time is up.
    pub(crate) fn forget_due(&mut self, now: Time) {
        while let Some(&(at, bookmark)) = self.forget.first().filter(|(at, _)| *at <= now) {
            self.forget.remove(&(at, bookmark));
            self.deferred.remove(&bookmark);
        }
    }

    /// When something happens by itself.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let leases = self.leases.first().map(|(at, _)| *at);
        let expirations = self.expirations.first().map(|(at, _)| *at);
        let forget = self.forget.first().map(|(at, _)| *at);
        [leases, expirations, forget].into_iter().flatten().min()
    }

    /// How many messages count on the backlog of a subscription.
    pub(crate) fn unacknowledged_by(&self, sub: SubKey) -> usize {
        let sent = self.sent.values().filter(|holder| holder.sub == sub).count();
        self.held.get(&sub).map_or(0, BTreeSet::len) + sent
    }

    /// Takes the lease off a message, which is then neither leased nor available.
    pub(crate) fn end_lease(&mut self, position: Position) -> Option<Holder> {
        let message = self.messages.get_mut(&position)?;
        let lease = message.lease.take()?;
        let entry = Arc::clone(&message.entry);
        self.stir(&entry);
        if let Some(at) = lease.until {
            self.leases.remove(&(at, position));
        }
        if let Some(held) = self.held.get_mut(&lease.holder.sub) {
            held.remove(&position);
            if held.is_empty() {
                self.held.remove(&lease.holder.sub);
            }
        }
        self.leased -= 1;
        Some(lease.holder)
    }

    fn forget_message(&mut self, position: Position, now: Time) -> Option<QueueMessage> {
        let place = self.place_of(position);
        let message = self.messages.remove(&position)?;
        self.available.remove(&place);
        self.barriers.remove(&position);
        self.inactive.remove(&position);
        self.elsewhere.remove(&position);
        self.asked.remove(&position);
        self.by_bookmark.remove(&message.entry.bookmark);
        self.departures.push(message.entry.bookmark);
        self.stir(&message.entry);
        if let Some(at) = message.expires {
            self.expirations.remove(&(at, position));
        }
        self.activate(now);
        Some(message)
    }

    /// What left the queue for good since this was last asked, in order.
    pub(crate) fn take_departures(&mut self) -> Vec<MessageId> {
        std::mem::take(&mut self.departures)
    }

    /// A message left the queue in an earlier life of the server; `false` if it is not here.
    pub(crate) fn depart(&mut self, bookmark: MessageId, now: Time) -> bool {
        let Some(position) = self.position_of(bookmark) else { return false };
        self.forget_message(position, now);
        true
    }

    /// What happened in earlier lives does not count (Q-34), and is logged already.
    pub(crate) fn begin_counting(&mut self) {
        self.counters = QueueCounters::default();
        self.departures.clear();
    }
}

/// A value as a priority: an unsigned number, the lowest for what is none.
fn unsigned(value: &Value<'_>) -> u64 {
    match value {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        Value::UInt(number) => *number,
        Value::Bool(yes) => u64::from(*yes),
        // The cast saturates, and NaN becomes 0, which is what is wanted.
        Value::Float(number) => *number as u64,
        Value::String(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
        Value::Null => 0,
    }
}
