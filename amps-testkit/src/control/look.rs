//! What the control port shows.

use serde_json::{Value, json};

use super::http::Refused;
use super::routes::{Call, Outcome};
use crate::fault::FaultStatus;
use crate::journal::{Entry, LintFinding};
use crate::server::FakeServer;
use crate::similar;
use crate::state::json::{
    connection, counters as counters_json, link, list, log_record, queue as queue_json, record, sequence,
    subscription, timer, topic,
};

pub(super) fn state(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(server.state().to_json().into())
}

pub(super) fn connections(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.connections(), connection).into())
}

pub(super) fn subscriptions(server: &FakeServer, _: &Call<'_>) -> Outcome {
    let mut all = Vec::new();
    for connection in server.connections() {
        for each in &connection.subscriptions {
            let mut value = subscription(each);
            if let Some(members) = value.as_object_mut() {
                members.insert("client".to_owned(), json!(connection.client_name));
                members.insert("connection".to_owned(), json!(connection.index));
            }
            all.push(value);
        }
    }
    Ok(Value::Array(all).into())
}

pub(super) fn topics(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.topics(), topic).into())
}

pub(super) fn sow(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let (name, topics) = (call.name(0), server.topics());
    let records = server.sow(name);
    // A topic of a container has a name that nobody configured.
    if records.is_empty() && !topics.iter().any(|topic| topic.name == name) {
        return Err(missing(
            "topic with a state of the world",
            name,
            topics.iter().map(|topic| &*topic.name),
        ));
    }
    Ok(list(&records, record).into())
}

pub(super) fn log(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.log(), log_record).into())
}

pub(super) fn queues(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.state().queues, queue_json).into())
}

pub(super) fn queue(server: &FakeServer, call: &Call<'_>) -> Outcome {
    match server.queue(call.name(0)) {
        Some(queue) => Ok(queue_json(&queue).into()),
        None => Err(no_queue(server, call.name(0))),
    }
}

pub(super) fn sequences(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.sequences(), sequence).into())
}

pub(super) fn links(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.links(), link).into())
}

pub(super) fn timers(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(list(&server.timers(), timer).into())
}

pub(super) fn counters(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(counters_json(&server.counters()).into())
}

pub(super) fn next_timer(server: &FakeServer, _: &Call<'_>) -> Outcome {
    Ok(server.next_timer().as_ref().map_or(Value::Null, timer).into())
}

pub(super) fn journal(server: &FakeServer, call: &Call<'_>) -> Outcome {
    let since = match call.query.iter().find(|(key, _)| key == "since") {
        None => 0,
        Some((_, text)) => text
            .parse()
            .map_err(|_| Refused::new(400, format!("since is \"{text}\"; write the sequence of an entry")))?,
    };
    let mut entries = server.journal();
    let next = entries.last().map_or(0, |entry| entry.sequence + 1);
    entries.retain(|entry| entry.sequence >= since);
    let dropped = server.journal_dropped();
    Ok(json!({"next": next, "dropped": dropped, "entries": list(&entries, Entry::to_json)}).into())
}

pub(super) fn lint(server: &FakeServer, _: &Call<'_>) -> Outcome {
    let finding = |finding: &LintFinding| {
        json!({
            "kind": finding.kind.as_str(),
            "violation": finding.kind.is_violation(),
            "client": finding.client.as_deref(),
            "text": finding.text,
        })
    };
    Ok(list(&server.lint(), finding).into())
}

pub(super) fn faults(server: &FakeServer, _: &Call<'_>) -> Outcome {
    let status = |status: &FaultStatus| {
        json!({
            "id": status.id.0,
            "fault": status.fault.to_json(),
            "about": status.fault.to_string(),
            "fired": status.fired,
            "unused": status.is_unused(),
        })
    };
    Ok(list(&server.faults(), status).into())
}

pub(super) fn no_queue(server: &FakeServer, name: &str) -> Refused {
    let queues = server.state().queues;
    missing("queue", name, queues.iter().map(|queue| &*queue.name))
}

/// There is no such thing; which one may be meant.
pub(super) fn missing<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Refused {
    let hint = match similar(name, known.clone()) {
        Some(closest) => format!("the closest is \"{closest}\""),
        None => {
            let names: Vec<&str> = known.collect();
            if names.is_empty() {
                "there is none at all".to_owned()
            } else {
                format!("there is {}", names.join(", "))
            }
        }
    };
    Refused::new(404, format!("there is no {what} \"{name}\"; {hint}"))
}
