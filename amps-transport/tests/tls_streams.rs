//! What TLS connections carry, and how they end: large messages, pieces, many connections, other
//! threads, peers that cut off, change their keys or say goodbye in other ways.
#![cfg(feature = "tls")]

mod certificates;
mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use amps_transport::{
    CloseMode, CloseReason, ConnId, Layer, LayerError, LayerState, LayerTrouble, Layers, MakeLayer, Target,
    TlsClient, TlsServer, TlsVersion, Written,
};
use bytes::BytesMut;
use certificates::Authority;
use common::{Bench, Event, accept, loopback, pattern, target};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HOST: &str = "127.0.0.1";

/// Both sides of TLS, made for each other.
fn layers(version: TlsVersion) -> (Layers, Layers) {
    let authority = Authority::new("root");
    let issued = authority.server(&[HOST]);
    let server = TlsServer::builder().certificate_pem(issued.certificate, issued.key).maximum(version);
    let client = TlsClient::builder().roots_pem(authority.pem());
    (vec![Arc::new(client.build().unwrap())], vec![Arc::new(server.build().unwrap())])
}

/// Two machines that are connected, with the client's connection and the server's.
fn pair(client: Layers, server: Layers) -> (Bench, ConnId, Bench, ConnId) {
    let accepting = Bench::new("server");
    let address = accepting.listen_with(server);
    let connecting = Bench::new("client");
    let conn = connecting.connect(Target { layers: client, ..target(address) });
    assert!(matches!(connecting.next(), Event::Connected { .. }));
    let accepted = accepting.accepted();
    (connecting, conn, accepting, accepted)
}

fn connected(version: TlsVersion) -> (Bench, ConnId, Bench, ConnId) {
    let (client, server) = layers(version);
    pair(client, server)
}

/// A server that is no machine, but the library's own code on a blocking socket.
struct Foreign {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    client: Layers,
}

impl Foreign {
    fn new() -> Self {
        let authority = Authority::new("root");
        let issued = authority.server(&[HOST]);
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let client = TlsClient::builder().roots_pem(authority.pem()).build().unwrap();
        let listener = TcpListener::bind(loopback()).unwrap();
        Self { listener, config: Arc::new(config), client: vec![Arc::new(client)] }
    }

    /// A machine's connection with it.
    fn meet(&self, bench: &Bench) -> (ConnId, StreamOwned<ServerConnection, std::net::TcpStream>) {
        let address = self.listener.local_addr().unwrap();
        let conn = bench.connect(Target { layers: self.client.clone(), ..target(address) });
        let session = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut stream = StreamOwned::new(session, accept(&self.listener));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        assert!(matches!(bench.next(), Event::Connected { .. }));
        (conn, stream)
    }
}

#[test]
fn large_messages_pass_each_other() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (client, up, server, down) = connected(version);
        let message = Arc::new(pattern(6_000_000));
        for (bench, conn) in [(&client, up), (&server, down)] {
            let message = Arc::clone(&message);
            bench.ask(move |_, sink| sink.send(conn, &message));
        }
        assert!(client.received(message.len()) == *message);
        assert!(server.received(message.len()) == *message);
    }
}

/// Hands up, and down, a byte at a time.
#[derive(Debug)]
struct Crumbs;

impl MakeLayer for Crumbs {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Self))
    }
}

impl Layer for Crumbs {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let crumb = below.split_to(below.len().min(1));
        above.extend_from_slice(&crumb);
        Ok(LayerState::Ready)
    }
    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        below.extend_from_slice(above);
        Ok(())
    }
}

#[test]
fn a_layer_below_may_hand_up_one_byte_at_a_time() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (mut client, mut server) = layers(version);
        client.insert(0, Arc::new(Crumbs));
        server.insert(0, Arc::new(Crumbs));
        let (client, up, server, down) = pair(client, server);
        let message = pattern(50_000);
        let sent = message.clone();
        client.ask(move |_, sink| sink.send(up, &sent));
        assert!(server.received(message.len()) == message);
        server.ask(move |_, sink| sink.close(down, CloseMode::Flush));
        assert!(matches!(client.until_closed(up), (_, CloseReason::EndOfStream)));
    }
}

#[test]
fn many_connections_shake_hands_at_once() {
    const MANY: usize = 100;
    let (client, server) = layers(TlsVersion::V1_3);
    let echo = Bench::with("echo", |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let address = echo.listen_with(server);
    let bench = Bench::new("clients");
    let conns: Vec<_> =
        (0..MANY).map(|_| bench.connect(Target { layers: client.clone(), ..target(address) })).collect();
    let mut answers = vec![Vec::new(); MANY];
    let expected = |conn: ConnId| format!("hello from {conn:?}").into_bytes();
    let at = |wanted: ConnId| conns.iter().position(|&conn| conn == wanted).unwrap();
    while conns.iter().any(|&conn| answers[at(conn)] != expected(conn)) {
        match bench.next() {
            Event::Connected { conn, .. } => {
                bench.order(move |_, sink| sink.send(conn, &expected(conn)));
            }
            Event::Received { conn, bytes } => answers[at(conn)].extend(bytes),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_threads_write_while_the_loop_reads() {
    let (client, server) = layers(TlsVersion::V1_3);
    let echo = Bench::with("echo", |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let address = echo.listen_with(server);
    let bench = Bench::new("client");
    let conn = bench.connect(Target { layers: client, ..target(address) });
    assert!(matches!(bench.next(), Event::Connected { .. }));
    let outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    let message = pattern(4_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in message.chunks(10_007) {
                let mut part = BytesMut::from(part);
                while outlet.try_write(&mut part).unwrap() == Written::Full {
                    std::thread::yield_now();
                }
            }
        });
        assert!(bench.received(message.len()) == message);
    });
}

#[test]
fn a_server_may_speak_before_the_handshake_is_over() {
    let (client, server) = layers(TlsVersion::V1_3);
    let accepting = Bench::new("server");
    let address = accepting.listen_with(server);
    let connecting = Bench::new("client");
    let mut relay = Relay::new(address);
    let conn = connecting.connect(Target { layers: client, ..target(relay.address()) });
    relay.accept();
    let accepted = accepting.accepted();
    accepting.ask(move |_, sink| sink.send(accepted, b"from the machine"));
    let outlet = accepting.ask(move |_, sink| sink.outlet(accepted)).unwrap();
    let mut early = BytesMut::from(&b", from another thread"[..]);
    assert_eq!(outlet.try_write(&mut early).unwrap(), Written::Full);
    relay.run();
    assert!(matches!(connecting.next(), Event::Connected { conn: connected, .. } if connected == conn));
    while {
        assert!(matches!(accepting.next(), Event::Writable { conn } if conn == accepted));
        outlet.try_write(&mut early).unwrap() == Written::Full
    } {}
    assert_eq!(connecting.received(37), b"from the machine, from another thread");
}

/// Stands between two sockets, and lets nothing through until it is told to.
struct Relay {
    listener: TcpListener,
    server: std::net::TcpStream,
    client: Option<std::net::TcpStream>,
}

impl Relay {
    fn new(to: std::net::SocketAddr) -> Self {
        Self { listener: TcpListener::bind(loopback()).unwrap(), server: common::connect(to), client: None }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn accept(&mut self) {
        self.client = Some(accept(&self.listener));
    }

    fn run(&mut self) {
        let client = self.client.take().unwrap();
        for (mut from, mut to) in [
            (client.try_clone().unwrap(), self.server.try_clone().unwrap()),
            (self.server.try_clone().unwrap(), client),
        ] {
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        }
    }
}

#[test]
fn an_end_that_was_announced_is_an_end_and_any_other_a_truncation() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (client, up, server, down) = connected(version);
        server.ask(move |_, sink| {
            sink.send(down, b"the last");
            sink.close(down, CloseMode::Flush);
        });
        let (last, reason) = client.until_closed(up);
        assert_eq!(last, b"the last");
        assert!(matches!(reason, CloseReason::EndOfStream), "{reason}");
        let (client, up, server, down) = connected(version);
        client.ask(move |_, sink| sink.close(up, CloseMode::Abort));
        let (_, reason) = server.until_closed(down);
        let CloseReason::Layer(error) = reason else { panic!("{reason}") };
        assert_eq!(error.trouble(), LayerTrouble::Truncated);
        assert!(error.to_string().contains("the client did not say that it ends (close_notify)"), "{error}");
    }
    // A machine that goes away says so, too.
    let (client, up, server, _) = connected(TlsVersion::V1_3);
    drop(server);
    let (_, reason) = client.until_closed(up);
    assert!(matches!(reason, CloseReason::EndOfStream), "{reason}");
}

#[test]
fn half_a_record_before_the_end_is_a_truncation() {
    let foreign = Foreign::new();
    let bench = Bench::new("client");
    let (conn, mut peer) = foreign.meet(&bench);
    peer.write_all(b"whole").unwrap();
    peer.flush().unwrap();
    // A record of application data that says 100 bytes.
    peer.sock.write_all(&[23, 3, 3, 0, 100, 1, 2, 3]).unwrap();
    drop(peer);
    let (received, reason) = bench.until_closed(conn);
    assert_eq!(received, b"whole");
    let CloseReason::Layer(error) = reason else { panic!("{reason}") };
    assert_eq!(error.trouble(), LayerTrouble::Truncated);
}

#[test]
fn a_peer_that_says_goodbye_and_waits_is_answered() {
    let foreign = Foreign::new();
    let bench = Bench::new("client");
    let (conn, mut peer) = foreign.meet(&bench);
    peer.write_all(b"bye").unwrap();
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    // The socket stays open: the end is that of TLS.
    let (received, reason) = bench.until_closed(conn);
    assert_eq!(received, b"bye");
    assert!(matches!(reason, CloseReason::EndOfStream), "{reason}");
    // The library's blocking stream calls an end without a word an error.
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn keys_change_while_bytes_flow() {
    let foreign = Foreign::new();
    let bench = Bench::with("echo", |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let (_, mut peer) = foreign.meet(&bench);
    let mut echo = [0; 4];
    for i in 0..100u32 {
        peer.conn.refresh_traffic_keys().unwrap();
        peer.write_all(&i.to_be_bytes()).unwrap();
        peer.flush().unwrap();
        peer.read_exact(&mut echo).unwrap();
        assert_eq!(echo, i.to_be_bytes());
    }
}

#[test]
fn a_damaged_record_ends_the_connection_and_the_peer_hears_of_it() {
    let foreign = Foreign::new();
    let bench = Bench::new("client");
    let (conn, mut peer) = foreign.meet(&bench);
    peer.sock.write_all(&[&[23, 3, 3, 0, 100][..], &[7; 100]].concat()).unwrap();
    let CloseReason::Layer(error) = bench.until_closed(conn).1 else { panic!("it goes on") };
    assert_eq!(error.trouble(), LayerTrouble::Protocol);
    assert!(error.to_string().contains("cannot be decrypted"), "{error}");
    let heard = peer.read(&mut [0; 10]).unwrap_err();
    assert!(heard.to_string().contains("BadRecordMac"), "{heard}");
}

#[test]
fn a_session_is_resumed_as_if_it_were_new() {
    let foreign = Foreign::new();
    let bench = Bench::with("echo", |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (conn, mut peer) = foreign.meet(&bench);
        peer.write_all(b"hello").unwrap();
        peer.flush().unwrap();
        let mut echo = [0; 5];
        peer.read_exact(&mut echo).unwrap();
        kinds.push(peer.conn.handshake_kind().unwrap());
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        assert!(matches!(bench.until_closed(conn).1, CloseReason::EndOfStream));
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}
