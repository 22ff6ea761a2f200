//! The layers of one connection on each other, and the bytes between them.
//!
//! Owns what was encoded and the socket has not taken, and what was decoded and nobody has
//! read. Touches no socket.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::BytesMut;

use crate::layer::{Layer, LayerError, LayerState, LayerTrouble, Layers};

/// How much of what a machine sends is encoded at a time: what is encoded cannot be taken back, and is not
/// counted by whoever limits what waits.
const SEND_AT_ONCE: usize = 64 * 1024;

/// Buffers that are empty and larger than this are given back.
const KEPT_BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Stack {
    /// The one next to the wire first.
    levels: Vec<Level>,
    /// Encoded, and not taken by the socket.
    wire: BytesMut,
    /// Decoded, and not read.
    plain: BytesMut,
    /// The peer has ended the stream, and every layer knows.
    ended: bool,
    /// A layer says that nothing more comes.
    over: bool,
    finished: bool,
    /// A layer has taken something.
    progress: bool,
    /// What a layer encodes on its way down.
    scratch: [BytesMut; 2],
}

#[derive(Debug)]
struct Level {
    layer: Box<dyn Layer>,
    /// What came from below and was left.
    input: BytesMut,
    state: Option<LayerState>,
    /// It was offered all of `input` and made nothing of it: it needs more.
    starved: bool,
}

impl Stack {
    /// The layers of a connection to `host`.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub(crate) fn new(layers: &Layers, host: &str) -> Result<Self, LayerError> {
        let mut host = host;
        let mut levels = Vec::with_capacity(layers.len());
        for layer in layers {
            let made = layer.make(host)?;
            levels.push(Level { layer: made, input: BytesMut::new(), state: None, starved: false });
            host = layer.host_above().unwrap_or(host);
        }
        let (wire, plain, scratch) = (BytesMut::new(), BytesMut::new(), Default::default());
        let (ended, over, finished, progress) = (false, false, false, false);
        let mut stack = Self { levels, wire, plain, ended, over, finished, progress, scratch };
        stack.pump()?;
        Ok(stack)
    }

    /// Whether every layer carries bytes.
    pub(crate) fn is_ready(&self) -> bool {
        self.levels.iter().all(|level| level.state == Some(LayerState::Ready))
    }

    /// The name of the lowest layer that does not carry bytes yet.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        self.levels
            .iter()
            .find(|level| level.state != Some(LayerState::Ready))
            .map(|level| level.layer.name())
    }

    /// Whether nothing is left to do between the socket and the machine.
    pub(crate) fn is_bare(&self) -> bool {
        self.levels.is_empty() && self.wire.is_empty() && self.plain.is_empty()
    }

    /// Whether the peer has ended the stream of a layer, although perhaps not that of the socket.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes came by the wire.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        match self.levels.first_mut() {
            Some(lowest) => lowest.input.extend_from_slice(bytes),
            None => self.plain.extend_from_slice(bytes),
        }
        self.pump()
    }

    /// Has every layer, from below, take what it can, until there is something to read or nothing more to do: a
    /// layer hands up a part at a time, of which the one above it may make nothing yet.
    pub(crate) fn pump(&mut self) -> Result<(), LayerError> {
        loop {
            self.progress = false;
            self.pass()?;
            if !self.progress || !self.plain.is_empty() {
                return Ok(());
            }
        }
    }

    fn pass(&mut self) -> Result<(), LayerError> {
        let mut i = 0;
        while i < self.levels.len() {
            let mut answer = std::mem::take(&mut self.scratch[0]);
            let state = self.step(i, &mut answer);
            let sent = self.say(i, &mut answer);
            self.scratch[0] = kept(answer);
            let state = state?;
            sent?;
            match state {
                LayerState::Transparent => {
                    let level = self.levels.remove(i);
                    match self.levels.get_mut(i) {
                        Some(next) => next.input.extend_from_slice(&level.input),
                        None => self.plain.extend_from_slice(&level.input),
                    }
                }
                // Those above begin when it is ready.
                LayerState::Handshaking => return Ok(()),
                LayerState::Ready => i += 1,
                LayerState::Ended => {
                    self.over = true;
                    i += 1;
                }
            }
        }
        Ok(())
    }

    /// Starts a layer, or has it take its input.
    fn step(&mut self, i: usize, answer: &mut BytesMut) -> Result<LayerState, LayerError> {
        let (lower, upper) = self.levels.split_at_mut(i + 1);
        let Some((level, below)) = lower.split_last_mut() else { return Ok(LayerState::Ready) };
        let mut state = match level.state {
            Some(state) => state,
            None => level.layer.start(answer)?,
        };
        let (above, mut starved) = match upper.first_mut() {
            Some(next) => (&mut next.input, Some(&mut next.starved)),
            None => (&mut self.plain, None),
        };
        // What nobody has taken yet must not grow without bounds; but it has to, to the size of what the one above
        // takes as a whole.
        let wanted = above.len() < SEND_AT_ONCE || starved.as_ref().is_some_and(|starved| **starved);
        let carries = matches!(state, LayerState::Handshaking | LayerState::Ready);
        if carries && !level.input.is_empty() && wanted {
            let (input_before, above_before) = (level.input.len(), above.len());
            state = level.layer.receive(&mut level.input, above, answer)?;
            let (taken, made) = (level.input.len() < input_before, above.len() > above_before);
            let starves = !taken && !made;
            // The one below gave nothing because there seemed to be enough: it is asked again.
            let more = starves && !level.starved && below.last().is_some_and(|below| !below.input.is_empty());
            level.starved = starves;
            self.progress |= taken || made || more;
            if let Some(starved) = starved.as_mut().filter(|_| made) {
                **starved = false;
            }
        }
        if level.input.is_empty() && level.input.capacity() > KEPT_BUFFER {
            level.input = BytesMut::new();
        }
        level.state = Some(state);
        Ok(state)
    }

    /// Brings down what the layer `i` has to say of its own accord. When the peer has ended a layer below it nobody
    /// listens, and that layer may take nothing more: the last bytes and that end may come together.
    fn say(&mut self, i: usize, bytes: &mut BytesMut) -> Result<(), LayerError> {
        let over = self.levels.iter().take(i).any(|level| level.state == Some(LayerState::Ended));
        if bytes.is_empty() || over { Ok(()) } else { self.send_from(i, bytes) }
    }

    /// Brings bytes down that the layer `i` has made.
    fn send_from(&mut self, i: usize, bytes: &mut BytesMut) -> Result<(), LayerError> {
        let mut next = std::mem::take(&mut self.scratch[1]);
        let mut outcome = Ok(());
        for level in self.levels.iter_mut().take(i).rev() {
            next.clear();
            outcome = level.layer.send(bytes, &mut next);
            if outcome.is_err() {
                break;
            }
            std::mem::swap(bytes, &mut next);
        }
        self.wire.extend_from_slice(bytes);
        self.scratch[1] = kept(next);
        outcome
    }

    /// Encodes a part of what the machine sends; returns how much.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, LayerError> {
        let part = bytes.get(..SEND_AT_ONCE).unwrap_or(bytes);
        let top = self.levels.len();
        let Some(level) = self.levels.last_mut() else {
            self.wire.extend_from_slice(part);
            return Ok(part.len());
        };
        let mut encoded = std::mem::take(&mut self.scratch[0]);
        let outcome = level.layer.send(part, &mut encoded);
        let outcome = outcome.and_then(|()| self.send_from(top - 1, &mut encoded));
        self.scratch[0] = kept(encoded);
        outcome.map(|()| part.len())
    }

    /// What waits for the socket.
    pub(crate) fn wire(&mut self) -> &mut BytesMut {
        if self.wire.is_empty() && self.wire.capacity() > KEPT_BUFFER {
            self.wire = BytesMut::new();
        }
        &mut self.wire
    }

    /// Appends what was decoded to `out`, and returns how much that is.
    pub(crate) fn read(&mut self, out: &mut BytesMut) -> Result<usize, LayerError> {
        if self.plain.is_empty() {
            // A layer may have left something because there was enough for once.
            self.pump()?;
        }
        let count = self.plain.len();
        out.extend_from_slice(&self.plain);
        self.plain.clear();
        // As long as it is made good use of, it is not made anew for each read.
        if self.plain.capacity() > KEPT_BUFFER.max(4 * count) {
            self.plain = BytesMut::new();
        }
        Ok(count)
    }

    /// The peer has ended the stream: each layer says whether that is in order.
    pub(crate) fn end(&mut self) -> Result<(), LayerError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        // Those up to one that has seen its end know better, and those below it may well go on.
        let over = self.levels.iter().rposition(|level| level.state == Some(LayerState::Ended));
        for level in self.levels.iter_mut().skip(over.map_or(0, |i| i + 1)) {
            level.layer.ended()?;
            if level.state != Some(LayerState::Ready) {
                return Err(LayerError::new(
                    "handshake",
                    LayerTrouble::Handshake,
                    "the peer closed the connection in the middle of it; check that the port speaks this transport",
                ));
            }
        }
        Ok(())
    }

    /// This side ends the connection: the highest layer says so first.
    pub(crate) fn finish(&mut self) -> Result<(), LayerError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        for i in (0..self.levels.len()).rev() {
            let mut last = BytesMut::new();
            if let Some(level) = self.levels.get_mut(i).filter(|level| level.state.is_some()) {
                level.layer.finish(&mut last);
            }
            self.say(i, &mut last)?;
        }
        Ok(())
    }
}

/// The empty buffer for the next use, unless it is too large for that.
fn kept(mut buffer: BytesMut) -> BytesMut {
    buffer.clear();
    if buffer.capacity() > KEPT_BUFFER { BytesMut::new() } else { buffer }
}

#[cfg(test)]
mod tests;
