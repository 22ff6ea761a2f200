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
        self.frame.begin_record();
        RecordWriter { batch: self, first: true }
    }

    /// Fills in the frame's length, and returns it, prefix included.
    ///
    /// # Errors
    /// The frame would be longer than its prefix can tell, 4 GiB; nothing was written. Split
    /// the result into more batches.
    pub fn finish(self) -> Result<usize, FrameTooLong> {
        self.frame.finish_begun(u32::MAX as usize)
    }
}

/// Writes one record. It must end with [`data`](Self::data), without which the batch would be
/// malformed.
#[must_use = "a record without `data` makes the batch malformed"]
#[derive(Debug)]
pub struct RecordWriter<'b, 'a> {
    batch: &'b mut BatchWriter<'a>,
    first: bool,
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
    pub fn data(self, data: &[u8]) {
        self.batch.frame.put_record_number(Field::Length, data.len() as u64, self.first);
        self.batch.frame.put_record_data(data);
    }
}
