//! `Transports`: what the server listens on.

use crate::builder::Listen;

use super::reader::Reader;
use super::schema;
use super::scope::Scope;
use super::security::{self, Policy, Role};
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
    for (part, role) in [("Authentication", Role::Authentication), ("Entitlement", Role::Entitlement)] {
        if let Some(child) = element.get(part) {
            match security::module(reader, scope, child, role) {
                Some(Policy::Nobody) => {
                    reader.not_supported(child, "the transport follows the instance, and lets everybody in");
                }
                Some(Policy::Implicit) => {
                    reader.not_supported(child, "the transport follows the instance, and wants a logon");
                }
                Some(Policy::Everybody) | None => {}
            }
        }
    }
    let state = reader.value(element, "InitialState", units::boolean);
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
        "amps-replication" => return listener(reader, element, name?, state),
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
    let listen = listener(reader, element, name?, state)?;
    speaks_amps.then_some(Listen { message_type, replication: false, ..listen })
}

/// Where a transport listens, as one for other instances.
fn listener(reader: &mut Reader, element: &Element, name: String, state: Option<bool>) -> Option<Listen> {
    reader.required(element, "InetAddr")?;
    let addr = reader.value(element, "InetAddr", units::loopback)?;
    if let Some(child) = element.get("InetAddr") {
        let local = child.text.as_ref().is_ok_and(|text| units::is_loopback(text));
        if !local {
            reader.ignored(child, "the server listens on loopback only");
        }
    }
    if state == Some(false) {
        reader.ignored(element, "the transport is disabled at the start; nobody listens for it");
        return None;
    }
    Some(Listen { name: Some(name), addr, message_type: None, replication: true })
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
