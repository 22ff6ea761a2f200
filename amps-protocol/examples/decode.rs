//! Reads a raw capture of one direction of an AMPS connection (length-prefixed frames, as they
//! went over the socket) and prints one line per frame:
//!
//! ```text
//! decode [--body] [FILE]          without FILE it reads standard input as it comes
//!
//!        0 logon cid=0 client_name=worker user_id=ada pw=<hidden> a=processed
//!      117 sow query_id=10 t=orders bs=2 gseq=1, 2 records
//!      208 p t=orders sids=1 l=8, 8 bytes
//! ```
//!
//! A frame with a malformed header gets a line that says so, and decoding goes on behind it.
//! Exit status: 0 if every frame was good, 1 if one was not, 2 if the command line or the file
//! was not.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use amps_protocol::{CommandKind, Field, FrameDecoder, LENGTH_PREFIX, Message};
use bytes::BytesMut;

const USAGE: &str = "usage: decode [--body] [FILE]";

fn main() -> ExitCode {
    let mut with_body = false;
    let mut file = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--body" => with_body = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            unknown if unknown.starts_with('-') && unknown != "-" => {
                eprintln!("unknown option {unknown}; {USAGE}");
                return ExitCode::from(2);
            }
            _ if file.is_some() => {
                eprintln!("more than one file; {USAGE}");
                return ExitCode::from(2);
            }
            name => file = Some(name.to_owned()),
        }
    }
    let input: Box<dyn Read> = match file.as_deref() {
        None | Some("-") => Box::new(io::stdin().lock()),
        Some(name) => match File::open(name) {
            Ok(file) => Box::new(file),
            Err(error) => {
                eprintln!("cannot read {name}: {error}");
                return ExitCode::from(2);
            }
        },
    };
    match decode(input, &mut io::stdout().lock(), with_body) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(bad) => {
            eprintln!("{bad} bad frame{}", if bad == 1 { "" } else { "s" });
            ExitCode::FAILURE
        }
        // Whoever reads the lines has had enough, `head` for one.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot go on: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns how many frames were bad.
fn decode(mut input: impl Read, output: &mut impl Write, with_body: bool) -> io::Result<usize> {
    let mut decoder = FrameDecoder::default();
    let mut stream = BytesMut::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut bad = 0;
    loop {
        let count = match input.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        stream.extend_from_slice(&chunk[..count]);
        loop {
            match decoder.decode(&mut stream) {
                Ok(Some(frame)) => {
                    let offset = decoder.offset() - frame.len() - LENGTH_PREFIX;
                    let line = match Message::decode(&frame[..]) {
                        Ok(message) => describe(&message, with_body, &mut bad),
                        Err(error) => {
                            bad += 1;
                            error.to_string()
                        }
                    };
                    writeln!(output, "{offset:>9} {line}")?;
                }
                Ok(None) => break,
                Err(error) => {
                    writeln!(output, "{:>9} {}", error.offset, error.fault)?;
                    return Ok(bad + 1);
                }
            }
        }
        if count == 0 {
            if let Err(error) = decoder.finish(&stream) {
                bad += 1;
                writeln!(output, "{:>9} the capture ends inside a frame: {}", error.offset, error.fault)?;
            }
            return Ok(bad);
        }
    }
}

/// One line. What came over the wire is escaped, so that it can neither forge another line nor
/// reach the terminal as a control sequence.
fn describe(message: &Message<&[u8]>, with_body: bool, bad: &mut usize) -> String {
    let mut line = match message.command() {
        CommandKind::Missing => "(no command)".to_owned(),
        CommandKind::Unknown => {
            format!("(unknown) {}", message.get(Field::Command).unwrap_or_default().escape_ascii())
        }
        known => known.token().to_owned(),
    };
    for member in message.members().filter(|member| member.field != Some(Field::Command)) {
        let value = match member.field {
            Some(Field::Password) => "<hidden>".into(),
            _ => member.value.escape_ascii().to_string(),
        };
        // Writing to a string cannot fail.
        let _ = write!(line, " {}={value}", member.key.escape_ascii());
    }
    if message.command() == CommandKind::Sow {
        let (mut count, mut fault) = (0, None);
        for record in message.records() {
            match record {
                Ok(record) => {
                    count += 1;
                    if with_body {
                        let key = record.sow_key().unwrap_or_default().escape_ascii();
                        let _ = write!(line, " [{key}] {}", record.data().escape_ascii());
                    }
                }
                Err(error) => fault = Some(error),
            }
        }
        let _ = write!(line, ", {count} record{}", if count == 1 { "" } else { "s" });
        if let Some(fault) = fault {
            *bad += 1;
            let _ = write!(line, ", then {fault}");
        }
    } else if !message.data().is_empty() {
        let _ = write!(line, ", {} bytes", message.data().len());
        if with_body {
            let _ = write!(line, " {}", message.data().escape_ascii());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[&str]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame.as_bytes()].concat())
            .collect()
    }

    fn lines(capture: &[u8], with_body: bool) -> (Vec<String>, usize) {
        let mut output = Vec::new();
        let bad = decode(capture, &mut output, with_body).unwrap();
        (String::from_utf8(output).unwrap().lines().map(str::to_owned).collect(), bad)
    }

    #[test]
    fn every_frame_is_a_line_and_no_password_shows() {
        let (lines, bad) = lines(
            &capture(&[
                r#"{"c":"logon","cid":"0","pw":"s3cret","zz":"?"}"#,
                r#"{"c":"sow","query_id":"1","bs":2}{"k":"1","l":2}{}{"k":"2","l":2}{}"#,
                "{\"c\":\"p\",\"t\":\"a\tb\"}0\u{1}",
                "{}",
            ]),
            false,
        );
        assert_eq!(bad, 0);
        assert_eq!(
            lines,
            [
                "        0 logon cid=0 pw=<hidden> zz=?",
                "       50 sow query_id=1 bs=2, 2 records",
                "      121 p t=a\\tb, 2 bytes",
                "      146 (no command)",
            ]
        );
    }

    #[test]
    fn bad_frames_are_told_and_the_next_ones_decoded() {
        let mut bytes = capture(&[r#"{"c":"p","t":}"#, r#"{"c":"sow"}{"k":"1"}{}"#, r#"{"c":"teleport"}x"#]);
        bytes.extend_from_slice(b"\0\0\0\x09{");
        let (lines, bad) = lines(&bytes, true);
        assert_eq!(bad, 3);
        assert_eq!(
            lines[0],
            "        0 malformed header at byte 13, field \"t\": expected a value after ':'"
        );
        assert!(lines[1].contains("0 records, then malformed sow batch"), "{lines:?}");
        assert_eq!(lines[2], "       44 (unknown) teleport, 1 bytes x");
        let end = "       65 the capture ends inside a frame: it announces 9 bytes, but only 1 follow";
        assert_eq!(lines[3], end);
    }

    #[test]
    fn nothing_on_the_wire_can_forge_a_line() {
        let frames = capture(&["{\"c\":\"x\ny\"}", "{\"c\":\"p\",\"k\nz\":\"\u{1b}[2J\"}"]);
        let (lines, bad) = lines(&frames, true);
        assert_eq!((lines.len(), bad), (2, 0));
        assert_eq!(lines[0], "        0 (unknown) x\\ny");
        assert_eq!(lines[1], "       15 p k\\nz=\\x1b[2J");
    }
}
