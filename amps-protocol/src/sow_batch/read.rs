//! Reading the records of a `sow` frame.
//!
//! Owns where one record ends and the next begins. A record's effective header is that of its
//! frame overlaid by its own; nothing carries over from one record to the next.

use core::fmt;

use bytes::Bytes;

use crate::command::CommandKind;
use crate::error::{SowError, SowFault};
use crate::header::{Field, Header, Shapes, is_white};
use crate::message::{Message, parse_u64};

/// The records of one `sow` frame, each as a message of its own that borrows from the frame.
///
/// Made by [`Message::records`]. Nothing is copied and, unless the frame's own header holds
/// escapes, nothing is allocated. After an error the iterator is at its end: the records
/// before it are good, where the next would begin is unknown.
///
/// ```
/// use amps_protocol::Message;
///
/// let frame = br#"{"c":"sow","t":"orders","query_id":"1","bs":2}{"k":"7","l":8}{"id":7}{"k":"8","l":8}{"id":8}"#;
/// let batch = Message::decode(&frame[..])?;
/// let mut keys = Vec::new();
/// for record in batch.records() {
///     let record = record?;
///     assert_eq!(record.topic().unwrap(), "orders");
///     keys.push((record.sow_key().unwrap().to_string(), record.data().len()));
/// }
/// assert_eq!(keys, [("7".to_owned(), 8), ("8".to_owned(), 8)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Records<'a> {
    frame: &'a [u8],
    header: &'a Header,
    cursor: Cursor,
    shapes: Shapes,
}

/// As [`Records`], but each message owns a share of the frame's bytes.
///
/// Made by [`Message::into_records`].
///
/// ```
/// use amps_protocol::Message;
/// use bytes::Bytes;
///
/// let frame = Bytes::from_static(br#"{"c":"sow","t":"orders"}{"k":"7","l":8}{"id":7}"#);
/// let kept: Vec<Message> = Message::decode(frame)?.into_records().collect::<Result<_, _>>()?;
/// assert_eq!(kept[0].sow_key().unwrap(), "7");
/// assert_eq!(kept[0].data(), br#"{"id":7}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SharedRecords {
    batch: Message,
    cursor: Cursor,
}

/// How far a batch was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// Where the next record begins; the frame's length once there is none.
    at: usize,
    /// Its number, from 0.
    number: usize,
}

/// How far the records of a frame were read, for whoever has to stop in the middle.
///
/// ```
/// use amps_protocol::Message;
///
/// let batch = Message::decode(&br#"{"c":"sow","t":"t"}{"k":"1","l":1}a{"k":"2","l":1}b"#[..])?;
/// let mut records = batch.records();
/// records.next();
/// let reached = records.position();
/// // Later, with the same frame:
/// let rest: Vec<_> = batch.records_from(reached).map(|record| record.unwrap().data().to_vec()).collect();
/// assert_eq!(rest, [b"b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPosition(Cursor);

impl<'a> Records<'a> {
    pub(crate) fn of(frame: &'a [u8], header: &'a Header) -> Self {
        Self { frame, header, cursor: Cursor::new(frame, header), shapes: Shapes::none() }
    }

    pub(crate) const fn at(frame: &'a [u8], header: &'a Header, position: RecordPosition) -> Self {
        Self { frame, header, cursor: position.0, shapes: Shapes::none() }
    }

    /// With what is known of records that came before.
    pub(crate) fn with_shapes(self, shapes: Shapes) -> Self {
        Self { shapes, ..self }
    }

    pub(crate) fn into_shapes(self) -> Shapes {
        self.shapes
    }

    /// As [`next`](Iterator::next), into a message that is there: it spares the hottest of loops a move. Without
    /// `Some(Ok)` what `record` says is unspecified.
    ///
    /// ```
    /// use amps_protocol::{Header, Message};
    ///
    /// let batch = Message::decode(&br#"{"c":"sow","t":"t"}{"k":"1","l":1}a{"k":"2","l":1}b"#[..])?;
    /// let (mut records, mut record) = (batch.records(), Message::from_parts(&[][..], Header::default()));
    /// let mut data = Vec::new();
    /// while let Some(found) = records.next_in_place(&mut record) {
    ///     found?;
    ///     data.extend_from_slice(record.data());
    /// }
    /// assert_eq!(data, b"ab");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn next_in_place(&mut self, record: &mut Message<&'a [u8]>) -> Option<Result<(), SowError>> {
        let (frame, header) = record.parts_mut();
        let found = self.cursor.next(self.frame, self.header, &mut self.shapes, header)?;
        Some(found.map(|end| *frame = self.frame.get(..end).unwrap_or_default()))
    }

    /// Where the next record begins.
    pub const fn position(&self) -> RecordPosition {
        RecordPosition(self.cursor)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Message<&'a [u8]>, SowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut record = Message::from_parts(&[][..], Header::default());
        Some(self.next_in_place(&mut record)?.map(|()| record))
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cursor.show("Records", self.frame, f)
    }
}

impl fmt::Debug for SharedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cursor.show("SharedRecords", self.batch.frame(), f)
    }
}

impl SharedRecords {
    pub(crate) fn of(batch: Message) -> Self {
        let cursor = Cursor::new(batch.frame(), batch.header());
        Self { batch, cursor }
    }
}

impl Iterator for SharedRecords {
    type Item = Result<Message<Bytes>, SowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut header = Header::default();
        let (frame, shapes) = (self.batch.frame(), &mut Shapes::none());
        let found = self.cursor.next(frame, self.batch.header(), shapes, &mut header)?;
        Some(found.map(|end| Message::from_parts(self.batch.frame_bytes().slice(..end), header)))
    }
}

impl Cursor {
    fn new(frame: &[u8], header: &Header) -> Self {
        // What a record holds is the publisher's, whatever it looks like.
        let is_batch = header.command() == CommandKind::Sow && !header.is_record();
        let at = if is_batch { header.body_offset() } else { frame.len() };
        Self { at, number: 0 }
    }

    fn show(&self, name: &str, frame: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{name}({} read, {} bytes remain)", self.number, frame.len().saturating_sub(self.at))
    }

    /// Finds the effective header of the next record, and where its data ends in the frame.
    #[inline]
    fn next(
        &mut self,
        frame: &[u8],
        header: &Header,
        shapes: &mut Shapes,
        record: &mut Header,
    ) -> Option<Result<usize, SowError>> {
        // White space may follow the last record, as it may precede any.
        if frame.get(self.at..).unwrap_or_default().iter().all(|&byte| is_white(byte)) {
            return None;
        }
        let found = self.record(frame, header, shapes, record);
        self.number += 1;
        match &found {
            Ok(end) => self.at = *end,
            Err(_) => self.at = frame.len(),
        }
        Some(found)
    }

    #[inline]
    fn record(
        &self,
        frame: &[u8],
        header: &Header,
        shapes: &mut Shapes,
        record: &mut Header,
    ) -> Result<usize, SowError> {
        let fail = |offset, fault| SowError { record: self.number, offset, fault };
        let lone = |record: &mut Header| {
            self.is_lone_record(frame, header).then(|| {
                *record = header.as_lone_record();
                frame.len()
            })
        };
        if let Err(error) = record.overlay_on(header, frame, self.at, shapes) {
            let fault = SowFault::Header { fault: error.fault, field: error.field };
            return lone(record).ok_or_else(|| fail(error.offset, fault));
        }
        let data = record.body_offset();
        let Some(length) = record.get(frame, Field::Length).and_then(parse_u64) else {
            return lone(record).ok_or_else(|| fail(self.at, SowFault::MissingLength));
        };
        let left = frame.len() - data;
        match usize::try_from(length) {
            Ok(length) if length <= left => Ok(data + length),
            _ => Err(fail(data, SowFault::LengthBeyondFrame { length, left })),
        }
    }

    /// A frame that holds one record without a header of its own: its `l` spans the whole body
    /// (protocol.md S-7, inferred).
    #[cold]
    fn is_lone_record(&self, frame: &[u8], header: &Header) -> bool {
        let number = |field| header.get(frame, field).and_then(parse_u64);
        let whole_body = number(Field::Length) == Some((frame.len() - header.body_offset()) as u64);
        self.number == 0 && whole_body && number(Field::BatchSize).is_none_or(|size| size == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    fn records(frame: &str) -> Vec<Result<(String, String), SowError>> {
        let batch = Message::decode(frame.as_bytes()).unwrap();
        let shared = Message::decode(Bytes::copy_from_slice(frame.as_bytes())).unwrap().into_records();
        let show = |key: Option<&bstr::BStr>, data: &[u8]| {
            (key.map(ToString::to_string).unwrap_or_default(), String::from_utf8_lossy(data).into_owned())
        };
        let borrowed: Vec<_> =
            batch.records().map(|r| r.map(|record| show(record.sow_key(), record.data()))).collect();
        let shared: Vec<_> = shared.map(|r| r.map(|record| show(record.sow_key(), record.data()))).collect();
        assert_eq!(borrowed, shared);
        borrowed
    }

    fn ok(key: &str, data: &str) -> Result<(String, String), SowError> {
        Ok((key.to_string(), data.to_string()))
    }

    #[test]
    fn records_end_where_their_length_says_whatever_they_hold() {
        let frame = r#"{"c":"sow","t":"o","bs":3}{"k":"1","l":4}}{}{ {"l":0,"k":"2"}{"k":"3","l":1}"x"#;
        assert_eq!(records(&frame[..frame.len() - 1]), [ok("1", "}{}{"), ok("2", ""), ok("3", "\"")]);
    }

    #[test]
    fn nothing_carries_over_from_one_record_to_the_next() {
        let frame =
            r#"{"c":"sow","t":"o","x":"frame","l":2}{"k":"1","x":"own","ts":"T","l":2}{}{"k":"2","l":2}{}"#;
        let batch = Message::decode(frame.as_bytes()).unwrap();
        let all: Vec<_> = batch.records().map(Result::unwrap).collect();
        assert_eq!(all[0].correlation_id().unwrap(), "own");
        assert_eq!(all[0].timestamp().unwrap(), "T");
        assert_eq!(all[1].correlation_id().unwrap(), "frame");
        assert_eq!(all[1].timestamp(), None);
        assert!(all.iter().all(|record| record.command() == CommandKind::Sow));
        assert!(all.iter().all(|record| record.topic().unwrap() == "o"));
    }

    #[test]
    fn the_frames_own_length_is_no_records_length() {
        let frame = r#"{"c":"sow","bs":2,"l":2}{"k":"1"}{}"#;
        assert_eq!(records(frame), [Err(SowError { record: 0, offset: 24, fault: SowFault::MissingLength })]);
    }

    #[test]
    fn fields_beyond_the_index_are_found_in_the_record_and_then_in_the_frame() {
        let frame = r#"{"c":"sow","bs":1,"gseq":4,"e":9,"t":"a\"b"}{"e":5,"s":"7","k":"x\ty","l":1}1"#;
        let batch = Message::decode(Bytes::from(frame)).unwrap();
        let record = batch.clone().into_records().next().unwrap().unwrap();
        assert_eq!(record.expiration(), Some(5));
        assert_eq!(record.sequence(), Some(7));
        assert_eq!(record.group_sequence(), Some(4));
        assert_eq!(record.topic().unwrap(), "a\"b");
        assert_eq!(record.sow_key().unwrap(), "x\ty");
        assert_eq!(record.get(Field::Command).unwrap(), "sow");
        let copy = record.to_owned();
        assert_eq!(format!("{copy:?}"), format!("{record:?}"));
        assert_eq!(copy.data(), b"1");
    }

    #[test]
    fn records_beyond_64_kib_are_indexed_and_their_copies_are_small() {
        let body = "x".repeat(1000);
        let mut frame = r#"{"c":"sow","t":"o","bs":200}"#.to_string();
        for key in 0..200 {
            frame += &format!(r#"{{"k":"{key}","l":1000}}{body}"#);
        }
        let batch = Message::decode(frame.as_bytes()).unwrap();
        for (key, record) in batch.records().enumerate() {
            let record = record.unwrap();
            assert_eq!(record.sow_key().unwrap(), key.to_string().as_str());
            assert_eq!(record.data(), body.as_bytes());
            let copy = record.to_owned();
            assert_eq!(
                (copy.topic(), copy.sow_key(), copy.data()),
                (record.topic(), record.sow_key(), record.data())
            );
            assert!(copy.frame().len() < 1100, "a copy holds its own record only");
        }
        assert_eq!(batch.records().count(), 200);
    }

    #[test]
    fn a_lone_record_without_a_header_is_the_whole_body() {
        assert_eq!(records(r#"{"c":"sow","k":"1","l":8}{"id":1}"#), [ok("1", "{\"id\":1}")]);
        assert_eq!(records(r#"{"c":"sow","k":"1","bs":1,"l":5}hello"#), [ok("1", "hello")]);
    }

    #[test]
    fn an_empty_batch_and_other_commands_hold_no_records() {
        assert!(records(r#"{"c":"sow","bs":0}"#).is_empty());
        assert!(records("{\"c\":\"sow\"} \n").is_empty());
        assert!(records(r#"{"c":"p"}{"k":"1","l":2}{}"#).is_empty());
    }

    #[test]
    fn a_batch_that_does_not_add_up_names_the_record_and_the_place() {
        let faults = records(r#"{"c":"sow"}{"l":2}{}{"k":"1","l":99}{}"#);
        let fault = SowFault::LengthBeyondFrame { length: 99, left: 2 };
        assert_eq!(faults, [ok("", "{}"), Err(SowError { record: 1, offset: 36, fault })]);
        let text = faults[1].as_ref().unwrap_err().to_string();
        assert_eq!(
            text,
            "malformed sow batch at byte 36, record 1: its length \"l\" is 99, but only 2 bytes are left"
        );
        let faults = records(r#"{"c":"sow"}{"l":2}{}hello"#);
        assert!(matches!(faults[1], Err(SowError { record: 1, offset: 20, fault: SowFault::Header { .. } })));
    }
}
