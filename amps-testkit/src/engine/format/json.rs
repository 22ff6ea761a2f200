//! JSON bodies: merged, compared, cut down, composed.
//!
//! Works on the places of values in the text, so that what is not touched keeps its bytes.
//! The values themselves are read by the document of the expression language.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::super::filter::{
    DuplicateKeys, Field, JsonEntry, JsonKind, JsonNode, Step, Value, is_json_number,
};
use super::select::Wish;
use super::tree::{Below, Tree, text};
use super::{DeltaNull, Difference, cut};

/// Delta publish: fields of the delta replace those of the record leaf by leaf, new ones are
/// appended (DP-01, DP-03, DP-07).
pub(super) fn merge(
    stored: &[u8],
    delta: &[u8],
    null: DeltaNull,
    duplicates: DuplicateKeys,
) -> Option<Vec<u8>> {
    let (old, new) = (JsonNode::parse(stored)?, JsonNode::parse(delta)?);
    if !matches!((&old.kind, &new.kind), (JsonKind::Object(_), JsonKind::Object(_))) {
        return None;
    }
    let out = Vec::with_capacity(stored.len() + delta.len());
    let mut merge = Merge { stored, delta, null, duplicates, out };
    merge.out.extend_from_slice(cut(stored, 0..old.span.start));
    merge.value(&old, &new);
    merge.out.extend_from_slice(cut(stored, old.span.end..stored.len()));
    Some(merge.out)
}

struct Merge<'t> {
    stored: &'t [u8],
    delta: &'t [u8],
    null: DeltaNull,
    duplicates: DuplicateKeys,
    out: Vec<u8>,
}

impl Merge<'_> {
    fn value(&mut self, old: &JsonNode<'_>, new: &JsonNode<'_>) {
        let (JsonKind::Object(old_entries), JsonKind::Object(new_entries)) = (&old.kind, &new.kind) else {
            return self.out.extend_from_slice(cut(self.delta, new.span.clone()));
        };
        let wanted = |entry: &&JsonEntry<'_>| self.null == DeltaNull::SetNull || has_value(&entry.value);
        let mut changes = by_key(new_entries.iter().filter(wanted), self.duplicates);
        let stored = by_key(old_entries, self.duplicates);
        let mut copied = old.span.start;
        for entry in old_entries {
            // Of equal keys only one is the value.
            if !stored.get(entry.key.as_ref()).is_some_and(|value| std::ptr::eq(*value, entry)) {
                continue;
            }
            if let Some(change) = changes.remove(entry.key.as_ref()) {
                self.out.extend_from_slice(cut(self.stored, copied..entry.value.span.start));
                self.value(&entry.value, &change.value);
                copied = entry.value.span.end;
            }
        }
        let end = old_entries.last().map_or(old.span.start + 1, |entry| entry.span.end);
        self.out.extend_from_slice(cut(self.stored, copied..end));
        let mut first = old_entries.is_empty();
        for entry in new_entries {
            let kept = changes.get(entry.key.as_ref()).is_some_and(|kept| std::ptr::eq(*kept, entry));
            if kept {
                separate(&mut self.out, &mut first);
                self.out.extend_from_slice(cut(self.delta, entry.span.clone()));
            }
        }
        self.out.extend_from_slice(cut(self.stored, end..old.span.end));
    }
}

/// Whether there is anything but null in it (DP-02). An array is a value even if it is empty:
/// it replaces another as a whole.
fn has_value(node: &JsonNode<'_>) -> bool {
    match &node.kind {
        JsonKind::Null => false,
        JsonKind::String(text) => !text.is_empty(),
        JsonKind::Object(entries) => entries.iter().any(|entry| has_value(&entry.value)),
        JsonKind::Bool(_) | JsonKind::Number(_) | JsonKind::Array(_) => true,
    }
}

/// Delta subscribe: what changed from one record to the next (DS-01, DS-07).
pub(super) fn difference(
    old: &[u8],
    new: &[u8],
    keys: &[&[Step]],
    with_keys: bool,
    duplicates: DuplicateKeys,
) -> Option<Difference> {
    let (old_root, new_root) = (JsonNode::parse(old)?, JsonNode::parse(new)?);
    let (JsonKind::Object(old_entries), JsonKind::Object(new_entries)) = (&old_root.kind, &new_root.kind)
    else {
        return None;
    };
    let mut compare = Compare { new, with_keys, duplicates, changed: false, out: Vec::new() };
    compare.objects(old_entries, new_entries, keys);
    Some(Difference { body: compare.out, changed: compare.changed })
}

struct Compare<'t> {
    new: &'t [u8],
    with_keys: bool,
    duplicates: DuplicateKeys,
    changed: bool,
    out: Vec<u8>,
}

impl Compare<'_> {
    /// Writes an object of what differs; false if that is nothing.
    fn objects(&mut self, old: &[JsonEntry<'_>], new: &[JsonEntry<'_>], keys: &[&[Step]]) -> bool {
        let (before, after) = (by_key(old, self.duplicates), by_key(new, self.duplicates));
        let mut first = true;
        self.out.push(b'{');
        for entry in new {
            // Of two equal keys one is the value; the other is nothing.
            if !after.get(entry.key.as_ref()).is_some_and(|value| std::ptr::eq(*value, entry)) {
                continue;
            }
            let previous = before.get(entry.key.as_ref()).map(|previous| &previous.value);
            let below = Below::of(keys, &entry.key);
            let same = previous.is_some_and(|previous| equal(previous, &entry.value, self.duplicates));
            self.changed |= !same;
            if below.ends {
                if self.with_keys {
                    self.entry(entry, &mut first);
                }
                continue;
            }
            let nested = matches!(entry.value.kind, JsonKind::Object(_) | JsonKind::Array(_));
            let has_keys = self.with_keys && nested && !below.rest.is_empty();
            if same && !has_keys {
                continue;
            }
            match (previous.map(|previous| &previous.kind), &entry.value.kind) {
                (Some(JsonKind::Object(old)), JsonKind::Object(new)) => {
                    let mark = (self.out.len(), first);
                    separate(&mut self.out, &mut first);
                    self.out.extend_from_slice(cut(self.new, entry.span.start..entry.value.span.start));
                    if !self.objects(old, new, &below.rest) {
                        self.out.truncate(mark.0);
                        first = mark.1;
                    }
                }
                _ => self.entry(entry, &mut first),
            }
        }
        self.changed |= before.keys().any(|key| !after.contains_key(key));
        self.out.push(b'}');
        !first
    }

    fn entry(&mut self, entry: &JsonEntry<'_>, first: &mut bool) {
        separate(&mut self.out, first);
        self.out.extend_from_slice(cut(self.new, entry.span.clone()));
    }
}

/// The members of an object by key; of equal keys the one that counts.
fn by_key<'n, 'p: 'n>(
    entries: impl IntoIterator<Item = &'n JsonEntry<'p>>,
    duplicates: DuplicateKeys,
) -> BTreeMap<&'n [u8], &'n JsonEntry<'p>> {
    let mut members = BTreeMap::new();
    for entry in entries {
        match duplicates {
            DuplicateKeys::First => _ = members.entry(entry.key.as_ref()).or_insert(entry),
            DuplicateKeys::Last => _ = members.insert(entry.key.as_ref(), entry),
        }
    }
    members
}

/// Whether two values are the same: numbers by their text, objects in any order.
fn equal(left: &JsonNode<'_>, right: &JsonNode<'_>, duplicates: DuplicateKeys) -> bool {
    match (&left.kind, &right.kind) {
        (JsonKind::Null, JsonKind::Null) => true,
        (JsonKind::Bool(left), JsonKind::Bool(right)) => left == right,
        (JsonKind::Number(left), JsonKind::Number(right)) => left == right,
        (JsonKind::String(left), JsonKind::String(right)) => left == right,
        (JsonKind::Array(left), JsonKind::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| equal(left, right, duplicates))
        }
        (JsonKind::Object(left), JsonKind::Object(right)) => {
            let (left, right) = (by_key(left, duplicates), by_key(right, duplicates));
            let same = |((left_key, left), (right_key, right)): ((&&[u8], _), (&&[u8], _))| {
                let (left, right): (&&JsonEntry<'_>, &&JsonEntry<'_>) = (left, right);
                left_key == right_key && equal(&left.value, &right.value, duplicates)
            };
            left.len() == right.len() && left.iter().zip(&right).all(same)
        }
        _ => false,
    }
}

/// A select list applied; `None` if the body is no JSON.
pub(super) fn select(body: &[u8], wish: Wish<'_>) -> Option<Vec<u8>> {
    let root = JsonNode::parse(body)?;
    // A scalar has no fields, so nothing can be taken out of it.
    let wish = match &root.kind {
        JsonKind::Object(_) | JsonKind::Array(_) => wish.root(),
        _ => return Some(body.to_vec()),
    };
    let mut cutter = Cutter { body, out: Vec::new(), removed: false };
    cutter.container(&root, wish);
    Some(if cutter.removed { cutter.out } else { body.to_vec() })
}

struct Cutter<'t> {
    body: &'t [u8],
    out: Vec<u8>,
    removed: bool,
}

impl Cutter<'_> {
    /// Writes what is left of a value; false if that is nothing.
    fn value(&mut self, node: &JsonNode<'_>, wish: Wish<'_>) -> bool {
        let nested = matches!(node.kind, JsonKind::Object(_) | JsonKind::Array(_));
        let kept = match wish.whole() {
            None if nested => self.container(node, wish),
            _ if wish.included => {
                self.out.extend_from_slice(cut(self.body, node.span.clone()));
                true
            }
            _ => false,
        };
        self.removed |= !kept;
        kept
    }

    /// Writes an object or an array with what is left in it. One that is left without
    /// anything is nothing itself, unless a `+` names it (SEL-06).
    fn container(&mut self, node: &JsonNode<'_>, wish: Wish<'_>) -> bool {
        let mark = self.out.len();
        let mut first = true;
        let (was_empty, end) = match &node.kind {
            JsonKind::Object(entries) => {
                self.out.push(b'{');
                for entry in entries {
                    let key = entry.span.start..entry.value.span.start;
                    self.member(key, &entry.value, wish.below(&entry.key), &mut first);
                }
                (entries.is_empty(), b'}')
            }
            JsonKind::Array(elements) => {
                self.out.push(b'[');
                for element in elements {
                    self.member(0..0, element, wish.element(), &mut first);
                }
                (elements.is_empty(), b']')
            }
            _ => return false,
        };
        self.out.push(end);
        let kept = !first || wish.named || (was_empty && wish.included);
        if !kept {
            self.out.truncate(mark);
        }
        kept
    }

    fn member(
        &mut self,
        key: std::ops::Range<usize>,
        value: &JsonNode<'_>,
        wish: Wish<'_>,
        first: &mut bool,
    ) {
        let mark = (self.out.len(), *first);
        separate(&mut self.out, first);
        self.out.extend_from_slice(cut(self.body, key));
        if !self.value(value, wish) {
            self.out.truncate(mark.0);
            *first = mark.1;
        }
    }
}

/// An object of these fields.
pub(super) fn compose(fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_object(&mut out, &Tree::of(fields));
    out
}

fn write_object(out: &mut Vec<u8>, tree: &Tree<'_>) {
    let mut first = true;
    out.push(b'{');
    for (name, child) in tree.children() {
        separate(out, &mut first);
        write_string(out, name.as_bytes());
        out.push(b':');
        if child.children().is_empty() {
            write_value(out, child.value());
        } else {
            write_object(out, child);
        }
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, field: &Field<'_>) {
    match field.value() {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::String(bytes) => write_string(out, bytes),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
            let text = text(field);
            if is_json_number(&text) {
                out.extend_from_slice(&text);
            } else {
                // A number in another format, such as `007`: as a string it keeps its text.
                write_string(out, &text);
            }
        }
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !*first {
        out.push(b',');
    }
    *first = false;
}
