//! JSON payloads as documents.
//!
//! The reader is its own, and small, because an expression sees what a general JSON
//! library hides: the first of two equal keys, the spelling of a number, and strings
//! that are not UTF-8. It also tells where in the payload a value is, so that what edits
//! a payload can leave the rest as it was.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::Document;
use super::path::{Path, Step};
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

    /// The parsed payload, if it is exactly one JSON value.
    pub(crate) fn root(&self) -> Option<&Node<'p>> {
        self.root.get_or_init(|| Reader::read(self.payload)).as_ref()
    }

    /// As [`Document::look_up`], by the steps of a path or the last of them.
    pub(crate) fn look_up_steps<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        let Some(root) = self.root() else { return };
        if let Some(node) = self.descend(root, steps) {
            return found.extend(node.and_then(Node::field));
        }
        let mut nodes = Vec::new();
        flatten(root, &mut nodes);
        for step in steps {
            nodes = self.step(nodes, step);
        }
        found.extend(nodes.into_iter().filter_map(Node::field));
    }

    /// The one node at a path, or that there is none; `None` if arrays are on the way, so that
    /// there may be many.
    fn descend<'n>(&self, root: &'n Node<'p>, steps: &[Step]) -> Option<Option<&'n Node<'p>>> {
        let mut node = root;
        for step in steps {
            let entries = match &node.kind {
                Kind::Object(entries) if step.index.is_none() => entries,
                Kind::Object(_) | Kind::Array(_) => return None,
                _ => return Some(None),
            };
            match self.entry(entries, step) {
                Some(entry) => node = &entry.value,
                None => return Some(None),
            }
        }
        (!matches!(node.kind, Kind::Array(_))).then_some(Some(node))
    }

    fn entry<'n>(&self, entries: &'n [Entry<'p>], step: &Step) -> Option<&'n Entry<'p>> {
        let mut fitting = entries.iter().filter(|entry| entry.key.as_ref() == step.name.as_bytes());
        match self.duplicates {
            DuplicateKeys::First => fitting.next(),
            DuplicateKeys::Last => fitting.next_back(),
        }
    }

    fn step<'n>(&self, nodes: Vec<&'n Node<'p>>, step: &Step) -> Vec<&'n Node<'p>> {
        let mut found = Vec::new();
        for node in nodes {
            if let Kind::Object(entries) = &node.kind {
                if let Some(entry) = self.entry(entries, step) {
                    flatten(&entry.value, &mut found);
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
        self.look_up_steps(path.steps(), found);
    }
}

/// The elements of an array, of arrays in it too; anything else is its only element.
fn flatten<'n, 'p>(node: &'n Node<'p>, found: &mut Vec<&'n Node<'p>>) {
    match &node.kind {
        Kind::Array(elements) => elements.iter().for_each(|element| flatten(element, found)),
        _ => found.push(node),
    }
}

/// A JSON value, and where it is written.
#[derive(Debug)]
pub(crate) struct Node<'p> {
    /// Its bytes in the payload, without blanks around it.
    pub(crate) span: Range<usize>,
    pub(crate) kind: Kind<'p>,
}

#[derive(Debug)]
pub(crate) enum Kind<'p> {
    Null,
    Bool(bool),
    Number(&'p [u8]),
    String(Cow<'p, [u8]>),
    Array(Vec<Node<'p>>),
    Object(Vec<Entry<'p>>),
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Entry<'p> {
    /// Its bytes in the payload, from the key to the value.
    pub(crate) span: Range<usize>,
    pub(crate) key: Cow<'p, [u8]>,
    pub(crate) value: Node<'p>,
}

impl<'p> Node<'p> {
    /// Parses a payload that is exactly one JSON value.
    pub(crate) fn parse(payload: &'p [u8]) -> Option<Self> {
        Reader::read(payload)
    }

    /// The value of a node; an object has none.
    fn field(&self) -> Option<Field<'_>> {
        match &self.kind {
            Kind::Null => Some(Field::NULL),
            Kind::Bool(value) => Some(Field::new(Value::Bool(*value))),
            Kind::Number(text) => Some(Field::number(text)),
            Kind::String(text) => Some(Field::string(text.as_ref())),
            Kind::Array(_) | Kind::Object(_) => None,
        }
    }
}

/// Whether a text is a number as JSON writes numbers: `1.5`, not `007` or `.5`.
pub(crate) fn is_number(text: &[u8]) -> bool {
    let mut reader = Reader { rest: text, length: text.len(), depth: 0 };
    reader.number().is_some() && reader.rest.is_empty()
}

/// Reads one JSON value; `None` anywhere means that the payload is not JSON.
struct Reader<'p> {
    rest: &'p [u8],
    /// Of the whole payload.
    length: usize,
    depth: usize,
}

impl<'p> Reader<'p> {
    fn read(payload: &'p [u8]) -> Option<Node<'p>> {
        let mut reader = Reader { rest: payload, length: payload.len(), depth: 0 };
        let node = reader.value()?;
        reader.blanks();
        reader.rest.is_empty().then_some(node)
    }

    /// How much was read.
    fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    fn value(&mut self) -> Option<Node<'p>> {
        self.blanks();
        let start = self.offset();
        let kind = match self.rest.first()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => self.string().map(Kind::String),
            b't' => self.word(b"true", Kind::Bool(true)),
            b'f' => self.word(b"false", Kind::Bool(false)),
            b'n' => self.word(b"null", Kind::Null),
            _ => self.number(),
        }?;
        Some(Node { span: start..self.offset(), kind })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Kind<'p>>) -> Option<Kind<'p>> {
        self.depth += 1;
        let node = if self.depth > DEEPEST { None } else { read(self) };
        self.depth -= 1;
        node
    }

    fn object(&mut self) -> Option<Kind<'p>> {
        self.token(b'{')?;
        let mut entries = Vec::new();
        if self.token(b'}').is_some() {
            return Some(Kind::Object(entries));
        }
        loop {
            self.blanks();
            let start = self.offset();
            let key = self.string()?;
            self.token(b':')?;
            let value = self.value()?;
            entries.push(Entry { span: start..value.span.end, key, value });
            if self.token(b',').is_none() {
                self.token(b'}')?;
                return Some(Kind::Object(entries));
            }
        }
    }

    fn array(&mut self) -> Option<Kind<'p>> {
        self.token(b'[')?;
        let mut elements = Vec::new();
        if self.token(b']').is_some() {
            return Some(Kind::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.token(b',').is_none() {
                self.token(b']')?;
                return Some(Kind::Array(elements));
            }
        }
    }

    fn number(&mut self) -> Option<Kind<'p>> {
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
        Some(Kind::Number(&start[..start.len() - self.rest.len()]))
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

    fn word(&mut self, word: &[u8], node: Kind<'p>) -> Option<Kind<'p>> {
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
