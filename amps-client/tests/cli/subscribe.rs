//! `amps subscribe`: what it prints, and when it ends.

use amps_client::CommandKind;
use amps_testkit::{Drop as How, Entitlement, FakeServer};
use serde_json::{Value, json};

use crate::process::{Running, amps, at, placed, program};

/// A server with these messages in the log of the topic `t`.
fn server_with(messages: &[&[u8]]) -> FakeServer {
    let server = FakeServer::builder().start().unwrap();
    messages.iter().for_each(|message| _ = server.publish("t", message).unwrap());
    server
}

/// Prints everything that is in the log of `t`.
fn printed(server: &FakeServer, count: usize, more: &[&str]) -> Vec<u8> {
    let (address, count) = (at(server), count.to_string());
    let line = ["subscribe", "--server", &address, "--topic", "t", "--bookmark", "epoch", "--count", &count];
    amps(&[&line[..], more].concat()).done().stdout.clone()
}

#[test]
fn bodies_are_printed_as_they_are() {
    let server = server_with(&[b"{\"id\":1}", b"\xff\x00\x1b[2J", "é".as_bytes()]);
    assert_eq!(printed(&server, 3, &[]), b"{\"id\":1}\n\xff\x00\x1b[2J\n\xc3\xa9\n");
    assert_eq!(printed(&server, 2, &["--delimiter", "\\0"]), b"{\"id\":1}\0\xff\x00\x1b[2J\0");
}

#[test]
fn long_bodies_and_many_are_printed_whole() {
    let long = vec![b'x'; 1 << 20];
    let server = server_with(&[&long, b"2"]);
    assert_eq!(printed(&server, 2, &[]), [&long[..], b"\n2\n"].concat());
    let server = FakeServer::builder().start().unwrap();
    (0..20_000).for_each(|id| _ = server.publish("t", format!("{{\"id\":{id}}}")).unwrap());
    let lines = String::from_utf8(printed(&server, 20_000, &[])).unwrap();
    assert!(lines.lines().enumerate().all(|(id, line)| line == format!("{{\"id\":{id}}}")));
}

#[test]
fn a_template_says_what_is_printed() {
    let server = server_with(&[b"{\"id\":1}"]);
    let text =
        String::from_utf8(printed(&server, 1, &["-format", "{topic}\\t{command}:{length} {data}"])).unwrap();
    assert_eq!(text, "t\tpublish:8 {\"id\":1}\n");
    let text = String::from_utf8(printed(&server, 1, &["--format", "{timestamp}|{bookmark}"])).unwrap();
    let (time, bookmark) = text.trim_end().split_once('|').unwrap();
    assert!(time.ends_with('Z') && bookmark.contains('|'), "{text}");
}

#[test]
fn whole_messages_are_json_one_per_line() {
    let server = server_with(&[b"{\"id\":\n 1}", b"text", b"\xff"]);
    let text = String::from_utf8(printed(&server, 3, &["--json"])).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["data"], &lines[0]["topic"]), (&json!({"id": 1}), &json!("t")));
    assert_eq!((&lines[1]["data"], &lines[1]["command"]), (&json!("text"), &json!("publish")));
    assert_eq!((&lines[2]["data"], &lines[2]["encoding"]), (&json!("/w=="), &json!("base64")));
    assert!(lines[0]["bookmark"].is_string());
}

#[test]
fn only_what_matches_is_printed_from_now_on() {
    let server = server_with(&[b"{\"id\":9}"]);
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "t",
        "--filter",
        "/id > 1",
        "--count",
        "2",
    ]));
    placed(&server, CommandKind::Subscribe, 1);
    for id in 1..=3 {
        server.publish("t", format!("{{\"id\":{id}}}")).unwrap();
    }
    // Each is there as soon as it came.
    assert_eq!(running.line(), r#"{"id":2}"#);
    assert_eq!(running.end().done().text(), "{\"id\":3}\n");
}

#[test]
fn without_enough_messages_the_time_limit_is_a_failure() {
    let server = server_with(&[b"1"]);
    let line =
        ["subscribe", "--server", &at(&server), "--topic", "t", "--bookmark", "epoch", "--timeout", "500ms"];
    let ended = amps(&[&line[..], &["--count", "2"]].concat());
    assert!(ended.failed(5).contains("after 1 of 2 messages"));
    assert_eq!(ended.text(), "1\n");
    amps(&line).failed(5);
}

#[test]
fn a_lost_connection_is_a_failure_unless_enough_was_printed() {
    let server = server_with(&[b"1"]);
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "t",
        "--bookmark",
        "epoch",
        "--count",
        "2",
        "--name",
        "s",
    ]));
    assert_eq!(running.line(), "1");
    server.drop_connection("s", How::Reset);
    assert!(running.end().failed(3).contains("after 1 of 2 messages"));
}

#[test]
fn signs_of_life_are_agreed_before_anybody_waits() {
    let server = server_with(&[]);
    let running = Running::start(program(&["subscribe", "--server", &at(&server), "--topic", "t"]));
    placed(&server, CommandKind::Heartbeat, 1);
    drop(running);
}

#[test]
fn what_the_server_refuses_is_said_in_its_words() {
    let server = FakeServer::builder()
        .credentials("ann", "x")
        .entitle(Entitlement::read("ann", "notes"))
        .start()
        .unwrap();
    let ann = format!("ann:x@{}", at(&server));
    let refused = amps(&["subscribe", "--server", &ann, "--topic", "orders"]);
    assert!(refused.failed(4).contains("permission"));
    let refused = amps(&["subscribe", "--server", &ann, "--topic", "notes", "--filter", "/id && 1"]);
    assert!(refused.failed(4).contains("bad filter"));
    assert!(amps(&["sow", "--server", &ann, "--topic", "notes"]).failed(4).contains("topic"));
}

#[test]
fn a_copy_gets_what_is_printed() {
    let (server, other) = (server_with(&[b"1", b"2"]), FakeServer::builder().start().unwrap());
    printed(&server, 2, &["--copy", &at(&other)]);
    assert_eq!(crate::process::logged(&other, "t"), [b"1", b"2"]);
}

#[test]
fn a_copy_that_is_refused_is_a_failure() {
    let server = server_with(&[b"1"]);
    let closed = FakeServer::builder().entitle(Entitlement::write("*", "notes")).start().unwrap();
    let ended = amps(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "t",
        "--bookmark",
        "epoch",
        "--copy",
        &at(&closed),
    ]);
    assert!(ended.failed(4).contains("--copy"));
}
