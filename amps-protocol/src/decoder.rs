//! Decoding message after message of one connection.

use core::fmt;

use crate::error::HeaderError;
use crate::header::{Header, Shapes};
use crate::message::Message;
use crate::sow_batch::{RecordPosition, Records};

/// Decodes message after message of one connection, and remembers what their headers look like: a header with the same
/// keys as an earlier one, and values of the same lengths, costs a comparison, a quarter of what parsing it costs.
///
/// The results are those of [`Message::decode`] and [`Message::records`]; only the time differs. It keeps the shapes
/// of up to eight headers, and of as many records, 600 bytes for each that it has learnt.
///
/// ```
/// use amps_protocol::MessageDecoder;
///
/// let mut decoder = MessageDecoder::new();
/// for number in 1..=9 {
///     let frame = format!(r#"{{"c":"p","t":"orders","bm":"12|{number}|","sids":"1"}}{{"id":{number}}}"#);
///     let message = decoder.decode(frame.as_bytes())?;
///     assert_eq!(message.bookmark().unwrap(), format!("12|{number}|").as_str());
///     assert_eq!(message.data(), format!(r#"{{"id":{number}}}"#).as_bytes());
/// }
/// # Ok::<(), amps_protocol::HeaderError>(())
/// ```
pub struct MessageDecoder {
    headers: Shapes,
    records: Shapes,
}

impl MessageDecoder {
    /// A decoder that has seen nothing yet.
    pub const fn new() -> Self {
        Self { headers: Shapes::new(), records: Shapes::new() }
    }

    /// Decodes a frame (without its length prefix). The body is not looked at.
    ///
    /// # Errors
    /// The header breaks the grammar, or the frame exceeds 4 GiB.
    #[inline]
    pub fn decode<'a>(&mut self, frame: &'a [u8]) -> Result<Message<&'a [u8]>, HeaderError> {
        let mut message = Message::from_parts(frame, Header::default());
        self.decode_in_place(&mut message)?;
        Ok(message)
    }

    /// As [`decode`](Self::decode), for a frame that is in `message` already: it spares the hottest of loops a move.
    ///
    /// ```
    /// use amps_protocol::{Header, Message, MessageDecoder};
    ///
    /// let mut message = Message::from_parts(&br#"{"c":"p","t":"orders"}{"id":1}"#[..], Header::default());
    /// MessageDecoder::new().decode_in_place(&mut message)?;
    /// assert_eq!(message.topic().unwrap(), "orders");
    /// # Ok::<(), amps_protocol::HeaderError>(())
    /// ```
    ///
    /// # Errors
    /// As for `decode`; what `message` says is then unspecified.
    #[inline]
    pub fn decode_in_place(&mut self, message: &mut Message<&[u8]>) -> Result<(), HeaderError> {
        let (frame, header) = message.parts_mut();
        header.decode_like(frame, &mut self.headers)
    }

    /// The records of a `sow` frame, from the first or from where an earlier walk had to stop. What they look like is
    /// remembered once they come back by [`recycle`](Self::recycle); if they do not, it is learned anew.
    ///
    /// ```
    /// use amps_protocol::MessageDecoder;
    ///
    /// let mut decoder = MessageDecoder::new();
    /// let frame = br#"{"c":"sow","t":"orders","bs":2}{"k":"7","l":8}{"id":7}{"k":"8","l":8}{"id":8}"#;
    /// let batch = decoder.decode(frame)?;
    /// let mut records = decoder.records(&batch, None);
    /// for record in records.by_ref() {
    ///     assert_eq!(record?.data().len(), 8);
    /// }
    /// decoder.recycle(records);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn records<'a>(&mut self, batch: &'a Message<&'a [u8]>, from: Option<RecordPosition>) -> Records<'a> {
        let records = match from {
            Some(position) => batch.records_from(position),
            None => batch.records(),
        };
        records.with_shapes(core::mem::replace(&mut self.records, Shapes::new()))
    }

    /// Takes back what was learned from records, read to the end or not.
    pub fn recycle(&mut self, records: Records<'_>) {
        self.records = records.into_shapes();
    }
}

impl Default for MessageDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MessageDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageDecoder").finish_non_exhaustive()
    }
}
