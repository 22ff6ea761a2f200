//! The `amps-testkit` program.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use support::data_dir::DataDir;

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
    let mut client = TcpStream::connect(address).unwrap();
    let logon = r#"{"c":"logon","client_name":"a","mt":"json"}"#;
    for frame in std::iter::once(&logon).chain(frames) {
        client.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        client.write_all(frame.as_bytes()).unwrap();
    }
    let mut answer = || {
        let mut prefix = [0; 4];
        client.read_exact(&mut prefix).unwrap();
        let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
        client.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    (0..answers).map(|_| answer()).collect()
}

/// The address in the line `ready any-tcp tcp://ADDRESS/amps`.
fn ready_address(process: &mut Process) -> String {
    let mut line = String::new();
    BufReader::new(process.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let uri = line.trim_end().strip_prefix("ready any-tcp tcp://").expect(&line);
    uri.strip_suffix("/amps").expect(&line).to_owned()
}

#[test]
fn serve_says_where_answers_and_stops_orderly() {
    for signal in ["-TERM", "-INT"] {
        let mut process = testkit(&["serve", "--listen", "tcp://127.0.0.1:0/amps", "--queue", "work"]);
        let address = ready_address(&mut process);

        let mut client = TcpStream::connect(address).unwrap();
        let logon = br#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#;
        client.write_all(&(logon.len() as u32).to_be_bytes()).unwrap();
        client.write_all(logon).unwrap();
        let mut prefix = [0; 4];
        client.read_exact(&mut prefix).unwrap();
        let mut ack = vec![0; u32::from_be_bytes(prefix) as usize];
        client.read_exact(&mut ack).unwrap();
        assert!(String::from_utf8(ack).unwrap().contains(r#""status":"success""#));

        let id = process.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
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
    assert_eq!(process.0.wait().unwrap().code(), Some(4));
}
