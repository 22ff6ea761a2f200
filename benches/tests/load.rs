//! The program `load`, run against a server in this process: what it prints, and how it ends.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread::spawn;
use std::time::Duration;

use amps_client::Client;
use amps_protocol::{AckType, CommandKind, FrameDecoder, Message};
use amps_testkit::{FakeServer, QueueConfig, SowConfig};
use bytes::BytesMut;
use serde_json::Value;

const RECEIVED: &[&str] = &["msgs_per_s", "body_MBps", "cpu_ns_per_msg", "maxrss_mb", "allocs_per_msg"];
const ROUNDS: &[&str] = &["p50_us", "p90_us", "p99_us", "p999_us", "mean_us", "max_us", "cpu_us_per_round"];
const CLIENTS: &[&str] = &["rss_kb", "rss_kb_per_client", "threads", "connect_logon_us_each"];

/// The program under way.
struct Load {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Load {
    /// Starts it, with options separated by spaces.
    fn start(addr: &str, options: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.args(options.split_whitespace()).args(["--addr", addr]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Waits until others may publish.
    fn ready(mut self) -> Self {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        self
    }

    fn end(mut self) -> Output {
        let mut told = Vec::new();
        self.stderr.read_to_end(&mut told).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Output { stderr: told, ..output }
    }

    /// Waits for its report, with these keys in this order.
    fn report(self, keys: &[&str]) -> Value {
        let output = self.end();
        let text = String::from_utf8(output.stdout).unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}{told}");
        assert_eq!(text.lines().count(), 1, "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        let found: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, keys);
        report
    }

    /// Waits for its one line about what is wrong.
    fn failure(self, status: i32) -> String {
        let output = self.end();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(status), 1), "{told}");
        assert!(output.stdout.is_empty() && told.starts_with("error: "), "{told}");
        told
    }
}

fn server() -> (FakeServer, String) {
    let server = FakeServer::builder()
        .queue(QueueConfig::new("work").max_backlog(100))
        .sow(SowConfig::new("records").key("/id"))
        .start()
        .unwrap();
    let addr = server.uri("json").trim_start_matches("tcp://").trim_end_matches("/amps/json").to_owned();
    (server, addr)
}

fn publish(server: &FakeServer, topic: &str, count: usize) {
    let client = Client::builder("feeder").server(server.uri("json")).connect().unwrap();
    for id in 0..count {
        client.publish(topic, format!("{{\"id\":{:>121}}}", id + 1)).unwrap();
    }
    client.flush(Duration::from_secs(60)).unwrap();
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap()
}

/// What every report by the message has to say of bodies of 128 bytes.
fn assert_plausible(report: &Value) {
    let rate = number(report, "msgs_per_s");
    assert!(rate > 0.0, "{report}");
    let expected = rate * 128.0 / 1e6;
    assert!((number(report, "body_MBps") - expected).abs() <= expected * 0.001 + 0.001, "{report}");
    assert!(number(report, "maxrss_mb") > 1.0, "{report}");
    assert!(number(report, "cpu_ns_per_msg") > 0.0, "{report}");
    // Those of the whole process, divided: a handler's messages allocate nothing.
    assert!((0.0..100.0).contains(&number(report, "allocs_per_msg")), "{report}");
}

#[test]
fn a_subscriber_receives_what_others_publish_in_every_mode() {
    let (server, addr) = server();
    for mode in ["handler", "iterator", "stream"] {
        let load = Load::start(&addr, &format!("sub --topic orders --n 3000 --mode {mode} --ready")).ready();
        publish(&server, "orders", 4000);
        let report = load.report(RECEIVED);
        assert_plausible(&report);
        assert!(number(&report, "allocs_per_msg") < 4.0, "{mode}: {report}");
    }
}

#[test]
fn a_consumer_acknowledges_what_counts_and_leaves_the_rest_in_every_mode() {
    let (server, addr) = server();
    for mode in ["handler", "iterator", "stream"] {
        let options = format!(
            "queue --topic work --n 2500 --mode {mode} --backlog 50 --ack-batch 20 --ready --size 128"
        );
        let load = Load::start(&addr, &options).ready();
        publish(&server, "work", 2600);
        assert_plausible(&load.report(RECEIVED));
        // What is left, another consumer gets: nothing was lost, and nothing acknowledged that did not count.
        let client = Client::builder("rest").server(server.uri("json")).connect().unwrap();
        let rest = client.subscribe("work").max_backlog(50).start().unwrap();
        rest.take(100).for_each(|message| message.unwrap().ack());
        client.close().unwrap();
        let queue = server.queue("work").unwrap();
        assert_eq!((queue.available.len(), queue.leased.len()), (0, 0), "{mode}");
    }
}

#[test]
fn a_query_is_repeated_until_enough_records_came_in_every_mode() {
    let (server, addr) = server();
    publish(&server, "records", 300);
    for mode in ["handler", "iterator", "stream"] {
        for n in [200, 1000] {
            let options = format!("sow --topic records --n {n} --mode {mode} --batch-size 50 --ready");
            assert_plausible(&Load::start(&addr, &options).ready().report(RECEIVED));
        }
    }
}

#[test]
fn a_topic_without_records_is_an_error_and_no_endless_loop() {
    let (_server, addr) = server();
    for mode in ["handler", "iterator", "stream"] {
        let told = Load::start(&addr, &format!("sow --topic records --mode {mode}")).failure(1);
        assert!(told.contains("\"records\" has no records"), "{told}");
    }
}

#[test]
fn a_publisher_publishes_as_many_bodies_of_the_size_that_was_asked_for() {
    let (server, addr) = server();
    let client = Client::builder("reader").server(server.uri("json")).connect().unwrap();
    let orders = client.subscribe("orders").start().unwrap();
    let report =
        Load::start(&addr, "pub --topic orders --n 2000 --size 128 --ready").ready().report(RECEIVED);
    assert_plausible(&report);
    let bodies: Vec<Vec<u8>> = orders.take(2000).map(|message| message.unwrap().data().to_vec()).collect();
    assert!(bodies.iter().all(|body| body.len() == 128));
    assert!(bodies[1999].starts_with(br#"{"id":"00001999","fill":""#));
}

#[test]
fn what_was_published_is_there_to_be_queried() {
    let (_server, addr) = server();
    Load::start(&addr, "pub --topic records --n 500 --size 64").report(RECEIVED);
    // A note about another size is no failure.
    let load = Load::start(&addr, "sow --topic records --n 500 --size 63");
    let output = load.end();
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("64.0 bytes on average, and not 63"), "{told}");
}

#[test]
fn round_trips_are_measured_in_every_mode() {
    let (_server, addr) = server();
    for mode in ["inline", "channel", "iterator"] {
        let options = format!("pingpong --topic trips --n 300 --size 200 --mode {mode} --ready");
        let report = Load::start(&addr, &options).ready().report(ROUNDS);
        let rising = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"].map(|key| number(&report, key));
        assert!(rising[0] > 0.0 && rising.is_sorted(), "{report}");
        let mean = number(&report, "mean_us");
        assert!(mean > 0.0 && mean <= rising[4], "{report}");
    }
}

#[test]
fn many_clients_share_a_thread_and_are_fed_where_nobody_else_publishes() {
    let (_server, addr) = server();
    for traffic in [0, 5] {
        let options = format!("conns --topic news --n 60 --traffic {traffic} --ready");
        let report = Load::start(&addr, &options).ready().report(CLIENTS);
        assert!(
            number(&report, "rss_kb") > 1000.0 && number(&report, "connect_logon_us_each") > 0.0,
            "{report}"
        );
        assert!(number(&report, "rss_kb_per_client") >= 0.0, "{report}");
        if cfg!(target_os = "linux") {
            // The main thread, and the loop.
            assert_eq!(report["threads"], 2, "{report}");
        }
    }
}

#[test]
fn a_peer_that_only_acknowledges_and_floods_is_enough_of_a_server() {
    let addr = bare_peer();
    for mode in ["handler", "iterator", "stream"] {
        for command in ["sub", "queue"] {
            let options = format!("{command} --topic orders --n 20000 --mode {mode} --ready");
            assert_plausible(&Load::start(&addr, &options).ready().report(RECEIVED));
        }
    }
    assert_plausible(&Load::start(&addr, "pub --n 1000").report(RECEIVED));
    Load::start(&addr, "conns --n 5 --traffic 100").report(CLIENTS);
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    for (options, expected) in [
        ("", "requires a subcommand"),
        ("frobnicate", "unrecognized subcommand 'frobnicate'"),
        ("sub --n many", "'many' for '--n <N>'"),
        ("sub --n 1", "1 is not in 2.."),
        ("sub --backlog 10", "'--backlog'"),
        ("pub --mode handler", "'--mode'"),
        ("pub --size 99999999999", "99999999999 is more than"),
        ("queue --ack-batch 0", "expected 1 or more"),
        ("sow --mode inline", "[possible values: handler, iterator, stream]"),
        ("pingpong --mode handler", "[possible values: inline, channel, iterator]"),
        ("conns --topic", "a value is required for '--topic <TOPIC>'"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        let output = command.args(options.split_whitespace()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{options}: {told}");
        assert!(told.contains(expected) && output.stdout.is_empty(), "{options}: {told}");
    }
    let told = Load::start("localhost", "sub").failure(2);
    assert!(told.contains("HOST:PORT"), "{told}");
    let told = Load::start("carrier://pigeon:1/amps", "sub").failure(2);
    assert!(told.contains("carrier"), "{told}");
}

#[test]
fn where_nobody_listens_the_status_is_3() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    for command in ["sub", "pub", "pingpong", "queue", "sow", "conns"] {
        let told = Load::start(&addr, command).failure(3);
        assert!(told.contains("was refused"), "{told}");
    }
}

#[test]
fn a_connection_that_is_lost_is_status_3_in_every_mode() {
    for mode in ["handler", "iterator", "stream"] {
        let (server, addr) = server();
        let load = Load::start(&addr, &format!("sub --mode {mode} --ready")).ready();
        drop(server);
        let told = load.failure(3);
        assert!(told.contains("not connected"), "{mode}: {told}");
    }
}

#[test]
fn what_the_server_refuses_is_status_4() {
    let server = FakeServer::builder().refuse_logon("auth failure").start().unwrap();
    let told = Load::start(&server.uri("json"), "pub").failure(4);
    assert!(told.contains("refused the logon"), "{told}");
    let (_server, addr) = self::server();
    let told = Load::start(&addr, "sow --topic nowhere").failure(4);
    assert!(told.contains("the server refused it"), "{told}");
}

#[test]
fn help_says_who_publishes() {
    let output = Command::new(env!("CARGO_BIN_EXE_load")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("sub and queue wait for what others publish"), "{text}");
}

/// Answers every command of any number of clients with the acknowledgements that it asks for, and floods every
/// subscription until its client is gone. Knows nothing else.
fn bare_peer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    spawn(move || {
        for stream in listener.incoming().flatten() {
            spawn(move || serve(stream));
        }
    });
    addr
}

/// Until the client is gone, however it goes.
fn serve(mut stream: TcpStream) -> Option<()> {
    let mut received = BytesMut::new();
    let mut buffer = [0; 65536];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        received.extend_from_slice(&buffer[..count]);
        while let Some(frame) = FrameDecoder::default().decode(&mut received).ok()? {
            let command = Message::decode(frame).ok()?;
            let Some(cid) = command.command_id() else { continue };
            let mut out = Vec::new();
            for (name, ack) in [
                ("processed", AckType::Processed),
                ("stats", AckType::Stats),
                ("completed", AckType::Completed),
            ] {
                if command.acks().contains(ack) {
                    let header = format!(r#"{{"c":"ack","cid":"{cid}","a":"{name}","status":"success"}}"#);
                    append(&mut out, &header, "");
                }
            }
            stream.write_all(&out).ok()?;
            if command.command() == CommandKind::Subscribe {
                let sid = command.sub_id()?.to_string();
                let mut other = stream.try_clone().ok()?;
                spawn(move || {
                    let mut burst = Vec::new();
                    for n in 0..100 {
                        let header = format!(r#"{{"c":"p","t":"orders","sids":"{sid}","s":{n}}}"#);
                        append(&mut burst, &header, &"x".repeat(128));
                    }
                    while other.write_all(&burst).is_ok() {}
                });
            }
        }
    }
}

fn append(out: &mut Vec<u8>, header: &str, body: &str) {
    out.extend_from_slice(&((header.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body.as_bytes());
}
