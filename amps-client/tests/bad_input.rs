//! Wrong arguments and wrong peers: each gets a typed error of one clear sentence, in time.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use amps_client::{AckOption, Command, CommandKind, Error, ErrorKind, PublishOptions};
use common::{Peer, Way, aside, errors};

fn connect_error(uri: &str) -> Error {
    common::client("c").server(uri).connect().unwrap_err()
}

/// C-1-2-4 C-1-3-2 C-1-3-3
#[test]
fn a_wrong_connection_string_is_refused_before_any_socket_is_opened() {
    for (uri, kind) in [
        ("localhost", ErrorKind::InvalidUri),
        ("tcp:///", ErrorKind::InvalidUri),
        ("tcp://h:1", ErrorKind::InvalidUri),
        ("foo://h:1/amps/json", ErrorKind::TransportType),
        ("tcp://h:1/fix/json", ErrorKind::Protocol),
        ("tcp://h:1/amps/json?tcp_nodleay=true", ErrorKind::InvalidTransportOptions),
        ("tcp://h:1/amps/json?tcp_sndbuf=abc", ErrorKind::InvalidTransportOptions),
    ] {
        let error = connect_error(uri);
        assert_eq!(error.kind(), kind, "{uri}: {error}");
        assert!(!error.to_string().contains('\n'), "one sentence: {error}");
    }
    assert!(connect_error("tcp://h:1/amps?tcp_nodleay=true").to_string().contains("tcp_nodleay"));
}

/// C-1-1-4 C-3-7-1: a client with a reconnect policy takes no disconnect handler (R1).
#[test]
fn a_wrong_client_is_refused_before_any_socket_is_opened() {
    let uri = "tcp://127.0.0.1:9/amps/json";
    for builder in [
        common::client("").server(uri),
        common::client("a\nb").server(uri),
        common::client("c"),
        common::client("c").server(uri).reconnect(Default::default()).on_disconnect(|_, _| Ok(())),
    ] {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

/// C-3-2-2
#[test]
fn a_port_where_nothing_listens_is_refused() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connect_error(&format!("tcp://{unused}/amps/json"));
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&unused.to_string()), "{error}");
}

#[test]
fn an_unknown_host_is_a_connection_error_that_names_it() {
    let error = connect_error("tcp://no-such-host.invalid:9007/amps/json");
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn every_server_of_the_list_is_tried_once() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = Peer::new();
    let builder = common::client("c").server(format!("tcp://{unused}/amps/json")).server(peer.uri());
    let (client, _line) = peer.connect(builder);
    assert!(client.is_connected());
}

/// C-1-1-3
#[test]
fn a_refused_logon_says_why_and_closes_the_socket() {
    for (reason, kind) in [
        ("auth failure", ErrorKind::Authentication),
        ("Name In Use", ErrorKind::NameInUse),
        ("not entitled", ErrorKind::NotEntitled),
        ("weird new thing", ErrorKind::Command),
    ] {
        let peer = Peer::new();
        let uri = common::with_user(&peer.uri(), "ada:s3cret");
        let connecting = aside(move || connect_error(&uri));
        let mut line = peer.accept();
        let logon = line.expect(CommandKind::Logon);
        assert_eq!(logon.user_id().unwrap(), "ada");
        line.refuse(&logon, reason);
        assert!(line.next().is_none(), "the client closes");
        let error = connecting.join().unwrap();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}

/// C-1-4-3
#[test]
fn a_server_that_keeps_challenging_is_given_up() {
    let peer = Peer::new();
    let builder = peer.client("c");
    let connecting = aside(move || builder.connect().unwrap_err());
    let mut line = peer.accept();
    let mut ids = Vec::new();
    while let Some(logon) = line.next() {
        let cid = logon.command_id().unwrap().to_string();
        line.send(&format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"retry"}}"#));
        ids.push(cid);
    }
    assert_eq!(ids.len(), 4, "one logon and three retries");
    ids.dedup();
    assert_eq!(ids.len(), 4, "each with a command id of its own");
    assert_eq!(connecting.join().unwrap().kind(), ErrorKind::RetryOperation);
}

#[test]
fn a_server_that_accepts_and_never_answers_times_out() {
    let peer = Peer::new();
    let builder = peer.client("c").logon_timeout(Duration::from_millis(100));
    let began = Instant::now();
    let connecting = aside(move || builder.connect().unwrap_err());
    let mut line = peer.accept();
    line.expect(CommandKind::Logon);
    let error = connecting.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert!(line.next().is_none(), "the client closes");
}

#[test]
fn a_server_that_closes_during_the_logon_is_a_disconnect() {
    let peer = Peer::new();
    let builder = peer.client("c");
    let connecting = aside(move || builder.connect().unwrap_err());
    let mut line = peer.accept();
    line.expect(CommandKind::Logon);
    drop(line);
    assert_eq!(connecting.join().unwrap().kind(), ErrorKind::Disconnected);
}

/// Sends bytes to a client with a live subscription; returns how its stream ends.
fn stream_end_after(bytes: &[u8]) -> Error {
    let peer = Peer::unless(Way::web_socket, "a WebSocket message is a whole frame");
    let (client, mut line) = peer.connect(peer.client("c").max_frame(1 << 20));
    let subscriber = client.clone();
    let reading = aside(move || {
        let mut work = subscriber.subscribe("work").start().unwrap();
        let end = work.next().unwrap().unwrap_err();
        assert!(work.next().is_none(), "the error is the last item");
        end
    });
    line.grant(1);
    line.stream.write_all(bytes).unwrap();
    line.stream.shutdown_write().unwrap();
    let end = reading.join().unwrap();
    assert_eq!(client.publish("t", b"x").unwrap_err().kind(), end.kind(), "the client stays disconnected");
    end
}

#[test]
fn a_close_in_the_middle_of_a_frame_delivers_nothing_of_it() {
    let end = stream_end_after(b"\0\0\0\x40{\"c\":\"p\",\"sids\":\"2\"");
    assert_eq!(end.kind(), ErrorKind::Disconnected);
}

#[test]
fn a_frame_beyond_the_limit_ends_the_connection() {
    let end = stream_end_after(b"\xff\xff\xff\xff");
    assert_eq!(end.kind(), ErrorKind::Protocol);
    assert!(end.to_string().contains("4294967295"), "{end}");
}

#[test]
fn a_header_that_does_not_parse_ends_the_connection() {
    let end = stream_end_after(b"\0\0\0\x06{\"c\":}");
    assert_eq!(end.kind(), ErrorKind::Protocol);
    assert!(end.to_string().contains("byte 5"), "{end}");
}

#[test]
fn unknown_messages_and_empty_frames_change_nothing() {
    let peer = Peer::new();
    let (sender, unexpected) = std::sync::mpsc::channel();
    let builder = peer.client("c").on_unexpected(move |message| _ = sender.send(format!("{message:?}")));
    let (client, mut line) = peer.connect(builder);
    line.send_raw(b"\0\0\0\0");
    line.send(r#"{"c":"teleport"}"#);
    line.send("{}");
    line.send(&common::plain("99", "t", "late"));
    for expected in ["teleport", "Message", "sids"] {
        let text = unexpected.recv_timeout(common::PATIENCE).unwrap();
        assert!(text.contains(expected), "{text}");
    }
    assert!(client.is_connected());
}

#[test]
fn a_refused_command_is_the_callers_error_and_the_client_goes_on() {
    let peer = Peer::new();
    let (builder, _) = errors(peer.client("c"));
    let (client, mut line) = peer.connect(builder);
    let subscriber = client.clone();
    let subscribing = aside(move || subscriber.subscribe("work").filter("/a && 1").start().unwrap_err());
    let subscribe = line.expect(CommandKind::Subscribe);
    line.refuse(&subscribe, "bad filter");
    let error = subscribing.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::BadFilter);
    assert!(error.to_string().starts_with("subscribe \"work\""), "{error}");
    client.publish("t", b"still works").unwrap();
    line.expect(CommandKind::Publish);
}

/// Every misuse that can be known before a byte is written is refused before that.
#[test]
fn misuse_is_refused_before_a_byte_is_written() {
    let peer = Peer::new();
    let (client, mut line) =
        peer.connect(peer.client("c").reconnect(Default::default()).heartbeat(Duration::ZERO));
    let subscribe = || Command::subscribe("t");
    for wrong in [
        Command::subscribe(""),
        Command::new("subscribe"),
        Command::new(""),
        Command::new("sub\nscribe").topic("t"),
        Command::subscribe("a\tb"),
        subscribe().filter("/a =\n1"),
        subscribe().sub_id("a\u{1}b"),
        subscribe().sub_id("a,b"),
        subscribe().command_id("a\rb"),
        subscribe().bookmark("0\n"),
        subscribe().bookmark("0").live().rate("2X"),
        subscribe().replace(),
        subscribe().skip_n(3),
        Command::unsubscribe("a\nb"),
        Command::sow("t").query_id("a\nb"),
        Command::sow("t").order_by("/a\n"),
        Command::sow("t").batch_size(0),
        Command::sow("t").sow_keys(["1", "2\n"]),
        Command::publish("t").sow_key("a\nb"),
        Command::publish("t").correlation_id("a\nb"),
        Command::publish("t").oof(),
        Command::sow_delete("q").filter("1=1").bookmark("1|1|"),
        Command::sow_delete("q").bookmark("1|1|").options("cancel,expire"),
        Command::sow_delete("q"),
        Command::new("group_begin").topic("t"),
    ] {
        let said = [client.perform(&wrong), client.execute(&wrong).map(drop), client.send(&wrong)];
        for error in said.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong:?}: {error}");
            assert!(!error.to_string().contains('\n'), "one sentence: {error}");
        }
    }
    for option in ["oof", "", "a\nb", "max_backlog=3"] {
        assert_eq!(AckOption::raw(option).unwrap_err().kind(), ErrorKind::InvalidArgument, "{option}");
    }
    let replaced = client.execute(&subscribe().sub_id("nobody").replace()).map(drop);
    assert_eq!(replaced.unwrap_err().kind(), ErrorKind::InvalidSubscription);
    assert_eq!(client.perform(&Command::new("logon")).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(client.on_disconnect(|_, _| Ok(())).unwrap_err().kind(), ErrorKind::Usage);
    let options = PublishOptions::new().sow_key("a\nb");
    assert_eq!(client.publish_with("t", "x", &options).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(client.delta_publish("a\nb", "x").unwrap_err().kind(), ErrorKind::InvalidArgument);
    let marked = common::client("c").server("tcp://h:1/amps").logon_correlation_id("not base 64");
    assert_eq!(marked.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    client.publish("t", "the first byte").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"the first byte");
}

#[test]
fn arguments_that_can_never_work_are_refused_locally() {
    let peer = Peer::new();
    let (client, _line) = peer.connect(peer.client("c").max_message(10));
    let kind = |error: Error| error.kind();
    assert_eq!(kind(client.subscribe("").start().unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.subscribe("t").sub_id("a,b").start().unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.publish("t", [0; 11]).unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.publish("", b"x").unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.ack("a\nb", "7|1|").unwrap_err()), ErrorKind::InvalidArgument);
    let nothing = amps_client::SowDelete::by_filter("q", " ");
    assert_eq!(kind(client.sow_delete(&nothing).unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.connect().unwrap_err()), ErrorKind::AlreadyConnected);
}
