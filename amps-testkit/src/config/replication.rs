//! `Replication`: where what is logged goes (server.md 7).

use fancy_regex::Regex;

use crate::engine::{DestinationConfig, ReplicatedTopic, SyncMode};

use super::reader::{Reader, Subject};
use super::schema;
use super::scope::Scope;
use super::units;
use super::xml::Element;

pub(super) fn destination(
    reader: &mut Reader,
    scope: &Scope,
    element: &Element,
) -> Option<DestinationConfig> {
    reader.check(element, schema::DESTINATION);
    let name = reader.required(element, "Name");
    let group = reader.optional(element, "Group");
    let modes = [("sync", SyncMode::Sync), ("async", SyncMode::Async)];
    reader.required(element, "SyncType");
    let mode = element.get("SyncType").and_then(|_| reader.choice(element, "SyncType", &modes));
    let topics: Vec<Option<ReplicatedTopic>> =
        element.all(&["Topic"]).map(|child| topic(reader, scope, child)).collect();
    if topics.is_empty() {
        reader.error(element, "Topic is missing; add a Topic with Name and MessageType");
    }
    let transports: Vec<&Element> = element.all(&["Transport"]).collect();
    if transports.is_empty() {
        reader.error(element, "Transport is missing; add a Transport with InetAddr and Type");
    }
    let mut destination = DestinationConfig::new(name?).mode(mode?);
    reader.remember(Subject::Destination, destination.name(), element, &["Topic"]);
    destination.group = group;
    destination.topics = topics.into_iter().collect::<Option<_>>()?;
    for transport in transports {
        destination.addresses.append(&mut addresses(reader, transport));
    }
    Some(destination)
}

fn topic(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<ReplicatedTopic> {
    reader.check(element, schema::REPLICATED_TOPIC);
    reader.syntax(element, "Name", Regex::new);
    reader.syntax(element, "PassThrough", Regex::new);
    let name = reader.topic_name(element);
    let message_type = scope.required_type(reader, element);
    let mut topic = ReplicatedTopic::new(name?).message_type(message_type?);
    topic.pass_through = reader.optional(element, "PassThrough");
    Some(topic)
}

/// Where a destination listens: on this machine, whatever the file says, for a file of a
/// production system names machines that a test must not talk to (CI-02).
fn addresses(reader: &mut Reader, transport: &Element) -> Vec<String> {
    reader.check(transport, schema::DESTINATION_TRANSPORT);
    match reader.required(transport, "Type").as_deref() {
        Some("amps-replication") | None => {}
        Some("amps-replication-secure") => reader.not_supported(transport, "TLS; the link is plain"),
        Some(other) => {
            let at = transport.get("Type").unwrap_or(transport);
            reader.error(at, format!("\"{other}\" is not known; write amps-replication"));
        }
    }
    let mut addresses = Vec::new();
    for child in transport.all(&["InetAddr"]) {
        let Some(text) = reader.text(child) else { continue };
        match units::loopback(&text) {
            Ok(addr) if addr.port() == 0 => {
                reader.error(child, format!("\"{text}\" names no port; write the one that it listens on"));
            }
            Ok(addr) => {
                if !units::is_loopback(&text) {
                    reader.ignored(child, "the server connects on loopback only");
                }
                addresses.push(addr.to_string());
            }
            Err(fault) => reader.error(child, fault),
        }
    }
    if transport.get("InetAddr").is_none() {
        reader.error(transport, "InetAddr is missing; add <InetAddr>...</InetAddr>");
    }
    addresses
}
