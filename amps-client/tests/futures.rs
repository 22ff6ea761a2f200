//! The calls that wait, as futures: any runtime will do, also one made here in ten lines.

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use amps_client::{Client, Command, CommandKind, ErrorKind, SowDelete};
use amps_testkit::SowConfig;
use common::{PATIENCE, Peer};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future to its end; it is woken, or this waits for ever.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn everything_that_waits_can_be_awaited() {
    let server = common::fake_server().sow(SowConfig::new("t").key("/id")).start().unwrap();
    let client = common::client("c").server(common::uri(&server)).build().unwrap();
    block_on(async {
        client.connect_future().await.unwrap();
        client.publish("t", r#"{"id":1}"#).unwrap();
        client.flush_future(PATIENCE).await.unwrap();
        let records = client.execute_future(&Command::sow("t")).await.unwrap();
        assert_eq!(records.filter(|m| m.as_ref().unwrap().command() == CommandKind::Sow).count(), 1);
        let subscription = client.subscribe("t").start_future().await.unwrap();
        let deleted = client.sow_delete_future(&SowDelete::by_filter("t", "1=1")).await.unwrap();
        assert_eq!(deleted.records_deleted, 1);
        client.perform_future(&Command::unsubscribe(subscription.sub_id())).await.unwrap();
        let error = client.perform_future(&Command::sow_delete("t").filter("/id <")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadFilter);
        let error = client.perform_future(&Command::sow("t")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        client.close_future(PATIENCE).await.unwrap();
        let error = client.flush_future(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected);
    });
}

#[test]
fn a_future_that_nobody_answers_times_out() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let error = block_on(client.flush_future(Duration::from_millis(20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    line.expect(CommandKind::Flush);
}

/// A waker may do anything, also drop what asks the client in turn: no lock is held meanwhile.
#[test]
fn a_waker_may_call_the_client() {
    struct Calls(Client);
    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.publish("t", "woken").unwrap();
        }
    }
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let waker = Waker::from(Arc::new(Calls(client.clone())));
    let mut flushed = pin!(client.flush_future(PATIENCE));
    assert!(flushed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let flush = line.expect(CommandKind::Flush);
    line.ack(&flush);
    assert_eq!(line.expect(CommandKind::Publish).data(), b"woken");
    block_on(flushed).unwrap();
}
