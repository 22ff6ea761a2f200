//! What a subscribe or a query asks for, read and checked once (server.md 2.5, 4.2).
//!
//! Owns the reading of headers and options into a [`Request`]; it changes nothing. What the
//! topics are, and whether they suit, is checked here too, so that a request that was read
//! can be carried out.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::{CommandKind, Conflation, FieldList, MAX_PROJECTION, Message, Options, ValueFault};
use amps_transport::{ConnId, Time};

use super::Engine;
use super::conflation::{ConflationKey, Rhythm};
use super::entitlement::Rights;
use super::filter::{OrderBy, Path, Projection};
use super::format::Select;
use super::lint::Lint;
use super::reasons::Reason;
use super::replay::ReplayRequest;
use super::reply::Refusal;
use super::selector::{Selector, UNSTEADY};
use super::sow::{Grouping, Point, Table, resource_in};
use super::subscription::{Delta, Shape, text};
use super::switches::UnknownOptions;
use super::topic::{TopicPattern, TopicReading, TypeId};

/// The largest batch that a query may ask for (QRY-04).
const MAX_BATCH: u64 = 10_000;

/// Options that a subscribe or a query understands, or may carry without effect.
const KNOWN_OPTIONS: &[&str] = &[
    "max_backlog",
    "replace",
    "non_regex_topic",
    "bookmark",
    "timestamp",
    "no_empties",
    "send_keys",
    "no_sowkey",
    "live",
    "fully_durable",
    "oof",
    "select",
    "top_n",
    "skip_n",
    "rate",
    "rate_max_gap",
    "pause",
    "resume",
    "bookmark_not_found",
    "conflation",
    "conflation_key",
    "projection",
    "grouping",
];

/// What a subscription and a query have in common.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message_type: TypeId,
    pub(crate) pattern: TopicPattern,
    pub(crate) selector: Option<Selector>,
    pub(crate) options: Options,
    pub(crate) shape: Shape,
    pub(crate) conflation: Option<(Rhythm, ConflationKey)>,
    /// The table, and what is computed of it.
    pub(crate) aggregation: Option<(usize, Arc<Grouping>)>,
    pub(crate) backlog: u32,
    pub(crate) replaces: bool,
    /// Where in the log it begins, if it follows the log.
    pub(crate) replay: Option<ReplayRequest>,
}

/// The query part of a request.
#[derive(Debug)]
pub(crate) struct QueryRequest {
    pub(crate) query_id: Arc<str>,
    /// Only records with these keys.
    pub(crate) keys: Option<Vec<String>>,
    /// A point in the past, for topics that remember it.
    pub(crate) as_of: Option<Point>,
    pub(crate) order: Option<OrderBy>,
    pub(crate) batch: usize,
    pub(crate) top_n: Option<usize>,
    pub(crate) skip_n: usize,
    /// `skip_n` was given, be it 0.
    pub(crate) skips: bool,
}

impl QueryRequest {
    /// Whether it asks for a window: with a subscription, limit and offset together do
    /// (PAG-01).
    pub(crate) const fn is_page(&self) -> bool {
        self.top_n.is_some() && self.skips
    }
}

impl Engine {
    /// # Errors
    /// Why the command fails.
    pub(super) fn read_request(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
    ) -> Result<Request, Refusal> {
        let options = Options::try_parse(message.options().map_or(&b""[..], |options| options))
            .map_err(|fault| Refusal::because(Reason::InvalidOptions, fault.to_string()))?;
        self.check_options(now, conn, &options)?;
        let Some(connection) = self.connections.get(&conn) else { return Err(Reason::LogonRequired.into()) };
        let message_type = connection.message_type;
        let rights = connection.rights.clone();
        let topic = match message.topic() {
            Some(topic) if !topic.is_empty() => text(Some(topic)),
            _ => return Err(Reason::InvalidTopic.into()),
        };
        let literal = options.contains("non_regex_topic") || !self.config.regex_topics;
        let reading = if literal { TopicReading::Literal } else { TopicReading::Guess };
        let pattern = TopicPattern::parse(&topic, reading, self.config.switches.internal_in_regex)
            .map_err(|fault| Refusal::because(Reason::BadRegex, fault))?;
        let selector = match message.filter() {
            Some(filter) if !filter.is_empty() => {
                let parsed = Selector::parse(&text(Some(filter)), &self.language);
                Some(parsed.map_err(|fault| Refusal::because(Reason::BadFilter, fault))?)
            }
            _ => None,
        };
        let resource = resource_in(&self.sow, message_type, pattern.text());
        let unreadable = |rights: &Arc<Rights>| pattern.is_literal() && rights.read(resource).is_none();
        let replaces = options.contains("replace");
        // What replaces a subscription may ask for anything, and is shown nothing (ENT-06).
        let replaced = replaces && message.command() != CommandKind::Sow && {
            let id = message.sub_id().or_else(|| message.command_id());
            connection.subscriptions.contains_key(&*text(id.map(|id| &**id)))
        };
        if !replaced && rights.as_ref().is_some_and(unreadable) {
            return Err(Reason::NotEntitled.into());
        }
        let selector = Selector::within(selector, rights);
        let backlog = number(&options, "max_backlog")?.unwrap_or(1);
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        let mut shape = self.read_shape(message, &options, &pattern, message_type)?;
        if shape.oof && selector.as_ref().is_some_and(|selector| !selector.is_deterministic()) {
            return Err(changes_by_itself());
        }
        let replay = self.read_replay(now, message, &options, &pattern, message_type)?;
        if replay.is_some() {
            // A replay tells of nothing that leaves a focus (BS-14).
            shape.oof = false;
        }
        // Only where an unlogged topic is no error: there it is an ordinary subscription.
        shape.bookmark |= message.bookmark().is_some();
        let conflation = self.read_conflation(&options, &pattern, message_type, shape.oof)?;
        let aggregation = self.read_aggregation(message, &options, &pattern, message_type, &selector)?;
        // A query looks at each message once, so its filter may follow the clock.
        let follows = aggregation.is_some() && message.command() != CommandKind::Sow;
        if follows && selector.as_ref().is_some_and(|selector| !selector.is_deterministic()) {
            return Err(changes_by_itself());
        }
        if aggregation.is_some() && conflation.is_some() {
            let detail = "results over groups are not conflated".to_owned();
            return Err(Refusal::because(Reason::InvalidOptions, detail));
        }
        // A query of the past is one moment, as any other (AGG-03).
        let follows_the_log = message.bookmark().is_some() && message.command() != CommandKind::Sow;
        if aggregation.is_some() && (shape.select.is_some() || follows_the_log) {
            let detail = "results over groups have neither select list nor bookmark".to_owned();
            return Err(Refusal::because(Reason::InvalidOptions, detail));
        }
        Ok(Request {
            message_type,
            pattern,
            selector,
            options,
            shape,
            conflation,
            aggregation,
            backlog,
            replaces,
            replay,
        })
    }

    /// What is to be computed over groups of records (AGG-01, AGG-03).
    fn read_aggregation(
        &mut self,
        message: &Message<&[u8]>,
        options: &Options,
        pattern: &TopicPattern,
        message_type: TypeId,
        filter: &Option<Selector>,
    ) -> Result<Option<(usize, Arc<Grouping>)>, Refusal> {
        let refused = |detail: String| Refusal::because(Reason::InvalidOptions, detail);
        let (projection, grouping) = match (options.get("projection"), options.get("grouping")) {
            (None, None) => return Ok(None),
            (Some(projection), Some(grouping)) => (projection, grouping),
            _ => return Err(refused("projection and grouping go together".to_owned())),
        };
        if matches!(message.command(), CommandKind::Subscribe | CommandKind::DeltaSubscribe) {
            return Err(refused("a subscription without a query has no results over groups".to_owned()));
        }
        if projection.len() > MAX_PROJECTION {
            return Err(refused(format!("the projection has more than {MAX_PROJECTION} bytes")));
        }
        let projections = Projection::parse_list_in(projection, &self.language)
            .map_err(|fault| refused(fault.to_string()))?;
        let fields: FieldList = grouping.parse().map_err(|fault: ValueFault| refused(fault.to_string()))?;
        let by = fields.iter().map(|field| Path::parse(field).map_err(|fault| refused(fault.to_string())));
        let by = by.collect::<Result<_, _>>()?;
        if !pattern.is_literal() {
            let detail = "results over groups are of one topic, not of a pattern".to_owned();
            return Err(Refusal::because(Reason::InvalidTopic, detail));
        }
        let topic = self.table_of(message_type, pattern.text());
        let Some(source) = topic.or_else(|| self.table_of_queue(message_type, pattern.text())) else {
            let detail = format!("\"{}\" is neither a state of the world nor a queue", pattern.text());
            return Err(Refusal::because(Reason::InvalidTopic, detail));
        };
        let visible = filter
            .as_ref()
            .and_then(|selector| selector.visible_of(resource_in(&self.sow, message_type, pattern.text())))
            .cloned();
        Ok(Some((source, Arc::new(Grouping { projections, by, filter: filter.clone(), visible }))))
    }

    /// How often a key may be told, and what the key is (CNF-01, CNF-02).
    fn read_conflation(
        &self,
        options: &Options,
        pattern: &TopicPattern,
        message_type: TypeId,
        oof: bool,
    ) -> Result<Option<(Rhythm, ConflationKey)>, Refusal> {
        let refused = |detail: &str| Refusal::because(Reason::InvalidOptions, detail.to_owned());
        let rhythm = match options.conflation().map_err(|fault| refused(&fault.to_string()))? {
            None | Some(Conflation::None) if options.contains("conflation_key") => {
                return Err(refused("conflation_key without conflation"));
            }
            None | Some(Conflation::None) => return Ok(None),
            Some(Conflation::Auto) => Rhythm::Auto(self.config.switches.auto_conflation),
            Some(Conflation::Every(interval)) => Rhythm::Every(interval.duration()),
        };
        // The topics with record keys that it covers; of a container those that there are.
        let covered = |table: &&Table| {
            let names_it = |topic: &Arc<str>| pattern.matches(topic);
            let covers = match (pattern.is_literal(), table.only_topic()) {
                (true, _) => table.covers(pattern.text()),
                (false, Some(topic)) => table.queue.is_none() && names_it(topic),
                (false, None) => table.records().any(|record| names_it(&record.topic)),
            };
            table.message_type == message_type && covers
        };
        // Whether an application may subscribe must not depend on what was published before: a container
        // may come to have a topic that the pattern names.
        let may_cover = |table: &Table| {
            let container = table.message_type == message_type && table.only_topic().is_none();
            covered(&table) || container && !pattern.is_literal() && table.queue.is_none()
        };
        let fields = options.conflation_key().map_err(|fault| refused(&fault.to_string()))?;
        let Some(fields) = fields else {
            let keyed = self.sow.iter().any(may_cover);
            let missing = "a topic without record keys needs a conflation_key";
            return if keyed { Ok(Some((rhythm, ConflationKey::Record))) } else { Err(refused(missing)) };
        };
        let paths: Vec<Path> = fields
            .iter()
            .map(|field| Path::parse(field).map_err(|fault| refused(&format!("{field}: {fault}"))))
            .collect::<Result<_, _>>()?;
        if !oof {
            return Ok(Some((rhythm, ConflationKey::Fields(paths))));
        }
        if self.sow.iter().filter(covered).any(|table| table.layout.keys != paths) {
            return Err(refused("with oof, conflation_key has to be the key of the topic"));
        }
        // So it is the record key, of topics too that are not there yet (CNF-02).
        Ok(Some((rhythm, ConflationKey::Record)))
    }

    fn read_shape(
        &self,
        message: &Message<&[u8]>,
        options: &Options,
        pattern: &TopicPattern,
        message_type: TypeId,
    ) -> Result<Shape, Refusal> {
        let wants_oof = options.contains("oof") || message.flag(amps_protocol::Field::SendOof) == Some(true);
        // Results over groups of queue messages come and go as records do.
        let of_queue = || options.contains("grouping") && self.is_queue(message_type, pattern.text());
        let literal = wants_oof && pattern.is_literal();
        if literal && self.table_of(message_type, pattern.text()).is_none() && !of_queue() {
            let detail = format!("\"{}\" has no state of the world to be in focus of", pattern.text());
            return Err(Refusal::because(Reason::InvalidOptions, detail));
        }
        let select = match options.get("select") {
            Some(list) => Some(Select::parse(list).map_err(|fault| {
                Refusal::because(Reason::InvalidOptions, format!("select={list}: {fault}"))
            })?),
            None => None,
        };
        let deltas =
            matches!(message.command(), CommandKind::DeltaSubscribe | CommandKind::SowAndDeltaSubscribe);
        let no_empties = options.contains("no_empties");
        let with_keys = options.contains("send_keys") || self.config.switches.no_empties_keys;
        Ok(Shape {
            timestamp: options.contains("timestamp"),
            bookmark: options.contains("bookmark"),
            no_sowkey: options.contains("no_sowkey"),
            oof: wants_oof,
            select: select.map(Arc::new),
            // Keys come along unless `no_empties` asks for the least (DS-03).
            delta: deltas.then_some(Delta { no_empties, keys: !no_empties || with_keys }),
        })
    }

    /// # Errors
    /// Why the command fails.
    pub(super) fn read_query(
        &mut self,
        now: Time,
        message: &Message<&[u8]>,
        request: &Request,
        fallback_id: Option<&str>,
    ) -> Result<QueryRequest, Refusal> {
        let option = |name| number(&request.options, name);
        let top_n = option("top_n")?.or(message.top_n());
        let skip_n = option("skip_n")?.or(message.number(amps_protocol::Field::SkipN));
        if skip_n.is_some() && top_n.is_none() {
            let detail = "skip_n needs top_n".to_owned();
            return Err(Refusal::because(Reason::InvalidOptions, detail));
        }
        let order = match message.order_by().filter(|order| !order.is_empty()) {
            Some(order) => Some(
                OrderBy::parse(&text(Some(order)))
                    .map_err(|fault| Refusal::because(Reason::InvalidOrderBy, fault.to_string()))?,
            ),
            None => None,
        };
        let batch = message.batch_size().unwrap_or(1).max(1);
        if batch > MAX_BATCH {
            let detail = format!("bs={batch} is above {MAX_BATCH}");
            return Err(Refusal::because(Reason::InvalidOptions, detail));
        }
        let query_id = match message.query_id().or_else(|| message.command_id()) {
            Some(id) => text(Some(id)).into(),
            None => fallback_id.unwrap_or_default().into(),
        };
        let keys = message
            .sow_keys()
            .map(|list| amps_protocol::SowKeys::new(list).map(|key| text(Some(key))).collect());
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let remembers = |table: &Table| {
            table.history.is_some()
                && table.message_type == request.message_type
                && request.pattern.matches(&table.name)
        };
        let as_of = match message.bookmark().filter(|_| self.sow.iter().any(remembers)) {
            Some(bookmark) => self.read_point(now, bookmark, &request.options)?,
            None => None,
        };
        // A page has the size that was asked for (QRY-08).
        let rounds = self.config.switches.round_top_n && skip_n.is_none();
        let top_n = top_n.map(|top| if rounds { top.next_multiple_of(batch) } else { top });
        Ok(QueryRequest {
            query_id,
            keys,
            as_of,
            order,
            batch: count(batch),
            top_n: top_n.map(count),
            skips: skip_n.is_some(),
            skip_n: skip_n.map_or(0, count),
        })
    }

    /// Notes the options that the server does not know, or refuses them.
    fn check_options(&mut self, now: Time, conn: ConnId, options: &Options) -> Result<(), Refusal> {
        let names = options.iter().map(|(name, _)| name);
        let unknown: Vec<_> = names.filter(|name| !KNOWN_OPTIONS.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let note = format!("unknown option: {}", unknown.join(", "));
        match self.config.switches.unknown_options {
            UnknownOptions::Ignore => {
                self.note(now, conn, Lint::UnknownOption, note);
                Ok(())
            }
            UnknownOptions::Reject => Err(Refusal::because(Reason::InvalidOptions, note)),
        }
    }
}

/// What follows the state of the world cannot follow the clock (SUB-10).
pub(super) fn changes_by_itself() -> Refusal {
    Refusal::because(Reason::BadFilter, UNSTEADY.to_owned())
}

fn number(options: &Options, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = options.get(name) else { return Ok(None) };
    let parsed = value
        .parse()
        .map_err(|_| Refusal::because(Reason::InvalidOptions, format!("{name}={value} is not a number")))?;
    Ok(Some(parsed))
}
