//! `amps sow_delete`.

use amps_client::CommandKind;
use amps_testkit::{Action, FakeServer, Fault, Matcher, QueueConfig, SowConfig, Trigger};
use rustix::process::Signal;

use crate::process::{Running, amps, amps_reading, at, placed, program};

fn server() -> FakeServer {
    let server = FakeServer::builder()
        .sow(SowConfig::new("vans").key("/id"))
        .queue(QueueConfig::new("work"))
        .start()
        .unwrap();
    for id in 1..=5 {
        server.publish("vans", format!("{{\"id\":{id}}}")).unwrap();
        server.publish("work", format!("{{\"id\":{id}}}")).unwrap();
    }
    server
}

#[test]
fn records_are_deleted_by_filter_by_key_and_by_what_would_update_them() {
    let server = server();
    let address = at(&server);
    let delete = |input: &str, more: &[&str]| {
        let line = [&["sow_delete", "--server", &address, "--topic", "vans"], more].concat();
        amps_reading(input, &line).done().text().to_owned()
    };
    assert!(delete("", &["-filter", "/id > 4"]).starts_with("Deleted 1 records in "));
    let key = server.sow("vans").remove(0).key;
    assert_eq!(
        delete("", &["--keys", &key, "--json"]),
        "{\"records_deleted\":1,\"matches\":1,\"topic_matches\":4}\n"
    );
    assert!(delete("{\"id\":2}", &["--file", "-"]).starts_with("Deleted 1 records in "));
    assert!(delete("{\"id\":3}\n", &[]).starts_with("Deleted 1 records in "), "as spark does");
    assert_eq!(server.sow("vans").len(), 1);
    assert!(delete("", &["--filter", "1=1"]).starts_with("Deleted 1 records in "));
    assert!(server.sow("vans").is_empty());
}

#[test]
fn messages_leave_a_queue() {
    let server = server();
    amps(&["sow-delete", "--server", &at(&server), "--topic", "work", "--filter", "/id < 4"]).done();
    assert_eq!(server.queue("work").unwrap().available.len(), 2);
}

#[test]
fn what_to_delete_has_to_be_said() {
    let server = server();
    // Of a terminal, which the tests of terminals do; what is no terminal is read.
    assert!(
        amps(&["sow_delete", "--server", &at(&server), "--topic", "vans"])
            .done()
            .text()
            .contains("Deleted 0 ")
    );
    amps(&["sow_delete", "--server", &at(&server), "--topic", "vans", "--filter", "/id >>"]).failed(4);
    assert_eq!(server.sow("vans").len(), 5);
}

#[test]
fn a_signal_ends_the_waiting_for_input_with_a_summary() {
    let server = server();
    let line = ["sow_delete", "--server", &at(&server), "--topic", "vans"];
    for (signal, status, input, count) in [
        (Signal::INT, 130, "{\"id\":1}\n{\"id\":2}\n", 2),
        (Signal::TERM, 143, "{\"id\":3}\n{\"id\":4}\n", 4),
    ] {
        let mut running = Running::start(program(&line));
        running.write(input.as_bytes());
        placed(&server, CommandKind::SowDelete, count);
        running.signal(signal);
        let ended = running.end_open();
        assert_eq!((ended.status, ended.stderr.as_str()), (status, ""), "{ended:?}");
        assert!(ended.text().starts_with("Deleted 2 records in "), "{ended:?}");
    }
    assert_eq!(server.sow("vans").len(), 1);
}

#[test]
fn a_signal_does_not_wait_for_an_answer_to_a_filter_and_says_that_it_is_missing() {
    let server = server();
    let deletes = Matcher::command(CommandKind::SowDelete);
    server.add_fault(Fault::when(Trigger::inbound_matching(deletes)).then(Action::Swallow)).unwrap();
    let line = ["sow_delete", "--server", &at(&server), "--topic", "vans", "--filter", "1=1"];
    let running = Running::start(program(&line));
    placed(&server, CommandKind::SowDelete, 1);
    running.signal(Signal::INT);
    let ended = running.end_open();
    assert!(ended.failed(130).contains("the last delete has no answer and is not counted"));
    assert!(ended.text().starts_with("Deleted 0 records in "), "{ended:?}");
}

#[test]
fn a_time_limit_ends_the_waiting_for_input_with_a_summary() {
    let server = server();
    let line = ["sow_delete", "--server", &at(&server), "--topic", "vans", "--timeout", "2s", "--json"];
    let mut running = Running::start(program(&line));
    running.write(b"{\"id\":1}\n{\"id\":2}\n");
    let ended = running.end_open();
    assert!(ended.failed(5).contains("stopped before everything was deleted"));
    assert!(ended.text().starts_with("{\"records_deleted\":2,"), "{ended:?}");
}

#[test]
fn a_message_that_is_refused_ends_it_with_what_was_deleted_before() {
    let server = server();
    let line = ["sow_delete", "--server", &at(&server), "--topic", "vans"];
    let ended = amps_reading("{\"id\":1}\n{\"id\":2}\nno record\n{\"id\":3}\n", &line);
    ended.failed(4);
    assert!(ended.text().starts_with("Deleted 2 records in "), "{ended:?}");
    assert_eq!(server.sow("vans").len(), 3);
}
