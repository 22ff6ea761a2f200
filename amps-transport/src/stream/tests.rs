//! Streams over sockets whose other end the test holds.

use std::os::unix::net::UnixStream as Peer;
use std::sync::Arc;

use super::*;
use crate::layer::{Layer, LayerState, MakeLayer};

/// Takes everything, and says the same back, or nothing; nothing of it comes out above.
#[derive(Clone, Copy, Debug)]
struct Swallow {
    answers: bool,
    state: LayerState,
}

impl MakeLayer for Swallow {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(*self))
    }
}

impl Layer for Swallow {
    fn start(&mut self, _below: &mut BytesMut) -> Result<LayerState, LayerError> {
        Ok(self.state)
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        _above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let came = below.split();
        if self.answers {
            answer.extend_from_slice(&came);
        }
        Ok(self.state)
    }

    fn send(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }
}

/// A stream with that layer, and the other end, neither of which blocks.
fn pair(answers: bool, state: LayerState) -> (Stream, Peer) {
    let (one, other) = Peer::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    let layers: Layers = vec![Arc::new(Swallow { answers, state })];
    (Stream::new(Socket::Unix(UnixStream::from_std(one)), &layers, "").unwrap(), other)
}

fn kind<T>(outcome: io::Result<T>) -> Option<io::ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Writes until the socket takes no more; returns how much it took.
fn fill(mut peer: &Peer) -> usize {
    let mut taken = 0;
    while let Ok(count) = peer.write(&[7; 4096]) {
        taken += count;
    }
    taken
}

#[test]
fn a_read_from_which_nothing_comes_leaves_the_rest_for_later() {
    let (stream, peer) = pair(false, LayerState::Ready);
    let written = fill(&peer);
    let (mut scratch, mut out) = ([0; 100], BytesMut::new());
    for _ in 0..written / scratch.len() {
        assert_eq!(kind(stream.read(&mut scratch, &mut out)), Some(io::ErrorKind::Interrupted));
    }
    while kind(stream.read(&mut scratch, &mut out)) == Some(io::ErrorKind::Interrupted) {}
    assert_eq!(kind(stream.read(&mut scratch, &mut out)), Some(io::ErrorKind::WouldBlock));
    assert!(out.is_empty());
}

#[test]
fn a_handshake_that_never_ends_leaves_the_rest_for_later() {
    let (stream, peer) = pair(false, LayerState::Handshaking);
    let written = fill(&peer);
    let mut scratch = [0; 100];
    let mut calls = 0;
    while stream.handshake(&mut scratch).unwrap() == Handshake::GoesOn {
        calls += 1;
    }
    assert!(calls >= written / (scratch.len() * READS_PER_TURN), "{calls} calls for {written} bytes");
}

/// Feeds a stream whose peer reads nothing until neither side takes any more.
fn feed(peer: &Peer, mut step: impl FnMut()) -> usize {
    let mut taken = 0;
    while taken < 64 * MOST_ON_WIRE {
        let more = fill(peer);
        if more == 0 {
            break;
        }
        taken += more;
        step();
    }
    taken
}

#[test]
fn a_peer_that_does_not_read_the_answers_is_held_back_until_it_does() {
    let (stream, mut peer) = pair(true, LayerState::Ready);
    let (mut scratch, mut out) = (vec![0; 64 * 1024], BytesMut::new());
    let mut read_all =
        || while kind(stream.read(&mut scratch, &mut out)) == Some(io::ErrorKind::Interrupted) {};
    let taken = feed(&peer, &mut read_all);
    assert!(taken < 64 * MOST_ON_WIRE, "it took {taken} bytes");
    let waits = lock(&stream.layers.as_ref().unwrap().stack).wire().len();
    assert!((MOST_ON_WIRE..=MOST_ON_WIRE + 64 * 1024).contains(&waits), "{waits} bytes wait");
    assert!(!stream.take_release(), "there is no room yet");

    let (mut answered, mut part) = (0, vec![0; 64 * 1024]);
    let mut released = false;
    while answered < taken {
        while let Ok(count) = peer.read(&mut part) {
            assert!(count > 0);
            answered += count;
        }
        stream.flush().unwrap();
        if stream.take_release() {
            released = true;
            read_all();
        }
    }
    assert!(released, "and so everything was read and answered");
}

#[test]
fn a_handshake_whose_answers_are_not_read_is_held_back() {
    let (stream, peer) = pair(true, LayerState::Handshaking);
    let mut scratch = vec![0; 64 * 1024];
    let taken = feed(&peer, || while stream.handshake(&mut scratch).unwrap() == Handshake::GoesOn {});
    assert!(taken < 64 * MOST_ON_WIRE, "it took {taken} bytes");
    assert!(lock(&stream.layers.as_ref().unwrap().stack).wire().len() <= MOST_ON_WIRE + 64 * 1024);
}

#[test]
fn a_writer_that_waited_for_the_lock_finds_out_that_no_layer_is_left() {
    let (stream, _peer) = pair(false, LayerState::Ready);
    let layers = stream.layers.as_ref().unwrap();
    assert!(layers.lock().is_some());
    // What the reader does while it has the lock, and a writer is past its first look.
    layers.bare.store(true, Ordering::Release);
    assert!(layers.lock().is_none());
}

#[test]
fn a_dropped_socket_does_not_linger_but_resets_if_that_was_asked_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (asked, left) in [(7, None), (0, Some(Duration::ZERO))] {
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let same = stream.try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = Stream::new(Socket::Tcp(TcpStream::from_std(stream)), &Layers::new(), "").unwrap();
        SockRef::from(&same).set_linger(Some(Duration::from_secs(asked))).unwrap();
        drop(stream);
        assert_eq!(SockRef::from(&same).linger().unwrap(), left);
    }
}
