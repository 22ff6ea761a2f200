//! The elements of a text, and where they are written.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::Event;
use quick_xml::events::attributes::Attributes;

use super::super::super::filter::{Field, Step};

/// How deep elements may be nested (server.md 3.7); a deeper body counts as unparsable.
const DEEPEST: usize = 64;
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A body, parsed when the first path is looked up.
#[derive(Debug)]
pub(in super::super) struct XmlDocument<'b> {
    body: &'b [u8],
    root: OnceCell<Option<Element<'b>>>,
}

impl<'b> XmlDocument<'b> {
    pub(in super::super) fn new(body: &'b [u8]) -> Self {
        Self { body, root: OnceCell::new() }
    }

    pub(in super::super) fn root(&self) -> Option<&Element<'b>> {
        self.root.get_or_init(|| Element::parse(self.body)).as_ref()
    }

    pub(in super::super) fn look_up_steps<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        let (Some(root), Some((first, rest))) = (self.root(), steps.split_first()) else { return };
        if root.name != first.name.as_bytes() || first.index.is_some_and(|index| index > 0) {
            return;
        }
        let mut elements = vec![root];
        for (position, step) in rest.iter().enumerate() {
            if let Some(name) = step.name.strip_prefix('@') {
                // An attribute has nothing below it.
                if position + 1 == rest.len() {
                    let attributes = elements.iter().flat_map(|element| &element.attributes);
                    let named = attributes.filter(|attribute| attribute.name == name.as_bytes());
                    let values = named.map(|attribute| Field::untyped(attribute.value.as_bytes()));
                    found.extend(pick(values, step.index));
                }
                return;
            }
            let children = elements.iter().flat_map(|element| &element.children);
            elements = pick(children.filter(|child| child.name == step.name.as_bytes()), step.index);
        }
        found.extend(elements.into_iter().map(|element| Field::untyped(element.value())));
    }
}

fn pick<T>(mut found: impl Iterator<Item = T>, index: Option<usize>) -> Vec<T> {
    match index {
        None => found.collect(),
        Some(index) => found.nth(index).into_iter().collect(),
    }
}

#[derive(Debug)]
pub(in super::super) struct Element<'b> {
    pub(super) name: &'b [u8],
    pub(super) attributes: Vec<Attribute<'b>>,
    pub(super) children: Vec<Self>,
    /// The text directly inside, entities undone.
    text: Vec<u8>,
    /// Its bytes in the body, tags included.
    pub(super) span: Range<usize>,
    /// What is between its tags; of `<a/>` nothing, at its end.
    pub(super) inner: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Attribute<'b> {
    pub(super) name: &'b [u8],
    /// As it is written, between the quotes.
    pub(super) raw: Cow<'b, [u8]>,
    /// Entities undone.
    pub(super) value: Cow<'b, str>,
}

impl<'b> Element<'b> {
    /// The root element of a well-formed body.
    pub(super) fn parse(body: &'b [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let before = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Builder { text, before, open: Vec::new(), root: None }.build()
    }

    /// The text of the element. Between other elements blanks are layout: the text of a pure
    /// container is NULL.
    pub(super) fn value(&self) -> &[u8] {
        if self.children.is_empty() { &self.text } else { self.text.trim_ascii() }
    }

    /// Whether it is written as `<a/>`.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.end == self.span.end
    }

    /// The elements inside by name, which form an array where a name is repeated.
    pub(super) fn groups(&self) -> BTreeMap<&'b [u8], Vec<&Self>> {
        let mut groups: BTreeMap<&[u8], Vec<&Self>> = BTreeMap::new();
        for child in &self.children {
            groups.entry(child.name).or_default().push(child);
        }
        groups
    }

    /// Its attributes by name.
    pub(super) fn values(&self) -> BTreeMap<&'b [u8], &str> {
        self.attributes.iter().map(|attribute| (attribute.name, attribute.value.as_ref())).collect()
    }

    /// Whether the same can be found in both; the order of elements with other names does
    /// not matter.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value() == other.value()
            && self.values() == other.values()
            && same_groups(&self.groups(), &other.groups())
    }

    /// Whether there is any text or attribute in it.
    pub(super) fn has_value(&self) -> bool {
        !self.value().is_empty()
            || self.attributes.iter().any(|attribute| !attribute.value.is_empty())
            || self.children.iter().any(Self::has_value)
    }
}

fn same_groups(
    left: &BTreeMap<&[u8], Vec<&Element<'_>>>,
    right: &BTreeMap<&[u8], Vec<&Element<'_>>>,
) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((_, left), (_, right))| same_elements(left, right))
}

/// Whether two arrays of elements are the same.
pub(super) fn same_elements(left: &[&Element<'_>], right: &[&Element<'_>]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.same(right))
}

/// Makes elements of the events of the parser; `None` anywhere means that the body is not
/// well-formed.
struct Builder<'b> {
    text: &'b str,
    /// Bytes that the parser does not see.
    before: usize,
    open: Vec<Element<'b>>,
    root: Option<Element<'b>>,
}

impl<'b> Builder<'b> {
    fn build(mut self) -> Option<Element<'b>> {
        let text = self.text.get(self.before..)?;
        let mut reader = Reader::from_str(text);
        loop {
            let start = self.position(&reader)?;
            let event = reader.read_event().ok()?;
            let end = self.position(&reader)?;
            match event {
                Event::Start(tag) => self.start(start..end, tag.name().as_ref().len(), false)?,
                Event::Empty(tag) => {
                    self.start(start..end, tag.name().as_ref().len(), true)?;
                    self.end(end..end)?;
                }
                Event::End(_) => self.end(start..end)?,
                Event::Text(text) => self.characters(&text.into_inner())?,
                Event::CData(text) => self.open.last_mut()?.text.extend_from_slice(&text.into_inner()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                    Some(character) => self.push(character.encode_utf8(&mut [0; 4]))?,
                    None => self.push(resolve_predefined_entity(&reference.decode().ok()?)?)?,
                },
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => return if self.open.is_empty() { self.root } else { None },
            }
        }
    }

    fn position(&self, reader: &Reader<&[u8]>) -> Option<usize> {
        Some(usize::try_from(reader.buffer_position()).ok()? + self.before)
    }

    fn start(&mut self, tag: Range<usize>, name_length: usize, closed: bool) -> Option<()> {
        if self.open.len() == DEEPEST || (self.open.is_empty() && self.root.is_some()) {
            return None;
        }
        let name_end = tag.start + 1 + name_length;
        let attributes_end = tag.end.checked_sub(if closed { 2 } else { 1 })?;
        self.open.push(Element {
            name: self.text.get(tag.start + 1..name_end)?.as_bytes(),
            attributes: attributes(self.text.get(name_end..attributes_end)?)?,
            children: Vec::new(),
            text: Vec::new(),
            inner: tag.end..tag.end,
            span: tag,
        });
        Some(())
    }

    fn end(&mut self, tag: Range<usize>) -> Option<()> {
        let mut element = self.open.pop()?;
        element.inner.end = tag.start;
        element.span.end = tag.end;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Some(())
    }

    /// Text, which outside of the root must be blank.
    fn characters(&mut self, text: &[u8]) -> Option<()> {
        match self.open.last_mut() {
            Some(element) => element.text.extend_from_slice(text),
            None if text.trim_ascii().is_empty() => {}
            None => return None,
        }
        Some(())
    }

    fn push(&mut self, text: &str) -> Option<()> {
        self.open.last_mut()?.text.extend_from_slice(text.as_bytes());
        Some(())
    }
}

/// The attributes in the text of a start tag; none may be given twice.
fn attributes(text: &str) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    let mut names = BTreeMap::new();
    for attribute in Attributes::new(text, 0).with_checks(false) {
        let attribute = attribute.ok()?;
        let raw = attribute.value;
        let value = match &raw {
            Cow::Borrowed(raw) => unescape(std::str::from_utf8(raw).ok()?).ok()?,
            Cow::Owned(raw) => Cow::Owned(unescape(std::str::from_utf8(raw).ok()?).ok()?.into_owned()),
        };
        if names.insert(attribute.key.0, ()).is_some() {
            return None;
        }
        found.push(Attribute { name: attribute.key.0, raw, value });
    }
    Some(found)
}
