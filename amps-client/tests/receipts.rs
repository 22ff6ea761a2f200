//! What a receipt says when nobody is there any more who could persist its message, and when somebody is again.

mod common;

use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use amps_client::{Client, CommandKind, ErrorKind, MemoryPublishStore, PublishState, Receipt, Reconnect};
use amps_testkit::{Action, Drop as How, FakeServer, Fault, Trigger};
use common::executor::block_on;
use common::{PATIENCE, Peer, aside, until};

fn server() -> FakeServer {
    common::fake_server().txlog("orders").ack_conflation(Duration::from_millis(1)).start().unwrap()
}

#[test]
fn what_no_server_has_confirmed_was_not_persisted_because_the_client_is_gone() {
    let server = server();
    let builder = common::client("c").server(common::uri(&server)).publish_store(MemoryPublishStore::new());
    let client = builder.connect().unwrap();
    let confirmed = client.publish("orders", "1").unwrap();
    block_on(confirmed.clone().into_future()).unwrap();
    server.hold_durability(true);
    let open = client.publish("orders", "2").unwrap();
    let other = open.clone();
    let waits = aside(move || block_on(other.into_future()));
    drop(client);
    assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(block_on(open.clone().into_future()).unwrap_err().kind(), ErrorKind::Disconnected);
    assert_ne!(open.state(), PublishState::Persisted);
    // What was known stays known.
    block_on(confirmed.clone().into_future()).unwrap();
    assert!(open.is_stored() && confirmed.is_stored(), "in memory, as it promised");
    block_on(open.stored_future()).unwrap();
    open.wait_stored(PATIENCE).unwrap();
}

#[test]
fn a_refusal_is_known_when_the_client_is_gone() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").publish_store(MemoryPublishStore::new()));
    let receipt = client.publish("orders", "1").unwrap();
    let number = line.expect(CommandKind::Publish).sequence().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","a":"persisted","s":{number},"status":"failure","reason":"not entitled"}}"#
    ));
    until("the refusal", || receipt.state() == PublishState::Refused);
    drop(client);
    let error = block_on(receipt.into_future()).unwrap_err();
    assert!(error.to_string().contains("not entitled"), "{error}");
}

#[test]
fn a_logon_that_fails_on_the_way_to_the_next_connection_ends_no_wait() {
    let server = server();
    let (tell, told) = channel();
    let asked: Arc<OnceLock<Receipt>> = Arc::default();
    let looks = Arc::clone(&asked);
    let client = common::client("c")
        .server(common::uri(&server))
        .publish_store(MemoryPublishStore::new())
        .reconnect(Reconnect::new().initial(Duration::from_millis(1)))
        .on_error(move |error| {
            let look = |receipt: &Receipt| {
                let waits = pin!(receipt.clone().into_future());
                waits.poll(&mut Context::from_waker(Waker::noop())).is_pending()
            };
            _ = tell.send((error.kind(), looks.get().is_none_or(look)));
        })
        .connect()
        .unwrap();
    server.hold_durability(true);
    let receipt = client.publish("orders", "1").unwrap();
    asked.set(receipt.clone()).unwrap();
    let waits = aside(move || block_on(receipt.into_future()));
    let refusing = Fault::when(Trigger::Logon)
        .once()
        .then(Action::RefuseLogon { reason: "come back later".into(), close: true });
    server.add_fault(refusing).unwrap();
    assert!(server.drop_connection("c", How::Reset));
    // The loss, and the refusal; then a connection.
    loop {
        let (kind, waits) = told.recv_timeout(PATIENCE).unwrap();
        assert!(waits, "{kind:?} ended the wait");
        if kind != ErrorKind::Disconnected {
            break;
        }
    }
    until("the next connection", || client.is_connected());
    server.hold_durability(false);
    waits.join().unwrap().unwrap();
}

#[test]
fn a_client_that_gives_up_ends_every_wait() {
    let server = server();
    let client: Client = common::client("c")
        .server(common::uri(&server))
        .publish_store(MemoryPublishStore::new())
        .on_store_growth(400, |_| false)
        .reconnect(
            Reconnect::new().initial(Duration::from_millis(1)).give_up_after(Duration::from_millis(20)),
        )
        .connect()
        .unwrap();
    server.hold_durability(true);
    let receipt = client.publish("orders", "1").unwrap();
    let waits = aside(move || block_on(receipt.into_future()));
    let other = client.clone();
    let publishes = aside(move || {
        loop {
            if let Err(error) = block_on(other.publish_future("orders", "more")) {
                return error;
            }
        }
    });
    until("a full store", || client.publish_store().is_some_and(|store| store.bytes > 300));
    drop(server);
    assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert_eq!(publishes.join().unwrap().kind(), ErrorKind::Disconnected);
}
