//! Compression: one zlib stream (RFC 1950) in each direction, from the first byte to the last.
//!
//! Owns the two streams of a connection (protocol.md 15.5). Never holds more decompressed bytes than one bounded
//! part, whatever the ratio; does not negotiate, and does not look whether the peer compresses at all.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::layer::{Layer, LayerError, LayerState, LayerTrouble, MakeLayer};

const LAYER: &str = "zlib";

/// As much is decompressed at a time; then it has to be taken first. This is what bounds the memory of a stream
/// that grows a thousandfold (Z-6).
const PART: usize = 64 * 1024;

/// Room for output that is made at once: at least, and at most.
const ROOM: (usize, usize) = (1024, 32 * 1024);

/// Compresses what is sent and decompresses what is received.
///
/// ```
/// use amps_transport::{MakeLayer, Zlib};
/// use bytes::BytesMut;
///
/// let (mut one, mut other) = (Zlib::new().make("")?, Zlib::new().with_level(1).make("")?);
/// let (mut wire, mut plain) = (BytesMut::new(), BytesMut::new());
/// one.send(&[7; 1000], &mut wire)?;
/// assert!(wire.len() < 100);
/// other.receive(&mut wire, &mut plain, &mut BytesMut::new())?;
/// assert_eq!(plain, [7; 1000][..]);
/// # Ok::<(), amps_transport::LayerError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zlib {
    level: u32,
}

impl Zlib {
    /// With level 6, the usual compromise (Z-4).
    pub const fn new() -> Self {
        Self { level: 6 }
    }

    /// With another level: from 0, which only wraps, over 1, the fastest, to 9, the smallest; more counts as 9.
    #[must_use]
    pub const fn with_level(mut self, level: u32) -> Self {
        self.level = if level > 9 { 9 } else { level };
        self
    }

    /// The layer itself.
    pub(crate) fn layer(self) -> Box<dyn Layer> {
        let deflate = Compress::new(Compression::new(self.level), true);
        Box::new(ZlibLayer { deflate, inflate: Decompress::new(true), over: false })
    }
}

impl Default for Zlib {
    fn default() -> Self {
        Self::new()
    }
}

impl MakeLayer for Zlib {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(self.layer())
    }
}

#[derive(Debug)]
struct ZlibLayer {
    deflate: Compress,
    inflate: Decompress,
    /// The peer's stream has its trailer.
    over: bool,
}

impl ZlibLayer {
    /// Compresses `input`, and brings out everything that waits in the encoder, as `flush` says.
    fn deflate(
        &mut self,
        mut input: &[u8],
        flush: FlushCompress,
        out: &mut BytesMut,
    ) -> Result<(), LayerError> {
        loop {
            let room = room(input.len());
            let (taken, made, status) = grow(out, room, |spare| {
                let before = (self.deflate.total_in(), self.deflate.total_out());
                let status = self.deflate.compress(input, spare, flush);
                let taken = (self.deflate.total_in() - before.0) as usize;
                let made = (self.deflate.total_out() - before.1) as usize;
                (made, (taken, made, status))
            });
            let status = status.map_err(|error| {
                LayerError::new(LAYER, LayerTrouble::Protocol, "compressing failed").with_source(error)
            })?;
            input = input.get(taken..).unwrap_or_default();
            // As long as the room was filled there may be more.
            if status == Status::StreamEnd || made < room && input.is_empty() {
                return Ok(());
            }
        }
    }

    fn corrupt(&self, error: flate2::DecompressError) -> LayerError {
        let at = self.inflate.total_in();
        let text =
            format!("the compressed stream is corrupt at its byte {at}; the peer may not compress at all");
        LayerError::new(LAYER, LayerTrouble::Protocol, text).with_source(error)
    }
}

impl Layer for ZlibLayer {
    fn name(&self) -> &'static str {
        LAYER
    }

    fn receive(
        &mut self,
        below: &mut BytesMut,
        above: &mut BytesMut,
        _answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        let full = above.len() + PART;
        while !self.over && !below.is_empty() && above.len() < full {
            loop {
                let room = room(below.len().saturating_mul(4));
                let (taken, made, status) = grow(above, room, |spare| {
                    let before = (self.inflate.total_in(), self.inflate.total_out());
                    let status = self.inflate.decompress(below, spare, FlushDecompress::None);
                    let taken = (self.inflate.total_in() - before.0) as usize;
                    let made = (self.inflate.total_out() - before.1) as usize;
                    (made, (taken, made, status))
                });
                let status = status.map_err(|error| self.corrupt(error))?;
                below.advance(taken.min(below.len()));
                self.over = status == Status::StreamEnd;
                if taken == 0 && made == 0 && !below.is_empty() && !self.over {
                    let at = self.inflate.total_in();
                    let text = format!("the compressed stream makes no progress at its byte {at}");
                    return Err(LayerError::new(LAYER, LayerTrouble::Protocol, text));
                }
                // If the input is used up and the room was filled, the last few bits may mean more, which no input
                // would bring out later. It is little, so it may exceed the part.
                if self.over || !below.is_empty() || made < room {
                    break;
                }
            }
        }
        if self.over && !below.is_empty() {
            let (at, count) = (self.inflate.total_in(), below.len());
            let text = format!("the compressed stream ended at its byte {at}, but {count} bytes follow");
            return Err(LayerError::new(LAYER, LayerTrouble::Protocol, text));
        }
        Ok(LayerState::Ready)
    }

    fn send(&mut self, above: &[u8], below: &mut BytesMut) -> Result<(), LayerError> {
        self.deflate(above, FlushCompress::Sync, below)
    }

    fn finish(&mut self, below: &mut BytesMut) {
        // A stream without its trailer is in order too (Z-5).
        let _whether_it_fits = self.deflate(&[], FlushCompress::Finish, below);
    }
}

/// How much room output gets for so many bytes.
fn room(bytes: usize) -> usize {
    bytes.clamp(ROOM.0, ROOM.1)
}

/// Has `fill` write behind what `out` holds; it returns how much that was, and what it has to say.
fn grow<T>(out: &mut BytesMut, room: usize, fill: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
    let start = out.len();
    out.resize(start + room, 0);
    let (made, result) = fill(out.get_mut(start..).unwrap_or_default());
    out.truncate(start + made);
    result
}

#[cfg(test)]
mod tests;
