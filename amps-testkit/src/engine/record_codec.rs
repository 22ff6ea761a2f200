//! The records of the transaction log as bytes: in its file, and between instances.
//!
//! Owns the format of one record; what frames it is the business of whoever keeps or sends it.
//! All numbers are big-endian, texts and bytes have their length in front, and what may be
//! absent has a byte in front that says whether it is there.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::MessageId;
use amps_transport::Time;
use nom::combinator::{cond, map};
use nom::error::{Error, ErrorKind};
use nom::multi::{length_count, length_data};
use nom::number::complete::{be_u8, be_u32, be_u64};
use nom::{Err, IResult, Parser};

use super::log_record::{LogRecord, LoggedMessage};
use super::txlog::Via;

/// A record that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of a record is longer than 4 GiB")]
pub(crate) struct RecordTooLong;

/// What a record begins with.
mod tag {
    pub(super) const MESSAGE: u8 = 1;
    pub(super) const DELETION: u8 = 2;
    pub(super) const DEPARTURE: u8 = 3;
    pub(super) const SEQUENCE: u8 = 4;
    pub(super) const TRUNCATION: u8 = 5;
    pub(super) const RESET: u8 = 6;
    pub(super) const TRANSFER: u8 = 7;
    pub(super) const KEPT: u8 = 8;
    pub(super) const DROPPED: u8 = 9;
}

/// Whether a record may begin with this byte.
pub(crate) const fn is_record_kind(byte: u8) -> bool {
    byte >= tag::MESSAGE && byte <= tag::DROPPED
}

// --- Writing ---------------------------------------------------------------------------------

fn length(length: usize) -> Result<[u8; 4], RecordTooLong> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| RecordTooLong)
}

pub(crate) fn put_record(out: &mut Vec<u8>, record: &LogRecord) -> Result<(), RecordTooLong> {
    match record {
        LogRecord::Message(message) => {
            out.push(tag::MESSAGE);
            put_id(out, message.bookmark);
            put_bytes(out, message.message_type.as_bytes())?;
            put_bytes(out, message.topic.as_bytes())?;
            put_bytes(out, &message.body)?;
            put_option(out, message.key.as_deref().map(str::as_bytes))?;
            put_option(out, message.correlation.as_deref())?;
            put_bytes(out, message.publisher.as_bytes())?;
            put_number(out, message.at.as_unix_nanos());
            put_option(out, message.expiration.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice))?;
            put_via(out, message.via.as_ref())?;
        }
        LogRecord::Deletion { bookmark, message_type, at, records, via } => {
            out.push(tag::DELETION);
            put_id(out, *bookmark);
            put_bytes(out, message_type.as_bytes())?;
            put_number(out, at.as_unix_nanos());
            out.extend_from_slice(&length(records.len())?);
            for (topic, key) in records {
                put_bytes(out, topic.as_bytes())?;
                put_bytes(out, key.as_bytes())?;
            }
            put_via(out, via.as_ref())?;
        }
        LogRecord::Departure { queue, message_type, bookmark, at, via } => {
            out.push(tag::DEPARTURE);
            put_bytes(out, queue.as_bytes())?;
            put_bytes(out, message_type.as_bytes())?;
            put_id(out, *bookmark);
            put_number(out, at.as_unix_nanos());
            put_via(out, via.as_ref())?;
        }
        LogRecord::Transfer { queue, message_type, bookmark, owner, turn, at, via } => {
            out.push(tag::TRANSFER);
            put_bytes(out, queue.as_bytes())?;
            put_bytes(out, message_type.as_bytes())?;
            put_id(out, *bookmark);
            put_bytes(out, owner.as_bytes())?;
            put_number(out, *turn);
            put_number(out, at.as_unix_nanos());
            put_via(out, via.as_ref())?;
        }
        LogRecord::Kept { message_type, topic, key, body, correlation, publisher, at, expires } => {
            out.push(tag::KEPT);
            put_bytes(out, message_type.as_bytes())?;
            put_bytes(out, topic.as_bytes())?;
            put_bytes(out, key.as_bytes())?;
            put_bytes(out, body)?;
            put_option(out, correlation.as_deref())?;
            put_bytes(out, publisher.as_bytes())?;
            put_number(out, at.as_unix_nanos());
            out.push(u8::from(expires.is_some()));
            expires.iter().for_each(|at| put_number(out, at.as_unix_nanos()));
        }
        LogRecord::Dropped { message_type, topic, key, at } => {
            out.push(tag::DROPPED);
            put_bytes(out, message_type.as_bytes())?;
            put_bytes(out, topic.as_bytes())?;
            put_bytes(out, key.as_bytes())?;
            put_number(out, at.as_unix_nanos());
        }
        LogRecord::Sequence(id) => {
            out.push(tag::SEQUENCE);
            put_id(out, *id);
        }
        LogRecord::Truncation(count) => {
            out.push(tag::TRUNCATION);
            put_number(out, *count);
        }
        LogRecord::Reset => out.push(tag::RESET),
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_id(out: &mut Vec<u8>, id: MessageId) {
    put_number(out, id.publisher);
    put_number(out, id.sequence);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), RecordTooLong> {
    out.extend_from_slice(&length(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), RecordTooLong> {
    out.push(u8::from(bytes.is_some()));
    bytes.map_or(Ok(()), |bytes| put_bytes(out, bytes))
}

fn put_via(out: &mut Vec<u8>, via: Option<&Via>) -> Result<(), RecordTooLong> {
    out.push(u8::from(via.is_some()));
    let Some(via) = via else { return Ok(()) };
    put_number(out, via.since.as_unix_nanos());
    out.extend_from_slice(&length(via.path.len())?);
    via.path.iter().try_for_each(|name| put_bytes(out, name.as_bytes()))
}

// --- Reading ---------------------------------------------------------------------------------

fn fail<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(Err::Error(Error::new(input, ErrorKind::Verify)))
}

pub(crate) fn read_record(input: &[u8]) -> IResult<&[u8], LogRecord> {
    let (input, tag) = be_u8(input)?;
    match tag {
        tag::MESSAGE => {
            let optional = (option(text), option(bytes));
            let (rest, (bookmark, message_type, topic, body, (key, correlation), publisher, at)) =
                (id, text, text, bytes, optional, text, time).parse(input)?;
            let (rest, (expiration, via)) = (option(bytes), option(via)).parse(rest)?;
            let expiration = match expiration.as_deref().map(TryFrom::try_from) {
                None => None,
                Some(Ok(seconds)) => Some(u64::from_be_bytes(seconds)),
                Some(Err(_)) => return fail(input),
            };
            let message = LoggedMessage {
                bookmark,
                message_type,
                topic,
                body,
                key,
                correlation,
                publisher,
                at,
                expiration,
                via,
            };
            Ok((rest, LogRecord::Message(message)))
        }
        tag::DELETION => {
            let (rest, (bookmark, message_type, at, records, via)) =
                (id, text, time, length_count(be_u32, (text, text)), option(via)).parse(input)?;
            Ok((rest, LogRecord::Deletion { bookmark, message_type, at, records, via }))
        }
        tag::DEPARTURE => {
            let (rest, (queue, message_type, bookmark, at, via)) =
                (text, text, id, time, option(via)).parse(input)?;
            Ok((rest, LogRecord::Departure { queue, message_type, bookmark, at, via }))
        }
        tag::TRANSFER => {
            let (rest, (queue, message_type, bookmark, owner, turn, at, via)) =
                (text, text, id, text, be_u64, time, option(via)).parse(input)?;
            Ok((rest, LogRecord::Transfer { queue, message_type, bookmark, owner, turn, at, via }))
        }
        tag::KEPT => {
            let (rest, (message_type, topic, key, body, correlation, publisher, at, expires)) =
                (text, text, text, bytes, option(bytes), text, time, option(time)).parse(input)?;
            let kept =
                LogRecord::Kept { message_type, topic, key, body, correlation, publisher, at, expires };
            Ok((rest, kept))
        }
        tag::DROPPED => {
            let (rest, (message_type, topic, key, at)) = (text, text, text, time).parse(input)?;
            Ok((rest, LogRecord::Dropped { message_type, topic, key, at }))
        }
        tag::SEQUENCE => map(id, LogRecord::Sequence).parse(input),
        tag::TRUNCATION => map(be_u64, LogRecord::Truncation).parse(input),
        tag::RESET => Ok((input, LogRecord::Reset)),
        _ => fail(input),
    }
}

fn id(input: &[u8]) -> IResult<&[u8], MessageId> {
    map((be_u64, be_u64), |(publisher, sequence)| MessageId { publisher, sequence }).parse(input)
}

fn time(input: &[u8]) -> IResult<&[u8], Time> {
    map(be_u64, Time::from_unix_nanos).parse(input)
}

fn bytes(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    map(length_data(be_u32), <[u8]>::to_vec).parse(input)
}

fn text(input: &[u8]) -> IResult<&[u8], String> {
    let (rest, bytes) = bytes(input)?;
    String::from_utf8(bytes).map_or_else(|_| fail(input), |text| Ok((rest, text)))
}

fn option<T>(value: fn(&[u8]) -> IResult<&[u8], T>) -> impl Fn(&[u8]) -> IResult<&[u8], Option<T>> {
    move |input| {
        let (input, present) = be_u8(input)?;
        cond(present == 1, value).parse(input)
    }
}

fn via(input: &[u8]) -> IResult<&[u8], Via> {
    let (rest, (since, path)) = (time, length_count(be_u32, text)).parse(input)?;
    Ok((rest, Via { path, since }))
}
