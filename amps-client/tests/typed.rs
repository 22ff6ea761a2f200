//! Messages as values: typed subscriptions, and what becomes of a message that is no such value.
#![cfg(feature = "json")]

mod common;

use amps_client::{Client, Command, ErrorKind, Typed, TypedError};
use amps_testkit::{FakeServer, QueueConfig, SowConfig};
use common::{PATIENCE, until};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    #[serde(default)]
    note: Option<String>,
}

fn order(id: u64) -> Order {
    Order { id, note: Some(format!("number {id}")) }
}

fn server() -> FakeServer {
    common::fake_server()
        .queue(QueueConfig::new("work").max_backlog(100))
        .sow(SowConfig::new("orders").key("/id"))
        .start()
        .unwrap()
}

fn client(server: &FakeServer) -> Client {
    common::client("c").server(common::uri(server)).connect().unwrap()
}

#[test]
fn values_come_as_they_were_published() {
    let server = server();
    let client = client(&server);
    let mut live = client.subscribe("orders").start().unwrap().typed::<Order>();
    for id in 1..=3 {
        client.publish_json("orders", &order(id)).unwrap();
    }
    for id in 1..=3 {
        let Typed { value, message } = live.next().unwrap().unwrap();
        assert_eq!(value, order(id));
        assert_eq!(message.json::<Order>().unwrap(), value);
    }
    assert!(live.next_within(std::time::Duration::ZERO).unwrap().is_none());
    client.flush(PATIENCE).unwrap();
    // The begin and the end of the result have no value.
    let query = client.sow("orders").order_by("/id").start().unwrap().typed::<Order>();
    let ids: Vec<u64> = query.map(|order| order.unwrap().value.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert!(!live.into_inner().sub_id().is_empty());
}

/// What borrows from a message is not copied.
#[test]
fn a_value_borrows_from_its_message() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        note: &'a str,
    }
    let server = server();
    let client = client(&server);
    let mut live = client.subscribe("orders").start().unwrap();
    client.publish_json("orders", &order(1)).unwrap();
    let message = live.next().unwrap().unwrap();
    let value: Borrowed<'_> = message.json().unwrap();
    assert_eq!(value.note, "number 1");
    let data = message.data().as_ptr_range();
    assert!(data.contains(&value.note.as_ptr()), "the text is part of the message");
}

/// P1: what could not be processed is not acknowledged, whatever auto-ack says.
#[test]
fn a_message_that_cannot_be_read_goes_back_to_its_queue_unless_somebody_takes_it() {
    let server = server();
    let client = client(&server);
    client.publish("work", r#"{"id":"seven"}"#).unwrap();
    client.publish_json("work", &order(8)).unwrap();
    let work = client.subscribe("work").max_backlog(10).auto_ack(true).start().unwrap();
    let mut work = work.typed::<Order>();
    let error = work.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.message().unwrap().data(), br#"{"id":"seven"}"#);
    assert!(error.to_string().contains("\"work\""), "{error}");
    assert_eq!(work.next().unwrap().unwrap().value, order(8));
    let leased = || server.queue("work").unwrap().leased;
    assert_eq!(leased().len(), 2, "the one is not decided, the other in hand");
    drop(error);
    // It comes again.
    let again = work.next().unwrap().unwrap_err();
    assert_eq!(again.message().unwrap().data(), br#"{"id":"seven"}"#);
    match again {
        TypedError::Unreadable(unreadable) => unreadable.into_message().ack(),
        other => panic!("{other}"),
    }
    client.flush(PATIENCE).unwrap();
    until("that the queue is empty", || {
        let queue = server.queue("work").unwrap();
        queue.available.is_empty() && queue.leased.is_empty()
    });
    assert_eq!(server.queue("work").unwrap().counters.cancels, 1);
}

#[test]
fn errors_of_the_subscription_come_as_they_are() {
    let peer = common::Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let placing = common::aside(move || {
        client.execute(&Command::subscribe("t").ack(amps_client::AckType::Completed)).map(|s| (client, s))
    });
    let subscribe = line.expect(amps_client::CommandKind::Subscribe);
    line.ack(&subscribe);
    let (client, subscription) = placing.join().unwrap().unwrap();
    let mut typed = subscription.typed::<Order>();
    let cid = subscribe.command_id().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","a":"completed","status":"failure","reason":"not entitled"}}"#
    ));
    drop(line);
    assert_eq!(typed.next().unwrap().unwrap_err().kind(), ErrorKind::NotEntitled);
    assert_eq!(typed.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(typed.next().is_none());
    drop(client);
}

#[cfg(feature = "async")]
#[test]
fn a_stream_of_values_acknowledges_nothing_by_itself() {
    use std::pin::Pin;

    use amps_client::futures_core::Stream;
    use common::executor::block_on;
    let server = server();
    let client = client(&server);
    for text in ["no", r#"{"id":1}"#, r#"{"id":2}"#] {
        client.publish("work", text).unwrap();
    }
    let work = client.subscribe("work").max_backlog(10).auto_ack(true).start().unwrap();
    let mut work = work.typed::<Order>().into_stream();
    block_on(async {
        let mut next = async || std::future::poll_fn(|cx| Pin::new(&mut work).poll_next(cx)).await.unwrap();
        let unreadable = next().await.unwrap_err();
        unreadable.message().unwrap().expire();
        drop(unreadable);
        for id in 1..=2 {
            assert_eq!(next().await.unwrap().value.id, id);
        }
    });
    client.flush(PATIENCE).unwrap();
    let queue = server.queue("work").unwrap();
    assert_eq!((queue.leased.len(), queue.counters.acknowledged, queue.counters.cancels), (2, 0, 0));
    assert!(work.stream().subscription().depth() == 0);
}
