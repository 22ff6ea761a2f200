//! `amps ping`, and everything that connecting has to say.

use std::net::TcpListener;

use amps_testkit::{Entitlement, FakeServer};

use crate::process::{Running, amps, amps_reading, at, program};

fn server_of_ann() -> FakeServer {
    FakeServer::builder().credentials("ann", "s3cret").start().unwrap()
}

#[test]
fn it_says_where_it_connected_to() {
    let server = FakeServer::builder().start().unwrap();
    let said = format!("Successfully connected to tcp://{}/amps/json\n", at(&server));
    assert_eq!(amps(&["ping", "--server", &at(&server)]).done().text(), said);
    assert_eq!(amps(&["ping", "-server", &server.uri("json")]).done().text(), said);
    assert_eq!(
        amps(&["ping", "-server", &at(&server), "-type", "json", "-proto", "amps", "-secure", "no"])
            .done()
            .text(),
        said
    );
    assert_eq!(amps(&["ping", "-server", &at(&server), "-prot", "json"]).done().text(), said);
}

#[test]
fn it_connects_with_encryption() {
    let server = FakeServer::builder().listen("tcps://127.0.0.1:0").start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, server.ca_pem().unwrap()).unwrap();
    let address = at(&server);
    amps(&["ping", "--server", &address, "--secure", "--ca", ca.to_str().unwrap()]).done();
    assert!(amps(&["ping", "--server", &address, "--secure"]).failed(3).contains("not trusted"));
}

#[test]
fn nobody_there_is_a_failure_of_the_connection() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    assert!(amps(&["ping", "--server", &server]).failed(3).contains("refused"));
    // Several: each is tried once.
    assert!(amps(&["ping", "--server", &server, "--server", &server]).failed(3).contains("refused"));
}

#[test]
fn a_silent_server_is_given_up_when_the_time_is_over() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    assert!(amps(&["ping", "--server", &server, "--timeout", "200ms"]).failed(5).contains("in time"));
}

#[test]
fn passwords_come_from_the_string_a_file_or_the_environment() {
    let server = server_of_ann();
    let user = format!("ann@{}", at(&server));
    amps(&["ping", "--server", &format!("ann:s3cret@{}", at(&server))]).done();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    amps(&["ping", "--server", &user, "--password-file", file.to_str().unwrap()]).done();

    let mut command = program(&["ping", "--server", &user]);
    command.env("AMPS_PASSWORD", "s3cret");
    Running::start(command).end().done();
}

#[test]
fn a_wrong_password_is_a_refusal_that_shows_no_password() {
    let server = server_of_ann();
    let wrong = format!("ann:hunter2@{}", at(&server));
    let ended = amps(&["ping", "--server", &wrong]);
    assert!(!ended.failed(4).contains("hunter2"));
    assert!(
        !ended.stderr.contains("hunter2") && ended.stderr.contains("check user and password"),
        "{ended:?}"
    );
    // Also where a lost connection would be made again.
    assert!(!amps(&["ping", "--server", &wrong, "--server", &wrong]).failed(4).contains("hunter2"));
}

#[test]
fn who_may_not_log_on_is_refused() {
    let server = FakeServer::builder().closed().entitle(Entitlement::logon("bob")).start().unwrap();
    amps(&["ping", "--server", &at(&server)]).failed(4);
}

#[test]
fn what_the_command_line_gets_wrong_is_said_in_one_line_without_passwords() {
    for line in [
        &["ping"][..],
        &["pong"],
        &["ping", "--server", "ann:hunter2@"],
        &["ping", "--server", "tcp://ann:hunter2@host/amps/json"],
        &["ping", "tcp://ann:hunter2@host:1/amps/json"],
        &["ping", "--server", "h:1", "ann:hunter2@h:1"],
        &["ping", "--server", "h:1", "ann:my hunter2 @h:1"],
        &["ping", "--server", "h:1", "--timeout", "soon"],
        &["ping", "--server", "h:1", "--password-file", "/nowhere/at/all"],
        &["ping", "--server", "h:1", "--ca", "/nowhere/at/all"],
        &["ping", "--server", "quux://h:1/amps/json"],
        &["sow_delete", "--server", "h:1", "--topic", "t", "--file", "/nowhere/at/all"],
        &["ping", "--server", "h:1", "--prot", "fix"],
        &["ping", "--server", "h:1", "--secure", "perhaps"],
        &["subscribe", "--server", "h:1", "--topic", "t", "--format", "{bookmrk}"],
        &["subscribe", "--server", "h:1", "--topic", "t", "--delimiter", "300"],
        &["subscribe", "--server", "h:1", "--topic", "t", "--count", "0"],
        &["publish", "--server", "h:1", "--topic", "t", "--rate", "-1"],
        &["publish", "--server", "h:1", "--topic", "t", "--file", "/nowhere/at/all"],
        &["publish", "--server", "h:1", "--topic", "t", "--file", "/"],
    ] {
        let ended = amps(line);
        assert!(!ended.failed(2).contains("hunter2"), "{ended:?}");
    }
    assert_eq!(amps(&[]).status, 2);
}

#[test]
fn help_names_no_password_of_the_environment() {
    let mut command = program(&["ping", "--help"]);
    command.env("AMPS_PASSWORD", "hunter2");
    let ended = Running::start(command).end();
    assert!(ended.done().text().contains("--server") && !ended.text().contains("hunter2"));
    assert!(amps_reading("", &["--help"]).done().text().contains("AMPS_PASSWORD"));
    assert!(amps(&["--version"]).done().text().starts_with("amps "));
}

#[test]
fn help_is_there_for_each_command_as_spark_has_it() {
    for command in ["ping", "publish", "subscribe", "sow", "sow_and_subscribe", "sow_delete", "decode"] {
        let page = amps(&["help", command]);
        assert!(page.done().text().contains(&format!("Usage: amps {command}")), "{command}");
    }
}
