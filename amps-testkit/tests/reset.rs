//! A server that goes back to the start between two tests (AC-CI-10).

mod support;

use std::time::Duration;

use amps_protocol::CommandKind;
use amps_testkit::{
    Action, Entitlement, FakeServer, Fault, Matcher, QueueConfig, ServerState, SowConfig, Trigger,
};
use support::data_dir::DataDir;
use support::raw_client::RawClient;

const SECOND: Duration = Duration::from_secs(1);

fn configured() -> FakeServer {
    FakeServer::builder()
        .virtual_clock()
        .sow(SowConfig::new("orders").key("/id"))
        .queue(QueueConfig::new("work").lease(30 * SECOND))
        .fault(Fault::when(Trigger::inbound(3)).then(Action::Swallow))
        .start()
        .unwrap()
}

/// Does something with everything that a reset has to take back.
fn use_it(server: &FakeServer) -> RawClient {
    server.expect(Matcher::command(CommandKind::SowDelete)).times(9);
    server.expect_nothing_else();
    server.add_fault(Fault::when(Trigger::Logon).always().then(Action::Swallow)).unwrap();
    server.remove_fault(server.faults()[1].id);
    let mut client = RawClient::named(server, "app");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
    // The third frame is swallowed.
    client.send(r#"{"c":"flush","cid":"2","a":"processed"}"#);
    client.quiet();
    client.send(r#"{"c":"publish","s":7,"t":"orders"}{"id":1}"#);
    server.publish("work", "1").unwrap();
    client.receive();
    server.advance(10 * SECOND);
    server.reset_entitlements("somebody", [Entitlement::read("somebody", "x")]).unwrap();
    client
}

/// AC-CI-10
#[test]
fn ac_ci_10_nothing_is_left_after_a_reset_and_the_ports_stay() {
    let server = configured();
    let (fresh, listeners) = (server.state(), server.listeners());
    let faults = server.faults();
    for _round in 0..3 {
        let mut client = use_it(&server);
        assert_ne!(server.state(), fresh);
        server.reset().unwrap();
        client.rest();
        assert_eq!(server.state(), fresh);
        assert_eq!(server.listeners(), listeners);
        assert_eq!(server.faults(), faults);
        assert!(server.journal().is_empty());
        server.verify().unwrap();
    }
}

/// AC-CI-10
#[test]
fn ac_ci_10_a_server_that_was_reset_says_what_a_new_one_says() {
    let said = |server: &FakeServer| {
        // The third inbound frame is swallowed: there is no answer to wait for.
        let mut client = RawClient::named(server, "app");
        let first = client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#);
        client.send(r#"{"c":"flush","cid":"2","a":"processed"}"#);
        server.settle(20 * SECOND).unwrap();
        server.publish("work", "1").unwrap();
        vec![first, client.receive()]
    };
    let new = said(&configured());
    let server = configured();
    drop(use_it(&server));
    server.reset().unwrap();
    assert_eq!(said(&server), new);
}

#[test]
fn who_connected_before_a_reset_does_not_outlive_it() {
    let server = FakeServer::builder().start().unwrap();
    for _round in 0..20 {
        let mut early = RawClient::connect(&server);
        server.reset().unwrap();
        assert!(server.connections().is_empty());
        early.rest();
    }
    RawClient::named(&server, "late").quiet();
}

#[test]
fn a_reset_opens_the_transports_again() {
    let server = FakeServer::builder().start().unwrap();
    let name = server.listeners()[0].name.clone();
    assert!(server.disable_transport(&name));
    server.reset().unwrap();
    RawClient::named(&server, "app").quiet();
}

#[test]
fn the_clock_goes_back_where_it_started_and_time_goes_on() {
    let server = FakeServer::builder()
        .virtual_clock()
        .queue(QueueConfig::new("work").expiration(SECOND))
        .start()
        .unwrap();
    let start = server.now();
    server.publish("work", "1").unwrap();
    server.advance(Duration::from_secs(3600));
    server.reset().unwrap();
    assert_eq!((server.now(), server.next_timer()), (start, None));
    server.publish("work", "1").unwrap();
    server.advance(SECOND);
    assert!(server.queue("work").unwrap().available.is_empty());
}

#[test]
fn a_data_directory_is_empty_after_a_reset() {
    let dir = DataDir::new();
    let start = || FakeServer::builder().virtual_clock().data_dir(dir.path()).start().unwrap();
    let server = start();
    server.publish("T", "1").unwrap();
    server.reset().unwrap();
    server.publish("T", "2").unwrap();
    assert_eq!(server.data_error(), None);
    drop(server);
    let bodies: Vec<Vec<u8>> = start().logged_messages().into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [b"2"]);
}

#[test]
fn who_waits_for_the_journal_sees_what_comes_after_a_reset() {
    let server = FakeServer::builder().start().unwrap();
    let mut client = RawClient::named(&server, "before");
    client.quiet();
    fn is_after(entry: &amps_testkit::Entry) -> bool {
        entry.client.as_deref() == Some("after")
    }
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.wait_for(is_after, 1, support::raw_client::PATIENCE));
        server.reset().unwrap();
        let _after = RawClient::named(&server, "after");
        assert_eq!(waiting.join().unwrap().unwrap().len(), 1);
    });
    assert_ne!(server.state(), ServerState::default());
}
