//! Two processes that replicate to each other, and are killed.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use support::data_dir::DataDir;

/// How long anything may take. A test that fails takes this long; no other does.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and where it listens. It ends with the test, however that ends.
struct Server {
    child: Child,
    clients: String,
    links: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(name: &str, data: &Path, clients: &str, links: &str, more: &[&str]) -> Self {
        let (clients, links) = (format!("tcp://{clients}/amps"), format!("tcp://{links}"));
        let data = data.to_str().unwrap();
        let mut arguments = vec!["serve", "--name", name, "--data", data, "--listen", &clients];
        arguments.extend(["--replication-listen", &links, "--queue", "work"]);
        arguments.extend(more);
        let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
        let child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self { child, clients: String::new(), links: String::new() };
        let mut stdout = BufReader::new(server.child.stdout.take().unwrap());
        let mut ready = |before: &str, after: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let address = line.trim_end().strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            address.expect(&line).to_owned()
        };
        server.clients = ready("ready any-tcp tcp://", "/amps");
        server.links = ready("ready replication tcp://", "");
        server
    }

    /// As a power failure: nothing is said any more. The ports are kept for a server that takes
    /// its place.
    fn kill(mut self) -> (String, String, [Socket; 2]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let kept = [&self.clients, &self.links].map(|address| {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket
        });
        (self.clients.clone(), self.links.clone(), kept)
    }

    /// A client that is logged on, and the sequence number that the server knows of it.
    fn log_on(&self, name: &str) -> (Client, u64) {
        let mut client = Client::connect(&self.clients);
        client.log_on(name).map(|sequence| (client, sequence)).expect("the server lets clients in")
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn log_on(&mut self, name: &str) -> Option<u64> {
        self.send(&format!(
            r#"{{"c":"logon","cid":"1","client_name":"{name}","mt":"json","a":"processed","o":"ack_conflation=1ms"}}"#
        ))?;
        let ack = self.receive()?;
        let header: serde_json::Value = serde_json::from_str(&ack).unwrap();
        header["s"].as_u64()
    }

    fn send(&mut self, frame: &str) -> Option<()> {
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame.as_bytes()].concat();
        self.0.write_all(&bytes).ok()
    }

    /// `None` if the server has closed.
    fn receive(&mut self) -> Option<String> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.0.read_exact(&mut frame).ok()?;
        Some(String::from_utf8(frame).unwrap())
    }

    fn publish(&mut self, sequence: u64) {
        self.send(&format!(r#"{{"c":"p","t":"T","s":{sequence},"a":"persisted"}}{sequence}"#)).unwrap();
    }

    /// Reads acks up to one for this sequence number.
    fn wait_for_persisted(&mut self, sequence: u64) {
        let wanted = format!(r#""s":{sequence},"#);
        while !self.receive().expect("an ack").contains(&wanted) {}
    }

    /// The bodies of the next messages.
    fn bodies(&mut self, count: usize) -> Vec<String> {
        let mut body = || self.receive().and_then(|frame| Some(frame.split_once('}')?.1.to_owned()));
        (0..count).map(|_| body().expect("a message")).collect()
    }
}

/// PAIR-03, HA-03, HA-20
#[test]
fn a_process_that_was_killed_comes_back_and_both_have_everything() {
    let data = [DataDir::new(), DataDir::new()];
    let start = |which: usize, clients: &str, links: &str, more: &[&str]| {
        Server::start(["A", "B"][which], data[which].path(), clients, links, more)
    };
    let (any, subscribe) = ("127.0.0.1:0", r#"{"c":"subscribe","sub_id":"s","t":"T","bm":"0"}"#);
    let b = start(1, any, any, &[]);
    let a = start(0, any, any, &["--replicate-to", &b.links]);

    let (mut p, _) = a.log_on("p");
    p.publish(1);
    p.wait_for_persisted(1);
    let (mut q, _) = b.log_on("q");
    q.send(subscribe).unwrap();
    assert_eq!(q.bodies(1), ["1"]);

    // B dies with SIGKILL. What A takes meanwhile is not persisted.
    let (clients, links, kept) = b.kill();
    p.publish(2);
    p.publish(3);
    assert_eq!(q.receive(), None);
    p.send(r#"{"c":"flush","cid":"f","a":"processed"}"#).unwrap();
    assert!(p.receive().unwrap().contains(r#""cid":"f""#), "nothing is persisted before");

    // It comes back from its file, and replicates to A too.
    drop(kept);
    let b = start(1, &clients, &links, &["--replicate-to", &a.links]);
    p.wait_for_persisted(3);
    let (mut q, _) = b.log_on("q");
    q.send(subscribe).unwrap();
    assert_eq!(q.bodies(3), ["1", "2", "3"]);
    let (mut r, _) = b.log_on("r");
    r.publish(1);
    r.wait_for_persisted(1);
    let (mut s, _) = a.log_on("s");
    s.send(subscribe).unwrap();
    assert_eq!(s.bodies(4), ["1", "2", "3", "1"]);

    // A dies, and loses its files. The publisher goes on at B, which knows where.
    let (clients, links, kept) = a.kill();
    let (mut p, known) = b.log_on("p");
    assert_eq!(known, 3);
    p.publish(4);
    std::fs::remove_dir_all(data[0].path()).unwrap();
    let to_b = ["--replicate-to", &b.links, "--catch-up-first"];
    drop(kept);
    let a = start(0, &clients, &links, &to_b);
    p.wait_for_persisted(4);
    // Until A has everything it closes the connections of clients: one that is let in is late.
    let (_, known) = (0..)
        .find_map(|_| {
            let mut client = Client::connect(&a.clients);
            client.log_on("p").map(|known| (client, known))
        })
        .unwrap();
    assert_eq!(known, 4);
    let (mut s, _) = a.log_on("s");
    s.send(subscribe).unwrap();
    assert_eq!(s.bodies(5), ["1", "2", "3", "1", "4"]);
}

#[test]
fn a_destination_without_a_port_exits_with_2() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
    let output = command.args(["serve", "--listen", "127.0.0.1:0", "--replicate-to", "b"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text, "amps-testkit: destination \"b\": \"b\" is no address; expected HOST:PORT\n");
}
