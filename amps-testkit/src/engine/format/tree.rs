//! Fields by their path: what is below which name.
//!
//! Owns the nesting of paths, for composing a body of fields, and for finding keys while
//! walking down a body. It knows no format.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::super::filter::{Field, Step, Value};

/// Fields nested by the steps of their paths, each level in order of appearance. Subscripts
/// do not matter here.
#[derive(Debug, Default)]
pub(super) struct Tree<'f> {
    value: Option<&'f Field<'f>>,
    children: Vec<(&'f str, Self)>,
    places: BTreeMap<&'f str, usize>,
}

impl<'f> Tree<'f> {
    pub(super) fn of(fields: &[(&'f [Step], &'f Field<'f>)]) -> Self {
        let mut root = Self::default();
        for (steps, field) in fields {
            let mut node = &mut root;
            for step in *steps {
                node = node.child(&step.name);
            }
            node.value = Some(field);
        }
        root
    }

    fn child(&mut self, name: &'f str) -> &mut Self {
        let place = *self.places.entry(name).or_insert(self.children.len());
        if place == self.children.len() {
            self.children.push((name, Self::default()));
        }
        &mut self.children[place].1
    }

    /// The value of the field here, unless there are fields below it.
    pub(super) fn value(&self) -> &Field<'f> {
        self.value.unwrap_or(&Field::NULL)
    }

    pub(super) fn children(&self) -> &[(&'f str, Self)] {
        &self.children
    }
}

/// Which of some paths lead to a field of this name, or on through it.
#[derive(Debug)]
pub(super) struct Below<'p> {
    /// One of them ends here.
    pub(super) ends: bool,
    /// What is left of those that do not.
    pub(super) rest: Vec<&'p [Step]>,
}

impl<'p> Below<'p> {
    pub(super) fn of(paths: &[&'p [Step]], name: &[u8]) -> Self {
        let mut below = Below { ends: false, rest: Vec::new() };
        for path in paths {
            match path.split_first() {
                Some((step, [])) if step.name.as_bytes() == name => below.ends = true,
                Some((step, rest)) if step.name.as_bytes() == name => below.rest.push(rest),
                _ => {}
            }
        }
        below
    }
}

/// A value as text in a format without types: NaN is 0 (server.md 3.5), a float without a
/// spelling of its own shows that it is one, a boolean is 1 or 0.
pub(super) fn text(field: &Field<'_>) -> Vec<u8> {
    match (field.spelling(), field.value()) {
        (None, Value::Float(float)) if float.is_finite() => format!("{float:?}").into_bytes(),
        (None, Value::Float(_)) => b"0".to_vec(),
        _ => field.clone().into_text().into_owned(),
    }
}
