//! What waits to be written on one connection.
//!
//! Owns the order of bytes: encoders append at the end, one writer at a time takes from the
//! front. The writer works outside the session's lock, on a chunk that it has taken out; what
//! the socket did not take comes back to the front. A new connection starts empty: a chunk
//! that was out while the connection was lost is forgotten.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::BytesMut;

/// Bytes above which a publisher writes by itself instead of leaving it to the loop.
pub(crate) const COALESCE_BYTES: usize = 32 * 1024;

/// A spare buffer larger than this is given back to the allocator.
const KEEP_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Refused by the socket; goes out before `tail`.
    front: BytesMut,
    /// Where frames are encoded.
    pub(crate) tail: BytesMut,
    spare: BytesMut,
    /// Bytes of the chunk that a writer has taken out, while one is at work.
    out: Option<usize>,
    /// The socket is full: nobody writes until the loop says that it has room.
    blocked: bool,
    /// The loop said so while a writer was at work, who has yet to find the socket full.
    unblocked_meanwhile: bool,
    /// Bytes written on this connection.
    written: u64,
}

/// A chunk taken out for writing.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: BytesMut,
    /// Nobody has tried to write these bytes before.
    pub(crate) fresh: bool,
    size: usize,
}

impl Wire {
    /// Bytes that wait, those at the writer included.
    pub(crate) fn queued(&self) -> usize {
        self.front.len() + self.tail.len() + self.out.unwrap_or(0)
    }

    /// The position, in bytes since the connection began, behind everything encoded so far.
    pub(crate) fn end(&self) -> u64 {
        self.written + self.queued() as u64
    }

    /// Bytes that the socket has taken.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next chunk out, unless another writer is at work or the socket is full.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        if self.out.is_some() || self.blocked {
            return None;
        }
        let fresh = self.front.is_empty();
        let bytes = if fresh {
            std::mem::replace(&mut self.tail, std::mem::take(&mut self.spare))
        } else {
            std::mem::take(&mut self.front)
        };
        if bytes.is_empty() {
            self.spare = bytes;
            return None;
        }
        let size = bytes.len();
        self.out = Some(size);
        self.unblocked_meanwhile = false;
        Some(Chunk { bytes, fresh, size })
    }

    /// Gives a chunk back; what is left in it was not written because the socket is full.
    pub(crate) fn put_back(&mut self, chunk: Chunk) {
        let Chunk { mut bytes, size, .. } = chunk;
        self.out = None;
        self.written += (size - bytes.len()) as u64;
        if bytes.is_empty() {
            if bytes.capacity() <= KEEP_BYTES {
                bytes.clear();
                self.spare = bytes;
            }
        } else {
            self.front = bytes;
            // Room that was announced in between is not announced again: try once more.
            self.blocked = !std::mem::take(&mut self.unblocked_meanwhile);
        }
    }

    /// The socket takes bytes again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
        self.unblocked_meanwhile = self.out.is_some();
    }

    /// Whether the socket was full when it was last written to.
    #[cfg(feature = "simulation")]
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Begins anew for another connection.
    pub(crate) fn reset(&mut self) {
        *self = Self { spare: std::mem::take(&mut self.spare), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_socket_refused_goes_out_before_what_came_later() {
        let mut wire = Wire::default();
        wire.tail.extend_from_slice(b"first");
        let mut chunk = wire.take().unwrap();
        assert!(wire.take().is_none(), "one writer at a time");
        wire.tail.extend_from_slice(b"second");
        assert_eq!(wire.queued(), 11);
        let _ = chunk.bytes.split_to(2);
        wire.put_back(chunk);
        assert_eq!((wire.written(), wire.queued(), wire.end()), (2, 9, 11));
        assert!(wire.take().is_none(), "the socket is full");
        wire.unblock();
        let chunk = wire.take().unwrap();
        assert_eq!(&chunk.bytes[..], b"rst");
    }

    #[test]
    fn room_announced_while_a_writer_is_at_work_is_not_lost() {
        let mut wire = Wire::default();
        wire.tail.extend_from_slice(b"frame");
        let chunk = wire.take().unwrap();
        wire.unblock();
        wire.put_back(chunk);
        let chunk = wire.take().expect("the socket may have room by now");
        wire.put_back(chunk);
        assert!(wire.take().is_none(), "this time it is full");
    }
}
