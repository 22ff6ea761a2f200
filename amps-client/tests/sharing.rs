//! Threads: one per client by default, one for many clients that share a loop.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use amps_client::{Client, CommandKind, EventLoop};
use amps_protocol::{FrameDecoder, Message};
use bytes::BytesMut;
use common::Peer;

/// Threads of this process whose name begins so. The kernel cuts names after 15 bytes.
fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn a_client_has_one_thread_of_its_own() {
    let peer = Peer::new();
    let (one, _line) = peer.connect(peer.client("solo-1"));
    let (two, _line) = peer.connect(peer.client("solo-2"));
    assert_eq!(threads_named("amps-solo"), 2);
    drop((one, two));
}

#[test]
fn two_hundred_clients_share_one_thread() {
    // One thread plays the server for all of them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("tcp://{}/amps/json", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut open = Vec::new();
        for _ in 0..200 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = BytesMut::new();
            let logon = loop {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).unwrap();
                bytes.extend_from_slice(&buffer[..count]);
                if let Some(frame) = FrameDecoder::default().decode(&mut bytes).unwrap() {
                    break Message::decode(frame).unwrap();
                }
            };
            assert_eq!(logon.command(), CommandKind::Logon);
            let cid = logon.command_id().unwrap();
            let ack = format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#);
            stream.write_all(&(ack.len() as u32).to_be_bytes()).unwrap();
            stream.write_all(ack.as_bytes()).unwrap();
            open.push(stream);
        }
        open
    });
    let event_loop = EventLoop::new().unwrap();
    let clients: Vec<Client> = (0..200)
        .map(|i| common::client(format!("many-{i}")).server(&uri).event_loop(&event_loop).connect().unwrap())
        .collect();
    assert!(clients.iter().all(Client::is_connected));
    assert_eq!(threads_named("amps-loop"), 1);
    assert_eq!(threads_named("amps-many"), 0);
    let open = serving.join().unwrap();
    drop(clients);
    drop(open);
}

#[test]
fn a_receipt_that_outlives_its_client_keeps_no_thread() {
    let peer = Peer::new();
    let (client, line) = peer.connect(peer.client("kept"));
    let receipt = client.publish("t", b"x").unwrap();
    drop(client);
    drop(line);
    let began = std::time::Instant::now();
    while threads_named("amps-kept") > 0 {
        assert!(began.elapsed() < common::PATIENCE);
        std::thread::yield_now();
    }
    drop(receipt);
}
