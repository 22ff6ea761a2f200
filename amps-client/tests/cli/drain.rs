//! `amps subscribe --ack`: a queue is drained into stdout, and nothing is acknowledged that stdout has not taken.

use amps_testkit::{Entitlement, FakeServer, QueueConfig};
use rustix::process::Signal;

use crate::process::{Running, amps, at, logged, program, until};

fn server_with(messages: usize, body: &str) -> FakeServer {
    let server = FakeServer::builder().queue(QueueConfig::new("work").max_backlog(1000)).start().unwrap();
    for id in 0..messages {
        server.publish("work", format!("{{\"id\":{id}{body}}}")).unwrap();
    }
    server
}

/// Messages that are still there, leased or not.
fn left(server: &FakeServer) -> usize {
    let queue = server.queue("work").unwrap();
    queue.available.len() + queue.leased.len()
}

#[test]
fn what_is_printed_is_acknowledged_and_no_more() {
    for backlog in ["1", "7", "1000"] {
        let server = server_with(100, "");
        let line = [
            "subscribe",
            "-server",
            &at(&server),
            "-topic",
            "work",
            "-ack",
            "-backlog",
            backlog,
            "--count",
            "40",
        ];
        assert_eq!(amps(&line).done().lines().len(), 40);
        assert_eq!(left(&server), 60, "backlog {backlog}");
        assert_eq!(server.queue("work").unwrap().counters.acknowledged, 40);
    }
}

#[test]
fn without_ack_everything_goes_back() {
    let server = server_with(5, "");
    let line = ["subscribe", "--server", &at(&server), "--topic", "work", "--backlog", "5", "--count", "5"];
    assert_eq!(amps(&line).done().lines().len(), 5);
    until("the messages are back", || server.queue("work").unwrap().available.len() == 5);
}

#[test]
fn whoever_reads_only_the_beginning_leaves_the_rest_in_the_queue() {
    // More than a pipe holds, so that stdout does not take everything.
    let filler = format!(",\"x\":\"{}\"", "x".repeat(1000));
    let server = server_with(1000, &filler);
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "work",
        "--ack",
        "--backlog",
        "1000",
    ]));
    assert!(running.line().starts_with("{\"id\":0,"));
    running.close_stdout();
    let ended = running.end_open();
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    let acknowledged = server.queue("work").unwrap().counters.acknowledged;
    // At most what a pipe holds and what its reader had in hand.
    assert!((1..300).contains(&acknowledged), "{acknowledged}");
    until("the rest is back", || server.queue("work").unwrap().available.len() as u64 == 1000 - acknowledged);
}

#[test]
fn a_pipe_that_breaks_while_nothing_comes_is_noticed() {
    let server = server_with(1, "");
    let mut running =
        Running::start(program(&["subscribe", "--server", &at(&server), "--topic", "work", "--ack"]));
    assert_eq!(running.line(), "{\"id\":0}");
    until("it is acknowledged", || left(&server) == 0);
    running.close_stdout();
    assert_eq!(running.end_open().status, 0);
}

#[test]
fn a_reader_that_stops_reading_gets_no_message_acknowledged_that_the_pipe_has_not_taken() {
    let filler = format!(",\"x\":\"{}\"", "x".repeat(1000));
    let server = server_with(1000, &filler);
    let mut running = Running::start(program(&[
        "subscribe",
        "--server",
        &at(&server),
        "--topic",
        "work",
        "--ack",
        "--backlog",
        "1000",
    ]));
    running.line();
    // It waits for its reader; a signal does not wait with it.
    running.signal(Signal::TERM);
    let ended = running.unread_end();
    assert_eq!(ended.status, 143);
    let acknowledged = server.queue("work").unwrap().counters.acknowledged;
    assert!(acknowledged < 300, "{acknowledged}");
    until("the rest is back", || server.queue("work").unwrap().available.len() as u64 == 1000 - acknowledged);
}

#[test]
fn a_shell_pipeline_ends_with_its_last_command() {
    let server = server_with(50, "");
    let mut command = std::process::Command::new("sh");
    let script = r#"{ "$0" "$@"; echo "status $?" >&2; } | head -n 1"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_amps")]);
    command.args(["subscribe", "--server", &at(&server), "--topic", "work", "--ack", "--backlog", "10"]);
    let mut running = Running::start(command);
    assert_eq!(running.line(), "{\"id\":0}");
    assert_eq!(running.error_line(), "status 0");
    assert_eq!(running.end().status, 0);
    assert_eq!(left(&server) as u64, 50 - server.queue("work").unwrap().counters.acknowledged);
}

#[test]
fn a_signal_in_the_middle_leaves_what_is_printed_acknowledged_and_nothing_else() {
    for backlog in ["1", "10", "500"] {
        let server = server_with(3000, "");
        let mut running = Running::start(program(&[
            "subscribe",
            "--server",
            &at(&server),
            "--topic",
            "work",
            "--ack",
            "--backlog",
            backlog,
        ]));
        assert_eq!(running.line(), "{\"id\":0}");
        running.signal(Signal::INT);
        let ended = running.end_open();
        assert_eq!(ended.status, 130, "{ended:?}");
        let printed = 1 + ended.lines().len();
        assert!(ended.stderr.starts_with(&format!("Total messages received: {printed} (")), "{ended:?}");
        let counters = server.queue("work").unwrap().counters;
        assert_eq!(counters.acknowledged, printed as u64, "backlog {backlog}");
        until("the rest is back", || server.queue("work").unwrap().available.len() == 3000 - printed);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_full_disk_does_not_take_is_not_acknowledged() {
    let server = server_with(10, "");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" > /dev/full"#, env!("CARGO_BIN_EXE_amps")]);
    command.args(["subscribe", "--server", &at(&server), "--topic", "work", "--ack", "--backlog", "10"]);
    assert!(Running::start(command).end().failed(1).contains("cannot write to stdout"));
    until("everything is back", || server.queue("work").unwrap().available.len() == 10);
}

#[test]
fn what_the_copy_does_not_have_is_not_acknowledged() {
    let server = server_with(5, "");
    let address = at(&server);
    let line =
        ["subscribe", "--server", &address, "--topic", "work", "--ack", "--backlog", "5", "--count", "5"];
    let closed = FakeServer::builder().entitle(Entitlement::write("*", "notes")).start().unwrap();
    let ended = amps(&[&line[..], &["--copy", &at(&closed)]].concat());
    assert!(ended.failed(4).contains("--copy"));
    until("everything is back", || server.queue("work").unwrap().available.len() == 5);
    let other = FakeServer::builder().start().unwrap();
    amps(&[&line[..], &["--copy", &at(&other)]].concat()).done();
    assert_eq!((left(&server), logged(&other, "work").len()), (0, 5));
}
