//! Acknowledgements on the wire: batching, order, timing, and what is never acknowledged.

mod common;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use amps_client::{
    AckOption, Client, ClientBuilder, Command, CommandKind, ErrorKind, HandlerSubscription, SowDelete,
    Subscription,
};
use amps_protocol::Message as Raw;
use common::{Line, Peer, aside, bookmarks, errors, leased, placed, plain};

/// A client that reads the queue `q` with the given grant.
fn reader(builder: ClientBuilder, peer: &Peer, auto_ack: bool, granted: u32) -> (Subscription, Line, Raw) {
    let (client, mut line) = peer.connect(builder);
    let starting = aside(move || client.subscribe("q").max_backlog(100).auto_ack(auto_ack).start().unwrap());
    let sub = line.grant(granted);
    (starting.join().unwrap(), line, sub)
}

fn handler(
    client: &Client,
    line: &mut Line,
    f: impl FnMut(&amps_client::Message<&[u8]>) -> amps_client::HandlerResult + Send + 'static,
) -> (HandlerSubscription, Raw) {
    let client = client.clone();
    let starting =
        aside(move || client.subscribe("q").max_backlog(100).auto_ack(true).on_message(f).unwrap());
    let sub = line.grant(100);
    (starting.join().unwrap(), sub)
}

const SHORT: Duration = Duration::from_millis(60);

/// C-5-1-3 C-5-2-1 C-5-2-3
#[test]
fn the_requested_backlog_is_sent_and_the_granted_one_is_known() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").ack_batch_size(10));
    let starting = aside(move || client.subscribe("q").max_backlog(5).max_backlog(10).start().unwrap());
    let sub = line.grant(5);
    assert_eq!(sub.options().unwrap(), "max_backlog=10");
    assert_eq!(sub.sub_id(), sub.command_id());
    assert!(sub.bookmark().is_none());
    let work = starting.join().unwrap();
    assert_eq!(work.granted_backlog(), Some(5));
    assert_eq!(work.effective_ack_batch_size(), 5);
}

/// C-5-3-1
#[test]
fn without_batching_each_acknowledgement_is_sent_at_once() {
    let peer = Peer::new();
    let (mut work, mut line, sub) = reader(peer.client("c"), &peer, false, 100);
    line.deliver(&sub, "q", [1]);
    let message = work.next().unwrap().unwrap();
    assert_eq!(message.data(), br#"{"id":1}"#);
    message.ack();
    let ack = line.expect(CommandKind::SowDelete);
    assert_eq!(bookmarks(&ack), "7|1|");
    assert_eq!(ack.topic().unwrap(), "q");
    assert!(ack.options().is_none() && ack.acks().is_empty() && ack.filter().is_none());
    assert!(ack.command_id().is_none() && ack.data().is_empty());
    message.ack();
    message.clone_and_ack();
    assert!(line.within(SHORT).is_empty(), "a delivery is settled once");
}

trait CloneAndAck {
    fn clone_and_ack(&self);
}

impl CloneAndAck for amps_client::Message {
    fn clone_and_ack(&self) {
        self.to_owned().ack();
    }
}

/// C-5-3-2
#[test]
fn a_full_batch_is_one_frame_in_order_and_goes_out_at_once() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 100);
    line.deliver(&sub, "q", 1..=10);
    let messages: Vec<_> = work.by_ref().take(10).map(Result::unwrap).collect();
    for message in &messages[..9] {
        message.ack();
    }
    assert!(line.within(SHORT).is_empty(), "nine are no batch yet");
    messages[9].ack();
    let expected: Vec<String> = (1..=10).map(|n| format!("7|{n}|")).collect();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), expected.join(","));
}

/// C-5-3-5
#[test]
fn a_batch_never_exceeds_the_granted_backlog() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 4);
    assert_eq!(work.effective_ack_batch_size(), 4);
    line.deliver(&sub, "q", 1..=4);
    for _ in 0..4 {
        work.next().unwrap().unwrap().ack();
    }
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|,7|2|,7|3|,7|4|");
}

/// C-5-3-4
#[test]
fn a_batch_goes_out_in_time_without_traffic_and_later_acks_do_not_postpone_it() {
    let peer = Peer::new();
    let timeout = Duration::from_millis(200);
    let builder = peer.client("c").ack_batch_size(1000).ack_timeout(timeout);
    let (mut work, mut line, sub) = reader(builder, &peer, false, 1000);
    line.deliver(&sub, "q", 1..=1000);
    let began = Instant::now();
    // Acknowledges all the time, as long as the first batch has not come.
    let (stop, stopped) = channel::<()>();
    let acking = aside(move || {
        while stopped.try_recv().is_err() {
            if let Some(Ok(message)) = work.next() {
                message.ack();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        work
    });
    let first = line.expect(CommandKind::SowDelete);
    let after = began.elapsed();
    stop.send(()).unwrap();
    acking.thread().unpark();
    assert!(bookmarks(&first).starts_with("7|1|,"));
    assert!(after >= timeout / 2, "{after:?}");
    assert!(after < Duration::from_secs(10), "later acknowledgements postponed it: {after:?}");
    drop(acking.join().unwrap());
}

/// C-5-3-8
#[test]
fn auto_ack_on_an_iterator_waits_for_the_next_request() {
    let peer = Peer::new();
    let (mut work, mut line, sub) = reader(peer.client("c"), &peer, true, 100);
    line.deliver(&sub, "q", 1..=2);
    let first = work.next().unwrap().unwrap();
    assert!(line.within(SHORT).is_empty(), "the first is still being processed");
    let second = work.next().unwrap().unwrap();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|");
    drop((first, second));
    drop(work);
    assert_eq!(line.expect(CommandKind::Unsubscribe).sub_id(), sub.sub_id());
    assert!(line.within(SHORT).is_empty(), "the second goes back to the server");
}

#[test]
fn auto_ack_leaves_alone_what_was_settled_or_exempted() {
    let peer = Peer::new();
    let (mut work, mut line, sub) = reader(peer.client("c"), &peer, true, 100);
    line.deliver(&sub, "q", 1..=3);
    work.next().unwrap().unwrap().cancel();
    let cancel = line.expect(CommandKind::SowDelete);
    assert_eq!(cancel.options().unwrap(), "cancel");
    let kept = work.next().unwrap().unwrap();
    kept.keep_lease();
    let third = work.next().unwrap().unwrap();
    assert!(work.next_within(Duration::ZERO).unwrap().is_none());
    assert_eq!(
        bookmarks(&line.expect(CommandKind::SowDelete)),
        "7|3|",
        "asking again acknowledges the third"
    );
    kept.ack();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|2|");
    drop(third);
}

/// C-3-3-2 C-3-3-3
#[test]
fn a_handler_acknowledges_what_it_returned_ok_for_and_gives_the_rest_back() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let (_sub, sub) = handler(&client, &mut line, |message| match message.data() {
        br#"{"id":2}"# => Err("cannot".into()),
        br#"{"id":3}"# => panic!("bug in the handler"),
        _ => Ok(()),
    });
    line.deliver(&sub, "q", 1..=4);
    let frames: Vec<(String, Option<String>)> = (0..4)
        .map(|_| line.expect(CommandKind::SowDelete))
        .inspect(|frame| assert_eq!(frame.topic().unwrap(), "q"))
        .map(|frame| (bookmarks(&frame), frame.options().map(ToString::to_string)))
        .collect();
    let cancel = Some("cancel".to_owned());
    let expected = [("7|1|", None), ("7|2|", cancel.clone()), ("7|3|", cancel), ("7|4|", None)];
    assert_eq!(frames, expected.map(|(bookmark, option)| (bookmark.to_owned(), option)));
    for text in ["cannot", "bug in the handler"] {
        let error = reported.recv_timeout(common::PATIENCE).unwrap();
        assert_eq!(error.kind(), ErrorKind::MessageHandler);
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// C-5-3-9
#[test]
fn a_handler_that_acknowledges_by_itself_does_so_once() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_sub, sub) = handler(&client, &mut line, |message| {
        message.ack();
        Ok(())
    });
    line.deliver(&sub, "q", 1..=2);
    let all: Vec<String> = (0..2).map(|_| bookmarks(&line.expect(CommandKind::SowDelete))).collect();
    assert_eq!(all, ["7|1|", "7|2|"]);
    assert!(line.within(SHORT).is_empty());
}

/// C-5-3-6 C-5-4-4
#[test]
fn messages_without_a_lease_are_never_acknowledged() {
    let peer = Peer::new();
    let (mut work, mut line, sub) = reader(peer.client("c"), &peer, true, 100);
    let sid = sub.sub_id().unwrap().to_string();
    line.send(&plain(&sid, "q", "1"));
    line.send(&plain(&sid, "q", "2"));
    let first = work.next().unwrap().unwrap();
    assert!(!first.is_leased());
    first.ack();
    first.cancel();
    drop(work.next());
    assert!(line.within(SHORT).is_empty());
}

/// C-5-4-1 C-5-4-2 C-5-4-3
#[test]
fn a_message_given_back_goes_out_after_what_was_acknowledged_before() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 100);
    line.deliver(&sub, "q", 1..=4);
    let messages: Vec<_> = work.by_ref().take(4).map(Result::unwrap).collect();
    messages[0].ack();
    messages[1].ack();
    messages[2].cancel();
    let (first, second) = (line.expect(CommandKind::SowDelete), line.expect(CommandKind::SowDelete));
    assert_eq!((bookmarks(&first).as_str(), first.options()), ("7|1|,7|2|", None));
    assert_eq!(
        (bookmarks(&second).as_str(), second.options().unwrap().to_string().as_str()),
        ("7|3|", "cancel")
    );
    messages[3].ack_with(&AckOption::Expire);
    assert_eq!(line.expect(CommandKind::SowDelete).options().unwrap(), "expire");
}

#[test]
fn acknowledgements_of_several_topics_share_the_count_but_not_the_frame() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(3).ack_timeout(Duration::from_secs(3600));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 100);
    let sid = sub.sub_id().unwrap().to_string();
    line.send_all(&[leased(&sid, "q1", 1), leased(&sid, "q2", 2), leased(&sid, "q1", 3)]);
    for message in work.by_ref().take(3) {
        message.unwrap().ack();
    }
    let (first, second) = (line.expect(CommandKind::SowDelete), line.expect(CommandKind::SowDelete));
    assert_eq!((first.topic().unwrap().to_string(), bookmarks(&first)), ("q1".into(), "7|1|,7|3|".into()));
    assert_eq!((second.topic().unwrap().to_string(), bookmarks(&second)), ("q2".into(), "7|2|".into()));
}

/// C-2-8-3
#[test]
fn pending_acknowledgements_precede_the_unsubscribe() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 100);
    line.deliver(&sub, "q", 1..=2);
    for _ in 0..2 {
        work.next().unwrap().unwrap().ack();
    }
    work.close();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|,7|2|");
    line.expect(CommandKind::Unsubscribe);
}

#[test]
fn a_smaller_batch_size_and_a_flush_send_what_waits() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(Duration::from_secs(3600));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let starting = aside(move || subscriber.subscribe("q").max_backlog(100).start().unwrap());
    let sub = line.grant(100);
    let mut work = starting.join().unwrap();
    line.deliver(&sub, "q", 1..=4);
    let mut ack_next = || work.next().unwrap().unwrap().ack();
    ack_next();
    ack_next();
    client.set_ack_batch_size(2);
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|,7|2|");
    ack_next();
    client.flush_acks();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|3|");
}

#[test]
fn acknowledgements_from_many_threads_are_each_sent_once() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(7).ack_timeout(Duration::from_millis(20));
    let (mut work, mut line, sub) = reader(builder, &peer, false, 1000);
    line.deliver(&sub, "q", 1..=1000);
    let messages: Vec<_> = work.by_ref().take(1000).map(Result::unwrap).collect();
    std::thread::scope(|scope| {
        for part in messages.chunks(250) {
            scope.spawn(move || part.iter().for_each(amps_client::Message::ack));
        }
    });
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 1000 {
        let frame = line.next().unwrap();
        if frame.command() == CommandKind::SowDelete {
            seen.extend(bookmarks(&frame).split(',').map(str::to_owned));
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
}

#[test]
fn acknowledging_by_hand_bypasses_the_checks() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    client.ack("q", "9|9|").unwrap();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "9|9|");
    client.ack_with("q", "9|8|", &AckOption::Cancel).unwrap();
    assert_eq!(line.expect(CommandKind::SowDelete).options().unwrap(), "cancel");
}

#[test]
fn sow_delete_by_bookmarks_and_by_filter_waits_for_the_server() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let deleting = aside(move || other.sow_delete(&SowDelete::by_bookmarks("q", ["7|1|", "7|2|"])));
    let delete = line.expect(CommandKind::SowDelete);
    assert_eq!(bookmarks(&delete), "7|1|,7|2|");
    assert!(delete.options().is_none() && !delete.acks().is_empty());
    line.ack(&delete);
    deleting.join().unwrap().unwrap();

    let filter = "/id = '7' and /status != 'cancel'";
    let delete = SowDelete::by_filter("q", filter).option(AckOption::Expire);
    let deleting = aside(move || client.sow_delete(&delete));
    let delete = line.expect(CommandKind::SowDelete);
    assert_eq!(delete.filter().unwrap(), filter);
    assert_eq!(delete.options().unwrap(), "expire");
    assert!(delete.bookmark().is_none());
    line.refuse(&delete, "bad filter");
    assert_eq!(deleting.join().unwrap().unwrap_err().kind(), ErrorKind::BadFilter);
}

#[test]
fn waiting_calls_in_a_handler_are_refused_at_once_and_others_work() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, kinds) = channel();
    let inside = client.clone();
    let (_sub, sub) = handler(&client, &mut line, move |message| {
        let delete = SowDelete::by_bookmarks("q", ["7|1|"]);
        sender.send(inside.sow_delete(&delete).unwrap_err().kind())?;
        sender.send(inside.flush(Duration::from_secs(1)).unwrap_err().kind())?;
        sender.send(inside.subscribe("x").start().unwrap_err().kind())?;
        sender.send(inside.close().unwrap_err().kind())?;
        inside.publish("t", b"from a handler")?;
        message.ack();
        Ok(())
    });
    line.deliver(&sub, "q", [1]);
    for _ in 0..4 {
        assert_eq!(kinds.recv_timeout(common::PATIENCE).unwrap(), ErrorKind::Usage);
    }
    assert_eq!(line.expect(CommandKind::Publish).data(), b"from a handler");
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|");
}

#[test]
fn unsubscribing_inside_a_handler_ends_the_deliveries_at_once() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, calls) = channel();
    let own: std::sync::Arc<std::sync::OnceLock<HandlerSubscription>> = Default::default();
    let inside = std::sync::Arc::clone(&own);
    let (subscription, sub) = handler(&client, &mut line, move |message| {
        message.ack();
        sender.send(())?;
        if bookmarks_of(message) == "7|3|" {
            Wait::wait(&*inside).unsubscribe();
        }
        Ok(())
    });
    own.set(subscription).unwrap();
    line.deliver(&sub, "q", 1..=100);
    let frames: Vec<_> = (0..4).map(|_| line.next().unwrap()).collect();
    assert!(frames[..3].iter().all(|frame| frame.command() == CommandKind::SowDelete));
    assert_eq!(frames[3].command(), CommandKind::Unsubscribe);
    assert!(line.within(SHORT).is_empty());
    assert_eq!(calls.try_iter().count(), 3);
}

trait Wait {
    fn wait(&self) -> &HandlerSubscription;
}

impl Wait for std::sync::OnceLock<HandlerSubscription> {
    fn wait(&self) -> &HandlerSubscription {
        loop {
            match self.get() {
                Some(subscription) => return subscription,
                None => std::thread::yield_now(),
            }
        }
    }
}

fn bookmarks_of(message: &amps_client::Message<&[u8]>) -> String {
    message.bookmark().unwrap().to_string()
}

#[test]
fn a_leased_message_for_two_subscriptions_is_settled_once() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_one, first) = handler(&client, &mut line, |_| Ok(()));
    let (_two, second) = handler(&client, &mut line, |message| match message.data() {
        br#"{"id":2}"# => Err("cannot".into()),
        _ => Ok(()),
    });
    let ids = format!("{},{}", first.sub_id().unwrap(), second.sub_id().unwrap());
    line.send_all(&[leased(&ids, "q", 1), leased(&ids, "q", 2)]);
    let frames = [line.expect(CommandKind::SowDelete), line.expect(CommandKind::SowDelete)];
    assert_eq!((bookmarks(&frames[0]).as_str(), frames[0].options()), ("7|1|", None));
    assert_eq!(bookmarks(&frames[1]), "7|2|");
    assert_eq!(frames[1].options().unwrap(), "cancel", "one of the two has failed");
    assert!(line.within(SHORT).is_empty());
}

#[test]
fn a_handler_whose_error_panics_does_not_take_the_client_with_it() {
    struct Nasty;
    impl std::fmt::Display for Nasty {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no text either")
        }
    }
    impl std::fmt::Debug for Nasty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Nasty")
        }
    }
    impl std::error::Error for Nasty {}
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_sub, sub) = handler(&client, &mut line, |_| Err(Box::new(Nasty)));
    line.deliver(&sub, "q", 1..=2);
    for _ in 0..2 {
        assert_eq!(line.expect(CommandKind::SowDelete).options().unwrap(), "cancel");
    }
    assert!(client.is_connected());
}

#[test]
fn a_smaller_batch_size_sends_acknowledgements_by_hand_too() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").ack_batch_size(10).ack_timeout(Duration::ZERO));
    client.ack("q", "7|1|").unwrap();
    client.ack("q", "7|2|").unwrap();
    client.set_ack_batch_size(1);
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|,7|2|");
}

/// C-5-2-2
#[test]
fn a_backlog_is_asked_for_only_if_the_application_wants_it() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (plain, subscribe) = {
        let client = client.clone();
        placed(&mut line, move || client.subscribe("q").start().unwrap())
    };
    assert!(subscribe.options().is_none());
    assert_eq!(plain.granted_backlog(), None, "no queue, as far as the server says");
    let (_none, subscribe) = placed(&mut line, move || client.subscribe("q").max_backlog(0).start().unwrap());
    assert_eq!(subscribe.options().unwrap(), "max_backlog=0");
}

/// C-5-3-3
#[test]
fn a_few_acknowledgements_go_out_together_when_their_time_has_come() {
    let peer = Peer::new();
    let timeout = Duration::from_millis(100);
    let builder = peer.client("c").ack_batch_size(10).ack_timeout(timeout);
    let (mut work, mut line, sub) = reader(builder, &peer, false, 100);
    line.deliver(&sub, "q", 1..=3);
    let messages: Vec<_> = work.by_ref().take(3).map(Result::unwrap).collect();
    let began = Instant::now();
    for message in &messages {
        message.ack();
    }
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|,7|2|,7|3|");
    assert!(began.elapsed() >= timeout / 2, "{:?}", began.elapsed());
}

/// C-5-3-7
#[test]
fn auto_ack_waits_for_the_handler() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (go_on, wait) = channel::<()>();
    let (entered, inside) = channel();
    let (_sub, sub) = handler(&client, &mut line, move |_| {
        entered.send(())?;
        Ok(wait.recv()?)
    });
    line.deliver(&sub, "q", [1]);
    inside.recv_timeout(common::PATIENCE).unwrap();
    assert!(line.within(SHORT).is_empty(), "it has not returned yet");
    go_on.send(()).unwrap();
    assert_eq!(bookmarks(&line.expect(CommandKind::SowDelete)), "7|1|");
}

/// C-5-3-12
#[test]
fn a_handler_acknowledges_a_thousand_messages_each_once() {
    let peer = Peer::new();
    let builder = peer.client("c").ack_batch_size(30).ack_timeout(Duration::from_millis(10));
    let (client, mut line) = peer.connect(builder);
    let starting = aside(move || {
        let acknowledge = |message: &amps_client::Message<&[u8]>| {
            message.ack();
            Ok(())
        };
        client
            .subscribe("q")
            .max_backlog(1000)
            .on_message(acknowledge)
            .map(|placed| (client, placed))
            .unwrap()
    });
    let sub = line.grant(1000);
    let (_client, placed) = starting.join().unwrap();
    assert_eq!(placed.effective_ack_batch_size(), 30);
    line.deliver(&sub, "q", 1..=1000);
    let mut seen = Vec::new();
    while seen.len() < 1000 {
        let frame = bookmarks(&line.expect(CommandKind::SowDelete));
        seen.extend(frame.split(',').map(str::to_owned));
    }
    let expected: Vec<String> = (1..=1000).map(|n| format!("7|{n}|")).collect();
    assert_eq!(seen, expected);
    assert!(line.within(SHORT).is_empty());
}

/// C-5-5-1 C-5-5-2
#[test]
fn acknowledging_with_a_command_says_what_the_application_says() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let other = client.clone();
    let by_bookmarks = Command::sow_delete("Q").bookmark("B1,B2");
    let (done, frame) = placed(&mut line, move || other.perform(&by_bookmarks));
    done.unwrap();
    assert_eq!((frame.topic().unwrap(), bookmarks(&frame).as_str()), ("Q".into(), "B1,B2"));
    assert!(frame.options().is_none() && frame.filter().is_none() && frame.sow_keys().is_none());

    let filter = "/id = '7' and /status != 'cancel'";
    let by_filter = Command::sow_delete("Q").filter(filter).options("expire");
    let (done, frame) = placed(&mut line, move || client.perform(&by_filter));
    done.unwrap();
    assert_eq!((frame.filter().unwrap(), frame.options().unwrap()), (filter.into(), "expire".into()));
    assert!(frame.bookmark().is_none());
}
