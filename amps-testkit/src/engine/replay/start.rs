//! Where a bookmark subscription begins and ends (server.md 5.2, 5.3).
//!
//! Owns the resolution of bookmarks, lists, times and ranges against the log. It changes
//! nothing.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{
    Bookmark, BookmarkNotFound, CommandKind, Interval, Message, MessageId, OptionValueError, Options,
    RangeEdge, Rate, ReplayFrom,
};
use amps_transport::Time;

use super::pace::Pacing;
use crate::engine::Engine;
use crate::engine::reasons::Reason;
use crate::engine::reply::Refusal;
use crate::engine::sow::Point;
use crate::engine::switches::UnloggedBookmark;
use crate::engine::topic::{TopicPattern, TypeId};
use crate::engine::txlog::{Durability, Position, TxLog};

/// The smallest difference between two times.
const MOMENT: Duration = Duration::from_nanos(1);

/// What a subscription with `bm` asks for.
#[derive(Clone, Debug)]
pub(crate) struct ReplayRequest {
    /// The first item to look at.
    pub(super) start: Position,
    /// Messages before this time are not wanted.
    pub(super) not_before: Option<Time>,
    pub(super) stop: Stop,
    pub(super) top_n: Option<u64>,
    pub(super) durability: Durability,
    pub(super) pacing: Option<Pacing>,
    pub(super) paused: bool,
    /// The topics of the log that are meant: those of a queue, where one is named.
    pub(super) topics: Vec<TopicPattern>,
    /// The queue, if one is named.
    pub(super) queue: Option<Arc<str>>,
}

/// Where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Never,
    /// Before this position.
    At(Position),
    /// Before this time, which is still to come.
    Before(Time),
    /// At a message that is still to come.
    AtMessage(Vec<MessageId>, RangeEdge),
}

impl Stop {
    /// Puts a position in the place of what has come meanwhile.
    pub(super) fn settle(&mut self, now: Time, log: &TxLog) {
        match self {
            Self::Never | Self::At(_) => {}
            // Whatever is logged from now on is stamped with this time or a later one.
            Self::Before(time) if *time <= now => *self = Self::At(log.first_at(*time)),
            Self::Before(_) => {}
            Self::AtMessage(ids, edge) => {
                if let Some(position) = ids.iter().filter_map(|id| log.find(*id)).max() {
                    *self = Self::At(position + u64::from(*edge == RangeEdge::Included));
                }
            }
        }
    }
}

/// The place of one bookmark in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the item at this position.
    Before(Position),
    /// Between what is stamped earlier and the rest.
    Time(Time),
}

impl Engine {
    /// What the command asks of the log; `None` if it is no bookmark subscription.
    ///
    /// # Errors
    /// The bookmark is none, or is not found and must be; the options contradict each other;
    /// the topic is not logged.
    pub(in crate::engine) fn read_replay(
        &self,
        now: Time,
        message: &Message<&[u8]>,
        options: &Options,
        pattern: &TopicPattern,
        message_type: TypeId,
    ) -> Result<Option<ReplayRequest>, Refusal> {
        let command = message.command();
        // A query looks at records as they are, whatever its bookmark (HIS-03).
        if command == CommandKind::Sow {
            return Ok(None);
        }
        let top_n = option(options.top_n())?.or(message.top_n());
        let top_n = top_n.filter(|_| command == CommandKind::Subscribe);
        let rate = option(options.rate())?;
        let max_gap = option(options.rate_max_gap())?.map(Interval::duration);
        let Some(text) = message.bookmark() else {
            let bound_to_bookmarks =
                [rate.is_some() || max_gap.is_some(), options.pause() || options.resume(), top_n.is_some()];
            return match bound_to_bookmarks.contains(&true) {
                true => Err(contradiction("rate, pause, resume and top_n need a bookmark")),
                false => Ok(None),
            };
        };
        if matches!(command, CommandKind::DeltaSubscribe | CommandKind::SowAndDeltaSubscribe) {
            return Err(contradiction("a delta subscription has no bookmark"));
        }
        let invalid = |detail: String| Refusal::because(Reason::InvalidBookmark, detail);
        let from = ReplayFrom::parse(text).map_err(|fault| invalid(fault.to_string()))?;
        let is_now = from.position() == Some(amps_protocol::Position::Now);
        // Without history there is no state of the world but the present one (HIS-03).
        let table = self.table_of(message_type, pattern.text()).filter(|_| pattern.is_literal());
        let history = table.and_then(|table| self.sow[table].history.as_ref());
        if command == CommandKind::SowAndSubscribe && !is_now && history.is_none() {
            return Err(invalid("a query and replay can begin at NOW only".to_owned()));
        }
        if top_n.is_some() && is_now {
            return Err(contradiction("top_n limits a replay, and NOW has none"));
        }
        let durability = read_durability(options)?;
        let pacing = read_pacing(rate, max_gap, now)?;
        let held_back = pacing.is_some() || options.pause() || options.resume();
        if durability == Durability::Live && held_back {
            return Err(contradiction("live excludes rate, pause and resume"));
        }
        if options.pause() && options.resume() {
            return Err(contradiction("pause excludes resume"));
        }
        let topics = self.logged_topics(pattern, message_type);
        if let [TopicPattern::Literal(topic)] = &topics[..] {
            if !self.log.covers(message_type, topic) {
                return match self.config.switches.bookmark_unlogged {
                    UnloggedBookmark::Live => Ok(None),
                    UnloggedBookmark::Error => Err(Refusal::because(
                        Reason::InvalidTopic,
                        format!("\"{topic}\" has no transaction log to replay"),
                    )),
                };
            }
        }
        let (sides, edges) = sides(text, &from);
        let start = self.places(sides.0, edges.map(|(start, _)| start), false)?;
        let not_found = option(options.bookmark_not_found())?.unwrap_or_default();
        let (mut start, mut not_before) = self.begin(&start, not_found)?;
        if let (CommandKind::SowAndSubscribe, false, Some(history)) = (command, is_now, history) {
            // What the query tells is continued without a gap: what it does not show because it was
            // not saved is told, with all that came after (HIS-04, inferred for states that were not
            // saved).
            let point = self.read_point(now, text, options)?;
            start = match point {
                Some(Point::Time(time)) => self.log.first_at(time + MOMENT),
                Some(Point::Message(position, _)) => position + 1,
                None => self.log.end(),
            };
            let missed = point.and_then(|point| history.missed_at(point, now));
            start = missed.map_or(start, |missed| missed.min(start));
            not_before = None;
        }
        if let Some(earlier) = self.rewound(start, &topics, message_type) {
            (start, not_before) = (earlier, None);
        }
        let stop = match (sides.1, edges) {
            (Some(end), Some((_, edge))) => self.end_of_range(now, end, edge)?,
            _ => Stop::Never,
        };
        let paused = options.pause();
        let named = self.queues_covered(pattern, message_type).into_iter().next();
        let queue = named.filter(|_| pattern.is_literal()).map(|queue| Arc::clone(&self.queues[queue].name));
        Ok(Some(ReplayRequest { start, not_before, stop, top_n, durability, pacing, paused, topics, queue }))
    }

    /// The pattern itself, and what feeds the queues that it names.
    fn logged_topics(&self, pattern: &TopicPattern, message_type: TypeId) -> Vec<TopicPattern> {
        let covered = self.queues_covered(pattern, message_type);
        let underlying = covered.iter().map(|&queue| self.queues[queue].underlying.clone());
        match pattern {
            TopicPattern::Literal(_) if !covered.is_empty() => underlying.collect(),
            _ => std::iter::once(pattern.clone()).chain(underlying).collect(),
        }
    }

    /// The point in the past that a query is about; `None` if that is the present.
    pub(in crate::engine) fn read_point(
        &self,
        now: Time,
        text: &[u8],
        options: &Options,
    ) -> Result<Option<Point>, Refusal> {
        let invalid = |detail: String| Refusal::because(Reason::InvalidBookmark, detail);
        let from = ReplayFrom::parse(text).map_err(|fault| invalid(fault.to_string()))?;
        if from.range().is_some() {
            return Err(invalid("a query is about one point in the past, and not about a range".to_owned()));
        }
        let not_found = option(options.bookmark_not_found())?.unwrap_or_default();
        let mut points = Vec::new();
        for piece in text.split(|&byte| byte == b',') {
            points.extend(match Bookmark::from(piece.trim_ascii()).position() {
                amps_protocol::Position::Epoch => Some(Point::Time(Time::EPOCH)),
                amps_protocol::Position::Now => Some(Point::Time(now)),
                amps_protocol::Position::Message(id) => {
                    self.log.find(id).and_then(|at| Some(Point::Message(at, self.log.get(at)?.at())))
                }
                amps_protocol::Position::Timestamp(nanos) => Some(Point::Time(Time::from_unix_nanos(nanos))),
                _ => {
                    let bookmark = String::from_utf8_lossy(piece);
                    return Err(invalid(format!("\"{bookmark}\" is no bookmark")));
                }
            });
        }
        match (points.into_iter().min_by_key(|point| point.order()), not_found) {
            (Some(point), _) if point == Point::Time(now) => Ok(None),
            (Some(point), _) => Ok(Some(point)),
            (None, BookmarkNotFound::Now) => Ok(None),
            (None, BookmarkNotFound::Epoch) => Ok(Some(Point::Time(Time::EPOCH))),
            (None, BookmarkNotFound::Fail) => Err(Reason::BookmarkNotFound.into()),
        }
    }

    /// Where the known ones among the bookmarks of one side are. Outside of a range there is no
    /// edge: then a message is excluded, and a time is not (BMK-04).
    fn places(&self, side: &[u8], edge: Option<RangeEdge>, is_end: bool) -> Result<Vec<Place>, Refusal> {
        // The place is behind what the bookmark names: it is left out of a start, or is in an end.
        let behind = |edge: RangeEdge| (edge == RangeEdge::Included) == is_end;
        let behind_message = edge.is_none_or(behind);
        let behind_time = edge.is_some_and(behind);
        let mut places = Vec::new();
        for piece in side.split(|&byte| byte == b',') {
            let bookmark = Bookmark::from(piece.trim_ascii());
            places.extend(match bookmark.position() {
                amps_protocol::Position::Epoch => Some(Place::Before(self.log.first())),
                amps_protocol::Position::Now if behind_message => Some(Place::Before(self.log.end())),
                // For a range NOW is the last message (BS-10).
                amps_protocol::Position::Now => Some(Place::Before(self.log.last_message())),
                amps_protocol::Position::Message(id) => {
                    self.log.find(id).map(|position| Place::Before(position + u64::from(behind_message)))
                }
                amps_protocol::Position::Timestamp(nanos) => {
                    let time = Time::from_unix_nanos(nanos);
                    Some(Place::Time(if behind_time { time + MOMENT } else { time }))
                }
                _ => {
                    let detail = format!("\"{bookmark}\" is no bookmark");
                    return Err(Refusal::because(Reason::InvalidBookmark, detail));
                }
            });
        }
        Ok(places)
    }

    /// The earliest place, and the time before which nothing is wanted if it is still to come.
    fn begin(
        &self,
        places: &[Place],
        not_found: BookmarkNotFound,
    ) -> Result<(Position, Option<Time>), Refusal> {
        let start = places.iter().map(|place| match *place {
            Place::Before(position) => (position, None),
            Place::Time(time) => (self.log.first_at(time), Some(time)),
        });
        match (start.min_by_key(|(position, time)| (*position, *time)), not_found) {
            (Some(start), _) => Ok(start),
            (None, BookmarkNotFound::Now) => Ok((self.log.end(), None)),
            (None, BookmarkNotFound::Epoch) => Ok((self.log.first(), None)),
            (None, BookmarkNotFound::Fail) => Err(Reason::BookmarkNotFound.into()),
        }
    }

    /// The latest place of the end of a range (BMK-05).
    fn end_of_range(&self, now: Time, end: &[u8], edge: RangeEdge) -> Result<Stop, Refusal> {
        let places = self.places(end, Some(edge), true)?;
        let time = places.iter().filter_map(|place| match place {
            Place::Time(time) => Some(*time),
            Place::Before(_) => None,
        });
        let latest_time = time.max();
        if let Some(time) = latest_time.filter(|time| *time > now) {
            return Ok(Stop::Before(time));
        }
        let position = places.iter().map(|place| match *place {
            Place::Before(position) => position,
            Place::Time(time) => self.log.first_at(time),
        });
        if let Some(position) = position.max() {
            return Ok(Stop::At(position));
        }
        // Messages that are not known may still come.
        let ids = end.split(|&byte| byte == b',').filter_map(|piece| MessageId::parse(piece).ok());
        Ok(Stop::AtMessage(ids.collect(), edge))
    }
}

/// The lists of a bookmark as they were written. Not as [`ReplayFrom`] has them: that keeps one
/// message of a publisher, the lower, which at the end of a range is the wrong one, and at its
/// start may be unknown while the other is not.
#[expect(clippy::type_complexity, reason = "two sides and two edges, taken apart by the one caller")]
fn sides<'t>(
    text: &'t [u8],
    from: &ReplayFrom,
) -> ((&'t [u8], Option<&'t [u8]>), Option<(RangeEdge, RangeEdge)>) {
    let text = text.trim_ascii();
    let Some(range) = from.range() else { return ((text, None), None) };
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let mut halves = inner.splitn(2, |&byte| byte == b':');
    let (start, end) = (halves.next().unwrap_or_default(), halves.next());
    ((start, end), Some((range.start_edge(), range.end_edge())))
}

fn read_durability(options: &Options) -> Result<Durability, Refusal> {
    match (options.live(), options.fully_durable()) {
        (false, false) => Ok(Durability::Persisted),
        (true, false) => Ok(Durability::Live),
        (false, true) => Ok(Durability::Full),
        (true, true) => Err(contradiction("live excludes fully_durable")),
    }
}

fn read_pacing(rate: Option<Rate>, max_gap: Option<Duration>, now: Time) -> Result<Option<Pacing>, Refusal> {
    match (rate, max_gap) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(contradiction("rate_max_gap needs a rate")),
        (Some(rate), max_gap) => {
            let pacing = Pacing::new(rate, max_gap, now);
            pacing.map(Some).ok_or_else(|| contradiction("a rate of nothing never ends"))
        }
    }
}

fn option<T>(value: Result<Option<T>, OptionValueError>) -> Result<Option<T>, Refusal> {
    value.map_err(|fault| Refusal::because(Reason::InvalidOptions, fault.to_string()))
}

pub(super) fn contradiction(detail: &str) -> Refusal {
    Refusal::because(Reason::InvalidOptions, detail.to_owned())
}
