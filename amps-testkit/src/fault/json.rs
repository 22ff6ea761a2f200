//! The JSON form of a fault.
//!
//! ```json
//! {"when": {"outbound": 3}, "scope": {"client": "^app"}, "count": "once",
//!  "then": {"drop_mid_frame": 7}}
//! ```
//! `scope` and `count` may be left out. A count is `once`, `always` or `{"times": 2}`; a span is
//! a text such as `"1500ms"`; a frame to be matched is a [`Matcher`] in its own form.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::AckType;
use serde_json::{Map, Value, json};

use super::action::{Action, HowClosed, Lasting, Unfinished};
use super::trigger::Trigger;
use super::{Count, Fault, Scope};
use crate::form::{
    FaultError, Form, bytes, bytes_to_json, choice, flag, list, number, size, span, span_to_json, text, time,
    time_to_json, wrong,
};
use crate::matcher::{Matcher, Pattern};

const TRIGGERS: [&str; 8] =
    ["on_accept", "on_logon", "inbound", "outbound", "outbound_byte", "after", "at", "probability"];

const ACTIONS: [&str; 27] = [
    "drop_connection",
    "drop_mid_frame",
    "truncate_length",
    "delay",
    "stall_reads",
    "stall_writes",
    "partial_writes",
    "coalesce",
    "throttle",
    "corrupt",
    "garbage",
    "bad_header",
    "refuse_logon",
    "challenge",
    "name_in_use",
    "fail",
    "swallow",
    "swallow_ack",
    "duplicate",
    "reorder",
    "hold_persisted",
    "release_persisted",
    "persisted_failure",
    "inject",
    "replay_duplicates",
    "lose_entries",
    "lease_short",
];

const ACKS: [AckType; 5] =
    [AckType::Received, AckType::Processed, AckType::Persisted, AckType::Completed, AckType::Stats];

/// What lasts until the fault is removed.
const UNTIL_REMOVED: &str = "until_removed";

impl Fault {
    /// Reads the JSON form.
    ///
    /// ```
    /// use amps_testkit::{Action, Fault, Trigger};
    /// use serde_json::json;
    ///
    /// let fault = Fault::from_json(&json!({"when": {"outbound": 3}, "then": {"drop_mid_frame": 7}}))?;
    /// assert_eq!(fault, Fault::when(Trigger::outbound(3)).then(Action::drop_mid_frame(7)));
    ///
    /// let error = Fault::from_json(&json!({"when": {"outbond": 3}, "then": "swallow"})).unwrap_err();
    /// assert_eq!(error.to_string(), "when: there is no \"outbond\"; the closest is \"outbound\"");
    /// # Ok::<(), amps_testkit::FaultError>(())
    /// ```
    ///
    /// # Errors
    /// A key that is missing or not known, or a value that cannot be.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let form = Form::read("", value, &["when", "scope", "count", "then"])?;
        let fault = Self {
            trigger: form.need("when", read_trigger)?,
            scope: form.get("scope", read_scope)?.unwrap_or_default(),
            count: form.get("count", read_count)?.unwrap_or_default(),
            action: form.need("then", read_action)?,
        };
        fault.check()?;
        Ok(fault)
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("when".to_owned(), self.trigger.to_json());
        let scope = self.scope.to_json();
        if !scope.is_empty() {
            members.insert("scope".to_owned(), Value::Object(scope));
        }
        members.insert("count".to_owned(), self.count.to_json());
        members.insert("then".to_owned(), self.action.to_json());
        Value::Object(members)
    }
}

fn read_trigger(at: &str, value: &Value) -> Result<Trigger, FaultError> {
    let (word, value) = choice(at, value, &TRIGGERS)?;
    let at = &format!("{at}.{word}");
    let given = || value.ok_or_else(|| FaultError::new(at.as_str(), "it needs a value"));
    Ok(match word {
        "on_accept" if value.is_some_and(|value| value == "any") => Trigger::Accept(None),
        "on_accept" => Trigger::Accept(Some(number(at, given()?)?)),
        "on_logon" => {
            nothing(at, value)?;
            Trigger::Logon
        }
        "inbound" if given()?.is_object() => Trigger::inbound_matching(Matcher::read(at, given()?)?),
        "inbound" => Trigger::Inbound(number(at, given()?)?),
        "outbound" if given()?.is_object() => Trigger::outbound_matching(Matcher::read(at, given()?)?),
        "outbound" => Trigger::Outbound(number(at, given()?)?),
        "outbound_byte" => Trigger::OutboundByte(number(at, given()?)?),
        "after" => Trigger::After(span(at, given()?)?),
        "at" => Trigger::At(time(at, given()?)?),
        _ => {
            let value = given()?;
            Trigger::Probability(value.as_f64().ok_or_else(|| wrong(at, value, "a number between 0 and 1"))?)
        }
    })
}

impl Trigger {
    fn to_json(&self) -> Value {
        match self {
            Self::Accept(Some(n)) => json!({"on_accept": n}),
            Self::Accept(None) => json!({"on_accept": "any"}),
            Self::Logon => json!("on_logon"),
            Self::Inbound(n) => json!({"inbound": n}),
            Self::InboundMatching(matcher) => json!({"inbound": matcher.to_json()}),
            Self::Outbound(n) => json!({"outbound": n}),
            Self::OutboundMatching(matcher) => json!({"outbound": matcher.to_json()}),
            Self::OutboundByte(n) => json!({"outbound_byte": n}),
            Self::After(span) => json!({"after": span_to_json(*span)}),
            Self::At(time) => json!({"at": time_to_json(*time)}),
            Self::Probability(p) => json!({"probability": p}),
        }
    }
}

fn read_scope(at: &str, value: &Value) -> Result<Scope, FaultError> {
    let form = Form::read(at, value, &["transport", "client", "connection", "sub_id", "topic"])?;
    Ok(Scope {
        transport: form.get("transport", text)?,
        client: form.get("client", text)?.map(Pattern::new),
        connection: form.get("connection", number)?,
        sub_id: form.get("sub_id", text)?,
        topic: form.get("topic", text)?,
    })
}

impl Scope {
    fn to_json(&self) -> Map<String, Value> {
        let members = [
            ("transport", self.transport.as_ref().map(|name| json!(name))),
            ("client", self.client.as_ref().map(|pattern| json!(pattern.text()))),
            ("connection", self.connection.map(|index| json!(index))),
            ("sub_id", self.sub_id.as_ref().map(|id| json!(id))),
            ("topic", self.topic.as_ref().map(|topic| json!(topic))),
        ];
        members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

fn read_count(at: &str, value: &Value) -> Result<Count, FaultError> {
    Ok(match choice(at, value, &["once", "always", "times"])? {
        ("once", None) => Count::Once,
        ("always", None) => Count::Always,
        ("times", Some(value)) => Count::Times(number(at, value)?),
        _ => return Err(wrong(at, value, "once, always or {\"times\": 2}")),
    })
}

impl Count {
    fn to_json(self) -> Value {
        match self {
            Self::Once => json!("once"),
            Self::Times(count) => json!({"times": count}),
            Self::Always => json!("always"),
        }
    }
}

fn nothing(at: &str, value: Option<&Value>) -> Result<(), FaultError> {
    value.map_or(Ok(()), |value| Err(wrong(at, value, "the word alone")))
}

fn lasting(at: &str, value: &Value) -> Result<Lasting, FaultError> {
    if value == UNTIL_REMOVED { Ok(Lasting::UntilRemoved) } else { Ok(Lasting::For(span(at, value)?)) }
}

impl Lasting {
    fn to_json(self) -> Value {
        match self {
            Self::For(span) => span_to_json(span),
            Self::UntilRemoved => json!(UNTIL_REMOVED),
        }
    }
}

fn word<T: Copy>(at: &str, value: &Value, known: &[(&str, T)]) -> Result<T, FaultError> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let (word, rest) = choice(at, value, &names)?;
    nothing(at, rest)?;
    let found = known.iter().find(|(name, _)| *name == word);
    found.map(|(_, known)| *known).ok_or_else(|| wrong(at, value, "a word"))
}

fn read_action(at: &str, value: &Value) -> Result<Action, FaultError> {
    let (word_, value) = choice(at, value, &ACTIONS)?;
    let at = &format!("{at}.{word_}");
    if let Some(action) = alone(word_) {
        nothing(at, value)?;
        return Ok(action);
    }
    let value = value.ok_or_else(|| FaultError::new(at.as_str(), "it needs a value"))?;
    Ok(match word_ {
        "drop_connection" => {
            Action::DropConnection(word(at, value, &[("fin", HowClosed::Fin), ("rst", HowClosed::Rst)])?)
        }
        "drop_mid_frame" => Action::DropMidFrame(size(at, value)?),
        "truncate_length" => {
            let form = Form::read(at, value, &["extra", "then"])?;
            let known = [("stall", Unfinished::Stall), ("close", Unfinished::Close)];
            let extra = form.need("extra", |at, value| {
                u32::try_from(number(at, value)?).map_err(|_| wrong(at, value, "a smaller number"))
            })?;
            let then = form.get("then", |at, value| word(at, value, &known))?;
            Action::TruncateLength { extra, then: then.unwrap_or_default() }
        }
        "delay" => Action::Delay(span(at, value)?),
        "stall_reads" => Action::StallReads(lasting(at, value)?),
        "stall_writes" => Action::StallWrites(lasting(at, value)?),
        "partial_writes" if value.is_array() => Action::partial_writes(list(at, value, size)?),
        "partial_writes" => {
            let form = Form::read(at, value, &["sizes", "gap"])?;
            let sizes = form.need("sizes", |at, value| list(at, value, size))?;
            Action::PartialWrites { sizes, gap: form.get("gap", span)?.unwrap_or(Duration::ZERO) }
        }
        "coalesce" => Action::Coalesce(size(at, value)?),
        "throttle" => Action::Throttle(number(at, value)?),
        "corrupt" => {
            let form = Form::read(at, value, &["offset", "bytes"])?;
            Action::Corrupt { offset: form.need("offset", size)?, bytes: form.need("bytes", bytes)? }
        }
        "garbage" => Action::Garbage(bounded(at, size(at, value)?, MOST_GARBAGE)?),
        "bad_header" => Action::BadHeader(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        "refuse_logon" => {
            let form = Form::read(at, value, &["reason", "close"])?;
            let close = form.get("close", flag)?.unwrap_or(true);
            Action::RefuseLogon { reason: form.need("reason", text)?, close }
        }
        "challenge" => Action::Challenge(list(at, value, text)?),
        "fail" => Action::Fail(text(at, value)?),
        "swallow_ack" => Action::SwallowAck(word(at, value, &ACKS.map(|kind| (kind.token(), kind)))?),
        "duplicate" => Action::Duplicate(bounded(at, number(at, value)?, MOST_DUPLICATES)?),
        "reorder" if value.is_number() => Action::Reorder { window: size(at, value)?, acks_only: false },
        "reorder" => {
            let form = Form::read(at, value, &["window", "acks_only"])?;
            let acks_only = form.get("acks_only", flag)?.unwrap_or_default();
            Action::Reorder { window: form.need("window", size)?, acks_only }
        }
        "persisted_failure" => {
            let form = Form::read(at, value, &["sequence", "reason"])?;
            Action::PersistedFailure {
                sequence: form.need("sequence", number)?,
                reason: form.need("reason", text)?,
            }
        }
        "inject" => Action::Inject(bytes(at, value)?),
        "replay_duplicates" => Action::ReplayDuplicates(number(at, value)?),
        "lose_entries" => Action::LoseEntries(size(at, value)?),
        _ => Action::LeaseShort(span(at, value)?),
    })
}

/// The actions that need nothing more than their name.
fn alone(word: &str) -> Option<Action> {
    Some(match word {
        "name_in_use" => Action::NameInUse,
        "swallow" => Action::Swallow,
        "hold_persisted" => Action::HoldPersisted,
        "release_persisted" => Action::ReleasePersisted,
        _ => return None,
    })
}

impl Action {
    /// Reads the JSON form: a word, or an object with one member.
    ///
    /// # Errors
    /// There is no such action, or it cannot have this value.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        let action = read_action("then", value)?;
        action.check()?;
        Ok(action)
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Self::DropConnection(HowClosed::Fin) => json!({"drop_connection": "fin"}),
            Self::DropConnection(HowClosed::Rst) => json!({"drop_connection": "rst"}),
            Self::DropMidFrame(bytes) => json!({"drop_mid_frame": bytes}),
            Self::TruncateLength { extra, then } => {
                let then = if *then == Unfinished::Stall { "stall" } else { "close" };
                json!({"truncate_length": {"extra": extra, "then": then}})
            }
            Self::Delay(span) => json!({"delay": span_to_json(*span)}),
            Self::StallReads(lasting) => json!({"stall_reads": lasting.to_json()}),
            Self::StallWrites(lasting) => json!({"stall_writes": lasting.to_json()}),
            Self::PartialWrites { sizes, gap } => {
                json!({"partial_writes": {"sizes": sizes, "gap": span_to_json(*gap)}})
            }
            Self::Coalesce(frames) => json!({"coalesce": frames}),
            Self::Throttle(rate) => json!({"throttle": rate}),
            Self::Corrupt { offset, bytes } => {
                json!({"corrupt": {"offset": offset, "bytes": bytes_to_json(bytes)}})
            }
            Self::Garbage(length) => json!({"garbage": length}),
            Self::BadHeader(text) => json!({"bad_header": text}),
            Self::RefuseLogon { reason, close } => {
                json!({"refuse_logon": {"reason": reason, "close": close}})
            }
            Self::Challenge(list) => json!({"challenge": list}),
            Self::NameInUse => json!("name_in_use"),
            Self::Fail(reason) => json!({"fail": reason}),
            Self::Swallow => json!("swallow"),
            Self::SwallowAck(kind) => json!({"swallow_ack": kind.token()}),
            Self::Duplicate(extra) => json!({"duplicate": extra}),
            Self::Reorder { window, acks_only } => {
                json!({"reorder": {"window": window, "acks_only": acks_only}})
            }
            Self::HoldPersisted => json!("hold_persisted"),
            Self::ReleasePersisted => json!("release_persisted"),
            Self::PersistedFailure { sequence, reason } => {
                json!({"persisted_failure": {"sequence": sequence, "reason": reason}})
            }
            Self::Inject(frame) => json!({"inject": bytes_to_json(frame)}),
            Self::ReplayDuplicates(count) => json!({"replay_duplicates": count}),
            Self::LoseEntries(count) => json!({"lose_entries": count}),
            Self::LeaseShort(span) => json!({"lease_short": span_to_json(*span)}),
        }
    }
}

/// The most bytes of garbage, and the most copies of a frame, that a fault sends at a time.
const MOST_GARBAGE: usize = 16 * 1024 * 1024;
const MOST_DUPLICATES: u64 = 10_000;

/// A number that is not above a limit.
fn bounded<N: Copy + PartialOrd + std::fmt::Display>(at: &str, value: N, most: N) -> Result<N, FaultError> {
    if value <= most {
        return Ok(value);
    }
    Err(FaultError::new(at, format!("{value} is more than a fault may send; write {most} or less")))
}
