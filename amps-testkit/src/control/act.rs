//! What the control port does.

use std::error::Error;
use std::time::Duration;

use amps_protocol::MessageId;
use serde_json::{Value, json};

use super::http::{Answer, Refused};
use super::look::{missing, no_queue};
use super::routes::{Call, Outcome};
use crate::engine::{Entitlement, PublishOptions, Published, SeedMessage};
use crate::fault::{Fault, FaultId};
use crate::form::{FaultError, Form, bytes, flag, list, number, span, text, time, time_to_json, wrong};
use crate::matcher::Matcher;
use crate::server::{Drop, FakeServer};

/// How long the server may take to come to rest unless somebody says otherwise.
const SETTLE: Duration = Duration::from_secs(5);

/// The longest that somebody can say.
const MAX_SETTLE: Duration = Duration::from_secs(60);

const PUBLISH_KEYS: [&str; 10] = [
    "topic",
    "body",
    "json",
    "message_type",
    "publisher",
    "sequence",
    "key",
    "correlation",
    "expiration",
    "delta",
];

/// What a seed says beside that.
const SEED_KEYS: [&str; 2] = ["time", "bookmark"];

/// A request without a body, or with an empty object.
fn nothing(call: &Call<'_>) -> Result<(), Refused> {
    if call.body == json!({}) {
        return Ok(());
    }
    Err(Refused::new(400, format!("there is nothing to say here; leave out the body {}", call.body)))
}

fn conflict<E: Error>(error: E) -> Refused {
    Refused::new(409, error.to_string())
}

fn done() -> Answer {
    json!({}).into()
}

// --- Faults ------------------------------------------------------------------------------

pub(super) fn add_fault(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let fault = Fault::from_json(&call.body)?;
    let about = fault.to_string();
    let id = server.add_fault(fault)?;
    Ok(json!({"id": id.0, "about": about}).into())
}

pub(super) fn remove_fault(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let id = call.name(0);
    let known = id.parse().is_ok_and(|id| server.remove_fault(FaultId(id)));
    let text = || format!("there is no fault {id}; GET /faults lists those that there are");
    if known { Ok(done()) } else { Err(Refused::new(404, text())) }
}

// --- The clock ---------------------------------------------------------------------------

pub(super) fn advance(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let by = Form::read("", &call.body, &["by"])?.need("by", span)?;
    let_time_move(server)?;
    server.advance(by);
    Ok(json!({"now": time_to_json(server.now())}).into())
}

pub(super) fn set_clock(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let to = Form::read("", &call.body, &["to"])?.need("to", time)?;
    let_time_move(server)?;
    let now = server.now();
    if to < now {
        let text = format!("the clock is at {} and never goes back; POST /reset does", time_to_json(now));
        return Err(Refused::new(409, text));
    }
    server.set_time(to);
    Ok(json!({"now": time_to_json(server.now())}).into())
}

fn let_time_move(server: &FakeServer) -> Result<(), Refused> {
    let text = "the clock is the real one; start the server with --virtual-clock";
    if server.is_virtual() { Ok(()) } else { Err(Refused::new(409, text)) }
}

// --- Messages ----------------------------------------------------------------------------

pub(super) fn publish(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let form = Form::read("", &call.body, &PUBLISH_KEYS)?;
    let (topic, body, options) = message(&form)?;
    server
        .publish_as(&topic, body, &options)
        .map(|published| published_json(&published).into())
        .map_err(conflict)
}

fn published_json(published: &Published) -> Value {
    json!({"bookmark": published.bookmark.map(|bookmark| bookmark.to_string())})
}

/// What is published, and how.
fn message(form: &Form<'_>) -> Result<(String, Vec<u8>, PublishOptions), FaultError> {
    let topic = form.need("topic", text)?;
    let json = form.get("json", |_, value| Ok(value.to_string().into_bytes()))?;
    let body = match (form.get("body", bytes)?, json) {
        (Some(_), Some(_)) => {
            return Err(FaultError::new(form.path("json"), "there is a body already; write one of them"));
        }
        (Some(body), None) | (None, Some(body)) => body,
        (None, None) => Vec::new(),
    };
    let options = PublishOptions {
        message_type: form.get("message_type", text)?,
        publisher: form.get("publisher", text)?,
        sequence: form.get("sequence", number)?,
        key: form.get("key", text)?,
        correlation: form.get("correlation", bytes)?,
        expiration: form.get("expiration", number)?,
        delta: form.get("delta", flag)?.unwrap_or_default(),
    };
    if options.sequence.is_some() && options.publisher.is_none() {
        return Err(FaultError::new(form.path("sequence"), "it needs a publisher whose number it is"));
    }
    Ok((topic, body, options))
}

fn seed_message(at: &str, value: &Value) -> Result<SeedMessage, FaultError> {
    let form = Form::read(at, value, &[&PUBLISH_KEYS[..], &SEED_KEYS].concat())?;
    let (topic, body, options) = message(&form)?;
    let mut seed = SeedMessage::new(topic, body).options(options);
    if let Some(time) = form.get("time", time)? {
        seed = seed.at(time);
    }
    if let Some(bookmark) = form.get("bookmark", bookmark)? {
        seed = seed.bookmark(bookmark);
    }
    Ok(seed)
}

fn bookmark(at: &str, value: &Value) -> Result<MessageId, FaultError> {
    let read = value.as_str().and_then(|text| MessageId::parse(text.as_bytes()).ok());
    read.ok_or_else(|| wrong(at, value, "a bookmark such as \"123|7|\""))
}

pub(super) fn seed(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let form = Form::read("", &call.body, &["records", "log", "queue", "sequences"])?;
    let messages = |at: &str, value: &Value| list(at, value, seed_message);
    let records = form.get("records", messages)?.unwrap_or_default();
    let log = form.get("log", messages)?.unwrap_or_default();
    let queue = form.get("queue", messages)?.unwrap_or_default();
    let sequences = form.get("sequences", |at, value| {
        let members =
            value.as_object().ok_or_else(|| wrong(at, value, "an object of client names and numbers"))?;
        let each = |(client, value): (&String, &Value)| {
            Ok((client.clone(), number(&format!("{at}.{client}"), value)?))
        };
        members.iter().map(each).collect::<Result<Vec<_>, FaultError>>()
    })?;
    let mut seeded = Vec::new();
    for record in records {
        seeded.push(server.seed_record(record).map_err(conflict)?);
    }
    seeded.extend(server.seed_log(log).map_err(conflict)?);
    for message in queue {
        seeded.push(server.seed_queue_message(message).map_err(conflict)?);
    }
    for (client, sequence) in sequences.unwrap_or_default() {
        server.set_sequence(&client, sequence).map_err(conflict)?;
    }
    Ok(json!({"seeded": seeded.iter().map(published_json).collect::<Vec<Value>>()}).into())
}

// --- Expectations ------------------------------------------------------------------------

pub(super) fn expect(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let form = Form::read("", &call.body, &["frame", "times", "at_least", "never", "nothing_else"])?;
    let frame = form.get("frame", Matcher::read)?;
    let times = form.get("times", number)?;
    let at_least = form.get("at_least", number)?;
    let never = form.get("never", flag)?.unwrap_or_default();
    let nothing_else = form.get("nothing_else", flag)?.unwrap_or_default();
    if usize::from(times.is_some()) + usize::from(at_least.is_some()) + usize::from(never) > 1 {
        return Err(Refused::new(400, "times, at_least and never exclude each other; write one of them"));
    }
    let Some(frame) = frame else {
        if !nothing_else {
            return Err(FaultError::new("frame", "it is missing; {} is any frame").into());
        }
        server.expect_nothing_else();
        return Ok(done());
    };
    let about = frame.to_string();
    let expectation = server.expect(frame);
    match (times, at_least) {
        (Some(times), _) => expectation.times(times),
        (_, Some(times)) => expectation.at_least(times),
        _ if never => expectation.never(),
        _ => {}
    }
    if nothing_else {
        server.expect_nothing_else();
    }
    Ok(json!({"about": about}).into())
}

pub(super) fn verify(server: &FakeServer, call: &Call<'_>) -> Outcome {
    nothing(call)?;
    server.verify().map(|()| done()).map_err(conflict)
}

pub(super) fn settle(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let timeout = Form::read("", &call.body, &["timeout"])?.get("timeout", span)?.unwrap_or(SETTLE);
    if timeout > MAX_SETTLE {
        return Err(FaultError::new("timeout", "it is longer than 60s; ask again instead").into());
    }
    server.settle(timeout).map(|()| done()).map_err(conflict)
}

// --- Connections -------------------------------------------------------------------------

fn how(form: &Form<'_>) -> Result<Drop, Refused> {
    match form.get("how", text)?.as_deref() {
        None | Some("fin") => Ok(Drop::Fin),
        Some("reset") => Ok(Drop::Reset),
        Some(other) => Err(Refused::new(400, format!("how: there is no \"{other}\"; write fin or reset"))),
    }
}

pub(super) fn disconnect_some(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let form = Form::read("", &call.body, &["how", "connection"])?;
    let how = how(&form)?;
    let ended = match form.get("connection", number)? {
        None => server.drop_all_connections(how),
        Some(index) if server.drop_connection_number(index, how) => 1,
        Some(index) => {
            let text =
                format!("there is no connection {index}; GET /state/connections lists those that there are");
            return Err(Refused::new(404, text));
        }
    };
    Ok(json!({"ended": ended}).into())
}

pub(super) fn disconnect(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let how = how(&Form::read("", &call.body, &["how"])?)?;
    if server.drop_connection(call.name(0), how) {
        return Ok(done());
    }
    let connections = server.connections();
    let clients = connections.iter().filter_map(|connection| connection.client_name.as_deref());
    Err(missing("client", call.name(0), clients))
}

pub(super) fn enable_transport(server: &FakeServer, call: &Call<'_>) -> Outcome {
    nothing(call)?;
    let found = server.enable_transport(call.name(0)).map_err(conflict)?;
    if found { Ok(done()) } else { Err(no_transport(server, call.name(0))) }
}

pub(super) fn disable_transport(server: &FakeServer, call: &Call<'_>) -> Outcome {
    nothing(call)?;
    if server.disable_transport(call.name(0)) { Ok(done()) } else { Err(no_transport(server, call.name(0))) }
}

fn no_transport(server: &FakeServer, name: &str) -> Refused {
    let listeners = server.listeners();
    missing("transport", name, listeners.iter().map(|listening| &*listening.name))
}

pub(super) fn reset_entitlements(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let user = call.name(0);
    let read = |at: &str, value: &Value| {
        let form = Form::read(at, value, &["kind", "topic", "filter", "select"])?;
        let kind = form.need("kind", text)?;
        let mut right = match &*kind {
            "logon" => Entitlement::logon(user),
            "read" => Entitlement::read(user, form.need("topic", text)?),
            "write" => Entitlement::write(user, form.need("topic", text)?),
            _ => {
                return Err(FaultError::new(
                    form.path("kind"),
                    format!("there is no \"{kind}\"; write logon, read or write"),
                ));
            }
        };
        if let Some(filter) = form.get("filter", text)? {
            right = right.filter(filter);
        }
        if let Some(select) = form.get("select", text)? {
            right = right.select(select);
        }
        Ok(right)
    };
    let form = Form::read("", &call.body, &["entitlements"])?;
    let rights = form.get("entitlements", |at, value| list(at, value, read))?.unwrap_or_default();
    server
        .reset_entitlements(user, rights)
        .map(|()| done())
        .map_err(|error| Refused::new(400, error.to_string()))
}

// --- The server --------------------------------------------------------------------------

pub(super) fn proxied_transfer(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let on = Form::read("", &call.body, &["on"])?.get("on", flag)?.unwrap_or(true);
    let known = server.proxied_transfer(call.name(0), on);
    if known { Ok(done()) } else { Err(no_queue(server, call.name(0))) }
}

pub(super) fn reset(server: &FakeServer, call: &Call<'_>) -> Outcome {
    nothing(call)?;
    server.reset().map(|()| json!({"now": time_to_json(server.now())}).into()).map_err(conflict)
}

pub(super) fn stop(server: &FakeServer, call: &Call<'_>) -> Outcome {
    nothing(call)?;
    server.close_all();
    Ok(Answer { stops: true, ..done() })
}
