//! What is asserted of any bytes whatever: one function for each fuzz target.
//!
//! A fuzzer calls them through the stubs in `fuzz_targets`, the stable test `fuzz_corpus`
//! calls them on the corpus and on mutations of it. They panic where something does not hold.
#![allow(
    dead_code,
    unused_imports,
    reason = "every fuzzing stub includes this file and calls one function of it"
)]

#[path = "../../tests/naive/mod.rs"]
mod naive;
mod values;
pub(crate) use values::{bookmark, ids, options, value};

use amps_protocol::{
    Command, CommandKind, CompositeBuilder, CompositeReader, EncodeError, Endpoint, FIX_SEPARATOR, Field,
    FixBuilder, FixReader, FrameDecoder, FrameError, FrameFault, FrameWriter, Frames, Header, LENGTH_PREFIX,
    Message, NvfixBuilder, NvfixReader, Password, Scheme, Status, next_frame,
};
use bytes::BytesMut;
use naive::compare::{compare, compare_records};

/// A byte stream, cut into frames at once and in small pieces.
pub(crate) fn frame(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    // What must come out: prefix after prefix, up to the first that is too long or not whole.
    let mut rest = data;
    let mut expected = Vec::new();
    let refused = loop {
        let Some((prefix, after)) = rest.split_first_chunk::<LENGTH_PREFIX>() else { break None };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > LIMIT {
            break Some(length as u64);
        }
        let Some((frame, behind)) = after.split_at_checked(length) else { break None };
        assert_eq!(next_frame(rest, LIMIT), Ok(Some(LENGTH_PREFIX + length)));
        if !frame.is_empty() {
            expected.push(frame);
        }
        rest = behind;
    };
    match refused {
        Some(length) => assert_eq!(next_frame(rest, LIMIT).unwrap_err().length, length),
        None => assert_eq!(next_frame(rest, LIMIT), Ok(None)),
    }

    let mut frames = Frames::with_limit(data, LIMIT);
    let whole: Vec<_> = frames.by_ref().map_while(Result::ok).map(|frame| frame.bytes).collect();
    assert_eq!(whole, expected);
    let fault = Frames::with_limit(data, LIMIT).find_map(Result::err);
    let stopped_at = fault.map_or(data.len(), |error| error.offset);
    assert_eq!(&data[stopped_at..], rest, "{fault:?}");
    assert!(frames.next().is_none());

    for chunk in [data.len().max(1), 1 + data.len() % 13, 1] {
        let mut decoder = FrameDecoder::new(LIMIT);
        let mut stream = BytesMut::new();
        let mut found = Vec::new();
        let mut error = None;
        for piece in data.chunks(chunk) {
            stream.extend_from_slice(piece);
            while error.is_none() {
                match decoder.decode(&mut stream) {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => break,
                    Err(FrameError { offset, fault: FrameFault::TooLong(too_long) }) => {
                        assert_eq!(&data[offset..], rest);
                        error = Some(too_long.length);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!(found.iter().eq(&expected), "in chunks of {chunk}");
        assert_eq!(error, refused, "in chunks of {chunk}");
        assert_eq!(&stream[..], rest, "nothing but whole frames is consumed, in chunks of {chunk}");
    }
}

/// One frame: decoded twice over, written again, decoded again.
pub(crate) fn header(data: &[u8]) {
    compare(data);
    let mut message = match Message::decode(data) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.offset <= data.len(), "{error:?}");
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let body = message.header().body_offset();
    assert_eq!(data.get(body - 1), Some(&b'}'));
    assert_eq!(message.data(), &data[body..]);
    assert!(Message::decode(&data[..body - 1]).is_err(), "a part of a header is no header");
    for &field in Field::ALL {
        let last = message.members().filter(|member| member.field == Some(field)).last();
        if let Some(value) = message.get(field) {
            assert_eq!(last.map(|member| member.value.into_owned()), Some(value.to_owned()), "{field:?}");
        }
    }
    // The same header before another body, and in the place of another header.
    let other = Message::decode([&data[..body], b"{}"].concat()).unwrap();
    assert_same(&message, &other);
    let (frame, mut index) = message.into_parts();
    Header::decode(
        &mut index,
        br#"{"c":"ack","t":"\"","a":"stats","status":"retry","x":"","f":"1","k":null}"#,
    )
    .unwrap();
    index.decode(frame).unwrap();
    message = Message::from_parts(frame, index);
    assert_same(&message, &other);
    assert_same(&message, &message.to_owned());
    does_not_fit(message.header(), &data[data.len() / 2..]);

    let written = written_again(&message);
    let again = Message::decode(&written[LENGTH_PREFIX..]).unwrap();
    assert_eq!(again.data(), message.data());
    assert_same(&message, &again);
    assert_eq!(written, written_again(&again), "what an encoder wrote is written alike");
}

/// A frame that may be a client's command: what is read is written, and read again as it was.
pub(crate) fn command(data: &[u8]) {
    read_and_written(data);
    // The same behind a field that surely makes it a command, whichever.
    let kind = CommandKind::ALL[data.len() % CommandKind::ALL.len()].token();
    let members = data.strip_prefix(b"{").unwrap_or(data);
    let head = format!(r#"{{"cid":"1","t":"o","c":"{kind}","#);
    read_and_written(&[head.as_bytes(), members].concat());
    // A second `c` beats the first (D-11).
    if let Ok(message) = Message::decode(data) {
        let (header, body) = data.split_at(message.header().body_offset() - 1);
        let own = format!(r#","c":"{kind}""#);
        read_and_written(&[header, own.as_bytes(), body].concat());
    }
}

fn read_and_written(frame: &[u8]) {
    let Ok(message) = Message::decode(frame) else { return };
    let command = match Command::read(&message) {
        Ok(command) => command,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(command.kind(), message.command());
    assert_eq!(command.acks(), message.acks());
    let mut out = BytesMut::from(&b"before"[..]);
    let length = match command.encode(&mut out) {
        Ok(length) => length,
        // Somebody sent what an encoder would refuse to.
        Err(EncodeError::Incomplete { .. }) => return assert_eq!(&out[..], b"before"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(length, out.len() - "before".len());
    match command.encode_within(&mut out, length - LENGTH_PREFIX - 1).unwrap_err() {
        EncodeError::TooLong(error) => assert_eq!(error.length + 4, length as u64),
        other => panic!("{other}"),
    }
    let frame = out.split_off("before".len());
    assert_eq!(&out[..], b"before", "what is too long leaves no trace");
    assert_eq!(next_frame(&frame, frame.len()), Ok(Some(length)));

    let again = Message::decode(&frame[LENGTH_PREFIX..]).unwrap();
    assert_eq!(Command::read(&again).unwrap(), command);
    assert_eq!(command.clone().into_owned(), command);
    let mut twice = BytesMut::new();
    command.into_owned().encode(&mut twice).unwrap();
    assert_eq!(twice, frame, "what an encoder wrote is written alike");
}

/// Field by field; bodies may differ, and so may the spelling of a command, acknowledgement
/// or status.
fn assert_same(left: &Message<impl AsRef<[u8]>>, right: &Message<impl AsRef<[u8]>>) {
    for &field in Field::ALL {
        if !matches!(field, Field::Command | Field::AckType | Field::Status) {
            assert_eq!(left.get(field), right.get(field), "{field:?}");
        }
    }
    assert_eq!(left.command(), right.command());
    assert_eq!(left.acks(), right.acks());
    assert_eq!(left.status(), right.status());
}

/// An index and bytes that it was not decoded from: nonsense, but no panic.
fn does_not_fit(index: &Header, frame: &[u8]) {
    let message = Message::from_parts(frame, index.clone());
    for &field in Field::ALL {
        let _ = (message.get(field), message.number(field));
    }
    let _ = (message.data(), message.records().count(), message.to_owned(), format!("{message:?}"));
}

/// The message as an encoder writes it.
fn written_again(message: &Message<impl AsRef<[u8]>>) -> BytesMut {
    let mut out = BytesMut::new();
    let mut writer = match (message.command(), message.get(Field::Command)) {
        (CommandKind::Unknown, Some(token)) => FrameWriter::with_token(&mut out, token),
        (known, _) => FrameWriter::new(&mut out, known),
    };
    for &field in Field::ALL {
        writer = match field {
            Field::Command => writer,
            Field::AckType => writer.acks(message.acks()),
            Field::Status => match (message.status(), message.get(field)) {
                (Some(Status::Other), Some(token)) => writer.text(field, token),
                (status, _) => writer.maybe_text(field, status.map(Status::token)),
            },
            _ => writer.maybe_text(field, message.get(field)),
        };
    }
    let length = writer.finish(message.data());
    assert_eq!(length, out.len());
    assert_eq!(next_frame(&out, out.len()), Ok(Some(out.len())));
    let header = &out[LENGTH_PREFIX..length - message.data().len()];
    assert!(header.iter().all(|byte| *byte >= b' '), "control bytes are escaped (E-5)");
    out
}

/// A `sow` frame: the records that a naive reader finds, and batches of any bytes.
pub(crate) fn sow_batch(data: &[u8]) {
    compare_records(data);
    // The same behind a header that surely makes it a batch.
    compare_records(&[br#"{"c":"sow","t":"o","x":"1","f":"\"","l":2}"#, data].concat());

    // Any bytes, cut into records, come out of a batch as they went in.
    let records: Vec<&[u8]> = data.splitn(40, |byte| *byte == b'}').collect();
    let mut out = BytesMut::new();
    let query = &data[..data.len().min(20)];
    let mut batch = FrameWriter::new(&mut out, CommandKind::Sow).text(Field::QueryId, query).records();
    for (i, record) in records.iter().enumerate() {
        let key = (i % 3 != 2).then_some(record);
        batch.record().maybe_text(Field::SowKey, key).data(record);
    }
    assert_eq!(batch.finish().ok(), Some(out.len()));
    compare_records(&out[LENGTH_PREFIX..]);
    let message = Message::decode(&out[LENGTH_PREFIX..]).unwrap();
    assert!(message.records().map(|record| record.unwrap().data().to_vec()).eq(records));
}

/// A composite body: every byte is accounted for, and written again as it was.
pub(crate) fn composite(data: &[u8]) {
    let mut reader = CompositeReader::new(data);
    let mut builder = CompositeBuilder::new();
    let mut parts = Vec::new();
    let mut fault = None;
    while let Some(part) = reader.next() {
        match part {
            Ok(part) => {
                builder.append(part).unwrap();
                parts.push(part);
            }
            Err(error) => fault = Some(error),
        }
        assert_eq!(reader.parts_read(), parts.len());
        assert_eq!([builder.as_bytes(), reader.remaining()].concat(), data);
    }
    match fault {
        None => assert!(reader.remaining().is_empty()),
        Some(error) => {
            assert_eq!((error.part, error.offset), (parts.len(), builder.as_bytes().len()));
            assert!(!reader.remaining().is_empty());
        }
    }
    for (i, part) in parts.iter().enumerate().take(20) {
        assert_eq!(CompositeReader::part(data, i), Ok(Some(*part)));
    }
    assert_eq!(CompositeReader::part(data, parts.len()), fault.map_or(Ok(None), Err));

    // Any bytes, cut into parts, come out as they went in.
    let pieces: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    builder.clear();
    for piece in &pieces {
        builder.append(piece).unwrap();
    }
    let body = builder.into_bytes();
    assert!(CompositeReader::new(&body).map(Result::unwrap).eq(pieces));
}

/// A FIX and an NVFIX body: nothing is lost in silence, and what is read can be written.
pub(crate) fn fix(data: &[u8]) {
    for separator in [FIX_SEPARATOR, b'|'] {
        let mut pieces: Vec<&[u8]> = data.split(|byte| *byte == separator).collect();
        // The last field needs no separator, and if it has one, nothing follows.
        if pieces.last().is_some_and(|last| last.is_empty()) {
            pieces.pop();
        }

        let mut nvfix = NvfixReader::with_separator(data, separator);
        let mut written = NvfixBuilder::with_separator(separator).unwrap();
        let mut fields = Vec::new();
        for (key, value) in nvfix.by_ref() {
            written.append(key, value).unwrap();
            fields.push((key, value));
        }
        assert_eq!(fields.len() + nvfix.skipped(), pieces.len());
        assert!(fields.iter().all(|(key, value)| pieces.contains(&&[key, &b"="[..], value].concat()[..])));
        assert!(NvfixReader::with_separator(written.as_bytes(), separator).eq(fields.iter().copied()));
        for (key, _) in fields.iter().take(20) {
            let last = fields.iter().rfind(|(other, _)| other == key);
            assert_eq!(nvfix.get(key), last.map(|(_, value)| *value));
        }

        let mut fix = FixReader::with_separator(data, separator);
        let mut written = FixBuilder::with_separator(separator).unwrap();
        let mut tags = Vec::new();
        for (tag, value) in fix.by_ref() {
            written.append(tag, value).unwrap();
            tags.push((tag, value));
        }
        assert_eq!(tags.len() + fix.skipped(), pieces.len());
        let numeric = fields.iter().filter_map(|(key, value)| Some((decimal(key)?, *value)));
        assert!(numeric.eq(tags.iter().copied()));
        assert!(FixReader::with_separator(written.as_bytes(), separator).eq(tags.iter().copied()));
        for (tag, _) in tags.iter().take(20) {
            let last = tags.iter().rfind(|(other, _)| other == tag);
            assert_eq!(fix.get(*tag), last.map(|(_, value)| *value));
        }
    }
}

fn decimal(key: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(key).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A connection string: what parses is usable, and no text ever shows a password.
pub(crate) fn connection_string(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Endpoint>() {
        Ok(endpoint) => usable(&endpoint),
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    // Two passwords of one length, the same text otherwise: all that is printed must be the same.
    for (scheme, rest) in [("tcp", text), text.split_once("://").unwrap_or(("tcps", text))] {
        let [left, right] = ["hunter2-x", "%40s3cret"].map(|password| {
            let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
            match format!("{scheme}://ada:{password}@{address}").parse::<Endpoint>() {
                Ok(endpoint) => format!("{endpoint} {endpoint:?}"),
                Err(error) => format!("{error} {error:?}"),
            }
        });
        assert_eq!(left, right);
    }
}

fn usable(endpoint: &Endpoint) {
    let Endpoint { scheme, host, port, options, .. } = endpoint;
    assert!(!host.is_empty());
    assert!(*port != 0 || *scheme == Scheme::Unix);
    assert_eq!(options.path.is_some(), *scheme == Scheme::Unix);
    assert!(!(options.zlib || options.http_preflight) || matches!(scheme, Scheme::Tcp | Scheme::Tcps));

    let mut other = endpoint.clone();
    if other.password.is_some() {
        other.password = Some(Password::new("another"));
    }
    assert_eq!(format!("{endpoint} {endpoint:?}"), format!("{other} {other:?}"));

    // Without user and parameters, the printed form is the whole of it.
    if *scheme != Scheme::Unix && endpoint.user.is_none() && endpoint.password.is_none() {
        let printed = endpoint.to_string();
        let again: Endpoint = printed.parse().unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again.to_string(), printed);
        assert_eq!((again.host, again.port), (host.clone(), *port));
        assert_eq!(
            (again.prefix, again.message_type),
            (endpoint.prefix.clone(), endpoint.message_type.clone())
        );
    }
}
