//! The handle of a fake server.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use amps_protocol::CommandKind;
use amps_testkit::{
    Disconnect, Drop, Entitlement, FakeServer, QueueConfig, SlowClientLimits, TransportConfig,
    TransportLimits, What,
};

use support::raw_client::{PATIENCE, RawClient, framed};

/// A client that has logged on.
fn client(server: &FakeServer, name: &str) -> RawClient {
    RawClient::named(server, name)
}

#[test]
fn dropping_a_connection_closes_it_and_says_whether_there_was_one() {
    for how in [Drop::Fin, Drop::Reset] {
        let server = FakeServer::builder().start().unwrap();
        let mut a = client(&server, "a");
        assert!(!server.drop_connection("b", how));
        assert!(server.drop_connection("a", how));
        assert!(a.is_closed());
        let closed = |entry: &amps_testkit::Entry| matches!(entry.what, What::Closed(Disconnect::Dropped));
        let entries = server.wait_for(closed, 1, PATIENCE).unwrap();
        assert_eq!(entries[0].client.as_deref(), Some("a"));
        assert!(server.connections().is_empty());
    }
}

#[test]
fn a_user_whose_rights_change_is_disconnected_and_logs_on_with_the_new_ones() {
    let server = FakeServer::builder()
        .credentials("u", "p")
        .credentials("v", "p")
        .entitle(Entitlement::read("*", "open"))
        .start()
        .unwrap();
    let log_on = |user: &str| {
        let mut client = RawClient::connect(&server);
        let logon = r#"{"c":"logon","cid":"1","client_name":"NAME","user_id":"NAME","pw":"p","a":"processed","mt":"json"}"#;
        client.send(&logon.replace("NAME", user));
        assert!(client.receive().contains("success"));
        client
    };
    let subscribe = |client: &mut RawClient, topic: &str| {
        client.send(&format!(
            r#"{{"c":"subscribe","cid":"2","sub_id":"{topic}","t":"{topic}","a":"processed"}}"#
        ));
        client.receive()
    };
    let (mut u, mut v) = (log_on("u"), log_on("v"));
    assert!(subscribe(&mut u, "closed").contains("not entitled"));
    let wrong = server.reset_entitlements("u", [Entitlement::read("v", "closed")]).unwrap_err();
    assert!(wrong.to_string().contains("it is not of the user \"u\""), "{wrong}");
    let wrong = server.reset_entitlements("u", [Entitlement::read("u", "x").filter("/a &&")]).unwrap_err();
    assert!(wrong.to_string().contains("the entitlement of user \"u\" for \"x\""), "{wrong}");
    assert!(subscribe(&mut u, "open").contains("success"), "what is wrong changes nothing");

    server.reset_entitlements("u", [Entitlement::read("u", "closed")]).unwrap();
    let reset =
        |entry: &amps_testkit::Entry| matches!(entry.what, What::Closed(Disconnect::EntitlementReset));
    assert_eq!(server.wait_for(reset, 1, PATIENCE).unwrap()[0].client.as_deref(), Some("u"));
    assert!(u.is_closed());
    let mut u = log_on("u");
    assert!(subscribe(&mut u, "closed").contains("success"));
    assert!(subscribe(&mut u, "open").contains("success"));
    assert!(subscribe(&mut v, "closed").contains("not entitled"));
    server.reset_entitlements("u", []).unwrap();
    assert!(subscribe(&mut log_on("u"), "closed").contains("not entitled"));
}

/// More than the buffers of two sockets on loopback take.
const MUCH: usize = 32 << 20;

/// AC-CONN-14
#[test]
fn a_client_that_does_not_read_is_disconnected_and_nobody_else() {
    let limits = SlowClientLimits { disk: Some(1 << 20), capacity_percent: 100, ..Default::default() };
    let server = FakeServer::builder().no_txlog().slow_clients(limits).start().unwrap();
    let (mut slow, mut fast) = (client(&server, "slow"), client(&server, "fast"));
    slow.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
    assert!(slow.receive().contains("success"));
    fast.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
    assert!(fast.receive().contains("success"));
    let body = "x".repeat(64 << 10);
    for _ in 0..MUCH / body.len() {
        fast.send(&format!(r#"{{"c":"publish","t":"T"}}{body}"#));
        assert!(fast.receive().ends_with(&body));
    }
    let closed = |entry: &amps_testkit::Entry| matches!(entry.what, What::Closed(_));
    let entries = server.wait_for(closed, 1, PATIENCE).unwrap();
    assert_eq!(entries[0].client.as_deref(), Some("slow"));
    assert!(matches!(entries[0].what, What::Closed(Disconnect::SlowClient)), "{:?}", entries[0]);
    assert_eq!(server.connections().len(), 1);
}

/// CONN-72
#[test]
fn a_client_for_which_too_many_frames_wait_is_disconnected_and_nobody_else() {
    let limits = SlowClientLimits { frames: Some(20), ..Default::default() };
    let server = FakeServer::builder().no_txlog().slow_clients(limits).start().unwrap();
    let (mut slow, mut fast) = (client(&server, "slow"), client(&server, "fast"));
    for client in [&mut slow, &mut fast] {
        client.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
        assert!(client.receive().contains("success"));
    }
    // Many small frames are taken at once, and are no burden to anybody.
    for n in 0..1000 {
        fast.send(&format!(r#"{{"c":"publish","t":"T"}}{n}"#));
        fast.receive();
    }
    assert_eq!(server.connections().len(), 2);
    let body = "x".repeat(64 << 10);
    for _ in 0..MUCH / body.len() {
        fast.send(&format!(r#"{{"c":"publish","t":"T"}}{body}"#));
        assert!(fast.receive().ends_with(&body));
    }
    let closed = |entry: &amps_testkit::Entry| matches!(entry.what, What::Closed(Disconnect::SlowClient));
    let entries = server.wait_for(closed, 1, PATIENCE).unwrap();
    assert_eq!(entries[0].client.as_deref(), Some("slow"));
    assert_eq!(server.connections().len(), 1);
}

#[test]
fn a_client_is_disconnected_when_a_message_waits_too_long_for_it() {
    let limits = SlowClientLimits { age: Some(Duration::from_secs(30)), ..Default::default() };
    let server = FakeServer::builder().no_txlog().slow_clients(limits).virtual_clock().start().unwrap();
    let (mut slow, mut fast) = (client(&server, "slow"), client(&server, "fast"));
    slow.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
    assert!(slow.receive().contains("success"));
    let body = "x".repeat(1 << 20);
    for _ in 0..MUCH / body.len() {
        server.publish("T", &*body).unwrap();
    }
    server.advance(Duration::from_secs(29));
    assert_eq!(server.connections().len(), 2);
    server.advance(Duration::from_secs(1));
    let closed = |entry: &amps_testkit::Entry| matches!(entry.what, What::Closed(Disconnect::SlowClient));
    assert_eq!(server.wait_for(closed, 1, PATIENCE).unwrap()[0].client.as_deref(), Some("slow"));
    fast.send(r#"{"c":"sow","cid":"2","t":"T","a":"processed"}"#);
    assert!(fast.receive().contains("failure"));
}

#[test]
fn a_transport_may_be_stricter_with_slow_clients_than_the_instance() {
    let strict = TransportLimits { age: Some(Duration::from_secs(30)), ..Default::default() };
    let server = FakeServer::builder()
        .no_txlog()
        .listen("127.0.0.1:0")
        .transport("127.0.0.1:0", TransportConfig::new("strict").limits(strict))
        .virtual_clock()
        .start()
        .unwrap();
    let addresses: Vec<_> = server.listeners().into_iter().map(|listener| listener.addr.unwrap()).collect();
    let mut slow: Vec<_> = addresses.iter().map(|addr| RawClient::connect_to(*addr)).collect();
    slow.iter_mut().for_each(|client| assert!(client.log_on("slow").contains("success")));
    for client in &mut slow {
        client.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"T","a":"processed"}"#);
        assert!(client.receive().contains("success"));
    }
    let body = "x".repeat(1 << 20);
    for _ in 0..MUCH / body.len() {
        server.publish("T", &*body).unwrap();
    }
    server.advance(Duration::from_secs(31));
    let left = server.connections();
    assert_eq!((left.len(), left[0].index), (1, 0), "{left:?}");
}

#[test]
fn a_restart_forgets_everything_and_keeps_the_port() {
    let server = FakeServer::builder().queue(QueueConfig::new("work")).start().unwrap();
    let mut a = client(&server, "a");
    server.publish("work", "1").unwrap();
    server.restart_empty();
    assert!(a.is_closed());
    assert!(server.queue("work").unwrap().available.is_empty());
    assert_eq!(server.counters().published, 0);
    client(&server, "a");
}

#[test]
fn a_server_that_stops_accepting_can_accept_again() {
    let server = FakeServer::builder().start().unwrap();
    let mut a = client(&server, "a");
    server.stop_accepting();
    assert!(TcpStream::connect(server.addr()).is_err());
    a.send(r#"{"c":"flush","cid":"2","a":"processed"}"#);
    assert!(a.receive().contains("success"));
    server.resume_accepting().unwrap();
    client(&server, "b");
}

#[test]
fn a_stalled_client_is_served_later() {
    let server = FakeServer::builder().start().unwrap();
    let mut a = client(&server, "a");
    assert!(server.stall_reads("a", true));
    a.send(r#"{"c":"flush","cid":"2","a":"processed"}"#);
    let flushes = |entry: &amps_testkit::Entry| entry.is_command(CommandKind::Flush);
    let error = server.wait_for(flushes, 1, Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("0 of 1 awaited"), "{error}");
    assert!(error.to_string().contains("logged on"), "{error}");
    assert!(server.stall_reads("a", false));
    assert!(a.receive().contains("success"));
}

#[test]
fn a_snapshot_names_the_holder_of_a_lease() {
    let server = FakeServer::builder()
        .queue(QueueConfig::new("work").lease(Duration::from_secs(30)))
        .virtual_clock()
        .start()
        .unwrap();
    let mut a = client(&server, "a");
    a.send(r#"{"c":"subscribe","cid":"2","sub_id":"s","t":"work","a":"processed"}"#);
    assert!(a.receive().contains("max_backlog=1"));
    server.publish("work", "{}").unwrap();
    assert!(a.receive().contains("\"lp\":\"20260101T000030.000000Z\""));

    let queue = server.queue("work").unwrap();
    assert_eq!(queue.leased[0].holder.as_deref(), Some("a"));
    assert_eq!(queue.leased[0].lease_end, Some(server.now() + Duration::from_secs(30)));
    assert_eq!(queue.leased[0].deliveries, 1);
    server.advance(Duration::from_secs(30));
    assert_eq!(server.counters().expired_leases, 1);
    assert_eq!(server.connections()[0].subscriptions[0].leased, 1);
}

#[test]
fn dropping_the_server_closes_its_connections_at_once() {
    let server = FakeServer::builder().start().unwrap();
    let mut clients = [client(&server, "a"), client(&server, "b")];
    // The clients do nothing meanwhile: if it waited for them, this would not end.
    drop(server);
    assert!(clients.iter_mut().all(RawClient::is_closed));
}

#[test]
fn twenty_thousand_messages_go_through_a_queue() {
    let server = FakeServer::builder().queue(QueueConfig::new("work").max_backlog(100)).start().unwrap();
    let mut publisher = client(&server, "publisher");
    let mut batch = Vec::new();
    for sequence in 1..=20_000 {
        let frame = format!(r#"{{"c":"p","s":{sequence},"t":"work"}}{{"n":{sequence}}}"#);
        batch.extend(framed(&frame));
    }
    publisher.0.write_all(&batch).unwrap();
    publisher.send(r#"{"c":"flush","cid":"2","a":"processed"}"#);
    assert!(publisher.receive().contains("success"));
    let mut worker = client(&server, "worker");
    worker.send(r#"{"c":"subscribe","sub_id":"s","t":"work","o":"max_backlog=100"}"#);
    let mut acknowledged = 0;
    while acknowledged < 20_000 {
        let mut bookmarks = Vec::new();
        for _ in 0..100 {
            let delivery = worker.receive();
            bookmarks.push(delivery.split("\"bm\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned());
        }
        worker.send(&format!(r#"{{"c":"sow_delete","t":"work","bm":"{}"}}"#, bookmarks.join(",")));
        acknowledged += bookmarks.len();
    }
    worker.send(r#"{"c":"flush","cid":"3","a":"processed"}"#);
    assert!(worker.receive().contains("success"));
    assert_eq!(server.counters().acknowledged, 20_000);
}
