//! Names, connection strings, credentials, publishing (client.md 1).

mod common;

use std::sync::mpsc::{Sender, channel};

use amps_client::{Authenticator, AuthenticatorError, Client, Command, CommandKind, ErrorKind};
use amps_protocol::{Field, Message};
use common::{PATIENCE, Peer, aside, placed};

/// The logon of a client with this user (and `@`) and path in its connection string.
fn logon(user: &str, path: &str) -> Message {
    let peer = Peer::new();
    let uri = peer.uri().replacen("://", &format!("://{user}"), 1).replacen("/amps/json", path, 1);
    let builder = common::client("p1").server(uri);
    let connecting = aside(move || builder.connect());
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.ack(&logon);
    connecting.join().unwrap().unwrap();
    logon
}

/// C-1-1-1 C-1-2-1
#[test]
fn the_first_frame_is_a_logon_with_the_clients_name() {
    let logon = logon("", "/amps/json");
    assert_eq!(logon.client_name().unwrap(), "p1");
    assert_eq!(logon.get(Field::MessageType).unwrap(), "json");
    assert!(logon.acks().contains(amps_client::AckType::Processed));
    assert!(logon.get(Field::Version).is_some());
    assert!(logon.user_id().is_none() && logon.get(Field::Password).is_none());
}

/// C-1-2-2
#[test]
fn without_a_message_type_the_servers_own_is_used() {
    assert!(logon("", "/amps").get(Field::MessageType).is_none());
}

/// C-1-2-3
#[test]
fn user_and_password_are_decoded() {
    let logon = logon("u%40corp:p%3Aw@", "/amps/json");
    assert_eq!(logon.user_id().unwrap(), "u@corp");
    assert_eq!(logon.get(Field::Password).unwrap(), "p:w");
}

/// C-1-4-1
#[test]
fn a_user_without_a_password_sends_none() {
    let logon = logon("JohnDoe@", "/amps/json");
    assert_eq!(logon.user_id().unwrap(), "JohnDoe");
    assert!(logon.get(Field::Password).is_none());
}

/// Tells what it was asked.
struct Told(Sender<String>);

impl Authenticator for Told {
    fn authenticate(&self, user: &str, password: &str) -> Result<String, AuthenticatorError> {
        self.0.send(format!("authenticate {user} {password}"))?;
        Ok("T1".into())
    }

    fn retry(&self, user: &str, password: &str) -> Result<String, AuthenticatorError> {
        self.0.send(format!("retry {user} {password}"))?;
        Ok(format!("answer to {password}"))
    }

    fn completed(&self, user: &str, password: &str, reason: &str) {
        _ = self.0.send(format!("completed {user} {password}, {reason}"));
    }
}

/// C-1-4-2 C-1-4-4: and each logon has a command id of its own (R11).
#[test]
fn an_authenticator_answers_a_challenge_and_is_told_of_its_success_once() {
    let peer = Peer::new();
    let (sender, asked) = channel();
    let uri = common::with_user(&peer.uri(), "u1:secret");
    let builder = common::client("c").server(uri).authenticator(Told(sender));
    let connecting = aside(move || builder.connect());
    let mut line = peer.accept();
    let first = line.expect(CommandKind::Logon);
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "authenticate u1 secret");
    assert_eq!((first.user_id().unwrap(), first.get(Field::Password).unwrap()), ("u1".into(), "T1".into()));
    let cid = first.command_id().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"retry","user_id":"u2","pw":"nonce"}}"#
    ));
    let second = line.expect(CommandKind::Logon);
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "retry u2 nonce");
    assert_eq!(second.user_id().unwrap(), "u2");
    assert_eq!(second.get(Field::Password).unwrap(), "answer to nonce");
    assert_ne!(first.command_id(), second.command_id());
    assert!(asked.try_recv().is_err(), "it is not complete before the server has agreed");
    line.ack_with(&second, r#","reason":"welcome""#);
    let client = connecting.join().unwrap().unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), "completed u2 answer to nonce, welcome");
    drop(client);
    assert!(asked.recv_timeout(PATIENCE).is_err(), "told once, then let go");
}

/// C-1-4-5
#[test]
fn an_authenticator_that_fails_ends_the_logon_before_a_byte_is_written() {
    struct Fails;
    impl Authenticator for Fails {
        fn authenticate(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            Err("no ticket".into())
        }
        fn retry(&self, _: &str, _: &str) -> Result<String, AuthenticatorError> {
            Err("no ticket".into())
        }
    }
    let peer = Peer::new();
    let builder = peer.client("c").authenticator(Fails);
    let connecting = aside(move || builder.connect().map(drop).unwrap_err());
    let mut line = peer.accept();
    assert!(line.next().is_none(), "not one frame");
    let error = connecting.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no ticket");
}

/// C-1-4-6
#[test]
fn a_second_logon_is_misuse_and_is_not_sent() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    for logon in [Command::new("logon"), Command::new("logon").data("x")] {
        assert_eq!(client.execute(&logon).map(drop).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(client.perform(&logon).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(client.send(&logon).unwrap_err().kind(), ErrorKind::Usage);
    }
    client.publish("t", "next").unwrap();
    line.expect(CommandKind::Publish);
}

/// C-3-2-3
#[test]
fn connecting_twice_is_refused_and_the_connection_goes_on() {
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("c"));
    assert_eq!(client.connect().unwrap_err().kind(), ErrorKind::AlreadyConnected);
    assert_eq!(client.connect_to([peer.uri()]).unwrap_err().kind(), ErrorKind::AlreadyConnected);
    client.publish("t", "still there").unwrap();
    assert_eq!(line.expect(CommandKind::Publish).data(), b"still there");
}

/// C-1-5-4: an orderly close lets a waiting reader go (R8).
#[test]
fn close_lets_a_waiting_reader_go_and_calls_no_disconnect_handler() {
    let peer = Peer::new();
    let (sender, called) = channel();
    let builder = peer.client("c").on_disconnect(move |_, _| {
        sender.send(()).unwrap();
        Ok(())
    });
    let (client, mut line) = peer.connect(builder);
    let other = client.clone();
    let (mut stream, _) = placed(&mut line, move || other.subscribe("t").start().unwrap());
    let reading = aside(move || stream.next().is_none());
    let seeing_off = aside(move || line.see_off());
    client.close().unwrap();
    assert!(reading.join().unwrap());
    seeing_off.join().unwrap();
    drop(client);
    assert!(called.recv_timeout(PATIENCE).is_err(), "the handler was let go without a call");
}

/// The socket of this process that is connected to a listener.
#[cfg(target_os = "linux")]
fn socket_to(address: std::net::SocketAddr, own: std::net::SocketAddr) -> std::os::fd::BorrowedFd<'static> {
    use socket2::SockRef;
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers {
        // SAFETY: whatever this names, it is only asked for its addresses; the one that is
        // returned belongs to the client, which outlives its use.
        #[allow(unsafe_code, reason = "a client does not show its socket")]
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        let is = |found: std::io::Result<socket2::SockAddr>, wanted| {
            found.is_ok_and(|found| found.as_socket() == Some(wanted))
        };
        let found = SockRef::from(&socket);
        if is(found.peer_addr(), address) && is(found.local_addr(), own) {
            return socket;
        }
    }
    panic!("no socket to {address}");
}

/// C-1-3-1: and what is not said is on where a messaging client wants it on (R10).
#[cfg(target_os = "linux")]
#[test]
fn parameters_of_the_connection_string_reach_the_socket() {
    let nodelay_and_buffer = |parameters: &str| {
        let peer = Peer::plain("it is about the socket");
        let (_client, line) =
            peer.connect(Client::builder("c").server(format!("{}{parameters}", peer.uri())));
        let (other, own) = line.stream.addresses();
        let socket = socket_to(other, own);
        let socket = socket2::SockRef::from(&socket);
        let keeps_alive = socket.keepalive().unwrap();
        (socket.tcp_nodelay().unwrap(), keeps_alive, socket.send_buffer_size().unwrap())
    };
    let (nodelay, _, buffer) = nodelay_and_buffer("?tcp_nodelay=true&tcp_sndbuf=100000");
    assert!(nodelay);
    assert!(buffer >= 100_000, "{buffer}");
    let (nodelay, keeps_alive, small) =
        nodelay_and_buffer("?tcp_nodelay=no&tcp_keepalive=0&tcp_sndbuf=20000");
    assert!(!nodelay && !keeps_alive);
    assert!(small < buffer, "{small}");
    let (nodelay, keeps_alive, _) = nodelay_and_buffer("");
    assert!(nodelay && keeps_alive);
}
