//! XML merged, compared and cut down.
//!
//! Elements with the same name in the same parent are one array, and replaced as a whole. An
//! element that is alone in both texts is merged: its attributes, its text, its elements.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use quick_xml::escape::escape;

use super::super::super::filter::Step;
use super::super::select::Wish;
use super::super::tree::Below;
use super::super::{DeltaNull, Difference, cut};
use super::read::{Attribute, Element, same_elements};

/// Delta publish: attributes and elements of the delta replace those of the record in their
/// place; new attributes follow the others, new elements the last one of their parent. Two
/// different roots cannot be merged.
pub(in super::super) fn merge(stored: &[u8], delta: &[u8], null: DeltaNull) -> Option<Vec<u8>> {
    let (old, new) = (Element::parse(stored)?, Element::parse(delta)?);
    if old.name != new.name {
        return None;
    }
    let mut out = Vec::with_capacity(stored.len() + delta.len());
    out.extend_from_slice(cut(stored, 0..old.span.start));
    Merge { stored, delta, null }.element(&mut out, &old, &new);
    out.extend_from_slice(cut(stored, old.span.end..stored.len()));
    Some(out)
}

struct Merge<'t> {
    stored: &'t [u8],
    delta: &'t [u8],
    null: DeltaNull,
}

impl Merge<'_> {
    fn element(&self, out: &mut Vec<u8>, old: &Element<'_>, new: &Element<'_>) {
        let attributes = self.attributes(old, new);
        let content = if self.replaces_text(old, new) { self.text(old, new) } else { self.content(old, new) };
        match attributes {
            None if !old.is_closed() => {
                out.extend_from_slice(cut(self.stored, old.span.start..old.inner.start));
            }
            None if content.is_empty() => return out.extend_from_slice(cut(self.stored, old.span.clone())),
            None => open(out, old.name, &old.attributes.iter().collect::<Vec<_>>()),
            Some(attributes) => open(out, old.name, &attributes),
        }
        out.extend_from_slice(&content);
        close(out, old.name);
    }

    fn takes(&self, has_value: bool) -> bool {
        has_value || self.null == DeltaNull::SetNull
    }

    /// Whether the delta says what the text is. Only an element without anything else can
    /// say that it is empty, and only of one that has nothing but text.
    fn replaces_text(&self, old: &Element<'_>, new: &Element<'_>) -> bool {
        let empties = self.null == DeltaNull::SetNull && new.attributes.is_empty() && old.children.is_empty();
        new.children.is_empty() && (!new.value().is_empty() || empties)
    }

    /// The text of the delta, in front of the elements of the record: no field is removed
    /// (DP-02).
    fn text(&self, old: &Element<'_>, new: &Element<'_>) -> Vec<u8> {
        let mut out = cut(self.delta, new.inner.clone()).to_vec();
        old.children.iter().for_each(|child| out.extend_from_slice(cut(self.stored, child.span.clone())));
        out
    }

    /// The attributes with those of the delta, if there are any.
    fn attributes<'e, 'b>(
        &self,
        old: &'e Element<'b>,
        new: &'e Element<'b>,
    ) -> Option<Vec<&'e Attribute<'b>>> {
        let mut changes: BTreeMap<&[u8], &Attribute<'_>> = BTreeMap::new();
        for attribute in new.attributes.iter().filter(|attribute| self.takes(!attribute.value.is_empty())) {
            changes.insert(attribute.name, attribute);
        }
        if changes.is_empty() {
            return None;
        }
        let mut merged: Vec<&Attribute<'_>> = Vec::new();
        for attribute in &old.attributes {
            merged.push(changes.remove(attribute.name).unwrap_or(attribute));
        }
        merged.extend(new.attributes.iter().filter(|attribute| changes.contains_key(attribute.name)));
        Some(merged)
    }

    /// What is between the tags, with the elements of the delta.
    fn content(&self, old: &Element<'_>, new: &Element<'_>) -> Vec<u8> {
        let (before, mut changes) = (old.groups(), new.groups());
        changes.retain(|_, elements| self.takes(elements.iter().any(|element| element.has_value())));
        let mut out = Vec::new();
        let mut copied = old.inner.start;
        let mut replaced = BTreeMap::new();
        for child in &old.children {
            let Some(elements) = changes.get(child.name) else { continue };
            out.extend_from_slice(cut(self.stored, copied..child.span.start));
            copied = child.span.end;
            let alone = before.get(child.name).is_some_and(|all| all.len() == 1);
            match elements.as_slice() {
                [element] if alone => self.element(&mut out, child, element),
                // The first place is that of the whole array.
                elements if !replaced.contains_key(child.name) => {
                    elements
                        .iter()
                        .for_each(|element| out.extend_from_slice(cut(self.delta, element.span.clone())));
                }
                _ => {}
            }
            replaced.insert(child.name, ());
        }
        // New elements follow the last one, in front of the blanks before the end tag.
        let end = old.children.last().map_or(old.inner.end, |child| child.span.end);
        out.extend_from_slice(cut(self.stored, copied..end));
        for element in &new.children {
            if changes.contains_key(element.name) && !before.contains_key(element.name) {
                out.extend_from_slice(cut(self.delta, element.span.clone()));
            }
        }
        out.extend_from_slice(cut(self.stored, end..old.inner.end));
        out
    }
}

/// Delta subscribe: the root with the attributes and elements that changed. A repeated
/// element is whole.
pub(in super::super) fn difference(
    old: &[u8],
    new: &[u8],
    keys: &[&[Step]],
    with_keys: bool,
) -> Option<Difference> {
    let (old_root, new_root) = (Element::parse(old)?, Element::parse(new)?);
    if old_root.name != new_root.name {
        return None;
    }
    let mut compare = Compare { new, with_keys, changed: false };
    let mut body = Vec::new();
    let below = Below::of(keys, new_root.name);
    if !compare.element(&mut body, &old_root, &new_root, &below.rest) {
        body = empty(new_root.name);
    }
    Some(Difference { body, changed: compare.changed })
}

struct Compare<'t> {
    new: &'t [u8],
    with_keys: bool,
    changed: bool,
}

impl Compare<'_> {
    /// Writes an element with what differs in it; false if that is nothing.
    fn element(&mut self, out: &mut Vec<u8>, old: &Element<'_>, new: &Element<'_>, keys: &[&[Step]]) -> bool {
        let before = old.values();
        let mut attributes = Vec::new();
        for attribute in &new.attributes {
            let key = Below::of(keys, &[&b"@"[..], attribute.name].concat());
            let same = before.get(attribute.name) == Some(&attribute.value.as_ref());
            self.changed |= !same;
            let wanted = if key.ends { self.with_keys } else { !same };
            if wanted {
                attributes.push(attribute);
            }
        }
        let after = new.values();
        self.changed |= before.keys().any(|name| !after.contains_key(name));

        let mut content = Vec::new();
        let new_text = old.value() != new.value();
        self.changed |= new_text;
        if new_text && new.children.is_empty() {
            content.extend_from_slice(cut(self.new, new.inner.clone()));
        } else if new_text {
            content.extend_from_slice(escape(String::from_utf8_lossy(new.value())).as_bytes());
        }
        self.children(&mut content, old, new, keys);
        if attributes.is_empty() && content.is_empty() && !new_text {
            return false;
        }
        open(out, new.name, &attributes);
        out.extend_from_slice(&content);
        close(out, new.name);
        true
    }

    fn children(&mut self, out: &mut Vec<u8>, old: &Element<'_>, new: &Element<'_>, keys: &[&[Step]]) {
        let (mut before, mut after) = (old.groups(), new.groups());
        for child in &new.children {
            // The first of an array stands for all of it.
            let Some(elements) = after.remove(child.name) else { continue };
            let previous = before.remove(child.name).unwrap_or_default();
            let below = Below::of(keys, child.name);
            let has_keys = self.with_keys && !below.rest.is_empty();
            let same = same_elements(&previous, &elements);
            let wanted = match (below.ends, previous.as_slice(), elements.as_slice()) {
                (true, ..) => self.with_keys,
                (false, [previous], [element]) => {
                    self.element(out, previous, element, &below.rest);
                    continue;
                }
                _ => !same || has_keys,
            };
            self.changed |= !same;
            if wanted {
                elements
                    .iter()
                    .for_each(|element| out.extend_from_slice(cut(self.new, element.span.clone())));
            }
        }
        self.changed |= !before.is_empty();
    }
}

/// A select list applied; `None` if nothing is taken out, or the body is no XML. The root
/// always stays. What names an element decides about its text as well.
pub(in super::super) fn select(body: &[u8], wish: Wish<'_>) -> Option<Vec<u8>> {
    let root = Element::parse(body)?;
    let mut cutter = Cutter { body, removed: false };
    let mut out = cut(body, 0..root.span.start).to_vec();
    if cutter.element(&mut out, &root, wish.below(root.name).root()) && !cutter.removed {
        return None;
    }
    out.extend_from_slice(cut(body, root.span.end..body.len()));
    Some(out)
}

struct Cutter<'t> {
    body: &'t [u8],
    removed: bool,
}

impl Cutter<'_> {
    /// Writes what is left of an element; false if that is nothing.
    fn element(&mut self, out: &mut Vec<u8>, element: &Element<'_>, wish: Wish<'_>) -> bool {
        if wish.whole() == Some(true) {
            out.extend_from_slice(cut(self.body, element.span.clone()));
            return true;
        }
        let wanted = |attribute: &&Attribute<'_>| wish.below(&[&b"@"[..], attribute.name].concat()).included;
        let attributes: Vec<_> = element.attributes.iter().filter(wanted).collect();
        let mut content = Vec::new();
        let mut copied = element.inner.start;
        let mut children = 0;
        for child in &element.children {
            if wish.included {
                content.extend_from_slice(cut(self.body, copied..child.span.start));
            }
            copied = child.span.end;
            children += usize::from(self.element(&mut content, child, wish.below(child.name)));
        }
        if wish.included {
            content.extend_from_slice(cut(self.body, copied..element.inner.end));
        }
        let text = wish.included && !element.value().is_empty();
        let was_empty = !element.has_value() && element.children.is_empty() && element.attributes.is_empty();
        let left = !attributes.is_empty() || children > 0 || text || (was_empty && wish.included);
        if !left && !wish.named {
            self.removed = true;
            return false;
        }
        self.removed |=
            attributes.len() < element.attributes.len() || (!wish.included && !element.value().is_empty());
        open(out, element.name, &attributes);
        out.extend_from_slice(&content);
        close(out, element.name);
        true
    }
}

/// Writes a start tag.
fn open(out: &mut Vec<u8>, name: &[u8], attributes: &[&Attribute<'_>]) {
    out.push(b'<');
    out.extend_from_slice(name);
    for attribute in attributes {
        let quote = if attribute.raw.contains(&b'"') { b'\'' } else { b'"' };
        out.push(b' ');
        out.extend_from_slice(attribute.name);
        out.extend_from_slice(&[b'=', quote]);
        out.extend_from_slice(&attribute.raw);
        out.push(quote);
    }
    out.push(b'>');
}

/// Writes an end tag.
fn close(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name);
    out.push(b'>');
}

fn empty(name: &[u8]) -> Vec<u8> {
    [b"<", name, b"/>"].concat()
}
