//! The client against what the fake server's scripted faults do to it.

mod common;

use std::time::Duration;

use amps_client::{CommandKind, Reconnect};
use amps_testkit::{Action, FakeServer, Fault, JournalMode, Matcher, QueueConfig, Trigger, What};
use common::PATIENCE;

fn client(server: &FakeServer, name: &str) -> amps_client::ClientBuilder {
    common::client(name)
        .server(common::uri(server))
        .reconnect(Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0))
}

/// AC-CI-15
#[test]
fn ac_ci_15_a_client_leaves_a_server_that_sends_no_heartbeats_and_comes_back() {
    let beats = Trigger::outbound_matching(Matcher::command(CommandKind::Heartbeat));
    let silent = Fault::when(beats).on_connection(0).always().then(Action::Swallow);
    let server = common::fake_server().journal(JournalMode::All).fault(silent).start().unwrap();
    let _client = client(&server, "a").heartbeat(Duration::from_secs(1)).connect().unwrap();
    let logons = Matcher::command(CommandKind::Logon).client("^a$");
    server.wait_for_commands(&logons, 2, PATIENCE).unwrap();
    let journal = server.journal();
    let fired = journal.iter().position(|entry| matches!(entry.what, What::Fault(_))).unwrap();
    let again = journal.iter().rposition(|entry| logons.matches(entry)).unwrap();
    assert!(fired < again, "the journal shows why it came back");
}

/// AC-CI-06, from the client's side.
#[test]
fn a_client_puts_frames_together_that_come_in_pieces() {
    let server = common::fake_server()
        .queue(QueueConfig::new("work").max_backlog(10))
        .fault(Fault::when(Trigger::any_accept()).always().then(Action::partial_writes([1, 5, 2])))
        .start()
        .unwrap();
    let client = client(&server, "a").connect().unwrap();
    let mut work = client.subscribe("work").start().unwrap();
    for n in 0..20 {
        server.publish("work", n.to_string()).unwrap();
    }
    for n in 0..20 {
        let message = work.next_within(PATIENCE).unwrap().unwrap();
        assert_eq!(message.data(), n.to_string().as_bytes());
        message.ack();
    }
}

#[test]
fn a_client_whose_connections_are_cut_within_frames_gets_everything() {
    let cut = Fault::when(Trigger::outbound(6)).times(3).then(Action::drop_mid_frame(20));
    let queue = QueueConfig::new("work").lease(Duration::from_secs(30)).max_backlog(4);
    let server = common::fake_server().queue(queue).fault(cut).start().unwrap();
    let client = client(&server, "a").connect().unwrap();
    let mut work = client.subscribe("work").start().unwrap();
    for n in 0..40 {
        server.publish("work", n.to_string()).unwrap();
    }
    let mut received = std::collections::BTreeSet::new();
    while received.len() < 40 {
        let message = work.next_within(PATIENCE).unwrap().unwrap();
        received.insert(message.data().to_vec());
        message.ack();
    }
    assert!(server.unused_faults().is_empty());
    assert_eq!(server.faults()[0].fired, 3);
}
