//! Bodies of several parts, each with a format of its own.
//!
//! Owns the numbering of the parts; what is inside them is the business of their formats.
//! What follows the last part that the message type defines is opaque (protocol.md CM-6).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::OnceCell;
use std::sync::Arc;

use amps_protocol::{CompositeBuilder, CompositeReader};

use super::super::filter::{Field, Step};
use super::select::Wish;
use super::tree::Below;
use super::{Body, DeltaNull, Difference, Format, Unreadable};

/// A body, split when the first path is looked up.
#[derive(Debug)]
pub(super) struct PartsDocument<'b> {
    body: &'b [u8],
    formats: Arc<[Format]>,
    parts: OnceCell<Option<Vec<Part<'b>>>>,
}

#[derive(Debug)]
pub(super) struct Part<'b> {
    bytes: &'b [u8],
    pub(super) document: Body<'b>,
}

impl Part<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'b> PartsDocument<'b> {
    pub(super) fn new(body: &'b [u8], formats: &Arc<[Format]>) -> Self {
        Self { body, formats: Arc::clone(formats), parts: OnceCell::new() }
    }

    /// The parts; `None` if one of them is cut off.
    pub(super) fn parts(&self) -> Option<&[Part<'b>]> {
        let split = || {
            let parts = split(self.body)?;
            let part = |(number, bytes): (usize, &'b [u8])| Part {
                bytes,
                document: format(&self.formats, number).read(bytes),
            };
            Some(parts.into_iter().enumerate().map(part).collect())
        };
        self.parts.get_or_init(split).as_deref()
    }

    /// The first step is the number of a part.
    pub(super) fn look_up_local<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        let Some((first, rest)) = steps.split_first() else { return };
        let part = number(first).and_then(|number| self.parts()?.get(number));
        if let Some(part) = part.filter(|_| !rest.is_empty()) {
            part.document.look_up_steps(rest, found);
        }
    }

    /// Of all parts, as if they were one message. A subscript of the last step counts in all
    /// of them together, one before it in each.
    pub(super) fn look_up_global<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        let index = steps.last().and_then(|last| last.index);
        let mut all = Vec::new();
        let mut steps = std::borrow::Cow::Borrowed(steps);
        if index.is_some() {
            if let Some(last) = steps.to_mut().last_mut() {
                last.index = None;
            }
        }
        for part in self.parts().unwrap_or_default() {
            part.document.look_up_steps(&steps, &mut all);
        }
        match index {
            None => found.append(&mut all),
            Some(index) => found.extend(all.into_iter().nth(index)),
        }
    }
}

fn split(body: &[u8]) -> Option<Vec<&[u8]>> {
    CompositeReader::new(body).collect::<Result<_, _>>().ok()
}

/// The format of a part; of one that the message type does not define nothing is known.
fn format(formats: &[Format], number: usize) -> &Format {
    formats.get(number).unwrap_or(&Format::Opaque)
}

fn number(step: &Step) -> Option<usize> {
    step.name.parse().ok()
}

/// `None` if a part is longer than its length can say.
fn join(parts: impl IntoIterator<Item = Vec<u8>>) -> Option<Vec<u8>> {
    let mut builder = CompositeBuilder::new();
    for part in parts {
        builder.append(part).ok()?;
    }
    Some(builder.into_bytes())
}

fn at<'b>(parts: &[&'b [u8]], number: usize) -> &'b [u8] {
    parts.get(number).copied().unwrap_or_default()
}

/// Delta publish: a part without a byte is unchanged (DP-06), the others are merged.
pub(super) fn merge(formats: &[Format], stored: &[u8], delta: &[u8], null: DeltaNull) -> Option<Vec<u8>> {
    let (old, new) = (split(stored)?, split(delta)?);
    join((0..old.len().max(new.len())).map(|number| match (at(&old, number), at(&new, number)) {
        (old, []) => old.to_vec(),
        ([], new) => new.to_vec(),
        (old, new) => format(formats, number).merge(old, new, null),
    }))
}

/// Delta subscribe: a part without changes, and without a key, has no byte.
pub(super) fn difference(
    formats: &[Format],
    old: &[u8],
    new: &[u8],
    keys: &[&[Step]],
    with_keys: bool,
) -> Option<Difference> {
    let (old, new) = (split(old)?, split(new)?);
    let mut changed = new.len() < old.len();
    let parts: Vec<Vec<u8>> = (0..new.len())
        .map(|number| {
            let below = Below::of(keys, number.to_string().as_bytes());
            let (old, new) = (at(&old, number), at(&new, number));
            let part = format(formats, number).difference_at(old, new, &below.rest, with_keys);
            changed |= part.changed;
            let wanted = part.changed || (with_keys && !below.rest.is_empty());
            if wanted { part.body } else { Vec::new() }
        })
        .collect();
    Some(Difference { body: join(parts)?, changed })
}

/// The fields of a part are named by its number; an opaque part is whole, or has no byte.
pub(super) fn select_local(
    formats: &[Format],
    body: &[u8],
    wish: Wish<'_>,
    unreadable: Unreadable,
) -> Option<Vec<u8>> {
    let parts = split(body)?.into_iter().enumerate();
    join(parts.map(|(number, part)| {
        let wish = wish.below(number.to_string().as_bytes());
        match format(formats, number) {
            Format::Opaque if !wish.included => Vec::new(),
            _ if part.is_empty() => Vec::new(),
            format => format.select_at(part, wish, unreadable),
        }
    }))
}

/// The list applies to every part; one that is opaque is whole.
pub(super) fn select_global(
    formats: &[Format],
    body: &[u8],
    wish: Wish<'_>,
    unreadable: Unreadable,
) -> Option<Vec<u8>> {
    let parts = split(body)?.into_iter().enumerate();
    join(parts.map(|(number, part)| format(formats, number).select_at(part, wish, unreadable)))
}

/// Each field in its part; a part without fields has no byte.
pub(super) fn compose_local(formats: &[Format], fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
    let parts = formats.iter().enumerate().map(|(part, format)| {
        let inside: Vec<_> = fields
            .iter()
            .filter_map(|(steps, field)| {
                let (first, rest) = steps.split_first()?;
                (number(first) == Some(part) && !rest.is_empty()).then_some((rest, *field))
            })
            .collect();
        if inside.is_empty() { Vec::new() } else { format.compose_at(&inside) }
    });
    join(parts).unwrap_or_default()
}

/// All fields in the first part that can have some (inferred).
pub(super) fn compose_global(formats: &[Format], fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
    let place = formats.iter().position(|format| *format != Format::Opaque);
    let parts = formats
        .iter()
        .enumerate()
        .map(|(number, format)| if Some(number) == place { format.compose_at(fields) } else { Vec::new() });
    join(parts).unwrap_or_default()
}

/// Each field in the first part that has it, else in the first part that can have some
/// (inferred).
pub(super) fn set_global(
    formats: &[Format],
    body: &[u8],
    fields: &[(&[Step], &Field<'_>)],
) -> Option<Vec<u8>> {
    let parts = split(body)?;
    let documents: Vec<Body<'_>> =
        parts.iter().enumerate().map(|(number, part)| format(formats, number).read(part)).collect();
    let has = |number: usize, steps: &[Step]| {
        let mut found = Vec::new();
        documents.get(number).is_some_and(|document| {
            document.look_up_steps(steps, &mut found);
            !found.is_empty()
        })
    };
    let first = (0..parts.len()).find(|number| *format(formats, *number) != Format::Opaque);
    let place = |steps: &[Step]| (0..parts.len()).find(|number| has(*number, steps)).or(first);
    let places: Vec<Option<usize>> = fields.iter().map(|(steps, _)| place(steps)).collect();
    join(parts.iter().enumerate().map(|(number, part)| {
        let inside: Vec<_> = fields
            .iter()
            .zip(&places)
            .filter(|(_, place)| **place == Some(number))
            .map(|(field, _)| *field)
            .collect();
        if inside.is_empty() { part.to_vec() } else { format(formats, number).set_at(part, &inside) }
    }))
}
