//! `amps publish`.

use amps_client::CommandKind;
use amps_testkit::{Drop as How, Entitlement, FakeServer, JournalMode, Matcher, SowConfig};
use rustix::process::Signal;

use crate::process::{PATIENCE, Running, amps, amps_reading, at, logged, program};

fn server() -> FakeServer {
    FakeServer::builder().journal(JournalMode::Off).start().unwrap()
}

/// Publishes what is given on stdin, and returns what the server has.
fn published(input: impl Into<Vec<u8>>, more: &[&str]) -> Vec<Vec<u8>> {
    let server = server();
    let address = at(&server);
    let line = [&["publish", "--server", &address, "--topic", "t"], more].concat();
    let ended = amps_reading(input, &line);
    assert_eq!(ended.status, 0, "{ended:?}");
    let messages = logged(&server, "t");
    let summary = format!("total messages published: {} (", messages.len());
    assert!(ended.text().starts_with(&summary) && ended.text().ends_with("/s)\n"), "{ended:?}");
    messages
}

#[test]
fn every_line_is_a_message_however_it_ends() {
    assert_eq!(published("1\n2\r\n3", &[]), [b"1", b"2", b"3"]);
    assert_eq!(published("1\n", &[]), [b"1"]);
    assert_eq!(published("", &[]), Vec::<Vec<u8>>::new());
}

#[test]
fn other_delimiters_are_taken_literally() {
    assert_eq!(published("1|2\n|3", &["--delimiter", "|"]), [&b"1"[..], b"2\n", b"3"]);
    assert_eq!(published(b"1\x002".to_vec(), &["--delimiter", "\\0"]), [b"1", b"2"]);
    assert_eq!(published("1\r\n2", &["-delimiter", "10"]), [&b"1\r"[..], b"2"]);
    assert_eq!(published("1--2", &["--delimiter", "--"]), [b"1", b"2"]);
}

#[test]
fn binary_data_stays_what_it_is() {
    let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    assert_eq!(published([&all[..], b"\n", &all[..]].concat(), &["--type", "binary"]), [&all[..], &all[..]]);
}

#[test]
fn empty_lines_are_not_published_and_that_is_said() {
    let server = server();
    let ended = amps_reading("1\n\n\n2\n", &["publish", "--server", &at(&server), "--topic", "t"]);
    assert_eq!(ended.status, 0);
    assert_eq!(ended.stderr, "amps: 2 empty messages not published\n");
    assert_eq!(logged(&server, "t"), [b"1", b"2"]);
}

#[test]
fn huge_inputs_arrive_whole() {
    let lines: String = (0..200_000).map(|number| format!("{{\"id\":{number}}}\n")).collect();
    let messages = published(lines, &[]);
    assert_eq!(messages.len(), 200_000);
    assert_eq!(messages[199_999], br#"{"id":199999}"#);
    let long = vec![b'x'; 1 << 20];
    assert_eq!(published([&long[..], b"\n2"].concat(), &[]), [&long[..], b"2"]);
}

#[test]
fn a_file_is_read_to_its_end() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("messages");
    std::fs::write(&file, "1\n2").unwrap();
    let arguments = ["publish", "-server", &at(&server), "-topic", "t", "-file", file.to_str().unwrap()];
    assert!(amps(&arguments).done().text().starts_with("total messages published: 2 ("));
    std::fs::remove_file(&file).unwrap();
    assert!(amps(&arguments).failed(2).contains("messages"));
    assert_eq!(logged(&server, "t").len(), 2);
}

#[test]
fn a_rate_is_kept_and_a_time_limit_ends_it() {
    let server = server();
    let mut running = Running::start(program(&[
        "publish",
        "--server",
        &at(&server),
        "--topic",
        "t",
        "--rate",
        "0.001",
        "--timeout",
        "500ms",
    ]));
    running.feed("1\n2\n");
    let ended = running.end();
    assert!(ended.failed(5).contains("time was over"));
    assert!(ended.text().starts_with("total messages published: 1 ("), "{ended:?}");
    assert_eq!(logged(&server, "t"), [b"1"]);
}

#[test]
fn deltas_update_records() {
    let server = FakeServer::builder().sow(SowConfig::new("vans").key("/id")).start().unwrap();
    let address = at(&server);
    amps_reading(r#"{"id":1,"at":"A","load":3}"#, &["publish", "--server", &address, "--topic", "vans"])
        .done();
    amps_reading(r#"{"id":1,"at":"B"}"#, &["publish", "--server", &address, "--topic", "vans", "--delta"])
        .done();
    let record = server.sow("vans").remove(0);
    assert_eq!(String::from_utf8_lossy(&record.body), r#"{"id":1,"at":"B","load":3}"#);
}

#[test]
fn a_copy_gets_the_same() {
    let (one, other) = (server(), server());
    let arguments = ["publish", "--server", &at(&one), "--topic", "t", "--copy", &at(&other)];
    amps_reading("1\n2\n", &arguments).done();
    assert_eq!(logged(&one, "t"), [b"1", b"2"]);
    assert_eq!(logged(&other, "t"), [b"1", b"2"]);
}

#[test]
fn what_the_server_refuses_is_counted_and_said() {
    let server = FakeServer::builder()
        .credentials("ann", "x")
        .entitle(Entitlement::write("ann", "notes"))
        .start()
        .unwrap();
    let ann = format!("ann:x@{}", at(&server));
    amps_reading("1\n", &["publish", "--server", &ann, "--topic", "notes"]).done();
    let ended = amps_reading("1\n2\n", &["publish", "--server", &ann, "--topic", "orders"]);
    assert!(ended.failed(4).contains("refused 2 of 2 messages"));
    assert!(ended.text().starts_with("total messages published: 0 ("), "{ended:?}");
}

#[test]
fn a_server_that_goes_in_the_middle_is_a_failure_of_the_connection() {
    let server = FakeServer::builder().journal(JournalMode::All).start().unwrap();
    let mut running =
        Running::start(program(&["publish", "--server", &at(&server), "--topic", "t", "--name", "p"]));
    running.write(b"1\n");
    server.wait_for_commands(&Matcher::command(CommandKind::Publish), 1, PATIENCE).unwrap();
    server.stop_accepting();
    server.drop_connection("p", How::Reset);
    running.write(b"2\n");
    let ended = running.end();
    ended.failed(3);
    assert_eq!(ended.text(), "", "nobody knows what arrived");
}

#[test]
fn a_signal_ends_the_waiting_for_input_with_a_summary() {
    let server = FakeServer::builder().journal(JournalMode::All).start().unwrap();
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut running = Running::start(program(&["publish", "--server", &at(&server), "--topic", "t"]));
        running.write(b"1\n2\n");
        let publishes = Matcher::command(CommandKind::Publish);
        server.wait_for_commands(&publishes, if status == 130 { 2 } else { 4 }, PATIENCE).unwrap();
        running.signal(signal);
        let ended = running.end_open();
        assert_eq!((ended.status, ended.stderr.as_str()), (status, ""));
        assert!(ended.text().starts_with("total messages published: 2 ("), "{ended:?}");
    }
}

/// What is complete is out before the rest of a long message has come.
#[test]
fn a_signal_in_the_middle_of_a_long_message_ends_the_waiting_for_its_rest() {
    let server = FakeServer::builder().journal(JournalMode::All).start().unwrap();
    let mut running = Running::start(program(&["publish", "--server", &at(&server), "--topic", "t"]));
    running.write(b"1\n2\n");
    running.write(&vec![b'x'; 1 << 20]);
    server.wait_for_commands(&Matcher::command(CommandKind::Publish), 2, PATIENCE).unwrap();
    running.signal(Signal::INT);
    let ended = running.end_open();
    assert_eq!((ended.status, ended.stderr.as_str()), (130, ""));
    assert!(ended.text().starts_with("total messages published: 2 ("), "{ended:?}");
    assert_eq!(logged(&server, "t"), [b"1", b"2"]);
}

/// So much of a message without an end was read that nobody can be told of the signal any more.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_is_not_lost_behind_what_was_read_ahead() {
    let server = FakeServer::builder().journal(JournalMode::All).start().unwrap();
    // It publishes the first message, and waits for the turn of the second.
    let line = ["publish", "--server", &at(&server), "--topic", "t", "--rate", "0.001"];
    let mut running = Running::start(program(&line));
    running.write(b"1\n2\n");
    server.wait_for_commands(&Matcher::command(CommandKind::Publish), 1, PATIENCE).unwrap();
    // Each is a read of its own. Eight may wait; the reader holds the ninth, and takes no more.
    for _ in 0..9 {
        running.write(b"x");
        running.until_read();
    }
    running.signal(Signal::INT);
    let ended = running.end_open();
    assert_eq!((ended.status, ended.stderr.as_str()), (130, ""));
    assert!(ended.text().starts_with("total messages published: 1 ("), "{ended:?}");
    assert_eq!(logged(&server, "t"), [b"1"]);
}

#[test]
fn a_signal_does_not_wait_for_a_server_that_does_not_answer() {
    let server = FakeServer::builder().journal(JournalMode::All).start().unwrap();
    server.hold_durability(true);
    let mut running = Running::start(program(&["publish", "--server", &at(&server), "--topic", "t"]));
    running.write(b"1\n");
    server.wait_for_commands(&Matcher::command(CommandKind::Publish), 1, PATIENCE).unwrap();
    running.signal(Signal::INT);
    let ended = running.end_open();
    assert_eq!((ended.status, ended.text()), (130, ""));
    assert!(ended.stderr.contains("not every message is known to have arrived"), "{ended:?}");
}

#[test]
fn a_server_that_persists_nothing_is_given_up_when_the_time_is_over() {
    let server = server();
    server.hold_durability(true);
    let line = ["publish", "--server", &at(&server), "--topic", "t", "--timeout", "300ms"];
    assert!(amps_reading("1\n", &line).failed(5).contains("not every message"));
}

#[test]
fn nobody_who_reads_the_summary_is_no_failure() {
    let server = server();
    let mut running = Running::start(program(&["publish", "--server", &at(&server), "--topic", "t"]));
    running.close_stdout();
    running.feed("1\n");
    assert_eq!(running.end().status, 0);
    assert_eq!(logged(&server, "t"), [b"1"]);
}
