//! Queries of the state of the world, and deleting from it (client.md 4).

mod common;

use std::io::Write;
use std::time::Duration;

use amps_client::{AckType, Command, CommandKind, ErrorKind, OofReason, Reconnect, SowDelete};
use amps_testkit::SowConfig;
use common::{PATIENCE, Peer, aside, errors, placed, plain, sid};

/// C-4-1-3
#[test]
fn a_record_that_exceeds_its_frame_ends_the_connection_and_another_may_be_made() {
    let peer = Peer::new();
    let (builder, reported) = errors(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let other = client.clone();
    let (mut records, query) = placed(&mut line, move || other.sow("t").start().unwrap());
    let id = query.query_id().unwrap().to_string();
    line.send(&format!(
        r#"{{"c":"sow","t":"t","query_id":"{id}","bs":2}}{{"k":"1","l":1}}a{{"k":"2","l":500}}b"#
    ));
    let first = records.next().unwrap().unwrap();
    assert_eq!((first.sow_key().unwrap(), first.data()), ("1".into(), &b"a"[..]));
    assert_eq!(records.next().unwrap().unwrap_err().kind(), ErrorKind::Stream);
    assert!(records.next().is_none());
    let error = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error.kind(), ErrorKind::Stream);
    assert!(line.next().is_none(), "the client closes");
    let again = client.clone();
    let connecting = aside(move || again.connect());
    let mut line = peer.accept_logon();
    connecting.join().unwrap().unwrap();
    client.publish("t", "x").unwrap();
    line.expect(CommandKind::Publish);
}

/// C-4-2-1
#[test]
fn records_and_what_follows_come_in_one_stream_in_order() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (stream, command) = placed(&mut line, move || {
        client.sow_and_subscribe("t").filter("/id > 0").order_by("/id").top_n(5).start().unwrap()
    });
    assert_eq!(command.command(), CommandKind::SowAndSubscribe);
    assert_eq!((command.batch_size(), command.top_n()), (Some(10), Some(5)));
    assert_eq!(command.order_by().unwrap(), "/id");
    let (query, id) = (command.query_id().unwrap().to_string(), sid(&command));
    line.send_all(&[
        format!(r#"{{"c":"group_begin","query_id":"{query}"}}"#),
        format!(r#"{{"c":"sow","t":"t","query_id":"{query}","bs":2}}{{"k":"1","l":1}}a{{"k":"2","l":1}}b"#),
        format!(r#"{{"c":"group_end","query_id":"{query}"}}"#),
        format!(r#"{{"c":"p","t":"t","k":"1","sub_id":"{id}","l":1}}c"#),
        plain(&id, "t", "d"),
    ]);
    let came: Vec<_> =
        stream.take(6).map(|message| message.map(|m| (m.command(), m.data().to_vec())).unwrap()).collect();
    use CommandKind as K;
    let kinds = [K::GroupBegin, K::Sow, K::Sow, K::GroupEnd, K::Publish, K::Publish];
    let bodies: [&[u8]; 6] = [b"", b"a", b"b", b"", b"c", b"d"];
    let expected: Vec<_> = kinds.into_iter().zip(bodies.map(<[u8]>::to_vec)).collect();
    assert_eq!(came, expected);
}

/// C-4-2-2: and the whole exchange with a server that evaluates it.
#[test]
fn a_record_that_leaves_the_focus_is_told_if_that_is_asked_for() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (_stream, command) = placed(&mut line, move || client.sow_and_subscribe("t").oof().start().unwrap());
    assert_eq!(command.options().unwrap(), "oof");

    let server = common::fake_server().sow(SowConfig::new("orders").key("/id")).start().unwrap();
    let client = common::client("c").server(common::uri(&server)).connect().unwrap();
    client.publish("orders", r#"{"id":1,"open":1}"#).unwrap();
    client.publish("orders", r#"{"id":2,"open":1}"#).unwrap();
    client.flush(PATIENCE).unwrap();
    let orders = client.sow_and_subscribe("orders").filter("/open = 1").oof().start().unwrap();
    client.publish("orders", r#"{"id":1,"open":0}"#).unwrap();
    assert_eq!(client.sow_delete(&SowDelete::by_filter("orders", "/id = 2")).unwrap().records_deleted, 1);
    let oofs: Vec<_> = orders
        .map(Result::unwrap)
        .filter(|message| message.command() == CommandKind::Oof)
        .take(2)
        .map(|oof| (oof.oof_reason().unwrap(), oof.data().to_vec()))
        .collect();
    assert_eq!(oofs[0], (OofReason::Match, br#"{"id":1,"open":0}"#.to_vec()), "its new state");
    assert_eq!(oofs[1].0, OofReason::Deleted);
}

/// C-4-2-3
#[test]
fn a_query_with_a_subscription_is_repeated_as_it_was_after_a_reconnect() {
    let peer = Peer::new();
    let policy = Reconnect::new().initial(Duration::from_millis(5)).jitter(0.0);
    let (client, mut line) = peer.connect(peer.client("c").reconnect(policy).heartbeat(Duration::ZERO));
    let (_stream, before) = placed(&mut line, move || {
        client
            .sow_and_subscribe("t")
            .filter("/id > 0")
            .oof()
            .batch_size(50)
            .start()
            .map(|s| (s, client))
            .unwrap()
    });
    drop(line);
    let mut line = peer.accept_logon();
    let again = line.expect(CommandKind::SowAndSubscribe);
    assert_eq!((again.sub_id(), again.query_id()), (before.sub_id(), before.query_id()));
    assert_eq!((again.filter(), again.options()), (before.filter(), before.options()));
    assert_eq!((again.topic(), again.batch_size()), (before.topic(), Some(50)));
    assert_ne!(again.command_id(), before.command_id());
}

/// C-4-3-1 C-4-3-2
#[test]
fn a_batch_size_is_sent_as_it_is_and_only_with_queries() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    for size in [100, 1] {
        let other = client.clone();
        let (_records, query) = placed(&mut line, move || other.sow("t").batch_size(size).start().unwrap());
        assert_eq!(query.batch_size(), Some(size));
        drop(_records);
        line.expect(CommandKind::Unsubscribe);
    }
    let (_stream, subscribe) = placed(&mut line, move || client.subscribe("t").start().unwrap());
    assert!(subscribe.batch_size().is_none() && subscribe.top_n().is_none());
}

/// C-4-3-3
#[test]
fn a_batch_size_of_nothing_is_refused_before_a_byte_is_written() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let refused = client.sow("t").batch_size(0).start().map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let refused = client.execute(&Command::sow_and_subscribe("t").batch_size(0)).map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

/// C-4-4-1
#[test]
fn deleting_by_a_filter_counts_what_was_deleted() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let deleting = aside(move || client.sow_delete(&SowDelete::by_filter("vans", "/id = 7")));
    let delete = line.expect(CommandKind::SowDelete);
    assert_eq!((delete.topic().unwrap(), delete.filter().unwrap()), ("vans".into(), "/id = 7".into()));
    assert!(delete.sow_keys().is_none() && delete.bookmark().is_none() && delete.data().is_empty());
    assert!(delete.acks().contains(AckType::Processed) && delete.acks().contains(AckType::Stats));
    line.ack(&delete);
    let cid = delete.command_id().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","a":"stats","status":"success","records_deleted":1,"matches":1,"topic_matches":4}}"#
    ));
    let stats = deleting.join().unwrap().unwrap();
    assert_eq!((stats.records_deleted, stats.matches, stats.topic_matches), (1, 1, 4));
}

/// SD-11
#[test]
fn a_delete_that_is_refused_does_not_wait_for_statistics() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c").command_timeout(None));
    let deleting = aside(move || client.sow_delete(&SowDelete::by_filter("vans", "/id ==")));
    let delete = line.expect(CommandKind::SowDelete);
    line.refuse(&delete, "bad filter");
    assert_eq!(deleting.join().unwrap().unwrap_err().kind(), ErrorKind::BadFilter);
}

/// The frame of a delete.
fn frame_of(delete: SowDelete) -> amps_protocol::Message {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let deleting = aside(move || client.sow_delete(&delete));
    let frame = line.expect(CommandKind::SowDelete);
    let cid = frame.command_id().unwrap();
    line.send(&format!(r#"{{"c":"ack","cid":"{cid}","a":"processed,stats","status":"success"}}"#));
    deleting.join().unwrap().unwrap();
    frame
}

/// C-4-4-2
#[test]
fn deleting_by_keys_sends_them_as_a_list() {
    let frame = frame_of(SowDelete::by_keys("vans", ["1", "2"]));
    assert_eq!(frame.sow_keys().unwrap(), "1,2");
    assert!(frame.filter().is_none() && frame.bookmark().is_none() && frame.data().is_empty());
}

/// C-4-4-3
#[test]
fn deleting_by_data_sends_it_as_the_body() {
    let frame = frame_of(SowDelete::by_data("vans", r#"{"id":7}"#));
    assert_eq!(frame.data(), br#"{"id":7}"#);
    assert!(frame.filter().is_none() && frame.bookmark().is_none() && frame.sow_keys().is_none());
}

/// C-4-4-4: in whichever two ways, and in none.
#[test]
fn a_delete_says_in_one_way_what_it_means() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let delete = || Command::sow_delete("t");
    for wrong in [
        delete().filter("1=1").bookmark("1|1|"),
        delete().filter("1=1").sow_keys(["1"]),
        delete().filter("1=1").data("{}"),
        delete().sow_keys(["1"]).data("{}"),
        delete().sow_keys(["1"]).bookmark("1|1|"),
        delete().data("{}").bookmark("1|1|"),
        delete(),
        delete().filter(""),
    ] {
        for refused in [client.perform(&wrong), client.send(&wrong), client.execute(&wrong).map(drop)] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument, "{wrong:?}");
        }
    }
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

/// SQ-6: without a policy, a query that is under way ends with its connection.
#[test]
fn a_connection_that_is_lost_ends_a_query_under_way() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (mut records, query) =
        placed(&mut line, move || client.sow("t").start().map(|s| (s, client)).unwrap());
    let id = query.query_id().unwrap().to_string();
    line.send(&format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#));
    line.stream.flush().unwrap();
    drop(line);
    assert_eq!(records.0.next().unwrap().unwrap().command(), CommandKind::GroupBegin);
    assert_eq!(records.0.next().unwrap().unwrap_err().kind(), ErrorKind::Disconnected);
    assert!(records.0.next().is_none());
}

/// AS-5: the handler of a query is let go with the end of its result.
#[test]
fn the_handler_of_a_query_is_let_go_once_it_has_everything() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, records) = std::sync::mpsc::channel();
    let other = client.clone();
    let (placed, query) = placed(&mut line, move || {
        other.sow("t").on_message(move |message| Ok(sender.send(message.command())?)).unwrap()
    });
    assert_eq!(query.acks(), AckType::Processed.into(), "nobody waits for more");
    let id = query.query_id().unwrap().to_string();
    line.send_all(&[
        format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#),
        format!(r#"{{"c":"sow","t":"t","query_id":"{id}","bs":1}}{{"k":"1","l":1}}a"#),
        format!(r#"{{"c":"group_end","query_id":"{id}"}}"#),
    ]);
    use CommandKind as K;
    let came: Vec<_> = std::iter::from_fn(|| records.recv_timeout(PATIENCE).ok()).collect();
    assert_eq!(came, [K::GroupBegin, K::Sow, K::GroupEnd]);
    assert_eq!(placed.sub_id(), "");
    placed.unsubscribe();
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}
