//! Splits the text of an expression into tokens.
//!
//! The only place that knows that a `/` directly before a name starts a path (EXP-01).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::error::FilterError;
use super::path::{Path, Qualifier, Step};
use super::value::{Value, parse_number};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    End,
    Number(Value<'static>),
    /// The text between the quotes, escapes untouched; `verbatim` after an `r`.
    Text {
        text: &'t str,
        verbatim: bool,
    },
    /// A keyword, or the name of a function.
    Name(&'t str),
    Path(Path),
    Symbol(&'static str),
    /// Something the language does not have.
    Stray(&'t str),
}

const SYMBOLS: [&str; 16] =
    ["==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "+", "-", "*", "/", "%"];
/// Operators of other languages, read whole so that an error can name them.
const STRAYS: [&str; 4] = ["&&", "||", "=~", "!~"];

/// The longest path: no readable message is nested more deeply.
const MOST_STEPS: usize = 128;
const TOO_MANY_STEPS: &str = "at most 128 steps";

#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self::starting_at(text, 0)
    }

    /// A lexer that skips what is before this offset.
    pub(super) fn starting_at(text: &'t str, offset: usize) -> Self {
        Lexer { text, offset }
    }

    /// The next token, with the offsets where it starts and ends.
    pub(super) fn next(&mut self) -> Result<(Token<'t>, usize, usize), FilterError> {
        let blanks = self.rest().len() - self.rest().trim_ascii_start().len();
        self.offset += blanks;
        let start = self.offset;
        let token = self.token()?;
        Ok((token, start, self.offset))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.offset + ahead).copied().unwrap_or(0)
    }

    /// Takes `length` bytes; always at a character boundary.
    fn take(&mut self, length: usize) -> &'t str {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.offset += taken.len();
        taken
    }

    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'t str {
        let length = self.rest().bytes().take_while(|byte| fits(*byte)).count();
        self.take(length)
    }

    fn token(&mut self) -> Result<Token<'t>, FilterError> {
        let (first, second) = (self.byte(0), self.byte(1));
        if self.rest().is_empty() {
            return Ok(Token::End);
        }
        match first {
            b'\'' | b'"' => self.quoted(false),
            b'r' | b'R' if matches!(second, b'\'' | b'"') => {
                self.take(1);
                self.quoted(true)
            }
            b'0'..=b'9' => self.number(),
            b'.' if second.is_ascii_digit() => self.number(),
            b'/' if starts_step(second) => self.path(None),
            b'[' if self.at_qualifier() => self.qualified_path(),
            b'[' if second == b'/' => self.bracketed_path(None),
            b'[' => {
                let length = self.rest().find(']').map_or(1, |end| end + 1);
                Ok(Token::Stray(self.take(length)))
            }
            letter if letter.is_ascii_alphabetic() || letter == b'_' => {
                Ok(Token::Name(self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_')))
            }
            _ => Ok(self.symbol()),
        }
    }

    fn symbol(&mut self) -> Token<'t> {
        let rest = self.rest();
        let fits = |symbol: &&&str| rest.starts_with(**symbol);
        if let Some(stray) = STRAYS.iter().find(fits) {
            return Token::Stray(self.take(stray.len()));
        }
        if let Some(symbol) = SYMBOLS.iter().find(fits) {
            self.take(symbol.len());
            return Token::Symbol(symbol);
        }
        let length = rest.chars().next().map_or(0, char::len_utf8);
        Token::Stray(self.take(length))
    }

    fn quoted(&mut self, verbatim: bool) -> Result<Token<'t>, FilterError> {
        let start = self.offset;
        let quote = self.byte(0);
        let body = &self.text.as_bytes()[start + 1..];
        let mut length = 0;
        loop {
            match body.get(length) {
                None => return Err(FilterError::UnterminatedString { offset: start }),
                Some(byte) if *byte == quote => break,
                Some(b'\\') if !verbatim => length += 2,
                Some(_) => length += 1,
            }
        }
        let text = self.text.get(start + 1..start + 1 + length).unwrap_or_default();
        self.offset = start + length + 2;
        Ok(Token::Text { text, verbatim })
    }

    fn number(&mut self) -> Result<Token<'t>, FilterError> {
        let start = self.offset;
        let digit = |byte: u8| byte.is_ascii_digit();
        self.take_while(digit);
        if self.byte(0) == b'.' {
            self.take(1);
            self.take_while(digit);
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if self.byte(1 + sign).is_ascii_digit() {
                self.take(1 + sign);
                self.take_while(digit);
            }
        }
        let tail = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let text = &self.text[start..self.offset];
        match parse_number(text.as_bytes()) {
            Some(number) if tail.is_empty() => Ok(Token::Number(number.into())),
            _ => Err(FilterError::BadNumber { offset: start, text: text.to_owned() }),
        }
    }

    /// Whether this is `[text].`, where only a topic or a message type can be.
    fn at_qualifier(&self) -> bool {
        let rest = self.rest();
        rest.find(']')
            .is_some_and(|end| end > 1 && rest.get(end + 1..).is_some_and(|rest| rest.starts_with('.')))
    }

    fn qualified_path(&mut self) -> Result<Token<'t>, FilterError> {
        let mut texts = Vec::new();
        while self.byte(0) == b'[' && self.at_qualifier() && texts.len() < 2 {
            let length = self.rest().find(']').unwrap_or(0);
            let text = self.take(length + 2);
            texts.push(text.get(1..length).unwrap_or_default());
        }
        let topic = texts.pop().unwrap_or_default().into();
        let qualifier = Box::new(Qualifier { message_type: texts.pop().map(Into::into), topic });
        match (self.byte(0), self.byte(1)) {
            (b'/', second) if starts_step(second) => self.path(Some(qualifier)),
            (b'[', b'/') => self.bracketed_path(Some(qualifier)),
            _ => Err(FilterError::BadPath { offset: self.offset, expected: "a field after '].'" }),
        }
    }

    fn path(&mut self, qualifier: Option<Box<Qualifier>>) -> Result<Token<'t>, FilterError> {
        let mut steps = Vec::new();
        while self.byte(0) == b'/' && starts_step(self.byte(1)) {
            self.take(1);
            let start = self.offset;
            if self.byte(0) == b'@' {
                self.take(1);
            }
            if self.take_while(is_name).is_empty() {
                return Err(FilterError::BadPath { offset: start, expected: "a name after '@'" });
            }
            let name = self.text[start..self.offset].into();
            if steps.len() == MOST_STEPS {
                return Err(FilterError::BadPath { offset: start, expected: TOO_MANY_STEPS });
            }
            steps.push(Step { name, index: self.index()? });
        }
        Ok(Token::Path(Path::new(qualifier, steps)))
    }

    /// `[/any text]`; a `/` in it separates steps as elsewhere.
    fn bracketed_path(&mut self, qualifier: Option<Box<Qualifier>>) -> Result<Token<'t>, FilterError> {
        let start = self.offset;
        let Some(length) = self.rest().find(']') else {
            return Err(FilterError::BadPath { offset: start, expected: "a closing ']'" });
        };
        let text = self.take(length + 1);
        let names = &text[2..length];
        let mut steps: Vec<Step> =
            names.split('/').map(|name| Step { name: name.into(), index: None }).collect();
        if steps.iter().any(|step| step.name.is_empty()) {
            return Err(FilterError::BadPath { offset: start, expected: "a field name after each '/'" });
        }
        if steps.len() > MOST_STEPS {
            return Err(FilterError::BadPath { offset: start, expected: TOO_MANY_STEPS });
        }
        let index = self.index()?;
        if let Some(last) = steps.last_mut() {
            last.index = index;
        }
        Ok(Token::Path(Path::new(qualifier, steps)))
    }

    /// `[digits]` directly after a step, if there is any.
    fn index(&mut self) -> Result<Option<usize>, FilterError> {
        if self.byte(0) != b'[' {
            return Ok(None);
        }
        let start = self.offset;
        self.take(1);
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() || self.byte(0) != b']' {
            return Err(FilterError::BadPath { offset: start, expected: "a subscript like '[0]'" });
        }
        self.take(1);
        // A subscript too large for the type is out of range of every array as well.
        Ok(Some(digits.parse().unwrap_or(usize::MAX)))
    }
}

/// Whether a name can be written without brackets around the path.
pub(super) fn is_step_name(name: &str) -> bool {
    let name = name.strip_prefix('@').unwrap_or(name);
    !name.is_empty() && name.bytes().all(is_name)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':') || byte >= 0x80
}

fn starts_step(byte: u8) -> bool {
    is_name(byte) || byte == b'@'
}

/// The bytes of a string literal, its escapes resolved (TYP-03).
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'\\', [b'x' | b'X', digits @ ..]) if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
                rest = numeric_escape(digits, 16, 2, &mut out);
            }
            (b'\\', [b'0'..=b'7', ..]) => rest = numeric_escape(tail, 8, 3, &mut out),
            (b'\\', [escaped, after @ ..]) => {
                rest = after;
                out.push(match escaped {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'f' => 12,
                    b'r' => b'\r',
                    other => *other,
                });
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Up to `longest` digits of this radix as one byte; an octal escape above 255 wraps.
fn numeric_escape<'t>(text: &'t [u8], radix: u32, longest: usize, out: &mut Vec<u8>) -> &'t [u8] {
    let digits = text.iter().take(longest).map_while(|byte| char::from(*byte).to_digit(radix));
    let (mut value, mut length) = (0_u32, 0);
    for digit in digits {
        value = value * radix + digit;
        length += 1;
    }
    out.push(u8::try_from(value & 0xff).unwrap_or(0));
    &text[length..]
}
