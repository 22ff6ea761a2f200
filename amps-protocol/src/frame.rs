//! Cutting a byte stream into frames.
//!
//! Owns the length prefix (protocol.md F-1, F-2) and its limit. It knows nothing of what a
//! frame holds, and never reserves memory because of an announced length.

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::{FrameError, FrameFault, FrameTooLong};

/// Bytes of the length that precedes every frame, a big-endian number; they do not count
/// themselves.
pub const LENGTH_PREFIX: usize = 4;

/// Longest inbound frame accepted by default: 256 MiB, header and body.
pub const DEFAULT_MAX_INBOUND: usize = 256 << 20;

/// Longest outbound frame encoded by default: 200 MiB, about what a server accepts.
pub const DEFAULT_MAX_OUTBOUND: usize = 200 << 20;

/// Length of the first whole frame of `bytes`, *including* its prefix, or `None` if more
/// bytes are needed.
///
/// A length of [`LENGTH_PREFIX`] is an empty frame, which receivers ignore (M-1). It is the
/// lowest layer, for receivers with buffers of their own; see [`FrameDecoder`] for
/// [`BytesMut`] and [`Frames`] for bytes that are all there.
///
/// ```
/// use amps_protocol::{DEFAULT_MAX_INBOUND, next_frame};
///
/// let received = b"\x00\x00\x00\x02{}\x00\x00";
/// assert_eq!(next_frame(received, DEFAULT_MAX_INBOUND), Ok(Some(6)));
/// assert_eq!(next_frame(&received[6..], DEFAULT_MAX_INBOUND), Ok(None), "two bytes are missing");
/// ```
///
/// # Errors
/// The announced length, that of header and body, exceeds `limit`.
#[inline]
pub fn next_frame(bytes: &[u8], limit: usize) -> Result<Option<usize>, FrameTooLong> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_PREFIX>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix);
    if u64::from(length) > limit as u64 {
        return Err(FrameTooLong { length: length.into(), limit: limit as u64 });
    }
    let length = length as usize;
    Ok((rest.len() >= length).then(|| LENGTH_PREFIX + length))
}

/// Cuts frames off the front of a growing buffer, however the stream was split, and counts
/// bytes, so that an error can say where.
///
/// ```
/// use amps_protocol::FrameDecoder;
/// use bytes::BytesMut;
///
/// let mut decoder = FrameDecoder::default();
/// let mut stream = BytesMut::from(&b"\x00\x00\x00\x02{}\x00\x00"[..]);
/// assert_eq!(&decoder.decode(&mut stream)?.unwrap()[..], b"{}");
/// assert!(decoder.decode(&mut stream)?.is_none());
/// assert_eq!(decoder.finish(&stream).unwrap_err().offset, 6, "the stream ends inside a frame");
/// # Ok::<(), amps_protocol::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    limit: usize,
    offset: usize,
}

impl FrameDecoder {
    /// A decoder that refuses frames whose header and body exceed `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, offset: 0 }
    }

    /// Takes the next frame that is not empty, without its prefix, or returns `None` if
    /// more bytes are needed. No byte is copied.
    ///
    /// Memory is reserved for bytes that arrived, never for a length that was announced.
    ///
    /// # Errors
    /// The announced length exceeds the limit; the stream is then unusable, as where the
    /// next frame would begin is unknown.
    pub fn decode(&mut self, stream: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        loop {
            let total = match next_frame(stream, self.limit) {
                Ok(Some(total)) => total,
                Ok(None) => return Ok(None),
                Err(error) => return Err(FrameError { offset: self.offset, fault: error.into() }),
            };
            self.offset += total;
            let mut frame = stream.split_to(total).freeze();
            let _ = frame.split_to(LENGTH_PREFIX);
            if !frame.is_empty() {
                return Ok(Some(frame));
            }
        }
    }

    /// How many bytes of the stream were taken: where what comes next begins.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// To be asked when the stream has ended: whether it ended between two frames. `rest` is
    /// what [`decode`](Self::decode) left of it.
    ///
    /// # Errors
    /// It ended inside a frame, which is lost.
    pub fn finish(&self, rest: &[u8]) -> Result<(), FrameError> {
        match truncated(rest) {
            Some(fault) => Err(FrameError { offset: self.offset, fault }),
            None => Ok(()),
        }
    }
}

/// What the bytes of an incomplete frame lack; `None` if there are none.
fn truncated(rest: &[u8]) -> Option<FrameFault> {
    Some(match rest.split_first_chunk::<LENGTH_PREFIX>() {
        None if rest.is_empty() => return None,
        None => FrameFault::TruncatedPrefix { left: rest.len() },
        Some((prefix, after)) => {
            FrameFault::Truncated { length: u32::from_be_bytes(*prefix) as usize, left: after.len() }
        }
    })
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_INBOUND)
    }
}

/// One frame of a byte string. `Debug` shows where it stands and its length, not its bytes:
/// a password may be in them.
///
/// ```
/// use amps_protocol::{Frame, Frames};
///
/// let mut frames = Frames::new(b"\x00\x00\x00\x00\x00\x00\x00\x02{}");
/// assert_eq!(frames.next(), Some(Ok(Frame { offset: 4, bytes: b"{}" })));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where its length prefix begins, counted from the start of the bytes.
    pub offset: usize,
    /// Header and body, without the prefix.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes at {})", self.bytes.len(), self.offset)
    }
}

/// The frames of a byte string that is all there, such as a capture; empty frames are left
/// out. It ends at the first error, or where the bytes end between two frames.
///
/// The front page of this crate shows a decoder for captures built on it.
///
/// ```
/// use amps_protocol::Frames;
///
/// let capture = b"\x00\x00\x00\x02{}\x00\x00\x00\x00\x00\x00\x00\x11{\"c\":\"heartbeat\"}";
/// let found: Vec<_> = Frames::new(capture).collect::<Result<_, _>>()?;
/// assert_eq!(found.iter().map(|frame| frame.offset).collect::<Vec<_>>(), [0, 10]);
/// # Ok::<(), amps_protocol::FrameError>(())
/// ```
#[derive(Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    limit: usize,
}

impl<'a> Frames<'a> {
    /// Frames of up to [`DEFAULT_MAX_INBOUND`] bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self::with_limit(bytes, DEFAULT_MAX_INBOUND)
    }

    /// Frames whose header and body do not exceed `limit` bytes.
    pub const fn with_limit(bytes: &'a [u8], limit: usize) -> Self {
        Self { bytes, at: 0, limit }
    }

    fn remaining(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frames(at {}, {} bytes remain)", self.at, self.remaining().len())
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.at;
            let fault = match next_frame(self.remaining(), self.limit) {
                Ok(Some(LENGTH_PREFIX)) => {
                    self.at += LENGTH_PREFIX;
                    continue;
                }
                Ok(Some(total)) => {
                    self.at += total;
                    return Some(Ok(Frame { offset, bytes: &self.bytes[offset + LENGTH_PREFIX..self.at] }));
                }
                Ok(None) => truncated(self.remaining())?,
                Err(error) => error.into(),
            };
            // Where the next frame would begin is unknown.
            self.bytes = &[];
            return Some(Err(FrameError { offset, fault }));
        }
    }
}
