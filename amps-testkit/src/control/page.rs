//! The page that shows a server while it works, and what it reads.
//!
//! Owns what a browser is told of the page: that it may run the one script in it, ask this port, and do nothing
//! else. There are no data in the page; its script asks for them (`GET /overview`), and writes them as text.

use amps_protocol::{Field, Message};
use serde_json::{Value, json};

use super::routes::{Call, Outcome};
use crate::engine::{Excerpt, cut};
use crate::journal::{Entry, What};
use crate::server::FakeServer;
use crate::state::overview::{excerpt, time};

/// Style, text and script.
pub(super) const PAGE: &str = include_str!("page.html");

/// What the page may do. The hashes are those of its style and its script, as browsers take them; a test says what
/// they have to be.
pub(super) const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-IoMgBabv8DsLMz4VB7GbsTPqgbPYpHtHxsqKZm3S6vI='; \
    style-src 'sha256-32crk8A5TPYtrwh8+UP8zJnzaA/bIofZ512CPXuRElk='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The most entries of the journal that are shown.
const MOST_ENTRIES: usize = 20;

pub(super) fn overview(server: &FakeServer, _: &Call<'_>) -> Outcome {
    // Of a server that has failed everybody is told so.
    let mut all = server.overview().map_or_else(|| json!({}), |overview| overview.to_json());
    let (shown, total) = server.last_entries(MOST_ENTRIES, entry);
    if let Some(members) = all.as_object_mut() {
        members.insert("journal".to_owned(), json!({"total": total, "shown": shown}));
        members.insert("listeners".to_owned(), listeners(server));
    }
    Ok(all.into())
}

fn listeners(server: &FakeServer) -> Value {
    let listeners = server.listeners_now().into_iter();
    listeners
        .map(|(listening, open)| json!({"name": listening.name, "uri": listening.uri, "open": open}))
        .collect()
}

/// An entry in a line. Of a header there are but a few fields in it, and no passwords.
fn entry(entry: &Entry) -> Value {
    let (what, text, body) = match &entry.what {
        What::Accepted => ("accepted", String::new(), None),
        What::LoggedOn => ("logged on", String::new(), None),
        What::Received(message) => ("received", about(message), Some(message.data())),
        What::Sent(message) => ("sent", about(message), Some(message.data())),
        What::Closed(reason) => ("closed", reason.to_string(), None),
        What::Fault(firing) => ("fault", firing.to_string(), None),
        What::Noted(noted) => ("noted", noted.text.clone(), None),
    };
    json!({
        "sequence": entry.sequence,
        "time": time(entry.time),
        "connection": entry.connection,
        "client": entry.client.as_deref().map(cut),
        "what": what,
        "text": cut(&text),
        "body": body.filter(|body| !body.is_empty()).map(|body| excerpt(&Excerpt::of(body))),
    })
}

fn about(message: &Message) -> String {
    let mut text = message.command().token().to_owned();
    let fields = [
        ("topic", message.topic()),
        ("sub_id", message.sub_id()),
        ("bookmark", message.bookmark()),
        ("acks", message.get(Field::AckType)),
        ("status", message.get(Field::Status)),
        ("reason", message.reason()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={}", cut(&value.to_string())));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// What stands between the only two tags of that name.
    fn element(name: &str) -> &'static str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        assert_eq!((PAGE.matches(&open).count(), PAGE.matches(&close).count()), (1, 1), "{name}");
        PAGE.split_once(&open).unwrap().1.split_once(&close).unwrap().0
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page_and_no_other() {
        for (directive, name) in [("script-src", "script"), ("style-src", "style")] {
            // As a browser reads it, whatever a checkout has made of the ends of lines.
            let text = element(name).replace("\r\n", "\n");
            let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
            let expected = format!("{directive} 'sha256-{hash}';");
            assert!(POLICY.contains(&expected), "write {expected}");
        }
        assert!(!POLICY.contains("unsafe"));
    }

    #[test]
    fn nothing_in_the_page_is_from_elsewhere_and_nothing_is_written_as_html() {
        assert!(!PAGE.contains("://"), "an address");
        let ways = [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "javascript:",
            "style=",
            "src=",
            "onclick=",
            "onerror=",
            "onload=",
        ];
        for way in ways {
            assert!(!PAGE.contains(way), "{way}");
        }
    }
}
