//! A server with a fault, and what it says of it.

use amps_testkit::{FakeServer, Fault, JournalMode, What};

use super::raw_client::RawClient;

pub(crate) fn server(fault: Fault) -> FakeServer {
    FakeServer::builder().virtual_clock().journal(JournalMode::All).fault(fault).start().unwrap()
}

/// What the journal says of the faults that fired.
pub(crate) fn firings(server: &FakeServer) -> Vec<String> {
    let told = |entry: &amps_testkit::Entry| match &entry.what {
        What::Fault(firing) => Some(firing.to_string()),
        _ => None,
    };
    server.journal().iter().filter_map(told).collect()
}

/// A client that has logged on and subscribed to a topic.
pub(crate) fn subscribed(server: &FakeServer, name: &str, topic: &str) -> RawClient {
    let mut client = RawClient::named(server, name);
    let subscribe = r#"{"c":"subscribe","cid":"sub","sub_id":"s","t":"TOPIC","a":"processed"}"#;
    let ack = client.ask(&subscribe.replace("TOPIC", topic));
    assert!(ack.contains("\"success\""), "{ack}");
    client
}
