//! Encoding a frame straight into a write buffer.

use core::fmt;

use bytes::BytesMut;

use super::escape::{escape_into, must_be_escaped};
use super::field::Field;
use crate::ack::{AckType, AckTypes};
use crate::command::CommandKind;
use crate::error::FrameTooLong;
use crate::frame::LENGTH_PREFIX;
use crate::sow_batch::BatchWriter;

/// Writes one frame at the end of a buffer: the command, then fields, then the body.
///
/// Fields are written in the order of the calls; keep to the order of [`Field`], so that
/// equal commands give equal bytes (debug builds check it). Strings are escaped as needed.
/// Dropping the writer without [`finish`](Self::finish) takes back what it wrote.
///
/// ```
/// use amps_protocol::{AckType, CommandKind, Field, FrameWriter};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// FrameWriter::new(&mut out, CommandKind::Subscribe)
///     .text(Field::CommandId, "1")
///     .text(Field::Topic, "orders")
///     .text(Field::SubId, "1")
///     .acks(AckType::Processed.into())
///     .finish(b"");
/// assert_eq!(&out[4..], br#"{"c":"subscribe","cid":"1","t":"orders","sub_id":"1","a":"processed"}"#);
/// ```
#[must_use = "nothing is written until `finish` is called"]
pub struct FrameWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    #[cfg(debug_assertions)]
    last: Field,
}

impl<'a> FrameWriter<'a> {
    /// Begins a frame at the end of `out`.
    #[inline]
    pub fn new(out: &'a mut BytesMut, command: CommandKind) -> Self {
        let start = out.len();
        put(out, command.lead());
        Self::begun(out, start)
    }

    /// Begins a frame whose command is not one that this crate knows. The word is escaped as
    /// needed.
    pub fn with_token(out: &'a mut BytesMut, token: &[u8]) -> Self {
        let start = out.len();
        put(out, b"\0\0\0\0{\"c\":\"");
        put_text(out, token);
        put(out, b"\"");
        Self::begun(out, start)
    }

    #[inline(always)]
    fn begun(out: &'a mut BytesMut, start: usize) -> Self {
        Self {
            out,
            start,
            #[cfg(debug_assertions)]
            last: Field::Command,
        }
    }

    /// Writes a string field.
    #[inline]
    pub fn text(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
        self.in_order(field);
        put(self.out, field.text_lead());
        put_text(self.out, value.as_ref());
        put(self.out, b"\"");
        self
    }

    /// Writes a member that this crate has no field for, for tools that pass on what they do
    /// not know; the value in quotes, or bare. It may come at any place.
    pub fn other(self, key: &[u8], value: &[u8], quoted: bool) -> Self {
        put(self.out, b",\"");
        put_text(self.out, key);
        put(self.out, if quoted { b"\":\"" } else { b"\":" });
        if quoted {
            put_text(self.out, value);
            put(self.out, b"\"");
        } else {
            put(self.out, value);
        }
        self
    }

    /// Writes a string field if there is a value.
    #[inline]
    pub fn maybe_text(self, field: Field, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    /// Writes a string field whose value comes in pieces, such as a list with its commas.
    /// Each piece is escaped as needed; a comma inside a piece of a list is not: the protocol
    /// has no way to.
    #[inline]
    pub fn pieces<T: AsRef<[u8]>>(mut self, field: Field, pieces: impl IntoIterator<Item = T>) -> Self {
        self.in_order(field);
        put(self.out, field.text_lead());
        // From within: pieces often come from nested iterators, which run faster so.
        pieces.into_iter().for_each(|piece| put_text(self.out, piece.as_ref()));
        put(self.out, b"\"");
        self
    }

    /// Writes several strings as one comma list.
    #[inline]
    pub fn list<T: AsRef<[u8]>>(mut self, field: Field, values: impl IntoIterator<Item = T>) -> Self {
        self.in_order(field);
        put(self.out, field.text_lead());
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                put(self.out, b",");
            }
            put_text(self.out, value.as_ref());
        }
        put(self.out, b"\"");
        self
    }

    /// Writes an integer field.
    #[inline]
    pub fn number(mut self, field: Field, value: u64) -> Self {
        self.in_order(field);
        put(self.out, field.lead());
        put(self.out, itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// Writes an integer field if there is a value.
    #[inline]
    pub fn maybe_number(self, field: Field, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(field, value),
            None => self,
        }
    }

    /// Writes a boolean field, bare (protocol.md E-4).
    pub fn flag(mut self, field: Field, value: bool) -> Self {
        self.in_order(field);
        put(self.out, field.lead());
        put(self.out, if value { b"true" } else { b"false" });
        self
    }

    /// Writes the acknowledgements to ask for; nothing if there are none.
    #[inline]
    pub fn acks(self, acks: AckTypes) -> Self {
        if acks.is_empty() { self } else { self.list(Field::AckType, acks.iter().map(AckType::token)) }
    }

    /// Ends the header, appends the body and fills in the length. Returns the frame's
    /// length on the wire, prefix included.
    ///
    /// Frames above [`DEFAULT_MAX_OUTBOUND`](crate::DEFAULT_MAX_OUTBOUND) are the caller's to
    /// refuse beforehand, or use [`finish_within`](Self::finish_within); here a length that
    /// the prefix cannot express, 4 GiB or more, takes the frame back and returns 0.
    #[inline]
    pub fn finish(self, body: &[u8]) -> usize {
        self.finish_within(body, u32::MAX as usize).unwrap_or(0)
    }

    /// As [`finish`](Self::finish), but with a limit on header and body together, such as
    /// [`DEFAULT_MAX_OUTBOUND`](crate::DEFAULT_MAX_OUTBOUND).
    ///
    /// # Errors
    /// The frame would exceed `limit`; nothing was written.
    #[inline]
    pub fn finish_within(self, body: &[u8], limit: usize) -> Result<usize, FrameTooLong> {
        let length = self.out.len() + 1 - self.start - LENGTH_PREFIX + body.len();
        let limit = limit.min(u32::MAX as usize);
        if length > limit {
            return Err(FrameTooLong { length: length as u64, limit: limit as u64 });
        }
        put(self.out, b"}");
        put(self.out, body);
        self.finish_begun(limit)
    }

    /// Ends the header of a `sow` frame; its records follow.
    pub fn records(self) -> BatchWriter<'a> {
        put(self.out, b"}");
        BatchWriter::new(self)
    }

    /// Fills in the length of what was written.
    #[inline]
    pub(crate) fn finish_begun(mut self, limit: usize) -> Result<usize, FrameTooLong> {
        let written = self.out.len() - self.start;
        let length = written - LENGTH_PREFIX;
        if length > limit {
            return Err(FrameTooLong { length: length as u64, limit: limit as u64 });
        }
        let prefix = (length as u32).to_be_bytes();
        self.out[self.start..self.start + LENGTH_PREFIX].copy_from_slice(&prefix);
        // From here on the frame is whole: let `Drop` keep it.
        self.start = self.out.len();
        Ok(written)
    }

    #[inline]
    pub(crate) fn begin_record(&mut self) -> usize {
        #[cfg(debug_assertions)]
        {
            self.last = Field::Command;
        }
        let start = self.out.len();
        put(self.out, b"{");
        start
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    #[inline]
    pub(crate) fn put_record_text(&mut self, field: Field, value: &[u8], first: bool) {
        self.in_order(field);
        put(self.out, without_comma(field.text_lead(), first));
        put_text(self.out, value);
        put(self.out, b"\"");
    }

    #[inline]
    pub(crate) fn put_record_number(&mut self, field: Field, value: u64, first: bool) {
        self.in_order(field);
        put(self.out, without_comma(field.lead(), first));
        put(self.out, itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    pub(crate) fn put_record_data(&mut self, data: &[u8]) {
        put(self.out, b"}");
        put(self.out, data);
    }

    #[inline(always)]
    fn in_order(&mut self, field: Field) {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.last < field, "{field:?} after {:?} breaks the canonical order", self.last);
            self.last = field;
        }
        let _ = field;
    }
}

impl fmt::Debug for FrameWriter<'_> {
    /// Tells how much was written, not what: a password may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameWriter({} bytes so far)", self.out.len() - self.start)
    }
}

impl Drop for FrameWriter<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

#[inline(always)]
fn without_comma(lead: &'static [u8], without: bool) -> &'static [u8] {
    if without { &lead[1..] } else { lead }
}

/// `BytesMut::put_slice` is not inlined across crates; this is, so that a copy of known
/// length becomes one or two moves.
#[inline(always)]
fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

#[inline]
fn put_text(out: &mut BytesMut, text: &[u8]) {
    if must_be_escaped(text) {
        escape_into(out, text);
    } else {
        put(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_over_the_limit_is_taken_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        let writer = FrameWriter::new(&mut out, CommandKind::Publish).text(Field::Topic, "t");
        let error = writer.finish_within(&[0; 100], 50).unwrap_err();
        assert_eq!(error.limit, 50);
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn an_abandoned_frame_leaves_no_trace() {
        let mut out = BytesMut::new();
        drop(FrameWriter::new(&mut out, CommandKind::Publish).text(Field::Topic, "t"));
        assert!(out.is_empty());
    }
}
