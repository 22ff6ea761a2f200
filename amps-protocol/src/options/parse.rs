//! The grammar of an option list (protocol.md 6.1), and what can be wrong with one.

use core::fmt;

use nom::bytes::complete::{take_till, take_while, take_while1};
use nom::character::complete::{char, space0};
use nom::combinator::{opt, recognize};
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

/// An option list that breaks the grammar.
///
/// ```
/// use amps_protocol::{Options, OptionsFault};
///
/// let error = Options::try_parse("top_n=5,select=[/a,/b").unwrap_err();
/// assert_eq!((error.offset, error.fault), (15, OptionsFault::UnterminatedList));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid options at byte {offset}: {fault}")]
pub struct OptionsError {
    /// Where in the text, counted from 0.
    pub offset: usize,
    /// What is wrong there.
    pub fault: OptionsFault,
}

/// What is wrong with an option list.
///
/// ```
/// use amps_protocol::{Options, OptionsFault};
/// assert_eq!(Options::try_parse("a=1,?").unwrap_err().fault, OptionsFault::ExpectedName);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsFault {
    /// The list is not UTF-8.
    NotUtf8,
    /// Something other than the name of an option.
    ExpectedName,
    /// A name that neither `=` nor `,` follows.
    ExpectedSeparator,
    /// A `[` that is never closed (O-8).
    UnterminatedList,
    /// A list in brackets that something other than `,` follows.
    ExpectedComma,
    /// A comma in a value, which ends the option there.
    BareComma,
}

impl fmt::Display for OptionsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "the bytes are not UTF-8",
            Self::ExpectedName => {
                "expected the name of an option, which is made of lower-case letters, digits and '_'"
            }
            Self::ExpectedSeparator => "expected '=' or ',' after the name of an option",
            Self::UnterminatedList => "the list that begins here is never closed by ']'",
            Self::ExpectedComma => "expected ',' after the list in brackets",
            Self::BareComma => {
                "a comma outside brackets ends the option; write the value as a list in brackets"
            }
        })
    }
}

/// One option: its name and value, and what follows it. `None` stands for an empty option.
type Parsed<'a> = (&'a str, Option<(&'a str, Option<&'a str>)>);

/// Reads the next option up to, and without, the comma behind it. The error holds the rest
/// of the input where the fault lies.
pub(super) fn option(input: &str) -> Result<Parsed<'_>, (&str, OptionsFault)> {
    let (at_name, _) = blanks(input);
    if at_name.is_empty() || at_name.starts_with(',') {
        return Ok((at_name, None));
    }
    let (after_name, name) = name(at_name).map_err(|_| (at_name, OptionsFault::ExpectedName))?;
    let (at_value, equals) = opt(equals).parse(after_name).unwrap_or((after_name, None));
    if equals.is_none() {
        let (end, _) = blanks(after_name);
        return match end.is_empty() || end.starts_with(',') {
            true => Ok((end, Some((name, None)))),
            false => Err((end, OptionsFault::ExpectedSeparator)),
        };
    }
    if !at_value.starts_with('[') {
        let (end, value) = plain(at_value).unwrap_or(("", at_value));
        return Ok((end, Some((name, Some(value.trim_end_matches(BLANKS))))));
    }
    let (after_list, value) = list(at_value).map_err(|_| (at_value, OptionsFault::UnterminatedList))?;
    let (end, _) = blanks(after_list);
    match end.is_empty() || end.starts_with(',') {
        true => Ok((end, Some((name, Some(value))))),
        false => Err((end, OptionsFault::ExpectedComma)),
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

fn blanks(input: &str) -> (&str, &str) {
    space0::<_, ()>(input).unwrap_or((input, ""))
}

fn name(input: &str) -> IResult<&str, &str, ()> {
    let first = take_while1(|c: char| c.is_ascii_lowercase());
    let more = take_while(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    recognize(pair(first, more)).parse(input)
}

fn equals(input: &str) -> IResult<&str, char, ()> {
    delimited(space0, char('='), space0).parse(input)
}

fn plain(input: &str) -> IResult<&str, &str, ()> {
    take_till(|c| c == ',').parse(input)
}

/// `[...]` with balanced brackets; quotes inside hide brackets (O-2).
pub(super) fn list(input: &str) -> IResult<&str, &str, ()> {
    let (_, _) = char('[').parse(input)?;
    let mut nesting = Nesting::default();
    let closing = input.char_indices().find(|(_, c)| {
        nesting.step(*c);
        nesting.brackets == 0
    });
    let (end, _) = closing.ok_or(nom::Err::Error(()))?;
    Ok(input.split_at(end + 1)).map(|(list, rest)| (rest, list))
}

/// How deep a place lies inside brackets and quotes.
#[derive(Clone, Copy, Default)]
pub(super) struct Nesting {
    pub(super) brackets: usize,
    pub(super) parentheses: usize,
    quote: Option<char>,
    /// Something was closed that was never opened.
    pub(super) broken: bool,
}

impl Nesting {
    /// The state inside the brackets of a list.
    pub(super) fn within_list() -> Self {
        Self { brackets: 1, ..Self::default() }
    }

    /// Goes over one character. Quotes count inside brackets only (O-2).
    pub(super) fn step(&mut self, c: char) {
        match (self.quote, c) {
            (Some(open), _) if c == open => self.quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if self.brackets > 0 => self.quote = Some(c),
            (None, '[') => self.brackets += 1,
            (None, ']') => Self::close(&mut self.brackets, &mut self.broken),
            (None, '(') => self.parentheses += 1,
            (None, ')') => Self::close(&mut self.parentheses, &mut self.broken),
            _ => {}
        }
    }

    fn close(depth: &mut usize, broken: &mut bool) {
        *broken |= *depth == 0;
        *depth = depth.saturating_sub(1);
    }

    /// Whether a comma here separates items of the list. Parentheses protect the arguments
    /// of a function as brackets do; the documents do not say so (inferred).
    pub(super) fn between_items(&self) -> bool {
        self.quote.is_none() && self.brackets == 1 && self.parentheses == 0 && !self.broken
    }
}

/// Reads the next option as [`option`] does, but takes whatever it gets: up to the next
/// comma outside brackets, with a name of any bytes.
pub(super) fn tolerant_option(input: &str) -> Parsed<'_> {
    let mut nesting = Nesting::default();
    let comma = input.char_indices().find(|(_, c)| {
        nesting.step(*c);
        *c == ',' && nesting.brackets == 0 && nesting.quote.is_none()
    });
    let (part, end) = input.split_at(comma.map_or(input.len(), |(at, _)| at));
    let name = take_till::<_, _, ()>(|c| c == '=');
    let value = opt(preceded(char('='), nom::combinator::rest));
    let (_, (name, value)) = pair(name, value).parse(part).unwrap_or(("", (part, None)));
    (end, Some((name.trim_matches(BLANKS), value.map(|value| value.trim_matches(BLANKS)))))
}
