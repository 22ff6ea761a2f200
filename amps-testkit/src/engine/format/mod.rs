//! Message types: what can be seen in a body, and what is made of it.
//!
//! Owns the step from the name of a message type to its [`Format`], and everything that
//! reads, merges, compares, cuts down or composes bodies. It keeps nothing, and no body can
//! make it fail: what is not well-formed has no fields.
//!
//! * `json`, `fix` and `xml` are the formats, `composite` is those that are made of others;
//! * `select` holds select lists, `tree` fields by their path.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod composite;
mod fix;
mod json;
mod select;
mod tree;
mod xml;

use std::sync::Arc;

use amps_protocol::FIX_SEPARATOR;

use super::filter::{Document, DuplicateKeys, Field, JsonDocument, Path, Step};
use composite::PartsDocument;
use fix::{FlatDocument, Layout};
use select::Wish;
pub use select::{Select, SelectError};
use xml::XmlDocument;

/// How the bodies of a message type are written.
///
/// ```
/// use amps_testkit::filter::{DeltaNull, Format, Path, Select};
///
/// let json = Format::of("json");
/// let stored = br#"{"id":1, "a":1.50, "n":{"x":1}}"#;
/// let merged = json.merge(stored, br#"{"id":1,"n":{"x":2,"y":3}}"#, DeltaNull::Keep);
/// assert_eq!(merged, br#"{"id":1, "a":1.50, "n":{"x":2,"y":3}}"#);
///
/// let change = json.difference(stored, &merged, &[Path::parse("/id")?], true);
/// assert_eq!(change.body, br#"{"id":1,"n":{"x":2,"y":3}}"#);
/// assert_eq!(json.select(&merged, &"[-/,+/n/y]".parse::<Select>().unwrap()), br#"{"n":{"y":3}}"#);
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON; of equal keys in one object the first counts.
    Json,
    /// JSON; of equal keys in one object the last counts.
    JsonLast,
    /// `tag=value` fields; the tags are numbers.
    Fix {
        /// The byte behind every field.
        separator: u8,
    },
    /// `name=value` fields.
    Nvfix {
        /// The byte behind every field.
        separator: u8,
    },
    /// XML in UTF-8.
    Xml,
    /// Parts, whose fields are told apart by the number of the part: `/0/field`.
    CompositeLocal(Arc<[Self]>),
    /// Parts, whose fields are seen as those of one message.
    CompositeGlobal(Arc<[Self]>),
    /// Bytes: no path leads anywhere.
    Opaque,
}

/// What a null or empty value in a delta does (`delta.null`, DP-02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeltaNull {
    /// It leaves the stored value alone.
    #[default]
    Keep,
    /// It replaces the stored value.
    SetNull,
}

/// What changed between two bodies; see [`Format::difference`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The changed fields, and those of the key if they were asked for.
    pub body: Vec<u8>,
    /// Whether anything changed; a field that is gone is a change, though none that the
    /// body can express (DS-07).
    pub changed: bool,
}

impl Format {
    /// The format of a built-in message type, by its name; every other one is opaque.
    pub fn of(message_type: &str) -> Self {
        match message_type {
            "json" => Self::Json,
            "fix" => Self::Fix { separator: FIX_SEPARATOR },
            "nvfix" => Self::Nvfix { separator: FIX_SEPARATOR },
            "xml" => Self::Xml,
            _ => Self::Opaque,
        }
    }

    /// `composite-local` of parts with these message types.
    pub fn composite_local<'n>(message_types: impl IntoIterator<Item = &'n str>) -> Self {
        Self::CompositeLocal(message_types.into_iter().map(Self::of).collect())
    }

    /// `composite-global` of parts with these message types.
    pub fn composite_global<'n>(message_types: impl IntoIterator<Item = &'n str>) -> Self {
        Self::CompositeGlobal(message_types.into_iter().map(Self::of).collect())
    }

    /// A body, to be looked into. Nothing is parsed before the first path is looked up.
    pub fn read<'b>(&self, body: &'b [u8]) -> Body<'b> {
        Body(match self {
            Self::Json => Inner::Json(JsonDocument::new(body)),
            Self::JsonLast => Inner::Json(JsonDocument::with_duplicates(body, DuplicateKeys::Last)),
            Self::Fix { separator } => Inner::Flat(FlatDocument::new(body, Layout::fix(*separator))),
            Self::Nvfix { separator } => Inner::Flat(FlatDocument::new(body, Layout::nvfix(*separator))),
            Self::Xml => Inner::Xml(XmlDocument::new(body)),
            Self::CompositeLocal(formats) => Inner::Local(PartsDocument::new(body, formats)),
            Self::CompositeGlobal(formats) => Inner::Global(PartsDocument::new(body, formats)),
            Self::Opaque => Inner::Opaque,
        })
    }

    /// Whether a body is well-formed; an opaque one always is.
    pub fn parses(&self, body: &[u8]) -> bool {
        self.read(body).parses()
    }

    /// As [`Body::key_texts`].
    pub fn key_texts(&self, body: &[u8], keys: &[Path]) -> Option<Vec<Vec<u8>>> {
        self.read(body).key_texts(keys)
    }

    /// Whether a difference of two bodies can be told, and a delta be merged (DP-06, DS-04).
    pub fn supports_delta(&self) -> bool {
        !matches!(self, Self::Opaque | Self::CompositeGlobal(_))
    }

    /// The stored body with the fields of the delta (server.md 4.9). Values that the delta
    /// does not touch keep their spelling and place. The delta itself, where the format has
    /// no deltas or one of the two is not well-formed.
    pub fn merge(&self, stored: &[u8], delta: &[u8], null: DeltaNull) -> Vec<u8> {
        self.edit(stored, delta, null).unwrap_or_else(|| delta.to_vec())
    }

    /// What a delta subscription is sent for the step from one stored body to another
    /// (server.md 4.10). All of the new body where the format has no deltas or one of the
    /// two is not well-formed.
    pub fn difference(&self, old: &[u8], new: &[u8], keys: &[Path], with_keys: bool) -> Difference {
        let keys: Vec<&[Step]> = keys.iter().map(Path::steps).collect();
        self.difference_at(old, new, &keys, with_keys)
    }

    /// The body without the fields that a select list leaves out (server.md 2.9); all of it
    /// if it is opaque or not well-formed.
    pub fn select(&self, body: &[u8], select: &Select) -> Vec<u8> {
        self.select_at(body, select.wish(), Unreadable::Whole)
    }

    /// As [`select`](Self::select), but never more than the list permits: nothing of what is
    /// not well-formed, and of what is opaque all or nothing, as the list says of the root.
    pub fn permit(&self, body: &[u8], select: &Select) -> Vec<u8> {
        self.select_at(body, select.wish(), Unreadable::Hidden)
    }

    /// A body of these fields, in this order. A path of many steps makes nested fields where
    /// the format has them. NaN becomes 0 (server.md 3.5). What the format cannot express is
    /// left out: a FIX tag that is no number, a value with the separator inside.
    pub fn compose(&self, fields: &[(Path, Field<'_>)]) -> Vec<u8> {
        let fields: Vec<_> = fields.iter().map(|(path, field)| (path.steps(), field)).collect();
        self.compose_at(&fields)
    }

    /// The body with these fields replaced or added, and the rest byte for byte. The body as
    /// it is, if it is opaque or not well-formed.
    pub fn set(&self, body: &[u8], fields: &[(Path, Field<'_>)]) -> Vec<u8> {
        let fields: Vec<_> = fields.iter().map(|(path, field)| (path.steps(), field)).collect();
        self.set_at(body, &fields)
    }

    /// `None` where nothing can be merged.
    fn edit(&self, stored: &[u8], delta: &[u8], null: DeltaNull) -> Option<Vec<u8>> {
        match self {
            Self::Json => json::merge(stored, delta, null, DuplicateKeys::First),
            Self::JsonLast => json::merge(stored, delta, null, DuplicateKeys::Last),
            Self::Fix { separator } => Layout::fix(*separator).merge(stored, delta, null),
            Self::Nvfix { separator } => Layout::nvfix(*separator).merge(stored, delta, null),
            Self::Xml => xml::merge(stored, delta, null),
            Self::CompositeLocal(formats) => composite::merge(formats, stored, delta, null),
            Self::CompositeGlobal(_) | Self::Opaque => None,
        }
    }

    fn difference_at(&self, old: &[u8], new: &[u8], keys: &[&[Step]], with_keys: bool) -> Difference {
        let difference = match self {
            Self::Json => json::difference(old, new, keys, with_keys, DuplicateKeys::First),
            Self::JsonLast => json::difference(old, new, keys, with_keys, DuplicateKeys::Last),
            Self::Fix { separator } => Layout::fix(*separator).difference(old, new, keys, with_keys),
            Self::Nvfix { separator } => Layout::nvfix(*separator).difference(old, new, keys, with_keys),
            Self::Xml => xml::difference(old, new, keys, with_keys),
            Self::CompositeLocal(formats) => composite::difference(formats, old, new, keys, with_keys),
            Self::CompositeGlobal(_) | Self::Opaque => None,
        };
        difference.unwrap_or_else(|| Difference { body: new.to_vec(), changed: old != new })
    }

    fn select_at(&self, body: &[u8], wish: Wish<'_>, unreadable: Unreadable) -> Vec<u8> {
        if wish.whole() == Some(true) {
            return body.to_vec();
        }
        let selected = match self {
            Self::Json | Self::JsonLast => json::select(body, wish),
            Self::Fix { separator } => Layout::fix(*separator).select(body, wish),
            Self::Nvfix { separator } => Layout::nvfix(*separator).select(body, wish),
            Self::Xml => xml::select(body, wish),
            Self::CompositeLocal(formats) => composite::select_local(formats, body, wish, unreadable),
            Self::CompositeGlobal(formats) => composite::select_global(formats, body, wish, unreadable),
            Self::Opaque if wish.included => Some(body.to_vec()),
            Self::Opaque => None,
        };
        selected.unwrap_or_else(|| match unreadable {
            Unreadable::Whole => body.to_vec(),
            Unreadable::Hidden => Vec::new(),
        })
    }

    fn compose_at(&self, fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
        match self {
            Self::Json | Self::JsonLast => json::compose(fields),
            Self::Fix { separator } => Layout::fix(*separator).compose(fields),
            Self::Nvfix { separator } => Layout::nvfix(*separator).compose(fields),
            Self::Xml => xml::compose(fields),
            Self::CompositeLocal(formats) => composite::compose_local(formats, fields),
            Self::CompositeGlobal(formats) => composite::compose_global(formats, fields),
            Self::Opaque => Vec::new(),
        }
    }

    fn set_at(&self, body: &[u8], fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
        if let Self::CompositeGlobal(formats) = self {
            return composite::set_global(formats, body, fields).unwrap_or_else(|| body.to_vec());
        }
        self.edit(body, &self.compose_at(fields), DeltaNull::SetNull).unwrap_or_else(|| body.to_vec())
    }
}

/// What a select list leaves of a body that it cannot be applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    Whole,
    Hidden,
}

/// A body that is being looked into; see [`Format::read`].
///
/// ```
/// use amps_testkit::filter::{Format, Path};
///
/// let body = Format::of("nvfix").read(b"id=7\x01name=x\x01");
/// assert!(body.parses());
/// assert_eq!(body.key_texts(&[Path::parse("/id")?]), Some(vec![b"7".to_vec()]));
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Debug)]
pub struct Body<'b>(Inner<'b>);

#[derive(Debug)]
enum Inner<'b> {
    Json(JsonDocument<'b>),
    Flat(FlatDocument<'b>),
    Xml(XmlDocument<'b>),
    Local(PartsDocument<'b>),
    Global(PartsDocument<'b>),
    Opaque,
}

impl Body<'_> {
    /// Whether the body is well-formed; an opaque one always is.
    pub fn parses(&self) -> bool {
        match &self.0 {
            Inner::Json(document) => document.root().is_some(),
            Inner::Flat(document) => document.parses(),
            Inner::Xml(document) => document.root().is_some(),
            // Each part must be what it is said to be.
            Inner::Local(document) => document
                .parts()
                .is_some_and(|parts| parts.iter().all(|part| part.is_empty() || part.document.parses())),
            // Its fields are those of the parts that can be read (server.md 3.7).
            Inner::Global(document) => document.parts().is_some(),
            Inner::Opaque => true,
        }
    }

    /// The values of key fields as text (SOW-04): JSON `1` and `"1"` are the same, `1` and
    /// `1.0` are not, and what is missing is empty. `None` if the body is not well-formed.
    pub fn key_texts(&self, keys: &[Path]) -> Option<Vec<Vec<u8>>> {
        if !self.parses() {
            return None;
        }
        let text = |path: &Path| {
            let mut found = Vec::new();
            self.look_up(path, &mut found);
            found.into_iter().next().unwrap_or(Field::NULL).into_text().into_owned()
        };
        Some(keys.iter().map(text).collect())
    }

    fn look_up_steps<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        match &self.0 {
            Inner::Json(document) => document.look_up_steps(steps, found),
            Inner::Flat(document) => document.look_up_steps(steps, found),
            Inner::Xml(document) => document.look_up_steps(steps, found),
            Inner::Local(document) => document.look_up_local(steps, found),
            Inner::Global(document) => document.look_up_global(steps, found),
            Inner::Opaque => {}
        }
    }
}

impl Document for Body<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        self.look_up_steps(path.steps(), found);
    }
}

/// Bytes of a text at a place that was found in it.
fn cut(text: &[u8], span: std::ops::Range<usize>) -> &[u8] {
    text.get(span).unwrap_or_default()
}
