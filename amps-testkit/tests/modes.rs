//! Orders that nobody asked for, and servers that make the most of their freedom (server.md 8.6).

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use amps_testkit::{
    FakeServer, FakeServerBuilder, JournalMode, QueueConfig, Semantics, SowConfig, ViewConfig, ViewSource,
};
use support::raw_client::RawClient;

const SECOND: Duration = Duration::from_secs(1);

fn with_records(builder: FakeServerBuilder) -> FakeServer {
    let server = builder.virtual_clock().sow(SowConfig::new("orders").key("/id")).start().unwrap();
    for id in 0..20 {
        server.publish("orders", format!("{{\"id\":{id}}}")).unwrap();
    }
    server
}

/// The ids of all records, in the order in which a query returns them.
fn query(client: &mut RawClient, more: &str) -> Vec<u64> {
    client.send(&format!(r#"{{"c":"sow","query_id":"q","t":"orders"{more}}}"#));
    let mut ids = Vec::new();
    loop {
        let frame = client.receive();
        if frame.contains("group_end") {
            return ids;
        }
        let id = |part: &str| part.split('}').next().and_then(|id| id.parse::<u64>().ok());
        ids.extend(frame.split(r#"{"id":"#).skip(1).filter_map(id));
    }
}

/// AC-SOW-24, QRY-06
#[test]
fn ac_sow_24_shuffled_results_differ_in_order_and_in_nothing_else() {
    let server = with_records(FakeServer::builder().set("sow.unordered", "shuffle(7)").unwrap());
    let mut client = RawClient::named(&server, "app");
    let (first, second) = (query(&mut client, ""), query(&mut client, ""));
    assert_ne!(first, second);
    let sets = [&first, &second].map(|ids| ids.iter().copied().collect::<BTreeSet<u64>>());
    assert_eq!(sets, [(0..20).collect(), (0..20).collect()]);
    assert_eq!(query(&mut client, r#","opts":"x","o":"top_n=5""#).len(), 5);
    // What is ordered is not shuffled.
    let ordered: Vec<u64> = (0..20).collect();
    assert_eq!(query(&mut client, r#","orderby":"/id ASC""#), ordered);

    let again = with_records(FakeServer::builder().set("sow.unordered", "shuffle(7)").unwrap());
    let mut client = RawClient::named(&again, "app");
    assert_eq!([query(&mut client, ""), query(&mut client, "")], [first, second]);
    let other = with_records(FakeServer::builder().set("sow.unordered", "shuffle(8)").unwrap());
    assert_ne!(query(&mut RawClient::named(&other, "app"), ""), again_first(&again));
}

fn again_first(server: &FakeServer) -> Vec<u64> {
    server.reset().unwrap();
    for id in 0..20 {
        server.publish("orders", format!("{{\"id\":{id}}}")).unwrap();
    }
    query(&mut RawClient::named(server, "app"), "")
}

#[test]
fn without_a_switch_results_are_in_the_order_of_insertion() {
    let server = with_records(FakeServer::builder());
    let mut client = RawClient::named(&server, "app");
    assert_eq!(query(&mut client, ""), (0..20).collect::<Vec<u64>>());
}

fn chaotic(seed: u64, semantics: Semantics) -> FakeServer {
    let queue = QueueConfig::new("work").semantics(semantics).lease(30 * SECOND).max_backlog(100);
    with_records(FakeServer::builder().queue(queue).journal(JournalMode::All).chaos(seed))
}

/// Everything that a server with this seed says to one client, byte for byte.
fn session(seed: u64) -> Vec<Vec<u8>> {
    let server = chaotic(seed, Semantics::AtLeastOnce);
    let mut client = RawClient::named(&server, "app");
    client
        .ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","o":"max_backlog=100","a":"processed"}"#);
    query(&mut client, "");
    for n in 1..=40 {
        server.publish("work", n.to_string()).unwrap();
    }
    client.send(r#"{"c":"publish","s":1,"t":"T","a":"persisted"}x"#);
    server.settle(20 * SECOND).unwrap();
    server.advance(6 * SECOND);
    let journal = server.journal();
    journal.iter().filter_map(|entry| Some(entry.sent()?.frame().to_vec())).collect()
}

#[test]
fn chaos_is_the_same_with_the_same_seed_and_another_with_another() {
    let first = session(7);
    assert_eq!(session(7), first);
    assert_ne!(session(8), first);
}

fn deliveries(semantics: Semantics) -> Vec<u32> {
    let server = chaotic(7, semantics);
    let mut client = RawClient::named(&server, "app");
    client
        .ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","o":"max_backlog=100","a":"processed"}"#);
    let mut counts = vec![0; 40];
    for n in 0..40 {
        server.publish("work", format!("n{n}")).unwrap();
    }
    client.send(r#"{"c":"flush","cid":"last","a":"processed"}"#);
    loop {
        let frame = client.receive();
        if frame.contains("\"last\"") {
            return counts;
        }
        let n: usize = frame.rsplit('n').next().unwrap().parse().unwrap();
        counts[n] += 1;
    }
}

#[test]
fn chaos_delivers_twice_what_may_be_delivered_twice() {
    let counts = deliveries(Semantics::AtLeastOnce);
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
    assert!(counts.contains(&2) && counts.contains(&1), "{counts:?}");
    assert_eq!(deliveries(Semantics::AtMostOnce), [1; 40]);
}

#[test]
fn a_message_that_was_delivered_twice_is_acknowledged_once() {
    let server = chaotic(7, Semantics::AtLeastOnce);
    let mut client = RawClient::named(&server, "app");
    client
        .ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","o":"max_backlog=100","a":"processed"}"#);
    for n in 0..40 {
        server.publish("work", n.to_string()).unwrap();
    }
    let leased = server.queue("work").unwrap().leased;
    assert!(leased.iter().any(|message| message.deliveries == 2));
    let bookmarks: Vec<String> = leased.into_iter().map(|message| message.bookmark).collect();
    client.send(&format!(r#"{{"c":"sow_delete","t":"work","bm":"{}"}}"#, bookmarks.join(",")));
    server.settle(20 * SECOND).unwrap();
    assert!(server.queue("work").unwrap().leased.is_empty());
    assert_eq!(server.counters().acknowledged, 40);
}

#[test]
fn a_client_that_acknowledges_every_delivery_breaks_no_rule() {
    let queue = QueueConfig::new("work").lease(30 * SECOND).max_backlog(100);
    let server = FakeServer::builder().virtual_clock().queue(queue).chaos(7).strict().start().unwrap();
    let mut client = RawClient::named(&server, "app");
    client
        .ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","o":"max_backlog=100","a":"processed"}"#);
    for n in 0..40 {
        server.publish("work", n.to_string()).unwrap();
    }
    let deliveries: u32 = server.queue("work").unwrap().leased.iter().map(|message| message.deliveries).sum();
    assert!(deliveries > 40);
    for _ in 0..deliveries {
        let delivery = client.receive();
        let bookmark = delivery.split(r#""bm":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        client.send(&format!(r#"{{"c":"sow_delete","t":"work","bm":"{bookmark}"}}"#));
    }
    server.verify().unwrap();
    assert_eq!(server.counters().acknowledged, 40);
    // What was never delivered twice is still noticed.
    client.send(r#"{"c":"sow_delete","t":"work","bm":"1|1|"}"#);
    assert!(server.verify().unwrap_err().to_string().contains("ack_of_unknown_bookmark"));
}

#[test]
fn chaos_gathers_persisted_acks_for_longer() {
    let server = chaotic(7, Semantics::AtLeastOnce);
    let mut client = RawClient::named(&server, "app");
    for sequence in 1..=3 {
        client.send(&format!(r#"{{"c":"publish","s":{sequence},"t":"T","a":"persisted"}}x"#));
    }
    server.settle(20 * SECOND).unwrap();
    server.advance(4 * SECOND);
    client.quiet();
    server.advance(SECOND);
    let ack = client.receive();
    assert!(ack.contains("persisted") && ack.contains("\"s\":3"), "{ack}");
}

#[test]
fn views_of_a_chaotic_server_are_late_and_complete() {
    let view = || {
        ViewConfig::new("totals", ViewSource::Topic("orders".into()))
            .group_by("/kind")
            .field("/kind AS /kind")
            .field("COUNT(/id) AS /n")
    };
    let builder = FakeServer::builder().sow(SowConfig::new("orders").key("/id")).view(view());
    let server = builder.chaos(3).virtual_clock().start().unwrap();
    let mut client = RawClient::named(&server, "app");
    client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"totals","a":"processed"}"#);
    for id in 0..3 {
        server.publish("orders", format!(r#"{{"id":{id},"kind":"a"}}"#)).unwrap();
    }
    // Nothing has come of it yet.
    assert!(client.ask(r#"{"c":"flush","cid":"f","a":"processed"}"#).contains(r#""c":"ack""#));
    server.advance(Duration::from_millis(20));
    let bodies: Vec<String> = (0..3).map(|_| client.receive()).collect();
    for (n, body) in bodies.iter().enumerate() {
        assert!(body.ends_with(&format!(r#"{{"kind":"a","n":{}}}"#, n + 1)), "{bodies:?}");
    }
}
