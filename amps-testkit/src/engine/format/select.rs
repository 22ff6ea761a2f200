//! Select lists: which fields of a message are delivered (server.md 2.9).
//!
//! Owns the decision for every path. Cutting down a body is the business of its format.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use amps_protocol::{SelectList, Selection, ValueFault};

use super::super::filter::{FilterError, Path};

/// A compiled select list. The most specific entry decides about a field, and the first of
/// equal ones; a field without an entry is delivered (SEL-02).
///
/// Where two lists apply one after the other, such as that of an entitlement and that of a
/// subscriber (SEL-04), select with the first and then, of the result, with the second.
///
/// ```
/// use amps_testkit::filter::{Format, Select};
///
/// let (first, second): (Select, Select) = ("[-/,+/a]".parse()?, "[-/,+/b/c]".parse()?);
/// let both = Select::union([&first, &second]);
/// let body = br#"{"a":1,"b":{"c":2,"d":3},"e":4}"#;
/// assert_eq!(Format::Json.select(body, &both), br#"{"a":1,"b":{"c":2}}"#);
/// # Ok::<(), amps_testkit::filter::SelectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    root: Branch,
}

/// Why a text is no select list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// It is no list of fields with `+` or `-`.
    #[error("not a select list: {0}")]
    List(#[from] ValueFault),
    /// An entry is no identifier.
    #[error("'{entry}' in a select list is no field: {error}")]
    Field {
        /// The entry, without its sign.
        entry: String,
        /// What is wrong with it.
        error: FilterError,
    },
    /// An entry with a subscript or a topic, which a select list cannot have.
    #[error("'{entry}' in a select list must be a field's name alone, without subscript or topic")]
    NotPlain {
        /// The entry, without its sign.
        entry: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Branch {
    /// Whether an entry names this very field, and how it decides.
    included: Option<bool>,
    /// An entry with `+` names this very field.
    named: bool,
    children: BTreeMap<Box<[u8]>, Self>,
}

impl FromStr for Select {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        Self::parse(text)
    }
}

impl Select {
    /// Parses a list in brackets, as the option `select` has it.
    ///
    /// # Errors
    ///
    /// The text is no list, or something in it is no identifier with `+` or `-`.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let list: SelectList = text.parse()?;
        let mut root = Branch::default();
        for (selection, entry) in list.iter() {
            let included = selection == Selection::Include;
            if entry == "/" {
                root.decide(included);
                continue;
            }
            let path =
                Path::parse(entry).map_err(|error| SelectError::Field { entry: entry.to_owned(), error })?;
            if path.qualifier().is_some() || path.steps().iter().any(|step| step.index.is_some()) {
                return Err(SelectError::NotPlain { entry: entry.to_owned() });
            }
            let mut branch = &mut root;
            for step in path.steps() {
                branch = branch.children.entry(step.name.as_bytes().into()).or_default();
            }
            branch.decide(included);
        }
        Ok(Self { root })
    }

    /// What any of these lists delivers (DEL-09); everything, if there is none.
    pub fn union<'s>(lists: impl IntoIterator<Item = &'s Self>) -> Self {
        let wishes: Vec<Wish<'_>> = lists.into_iter().map(Self::wish).collect();
        Self { root: if wishes.is_empty() { Branch::default() } else { unite(&wishes) } }
    }

    /// What is wished at the root of a message.
    pub(super) fn wish(&self) -> Wish<'_> {
        Wish {
            branch: Some(&self.root),
            included: self.root.included.unwrap_or(true),
            named: self.root.named,
        }
    }
}

impl Branch {
    /// The first entry for an identifier counts.
    fn decide(&mut self, included: bool) {
        if self.included.is_none() {
            self.included = Some(included);
            self.named = included;
        }
    }
}

fn unite(wishes: &[Wish<'_>]) -> Branch {
    let branches = wishes.iter().filter_map(|wish| wish.branch);
    let names: BTreeSet<&[u8]> =
        branches.flat_map(|branch| branch.children.keys()).map(|name| &**name).collect();
    let children = names.into_iter().map(|name| {
        let below: Vec<Wish<'_>> = wishes.iter().map(|wish| wish.below(name)).collect();
        (name.into(), unite(&below))
    });
    Branch {
        included: Some(wishes.iter().any(|wish| wish.included)),
        named: wishes.iter().any(|wish| wish.named),
        children: children.collect(),
    }
}

/// What a select list wants of one field and those below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'s> {
    branch: Option<&'s Branch>,
    /// Whether the field itself is delivered.
    pub(super) included: bool,
    /// Whether it is named by a `+`: then it stays even if nothing is left in it (SEL-06).
    pub(super) named: bool,
}

impl Wish<'_> {
    /// The wish for a field in this one.
    pub(super) fn below(self, name: &[u8]) -> Self {
        let branch = self.branch.and_then(|branch| branch.children.get(name));
        Wish {
            branch,
            included: branch.and_then(|branch| branch.included).unwrap_or(self.included),
            named: branch.is_some_and(|branch| branch.named),
        }
    }

    /// The same wish for the root of a body, which always stays.
    pub(super) fn root(self) -> Self {
        Wish { named: true, ..self }
    }

    /// The same wish for one of many elements, which no entry can name.
    pub(super) fn element(self) -> Self {
        Wish { named: false, ..self }
    }

    /// Whether everything in it is delivered, or nothing; `None` if that depends.
    pub(super) fn whole(self) -> Option<bool> {
        match self.branch {
            Some(branch) if !branch.children.is_empty() => None,
            _ => Some(self.included),
        }
    }
}
