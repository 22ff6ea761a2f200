//! Bytes as people write them: `\n`, `\t`, `\x01`.
//!
//! Owns the escapes of `--format` and `--delimiter`, and what separates one message from the next.

use nom::branch::alt;
use nom::bytes::complete::{tag, take};
use nom::combinator::{map, map_opt, value};
use nom::multi::fold_many0;
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// One escape, its backslash included.
pub(crate) fn escape(input: &str) -> IResult<&str, u8, ()> {
    preceded(
        tag("\\"),
        alt((
            value(b'\n', tag("n")),
            value(b'\t', tag("t")),
            value(b'\r', tag("r")),
            value(0, tag("0")),
            value(b'\\', tag("\\")),
            value(b'{', tag("{")),
            map_opt(preceded(tag("x"), take(2_usize)), |digits| u8::from_str_radix(digits, 16).ok()),
        )),
    )
    .parse(input)
}

/// What separates messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delimiter {
    bytes: Vec<u8>,
    /// A carriage return before it belongs to it.
    lines: bool,
}

impl Delimiter {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether lines may end as they do on Windows.
    pub(crate) const fn is_lines(&self) -> bool {
        self.lines
    }

    /// A decimal number is a byte, as `spark` has it; anything else is text with escapes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits {
            let byte = text.parse::<u8>().map_err(|_| "a number must be a byte, 0 to 255".to_owned())?;
            return Ok(Self { bytes: vec![byte], lines: false });
        }
        let one = alt((map(escape, |byte| vec![byte]), plain));
        let mut all = fold_many0(one, Vec::new, |mut all: Vec<u8>, some| {
            all.extend(some);
            all
        });
        match all.parse(text) {
            Ok(("", bytes)) if !bytes.is_empty() => Ok(Self { bytes, lines: false }),
            Ok(("", _)) => Err("it is empty".to_owned()),
            Ok((rest, _)) => Err(format!("\"{rest}\" is no escape; write \\n, \\t, \\r, \\0, \\\\ or \\x1f")),
            Err(_) => Err("it cannot be read".to_owned()),
        }
    }
}

impl Default for Delimiter {
    fn default() -> Self {
        Self { bytes: vec![b'\n'], lines: true }
    }
}

/// One character that is no escape.
fn plain(input: &str) -> IResult<&str, Vec<u8>, ()> {
    map(nom::character::complete::none_of("\\"), |c| c.to_string().into_bytes()).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        Delimiter::parse(text).unwrap().bytes
    }

    #[test]
    fn a_delimiter_is_a_byte_or_text_with_escapes() {
        assert_eq!(bytes("10"), b"\n");
        assert_eq!(bytes("0"), [0]);
        assert_eq!(bytes("\\n"), b"\n");
        assert_eq!(bytes("\\x01\\t|"), b"\x01\t|");
        assert_eq!(bytes("--é"), "--é".as_bytes());
    }

    #[test]
    fn what_is_no_delimiter_is_told() {
        for wrong in ["", "256", "\\q", "a\\", "\\x1", "\\xzz"] {
            assert!(Delimiter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
