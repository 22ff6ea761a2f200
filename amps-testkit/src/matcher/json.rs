//! The JSON form of a matcher.
//!
//! ```json
//! {"command": "publish", "client": "^app", "connection": 0, "topic": "orders",
//!  "topic_matching": "^o", "sub_id": "s", "sent": true, "message_type": "json",
//!  "header": {"cid": "1", "a": {"contains": "persisted"}, "x": "present", "o": "absent"},
//!  "body": {"text": "…", "json": {"id": 1}, "filter": "/id = 1"}}
//! ```
//! A value that happens to be the word `present` or `absent` is written `{"equals": "present"}`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::CommandKind;
use serde_json::{Map, Value, json};

use super::{BodyTest, HeaderTest, Matcher};
use crate::form::{FaultError, Form, bytes, bytes_to_json, choice, flag, list, number, text, wrong};
use crate::similar;

const KEYS: [&str; 10] = [
    "command",
    "client",
    "connection",
    "topic",
    "topic_matching",
    "sub_id",
    "header",
    "body",
    "message_type",
    "sent",
];

const BODY_KEYS: [&str; 3] = ["text", "json", "filter"];

impl Matcher {
    /// Reads the JSON form.
    ///
    /// ```
    /// use amps_testkit::Matcher;
    /// use serde_json::json;
    ///
    /// let matcher = Matcher::from_json(&json!({"command": "subscribe", "topic": "T"}))?;
    /// assert_eq!(matcher.to_string(), "subscribe with topic \"T\"");
    /// let error = Matcher::from_json(&json!({"topik": "T"})).unwrap_err();
    /// assert_eq!(error.to_string(), "topik: there is no such key; the closest is \"topic\"");
    /// # Ok::<(), amps_testkit::FaultError>(())
    /// ```
    ///
    /// # Errors
    /// A key or a command that is not known, a value of another kind, or a pattern or a filter
    /// that does not compile.
    pub fn from_json(value: &Value) -> Result<Self, FaultError> {
        Self::read("", value)
    }

    pub(crate) fn read(at: &str, value: &Value) -> Result<Self, FaultError> {
        let form = Form::read(at, value, &KEYS)?;
        let mut matcher = Self::any();
        for command in form.get("command", commands)?.unwrap_or_default() {
            matcher = matcher.or_command(command);
        }
        matcher.connection = form.get("connection", number)?;
        matcher.topic = form.get("topic", text)?;
        matcher.sub_id = form.get("sub_id", text)?;
        matcher.message_type = form.get("message_type", text)?;
        matcher.sent = form.get("sent", flag)?.unwrap_or_default();
        if let Some(client) = form.get("client", text)? {
            matcher = matcher.client(client);
        }
        if let Some(topic) = form.get("topic_matching", text)? {
            matcher = matcher.topic_matching(topic);
        }
        matcher.headers = form.get("header", headers)?.unwrap_or_default();
        if let Some(body) = form.get("body", |at, value| Self::any().read_body(at, value))? {
            matcher.bodies = body.bodies;
        }
        matcher.check().map_err(|error| error.within(at))?;
        Ok(matcher)
    }

    fn read_body(mut self, at: &str, value: &Value) -> Result<Self, FaultError> {
        let form = Form::read(at, value, &BODY_KEYS)?;
        if let Some(body) = form.get("text", bytes)? {
            self = self.body(body);
        }
        if let Some(body) = form.get("json", |_, value| Ok(value.clone()))? {
            self = self.body_json(body);
        }
        if let Some(filter) = form.get("filter", text)? {
            self = self.body_filter(filter);
        }
        Ok(self)
    }

    /// The JSON form. Of several tests of the body of one kind it has the last.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            members.extend(value.map(|value| (key.to_owned(), value)));
        };
        let names: Vec<&str> = self.commands.iter().map(|command| command.token()).collect();
        put(
            "command",
            (!names.is_empty()).then(|| if names.len() == 1 { json!(names[0]) } else { json!(names) }),
        );
        put("client", self.client.as_ref().map(|pattern| json!(pattern.text())));
        put("connection", self.connection.map(|index| json!(index)));
        put("topic", self.topic.as_ref().map(|topic| json!(topic)));
        put("topic_matching", self.topic_pattern.as_ref().map(|pattern| json!(pattern.text())));
        put("sub_id", self.sub_id.as_ref().map(|id| json!(id)));
        let headers: Map<String, Value> =
            self.headers.iter().map(|(key, test)| (key.clone(), test.to_json())).collect();
        put("header", (!headers.is_empty()).then_some(Value::Object(headers)));
        let bodies: Map<String, Value> = self.bodies.iter().map(BodyTest::to_json).collect();
        put("body", (!bodies.is_empty()).then_some(Value::Object(bodies)));
        put("message_type", self.message_type.as_ref().map(|name| json!(name)));
        put("sent", self.sent.then_some(json!(true)));
        Value::Object(members)
    }
}

fn commands(at: &str, value: &Value) -> Result<Vec<CommandKind>, FaultError> {
    let one = |at: &str, value: &Value| {
        let word = text(at, value)?;
        let command = CommandKind::from_token(word.as_bytes());
        if !matches!(command, CommandKind::Unknown | CommandKind::Missing) {
            return Ok(command);
        }
        let names = CommandKind::ALL.iter().map(|command| command.token());
        let closest =
            similar(&word, names).map_or_else(String::new, |name| format!("; the closest is \"{name}\""));
        Err(FaultError::new(at, format!("there is no command \"{word}\"{closest}")))
    };
    if value.is_array() { list(at, value, one) } else { Ok(vec![one(at, value)?]) }
}

fn headers(at: &str, value: &Value) -> Result<Vec<(String, HeaderTest)>, FaultError> {
    let members = value.as_object().ok_or_else(|| wrong(at, value, "an object"))?;
    let test = |(key, value): (&String, &Value)| {
        let at = format!("{at}.{key}");
        let test = match value {
            Value::String(word) if word == "present" => HeaderTest::Present,
            Value::String(word) if word == "absent" => HeaderTest::Absent,
            Value::String(text) => HeaderTest::Equals(text.clone()),
            Value::Number(number) => HeaderTest::Equals(number.to_string()),
            Value::Bool(flag) => HeaderTest::Equals(flag.to_string()),
            _ => match choice(&at, value, &["equals", "contains"])? {
                ("contains", Some(value)) => HeaderTest::Contains(text(&at, value)?),
                (_, Some(value)) => HeaderTest::Equals(text(&at, value)?),
                (_, None) => return Err(wrong(&at, value, "an object")),
            },
        };
        Ok((key.clone(), test))
    };
    members.iter().map(test).collect()
}

impl HeaderTest {
    fn to_json(&self) -> Value {
        match self {
            Self::Equals(value) if value == "present" || value == "absent" => json!({"equals": value}),
            Self::Equals(value) => json!(value),
            Self::Contains(part) => json!({"contains": part}),
            Self::Present => json!("present"),
            Self::Absent => json!("absent"),
        }
    }
}

impl BodyTest {
    fn to_json(&self) -> (String, Value) {
        let (key, value) = match self {
            Self::Equals(body) => ("text", bytes_to_json(body)),
            Self::Json(body) => ("json", body.clone()),
            Self::Filter(filter) => ("filter", json!(filter.text)),
        };
        (key.to_owned(), value)
    }
}
