//! FIX and NVFIX bodies: read, merged, compared, cut down, composed.
//!
//! Owns what a flat list of `name=value` fields means to the server; the layout of the bytes
//! is the protocol crate's. A name that is repeated has many values, which are replaced and
//! compared together, as an array is. Names have no structure: the steps of a path are one
//! name, with the `/` between them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::OnceCell;
use std::collections::BTreeMap;

use amps_protocol::NvfixReader;

use super::super::filter::{Field, Step};
use super::select::Wish;
use super::tree::text;
use super::{DeltaNull, Difference};

/// How the fields are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Names are decimal numbers: FIX.
    numeric: bool,
    separator: u8,
}

/// Fields in order; the names as they are written.
type Fields<'b> = Vec<(&'b [u8], &'b [u8])>;

/// A body, parsed when the first path is looked up.
#[derive(Debug)]
pub(super) struct FlatDocument<'b> {
    body: &'b [u8],
    layout: Layout,
    fields: OnceCell<Fields<'b>>,
}

impl<'b> FlatDocument<'b> {
    pub(super) fn new(body: &'b [u8], layout: Layout) -> Self {
        Self { body, layout, fields: OnceCell::new() }
    }

    fn fields(&self) -> &Fields<'b> {
        self.fields.get_or_init(|| self.layout.fields(self.body))
    }

    /// What is no field is skipped (protocol.md FX-7); a body of nothing else is none.
    pub(super) fn parses(&self) -> bool {
        self.body.is_empty() || !self.fields().is_empty()
    }

    pub(super) fn look_up_steps<'a>(&'a self, steps: &[Step], found: &mut Vec<Field<'a>>) {
        let Some(name) = self.layout.name(steps) else { return };
        let values = self.fields().iter().filter(|(found, _)| self.layout.same(found) == name);
        let mut values = values.map(|(_, value)| Field::untyped(value));
        match steps.last().and_then(|step| step.index) {
            None => found.extend(values),
            Some(index) => found.extend(values.nth(index)),
        }
    }
}

impl Layout {
    pub(super) fn fix(separator: u8) -> Self {
        Self { numeric: true, separator }
    }

    pub(super) fn nvfix(separator: u8) -> Self {
        Self { numeric: false, separator }
    }

    fn fields(self, body: &[u8]) -> Fields<'_> {
        let fields = NvfixReader::with_separator(body, self.separator);
        fields.filter(|(name, _)| self.is_name(name)).collect()
    }

    fn is_name(self, name: &[u8]) -> bool {
        let digits = name.iter().all(u8::is_ascii_digit);
        !self.numeric || (digits && std::str::from_utf8(name).is_ok_and(|name| name.parse::<u32>().is_ok()))
    }

    /// The name in one spelling: `035` and `35` are the same tag.
    fn same(self, name: &[u8]) -> &[u8] {
        let zeros = name.iter().take_while(|byte| self.numeric && **byte == b'0').count();
        name.get(zeros.min(name.len().saturating_sub(1))..).unwrap_or_default()
    }

    /// The name that a path means, if it can be one.
    fn name(self, steps: &[Step]) -> Option<Vec<u8>> {
        let steps: Vec<&[u8]> = steps.iter().map(|step| step.name.as_bytes()).collect();
        let name = steps.join(&b'/');
        self.is_name(&name).then(|| self.same(&name).to_vec())
    }

    fn write(self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(self.separator);
    }

    /// Delta publish: what the delta names is replaced in its place, or appended.
    pub(super) fn merge(self, stored: &[u8], delta: &[u8], null: DeltaNull) -> Option<Vec<u8>> {
        let (old, new) = (self.fields(stored), self.fields(delta));
        if (old.is_empty() && !stored.is_empty()) || (new.is_empty() && !delta.is_empty()) {
            return None;
        }
        let mut changes = self.grouped(&new);
        changes
            .retain(|_, values| null == DeltaNull::SetNull || values.iter().any(|value| !value.is_empty()));
        let names = self.grouped(&old);
        let mut out = Vec::with_capacity(stored.len() + delta.len());
        let mut written = BTreeMap::new();
        for (name, value) in &old {
            match changes.get(self.same(name)) {
                None => self.write(&mut out, name, value),
                Some(values) if written.insert(self.same(name), ()).is_none() => {
                    values.iter().for_each(|value| self.write(&mut out, name, value));
                }
                Some(_) => {}
            }
        }
        for (name, value) in &new {
            let name_once = self.same(name);
            if changes.contains_key(name_once) && !names.contains_key(name_once) {
                self.write(&mut out, name, value);
            }
        }
        Some(out)
    }

    /// Delta subscribe: the fields whose values are not those of before.
    pub(super) fn difference(
        self,
        old: &[u8],
        new: &[u8],
        keys: &[&[Step]],
        with_keys: bool,
    ) -> Option<Difference> {
        let (old, new) = (self.fields(old), self.fields(new));
        let (before, after) = (self.grouped(&old), self.grouped(&new));
        let keys: Vec<Vec<u8>> = keys.iter().filter_map(|steps| self.name(steps)).collect();
        let mut body = Vec::new();
        let differs = |name: &[u8]| before.get(name) != after.get(name);
        for (name, value) in &new {
            let name_once = self.same(name);
            let wanted = if keys.iter().any(|key| key == name_once) { with_keys } else { differs(name_once) };
            if wanted {
                self.write(&mut body, name, value);
            }
        }
        let changed = before.keys().chain(after.keys()).any(|name| differs(name));
        Some(Difference { body, changed })
    }

    /// Every name with its values.
    fn grouped<'b>(self, fields: &[(&'b [u8], &'b [u8])]) -> BTreeMap<&'b [u8], Vec<&'b [u8]>> {
        let mut groups: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for (name, value) in fields {
            groups.entry(self.same(name)).or_default().push(value);
        }
        groups
    }

    pub(super) fn select(self, body: &[u8], wish: Wish<'_>) -> Option<Vec<u8>> {
        let fields = self.fields(body);
        let wanted =
            |name: &[u8]| self.same(name).split(|byte| *byte == b'/').fold(wish, Wish::below).included;
        if fields.iter().all(|(name, _)| wanted(name)) {
            return None;
        }
        let mut out = Vec::with_capacity(body.len());
        for (name, value) in fields.iter().filter(|(name, _)| wanted(name)) {
            self.write(&mut out, name, value);
        }
        Some(out)
    }

    pub(super) fn compose(self, fields: &[(&[Step], &Field<'_>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (steps, field) in fields {
            let (Some(name), value) = (self.name(steps), text(field)) else { continue };
            let breaks = |text: &[u8]| text.contains(&self.separator);
            if !breaks(&name) && !name.contains(&b'=') && !breaks(&value) {
                self.write(&mut out, &name, &value);
            }
        }
        out
    }
}
