//! The client in async code: the same program on tokio, on smol, and on an executor made here.
#![cfg(feature = "async")]

mod common;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use amps_client::futures_core::Stream;
use amps_client::{
    Client, Command, CommandKind, ErrorKind, MemoryPublishStore, MessageStream, PublishState, SowDelete,
};
use amps_testkit::{FakeServer, QueueConfig, SowConfig};
use common::executor::{Bell, block_on};
use common::{PATIENCE, until};

async fn next(stream: &mut MessageStream) -> Option<amps_client::Result<amps_client::Message>> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

fn server() -> FakeServer {
    common::fake_server()
        .queue(QueueConfig::new("work").max_backlog(100))
        .sow(SowConfig::new("orders").key("/id"))
        .txlog("orders")
        .txlog("work")
        .start()
        .unwrap()
}

/// All that an application does, and every form of waiting.
async fn day(uri: String, name: &'static str) {
    let builder = common::client(name).server(&uri).publish_store(MemoryPublishStore::new());
    let client = builder.connect_future().await.unwrap();
    let mut work = client.subscribe("work").max_backlog(4).start_future().await.unwrap().into_stream();
    let orders = client.subscribe("orders").start_future().await.unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let (here, aside) = (Arc::clone(&seen), Arc::clone(&seen));
    let handled = client.subscribe("orders").on_message_future(move |_| {
        here.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let handled = handled.await.unwrap();
    let handled_aside = client.subscribe("orders").on_message_aside_future(move |_| {
        aside.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let handled_aside = handled_aside.await.unwrap();
    orders.replace_filter_future("/id > 1").await.unwrap();

    let mut receipts = Vec::new();
    for id in 1..=3 {
        let receipt = client.publish_future("orders", format!(r#"{{"id":{id}}}"#)).await.unwrap();
        receipt.stored_future().await.unwrap();
        receipts.push(receipt);
        client.publish("work", format!(r#"{{"id":{id}}}"#)).unwrap();
    }
    for id in 1..=3 {
        let message = next(&mut work).await.unwrap().unwrap().guard();
        assert_eq!(message.data(), format!(r#"{{"id":{id}}}"#).as_bytes());
        message.done();
    }
    for receipt in receipts {
        receipt.clone().await.unwrap();
        assert_eq!(receipt.state(), PublishState::Persisted);
    }
    client.flush_future(PATIENCE).await.unwrap();
    let records = client.execute_future(&Command::sow("orders")).await.unwrap();
    assert_eq!(records.filter(|m| m.as_ref().unwrap().command() == CommandKind::Sow).count(), 3);
    let deleted = client.sow_delete_future(&SowDelete::by_filter("orders", "1=1")).await.unwrap();
    assert_eq!(deleted.records_deleted, 3);
    let mut orders = orders.into_stream();
    assert_eq!(next(&mut orders).await.unwrap().unwrap().data(), br#"{"id":2}"#);

    let replay = Command::subscribe("orders").bookmark("0").sub_id("replay").pause();
    let mut replay = client.execute_future(&replay).await.unwrap().into_stream();
    client.resume_future(["replay"]).await.unwrap();
    assert_eq!(next(&mut replay).await.unwrap().unwrap().data(), br#"{"id":1}"#);
    client.pause_future(["replay"]).await.unwrap();
    let error = client.resume_future(["nobody"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSubscription);

    handled.replace_filter_future("/id > 2").await.unwrap();
    drop(handled_aside);
    drop((work, orders, replay));
    client.close_future(PATIENCE).await.unwrap();
    assert!(seen.load(Ordering::SeqCst) >= 3, "the handlers were called");
    assert_eq!(client.publish_future("orders", "{}").await.unwrap_err().kind(), ErrorKind::Disconnected);
}

#[test]
fn a_day_on_an_executor_made_here() {
    let server = server();
    block_on(day(common::uri(&server), "home-made"));
    assert_eq!(server.queue("work").unwrap().leased.len(), 0);
}

#[test]
fn a_day_on_one_thread_of_tokio() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(day(common::uri(&server), "tokio-1"));
}

#[test]
fn days_on_several_threads_of_tokio() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let servers = [server(), server()];
    runtime.block_on(async {
        let [one, other] = &servers;
        let one = tokio::spawn(day(common::uri(one), "tokio-a"));
        let other = tokio::spawn(day(common::uri(other), "tokio-b"));
        one.await.unwrap();
        other.await.unwrap();
    });
}

#[test]
fn a_day_on_smol() {
    let server = server();
    let uri = common::uri(&server);
    smol::block_on(async {
        let task = smol::spawn(day(uri, "smol"));
        task.await;
    });
}

/// The limit of a stream holds whoever reads it: a task that is slow stops the socket, and what the server has
/// more of stays there.
#[test]
fn a_slow_task_holds_the_server_back_and_memory_does_not_grow() {
    const DEPTH: usize = 16;
    // Byte by byte, fewer have to do.
    let way = common::Way::of_this_run();
    let mut messages = if way.pieces { 200 } else { 3000 };
    let server = common::fake_server().start().unwrap();
    let slow = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&slow);
    let builder = common::client("slow").server(common::uri(&server));
    let builder = builder.on_slow_consumer(move |_| _ = told.fetch_add(1, Ordering::SeqCst));
    let client = block_on(builder.connect_future()).unwrap();
    let subscription = block_on(client.subscribe("t").max_depth(DEPTH).start_future()).unwrap();
    let mut stream = subscription.into_stream();
    let body = "x".repeat(4000);
    for number in 0..messages {
        server.publish("t", format!("{number} {body}")).unwrap();
    }
    until("that the stream is full", || slow.load(Ordering::SeqCst) > 0);
    // What is so plain compresses well, and byte by byte nothing fills a socket.
    if !way.compressed() && !way.pieces {
        let other = common::client("other").server(common::uri(&server)).connect().unwrap();
        let held_back = || {
            // The loop of the server has gone round and has written what it could.
            other.flush(PATIENCE).unwrap();
            let connections = server.connections();
            let slow = connections.iter().find(|one| one.client_name.as_deref() == Some("slow"));
            slow.unwrap().pending_bytes
        };
        until("that the server keeps the rest", || {
            // No more than the sockets take: how much that is the system decides.
            if held_back() == 0 {
                server.publish("t", format!("{messages} {body}")).unwrap();
                messages += 1;
            }
            let held = held_back();
            held > 0 && held_back() == held
        });
    }
    let mut deepest = 0;
    block_on(async {
        for number in 0..messages {
            deepest = deepest.max(stream.subscription().depth());
            let message = next(&mut stream).await.unwrap().unwrap();
            assert!(message.data().starts_with(format!("{number} ").as_bytes()), "{message:?}");
        }
    });
    assert!(deepest <= DEPTH, "{deepest} messages were kept of a stream that may keep {DEPTH}");
    block_on(client.close_future(Duration::from_secs(5))).unwrap();
}

/// What publishes waits for room without its thread, and one that is dropped meanwhile has published nothing.
#[test]
fn a_publish_waits_for_room_as_a_future() {
    let slow = |way: common::Way| way.compressed() || way.pieces;
    let peer = common::Peer::unless(slow, "sockets have to fill, and what is so plain compresses well");
    let builder = peer.client("c").send_limit(64 << 10).publish_timeout(Duration::ZERO);
    let (client, mut line) = peer.connect(builder);
    let body = "x".repeat(16 << 10);
    let mut sent = 0_usize;
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    loop {
        let mut publish = pin!(client.publish_future("t", &body));
        // It comes to rest: what waits is not woken unless something has left.
        let mut polls = 0;
        let published = loop {
            let woken = bell.total.load(Ordering::SeqCst);
            if let Poll::Ready(receipt) = publish.as_mut().poll(&mut context) {
                receipt.unwrap();
                break true;
            }
            polls += 1;
            assert!(polls < 1000, "it wakes itself");
            if bell.total.load(Ordering::SeqCst) == woken {
                break false;
            }
        };
        if !published {
            // Dropped: it counts for nothing.
            break;
        }
        sent += 1;
    }
    let other = client.clone();
    let waits = common::aside(move || block_on(other.publish_future("t", "the last")).map(drop));
    for _ in 0..sent {
        assert_eq!(line.expect(CommandKind::Publish).data().len(), body.len());
    }
    assert_eq!(line.expect(CommandKind::Publish).data(), b"the last");
    waits.join().unwrap().unwrap();
}

/// A receipt tells of a refusal, of the end of the client, and of the lack of a store.
#[test]
fn a_receipt_that_is_awaited_tells_what_became_of_the_message() {
    let peer = common::Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").publish_store(MemoryPublishStore::new()));
    let refused = client.publish("t", "1").unwrap();
    let number = line.expect(CommandKind::Publish).sequence().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","a":"persisted","s":{number},"status":"failure","reason":"not entitled"}}"#
    ));
    assert_eq!(block_on(refused.into_future()).unwrap_err().kind(), ErrorKind::NotEntitled);
    let left = client.publish("t", "2").unwrap();
    client.abort();
    assert_eq!(block_on(left.into_future()).unwrap_err().kind(), ErrorKind::Disconnected);

    let server = server();
    let storeless: Client =
        block_on(common::client("n").server(common::uri(&server)).connect_future()).unwrap();
    let receipt = storeless.publish("t", "1").unwrap();
    assert_eq!(block_on(receipt.clone().into_future()).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(block_on(receipt.stored_future()).unwrap_err().kind(), ErrorKind::Usage);
}
