//! The sending end of a link: a cursor over the log.
//!
//! Owns what a destination gets, when, and up to where it has confirmed.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use amps_protocol::MessageId;
use amps_transport::{CloseMode, ConnId, Sink, Target, Time};
use fancy_regex::Regex;

use super::frames::{Frame, Greeting};
use super::{LinkState, RETRY};
use crate::engine::Engine;
use crate::engine::config::{ConfigError, DestinationConfig, QueueKind, ReplicatedTopic, SyncMode};
use crate::engine::log_record::LogRecord;
use crate::engine::timers::Timer;
use crate::engine::topic::{MessageTypes, TopicPattern, TopicReading};
use crate::engine::txlog::{Item, Position, TxLog, Via};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// So many bytes wait for a destination before more is read from the log.
const MAX_UNSENT: usize = 4 << 20;

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nowhere; it is tried again then.
    Idle(Time),
    Connecting(ConnId),
    /// Connected; the destination has not answered yet.
    Greeting(ConnId),
    Established(ConnId),
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// What the link lets through by itself.
    Normal,
    /// The same, while the clock is moved.
    Clock,
    /// So many entries, whatever the link lets through.
    Count(usize),
}

#[derive(Debug)]
struct Topics {
    pattern: TopicPattern,
    message_type: Option<String>,
    pass_through: Option<Regex>,
}

/// What an instance knows of one destination.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) config: DestinationConfig,
    topics: Vec<Topics>,
    pub(super) mode: SyncMode,
    pub(super) state: LinkState,
    pub(super) lag: Duration,
    pub(super) line: Line,
    /// How often connecting was tried: the addresses are tried in turn.
    tries: usize,
    /// The instance that answered last.
    pub(super) peer: Option<String>,
    /// The sequence numbers that it knew when it answered.
    known: BTreeMap<u64, u64>,
    /// It lost entries that it once sent here: those before this go back, until all that is confirmed.
    returns: Option<Position>,
    /// The next item to look at.
    pub(super) cursor: Position,
    /// What is sent and not confirmed.
    pub(super) in_flight: VecDeque<Position>,
    /// Everything before is confirmed, or is not for this destination.
    pub(super) confirmed: Position,
    /// When everything before is sent, the destination is told so.
    complete_at: Option<Position>,
    /// Entries sent over the present connection.
    pub(super) entries: u64,
    /// Frames, of whatever kind.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Why the last attempt failed, as the other side says.
    pub(super) fault: Option<String>,
}

impl Destination {
    /// # Errors
    /// It cannot be replicated to.
    pub(super) fn new(
        config: DestinationConfig,
        types: &mut MessageTypes,
        log: &TxLog,
    ) -> Result<Self, ConfigError> {
        if !log.exists() {
            return Err(ConfigError::DestinationWithoutLog { destination: config.name });
        }
        for address in &config.addresses {
            if split(address).is_none() {
                let (destination, address) = (config.name.clone(), address.clone());
                return Err(ConfigError::DestinationAddress { destination, address });
            }
        }
        let topics = config
            .topics
            .iter()
            .map(|topic| Topics::new(&config.name, topic, types, log))
            .collect::<Result<_, _>>()?;
        let first = log.first();
        Ok(Self {
            mode: config.mode,
            config,
            topics,
            state: LinkState::default(),
            lag: Duration::ZERO,
            line: Line::Idle(Time::EPOCH),
            tries: 0,
            peer: None,
            known: BTreeMap::new(),
            returns: None,
            cursor: first,
            in_flight: VecDeque::new(),
            confirmed: first,
            complete_at: None,
            entries: 0,
            sent: 0,
            received: 0,
            fault: None,
        })
    }

    pub(super) fn keep_settings(&mut self, old: Self) {
        self.config = old.config;
        self.mode = old.mode;
        self.state = old.state;
        self.lag = old.lag;
        self.peer = old.peer;
        self.returns = old.returns;
    }

    pub(super) const fn conn(&self) -> Option<ConnId> {
        match self.line {
            Line::Idle(_) => None,
            Line::Connecting(conn) | Line::Greeting(conn) | Line::Established(conn) => Some(conn),
        }
    }

    /// Forgets the connection, and returns it.
    pub(super) fn let_go(&mut self) -> Option<ConnId> {
        let conn = self.conn();
        self.line = Line::Idle(Time::EPOCH);
        conn
    }

    pub(super) fn is_connected_to(&self, instance: &str) -> bool {
        self.peer.as_deref() == Some(instance) && matches!(self.line, Line::Established(_))
    }

    /// When it is to be connected.
    pub(super) fn retry_at(&self) -> Option<Time> {
        match self.line {
            Line::Idle(at) if self.may_connect() => Some(at),
            _ => None,
        }
    }

    fn may_connect(&self) -> bool {
        self.state != LinkState::Down && !self.config.addresses.is_empty()
    }

    /// Whether an item is of a topic that the destination gets, from the group that it came of.
    fn covers(&self, topic: &str, message_type: &str, from: Option<&str>) -> bool {
        let wanted = |topics: &Topics| {
            topics.pattern.matches(topic)
                && topics.message_type.as_deref().is_none_or(|name| name == message_type)
                && topics.passes(from)
        };
        if self.topics.is_empty() { from.is_none() } else { self.topics.iter().any(wanted) }
    }

    fn passes_any(&self, from: Option<&str>) -> bool {
        from.is_none() || self.topics.iter().any(|topics| topics.passes(from))
    }
}

impl Topics {
    fn new(
        destination: &str,
        topic: &ReplicatedTopic,
        types: &mut MessageTypes,
        log: &TxLog,
    ) -> Result<Self, ConfigError> {
        let wrong =
            |what, pattern: &str, fault| ConfigError::Pattern { what, pattern: pattern.to_owned(), fault };
        let pattern = TopicPattern::parse(&topic.topics, TopicReading::Guess, false)
            .map_err(|fault| wrong("replicated topic", &topic.topics, fault))?;
        let is_logged = match &topic.message_type {
            Some(name) => log.covers(types.id(name), &topic.topics),
            None => log.covers_any(&topic.topics),
        };
        if pattern.is_literal() && !is_logged {
            return Err(ConfigError::ReplicatedTopicNotLogged {
                destination: destination.to_owned(),
                topic: topic.topics.clone(),
            });
        }
        let pass_through = match &topic.pass_through {
            Some(text) => {
                Some(Regex::new(text).map_err(|fault| wrong("pass-through group", text, fault.to_string()))?)
            }
            None => None,
        };
        Ok(Self { pattern, message_type: topic.message_type.clone(), pass_through })
    }

    /// `from` is the group of the instance that it came by; `None` if it happened here.
    fn passes(&self, from: Option<&str>) -> bool {
        let Some(group) = from else { return true };
        // A pattern that exhausts its backtracking budget does not match.
        self.pass_through.as_ref().is_some_and(|groups| groups.is_match(group).unwrap_or(false))
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

impl Engine {
    pub(super) fn connect<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        if self.replication.halted {
            return;
        }
        let link = &mut self.replication.destinations[index];
        if link.retry_at().is_none() {
            return;
        }
        let addresses = &link.config.addresses;
        let address = addresses.get(link.tries % addresses.len().max(1));
        let Some((host, port)) = address.and_then(|address| split(address)) else {
            link.fault = address.map(|address| format!("\"{address}\" is not HOST:PORT"));
            link.line = Line::Idle(now + RETRY);
            return;
        };
        link.line = Line::Connecting(sink.connect(Target::tcp(host, port, CONNECT_TIMEOUT)));
        self.replication.has_changed();
    }

    pub(super) fn hang_up<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        let link = &mut self.replication.destinations[index];
        if let Some(conn) = link.conn() {
            sink.close(conn, CloseMode::Abort);
            self.lose(now, index);
            self.replication.destinations[index].line = Line::Idle(now);
        }
    }

    /// The connection of a link is gone.
    pub(super) fn lose(&mut self, now: Time, index: usize) {
        let link = &mut self.replication.destinations[index];
        link.line = Line::Idle(now + RETRY);
        link.tries = link.tries.wrapping_add(1);
        self.timers.set(Timer::Replicate(index), None);
        if let Some(peer) = link.peer.clone() {
            self.replication.claims.retain(|_, claim| claim.by != peer);
        }
    }

    pub(super) fn greet<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        let Some(conn) = self.replication.destinations[index].conn() else { return };
        let greeting = self.greeting(Vec::new());
        self.replication.destinations[index].line = Line::Greeting(conn);
        self.replication.destinations[index].sent = 1;
        self.replication.destinations[index].received = 0;
        if !self.send_on_link(conn, &Frame::Greeting(greeting), sink) {
            self.hang_up(now, index, sink);
        }
    }

    pub(super) fn greeting(&self, known: Vec<MessageId>) -> Greeting {
        let instance = self.config.instance.clone();
        let group = self.config.group.clone().unwrap_or_else(|| instance.clone());
        Greeting { instance, group, known }
    }

    /// A destination says something.
    pub(super) fn take_answer<S: Sink>(&mut self, now: Time, index: usize, frame: Frame, sink: &mut S) {
        self.replication.destinations[index].received += 1;
        match frame {
            Frame::Greeting(greeting) => self.begin_sending(now, index, greeting, sink),
            Frame::Confirmed(until) => {
                let link = &mut self.replication.destinations[index];
                while link.in_flight.front().is_some_and(|position| *position <= until) {
                    link.in_flight.pop_front();
                }
                link.note_confirmed();
            }
            Frame::Wanted { queue, message_type, bookmark } => {
                let by = self.replication.destinations[index].peer.clone();
                if let (Some(queue), Some(by)) = (self.queue_named(&queue, &message_type), by) {
                    self.claim(now, queue, bookmark, by);
                }
            }
            Frame::Refused(reason) => {
                self.hang_up(now, index, sink);
                let link = &mut self.replication.destinations[index];
                link.fault = Some(reason);
                link.line = Line::Idle(now + RETRY);
            }
            Frame::Entry { .. } | Frame::Complete => {
                self.hang_up(now, index, sink);
                let link = &mut self.replication.destinations[index];
                link.fault = Some("the destination sent what only a source sends".to_owned());
                link.line = Line::Idle(now + RETRY);
            }
        }
    }

    /// The destination is there, and has said what it has.
    fn begin_sending<S: Sink>(&mut self, now: Time, index: usize, greeting: Greeting, sink: &mut S) {
        let Greeting { instance, group, known } = greeting;
        let link = &mut self.replication.destinations[index];
        let Some(conn) = link.conn() else { return };
        if link.config.group.as_ref().is_some_and(|wanted| *wanted != group) {
            let wanted = link.config.group.as_deref().unwrap_or_default();
            link.fault = Some(format!("{instance} is of the group \"{group}\", not \"{wanted}\""));
            let fault = link.fault.take();
            self.hang_up(now, index, sink);
            let link = &mut self.replication.destinations[index];
            link.fault = fault;
            link.line = Line::Idle(now + RETRY);
            return;
        }
        link.fault = None;
        link.line = Line::Established(conn);
        link.known = known.into_iter().map(|id| (id.publisher, id.sequence)).collect();
        link.in_flight.clear();
        link.entries = 0;
        link.cursor = self.log.first();
        link.confirmed = link.cursor;
        link.complete_at = Some(self.log.end());
        let knows = |id: MessageId| link.known.get(&id.publisher).is_some_and(|&last| id.sequence <= last);
        // It knew a message of a queue that it said something of.
        let lost = |item: &Item| {
            item.via().is_some_and(|via| via.path.contains(&instance)) && !knows(item.subject())
        };
        // What it got back of that before the link broke may not have been all.
        let returning = link.returns.is_some() && link.peer.as_ref() == Some(&instance);
        link.returns = (returning || self.log.items().any(lost)).then_some(self.log.end());
        link.peer = Some(instance.clone());
        self.replication.groups.insert(instance, group);
        self.dirty.extend(0..self.queues.len());
    }

    /// Whether the destination gets what is at a position. One that lost what it had gets its
    /// own entries back: it is new, and they never were in its log.
    pub(super) fn is_for(&self, link: &Destination, position: Position, item: &Item) -> bool {
        let known = |id: MessageId| link.known.get(&id.publisher).is_some_and(|&last| id.sequence <= last);
        if item.bookmark().is_some_and(known) {
            return false;
        }
        let path = item.via().map(|via| via.path.as_slice()).unwrap_or_default();
        let from = path.last().map(|name| self.replication.groups.get(name).unwrap_or(name).as_str());
        let passed = link.peer.as_ref().is_some_and(|peer| path.contains(peer));
        let from = if passed {
            if link.returns.is_none_or(|end| position >= end) {
                return false;
            }
            None
        } else {
            from
        };
        match item {
            Item::Message(entry) => link.covers(&entry.topic, self.types.name(entry.message_type), from),
            Item::Deletion(deletion) => {
                let message_type = self.types.name(deletion.message_type);
                let mut topics = deletion.records.iter().map(|(topic, _)| topic);
                // The sequence number of a delete that met nothing counts all the same.
                deletion.records.is_empty() || topics.any(|topic| link.covers(topic, message_type, from))
            }
            Item::Departure(departure) => self.is_shared(link, departure.queue, from),
            Item::Transfer(transfer) => self.is_shared(link, transfer.queue, from),
        }
    }

    /// Whether the destination hears of what happens in a queue.
    fn is_shared(&self, link: &Destination, queue: usize, from: Option<&str>) -> bool {
        let Some(queue) = self.queues.get(queue) else { return false };
        if queue.config.kind == QueueKind::Local {
            return false;
        }
        match queue.underlying.is_literal() {
            true => link.covers(queue.underlying.text(), self.types.name(queue.message_type), from),
            false => link.passes_any(from),
        }
    }

    /// Sends a destination what it may have now.
    pub(super) fn pump<S: Sink>(&mut self, now: Time, index: usize, permit: Permit, sink: &mut S) {
        let mut left = match permit {
            Permit::Count(count) => count,
            Permit::Normal | Permit::Clock => usize::MAX,
        };
        while let Some(step) = self.next_for(now, index, permit, left, sink) {
            let frame = match step {
                Step::Skip => {
                    self.replication.destinations[index].cursor += 1;
                    continue;
                }
                Step::Complete => {
                    self.replication.destinations[index].complete_at = None;
                    Frame::Complete
                }
                Step::Send(position) => {
                    left -= 1;
                    let record = self.log.get(position).and_then(|item| self.record(item));
                    // There is a queue for everything that the log says of one.
                    let Some(mut record) = record else { return };
                    pass(&mut record, &self.config.instance);
                    let link = &mut self.replication.destinations[index];
                    link.cursor += 1;
                    link.entries += 1;
                    link.in_flight.push_back(position);
                    Frame::Entry { position, record }
                }
            };
            let link = &mut self.replication.destinations[index];
            link.sent += 1;
            let Some(conn) = link.conn() else { return };
            if !self.send_on_link(conn, &frame, sink) {
                self.hang_up(now, index, sink);
                return;
            }
        }
        self.replication.destinations[index].note_confirmed();
    }

    fn next_for<S: Sink>(
        &mut self,
        now: Time,
        index: usize,
        permit: Permit,
        left: usize,
        sink: &S,
    ) -> Option<Step> {
        let first = self.log.first();
        let link = self.replication.destinations.get_mut(index)?;
        let Line::Established(conn) = link.line else { return None };
        link.cursor = link.cursor.max(first);
        let link = self.replication.destinations.get(index)?;
        if link.complete_at.is_some_and(|end| link.cursor >= end) {
            return Some(Step::Complete);
        }
        let position = link.cursor;
        let item = self.log.get(position)?;
        if !self.is_for(link, position, item) {
            return Some(Step::Skip);
        }
        let due = item.at() + link.lag;
        let wait_until = match permit {
            Permit::Count(_) => None,
            _ if link.state != LinkState::Up => return None,
            _ if due > now => Some(due),
            Permit::Normal if !self.replication.auto => Some(now),
            Permit::Normal | Permit::Clock => None,
        };
        if wait_until.is_some() {
            self.timers.set(Timer::Replicate(index), wait_until);
            return None;
        }
        if left == 0 || sink.unsent(conn) > MAX_UNSENT {
            return None;
        }
        Some(Step::Send(position))
    }

    /// The clock says that something may be sent.
    pub(in crate::engine) fn replication_timer<S: Sink>(&mut self, now: Time, index: usize, sink: &mut S) {
        self.pump(now, index, Permit::Clock, sink);
    }
}

/// What to do with the next item.
enum Step {
    /// It is not for this destination.
    Skip,
    /// Everything is sent that there was at the beginning.
    Complete,
    Send(Position),
}

impl Destination {
    fn note_confirmed(&mut self) {
        if matches!(self.line, Line::Established(_)) {
            self.confirmed = self.in_flight.front().copied().unwrap_or(self.cursor);
            self.returns = self.returns.filter(|end| self.confirmed < *end);
        }
    }
}

/// Notes in a record that it passed this instance.
fn pass(record: &mut LogRecord, instance: &str) {
    let (via, at) = match record {
        LogRecord::Message(message) => (&mut message.via, message.at),
        LogRecord::Deletion { via, at, .. }
        | LogRecord::Departure { via, at, .. }
        | LogRecord::Transfer { via, at, .. } => (via, *at),
        // These are of one instance only.
        LogRecord::Kept { .. }
        | LogRecord::Dropped { .. }
        | LogRecord::Sequence(_)
        | LogRecord::Truncation(_)
        | LogRecord::Reset => return,
    };
    via.get_or_insert(Via { path: Vec::new(), since: at }).path.push(instance.to_owned());
}
