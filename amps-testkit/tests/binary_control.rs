//! The `amps-testkit` program, controlled by HTTP.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::http::request;
use support::raw_client::framed;

/// Ends the process with the test, however that ends.
struct Process {
    child: Child,
    amps: SocketAddr,
    control: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    fn start(more: &[&str]) -> Self {
        let mut child = command(&["--control", "127.0.0.1:0"]).args(more).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut ready = |before: &str, after: &str| {
            let line = lines.next().unwrap();
            let address = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            address.expect(&line).parse().unwrap()
        };
        let amps = ready("ready any-tcp tcp://", "/amps");
        let control = ready("ready control http://", "");
        Self { child, amps, control }
    }

    /// Stops it, and returns its exit code with what it wrote to stderr.
    fn stop(mut self) -> (Option<i32>, String) {
        assert_eq!(request(self.control, "POST", "/stop", None).status, 200);
        let code = self.child.wait().unwrap().code();
        let mut stderr = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut stderr).unwrap();
        (code, stderr)
    }
}

#[test]
fn it_says_where_it_is_controlled_keeps_a_journal_and_stops() {
    let process = Process::start(&["--virtual-clock"]);
    let mut client = TcpStream::connect(process.amps).unwrap();
    client.write_all(&framed(r#"{"c":"logon","client_name":"app","mt":"json"}"#)).unwrap();
    client.write_all(&framed(r#"{"c":"publish","t":"T"}1"#)).unwrap();
    assert_eq!(request(process.control, "POST", "/settle", None).status, 200);
    let journal = request(process.control, "GET", "/journal", None).body;
    let entries = journal["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["header"]["c"] == "publish"), "{journal}");
    let advanced = request(process.control, "POST", "/clock/advance", Some(&json!({"by": "1s"})));
    assert_eq!(advanced.body, json!({"now": "20260101T000001.000000Z"}));
    let (code, stderr) = process.stop();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("stopped by the control port"), "{stderr}");
}

#[test]
fn a_strict_server_that_is_stopped_by_http_tells_who_broke_a_rule() {
    let process = Process::start(&["--strict"]);
    let mut client = TcpStream::connect(process.amps).unwrap();
    client.write_all(&framed(r#"{"c":"logon","client_name":"app","mt":"json"}"#)).unwrap();
    client.write_all(&framed(r#"{"c":"subscribe","sub_id":"s","t":"T","o":"frobnicate"}"#)).unwrap();
    assert_eq!(request(process.control, "POST", "/settle", None).status, 200);
    let (code, stderr) = process.stop();
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("frobnicate"), "{stderr}");
}

#[test]
fn chaos_is_a_flag_and_a_switch_overrides_it() {
    let process = Process::start(&["--chaos", "7", "--set", "sow.unordered=insertion", "--sow", "T:/id"]);
    let faults = request(process.control, "GET", "/faults", None).body;
    assert!(faults[0]["fault"]["then"].get("partial_writes").is_some(), "{faults}");
    let bodies: Vec<String> = (0..9).map(|id| format!("{{\"id\":{id}}}")).collect();
    for body in &bodies {
        let publish = json!({"topic": "T", "body": body});
        assert_eq!(request(process.control, "POST", "/publish", Some(&publish)).status, 200);
    }
    let mut client = TcpStream::connect(process.amps).unwrap();
    client.write_all(&framed(r#"{"c":"logon","client_name":"app","mt":"json"}"#)).unwrap();
    client.write_all(&framed(r#"{"c":"sow","query_id":"q","t":"T","batch_size":10}"#)).unwrap();
    assert_eq!(request(process.control, "POST", "/settle", None).status, 200);
    assert_eq!(process.stop().0, Some(0));
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    let received = String::from_utf8_lossy(&received);
    let places: Vec<Option<usize>> = bodies.iter().map(|body| received.find(body)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{received}");
}

#[test]
fn an_address_that_cannot_be_is_a_configuration_error() {
    for (address, code, part) in
        [("0.0.0.0:0", 2, "listens on loopback only"), ("nowhere", 2, "expected HOST:PORT")]
    {
        let output = command(&["--control", address]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(part) && output.stdout.is_empty(), "{stderr}");
    }
}

#[test]
fn a_control_port_that_is_taken_is_a_bind_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&["--control", &address]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}
