//! Writing the records of a `sow` frame, as a server does.

use crate::error::FrameTooLong;
use crate::header::{Field, FrameWriter};

/// Writes the records of one `sow` frame behind its header.
///
/// Made by [`FrameWriter::records`]. Dropping it without [`finish`](Self::finish) takes the
/// whole frame back.
///
/// ```
/// use amps_protocol::{CommandKind, Field, FrameWriter};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// let mut batch = FrameWriter::new(&mut out, CommandKind::Sow)
///     .text(Field::QueryId, "1")
///     .number(Field::BatchSize, 2)
///     .records();
/// batch.record().text(Field::SowKey, "7").data(b"{}");
/// batch.record().text(Field::SowKey, "8").data(b"[]");
/// batch.finish()?;
/// assert_eq!(
///     &out[4..],
///     br#"{"c":"sow","query_id":"1","bs":2}{"k":"7","l":2}{}{"k":"8","l":2}[]"#
/// );
/// # Ok::<(), amps_protocol::FrameTooLong>(())
/// ```
#[must_use = "nothing is written until `finish` is called"]
#[derive(Debug)]
pub struct BatchWriter<'a> {
    frame: FrameWriter<'a>,
}

impl<'a> BatchWriter<'a> {
    pub(crate) fn new(frame: FrameWriter<'a>) -> Self {
        Self { frame }
    }

    /// Begins a record. Its fields follow in canonical order, then its data.
    #[inline]
    pub fn record(&mut self) -> RecordWriter<'_, 'a> {
        let start = self.frame.begin_record();
        RecordWriter { batch: self, start: Some(start), first: true }
    }

    /// Fills in the frame's length, and returns it, prefix included.
    ///
    /// # Errors
    /// The frame would be longer than its prefix can tell, 4 GiB; nothing was written. Split
    /// the result into more batches.
    pub fn finish(self) -> Result<usize, FrameTooLong> {
        self.finish_within(u32::MAX as usize)
    }

    /// As [`finish`](Self::finish), but with a limit on header and records together, such as
    /// the one that the receiver sets itself.
    ///
    /// # Errors
    /// The frame exceeds `limit`; nothing was written. Split the result into more batches.
    pub fn finish_within(self, limit: usize) -> Result<usize, FrameTooLong> {
        self.frame.finish_begun(limit.min(u32::MAX as usize))
    }
}

/// Writes one record: its fields in canonical order, then its data. It must end with
/// [`data`](Self::data), without which the batch would be malformed.
///
/// ```
/// use amps_protocol::{CommandKind, Field, FrameWriter};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// let mut batch = FrameWriter::new(&mut out, CommandKind::Sow).number(Field::BatchSize, 1).records();
/// batch.record().text(Field::SowKey, "7").text(Field::Timestamp, "20260102T030405Z").data(b"{}");
/// batch.finish()?;
/// assert!(out.ends_with(br#"{"k":"7","ts":"20260102T030405Z","l":2}{}"#));
/// # Ok::<(), amps_protocol::FrameTooLong>(())
/// ```
#[must_use = "a record is written when `data` is called"]
#[derive(Debug)]
pub struct RecordWriter<'b, 'a> {
    batch: &'b mut BatchWriter<'a>,
    /// Where the record begins, until it is whole.
    start: Option<usize>,
    first: bool,
}

impl Drop for RecordWriter<'_, '_> {
    /// A record without data is taken back: what is written stays a batch.
    fn drop(&mut self) {
        if let Some(start) = self.start {
            self.batch.frame.truncate(start);
        }
    }
}

impl RecordWriter<'_, '_> {
    /// Writes a string field.
    #[inline]
    pub fn text(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
        let first = core::mem::take(&mut self.first);
        self.batch.frame.put_record_text(field, value.as_ref(), first);
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

    /// Writes an integer field.
    #[inline]
    pub fn number(mut self, field: Field, value: u64) -> Self {
        let first = core::mem::take(&mut self.first);
        self.batch.frame.put_record_number(field, value, first);
        self
    }

    /// Ends the record's header with the length of its data, and appends the data.
    #[inline]
    pub fn data(mut self, data: &[u8]) {
        self.start = None;
        self.batch.frame.put_record_number(Field::Length, data.len() as u64, self.first);
        self.batch.frame.put_record_data(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandKind;
    use bytes::BytesMut;

    #[test]
    fn a_batch_over_the_limit_is_taken_back() {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut batch = FrameWriter::new(&mut out, CommandKind::Sow).records();
        batch.record().text(Field::SowKey, "1").data(&[b'x'; 100]);
        let error = batch.finish_within(100).unwrap_err();
        assert_eq!((error.length, error.limit), (128, 100));
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_record_that_is_dropped_before_its_data_leaves_no_trace() {
        let mut out = BytesMut::new();
        let mut batch = FrameWriter::new(&mut out, CommandKind::Sow).records();
        drop(batch.record().text(Field::SowKey, "lost"));
        batch.record().text(Field::SowKey, "1").data(b"a");
        batch.finish().unwrap();
        assert_eq!(&out[4..], br#"{"c":"sow"}{"k":"1","l":1}a"#);
    }

    #[test]
    fn numbers_may_come_first_or_between_texts() {
        let mut out = BytesMut::new();
        let mut batch = FrameWriter::new(&mut out, CommandKind::Sow).records();
        batch.record().number(Field::Expiration, 9).text(Field::SowKey, "1").data(b"a");
        batch.record().text(Field::Bookmark, "1|2|").number(Field::Expiration, 8).data(b"b");
        assert_eq!(batch.finish_within(usize::MAX).unwrap(), out.len());
        assert_eq!(&out[4..], br#"{"c":"sow"}{"e":9,"k":"1","l":1}a{"bm":"1|2|","e":8,"l":1}b"#);
    }
}
