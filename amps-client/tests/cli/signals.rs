//! SIGINT and SIGTERM while messages are awaited.

use std::net::TcpListener;

use amps_client::CommandKind;
use amps_testkit::{FakeServer, QueueConfig};
use rustix::process::Signal;

use crate::process::{Running, at, placed, program};

#[test]
fn a_signal_ends_a_subscription_with_a_summary() {
    let server = FakeServer::builder().start().unwrap();
    for (signal, status, count) in [(Signal::INT, 130, 1), (Signal::TERM, 143, 2)] {
        let mut running = Running::start(program(&["subscribe", "--server", &at(&server), "--topic", "t"]));
        placed(&server, CommandKind::Subscribe, count);
        server.publish("t", "1").unwrap();
        assert_eq!(running.line(), "1");
        running.signal(signal);
        let ended = running.end_open();
        assert_eq!(ended.status, status, "{ended:?}");
        assert!(ended.stderr.starts_with("Total messages received: 1 ("), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

#[test]
fn what_was_printed_is_acknowledged_before_the_end() {
    let server = FakeServer::builder().queue(QueueConfig::new("work").max_backlog(10)).start().unwrap();
    for id in 0..10 {
        server.publish("work", format!("{{\"id\":{id}}}")).unwrap();
    }
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "work",
        "--ack",
        "--backlog",
        "10",
    ]));
    (0..10).for_each(|id| assert_eq!(running.line(), format!("{{\"id\":{id}}}")));
    running.signal(Signal::INT);
    assert_eq!(running.end_open().status, 130);
    let queue = server.queue("work").unwrap();
    assert_eq!((queue.counters.acknowledged, queue.available.len(), queue.leased.len()), (10, 0, 0));
}

#[test]
fn a_signal_ends_the_waiting_for_a_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for command in ["ping", "subscribe"] {
        let line = [command, "--server", &address, "--topic", "t"];
        let running = Running::start(program(&line[..if command == "ping" { 3 } else { 5 }]));
        let (_connection, _) = silent.accept().unwrap();
        running.signal(Signal::INT);
        assert_eq!(running.end_open().status, 130, "{command}");
    }
}
