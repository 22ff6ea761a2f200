//! Layers over sockets: handshakes, failures, large messages, the end; Unix sockets and streams of one's own.

mod common;

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use amps_transport::{
    Address, CloseMode, CloseReason, ConnectError, Connector, CustomStream, Layer, LayerError, LayerState,
    LayerTrouble, Layers, MakeLayer, SocketOptions, Target,
};
use bytes::BytesMut;
use common::{Bench, Event, LIMIT, accept, connect, loopback, target};

/// Waits for a word, says one, and turns every bit around from then on.
#[derive(Clone, Debug, Default)]
struct Turn {
    ready: bool,
}

const WORD: &[u8] = b"turn!";

impl MakeLayer for Turn {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(self.clone()))
    }
}

impl Layer for Turn {
    fn name(&self) -> &'static str {
        "turn"
    }
    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        below.extend_from_slice(WORD);
        Ok(LayerState::Handshaking)
    }
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        if !self.ready {
            let came = below.len().min(WORD.len());
            if below[..came] != WORD[..came] {
                return Err(LayerError::new(
                    "turn",
                    LayerTrouble::Refused,
                    "the peer does not know the word",
                ));
            }
            if came < WORD.len() {
                return Ok(LayerState::Handshaking);
            }
            let _word = below.split_to(came);
            self.ready = true;
        }
        above.extend(below.split().iter().map(|byte| !byte));
        Ok(LayerState::Ready)
    }
    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        below.extend(above.iter().map(|byte| !byte));
        Ok(())
    }
    fn finish(&mut self, below: &mut BytesMut) {
        below.extend_from_slice(b"bye");
    }
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

fn layered(listener: &TcpListener) -> Target {
    Target { layers: vec![Arc::new(Turn::default())], ..target(listener.local_addr().unwrap()) }
}

#[test]
fn an_accepted_connection_whose_handshake_stalls_is_closed_and_others_stay() {
    let bench = Bench::new("stalled");
    let options = SocketOptions { handshake_timeout: Duration::from_millis(500), ..SocketOptions::default() };
    let layers: Layers = vec![Arc::new(Turn::default())];
    let (_, address) = bench.handle.listen_with(loopback(), options, layers).unwrap();
    let mut good = connect(address);
    good.write_all(&[WORD, &turned(b"hello")].concat()).unwrap();
    bench.accepted();
    assert_eq!(bench.received(5), b"hello");
    let mut silent = connect(address);
    let stalled = bench.accepted();
    silent.write_all(&WORD[..2]).unwrap();
    match bench.until_closed(stalled) {
        (_, CloseReason::Layer(error)) => {
            assert_eq!(error.trouble(), LayerTrouble::Handshake);
            assert!(error.to_string().starts_with("turn: the handshake did not end within 500ms"), "{error}");
        }
        (_, other) => panic!("{other:?}"),
    }
    good.write_all(&turned(b"still there")).unwrap();
    assert_eq!(bench.received(11), b"still there");
}

#[test]
fn a_connection_is_there_when_its_layers_are() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("layers");
    let conn = bench.connect(layered(&listener));
    let mut peer = accept(&listener);
    let mut word = [0; 5];
    peer.read_exact(&mut word).unwrap();
    assert_eq!(word, WORD);
    assert!(bench.try_next().is_none(), "not yet");
    peer.write_all(b"turn").unwrap();
    // The last byte comes together with the first of the stream.
    peer.write_all(&[b"!".as_slice(), &turned(b"hello")].concat()).unwrap();
    assert!(matches!(bench.next(), Event::Connected { conn: connected, .. } if connected == conn));
    assert_eq!(bench.received(5), b"hello");
    bench.ask(move |_, sink| sink.send(conn, b"answer"));
    let mut answer = [0; 6];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(turned(&answer), b"answer");
    bench.ask(move |_, sink| sink.close(conn, CloseMode::Flush));
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye", "the layer ends before the socket does");
}

#[test]
fn a_layer_that_fails_says_why() {
    for (answer, truncated) in [(b"nope!".as_slice(), false), (b"tu", true)] {
        let listener = TcpListener::bind(loopback()).unwrap();
        let bench = Bench::new("refused");
        bench.connect(layered(&listener));
        let mut peer = accept(&listener);
        // What nobody has read would turn the end into a reset.
        peer.read_exact(&mut [0; WORD.len()]).unwrap();
        peer.write_all(answer).unwrap();
        if truncated {
            drop(peer);
        }
        let event = bench.next();
        let Event::ConnectFailed { error: ConnectError::Layer { source, .. }, .. } = event else {
            panic!("{event:?}");
        };
        let expected = if truncated { LayerTrouble::Handshake } else { LayerTrouble::Refused };
        assert_eq!(source.trouble(), expected, "{source}");
    }
}

#[test]
fn a_handshake_that_stalls_times_out_and_is_not_taken_for_a_missing_connection() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("stall");
    bench.connect(Target { timeout: Duration::from_millis(100), ..layered(&listener) });
    let _peer = accept(&listener);
    let Event::ConnectFailed { error, .. } = bench.next() else { panic!("it connected") };
    assert!(matches!(error, ConnectError::HandshakeTimedOut { layer: "turn", .. }), "{error}");
    assert!(error.to_string().contains("is established, but its turn handshake"), "{error}");
}

#[test]
fn other_threads_write_through_the_layers_and_nothing_is_lost_when_the_peer_is_slow() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("outlet");
    let conn = bench.connect(layered(&listener));
    let mut peer = accept(&listener);
    peer.write_all(WORD).unwrap();
    assert!(matches!(bench.next(), Event::Connected { .. }));
    let outlet = bench.ask(move |_, sink| sink.outlet(conn)).unwrap();
    let message: Vec<u8> = (0..8_000_000u32).map(|i| (i / 7) as u8).collect();
    let mut unsent = BytesMut::from(&message[..]);
    let mut received = Vec::new();
    let mut some = vec![0; 100_000];
    let mut skip = WORD.len();
    while received.len() < message.len() {
        let _ = outlet.try_write(&mut unsent).unwrap();
        let count = peer.read(&mut some).unwrap();
        let part = &some[skip.min(count)..count];
        skip -= skip.min(count);
        received.extend(turned(part));
    }
    assert!(unsent.is_empty() && received == message);
}

#[test]
fn a_peer_that_breaks_a_layer_ends_the_connection_with_the_layers_words() {
    let bench = Bench::new("accepts");
    let address = bench.listen_with(vec![Arc::new(Turn::default())]);
    let mut peer = connect(address);
    peer.write_all(b"wrong").unwrap();
    assert!(matches!(bench.next(), Event::Accepted { .. }));
    let Event::Closed { reason: CloseReason::Layer(error), .. } = bench.next() else { panic!("it goes on") };
    assert_eq!(error.to_string(), "turn: the peer does not know the word");
}

#[cfg(unix)]
#[test]
fn a_socket_file_connects_and_goes_with_its_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("amps.sock");
    let server = Bench::new("server");
    server.listen_unix(&path);
    let client = Bench::new("client");
    let address = Address::Unix(path.clone());
    let conn = client.connect(Target { address, ..Target::tcp("", 0, LIMIT) });
    assert!(matches!(client.next(), Event::Connected { local: None, peer: None, .. }));
    assert!(matches!(server.next(), Event::Accepted { peer: None, .. }));
    client.ask(move |_, sink| sink.send(conn, b"hello"));
    assert_eq!(server.received(5), b"hello");
    drop(server);
    common::until(|| !path.exists());
    let client = Bench::new("nobody");
    client.connect(Target { address: Address::Unix(path), ..Target::tcp("", 0, LIMIT) });
    let Event::ConnectFailed { error, .. } = client.next() else { panic!("it connected") };
    assert!(error.to_string().contains("amps.sock"), "{error}");
}

/// A TCP socket, in a way of one's own.
#[derive(Debug)]
struct Detour(std::net::SocketAddr);

impl Connector for Detour {
    fn connect(&self, host: &str, port: u16, _: Duration) -> io::Result<Box<dyn CustomStream>> {
        assert_eq!((host, port), ("server.example", 9007));
        let stream = std::net::TcpStream::connect(self.0)?;
        stream.set_nonblocking(true)?;
        Ok(Box::new(mio::net::TcpStream::from_std(stream)))
    }
}

#[test]
fn a_stream_of_ones_own_connects() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let bench = Bench::new("custom");
    let detour = |address| {
        let address = Address::Custom {
            connector: Arc::new(Detour(address)),
            host: "server.example".into(),
            port: 9007,
        };
        Target { address, ..Target::tcp("", 0, LIMIT) }
    };
    let conn = bench.connect(detour(listener.local_addr().unwrap()));
    let mut peer = accept(&listener);
    assert!(matches!(bench.next(), Event::Connected { .. }));
    bench.ask(move |_, sink| sink.send(conn, b"out"));
    let mut out = [0; 3];
    peer.read_exact(&mut out).unwrap();
    peer.write_all(b"in").unwrap();
    assert_eq!(bench.received(2), b"in");
    bench.connect(detour("127.0.0.1:1".parse().unwrap()));
    let Event::ConnectFailed { error, .. } = bench.next() else { panic!("it connected") };
    assert!(
        matches!(&error, ConnectError::Refused { address } if address == "server.example:9007"),
        "{error}"
    );
}
