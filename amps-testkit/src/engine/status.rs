//! What the server tells of its clients on `/AMPS/ClientStatus`, and of its state of the world
//! on `/AMPS/SOWStats` (server.md 1.10).
//!
//! Owns the shape of the events, in each message type that can say them. They are gathered where
//! something happens and published when the step is over; nothing is gathered while nobody
//! listens. Which names the events have is inferred (CONN-92).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{CommandKind, Message, format_timestamp};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::fan_out::News;
use super::filter::{Field, Path, Value};
use super::format::Format;
use super::selector::Facts;
use super::sow::{Table, resource_in};
use super::subscription::text;
use super::timers::Timer;
use super::topic::TypeId;

const TOPIC: &str = "/AMPS/ClientStatus";

const SOW_TOPIC: &str = "/AMPS/SOWStats";

/// What an event says, by what each family of message types calls it: the FIX tag, the element of
/// XML, and the field of the others. NVFIX has the tags of FIX (inferred, from the headers of the
/// old protocols, where the two are one).
struct Name(&'static str, &'static str, &'static str);

const TIMESTAMP: Name = Name("20065", "Timestamp", "timestamp");
const EVENT: Name = Name("20066", "Event", "event");
const CLIENT_NAME: Name = Name("20067", "ClientName", "client_name");
const CONNECTION_NAME: Name = Name("20071", "ConnName", "connection_name");
const CORRELATION_ID: Name = Name("20074", "CorrelationID", "correlation_id");
const QUERY_ID: Name = Name("20073", "QId", "query_id");
const COMMAND_TOPIC: Name = Name("20068", "Tpc", "topic");
const FILTER: Name = Name("20069", "Filter", "filter");
const OPTIONS: Name = Name("20072", "Options", "options");
const SUB_ID: Name = Name("20070", "SubId", "sub_id");
const AUTH_ID: Name = Name("20081", "AuthId", "auth_id");
const ENTITLEMENT_FILTER: Name = Name("20082", "EntitlementFilter", "entitlement_filter");
const CLIENT_ADDRESS: Name = Name("20080", "ClientAddr", "client_address");
const REASON: Name = Name("20062", "Reason", "reason");

const MESSAGE_TYPE: Name = Name("20007", "MessageType", "message_type");
const SOW_TOPIC_NAME: Name = Name("20066", "Topic", "topic");
const RECORDS: Name = Name("20067", "Records", "record_count");
/// The tags that are of one piece with those of client events (`AMPSVersionCompliance` 5).
const UNIFIED_TOPIC_NAME: Name = Name("20068", "Topic", "topic");
const UNIFIED_RECORDS: Name = Name("20075", "Records", "record_count");

/// The body of an event; `None` in a message type that cannot say it. The name of XML's root is
/// that of the object in JSON (inferred).
fn body(format: &Format, object: &str, fields: &[(&Name, Field<'_>)]) -> Option<Vec<u8>> {
    let path = |Name(tag, element, name): &Name| {
        // These names are all well-formed.
        Path::parse(&match format {
            Format::Fix { .. } | Format::Nvfix { .. } => format!("/{tag}"),
            Format::Xml => format!("/{object}/{element}"),
            _ => format!("/{object}/{name}"),
        })
        .ok()
    };
    if matches!(format, Format::CompositeLocal(_) | Format::CompositeGlobal(_) | Format::Opaque) {
        return None;
    }
    let fields: Vec<_> =
        fields.iter().filter_map(|(name, value)| Some((path(name)?, value.clone()))).collect();
    Some(format.compose(&fields))
}

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) command: Option<&'a Message<&'a [u8]>>,
    pub(super) reason: Option<&'a str>,
    pub(super) sub_id: Option<&'a str>,
}

/// Commands that are told of when they succeed (CONN-91). Subscriptions are told of as they come
/// and go.
pub(super) const fn is_reported(command: CommandKind) -> bool {
    matches!(command, CommandKind::Sow | CommandKind::SowDelete)
}

impl Engine {
    /// Remembers an event of a connection, if somebody listens.
    pub(super) fn report(&mut self, now: Time, conn: ConnId, event: &str, about: About<'_>) {
        let heard: Vec<TypeId> = self.types_that_hear(TOPIC);
        if heard.is_empty() {
            return;
        }
        let Some(connection) = self.connections.get(&conn) else { return };
        let read = |field: Option<&[u8]>| field.map(|bytes| text(Some(bytes)));
        let command = about.command;
        let topic = command.and_then(|command| read(command.topic().map(|x| &**x)));
        let entitlement = connection.rights.as_ref().zip(topic.as_deref()).and_then(|(rights, topic)| {
            rights.read(resource_in(&self.sow, connection.message_type, topic))?.filter
        });
        let fields = [
            (&TIMESTAMP, Some(format_timestamp(now.as_unix_nanos()).to_string())),
            (&EVENT, Some(event.to_owned())),
            (&CLIENT_NAME, Some(connection.client_name.to_string())),
            (&CONNECTION_NAME, Some(format!("connection-{}", connection.index))),
            (&CORRELATION_ID, command.and_then(|c| read(c.correlation_id().map(|x| &**x)))),
            (&QUERY_ID, command.and_then(|c| read(c.query_id().map(|x| &**x)))),
            (&COMMAND_TOPIC, topic),
            (&FILTER, command.and_then(|c| read(c.filter().map(|x| &**x)))),
            (&OPTIONS, command.and_then(|c| read(c.options().map(|x| &**x)))),
            (&SUB_ID, about.sub_id.map(str::to_owned)),
            (&AUTH_ID, connection.identity.as_ref().map(|identity| identity.user.to_string())),
            (&ENTITLEMENT_FILTER, entitlement.map(|filter| filter.text().to_owned())),
            (&CLIENT_ADDRESS, connection.peer.map(|peer| peer.to_string())),
            (&REASON, about.reason.map(str::to_owned)),
        ];
        let said = fields.into_iter().filter_map(|(name, value)| {
            let value = value.filter(|value| !value.is_empty())?;
            Some((name, Field::string(value.into_bytes())))
        });
        let said: Vec<(&Name, Field<'_>)> = said.collect();
        for message_type in heard {
            let body = body(self.types.format(message_type), "ClientStatus", &said);
            self.reports.extend(body.map(|body| (message_type, body)));
        }
    }

    /// The message types under which somebody listens to a topic of the server's own.
    fn types_that_hear(&mut self, topic: &str) -> Vec<TypeId> {
        let all: Vec<TypeId> = self.types.ids().collect();
        all.into_iter().filter(|id| !self.route(*id, topic.as_bytes()).is_unheard()).collect()
    }

    /// Publishes what was remembered. It is not logged.
    pub(super) fn publish_status<S: Sink>(&mut self, now: Time, sink: &mut S) {
        for (message_type, body) in std::mem::take(&mut self.reports) {
            self.publish_internal(now, message_type, TOPIC, &body, sink);
        }
    }

    /// Begins to count the time until the next statistics, if there are any.
    pub(super) fn arm_statistics(&mut self, now: Time) {
        if let Some(interval) = self.config.sow_stats_interval.filter(|interval| !interval.is_zero()) {
            if !self.timers.is_set(Timer::Statistics) {
                self.timers.set(Timer::Statistics, Some(now + interval));
            }
        }
    }

    /// Publishes one message per topic with a state of the world (CONN-93).
    pub(super) fn publish_statistics<S: Sink>(&mut self, now: Time, sink: &mut S) {
        self.arm_statistics(now);
        for message_type in self.types_that_hear(SOW_TOPIC) {
            let format = self.types.format(message_type);
            let unified = self
                .config
                .message_types
                .iter()
                .any(|known| known.unified_tags && *known.name == *self.types.name(message_type));
            let body_of = |table: &Table| self.statistics(now, table, format, unified);
            let bodies: Vec<Vec<u8>> =
                self.sow.iter().filter(|table| table.queue.is_none()).filter_map(body_of).collect();
            for body in bodies {
                self.publish_internal(now, message_type, SOW_TOPIC, &body, sink);
            }
        }
    }

    fn statistics(&self, now: Time, table: &Table, format: &Format, unified: bool) -> Option<Vec<u8>> {
        let (topic, records) =
            if unified { (&UNIFIED_TOPIC_NAME, &UNIFIED_RECORDS) } else { (&SOW_TOPIC_NAME, &RECORDS) };
        let count = i64::try_from(table.len()).unwrap_or(i64::MAX);
        let fields = [
            (&TIMESTAMP, Field::string(format_timestamp(now.as_unix_nanos()).to_string().into_bytes())),
            (topic, Field::string(table.name.as_bytes())),
            (&MESSAGE_TYPE, Field::string(self.types.name(table.message_type).as_bytes())),
            (records, Field::new(Value::Int(count))),
        ];
        body(format, "SOWStats", &fields)
    }

    fn publish_internal<S: Sink>(
        &mut self,
        now: Time,
        message_type: TypeId,
        topic: &str,
        body: &[u8],
        sink: &mut S,
    ) {
        let route = self.route(message_type, topic.as_bytes());
        let format = self.types.format(message_type).clone();
        let document = format.read(body);
        let publisher = self.config.instance.clone();
        let facts = Facts {
            format: &format,
            topic: &route.topic,
            resource: Some(&route.topic),
            body,
            correlation: None,
            bookmark: None,
            publisher: &publisher,
            updated: None,
            document: &document,
        };
        let news = News { key: None, layout: None, old: None, new: Some(facts), left: None };
        self.fan_out(now, &route, &news, sink);
    }
}
