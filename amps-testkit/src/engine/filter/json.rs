//! JSON payloads as documents.
//!
//! The reader is its own, and small, because an expression sees what a general JSON
//! library hides: the first of two equal keys, the spelling of a number, and strings
//! that are not UTF-8.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::cell::OnceCell;

use super::Document;
use super::ast::{Path, Step};
use super::value::{Field, Value};

/// How deep objects and arrays may be nested; a deeper payload counts as unparsable.
const DEEPEST: usize = 128;

/// Which of two equal keys of an object counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// The first, as AMPS does by default (early termination).
    #[default]
    First,
    /// The last, as AMPS does when early termination is off.
    Last,
}

/// A JSON payload, parsed when the first path is looked up and then kept.
///
/// A payload that is not exactly one JSON value has no fields: every path is NULL.
#[derive(Debug)]
pub struct JsonDocument<'p> {
    payload: &'p [u8],
    duplicates: DuplicateKeys,
    root: OnceCell<Option<Node<'p>>>,
}

impl<'p> JsonDocument<'p> {
    /// Wraps a payload; nothing is parsed yet.
    pub fn new(payload: &'p [u8]) -> Self {
        Self::with_duplicates(payload, DuplicateKeys::First)
    }

    /// Wraps a payload, with a choice which of two equal keys counts.
    pub fn with_duplicates(payload: &'p [u8], duplicates: DuplicateKeys) -> Self {
        JsonDocument { payload, duplicates, root: OnceCell::new() }
    }

    fn step<'n>(&self, nodes: Vec<&'n Node<'p>>, step: &Step) -> Vec<&'n Node<'p>> {
        let mut found = Vec::new();
        for node in nodes {
            if let Node::Object(entries) = node {
                let mut fitting = entries.iter().filter(|(key, _)| key.as_ref() == step.name.as_bytes());
                let entry = match self.duplicates {
                    DuplicateKeys::First => fitting.next(),
                    DuplicateKeys::Last => fitting.next_back(),
                };
                if let Some((_, node)) = entry {
                    flatten(node, &mut found);
                }
            }
        }
        match step.index {
            None => found,
            Some(index) => found.get(index).copied().into_iter().collect(),
        }
    }
}

impl Document for JsonDocument<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        let Some(root) = self.root.get_or_init(|| Reader::read(self.payload)) else { return };
        let mut nodes = Vec::new();
        flatten(root, &mut nodes);
        for step in path.steps() {
            nodes = self.step(nodes, step);
        }
        found.extend(nodes.into_iter().filter_map(Node::field));
    }
}

/// The elements of an array, of arrays in it too; anything else is its only element.
fn flatten<'n, 'p>(node: &'n Node<'p>, found: &mut Vec<&'n Node<'p>>) {
    match node {
        Node::Array(elements) => elements.iter().for_each(|element| flatten(element, found)),
        other => found.push(other),
    }
}

#[derive(Debug)]
enum Node<'p> {
    Null,
    Bool(bool),
    Number(&'p [u8]),
    String(Cow<'p, [u8]>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'p, [u8]>, Self)>),
}

impl Node<'_> {
    /// The value of a node; an object has none.
    fn field(&self) -> Option<Field<'_>> {
        match self {
            Node::Null => Some(Field::NULL),
            Node::Bool(value) => Some(Field::new(Value::Bool(*value))),
            Node::Number(text) => Some(Field::number(text)),
            Node::String(text) => Some(Field::string(text.as_ref())),
            Node::Array(_) | Node::Object(_) => None,
        }
    }
}

/// Reads one JSON value; `None` anywhere means that the payload is not JSON.
struct Reader<'p> {
    rest: &'p [u8],
    depth: usize,
}

impl<'p> Reader<'p> {
    fn read(payload: &'p [u8]) -> Option<Node<'p>> {
        let mut reader = Reader { rest: payload, depth: 0 };
        let node = reader.value()?;
        reader.blanks();
        reader.rest.is_empty().then_some(node)
    }

    fn value(&mut self) -> Option<Node<'p>> {
        self.blanks();
        match self.rest.first()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Node::String),
            b't' => self.word(b"true", Node::Bool(true)),
            b'f' => self.word(b"false", Node::Bool(false)),
            b'n' => self.word(b"null", Node::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Node<'p>>) -> Option<Node<'p>> {
        self.depth += 1;
        let node = if self.depth > DEEPEST { None } else { read(self) };
        self.depth -= 1;
        node
    }

    fn object(&mut self) -> Option<Node<'p>> {
        self.token(b'{')?;
        let mut entries = Vec::new();
        if self.token(b'}').is_some() {
            return Some(Node::Object(entries));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.token(b':')?;
            entries.push((key, self.value()?));
            if self.token(b',').is_none() {
                self.token(b'}')?;
                return Some(Node::Object(entries));
            }
        }
    }

    fn array(&mut self) -> Option<Node<'p>> {
        self.token(b'[')?;
        let mut elements = Vec::new();
        if self.token(b']').is_some() {
            return Some(Node::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.token(b',').is_none() {
                self.token(b']')?;
                return Some(Node::Array(elements));
            }
        }
    }

    fn number(&mut self) -> Option<Node<'p>> {
        let start = self.rest;
        self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
        }
        Some(Node::Number(&start[..start.len() - self.rest.len()]))
    }

    fn digits(&mut self) -> Option<()> {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = &self.rest[length..];
        (length > 0).then_some(())
    }

    fn string(&mut self) -> Option<Cow<'p, [u8]>> {
        self.take(b'"')?;
        let start = self.rest;
        let plain = start.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        self.rest = &start[plain..];
        if self.take(b'"').is_some() {
            return Some(Cow::Borrowed(&start[..plain]));
        }
        let mut text = start[..plain].to_vec();
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return None,
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        text.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        });
        Some(())
    }

    /// The character of one `\u` escape, or of two that are a surrogate pair; half a
    /// pair is the replacement character.
    fn unicode(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if let (0xd800..=0xdbff, Some(rest)) = (first, self.rest.strip_prefix(b"\\u")) {
            let before = self.rest;
            self.rest = rest;
            let second = self.code_unit()?;
            if (0xdc00..=0xdfff).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.rest = before;
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn word(&mut self, word: &[u8], node: Node<'p>) -> Option<Node<'p>> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(node)
    }

    /// Skips blanks and then this byte, if it is there.
    fn token(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        self.take(byte)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn blanks(&mut self) {
        let length = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.rest = &self.rest[length..];
    }
}
