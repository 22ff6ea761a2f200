//! The journal as JSON, one entry a line (server.md OBS-09).

use amps_protocol::{Field, Message};
use serde_json::{Map, Value, json};

use super::{Entry, What};
use crate::form::{bytes_to_json, time_to_json};

impl Entry {
    /// The entry as a JSON object, without passwords.
    ///
    /// ```
    /// use amps_testkit::{Action, FakeServer, Fault, Trigger};
    /// use std::time::Duration;
    ///
    /// let fault = Fault::when(Trigger::After(Duration::ZERO)).then(Action::LoseEntries(1));
    /// let server = FakeServer::builder().virtual_clock().fault(fault).start()?;
    /// let json = server.journal()[0].to_json();
    /// assert_eq!(json["what"], "fault");
    /// assert_eq!(json["time"], "20260101T000000.000000Z");
    /// assert_eq!(json["fault"], 1);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        let mut put = |key: &str, value: Value| {
            members.insert(key.to_owned(), value);
        };
        put("sequence", json!(self.sequence));
        put("time", time_to_json(self.time));
        put("connection", json!(self.connection));
        if let Some(client) = &self.client {
            put("client", json!(&**client));
        }
        let what = match &self.what {
            What::Accepted => "accepted",
            What::LoggedOn => "logged_on",
            What::Received(message) => {
                put("header", header(message));
                put("body", bytes_to_json(message.data()));
                "received"
            }
            What::Sent(message) => {
                put("header", header(message));
                put("body", bytes_to_json(message.data()));
                "sent"
            }
            What::Closed(reason) => {
                put("reason", json!(reason.to_string()));
                "closed"
            }
            What::Fault(firing) => {
                put("fault", json!(firing.fault.0));
                put("cause", json!(firing.cause));
                put("action", json!(firing.action));
                "fault"
            }
            What::Noted(noted) => {
                put("kind", json!(noted.kind.as_str()));
                put("text", json!(noted.text));
                "noted"
            }
        };
        put("what", json!(what));
        Value::Object(members)
    }
}

/// The header as it was written, but for the password.
fn header(message: &Message) -> Value {
    let text = message.frame().get(..message.header().body_offset()).unwrap_or_default();
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(mut members)) => {
            for key in Field::Password.keys() {
                if let Some(password) = members.get_mut(*key) {
                    *password = json!("<hidden>");
                }
            }
            Value::Object(members)
        }
        _ => json!(format!("{message:?}")),
    }
}
