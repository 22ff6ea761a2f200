//! What can be said of a transport, in the connection string or to the builder: each is seen at the other end, or at the
//! socket.

mod common;

use amps_client::transport::{HttpHeaders, Layer, LayerError, LayerState, MakeLayer};
use amps_client::{Client, CommandKind};
use bytes::BytesMut;
use common::{Line, Peer, aside};

/// Both ends of a connection whose string has these parameters.
fn connected(parameters: &str) -> (Client, Line) {
    let peer = Peer::new();
    let (client, line) = peer.connect(Client::builder("c").server(format!("{}{parameters}", peer.uri())));
    (client, line)
}

#[test]
fn a_connection_comes_from_the_address_it_is_bound_to() {
    for address in ["127.0.0.1", "127.0.0.2"] {
        let (_client, line) = connected(&format!("?bind={address}"));
        assert_eq!(line.stream.addresses().1.ip().to_string(), address);
    }
}

/// The client's socket of the connection that the other end knows.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a client does not show its socket")]
fn with_socket<T>(line: &Line, look: impl Fn(&socket2::SockRef<'_>) -> T) -> T {
    use std::os::fd::BorrowedFd;
    let (other, own) = line.stream.addresses();
    for number in 0..4096 {
        if !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
            continue;
        }
        // SAFETY: whatever this names, it is only asked for its addresses; the one that is looked at belongs to the
        // client, which outlives this.
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        let socket = socket2::SockRef::from(&socket);
        let is = |found: std::io::Result<socket2::SockAddr>, wanted| {
            found.is_ok_and(|found| found.as_socket() == Some(wanted))
        };
        if is(socket.peer_addr(), other) && is(socket.local_addr(), own) {
            return look(&socket);
        }
    }
    panic!("no socket from {own} to {other}");
}

/// Those of `first_program` are of the same kind.
#[cfg(target_os = "linux")]
#[test]
fn lingering_buffers_and_time_limits_are_the_sockets() {
    use std::time::Duration;
    let (_client, line) = connected("?tcp_linger=7&tcp_rcvbuf=100000");
    let (linger, large) =
        with_socket(&line, |socket| (socket.linger().unwrap(), socket.recv_buffer_size().unwrap()));
    assert_eq!(linger, Some(Duration::from_secs(7)));
    let (_client, line) = connected("?tcp_rcvbuf=20000");
    let small = with_socket(&line, |socket| socket.recv_buffer_size().unwrap());
    assert!(large >= 100_000 && small < large, "{small} {large}");
    let (_client, line) = connected("");
    let limits = with_socket(&line, |socket| {
        assert_eq!(socket.linger().unwrap(), None);
        (socket.tcp_user_timeout().unwrap(), socket.tcp_keepalive_time().unwrap())
    });
    assert_eq!(limits, (Some(Duration::from_secs(60)), Duration::from_secs(30)));
}

#[test]
fn pretty_is_asked_for_with_the_logon() {
    for (parameters, expected) in [("?pretty=true", true), ("?pretty=false", false), ("", false)] {
        let peer = Peer::new();
        let builder = Client::builder("c").server(format!("{}{parameters}", peer.uri()));
        let connecting = aside(move || builder.connect());
        let mut line = peer.accept();
        let logon = line.expect(CommandKind::Logon);
        let asked = logon.options().is_some_and(|options| options.to_string().contains("pretty=true"));
        assert_eq!(asked, expected, "{parameters}");
        line.ack(&logon);
        connecting.join().unwrap().unwrap();
    }
}

/// Not an encryption.
#[derive(Clone, Copy, Debug)]
struct Turned(u8);

impl MakeLayer for Turned {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(*self))
    }
}

impl Layer for Turned {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        above.extend(below.split().iter().map(|byte| byte.rotate_left(self.0.into())));
        Ok(LayerState::Ready)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        below.extend(above.iter().map(|byte| byte.rotate_right(self.0.into())));
        Ok(())
    }
}

/// C-10-1-1: of the application's own.
#[test]
fn a_layer_of_the_applications_own_lies_next_to_the_frames() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("tcp://{}/amps/json", listener.local_addr().unwrap());
    let connecting = aside(move || Client::builder("c").server(uri).layer(Turned(3)).connect());
    let (mut stream, _) = listener.accept().unwrap();
    let mut turned = |count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).unwrap();
        bytes.iter().map(|byte| byte.rotate_left(3)).collect::<Vec<u8>>()
    };
    let length = u32::from_be_bytes(turned(4).try_into().unwrap());
    let logon =
        amps_protocol::Message::decode(&*turned(length as usize)).unwrap().command_id().unwrap().to_string();
    let ack = format!(r#"{{"c":"ack","cid":"{logon}","a":"processed","status":"success"}}"#);
    let framed = [&(ack.len() as u32).to_be_bytes()[..], ack.as_bytes()].concat();
    let framed: Vec<u8> = framed.iter().map(|byte| byte.rotate_right(3)).collect();
    stream.write_all(&framed).unwrap();
    connecting.join().unwrap().unwrap();
}

/// It would hide the lengths that WebSocket replaces.
#[cfg(feature = "websocket")]
#[test]
fn a_layer_of_the_applications_own_is_not_for_web_socket() {
    let error = Client::builder("c").server("ws://h:1/amps/json").layer(Turned(3)).build().unwrap_err();
    assert_eq!(error.kind(), amps_client::ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("the transport \"ws\""), "{error}");
    let client = Client::builder("c").server("tcp://h:1/amps/json").layer(Turned(3)).build().unwrap();
    assert!(client.connect_to(["ws://h:1/amps/json"]).is_err());
}

/// Grants an upgrade, and returns what the client says first.
#[cfg(feature = "websocket")]
fn accept_websocket(listener: &std::net::TcpListener) -> (std::net::TcpStream, Box<dyn Layer>, BytesMut) {
    use std::io::{Read, Write};
    let (mut socket, _) = listener.accept().unwrap();
    let mut layer = amps_transport::WebSocketServer::new().make("").unwrap();
    let (mut below, mut above, mut buffer) = (BytesMut::new(), BytesMut::new(), [0; 4096]);
    while above.is_empty() {
        let count = socket.read(&mut buffer).unwrap();
        below.extend_from_slice(&buffer[..count]);
        let mut answer = BytesMut::new();
        layer.receive(&mut below, &mut above, &mut answer).unwrap();
        socket.write_all(&answer).unwrap();
    }
    (socket, layer, above)
}

/// W-11
#[cfg(feature = "websocket")]
#[test]
fn the_clients_limit_is_that_of_web_socket_messages_too() {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("ws://{}/amps/json", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, ..) = accept_websocket(&listener);
        // The head of a message of 100 MB, of which nothing comes.
        let mut head = vec![0x82, 127];
        head.extend_from_slice(&100_000_000_u64.to_be_bytes());
        socket.write_all(&head).unwrap();
        // Until the client is gone.
        while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
    });
    let builder = Client::builder("c").server(uri).max_frame(1 << 20).max_message(1 << 20);
    let error = builder.connect().unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    server.join().unwrap();
}

/// The request of a client, which is then left alone.
fn request(builder: impl FnOnce(String) -> amps_client::ClientBuilder) -> String {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = builder(listener.local_addr().unwrap().to_string());
    let connecting = aside(move || builder.connect());
    let (mut stream, _) = listener.accept().unwrap();
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    drop((stream, listener));
    connecting.join().unwrap().unwrap_err();
    String::from_utf8(all).unwrap()
}

#[test]
fn a_preflight_asks_to_become_what_the_application_says() {
    let asked = request(|at| {
        let uri = format!("tcp://{at}/amps/json?http_preflight=true");
        Client::builder("c").server(uri).upgrade_protocol("amps")
    });
    assert!(asked.contains("\r\nUpgrade: amps\r\n"), "{asked}");
}

/// protocol.md U-5, W-1, W-9.
#[cfg(feature = "websocket")]
#[test]
fn web_socket_asks_for_the_whole_path_with_the_applications_headers() {
    let asked = request(|at| {
        let mut headers = HttpHeaders::new();
        headers.add("X-Desk", "7").unwrap();
        Client::builder("c").server(format!("ws://{at}/rooms/7/amps/json?pretty=true")).http_headers(headers)
    });
    assert!(asked.starts_with("GET /rooms/7/amps/json HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nX-Desk: 7\r\n") && asked.contains("\r\nSec-WebSocket-Key: "), "{asked}");
}

/// protocol.md HP-9: headers turn nothing on.
#[test]
fn headers_alone_make_no_preflight() {
    let peer = Peer::new();
    let mut headers = HttpHeaders::new();
    headers.add("X-Desk", "7").unwrap();
    let (client, _line) = peer.connect(peer.client("c").http_headers(headers));
    assert!(client.is_connected());
}

/// protocol.md W-3, W-4: a server of the other kind understands both.
#[cfg(all(feature = "websocket", unix))]
#[test]
fn web_socket_messages_begin_with_their_length_where_that_is_wanted() {
    let server = amps_testkit::FakeServer::builder().listen("ws://127.0.0.1:0/amps").start().unwrap();
    for prefixed in [false, true] {
        let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (tap, uri) = (std::sync::Arc::clone(&sent), server.uri("json"));
        let builder =
            Client::builder("c").server(uri).connector(Tapped(tap)).websocket_length_prefix(prefixed);
        let client = builder.connect().unwrap();
        let mut notes = client.subscribe("notes").start().unwrap();
        client.publish("notes", "x").unwrap();
        assert_eq!(notes.next().unwrap().unwrap().data(), b"x");
        let sent = sent.lock().unwrap();
        let upgraded = sent.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(first_payload(&sent[upgraded..])[0] == b'{', !prefixed);
    }
}

/// W-8
#[cfg(feature = "websocket")]
#[test]
fn over_websocket_the_logon_can_be_left_out() {
    use std::io::Write;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("ws://{}/amps/json", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, mut layer, above) = accept_websocket(&listener);
        let first = amps_client::RawMessage::decode(&above[4..]).unwrap();
        let cid = first.command_id().unwrap();
        let ack = format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#);
        let (mut frame, mut wire) = ((ack.len() as u32).to_be_bytes().to_vec(), BytesMut::new());
        frame.extend_from_slice(ack.as_bytes());
        layer.send(&frame, &mut wire).unwrap();
        socket.write_all(&wire).unwrap();
        (first.command(), socket)
    });
    let client = Client::builder("c").server(uri).skip_logon_over_websocket(true).connect().unwrap();
    let _notes = client.subscribe("notes").start().unwrap();
    let (first, _socket) = server.join().unwrap();
    assert_eq!(first, CommandKind::Subscribe);
    let peer = Peer::plain("over TCP there is a logon all the same");
    let _connected = peer.connect(Client::builder("c").server(peer.uri()).skip_logon_over_websocket(true));
}

/// What a masked message of 126 to 65,535 bytes, or fewer, begins with.
#[cfg(all(feature = "websocket", unix))]
fn first_payload(message: &[u8]) -> Vec<u8> {
    let mask = if message[1] & 0x7f == 126 { 4 } else { 2 };
    (0..4).map(|at| message[mask + 4 + at] ^ message[mask + at]).collect()
}

/// Remembers what is written.
#[cfg(all(feature = "websocket", unix))]
#[derive(Debug)]
struct Tapped(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(all(feature = "websocket", unix))]
mod tapped {
    use std::io::{Read, Result, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use amps_client::transport::{Connector, CustomStream};
    use mio::event::Source;
    use mio::{Interest, Registry, Token};

    struct Stream(mio::net::TcpStream, Arc<Mutex<Vec<u8>>>);

    impl Connector for super::Tapped {
        fn connect(&self, host: &str, port: u16, _: Duration) -> Result<Box<dyn CustomStream>> {
            let socket = TcpStream::connect((host, port))?;
            socket.set_nonblocking(true)?;
            Ok(Box::new(Stream(mio::net::TcpStream::from_std(socket), Arc::clone(&self.0))))
        }
    }

    impl Read for Stream {
        fn read(&mut self, out: &mut [u8]) -> Result<usize> {
            self.0.read(out)
        }
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            let count = self.0.write(bytes)?;
            self.1.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> Result<()> {
            self.0.flush()
        }
    }

    impl Source for Stream {
        fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> Result<()> {
            self.0.register(registry, token, interests)
        }

        fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> Result<()> {
            self.0.reregister(registry, token, interests)
        }

        fn deregister(&mut self, registry: &Registry) -> Result<()> {
            self.0.deregister(registry)
        }
    }

    impl CustomStream for Stream {
        fn shutdown(&mut self, how: Shutdown) -> Result<()> {
            self.0.shutdown(how)
        }
    }
}
