//! `amps decode`: what a capture of AMPS traffic holds, frame by frame.
//!
//! Owns what may stand before the frames, and one line for each frame, which nothing in the frame can forge.
//! What a frame means is the protocol crate's business.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use amps_client::CommandKind;
use amps_client::RawMessage;
use amps_protocol::{Field, FrameDecoder, LENGTH_PREFIX};
use bytes::{Buf, BytesMut};
use memchr::memmem;

use crate::failure::{Failure, OTHER, Outcome};
use crate::json;
use crate::options::Decode;
use crate::output::Output;
use crate::template::word;

const CHUNK: usize = 64 << 10;
/// A preamble is a few lines of HTTP.
const LONGEST_PREAMBLE: usize = 64 << 10;
/// The first bytes of packet captures, in either order of bytes, and of their successor.
const PACKETS: [[u8; 4]; 5] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// Prints every frame.
pub(crate) fn run(options: &Decode) -> Result<Outcome, Failure> {
    let path = options.file.as_deref().filter(|path| *path != Path::new("-"));
    let input: Box<dyn Read> = match path {
        None => Box::new(io::stdin()),
        Some(path) => Box::new(File::open(path).map_err(|error| Failure::unopened(path, &error))?),
    };
    let output =
        Output::stdout().map_err(|error| Failure::new(OTHER, format!("cannot use stdout: {error}")))?;
    let mut decoding = Decoding { options, output, bad: 0 };
    match decoding.all(input) {
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        Err(Trouble::Output(error)) => Err(Failure::new(OTHER, format!("cannot write to stdout: {error}"))),
        Err(Trouble::Input(error)) => {
            let name = path.map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
            Err(Failure::new(OTHER, format!("cannot read {name}: {error}")))
        }
        Err(Trouble::Form(text)) => Err(Failure::new(OTHER, text)),
        Ok(()) if decoding.bad > 0 => {
            let s = if decoding.bad == 1 { "" } else { "s" };
            let text = format!("{} bad frame{s}; the lines above say where and why", decoding.bad);
            Err(Failure::new(OTHER, text))
        }
        Ok(()) => Ok(Outcome::Done),
    }
}

enum Trouble {
    Input(io::Error),
    Output(io::Error),
    /// It is no such capture.
    Form(&'static str),
}

struct Decoding<'a, W = File> {
    options: &'a Decode,
    output: Output<W>,
    /// Frames that were malformed.
    bad: u64,
}

impl<W: io::Write> Decoding<'_, W> {
    fn all(&mut self, mut input: impl Read) -> Result<(), Trouble> {
        let mut decoder = FrameDecoder::default();
        let mut stream = BytesMut::new();
        let mut chunk = vec![0; CHUNK];
        // Bytes of the preamble, once it is known whether there is one.
        let mut preamble = None;
        loop {
            let count = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Input(error)),
                Ok(count) => count,
            };
            stream.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if preamble.is_none() {
                preamble = self.preamble(&mut stream, count == 0)?;
            }
            let Some(before) = preamble else { continue };
            let ended = self.frames(&mut decoder, &mut stream, before);
            self.output.flush().map_err(Trouble::Output)?;
            if count == 0 || ended {
                // What follows a frame that is none was not looked at.
                if let Some(error) = decoder.finish(&stream).err().filter(|_| !ended) {
                    self.bad += 1;
                    let text = format!("the capture ends inside a frame: {}", error.fault);
                    self.line(before + error.offset, &text);
                }
                return self.output.flush().map_err(Trouble::Output);
            }
        }
    }

    /// Passes over a preamble; `None` if more bytes are needed to see one.
    fn preamble(&mut self, stream: &mut BytesMut, at_end: bool) -> Result<Option<usize>, Trouble> {
        if stream.len() < LENGTH_PREFIX && !at_end {
            return Ok(None);
        }
        if PACKETS.iter().any(|magic| stream.starts_with(magic)) {
            return Err(Trouble::Form(
                "this is a capture of packets; extract one direction of one connection first, for example with tcpflow",
            ));
        }
        if !stream.starts_with(b"GET ") && !stream.starts_with(b"HTTP") {
            return Ok(Some(0));
        }
        let Some(end) = memmem::find(stream, b"\r\n\r\n").map(|at| at + 4) else {
            if at_end || stream.len() > LONGEST_PREAMBLE {
                return Err(Trouble::Form("the capture begins with an HTTP preamble that does not end"));
            }
            return Ok(None);
        };
        let text = stream.get(..end).unwrap_or_default().escape_ascii().to_string();
        if text.to_ascii_lowercase().contains("sec-websocket-") {
            return Err(Trouble::Form(
                "the capture is of a WebSocket connection, whose frames are wrapped; capture a tcp connection",
            ));
        }
        let first = text.split("\\r\\n").next().unwrap_or_default().to_owned();
        stream.advance(end);
        if !self.options.json {
            self.line(0, &format!("(preamble) {first}"));
        }
        Ok(Some(end))
    }

    /// Prints the frames that are whole; `true` where no further one can be found.
    fn frames(&mut self, decoder: &mut FrameDecoder, stream: &mut BytesMut, before: usize) -> bool {
        loop {
            match decoder.decode(stream) {
                Ok(Some(frame)) => {
                    let offset = before + decoder.offset() - frame.len() - LENGTH_PREFIX;
                    match RawMessage::decode(&frame[..]) {
                        Ok(message) => self.frame(offset, &message),
                        Err(error) => {
                            self.bad += 1;
                            self.line(offset, &error.to_string());
                        }
                    }
                }
                Ok(None) => return false,
                Err(error) => {
                    self.bad += 1;
                    self.line(before + error.offset, &error.fault.to_string());
                    return true;
                }
            }
        }
    }

    fn frame(&mut self, offset: usize, message: &RawMessage<&[u8]>) {
        if !self.options.json {
            let text = self.described(message);
            return self.line(offset, &text);
        }
        let out = self.output.buffer();
        let begin = out.len();
        json::write(message, out);
        if message.command() == CommandKind::Sow {
            // In place of a body that is no body: the records.
            out.truncate(begin);
            let mut records = Vec::new();
            let mut fault = None;
            for record in message.records() {
                match record {
                    Ok(record) => {
                        if !records.is_empty() {
                            records.push(b',');
                        }
                        json::write(&record, &mut records);
                    }
                    Err(error) => fault = Some(error.to_string()),
                }
            }
            out.extend_from_slice(b"{\"command\":\"sow\"");
            if let Some(id) = message.query_id() {
                json::member("query_id", out);
                json::string(&id.to_string(), out);
            }
            json::member("records", out);
            out.push(b'[');
            out.append(&mut records);
            out.push(b']');
            if let Some(fault) = fault {
                self.bad += 1;
                json::member("error", out);
                json::string(&fault, out);
            }
            out.push(b'}');
        }
        self.output.buffer().push(b'\n');
    }

    /// What a frame holds. What came over the wire is escaped.
    fn described(&mut self, message: &RawMessage<&[u8]>) -> String {
        let mut line = match message.command() {
            CommandKind::Missing => "(no command)".to_owned(),
            CommandKind::Unknown => format!("(unknown) {}", word(message).as_bytes().escape_ascii()),
            _ => word(message),
        };
        for member in message.members().filter(|member| member.field != Some(Field::Command)) {
            let value = match member.field {
                Some(Field::Password) => "<hidden>".into(),
                _ => member.value.escape_ascii().to_string(),
            };
            // Writing to a string does not fail.
            let _ = write!(line, " {}={value}", member.key.escape_ascii());
        }
        if message.command() != CommandKind::Sow {
            if !message.data().is_empty() {
                let _ = write!(line, ", {} bytes", message.data().len());
                if self.options.body {
                    let _ = write!(line, " {}", message.data().escape_ascii());
                }
            }
            return line;
        }
        let mut count = 0;
        let mut bodies = String::new();
        let mut fault = String::new();
        for record in message.records() {
            match record {
                Ok(record) => {
                    count += 1;
                    let key = record.sow_key().unwrap_or_default().escape_ascii();
                    let _ = write!(bodies, " [{key}] {}", record.data().escape_ascii());
                }
                Err(error) => {
                    self.bad += 1;
                    fault = format!(", then {error}");
                }
            }
        }
        let bodies = if self.options.body { bodies.as_str() } else { "" };
        let s = if count == 1 { "" } else { "s" };
        let _ = write!(line, ", {count} record{s}{bodies}{fault}");
        line
    }

    /// One line, in the form that was asked for.
    fn line(&mut self, offset: usize, text: &str) {
        let json = self.options.json;
        let out = self.output.buffer();
        if json {
            out.extend_from_slice(format!("{{\"offset\":{offset},\"error\":").as_bytes());
            json::string(text, out);
            out.extend_from_slice(b"}\n");
        } else {
            out.extend_from_slice(format!("{offset:>9} {text}\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[&[u8]]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
    }

    /// The lines, and how many frames were bad; read a few bytes at a time.
    fn decoded(capture: &[u8], json: bool, body: bool) -> Result<(Vec<String>, u64), &'static str> {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = into.len().min(5);
                self.0.read(&mut into[..count])
            }
        }
        let options = Decode { file: None, json, body };
        let mut lines = Vec::new();
        let mut decoding = Decoding { options: &options, output: Output::to(&mut lines), bad: 0 };
        match decoding.all(Slow(capture)) {
            Ok(()) => {}
            Err(Trouble::Form(text)) => return Err(text),
            Err(Trouble::Input(error) | Trouble::Output(error)) => panic!("{error}"),
        }
        let bad = decoding.bad;
        Ok((String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect(), bad))
    }

    #[test]
    fn every_frame_is_a_line_and_no_password_shows() {
        let frames = capture(&[
            br#"{"c":"logon","cid":"0","pw":"s3cret"}"#,
            br#"{"c":"sow","query_id":"1","bs":2}{"k":"1","l":2}{}{"k":"2","l":2}{}"#,
            b"{\"c\":\"p\",\"t\":\"a\nb\"}\x1b[2J",
        ]);
        let (lines, bad) = decoded(&frames, false, true).unwrap();
        assert_eq!(bad, 0);
        assert_eq!(lines[0], "        0 logon cid=0 pw=<hidden>");
        assert_eq!(lines[1], "       41 sow query_id=1 bs=2, 2 records [1] {} [2] {}");
        assert_eq!(lines[2], "      112 publish t=a\\nb, 4 bytes \\x1b[2J");
        let (lines, _) = decoded(&frames, true, false).unwrap();
        let sow: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(sow["records"][1]["sowkey"], "2");
        assert!(!lines[0].contains("s3cret"));
    }

    #[test]
    fn a_preamble_is_passed_over_and_offsets_count_it() {
        let preamble = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: amps\r\n\r\n".to_vec();
        let length = preamble.len();
        let (lines, bad) = decoded(&[preamble, capture(&[b"{\"c\":\"p\"}"])].concat(), false, false).unwrap();
        assert_eq!(bad, 0);
        assert_eq!(lines[0], "        0 (preamble) HTTP/1.1 101 Switching Protocols");
        assert_eq!(lines[1], format!("{length:>9} publish"));
    }

    #[test]
    fn what_is_no_such_capture_is_told() {
        assert!(decoded(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], false, false).unwrap_err().contains("tcpflow"));
        let web = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n";
        assert!(decoded(web, false, false).unwrap_err().contains("WebSocket"));
        assert!(decoded(b"GET / HTTP/1.1\r\n", false, false).unwrap_err().contains("does not end"));
        assert_eq!(decoded(b"", false, false).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn bad_frames_are_told_and_the_next_ones_decoded() {
        let mut bytes = capture(&[b"{\"c\":", b"{\"c\":\"p\"}"]);
        bytes.extend_from_slice(b"\0\0\0\x09{");
        for json in [false, true] {
            let (lines, bad) = decoded(&bytes, json, false).unwrap();
            assert_eq!((lines.len(), bad), (3, 2), "{lines:?}");
            assert!(lines[1].contains("publish"));
            assert!(lines[2].contains("ends inside a frame"));
        }
    }
}
