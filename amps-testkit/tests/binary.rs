//! The `amps-testkit` program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

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
