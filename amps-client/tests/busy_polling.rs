//! Clients whose event loop never sleeps do all that others do.

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use amps_client::{Client, CommandKind, ErrorKind, EventLoop};
use common::{PATIENCE, Peer, aside};

/// Whether a thread of this process has this name. The kernel cuts names after 15 bytes.
#[cfg(target_os = "linux")]
fn has_thread(name: &str) -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
        let comm = std::fs::read_to_string(task.unwrap().path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    })
}

#[test]
fn timers_are_served() {
    let peer = Peer::new();
    // No batch is ever full: only its timer sends it.
    let builder = peer.client("c").busy_poll(true).ack_batch_size(100).ack_timeout(Duration::from_millis(1));
    let (client, mut line) = peer.connect(builder);
    let starting = aside(move || client.subscribe("q").max_backlog(100).start().unwrap());
    let subscribe = line.grant(100);
    let mut work = starting.join().unwrap();
    for id in [1, 2, 3] {
        line.deliver(&subscribe, "q", [id]);
        work.next().unwrap().unwrap().ack();
        assert_eq!(line.expect(CommandKind::SowDelete).topic().unwrap(), "q");
    }
}

#[test]
fn many_threads_publish_and_messages_come() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").busy_poll(true));
    let (sender, bodies) = channel();
    let subscriber = client.clone();
    let placing = aside(move || {
        let handler = move |message: &amps_client::Message<&[u8]>| Ok(sender.send(message.data().to_vec())?);
        subscriber.subscribe("q").max_backlog(100).on_message(handler).unwrap()
    });
    let subscribe = line.grant(100);
    let _subscription = placing.join().unwrap();
    let publishing: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            aside(move || (0..100).for_each(|_| _ = client.publish("t", "1").unwrap()))
        })
        .collect();
    let mut published = 0;
    for id in 0..50 {
        line.deliver(&subscribe, "q", [id]);
        assert_eq!(bodies.recv_timeout(PATIENCE).unwrap(), format!("{{\"id\":{id}}}").as_bytes());
    }
    while published < 400 {
        published += usize::from(line.next().unwrap().command() == CommandKind::Publish);
    }
    publishing.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_client_is_closed_and_its_thread_ends() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("spin-solo").busy_poll(true));
    #[cfg(target_os = "linux")]
    common::until("the thread begins", || has_thread("amps-spin-solo"));
    let closing = client.clone();
    let closed = aside(move || closing.close());
    // Whatever it says at the end.
    while line.next().is_some() {}
    // The loop waits a second for the other end to close, too.
    drop(line);
    closed.join().unwrap().unwrap();
    assert_eq!(client.publish("t", "1").unwrap_err().kind(), ErrorKind::Disconnected);
    drop(client);
    #[cfg(target_os = "linux")]
    common::until("the thread ends", || !has_thread("amps-spin-solo"));
}

#[test]
fn clients_share_a_thread_that_ends_with_the_last_of_them() {
    let peer = Peer::new();
    let event_loop = EventLoop::busy_polling().unwrap();
    let (one, mut first) = peer.connect(peer.client("one").event_loop(&event_loop));
    let (two, mut second) = peer.connect(peer.client("two").event_loop(&event_loop));
    drop(event_loop);
    one.publish("t", "1").unwrap();
    assert_eq!(first.expect(CommandKind::Publish).data(), b"1");
    drop(one);
    while first.next().is_some() {}
    two.publish("t", "2").unwrap();
    assert_eq!(second.expect(CommandKind::Publish).data(), b"2");
    drop(two);
    while second.next().is_some() {}
    // The loop waits a second for the other ends to close, too.
    drop((first, second));
    #[cfg(target_os = "linux")]
    common::until("the thread ends", || !has_thread("amps-loop"));
}

/// A shared loop idles as it was told when it was made.
#[test]
fn a_client_cannot_change_how_a_shared_loop_idles() {
    for event_loop in [EventLoop::new().unwrap(), EventLoop::busy_polling().unwrap()] {
        let builder = || Client::builder("c").server("tcp://localhost:9/amps/json").event_loop(&event_loop);
        let error = builder().busy_poll(true).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("EventLoop::busy_polling"), "{error}");
        builder().busy_poll(true).busy_poll(false).build().unwrap();
        builder().build().unwrap();
    }
}
