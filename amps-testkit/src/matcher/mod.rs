//! Which frames a test means.
//!
//! Owns [`Matcher`], and how far a frame is from it, in words. Faults, expectations and
//! questions to the journal share it. It keeps no frame.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod json;

use std::fmt;

use amps_protocol::{CommandKind, Field, Message};
use fancy_regex::Regex;
use serde_json::Value;

use crate::engine::filter::{Context, Filter, Format};
use crate::form::FaultError;
use crate::journal::Entry;

/// Describes frames: what has to hold of one. Everything named has to hold at once; a matcher
/// that names nothing means every frame.
///
/// In the journal it means what clients sent, unless [`sent`](Self::sent) is called.
///
/// ```
/// use amps_protocol::CommandKind;
/// use amps_testkit::Matcher;
///
/// let matcher = Matcher::command(CommandKind::Publish).topic("orders").body_filter("/qty > 5");
/// assert_eq!(matcher.to_string(), "p with topic \"orders\", with a body where /qty > 5");
/// assert_eq!(Matcher::from_json(&matcher.to_json()), Ok(matcher));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a matcher does nothing by itself"]
pub struct Matcher {
    sent: bool,
    commands: Vec<CommandKind>,
    client: Option<Pattern>,
    connection: Option<u64>,
    topic: Option<String>,
    topic_pattern: Option<Pattern>,
    sub_id: Option<String>,
    headers: Vec<(String, HeaderTest)>,
    bodies: Vec<BodyTest>,
    message_type: Option<String>,
}

/// What has to hold of one member of a header.
///
/// ```
/// use amps_testkit::{HeaderTest, Matcher};
///
/// let asks_for_persisted = Matcher::any().header("a", HeaderTest::Contains("persisted".into()));
/// assert_eq!(asks_for_persisted.to_string(), "any frame with a containing \"persisted\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderTest {
    /// It has this value, numbers and booleans as they are written.
    Equals(String),
    /// It has this text somewhere in it.
    Contains(String),
    /// It is there.
    Present,
    /// It is not there.
    Absent,
}

#[derive(Clone, Debug, PartialEq)]
enum BodyTest {
    Equals(Vec<u8>),
    Json(Value),
    Filter(BodyFilter),
}

/// A filter, or what is wrong with it.
#[derive(Clone, Debug)]
struct BodyFilter {
    text: String,
    compiled: Result<Filter, String>,
}

impl PartialEq for BodyFilter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A regular expression, or what is wrong with it. Equal if the texts are.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    compiled: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let compiled = Regex::new(&text).map_err(|error| error.to_string());
        Self { text, compiled }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Searched for, unanchored, as AMPS does it.
    pub(crate) fn finds(&self, text: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|regex| regex.is_match(text).unwrap_or(false))
    }

    pub(crate) fn check(&self, key: &str) -> Result<(), FaultError> {
        match &self.compiled {
            Ok(_) => Ok(()),
            Err(fault) => {
                let fault = format!("\"{}\" is no regular expression: {fault}", self.text);
                Err(FaultError::new(key, fault))
            }
        }
    }
}

/// One thing in which a frame is not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discrepancy {
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

impl Matcher {
    /// Every frame.
    pub fn any() -> Self {
        Self::default()
    }

    /// Frames with this command.
    pub fn command(command: CommandKind) -> Self {
        Self::any().or_command(command)
    }

    /// Frames with this command, too.
    pub fn or_command(mut self, command: CommandKind) -> Self {
        self.commands.push(command);
        self
    }

    /// In the journal: what the server sent, in place of what clients sent. A fault's trigger
    /// says itself which way a frame goes.
    pub fn sent(mut self) -> Self {
        self.sent = true;
        self
    }

    /// Of a client whose name has a match for this regular expression.
    pub fn client(mut self, pattern: impl Into<String>) -> Self {
        self.client = Some(Pattern::new(pattern));
        self
    }

    /// On this connection, counted from 0 in the order of arrival.
    pub fn connection(mut self, index: u64) -> Self {
        self.connection = Some(index);
        self
    }

    /// With this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// With a topic that has a match for this regular expression.
    pub fn topic_matching(mut self, pattern: impl Into<String>) -> Self {
        self.topic_pattern = Some(Pattern::new(pattern));
        self
    }

    /// With this subscription id, alone or among others.
    pub fn sub_id(mut self, id: impl Into<String>) -> Self {
        self.sub_id = Some(id.into());
        self
    }

    /// With a header member, named by its key on the wire, for which something holds.
    pub fn header(mut self, key: impl Into<String>, test: HeaderTest) -> Self {
        self.headers.push((key.into(), test));
        self
    }

    /// With a header member of this value: [`HeaderTest::Equals`].
    pub fn header_is(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.header(key, HeaderTest::Equals(value.into()))
    }

    /// With exactly this body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.bodies.push(BodyTest::Equals(body.as_ref().to_vec()));
        self
    }

    /// With a body that is the same JSON value, however it is written.
    pub fn body_json(mut self, body: Value) -> Self {
        self.bodies.push(BodyTest::Json(body));
        self
    }

    /// With a body for which a filter of AMPS holds: `/id = 7 AND /qty > 5`.
    pub fn body_filter(mut self, filter: impl Into<String>) -> Self {
        let text = filter.into();
        let compiled = Filter::parse(&text).map_err(|error| error.to_string());
        self.bodies.push(BodyTest::Filter(BodyFilter { text, compiled }));
        self
    }

    /// The message type as which the filter reads the body. Default `json`.
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// Whether it can match at all.
    ///
    /// # Errors
    /// A pattern or a filter does not compile; such a matcher matches nothing.
    pub fn check(&self) -> Result<(), FaultError> {
        self.client.as_ref().map_or(Ok(()), |client| client.check("client"))?;
        self.topic_pattern.as_ref().map_or(Ok(()), |topic| topic.check("topic_matching"))?;
        for body in &self.bodies {
            if let BodyTest::Filter(BodyFilter { compiled: Err(fault), .. }) = body {
                return Err(FaultError::new("body.filter", fault.as_str()));
            }
        }
        Ok(())
    }

    /// Whether an entry of the journal is such a frame.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.differences_of(entry).is_some_and(|differences| differences.is_empty())
    }

    /// In what an entry is not what is meant; `None` if it is no frame of that direction.
    pub(crate) fn differences_of(&self, entry: &Entry) -> Option<Vec<Discrepancy>> {
        let message = if self.sent { entry.sent() } else { entry.received() }?;
        Some(self.differences(entry.client.as_deref(), entry.connection, message))
    }

    pub(crate) fn fits<B: AsRef<[u8]>>(
        &self,
        client: Option<&str>,
        connection: u64,
        message: &Message<B>,
    ) -> bool {
        self.differences(client, connection, message).is_empty()
    }

    fn differences<B: AsRef<[u8]>>(
        &self,
        client: Option<&str>,
        connection: u64,
        message: &Message<B>,
    ) -> Vec<Discrepancy> {
        let mut found = Vec::new();
        // Who logs on has no name yet, but says it.
        let logon = message.client_name().filter(|_| message.command() == CommandKind::Logon);
        let said = logon.map(|name| String::from_utf8_lossy(name));
        let client = client.or(said.as_deref());
        let mut differ = |what: &str, expected: String, is: String| {
            found.push(Discrepancy { what: what.to_owned(), expected, found: is });
        };
        if !self.commands.is_empty() && !self.commands.contains(&message.command()) {
            differ("command", self.command_names(), shown(message.get(Field::Command).map(|c| &**c)));
        }
        if let Some(pattern) =
            self.client.as_ref().filter(|pattern| !client.is_some_and(|c| pattern.finds(c)))
        {
            differ("client", format!("a match for \"{}\"", pattern.text), shown(client.map(str::as_bytes)));
        }
        if let Some(expected) = self.connection.filter(|expected| *expected != connection) {
            differ("connection", expected.to_string(), connection.to_string());
        }
        let topic = message.topic().map(|topic| &**topic);
        if let Some(expected) = self.topic.as_ref().filter(|expected| topic != Some(expected.as_bytes())) {
            differ("topic", format!("\"{expected}\""), shown(topic));
        }
        let finds = |pattern: &Pattern| topic.is_some_and(|t| pattern.finds(&String::from_utf8_lossy(t)));
        if let Some(pattern) = self.topic_pattern.as_ref().filter(|pattern| !finds(pattern)) {
            differ("topic", format!("a match for \"{}\"", pattern.text), shown(topic));
        }
        if let Some(expected) = self.sub_id.as_ref().filter(|id| !message.ids().any(|own| own == id.as_str()))
        {
            let ids = message.sub_ids().or_else(|| message.sub_id()).map(|ids| &**ids);
            differ("subscription", format!("\"{expected}\""), shown(ids));
        }
        for (key, test) in &self.headers {
            let value = member(message, key);
            if !test.holds(value.as_deref()) {
                differ(key, test.to_string(), shown(value.as_deref()));
            }
        }
        for body in &self.bodies {
            if !body.holds(message.data(), self.message_type.as_deref().unwrap_or("json")) {
                differ("body", body.expected(), shown(Some(message.data())));
            }
        }
        found
    }

    fn command_names(&self) -> String {
        let names: Vec<&str> = self.commands.iter().map(|command| command.token()).collect();
        names.join(" or ")
    }
}

/// A member by its key or by another spelling of it; an unknown one as it stands.
fn member<B: AsRef<[u8]>>(message: &Message<B>, key: &str) -> Option<Vec<u8>> {
    if let Some(field) = Field::from_key(key.as_bytes()) {
        return message.get(field).map(|value| value.to_vec());
    }
    let header = message.frame().get(..message.header().body_offset())?;
    let Ok(Value::Object(members)) = serde_json::from_slice(header) else { return None };
    Some(match members.get(key)? {
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

/// The most of a value that is shown.
const SHOWN: usize = 200;

fn shown(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let text = String::from_utf8_lossy(value.get(..SHOWN).unwrap_or(value)).into_owned();
    let rest = if value.len() > SHOWN { "…" } else { "" };
    format!("\"{text}{rest}\"")
}

impl HeaderTest {
    fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Equals(expected) => value == Some(expected.as_bytes()),
            Self::Contains(part) => {
                value.is_some_and(|value| String::from_utf8_lossy(value).contains(part.as_str()))
            }
            Self::Present => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

impl fmt::Display for HeaderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(expected) => write!(f, "\"{expected}\""),
            Self::Contains(part) => write!(f, "something with \"{part}\""),
            Self::Present => f.write_str("anything"),
            Self::Absent => f.write_str("none"),
        }
    }
}

impl BodyTest {
    fn holds(&self, body: &[u8], message_type: &str) -> bool {
        match self {
            Self::Equals(expected) => body == expected,
            Self::Json(expected) => serde_json::from_slice::<Value>(body).is_ok_and(|body| body == *expected),
            Self::Filter(BodyFilter { compiled, .. }) => compiled.as_ref().is_ok_and(|filter| {
                let context = Context { message_size: body.len() as u64, ..Context::default() };
                filter.matches(&Format::of(message_type).read(body), &context)
            }),
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Equals(body) => shown(Some(body)),
            Self::Json(body) => format!("the JSON {body}"),
            Self::Filter(BodyFilter { text, compiled: Ok(_) }) => format!("one where {text}"),
            Self::Filter(BodyFilter { text, compiled: Err(fault) }) => {
                format!("one where {text}, which is no filter: {fault}")
            }
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commands.is_empty() {
            true => f.write_str("any frame")?,
            false => f.write_str(&self.command_names())?,
        }
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.topic.iter().map(|topic| format!("with topic \"{topic}\"")));
        parts.extend(self.topic_pattern.iter().map(|p| format!("with a topic like \"{}\"", p.text)));
        parts.extend(self.sub_id.iter().map(|id| format!("for the subscription \"{id}\"")));
        parts.extend(self.client.iter().map(|pattern| format!("of a client like \"{}\"", pattern.text)));
        parts.extend(self.connection.iter().map(|index| format!("on connection {index}")));
        parts.extend(self.headers.iter().map(|(key, test)| match test {
            HeaderTest::Equals(value) => format!("with {key} \"{value}\""),
            HeaderTest::Contains(part) => format!("with {key} containing \"{part}\""),
            HeaderTest::Present => format!("with {key}"),
            HeaderTest::Absent => format!("without {key}"),
        }));
        parts.extend(self.bodies.iter().map(|body| match body {
            BodyTest::Equals(body) => format!("with the body {}", shown(Some(body))),
            BodyTest::Json(body) => format!("with the JSON body {body}"),
            BodyTest::Filter(filter) => format!("with a body where {}", filter.text),
        }));
        for (number, part) in parts.iter().enumerate() {
            write!(f, "{} {part}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
