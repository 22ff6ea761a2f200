//! `Transports`: what the server listens on.

use crate::builder::Listen;
use crate::engine::{TransportConfig, TransportLimits};

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::security;
use super::units;
use super::xml::Element;

/// Protocols of old clients, which have headers of other formats (U-2).
const LEGACY: &[&str] = &["fix", "fix-session", "nvfix", "soap", "xml"];

/// The listener that a `Transport` asks for; `None` if the server cannot have it.
pub(super) fn transport(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<Listen> {
    reader.check(element, schema::TRANSPORT);
    let name = reader.required(element, "Name");
    let kind = reader.required(element, "Type");
    let message_type = scope.message_type(reader, element);
    let rules = rules(reader, scope, element);
    let tls = ["Certificate", "PrivateKey"].into_iter().find_map(|part| element.get(part));
    match kind.as_deref()? {
        "tcp" if tls.is_none() => {}
        "tcp" | "tcps" => {
            reader.not_supported(tls.unwrap_or(element), "TLS; nobody listens for this transport");
            return None;
        }
        "unix" | "amps-unix" => {
            reader.required(element, "FileName");
            reader.not_supported(element, "Unix sockets; nobody listens for this transport");
            return None;
        }
        "amps-replication" => return listener(reader, element, name?, rules),
        "amps-replication-secure" => {
            reader.not_supported(element, "TLS; nobody listens for this transport");
            return None;
        }
        other => {
            let at = element.get("Type").unwrap_or(element);
            reader.error(
                at,
                format!("\"{other}\" is not known; write one of tcp, tcps, amps-unix, amps-replication"),
            );
            return None;
        }
    }
    let speaks_amps = protocol(reader, scope, element)?;
    let listen = listener(reader, element, name?, rules)?;
    speaks_amps.then_some(Listen { message_type, replication: false, ..listen })
}

/// What the connections of the transport are held to.
fn rules(reader: &mut Reader, scope: &Scope, element: &Element) -> TransportConfig {
    let authentication = security::authentication(reader, scope, element);
    let access = security::access(reader, scope, element);
    let enabled = reader.value(element, "InitialState", units::boolean);
    let limits = TransportLimits {
        memory: reader.value(element, "MessageMemoryLimit", units::size),
        disk: reader.value(element, "MessageDiskLimit", units::size),
        age: reader.value(element, "ClientMessageAgeLimit", units::interval),
        capacity_percent: reader.value(element, "ClientMaxCapacity", units::percent),
        frames: None,
    };
    TransportConfig { authentication, access, limits, disabled: enabled == Some(false), ..Default::default() }
}

/// Where a transport listens, as one for other instances.
fn listener(
    reader: &mut Reader,
    element: &Element,
    name: String,
    transport: TransportConfig,
) -> Option<Listen> {
    reader.required(element, "InetAddr")?;
    let addr = reader.value(element, "InetAddr", units::loopback)?;
    if let Some(child) = element.get("InetAddr") {
        let local = child.text.as_ref().is_ok_and(|text| units::is_loopback(text));
        if !local {
            reader.ignored(child, "the server listens on loopback only");
        }
    }
    let place = element.get("InetAddr").map(|child| &child.place);
    let element = place.map(|place| format!("{}:{}: InetAddr", place.file, place.line));
    Some(Listen { name: Some(name), transport, element, ..Listen::at(addr, true) })
}

/// Whether the protocol is that of the server; `None` if there is none.
fn protocol(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<bool> {
    let name = reader.required(element, "Protocol")?;
    let child = element.get("Protocol")?;
    let base = scope.protocols.get(&name).map_or(name.as_str(), String::as_str);
    match base {
        "amps" | "json" => Some(true),
        "websocket" => {
            reader.not_supported(child, "WebSocket; nobody listens for this transport");
            Some(false)
        }
        legacy if LEGACY.contains(&legacy) => {
            reader.not_supported(child, "the protocols of old clients; nobody listens for this transport");
            Some(false)
        }
        other => {
            let text = format!("\"{other}\" is not known; write amps, or define it in Protocols");
            reader.error(child, text);
            None
        }
    }
}
