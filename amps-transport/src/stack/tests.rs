//! Layers on each other, byte by byte.

use bytes::Buf;
use std::sync::Arc;

use super::*;
use crate::layer::MakeLayer;

/// Says `greeting` first and wants the same; then adds `by` to every byte, as often as it says `double`, and ends
/// with a zero.
#[derive(Clone, Debug)]
struct Shift {
    by: u8,
    greeting: &'static [u8],
    left: usize,
    transparent: bool,
}

fn shift(by: u8, greeting: &'static [u8]) -> Arc<dyn MakeLayer> {
    Arc::new(Shift { by, greeting, left: greeting.len(), transparent: false })
}

impl MakeLayer for Shift {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(self.clone()))
    }
}

impl Layer for Shift {
    fn start(&mut self, below: &mut BytesMut) -> Result<LayerState, LayerError> {
        below.extend_from_slice(self.greeting);
        Ok(if self.left == 0 { LayerState::Ready } else { LayerState::Handshaking })
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let greeted = below.len().min(self.left);
        self.left -= greeted;
        if below.split_to(greeted).iter().any(|byte| !self.greeting.contains(byte)) {
            return Err(LayerError::new("shift", LayerTrouble::Protocol, "that is no greeting"));
        }
        if self.left > 0 {
            return Ok(LayerState::Handshaking);
        }
        if self.transparent {
            return Ok(LayerState::Transparent);
        }
        above.extend(below.split().iter().map(|byte| byte.wrapping_sub(self.by)));
        Ok(LayerState::Ready)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        assert_eq!(self.left, 0, "nothing is sent before it is ready");
        below.extend(above.iter().map(|byte| byte.wrapping_add(self.by)));
        Ok(())
    }

    fn finish(&mut self, below: &mut BytesMut) {
        below.extend_from_slice(b"\0");
    }
}

/// Brings everything from one end to the other, so many bytes at a time.
fn carry(from: &mut Stack, to: &mut Stack, step: usize) -> Result<(), LayerError> {
    while !from.wire().is_empty() {
        let count = step.min(from.wire().len());
        let bytes = from.wire().split_to(count);
        to.receive(&bytes)?;
    }
    Ok(())
}

fn shake_hands(one: &mut Stack, other: &mut Stack, step: usize) {
    while !(one.is_ready() && other.is_ready()) {
        carry(one, other, step).unwrap();
        carry(other, one, step).unwrap();
    }
}

fn read_all(stack: &mut Stack) -> Vec<u8> {
    let mut all = BytesMut::new();
    while stack.read(&mut all).unwrap() > 0 {}
    all.into()
}

#[test]
fn layers_shake_hands_from_below_and_carry_any_pieces() {
    let layers: Layers = vec![shift(3, b"ab"), shift(5, b""), shift(7, b"cd")];
    let message: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
    for step in [1, 2, 7, 1000] {
        let mut one = Stack::new(&layers, "").unwrap();
        let mut other = Stack::new(&layers, "").unwrap();
        assert_eq!(&one.wire()[..], b"ab", "the upper ones wait for the lowest");
        shake_hands(&mut one, &mut other, step);
        assert_eq!(one.send(&message).unwrap(), message.len());
        assert_ne!(one.wire()[..], message[..]);
        carry(&mut one, &mut other, step).unwrap();
        assert_eq!(read_all(&mut other), message);
    }
}

#[test]
fn a_layer_that_is_done_gets_out_of_the_way_and_leaves_its_input() {
    let gone: Arc<dyn MakeLayer> = Arc::new(Shift { by: 1, greeting: b"hi", left: 2, transparent: true });
    let mut stack = Stack::new(&vec![gone], "").unwrap();
    stack.receive(b"h").unwrap();
    assert!(!stack.is_bare());
    stack.receive(b"ithe rest").unwrap();
    assert_eq!(read_all(&mut stack), b"the rest");
    stack.wire().clear();
    assert!(stack.is_bare() && stack.is_ready());
}

#[test]
fn the_end_is_said_from_above_and_heard_in_the_middle_of_a_handshake() {
    let layers: Layers = vec![shift(1, b""), shift(2, b"")];
    let mut stack = Stack::new(&layers, "").unwrap();
    stack.finish().unwrap();
    stack.finish().unwrap();
    assert_eq!(&stack.wire()[..], [1, 0], "each once, the upper one's through the lower one");
    stack.end().unwrap();
    let mut early = Stack::new(&vec![shift(1, b"ab")], "").unwrap();
    early.receive(b"a").unwrap();
    assert_eq!(early.end().unwrap_err().trouble(), LayerTrouble::Handshake);
}

#[test]
fn only_a_part_is_encoded_at_a_time_and_nothing_grows_while_nobody_reads() {
    let layers: Layers = vec![shift(1, b"")];
    let (mut one, mut other) = (Stack::new(&layers, "").unwrap(), Stack::new(&layers, "").unwrap());
    let large = vec![9; 10 * SEND_AT_ONCE];
    assert_eq!(one.send(&large).unwrap(), SEND_AT_ONCE);
    carry(&mut one, &mut other, SEND_AT_ONCE).unwrap();
    assert_eq!(other.plain.len(), SEND_AT_ONCE);
    one.send(&large).unwrap();
    carry(&mut one, &mut other, SEND_AT_ONCE).unwrap();
    assert_eq!(other.plain.len(), SEND_AT_ONCE, "the rest waits as it came");
    assert_eq!(read_all(&mut other).len(), 2 * SEND_AT_ONCE);
}

#[test]
fn what_a_layer_refuses_names_it() {
    let mut stack = Stack::new(&vec![shift(1, b"ab")], "").unwrap();
    let error = stack.receive(b"xy").unwrap_err();
    assert_eq!(error.to_string(), "shift: that is no greeting");
    let error: std::io::Error = error.into();
    assert_eq!(LayerError::within(&error).unwrap().layer(), "shift");
}

/// Passes bytes on, up to a zero, which is its end; an end of the layer below surprises it.
#[derive(Debug, Default)]
struct UntilZero {
    over: bool,
}

impl MakeLayer for UntilZero {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Self::default()))
    }
}

impl Layer for UntilZero {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let end = below.iter().position(|&byte| byte == 0);
        let came = below.split();
        above.extend_from_slice(&came[..end.unwrap_or(came.len())]);
        self.over |= end.is_some();
        Ok(if self.over { LayerState::Ended } else { LayerState::Ready })
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        if self.over {
            return Err(LayerError::new(
                "until zero",
                LayerTrouble::Protocol,
                "nothing can be sent after the end",
            ));
        }
        below.extend_from_slice(above);
        Ok(())
    }

    fn ended(&mut self) -> Result<(), LayerError> {
        Err(LayerError::new("until zero", LayerTrouble::Truncated, "no zero"))
    }
}

#[test]
fn a_layer_that_has_seen_its_end_ends_those_above_and_takes_nothing_more() {
    let layers: Layers = vec![Arc::new(UntilZero::default()), shift(1, b"")];
    let mut stack = Stack::new(&layers, "").unwrap();
    stack.receive(b"bcd").unwrap();
    assert!(!stack.is_over());
    stack.receive(b"e\0f").unwrap();
    stack.receive(b"g").unwrap();
    assert_eq!(read_all(&mut stack), b"abcd");
    assert!(stack.is_over());
    stack.end().unwrap();
    let mut cut = Stack::new(&layers, "").unwrap();
    cut.receive(b"bcd").unwrap();
    assert_eq!(cut.end().unwrap_err().trouble(), LayerTrouble::Truncated);
}

/// Answers everything, and says goodbye.
#[derive(Debug)]
struct Polite;

impl MakeLayer for Polite {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Self))
    }
}

impl Layer for Polite {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        answer.extend_from_slice(below);
        above.unsplit(below.split());
        Ok(LayerState::Ready)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        below.extend_from_slice(above);
        Ok(())
    }

    fn finish(&mut self, below: &mut BytesMut) {
        below.extend_from_slice(b"bye");
    }
}

/// As WebSocket answers a close frame that came together with the end of TLS.
#[test]
fn what_is_answered_to_the_last_bytes_above_a_layer_that_has_ended_is_no_error() {
    let layers: Layers = vec![Arc::new(UntilZero::default()), Arc::new(Polite)];
    let mut stack = Stack::new(&layers, "").unwrap();
    stack.receive(b"a").unwrap();
    assert_eq!(&stack.wire().split()[..], b"a");
    stack.receive(b"last\0").unwrap();
    assert_eq!(read_all(&mut stack), b"alast");
    stack.end().unwrap();
    stack.finish().unwrap();
    assert!(stack.wire().is_empty(), "nobody would listen");
}

/// Remembers for whom it was made.
#[derive(Debug)]
struct Asked(std::sync::Mutex<String>, Option<&'static str>);

impl MakeLayer for Asked {
    fn make(&self, host: &str) -> Result<Box<dyn Layer>, LayerError> {
        *self.0.lock().unwrap() = host.to_owned();
        Ok(Box::new(UntilZero::default()))
    }
    fn host_above(&self) -> Option<&str> {
        self.1
    }
}

#[test]
fn the_layers_behind_a_proxy_are_made_for_whom_it_stands_for() {
    let asked = [Some("server"), None, None].map(|above| Arc::new(Asked(Default::default(), above)));
    let layers: Layers = asked.iter().map(|one| Arc::clone(one) as Arc<dyn MakeLayer>).collect();
    Stack::new(&layers, "proxy").unwrap();
    let hosts = asked.map(|one| one.0.lock().unwrap().clone());
    assert_eq!(hosts, ["proxy", "server", "server"]);
}

/// Passes ten bytes on at a time, and keeps the dots to itself.
#[derive(Debug)]
struct NoDots;

impl MakeLayer for NoDots {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Self))
    }
}

impl Layer for NoDots {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let mut passed = 0;
        while passed < 10 && !below.is_empty() {
            let byte = below.get_u8();
            if byte != b'.' {
                above.extend_from_slice(&[byte]);
                passed += 1;
            }
        }
        Ok(LayerState::Ready)
    }

    fn send(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }
}

#[test]
fn what_waits_below_moves_although_nothing_comes_of_what_was_before_it() {
    let layers: Layers = vec![shift(0, b""), Arc::new(NoDots)];
    let mut stack = Stack::new(&layers, "").unwrap();
    stack.receive(&[&[b'x'; 20][..], &[b'.'; SEND_AT_ONCE + 1]].concat()).unwrap();
    stack.receive(b"y").unwrap();
    assert_eq!(read_all(&mut stack), [&[b'x'; 20][..], b"y"].concat());
    assert!(stack.levels.iter().all(|level| level.input.is_empty()));
}

/// Takes records as a whole only.
#[derive(Debug)]
struct Records;

const RECORD: usize = 200 * 1024;

impl MakeLayer for Records {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Self))
    }
}

impl Layer for Records {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        if below.len() >= RECORD {
            above.extend_from_slice(&below.split_to(RECORD));
        }
        Ok(LayerState::Ready)
    }

    fn send(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }
}

#[test]
fn a_layer_gets_as_much_as_it_takes_at_once_and_not_much_more() {
    let layers: Layers = vec![shift(1, b""), Arc::new(Records)];
    let mut stack = Stack::new(&layers, "").unwrap();
    let bytes: Vec<u8> = (0..3 * RECORD).map(|i| (i / 3) as u8).collect();
    let mut read = BytesMut::new();
    for piece in bytes.chunks(50_000) {
        let piece: Vec<u8> = piece.iter().map(|byte| byte.wrapping_add(1)).collect();
        stack.receive(&piece).unwrap();
        let waits: Vec<usize> = stack.levels.iter().map(|level| level.input.len()).collect();
        assert!(waits[0] == 0 && waits[1] <= RECORD + 50_000, "{waits:?}");
        stack.read(&mut read).unwrap();
    }
    assert!(read == bytes);

    // Nobody reads: the record that is there holds back what follows, and only then.
    for _ in 0..20 {
        stack.receive(&[1; 50_000]).unwrap();
    }
    assert_eq!(stack.plain.len(), RECORD);
    assert_eq!(stack.levels[0].input.len() + stack.levels[1].input.len(), 20 * 50_000 - RECORD);
    assert!(stack.levels[1].input.len() <= 2 * RECORD);
    assert_eq!(read_all(&mut stack).len(), 1_000_000 / RECORD * RECORD);
}

#[test]
fn no_large_buffer_stays_behind() {
    let layers: Layers = vec![shift(1, b""), shift(1, b""), Arc::new(Polite)];
    let mut stack = Stack::new(&layers, "").unwrap();
    stack.receive(&vec![7; 10 * KEPT_BUFFER]).unwrap();
    assert_eq!(stack.wire().split().len(), 10 * KEPT_BUFFER, "an answer of that size");
    read_all(&mut stack);
    assert!(stack.scratch.iter().all(|buffer| buffer.capacity() <= KEPT_BUFFER));
    assert!(stack.wire().capacity() <= KEPT_BUFFER);
}
