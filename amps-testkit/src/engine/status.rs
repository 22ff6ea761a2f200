//! What the server tells of its clients on `/AMPS/ClientStatus`, and of its state of the world
//! on `/AMPS/SOWStats` (server.md 1.10).
//!
//! Owns the shape of the events. They are gathered where something happens and published when
//! the step is over, as JSON; nothing is gathered while nobody listens. Which names the events
//! have is inferred (CONN-92).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{CommandKind, Message, format_timestamp};
use amps_transport::{ConnId, Sink, Time};
use serde_json::{Map, Value};

use super::Engine;
use super::fan_out::News;
use super::selector::Facts;
use super::sow::{Table, resource_in};
use super::subscription::text;
use super::timers::Timer;
use super::topic::TypeId;

const TOPIC: &str = "/AMPS/ClientStatus";

const SOW_TOPIC: &str = "/AMPS/SOWStats";

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
        let json = self.types.id("json");
        if self.route(json, TOPIC.as_bytes()).is_unheard() {
            return;
        }
        let Some(connection) = self.connections.get(&conn) else { return };
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                fields.insert(name.to_owned(), Value::String(value));
            }
        };
        put("timestamp", Some(format_timestamp(now.as_unix_nanos()).to_string()));
        put("event", Some(event.to_owned()));
        put("client_name", Some(connection.client_name.to_string()));
        put("connection_name", Some(format!("connection-{}", connection.index)));
        put("auth_id", connection.identity.as_ref().map(|identity| identity.user.to_string()));
        put("client_address", connection.peer.map(|peer| peer.to_string()));
        put("reason", about.reason.map(str::to_owned));
        let topic = about.command.and_then(|command| command.topic()).map(|topic| text(Some(topic)));
        if let Some((rights, topic)) = connection.rights.as_ref().zip(topic) {
            let right = rights.read(resource_in(&self.sow, connection.message_type, &topic));
            let filter = right.and_then(|right| right.filter);
            put("entitlement_filter", filter.map(|filter| filter.text().to_owned()));
        }
        if let Some(command) = about.command {
            let read = |field: Option<&[u8]>| field.map(|bytes| text(Some(bytes)));
            put("correlation_id", read(command.correlation_id().map(|x| &**x)));
            put("query_id", read(command.query_id().map(|x| &**x)));
            put("topic", read(command.topic().map(|x| &**x)));
            put("filter", read(command.filter().map(|x| &**x)));
            put("options", read(command.options().map(|x| &**x)));
        }
        put("sub_id", about.sub_id.map(str::to_owned));
        self.reports.push((json, Value::from_iter([("ClientStatus", Value::Object(fields))]).to_string()));
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
        let json = self.types.id("json");
        if self.route(json, SOW_TOPIC.as_bytes()).is_unheard() {
            return;
        }
        let bodies: Vec<String> = self.sow.iter().map(|table| self.statistics(now, table)).collect();
        for body in bodies {
            self.publish_internal(now, json, SOW_TOPIC, &body, sink);
        }
    }

    fn statistics(&self, now: Time, table: &Table) -> String {
        let fields = [
            ("timestamp", Value::from(format_timestamp(now.as_unix_nanos()).to_string())),
            ("topic", Value::from(&*table.name)),
            ("message_type", Value::from(self.types.name(table.message_type))),
            ("record_count", Value::from(table.len())),
        ];
        Value::from_iter([("SOWStats", Value::from_iter(fields))]).to_string()
    }

    fn publish_internal<S: Sink>(
        &mut self,
        now: Time,
        message_type: TypeId,
        topic: &str,
        body: &str,
        sink: &mut S,
    ) {
        let route = self.route(message_type, topic.as_bytes());
        let format = self.types.format(message_type).clone();
        let document = format.read(body.as_bytes());
        let publisher = self.config.instance.clone();
        let facts = Facts {
            format: &format,
            topic: &route.topic,
            resource: Some(&route.topic),
            body: body.as_bytes(),
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
