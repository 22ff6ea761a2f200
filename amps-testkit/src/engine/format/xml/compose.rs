//! XML composed of fields.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use quick_xml::escape::escape;

use super::super::super::filter::{Field, Step};
use super::super::tree::{Tree, text};

/// An element tree of these fields. There can be only one root: the first step of the first
/// path names it, and what begins with another is put inside (inferred).
pub(in super::super) fn compose(fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
    let Some(root) = fields.first().and_then(|(steps, _)| steps.first()) else { return Vec::new() };
    let inside: Vec<_> = fields
        .iter()
        .map(|(steps, field)| match steps.split_first() {
            Some((first, rest)) if first.name == root.name => (rest, *field),
            _ => (*steps, *field),
        })
        .collect();
    let mut out = Vec::new();
    write(&mut out, &root.name, &Tree::of(&inside));
    out
}

fn write(out: &mut Vec<u8>, name: &str, tree: &Tree<'_>) {
    let name = xml_name(name);
    out.extend_from_slice(format!("<{name}").as_bytes());
    let (attributes, elements): (Vec<_>, Vec<_>) = tree
        .children()
        .iter()
        .partition(|(name, child)| name.starts_with('@') && child.children().is_empty());
    for (name, child) in attributes {
        let name = xml_name(name.trim_start_matches('@'));
        out.extend_from_slice(format!(" {name}=\"{}\"", escaped(child.value())).as_bytes());
    }
    let text = escaped(tree.value());
    if text.is_empty() && elements.is_empty() {
        return out.extend_from_slice(b"/>");
    }
    out.push(b'>');
    out.extend_from_slice(text.as_bytes());
    for (name, child) in elements {
        write(out, name, child);
    }
    out.extend_from_slice(format!("</{name}>").as_bytes());
}

fn escaped(field: &Field<'_>) -> String {
    escape(String::from_utf8_lossy(&text(field))).into_owned()
}

/// The name, with `_` for what a name cannot have.
fn xml_name(name: &str) -> String {
    let fits = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | ':');
    let mut out: String =
        name.chars().map(|character| if fits(character) { character } else { '_' }).collect();
    if !out.starts_with(|first: char| first.is_alphabetic() || first == '_' || first == ':') {
        out.insert(0, '_');
    }
    out
}
