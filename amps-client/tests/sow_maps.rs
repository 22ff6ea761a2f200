//! Topics as maps that keep themselves up to date.
#![cfg(feature = "json")]

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use amps_client::{
    Change, Client, ErrorKind, MapState, Reconnect, SowDelete, SowMap, SowMapBuilder, Subscribe, TypedError,
};
use amps_testkit::{FakeServer, SowConfig};
use common::{PATIENCE, until};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Price {
    symbol: String,
    bid: i64,
    #[serde(default)]
    venue: Option<String>,
}

fn price(symbol: &str, bid: i64) -> Price {
    Price { symbol: symbol.into(), bid, venue: None }
}

fn server() -> FakeServer {
    common::fake_server().sow(SowConfig::new("prices").key("/symbol")).start().unwrap()
}

fn client(server: &FakeServer) -> Client {
    common::client("c").server(common::uri(server)).connect().unwrap()
}

/// What a listener was told: `+A=1`, `~A=1->2`, `-A=2`.
fn told(map: SowMapBuilder<String, Price>) -> (SowMapBuilder<String, Price>, Receiver<String>) {
    let (sender, receiver) = channel();
    let map = map.on_change(move |change| {
        let text = match change {
            Change::Inserted { key, value } => format!("+{key}={}", value.bid),
            Change::Updated { key, old, value } => format!("~{key}={}->{}", old.bid, value.bid),
            Change::Removed { key, old } => format!("-{key}={}", old.bid),
            _ => unreachable!(),
        };
        _ = sender.send(text);
    });
    (map, receiver)
}

fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(PATIENCE).unwrap()
}

fn rows(map: &SowMap<String, Price>) -> BTreeMap<String, i64> {
    map.iter().map(|(key, price)| (key, price.bid)).collect()
}

#[test]
fn a_map_is_the_topic_and_follows_it() {
    let server = server();
    let client = client(&server);
    client.publish_json("prices", &price("A", 1)).unwrap();
    client.publish_json("prices", &price("B", 2)).unwrap();
    client.flush(PATIENCE).unwrap();
    let map = client.sow_map("prices").key_field("/symbol").filter("/bid < 10");
    let (map, told) = told(map);
    let map = map.start().unwrap();
    map.wait_ready(PATIENCE).unwrap();
    assert_eq!(map.state(), MapState::Current);
    let mut first = [next(&told), next(&told)];
    first.sort();
    assert_eq!(first, ["+A=1", "+B=2"]);
    assert_eq!((map.len(), map.is_empty(), map.contains_key("A")), (2, false, true));
    assert_eq!(*map.get("B").unwrap(), price("B", 2));

    let before = map.snapshot();
    client.publish_json("prices", &price("A", 3)).unwrap();
    assert_eq!(next(&told), "~A=1->3");
    // Out of the filter, and back.
    client.publish_json("prices", &price("A", 30)).unwrap();
    assert_eq!(next(&told), "-A=3");
    client.publish_json("prices", &price("A", 4)).unwrap();
    assert_eq!(next(&told), "+A=4");
    client.sow_delete(&SowDelete::by_filter("prices", "/symbol = 'B'")).unwrap();
    assert_eq!(next(&told), "-B=2");
    assert_eq!(rows(&map), [("A".to_owned(), 4)].into());
    assert_eq!(before.len(), 2, "a snapshot stays as it was");
    assert_eq!(before["A"].bid, 1);

    let other = map.clone();
    drop(map);
    client.flush(PATIENCE).unwrap();
    assert_eq!(server.subscriptions().len(), 1, "a clone keeps it");
    drop(other);
    until("that the subscription has ended", || server.subscriptions().is_empty());
}

#[test]
fn deltas_are_merged() {
    let server = server();
    let client = client(&server);
    let full = Price { venue: Some("X".into()), ..price("A", 1) };
    client.publish_json("prices", &full).unwrap();
    client.flush(PATIENCE).unwrap();
    let (map, told) = told(client.sow_map("prices").key_field("/symbol").delta());
    let map = map.start().unwrap();
    assert_eq!(next(&told), "+A=1");
    client.delta_publish("prices", r#"{"symbol":"A","bid":2}"#).unwrap();
    assert_eq!(next(&told), "~A=1->2");
    assert_eq!(*map.get("A").unwrap(), Price { bid: 2, ..full });
    client.publish_json("prices", &price("B", 5)).unwrap();
    assert_eq!(next(&told), "+B=5");
}

/// The keys of the server are numbers, or a text; those of the application whatever it makes of a value.
#[test]
fn keys_come_from_the_record_from_a_field_or_from_a_function() {
    let server = server();
    let client = client(&server);
    client.publish_json("prices", &price("A", 1)).unwrap();
    client.flush(PATIENCE).unwrap();
    let by_number = client.sow_map::<u64, Price>("prices").start().unwrap();
    let by_text = client.sow_map::<String, Price>("prices").start().unwrap();
    let computed = client.sow_map::<i64, Price>("prices").key_with(|price| -price.bid).start().unwrap();
    by_number.wait_ready(PATIENCE).unwrap();
    by_text.wait_ready(PATIENCE).unwrap();
    computed.wait_ready(PATIENCE).unwrap();
    let record =
        client.sow("prices").start().unwrap().find_map(|m| m.unwrap().sow_key().map(ToString::to_string));
    let record = record.unwrap();
    assert_eq!(*by_text.get(&record).unwrap(), price("A", 1));
    assert_eq!(*by_number.get(&record.parse().unwrap()).unwrap(), price("A", 1));
    assert_eq!(*computed.get(&-1).unwrap(), price("A", 1));
}

#[test]
fn what_vanished_while_there_was_no_connection_is_removed() {
    let server = server();
    let builder = common::client("c").server(common::uri(&server));
    let wait = Reconnect::new().initial(Duration::from_millis(1)).max(Duration::from_millis(5));
    let client = builder.reconnect(wait).connect().unwrap();
    for (symbol, bid) in [("A", 1), ("B", 2), ("C", 3)] {
        client.publish_json("prices", &price(symbol, bid)).unwrap();
    }
    client.flush(PATIENCE).unwrap();
    let other = common::client("other").server(common::uri(&server)).connect().unwrap();
    for delta in [false, true] {
        server.publish("prices", r#"{"symbol":"A","bid":1}"#).unwrap();
        let map = client.sow_map("prices").key_field("/symbol");
        let (map, told) = told(if delta { map.delta() } else { map });
        let map = map.start().unwrap();
        map.wait_ready(PATIENCE).unwrap();
        let first: Vec<_> = (0..map.len()).map(|_| next(&told)).collect();
        assert_eq!(first.len(), 3);

        server.stop_accepting();
        server.drop_connection("c", amps_testkit::Drop::Fin);
        until("the loss of the connection", || !client.is_connected());
        assert_eq!(map.len(), 3, "the rows stay");
        other.publish_json("prices", &price("B", 20)).unwrap();
        other.sow_delete(&SowDelete::by_filter("prices", "/symbol = 'A'")).unwrap();
        server.resume_accepting().unwrap();

        let mut changes = vec![next(&told), next(&told), next(&told)];
        changes.sort();
        assert_eq!(changes, ["-A=1", "~B=2->20", "~C=3->3"]);
        map.wait_ready(PATIENCE).unwrap();
        assert_eq!(rows(&map), [("B".to_owned(), 20), ("C".to_owned(), 3)].into());
        server.publish("prices", r#"{"symbol":"B","bid":2}"#).unwrap();
        assert_eq!(next(&told), "~B=20->2", "it goes on");
        map.close();
        until("its end", || map.state() == MapState::Ended);
        assert!(map.error().is_none());
        assert_eq!(map.wait_ready(PATIENCE).unwrap_err().kind(), ErrorKind::Disconnected);
        assert_eq!(map.len(), 2);
    }
}

#[test]
fn a_map_that_nothing_keeps_any_more_says_why() {
    let server = server();
    let client = client(&server);
    let map = client.sow_map::<String, Price>("prices").key_field("/symbol").start().unwrap();
    map.wait_ready(PATIENCE).unwrap();
    server.drop_connection("c", amps_testkit::Drop::Fin);
    until("its end", || map.state() == MapState::Ended);
    assert_eq!(map.error().unwrap().kind(), ErrorKind::Disconnected);
    assert_eq!(map.wait_ready(PATIENCE).unwrap_err().kind(), ErrorKind::Disconnected);
    let error = client.sow_map::<String, Price>("prices").start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
}

#[test]
fn a_refused_query_is_an_error_at_once() {
    let server = server();
    let error = client(&server).sow_map::<String, Price>("prices").filter("/bid <").start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadFilter);
}

#[test]
fn a_record_that_cannot_be_read_is_told_with_its_raw_message_and_is_not_seen() {
    let server = server();
    let client = client(&server);
    let (sender, errors) = channel();
    let map = client.sow_map("prices").key_field("/symbol").on_error(move |error| {
        let TypedError::Unreadable(unreadable) = error else { panic!("{error}") };
        _ = sender.send(unreadable.message().data().to_vec());
    });
    let (map, told) = told(map);
    let map = map.start().unwrap();
    client.publish_json("prices", &price("A", 1)).unwrap();
    assert_eq!(next(&told), "+A=1");
    client.publish("prices", r#"{"symbol":"A","bid":"much"}"#).unwrap();
    assert_eq!(errors.recv_timeout(PATIENCE).unwrap(), br#"{"symbol":"A","bid":"much"}"#);
    assert_eq!(next(&told), "-A=1");
    assert_eq!((map.len(), map.unreadable()), (0, 1));
    client.publish_json("prices", &price("A", 2)).unwrap();
    assert_eq!(next(&told), "+A=2");
    assert_eq!((map.len(), map.unreadable()), (1, 0));
}

/// Without a listener of its own the client's hears of it, without what the record says.
#[test]
fn a_record_that_cannot_be_read_is_reported_without_its_text() {
    let server = server();
    let (builder, reported) = common::errors(common::client("c").server(common::uri(&server)));
    let client = builder.connect().unwrap();
    let map = client.sow_map::<String, Price>("prices").key_field("/symbol").start().unwrap();
    client.publish("prices", r#"{"symbol":"A","bid":"secret"}"#).unwrap();
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::MessageHandler);
    assert!(!error.to_string().contains("secret"), "{error}");
    drop(map);
}

/// User code runs without a lock, and its panics end nothing.
#[test]
fn a_listener_may_read_the_map_and_call_the_client_and_panic() {
    let server = server();
    let (builder, reported) = common::errors(common::client("c").server(common::uri(&server)));
    let client = builder.connect().unwrap();
    let (sender, seen) = channel();
    let (own, handed) = (client.clone(), channel::<SowMap<String, Price>>());
    let (give, take) = handed;
    let map =
        client.sow_map("prices").key_field("/symbol").on_change(move |change: &Change<String, Price>| {
            let map = take.recv().unwrap();
            own.flush(PATIENCE).unwrap();
            let waits = map.wait_ready(PATIENCE).unwrap_err().kind();
            _ = sender.send((map.get(change.key()).unwrap().bid, waits));
            drop(map);
            panic!("it is what it does");
        });
    let map = map.start().unwrap();
    for bid in 1..=2 {
        client.publish_json("prices", &price("A", bid)).unwrap();
        give.send(map.clone()).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (bid, ErrorKind::Usage));
        let error = reported.recv_timeout(PATIENCE).unwrap();
        assert!(error.to_string().contains("it is what it does"), "{error}");
    }
    assert_eq!(map.get("A").unwrap().bid, 2);
}

/// It is the application's code as well, and a record like any other that cannot be read.
#[test]
fn a_key_function_that_panics_makes_a_record_unreadable_and_ends_nothing() {
    for delta in [false, true] {
        let server = server();
        let client = client(&server);
        client.publish_json("prices", &price("A", -1)).unwrap();
        client.publish_json("prices", &price("B", 2)).unwrap();
        client.flush(PATIENCE).unwrap();
        let (sender, errors) = channel();
        let map = client
            .sow_map("prices")
            .key_with(|price: &Price| {
                assert!(price.bid >= 0, "a negative price");
                price.symbol.clone()
            })
            .on_error(move |error| _ = sender.send(error.to_string()));
        let map = if delta { map.delta() } else { map }.start().unwrap();
        common::executor::block_on(map.ready_future()).unwrap();
        let error = errors.recv_timeout(PATIENCE).unwrap();
        assert!(error.contains("a negative price"), "{error}");
        assert_eq!((map.state(), map.unreadable()), (MapState::Current, 1));
        assert_eq!(rows(&map), [("B".to_owned(), 2)].into());
        client.publish_json("prices", &price("A", 1)).unwrap();
        until("that it is read again", || map.contains_key("A"));
        assert_eq!((map.len(), map.unreadable()), (2, 0));
    }
}

/// Nobody knows what is in a table whose keys panic; whoever waits is told.
#[test]
fn a_key_that_panics_ends_the_map_and_it_says_why() {
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
    struct Moody(String);
    impl std::hash::Hash for Moody {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert_ne!(self.0, "C", "it does not want to be hashed");
            self.0.hash(state);
        }
    }
    let server = server();
    let client = client(&server);
    for symbol in ["A", "B"] {
        client.publish_json("prices", &price(symbol, 1)).unwrap();
    }
    client.flush(PATIENCE).unwrap();
    let (sender, errors) = channel();
    let make = |sender: std::sync::mpsc::Sender<String>| {
        client
            .sow_map::<Moody, Price>("prices")
            .key_field("/symbol")
            .on_error(move |error| _ = sender.send(error.to_string()))
            .start()
            .unwrap()
    };
    let told = |map: &SowMap<Moody, Price>| {
        let error: String = errors.recv_timeout(PATIENCE).unwrap();
        assert!(error.contains("it does not want to be hashed"), "{error}");
        assert_eq!(map.state(), MapState::Ended);
        assert_eq!(map.error().unwrap().to_string(), error);
        assert_eq!(map.wait_ready(PATIENCE).unwrap_err().kind(), ErrorKind::MessageHandler);
    };
    let current = make(sender.clone());
    current.wait_ready(PATIENCE).unwrap();
    client.publish_json("prices", &price("C", 1)).unwrap();
    until("its end", || current.state() == MapState::Ended);
    told(&current);
    assert_eq!(current.len(), 2, "the last rows stay");
    until("that the subscription has ended", || server.subscriptions().is_empty());
    // One that never gets as far as to be current.
    let loading = make(sender);
    let error = common::executor::block_on(loading.ready_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageHandler);
    told(&loading);
}

/// Deltas that are dropped unread would be missing in the record.
#[test]
fn deltas_and_conflation_by_the_client_are_refused_together() {
    let server = server();
    let client = client(&server);
    let map = || client.sow_map::<String, Price>("prices").key_field("/symbol");
    let error = map().delta().describe(Subscribe::conflate).start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let both = map().describe(Subscribe::conflate).delta();
    let error = common::executor::block_on(both.start_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(server.subscriptions().is_empty(), "nothing was asked of the server");
    map().describe(Subscribe::conflate).start().unwrap().wait_ready(PATIENCE).unwrap();
    map().delta().conflation(Duration::from_millis(1)).start().unwrap().wait_ready(PATIENCE).unwrap();
}

#[test]
fn a_map_on_its_way_may_be_dropped_anywhere() {
    use common::executor::{block_on, cancel_everywhere};
    let server = server();
    let client = client(&server);
    client.publish_json("prices", &price("A", 1)).unwrap();
    let make = || async {
        let map =
            client.sow_map::<String, Price>("prices").key_field("/symbol").start_future().await.unwrap();
        map.ready_future().await.unwrap();
        assert_eq!(map.len(), 1);
    };
    let dropped = cancel_everywhere(make, |_| {
        until("that the subscription has ended", || server.subscriptions().is_empty());
    });
    assert!(dropped >= 3, "it was dropped only {dropped} times");
    block_on(make());
}
