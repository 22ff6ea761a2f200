//! Every future of the client, dropped wherever it can be: never polled, while it waits, and when its answer is
//! there and it has not looked. Afterwards the client is as useful as before, no lease is lost, and no waker kept.

mod common;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[cfg(feature = "async")]
use amps_client::futures_core::Stream;
use amps_client::{
    Client, Command, CommandKind, FilePublishStore, MemoryPublishStore, PublishOptions, Receipt, SowDelete,
    SyncPolicy,
};
use amps_testkit::{FakeServer, QueueConfig, SowConfig};
use common::executor::{block_on, cancel_everywhere};
use common::{PATIENCE, until};

fn server() -> FakeServer {
    common::fake_server()
        .queue(QueueConfig::new("work").max_backlog(100))
        .sow(SowConfig::new("orders").key("/id"))
        .txlog("orders")
        .txlog("work")
        .ack_conflation(Duration::from_millis(1))
        .start()
        .unwrap()
}

fn client(server: &FakeServer) -> Client {
    common::client("c").server(common::uri(server)).connect().unwrap()
}

/// The client does what it did before, and the server has nothing left of what was cancelled.
fn is_as_before(server: &FakeServer, client: &Client, subscriptions: usize) {
    client.flush(PATIENCE).unwrap();
    until("that what was cancelled has ended", || server.subscriptions().len() == subscriptions);
    assert!(server.queue("work").unwrap().leased.is_empty(), "a lease is lost");
}

/// A future that never waits would make these tests say nothing.
fn was_cancelled(dropped: usize) {
    assert!(dropped >= 2, "it was dropped only {dropped} times");
}

#[test]
fn a_client_on_its_way() {
    let server = server();
    let make = || common::client("c").server(common::uri(&server)).connect_future();
    was_cancelled(cancel_everywhere(make, |_| {
        until("that no connection is left", || server.connections().is_empty());
    }));
}

#[test]
fn a_connect() {
    let server = server();
    let client = common::client("c").server(common::uri(&server)).build().unwrap();
    let after = |_| {
        // What was dropped goes on: the next one says so, or finds it done.
        until("a connection", || client.is_connected());
        block_on(client.close_future(PATIENCE)).unwrap();
    };
    let uri = common::uri(&server);
    // Never polled, it connects all the same.
    drop(client.connect_future());
    after(());
    was_cancelled(cancel_everywhere(|| client.connect_future(), |_| after(())));
    was_cancelled(cancel_everywhere(|| client.connect_to_future([&uri]), |_| after(())));
}

#[test]
fn a_close_and_an_abort() {
    let server = server();
    let client = common::client("c").server(common::uri(&server)).build().unwrap();
    let connected = || {
        until("the end of the last connection", || !client.is_connected());
        until("that one can connect", || client.connect().is_ok());
        client.publish("work", "1").unwrap();
        client.clone()
    };
    let gone = |_| until("the end of the connection", || server.connections().is_empty());
    was_cancelled(cancel_everywhere(|| connected().close_future(PATIENCE), gone));
    was_cancelled(cancel_everywhere(|| connected().abort_future(), gone));
}

#[test]
fn answers_to_commands() {
    let server = server();
    let client = client(&server);
    let live = client.subscribe("orders").start().unwrap();
    let handled = client.subscribe("orders").on_message(|_| Ok(())).unwrap();
    let replay = client.execute(&Command::subscribe("orders").bookmark("0").sub_id("r")).unwrap();
    let after = |_| is_as_before(&server, &client, 3);
    let delete = SowDelete::by_filter("orders", "/id = 1");
    was_cancelled(cancel_everywhere(|| client.flush_future(PATIENCE), after));
    was_cancelled(cancel_everywhere(|| client.sow_delete_future(&delete), after));
    let command = Command::sow_delete("orders").filter("/id = 2");
    was_cancelled(cancel_everywhere(|| client.perform_future(&command), after));
    was_cancelled(cancel_everywhere(|| live.replace_filter_future("/id > 1"), after));
    was_cancelled(cancel_everywhere(|| live.replace_future(&live.command().unwrap()), after));
    was_cancelled(cancel_everywhere(|| handled.replace_filter_future("/id > 1"), after));
    was_cancelled(cancel_everywhere(|| handled.replace_future(&handled.command().unwrap()), after));
    was_cancelled(cancel_everywhere(|| client.pause_future(["r"]), after));
    was_cancelled(cancel_everywhere(|| client.resume_future(["r"]), after));
    drop(replay);
}

#[test]
fn subscriptions_on_their_way() {
    let server = server();
    let client = client(&server);
    // As many as are leased at once to whoever subscribes.
    for id in 1..=20 {
        client.publish("work", format!(r#"{{"id":{id}}}"#)).unwrap();
        client.publish("orders", format!(r#"{{"id":{id}}}"#)).unwrap();
    }
    let after = |_| is_as_before(&server, &client, 0);
    let work = || client.subscribe("work").max_backlog(20);
    was_cancelled(cancel_everywhere(|| work().start_future(), after));
    let unsubscribe = |handled: amps_client::HandlerSubscription| handled.unsubscribe();
    let handled = || async { work().on_message_future(|_| Ok(())).await.map(unsubscribe) };
    was_cancelled(cancel_everywhere(handled, after));
    let aside = || async { work().on_message_aside_future(|_| Ok(())).await.map(unsubscribe) };
    was_cancelled(cancel_everywhere(aside, after));
    let command = Command::sow_and_subscribe("orders");
    was_cancelled(cancel_everywhere(|| client.execute_future(&command), after));
    let executed = || async { client.execute_with_future(&command, |_| Ok(())).await.map(unsubscribe) };
    was_cancelled(cancel_everywhere(executed, after));
    let queue = server.queue("work").unwrap();
    assert_eq!(queue.available.len(), 20, "what was leased is back");
    let all: Vec<_> = work().start().unwrap().take(20).map(|message| message.unwrap()).collect();
    assert_eq!(all.len(), 20);
}

#[test]
fn a_replacement_on_its_way() {
    let server = server();
    let client = client(&server);
    let live = client.execute(&Command::subscribe("orders").sub_id("s")).unwrap();
    let replacement = Command::subscribe("orders").sub_id("s").filter("/id > 1").flag("replace");
    let dropped = cancel_everywhere(
        || client.execute_future(&replacement),
        |_| {
            client.flush(PATIENCE).unwrap();
            if server.subscriptions().is_empty() {
                // It had gone over to a stream that nobody has, and ended with it.
                client.execute(&Command::subscribe("orders").sub_id("s")).unwrap().closer();
            }
        },
    );
    was_cancelled(dropped);
    drop(live);
    client.unsubscribe_all().unwrap();
    is_as_before(&server, &client, 0);
}

#[test]
fn publishes_and_their_receipts() {
    let server = server();
    let builder = common::client("c").server(common::uri(&server));
    let client = builder.publish_store(MemoryPublishStore::new()).connect().unwrap();
    let after = |_| is_as_before(&server, &client, 0);
    let published = AtomicUsize::new(0);
    let publish = || async {
        let receipt = client.publish_future("orders", r#"{"id":1}"#).await.unwrap();
        published.fetch_add(1, Ordering::SeqCst);
        receipt
    };
    // Lazy: not polled, it is not published; there is room, so that it never waits.
    cancel_everywhere(publish, after);
    assert_eq!(published.load(Ordering::SeqCst), client.stats().published as usize);
    server.hold_durability(true);
    let receipts = [(); 3].map(|()| client.publish("orders", r#"{"id":2}"#).unwrap());
    let mut rounds = 0;
    // While nothing is persisted each waits: the one that is to be woken lets the server go on.
    let mut one = receipts.iter();
    let dropped = cancel_everywhere(
        || {
            rounds += 1;
            if rounds == 4 {
                server.hold_durability(false);
            }
            let receipt = one.next().unwrap_or(&receipts[0]).clone();
            async move {
                receipt.clone().await.unwrap();
                receipt.stored_future().await.unwrap();
                receipt.persisted_future(PATIENCE).unwrap().await.unwrap();
            }
        },
        |cut| assert!(cut.polls <= 4, "{cut:?}"),
    );
    was_cancelled(dropped);
    is_as_before(&server, &client, 0);
}

/// Publishes that find the store full: dropped while they wait, nothing of them is published.
#[test]
fn publishes_that_wait_for_room() {
    type Publish<'a> = Pin<Box<dyn Future<Output = amps_client::Result<Receipt>> + Send + 'a>>;
    const BODY: &str = r#"{"id":1}"#;
    let server = &server();
    let builder = common::client("c").server(common::uri(server));
    let builder = builder.publish_store(MemoryPublishStore::new()).on_store_growth(500, |_| false);
    let client = builder.connect().unwrap();
    let options = PublishOptions::new().expiration(Duration::from_secs(60));
    let ways: &[for<'a> fn(&'a Client, &'a PublishOptions) -> Publish<'a>] = &[
        |client, _| Box::pin(client.publish_future("orders", BODY)),
        |client, options| Box::pin(client.publish_with_future("orders", BODY, options)),
        |client, _| Box::pin(client.delta_publish_future("orders", BODY)),
        |client, options| Box::pin(client.delta_publish_with_future("orders", BODY, options)),
        #[cfg(feature = "json")]
        |client, _| Box::pin(client.publish_json_future("orders", BODY)),
    ];
    let published = &AtomicUsize::new(0);
    for publish in ways {
        let until_full = || {
            server.hold_durability(true);
            let look = &mut Context::from_waker(Waker::noop());
            while Box::pin(client.publish_future("orders", BODY)).as_mut().poll(look).is_ready() {
                published.fetch_add(1, Ordering::SeqCst);
            }
        };
        let waits = &|| {
            until_full();
            let mut publishing = publish(&client, &options);
            poll_fn(move |cx| {
                let polled = publishing.as_mut().poll(cx);
                // It waits: now there will be room.
                server.hold_durability(false);
                polled
            })
        };
        let dropped = cancel_everywhere(
            || async move {
                waits().await.unwrap();
                published.fetch_add(1, Ordering::SeqCst);
            },
            |_| {
                server.hold_durability(false);
                client.flush(PATIENCE).unwrap();
                assert_eq!(client.stats().published as usize, published.load(Ordering::SeqCst));
            },
        );
        was_cancelled(dropped);
    }
    is_as_before(server, &client, 0);
}

/// A publish whose message is on its way to the disk: dropped, it is kept and sent all the same.
#[test]
fn publishes_that_wait_for_the_disk() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let store =
        FilePublishStore::builder(dir.path().join("store")).sync(SyncPolicy::EveryWrite).open().unwrap();
    let client = common::client("c").server(common::uri(&server)).publish_store(store).connect().unwrap();
    let mut begun = 0;
    let dropped = cancel_everywhere(
        || client.publish_future("orders", r#"{"id":1}"#),
        |cut| {
            begun += u64::from(cut.polls > 0);
            client.flush(PATIENCE).unwrap();
            assert_eq!(client.stats().published, begun, "{cut:?}");
        },
    );
    was_cancelled(dropped);
    is_as_before(&server, &client, 0);
}

/// Publishes that find too much waiting to be sent, to a server that does not read: woken and not polled, nothing
/// of them is published, and the next one takes the room.
#[test]
fn publishes_that_wait_for_the_socket() {
    let slow = |way: common::Way| way.compressed() || way.pieces;
    let peer = common::Peer::unless(slow, "sockets have to fill, and what is so plain compresses well");
    let (client, line) = peer.connect(peer.client("c").send_limit(64 << 10));
    let filling = "x".repeat(16 << 10);
    let (sent, line) = (&AtomicUsize::new(0), Mutex::new((line, 0)));
    let all_is_read = &|| {
        let (line, read) = &mut *line.lock().unwrap();
        while *read < sent.load(Ordering::SeqCst) {
            let message = line.expect(CommandKind::Publish);
            assert!(message.data().starts_with(format!("{read} ").as_bytes()), "{read} is to come next");
            *read += 1;
        }
    };
    let publish = &|| {
        let body = format!("{} {filling}", sent.load(Ordering::SeqCst));
        Box::pin(client.publish_future("t", body))
    };
    let waits = || {
        let (mut publishing, mut waited) = (None, false);
        poll_fn(move |cx| {
            loop {
                let one = publishing.get_or_insert_with(publish);
                let Poll::Ready(receipt) = one.as_mut().poll(cx) else {
                    // It waits: now there will be room.
                    waited = true;
                    all_is_read();
                    return Poll::Pending;
                };
                receipt.unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
                if waited {
                    return Poll::Ready(());
                }
                publishing = None;
            }
        })
    };
    let dropped = cancel_everywhere(waits, |cut| {
        let more = client.publish("t", format!("{} more", sent.load(Ordering::SeqCst)));
        more.unwrap();
        sent.fetch_add(1, Ordering::SeqCst);
        all_is_read();
        assert_eq!(client.stats().published as usize, sent.load(Ordering::SeqCst), "{cut:?}");
    });
    // Unpolled, when it waits, and when it was woken.
    assert!(dropped >= 4, "it was dropped only {dropped} times");
}

/// The next item of a stream of numbers on a queue: dropped while it waits, and when it is there and nobody has
/// looked, it takes none out. `settle` acknowledges one and tells its number.
#[cfg(feature = "async")]
fn the_next_of<S: Stream + Unpin>(make: impl FnOnce(&Client) -> S, settle: impl Fn(S::Item) -> usize) {
    let server = server();
    let client = client(&server);
    let mut work = make(&client);
    let (mut sent, mut seen) = (0, 0);
    for _ in 0..5 {
        // Nothing is there: it waits, is woken by a message, and is dropped before it looks.
        let stream = Mutex::new(&mut work);
        let taken = AtomicUsize::new(0);
        cancel_everywhere(
            || {
                sent += 1;
                client.publish("work", format!("{sent}")).unwrap();
                poll_fn(|cx| {
                    let mut stream = stream.lock().unwrap();
                    let next = Pin::new(&mut **stream).poll_next(cx);
                    next.map(|item| taken.store(settle(item.unwrap()), Ordering::SeqCst))
                })
            },
            |_| {
                let number = taken.swap(0, Ordering::SeqCst);
                if number > 0 {
                    seen += 1;
                    assert_eq!(number, seen, "none is skipped, none comes twice");
                }
            },
        );
    }
    while seen < sent {
        let item = block_on(poll_fn(|cx| Pin::new(&mut work).poll_next(cx))).unwrap();
        seen += 1;
        assert_eq!(settle(item), seen);
    }
    client.flush(PATIENCE).unwrap();
    drop(work);
    is_as_before(&server, &client, 0);
}

#[cfg(feature = "async")]
#[test]
fn the_next_message() {
    the_next_of(
        |client| client.subscribe("work").max_backlog(10).start().unwrap().into_stream(),
        |message| {
            let message = message.unwrap();
            let number = message.data_str().unwrap().parse().unwrap();
            message.ack();
            number
        },
    );
}

/// A value that cannot be read is an item as well, whose message goes back to the queue unless it is settled.
#[cfg(all(feature = "async", feature = "json"))]
#[test]
fn the_next_value() {
    use amps_client::{Typed, TypedError};
    let stream = |client: &Client| client.subscribe("work").max_backlog(10).start().unwrap().into_stream();
    the_next_of(
        |client| stream(client).typed::<usize>(),
        |item| {
            let Typed { value, message } = item.unwrap();
            message.ack();
            value
        },
    );
    the_next_of(
        |client| stream(client).typed::<[u8; 2]>(),
        |item| {
            let Err(TypedError::Unreadable(unreadable)) = item else { panic!("{item:?}") };
            let message = unreadable.into_message();
            message.ack();
            message.data_str().unwrap().parse().unwrap()
        },
    );
}
