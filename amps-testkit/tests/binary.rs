//! The `amps-testkit` program.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

const PRODUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/production.xml");

use support::data_dir::DataDir;
use support::raw_client::RawClient;

/// Ends the process with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn testkit(arguments: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process(command.spawn().unwrap())
}

/// Sends frames after a logon, and returns the answers to as many as ask for one.
fn talk(address: &str, frames: &[&str], answers: usize) -> Vec<String> {
    let mut client = connect(address);
    let logon = r#"{"c":"logon","client_name":"a","mt":"json"}"#;
    std::iter::once(&logon).chain(frames).for_each(|frame| client.send(frame));
    (0..answers).map(|_| client.receive()).collect()
}

fn connect(address: &str) -> RawClient {
    RawClient::connect_to(address.parse().unwrap())
}

/// The address in the line `ready any-tcp tcp://ADDRESS/amps`.
fn ready_address(process: &mut Process) -> String {
    let mut line = String::new();
    BufReader::new(process.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let uri = line.trim_end().strip_prefix("ready any-tcp tcp://").expect(&line);
    uri.strip_suffix("/amps").expect(&line).to_owned()
}

/// Runs the program to its end, with this on stdin.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.args(arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn signal(process: &Process, signal: &str) {
    let id = process.0.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

#[test]
fn serve_says_where_answers_and_stops_orderly() {
    for signal in ["-TERM", "-INT"] {
        let mut process = testkit(&["serve", "--listen", "tcp://127.0.0.1:0/amps", "--queue", "work"]);
        let address = ready_address(&mut process);

        let mut client = connect(&address);
        assert!(client.log_on("a").contains(r#""status":"success""#));
        self::signal(&process, signal);
        assert_eq!(process.0.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        process.0.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing but the ready line goes to stdout");
    }
}

#[test]
fn a_configuration_error_exits_with_2() {
    let mut process = testkit(&["serve", "--listen", "tcp://127.0.0.1:0/amps", "--txlog", "("]);
    assert_eq!(process.0.wait().unwrap().code(), Some(2));
    let mut process = testkit(&["serve", "--listen", "udp://127.0.0.1:0/amps"]);
    assert_eq!(process.0.wait().unwrap().code(), Some(2));
}

#[test]
fn a_port_that_is_taken_exits_with_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("tcp://{}/amps", taken.local_addr().unwrap());
    let mut process = testkit(&["serve", "--listen", &uri]);
    assert_eq!(process.0.wait().unwrap().code(), Some(3));
    let mut message = String::new();
    process.0.stderr.as_mut().unwrap().read_to_string(&mut message).unwrap();
    assert!(message.contains("cannot listen on"), "{message}");
}

#[test]
fn a_log_outlives_the_process_even_if_that_is_killed() {
    let data = DataDir::new();
    let path = data.path().to_str().unwrap();
    let arguments = ["serve", "--listen", "tcp://127.0.0.1:0/amps", "--data", path];
    let mut process = testkit(&arguments);
    let publish = r#"{"c":"publish","cid":"1","t":"T","s":"1","a":"processed"}"kept""#;
    let answers = talk(&ready_address(&mut process), &[publish], 1);
    assert!(answers[0].contains("success"), "{answers:?}");
    drop(process);

    let mut process = testkit(&arguments);
    let subscribe = r#"{"c":"subscribe","sub_id":"s","t":"T","bm":"0"}"#;
    let answers = talk(&ready_address(&mut process), &[publish, subscribe], 2);
    assert!(answers[1].ends_with(r#""kept""#), "{answers:?}");
    drop(process);

    std::fs::write(data.path().join("txlog.bin"), "no log").unwrap();
    let mut process = testkit(&arguments);
    assert_eq!(process.0.wait().unwrap().code(), Some(5));
}

/// AC-CI-02
#[test]
fn each_transport_of_a_file_has_a_ready_line_and_can_be_connected_to() {
    let mut process = testkit(&["serve", PRODUCTION, "-D", "SITE=lon", "--free-ports", "--log", "error"]);
    let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
    for (name, path) in [("json-tcp", "/amps/json"), ("any-tcp", "/amps")] {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let uri = line.trim_end().strip_prefix("ready ").unwrap().strip_prefix(name).expect(&line);
        let address = uri.strip_prefix(" tcp://").unwrap().strip_suffix(path).expect(&line);
        let mut client = connect(address);
        assert!(client.log_on("a").contains("success"));
    }
    let others = [
        ("any-tls tcps://127.0.0.1:", cfg!(feature = "tls")),
        ("web ws://127.0.0.1:", cfg!(feature = "websocket")),
        ("local unix://localhost:0/amps?path=/", true),
        ("amps-replication tcp://127.0.0.1:", true),
    ];
    for (other, _) in others.iter().filter(|(_, possible)| *possible) {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("ready {other}")), "{line}");
    }
    signal(&process, "-TERM");
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    process.0.stderr.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn what_a_file_says_of_topics_is_what_they_do() {
    let process = &mut testkit(&["serve", PRODUCTION, "-D", "SITE=lon", "--free-ports", "--log", "error"]);
    let mut line = String::new();
    let mut stdout = BufReader::new(process.0.stdout.as_mut().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("ready json-tcp tcp://").expect(&line);
    let frames = [
        r#"{"c":"publish","t":"orders"}{"id":1,"customer":"a","price":2,"quantity":3,"status":"new"}"#,
        r#"{"c":"publish","t":"orders"}{"id":2,"customer":"a","price":1,"quantity":4,"status":"new"}"#,
        r#"{"c":"sow","query_id":"q","t":"orders-by-customer"}"#,
        r#"{"c":"publish","t":"jobs.a"}{"n":1,"urgency":8}"#,
        r#"{"c":"publish","t":"jobs.a"}{"n":2,"urgency":9}"#,
        r#"{"c":"subscribe","sub_id":"s","t":"urgent","o":"max_backlog=1"}"#,
    ];
    let answers = talk(address.strip_suffix("/amps/json").expect(&line), &frames, 4);
    assert!(answers[1].ends_with(r#"{"customer":"a","total":10}"#), "{answers:?}");
    assert!(answers[3].ends_with(r#"{"n":2,"urgency":9}"#), "{answers:?}");
}

/// AC-CI-13
#[test]
fn verify_accepts_a_file_and_lists_what_is_ignored_with_its_line() {
    let output = run(&["verify", "-D", "SITE=lon", PRODUCTION], "");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("/production.xml:10: Admin: ignored\n"), "{stdout}");
    assert!(stdout.contains("/production.xml:40: Module: not supported yet: everybody"), "{stdout}");
    assert!(stdout.ends_with("\naccepted\n"), "{stdout}");
}

#[test]
fn verify_refuses_what_serve_only_warns_of() {
    let file = "<AMPSConfig><Name>a</Name>\n<Transprots/></AMPSConfig>";
    let fault = "stdin:2: Transprots: is not known in AMPSConfig; write Transports\n";
    for arguments in [&["verify", "-"][..], &["serve", "-", "--strict"]] {
        let output = run(arguments, file);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stderr), format!("amps-testkit: error: {fault}"));
    }
    let output = run(&["serve", "-"], "");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "amps-testkit: error: stdin: there is no element; write <AMPSConfig>\n");
}

#[test]
fn the_sample_is_accepted() {
    let sample = run(&["sample-config"], "");
    let output = run(&["verify", "-"], &text(&sample.stdout));
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(!text(&output.stdout).contains("warning"));
}

#[test]
fn flags_add_topics_and_queues_and_turn_switches() {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--sow", "orders:/id", "--queue", "work:jobs"];
    let more = ["--txlog", ".*", "--virtual-clock", "--set", "reason.bad_filter=what", "--log", "error"];
    let mut process = testkit(&[&arguments[..], &more].concat());
    let mut client = connect(&ready_address(&mut process));
    client.log_on("a");
    client.send(r#"{"c":"subscribe","cid":"2","t":"x","f":"/a && /b","a":"processed"}"#);
    assert!(client.receive().contains(r#""reason":"what""#));
    client.send(r#"{"c":"sow","cid":"3","t":"orders","a":"processed"}"#);
    assert!(client.receive().contains(r#""status":"success""#));
}

#[test]
fn a_mistyped_flag_exits_with_2_and_says_what_to_write() {
    let table: [(&[&str], &str); 9] = [
        (&["serve", "--strickt"], "--strict"),
        (&["serve", "--free-ports"], "<CONFIG.xml>"),
        (&["serve", "--sow", "orders"], "write TOPIC:KEY, such as orders:/id"),
        (&["serve", "--sow", "orders:id"], "the key 'id' has to be written as /field"),
        (&["serve", "--queue", ":jobs"], "write NAME or NAME:UNDERLYING, such as work:jobs"),
        (&["serve", "--set", "queue.max_cancels"], "write NAME=VALUE"),
        (
            &["serve", "--set", "queue.max=1"],
            "there is no setting \"queue.max\"; the closest is queue.max_cancels",
        ),
        (&["serve", "--set", "dup.ack=maybe"], "dup.ack is one of success, reason, not \"maybe\""),
        (&["verify", "/nowhere/amps.xml"], "error: /nowhere/amps.xml: cannot read \"/nowhere/amps.xml\": "),
    ];
    for (arguments, message) in table {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn help_lists_every_switch() {
    let help = text(&run(&["serve", "--help"], "").stdout);
    for setting in amps_testkit::Setting::all() {
        assert!(help.contains(&format!("  {} = {}", setting.key, setting.default)), "{}", setting.key);
    }
}

/// AC-CI-16
#[test]
fn a_client_that_breaks_a_rule_makes_a_strict_server_exit_with_4() {
    for (options, code) in [("", 0), (r#","o":"frobnicate""#, 4)] {
        let mut process = testkit(&["serve", "--listen", "127.0.0.1:0", "--strict"]);
        let mut client = connect(&ready_address(&mut process));
        client.log_on("a");
        client.send(&format!(r#"{{"c":"subscribe","cid":"2","t":"x","a":"processed"{options}}}"#));
        assert!(client.receive().contains("success"));
        signal(&process, "-TERM");
        assert_eq!(process.0.wait().unwrap().code(), Some(code));
        let mut stderr = String::new();
        process.0.stderr.as_mut().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr.contains("frobnicate"), code == 4, "{stderr}");
    }
}

/// AC-CI-16
#[test]
fn ac_ci_16_an_acknowledgement_of_nothing_makes_a_strict_server_exit_with_4() {
    let mut process =
        testkit(&["serve", "--listen", "127.0.0.1:0", "--queue", "work", "--seed", "7", "--strict"]);
    let mut client = connect(&ready_address(&mut process));
    client.log_on("a");
    client.send(r#"{"c":"sow_delete","cid":"2","t":"work","bm":"1|1|","a":"processed"}"#);
    assert!(client.receive().contains("success"));
    signal(&process, "-TERM");
    assert_eq!(process.0.wait().unwrap().code(), Some(4));
    let mut stderr = String::new();
    process.0.stderr.as_mut().unwrap().read_to_string(&mut stderr).unwrap();
    let lint = "ack_of_unknown_bookmark: acknowledged 1|1|, which is not in the queue";
    assert!(stderr.contains(lint), "{stderr}");
}
