//! `Transports`: what the server listens on.

use crate::builder::{Listen, Place};
use crate::engine::{TransportConfig, TransportLimits};
use crate::wire::Protocol;

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
    let tls = ["Certificate", "PrivateKey"].into_iter().find_map(|part| element.get(part));
    let mut rules = rules(reader, scope, element);
    match kind.as_deref()? {
        "tcp" if tls.is_none() => {}
        "tcp" | "tcps" => encrypted(reader, element, tls.unwrap_or(element), &mut rules)?,
        "unix" | "amps-unix" => {
            let file = reader.value(element, "FileName", |path| Place::file(path).map_err(str::to_owned));
            reader.required(element, "FileName");
            let protocol = protocol(reader, scope, element)?;
            if protocol != Protocol::Amps {
                let at = element.get("Protocol").unwrap_or(element);
                reader.error(at, "WebSocket is spoken over TCP only; write amps, or another Type");
                return None;
            }
            let place = element.get("FileName").map(|child| &child.place)?;
            let place = format!("{}:{}: FileName", place.file, place.line);
            let text = element.get("FileName")?.text.clone().ok()?;
            let listen = Listen::at(file?, &text, false);
            return Some(Listen {
                name: Some(name?),
                transport: rules,
                element: Some(place),
                message_type,
                ..listen
            });
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
    let protocol = protocol(reader, scope, element);
    let mut listen = listener(reader, element, name?, rules)?;
    listen.transport = listen.transport.protocol(protocol?);
    Some(Listen { message_type, replication: false, ..listen })
}

/// The certificate of a transport with TLS (CONN-07); `None` if it cannot have one.
#[cfg(feature = "tls")]
fn encrypted(
    reader: &mut Reader,
    element: &Element,
    named: &Element,
    rules: &mut TransportConfig,
) -> Option<()> {
    let (certificate, key) =
        (reader.required(element, "Certificate"), reader.required(element, "PrivateKey"));
    reader.ignored(named, "unless the test asks for it, the server shows a certificate of its own making");
    *rules = std::mem::take(rules).tls_files(certificate?, key?);
    Some(())
}

#[cfg(not(feature = "tls"))]
fn encrypted(reader: &mut Reader, _: &Element, named: &Element, _: &mut TransportConfig) -> Option<()> {
    reader.lacks_feature(named, "TLS", "tls");
    None
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
    let listen = Listen::at(Place::Tcp(addr), &addr.to_string(), true);
    Some(Listen { name: Some(name), transport, element, ..listen })
}

/// What connections speak; `None` if the server cannot.
fn protocol(reader: &mut Reader, scope: &Scope, element: &Element) -> Option<Protocol> {
    let name = reader.required(element, "Protocol")?;
    let child = element.get("Protocol")?;
    let base = scope.protocols.get(&name).map_or(name.as_str(), String::as_str);
    match base {
        "amps" | "json" => Some(Protocol::Amps),
        "websocket" if cfg!(feature = "websocket") => Some(Protocol::WebSocket),
        "websocket" => {
            reader.lacks_feature(child, "WebSocket", "websocket");
            None
        }
        legacy if LEGACY.contains(&legacy) => {
            reader.not_supported(child, "the protocols of old clients; nobody listens for this transport");
            None
        }
        other => {
            let text = format!("\"{other}\" is not known; write amps, or define it in Protocols");
            reader.error(child, text);
            None
        }
    }
}
