//! Several servers, and `--store`.

use amps_client::CommandKind;
use amps_testkit::{Drop as How, FakeServer};

use crate::process::{Running, amps, at, logged, placed, program, until};

#[test]
fn a_subscription_goes_on_at_the_next_server() {
    let (one, other) = (FakeServer::builder().start().unwrap(), FakeServer::builder().start().unwrap());
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&one),
        "--server",
        &at(&other),
        "--topic",
        "t",
        "--count",
        "2",
        "--name",
        "s",
    ]));
    placed(&one, CommandKind::Subscribe, 1);
    one.publish("t", "1").unwrap();
    assert_eq!(running.line(), "1");
    one.stop_accepting();
    one.drop_connection("s", How::Reset);
    placed(&other, CommandKind::Subscribe, 1);
    other.publish("t", "2").unwrap();
    assert_eq!(running.line(), "2");
    let ended = running.end();
    assert_eq!(ended.status, 0, "{ended:?}");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!((said[0], said[1]), ("amps: the connection was lost; trying again", "amps: connected again"));
    assert!(said[2].contains("may be missing"), "{said:?}");
}

#[test]
fn the_first_server_that_answers_is_used() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = FakeServer::builder().start().unwrap();
    let ended = amps(&["ping", "--server", &dead, "--server", &at(&server)]);
    assert!(ended.done().text().contains(&at(&server)));
}

#[test]
fn a_store_remembers_what_was_printed() {
    let server = FakeServer::builder().start().unwrap();
    (1..=5).for_each(|id| _ = server.publish("t", id.to_string()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("t.bookmarks");
    let run = |count: &str| {
        let address = at(&server);
        let store = store.to_str().unwrap();
        let ended =
            amps(&["subscribe", "--server", &address, "--topic", "t", "--store", store, "--count", count]);
        ended.done().lines().join(",")
    };
    assert_eq!(run("2"), "1,2");
    assert_eq!(run("1"), "3");
    server.publish("t", "6").unwrap();
    assert_eq!(run("3"), "4,5,6");
}

#[test]
fn with_a_store_a_lost_connection_is_made_again_without_a_gap() {
    let server = FakeServer::builder().start().unwrap();
    server.publish("t", "1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("desk.bookmarks");
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "t",
        "--store",
        store.to_str().unwrap(),
        "--count",
        "3",
    ]));
    assert_eq!(running.line(), "1");
    server.drop_connection("amps-desk", How::Reset);
    server.publish("t", "2").unwrap();
    assert_eq!(running.line(), "2");
    server.publish("t", "3").unwrap();
    assert_eq!(running.line(), "3");
    let ended = running.end();
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(!ended.stderr.contains("missing"), "{ended:?}");
}

#[test]
fn a_store_that_cannot_be_is_told() {
    let server = FakeServer::builder().start().unwrap();
    let line = ["subscribe", "--server", &at(&server), "--topic", "t", "--store", "/nowhere/at/all"];
    amps(&line).failed(1);
}

#[test]
fn a_replay_goes_on_where_it_was() {
    let server = FakeServer::builder().start().unwrap();
    (1..=2).for_each(|id| _ = server.publish("t", id.to_string()).unwrap());
    let address = at(&server);
    let line =
        ["subscribe", "--server", &address, "--server", &address, "--topic", "t", "--bookmark", "epoch"];
    let mut running = Running::start(program(&[&line[..], &["--count", "3", "--name", "s"]].concat()));
    assert_eq!((running.line(), running.line()), ("1".into(), "2".into()));
    server.drop_connection("s", How::Reset);
    server.publish("t", "3").unwrap();
    assert_eq!(running.line(), "3");
    assert_eq!(running.end().status, 0);
}

#[test]
fn publishing_goes_on_at_the_next_server() {
    let (one, other) = (FakeServer::builder().start().unwrap(), FakeServer::builder().start().unwrap());
    let mut running = Running::start(program(&[
        "publish",
        "--server",
        &at(&one),
        "--server",
        &at(&other),
        "--topic",
        "t",
        "--name",
        "p",
    ]));
    running.write(b"1\n");
    until("the first message is there", || logged(&one, "t").len() == 1);
    one.stop_accepting();
    one.drop_connection("p", How::Reset);
    running.write(b"2\n");
    let ended = running.end();
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.text().starts_with("total messages published: 2 ("));
    // Where the first one was not known to be persisted yet, it is there as well.
    assert_eq!(logged(&other, "t").last().unwrap(), b"2");
}
