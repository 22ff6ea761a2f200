//! When leases end, and who is told that one had ended too early.

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use amps_client::{AckOption, Client, CommandKind, Hook, LeaseOverrun, Message, Subscription};
use amps_testkit::{FakeServer, QueueConfig};
use common::{Peer, placed, sid};

const LEASE: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(31);
const LATE: Duration = Duration::from_secs(1);

/// A server of virtual time with a queue, a client of the same time, and what the client tells of overrun leases.
fn work(messages: u32) -> (Arc<FakeServer>, Client, Receiver<LeaseOverrun>) {
    let queue = QueueConfig::new("work").lease(LEASE).max_backlog(100);
    let server = Arc::new(FakeServer::builder().queue(queue).virtual_clock().start().unwrap());
    let time = Arc::clone(&server);
    let (tell, told) = channel();
    let client = Client::builder("worker")
        .server(server.uri("json"))
        .system_time(move || time.system_time())
        .on_lease_overrun(move |overrun| _ = tell.send(overrun.clone()))
        .connect()
        .unwrap();
    for number in 1..=messages {
        server.publish("work", number.to_string()).unwrap();
    }
    (server, client, told)
}

fn none(told: &Receiver<LeaseOverrun>) {
    assert_eq!(told.try_iter().collect::<Vec<_>>(), []);
}

fn stream(client: &Client, auto_ack: bool) -> Subscription {
    client.subscribe("work").sub_id("w1").max_backlog(10).auto_ack(auto_ack).start().unwrap()
}

#[test]
fn a_message_that_is_acknowledged_late_is_told_once() {
    let (server, client, told) = work(1);
    let mut work = stream(&client, false);
    let message = work.next().unwrap().unwrap();
    let end = message.lease_end().unwrap();
    assert_eq!(end, server.system_time() + LEASE);
    server.advance(LATER);
    message.ack();
    let late = told.try_recv().unwrap();
    assert_eq!((late.subscription.as_str(), late.topic.as_str()), ("w1", "work"));
    assert_eq!(late.bookmark.as_bytes(), message.bookmark().unwrap().as_ref() as &[u8]);
    assert_eq!((late.lease_end, late.by), (end, LATE));
    message.ack();
    none(&told);
}

#[test]
fn what_is_acknowledged_in_time_or_given_back_is_not_told() {
    let (server, client, told) = work(5);
    let mut work = stream(&client, false);
    let messages: Vec<_> = work.by_ref().take(5).map(Result::unwrap).collect();
    // The lease lasts until its end, that moment included.
    server.advance(LEASE - Duration::from_nanos(1));
    messages[0].ack();
    none(&told);
    server.advance(LATE);
    messages[1].cancel();
    messages[2].expire();
    drop(messages[3].to_owned().guard());
    none(&told);
    messages[4].ack_with(&AckOption::ExtendLease(LEASE));
    assert_eq!(told.try_iter().count(), 1, "it came too late");
}

#[test]
fn a_lease_that_was_extended_in_time_is_no_longer_watched() {
    let (server, client, told) = work(1);
    let mut work = stream(&client, false);
    let message = work.next().unwrap().unwrap();
    message.ack_with(&AckOption::ExtendLease(2 * LEASE));
    server.advance(LATER);
    message.ack();
    none(&told);
}

#[test]
fn a_stream_that_acknowledges_by_itself_tells_when_the_next_message_is_asked_for() {
    let (server, client, told) = work(3);
    let mut work = stream(&client, true);
    let first = work.next().unwrap().unwrap();
    server.advance(LATER);
    none(&told);
    let second = work.next().unwrap().unwrap();
    assert_eq!(told.try_recv().unwrap().bookmark, first.bookmark().unwrap().to_string());
    // That one's lease ended while it was unread.
    second.keep_lease();
    let _third = work.next().unwrap().unwrap();
    none(&told);
    second.ack();
    assert_eq!(told.try_recv().unwrap().bookmark, second.bookmark().unwrap().to_string());
}

/// A leased message, whose lease ended long ago, or says so in words of its own.
fn ended(sid: &str, number: u32, lease: &str) -> String {
    format!(r#"{{"c":"p","bm":"7|{number}|","t":"work","sids":"{sid}","lp":"{lease}","l":1}}x"#)
}

/// A client of which every handler runs with `treat`, and acknowledges by itself; what it told.
fn handled(treat: fn(&Message<&[u8]>), leases: [&str; 2]) -> Vec<String> {
    let peer = Peer::new();
    let (tell, told) = channel();
    let builder =
        peer.client("worker").on_lease_overrun(move |overrun| _ = tell.send(overrun.bookmark.clone()));
    let (client, mut line) = peer.connect(builder);
    let placing = client.clone();
    let handler = move |message: &Message<&[u8]>| {
        treat(message);
        Ok(())
    };
    let (_work, command) =
        placed(&mut line, move || placing.subscribe("work").auto_ack(true).on_message(handler).unwrap());
    for (number, lease) in (1..).zip(leases) {
        line.send(&ended(&sid(&command), number, lease));
        assert_eq!(
            line.expect(CommandKind::SowDelete).bookmark().unwrap().to_string(),
            format!("7|{number}|")
        );
    }
    told.try_iter().collect()
}

#[test]
fn a_handler_that_took_too_long_is_told_once_whoever_acknowledges() {
    for treat in [
        |_| {},
        |message| message.ack(),
        |message| {
            message.keep_lease();
            message.ack();
        },
    ] as [fn(&Message<&[u8]>); 3]
    {
        let told = handled(treat, ["20200101T000000.000000Z", "20990101T000000.000000Z"]);
        assert_eq!(told, ["7|1|"]);
    }
}

#[test]
fn a_lease_that_is_no_instant_is_a_lease_all_the_same() {
    let treat = |message: &Message<&[u8]>| {
        assert!(message.is_leased());
        assert_eq!(message.lease_end(), None);
    };
    assert_eq!(handled(treat, ["30000ms", "tomorrow"]), [""; 0]);
}

#[test]
fn a_listener_that_was_removed_is_not_called_and_one_set_later_is() {
    let (server, client, told) = work(2);
    client.remove_hook(Hook::LeaseOverruns);
    let mut work = stream(&client, false);
    let (first, second) = (work.next().unwrap().unwrap(), work.next().unwrap().unwrap());
    server.advance(LATER);
    first.ack();
    none(&told);
    let (tell, told) = channel();
    client.on_lease_overrun(move |overrun| _ = tell.send(overrun.clone()));
    second.ack();
    assert_eq!(told.try_recv().unwrap().by, LATE);
}

#[test]
fn what_a_lost_connection_leased_is_not_told() {
    let (server, client, told) = work(1);
    let message = stream(&client, false).next().unwrap().unwrap();
    client.close().unwrap();
    server.advance(LATER);
    message.ack();
    none(&told);
}

#[test]
fn a_listener_that_panics_is_an_error_and_the_message_is_acknowledged() {
    let (server, client, _told) = work(1);
    let (tell, told) = channel();
    client.on_error(move |error| _ = tell.send(error.to_string()));
    client.on_lease_overrun(|_| panic!("no"));
    let mut work = stream(&client, false);
    let message = work.next().unwrap().unwrap();
    server.advance(LATER);
    message.ack();
    assert!(told.try_recv().unwrap().contains("the listener for overrun leases panicked"));
}
