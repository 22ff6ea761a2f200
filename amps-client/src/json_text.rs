//! JSON as text: putting strings into it, and taking the strings of an object out of it.
//!
//! Owns escapes in both directions and the grammar of RFC 8259, as far as somebody needs it who looks for a few
//! fields at the top of a record and has to get past all others. It makes no tree.

use std::fmt::Write as _;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, cut, map, map_opt, opt, recognize, value, verify};
use nom::error::Error;
use nom::multi::{fold_many0, separated_list0};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// Values within values, so that no record exhausts the stack.
const DEEPEST: usize = 64;

/// Why a text is no JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no JSON object: it cannot be read from byte {offset} on")]
pub(crate) struct JsonFault {
    /// Where.
    pub(crate) offset: usize,
}

/// Appends a string with its quotes.
pub(crate) fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// The fields of an object whose values are strings, in their order. Others are read and left out.
pub(crate) fn string_fields(text: &str) -> Result<Vec<(String, String)>, JsonFault> {
    let fields = delimited(char('{'), fields, preceded(blanks, char('}')));
    let read: IResult<&str, Vec<Option<(String, String)>>> =
        all_consuming(delimited(blanks, fields, blanks)).parse(text);
    match read {
        Ok((_, fields)) => Ok(fields.into_iter().flatten().collect()),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => {
            Err(JsonFault { offset: text.len() - error.input.len() })
        }
        Err(nom::Err::Incomplete(_)) => Err(JsonFault { offset: text.len() }),
    }
}

fn fields(input: &str) -> IResult<&str, Vec<Option<(String, String)>>> {
    let text = map(string, Some);
    let other = value(None, |input| skipped(input, DEEPEST));
    let field = (name, preceded(blanks, cut(alt((text, other)))));
    let field = map(field, |(name, text)| text.map(|text| (name, text)));
    preceded(blanks, separated_list0(comma, field)).parse(input)
}

fn name(input: &str) -> IResult<&str, String> {
    terminated(string, (blanks, char(':'))).parse(input)
}

fn comma(input: &str) -> IResult<&str, ()> {
    value((), (blanks, char(','), blanks)).parse(input)
}

fn blanks(input: &str) -> IResult<&str, &str> {
    take_while(|symbol| matches!(symbol, ' ' | '\t' | '\n' | '\r')).parse(input)
}

/// Any value but a string at the top.
fn skipped(input: &str, deeper: usize) -> IResult<&str, ()> {
    let Some(deeper) = deeper.checked_sub(1) else {
        return Err(nom::Err::Failure(Error::new(input, nom::error::ErrorKind::TooLarge)));
    };
    let inner = |input| preceded(blanks, |input| skipped(input, deeper)).parse(input);
    let list = (char('['), blanks, separated_list0(comma, inner), blanks, char(']'));
    let object = (char('{'), blanks, separated_list0(comma, (name, inner)), blanks, char('}'));
    alt((
        value((), string),
        value((), number),
        value((), alt((tag("true"), tag("false"), tag("null")))),
        value((), list),
        value((), object),
    ))
    .parse(input)
}

fn number(input: &str) -> IResult<&str, &str> {
    let digits = |input| take_while1(|symbol: char| symbol.is_ascii_digit()).parse(input);
    let whole = verify(digits, |digits: &str| digits == "0" || !digits.starts_with('0'));
    let fraction = opt((char('.'), digits));
    let exponent = opt((one_of("eE"), opt(one_of("+-")), digits));
    recognize((opt(char('-')), whole, fraction, exponent)).parse(input)
}

fn string(input: &str) -> IResult<&str, String> {
    let plain = map(take_while1(|symbol| symbol >= ' ' && symbol != '"' && symbol != '\\'), Piece::Plain);
    let escaped = map(preceded(char('\\'), cut(escape)), Piece::Symbol);
    let text = fold_many0(alt((plain, escaped)), String::new, |mut text, piece| {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Symbol(symbol) => text.push(symbol),
        }
        text
    });
    delimited(char('"'), text, char('"')).parse(input)
}

enum Piece<'a> {
    Plain(&'a str),
    Symbol(char),
}

/// What follows a backslash. Half of a pair of surrogates stands for no character, and becomes U+FFFD.
fn escape(input: &str) -> IResult<&str, char> {
    let short = map_opt(one_of("\"\\/bfnrt"), |kind| {
        Some(match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            itself => itself,
        })
    });
    let low = verify(preceded(tag("\\u"), hex4), |low| (0xdc00..0xe000).contains(low));
    let high = verify(hex4, |high| (0xd800..0xdc00).contains(high));
    let pair = map((high, low), |(high, low)| 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
    let code = map(preceded(char('u'), alt((pair, hex4))), |code| {
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    });
    alt((short, code)).parse(input)
}

fn hex4(input: &str) -> IResult<&str, u32> {
    let digits = take_while_m_n(4, 4, |symbol: char| symbol.is_ascii_hexdigit());
    map_opt(digits, |digits| u32::from_str_radix(digits, 16).ok()).parse(input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn strings_are_found_among_values_of_all_kinds() {
        let text =
            r#" { "a" : "x" , "n":-1.5e+3,"t":[true,null,[],{}, "no"],"o":{"b":"inner","c":[0]},"b":"y" } "#;
        assert_eq!(string_fields(text).unwrap(), pairs(&[("a", "x"), ("b", "y")]));
        assert_eq!(string_fields("{}").unwrap(), []);
        assert_eq!(string_fields("{ }").unwrap(), []);
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        let text = r#"{"a":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00\ud83dx\ude00"}"#;
        let plain = "\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{1f600}\u{fffd}x\u{fffd}";
        assert_eq!(string_fields(text).unwrap(), pairs(&[("a", plain)]));
    }

    #[test]
    fn what_is_no_object_is_refused_where_it_goes_wrong() {
        for (text, offset) in [
            ("", 0),
            ("[]", 0),
            (r#""a""#, 0),
            (r#"{"a":"x""#, 8),
            (r#"{"a":x}"#, 5),
            (r#"{"a":"x"}}"#, 9),
            (r#"{"a":"\x"}"#, 7),
            (r#"{"a":01}"#, 5),
        ] {
            assert_eq!(string_fields(text).map_err(|fault| fault.offset), Err(offset), "{text}");
        }
        for text in ["{\"a\":\"\n\"}", r#"{"a" "x"}"#, r#"{a:"x"}"#, r#"{"a":"x",}"#, r#"{"a":tru}"#] {
            assert!(string_fields(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_record_is_too_deep_for_the_stack() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(string_fields(&nested(60)).is_ok());
        assert!(string_fields(&nested(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_and_others_read_it_too(fields in prop::collection::vec((any::<String>(), any::<String>()), 0..5)) {
            let mut text = "{".to_owned();
            for (name, content) in &fields {
                if text.len() > 1 {
                    text.push(',');
                }
                put_string(&mut text, name);
                text.push(':');
                put_string(&mut text, content);
            }
            text.push('}');
            prop_assert_eq!(string_fields(&text).unwrap(), fields.clone());
            let other: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            for (name, content) in other {
                let last = fields.iter().rfind(|field| field.0 == name).unwrap();
                prop_assert_eq!(content.as_str().unwrap(), &last.1);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[{}\[\]",:\\u0-9a-f\s-]{0,40}"#) {
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            let ours = string_fields(&text);
            // A lone surrogate is refused there, and replaced here.
            prop_assert!(ours.is_ok() == theirs.is_ok() || text.contains("\\u"), "{ours:?} {theirs:?}");
        }
    }
}
