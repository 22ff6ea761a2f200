//! What every part of the reading of a file has in common.
//!
//! Owns the findings, and the step from an element to a value: once, with the right unit, one
//! of a list.

use std::collections::BTreeMap;

use crate::engine::filter::Language;

use super::finding::{Finding, FindingKind};
use super::schema::{Table, Use};
use super::xml::{Element, Place};

/// What an element defines, where the engine may have something to say about it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Queue,
    Topic,
    Destination,
}

/// Where a definition and its elements are, and the name of each: by the subject and name of the
/// definition, and what is looked for; `""` is the definition itself.
pub(crate) type Places = BTreeMap<(Subject, String, &'static str), (Place, String)>;

#[derive(Debug)]
pub(super) struct Reader {
    strict: bool,
    /// What its expressions are written in.
    pub(super) language: Language,
    pub(super) findings: Vec<Finding>,
    pub(super) places: Places,
}

impl Reader {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, language: Language::default(), findings: Vec::new(), places: Places::new() }
    }

    pub(super) fn error(&mut self, element: &Element, text: impl Into<String>) {
        self.find(FindingKind::Error, element, text);
    }

    /// The element has an effect that the server does not have.
    pub(super) fn not_supported(&mut self, element: &Element, what: &str) {
        self.find(FindingKind::NotSupported, element, format!("not supported yet: {what}"));
    }

    /// The element has an effect that the server could have.
    pub(super) fn lacks_feature(&mut self, element: &Element, what: &str, feature: &str) {
        let text = format!(
            "not supported: {what} needs the Cargo feature \"{feature}\" of amps-testkit; nobody listens for this transport"
        );
        self.find(FindingKind::NotSupported, element, text);
    }

    pub(super) fn ignored(&mut self, element: &Element, why: &str) {
        self.find(FindingKind::Ignored, element, format!("ignored: {why}"));
    }

    fn find(&mut self, kind: FindingKind, element: &Element, text: impl Into<String>) {
        self.findings.push(element.place.finding(kind, &element.name, text));
    }

    /// Holds the children of an element against a table: what is not known, not supported,
    /// ignored, or given twice is reported.
    pub(super) fn check(&mut self, element: &Element, table: Table) {
        if let Ok(text) = &element.text {
            if !text.is_empty() {
                let word = text.split_whitespace().next().unwrap_or_default();
                self.error(element, format!("\"{word}\" is not inside of an element; remove it"));
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        for child in &element.children {
            let name = child.name.as_str();
            match table.iter().find(|(known, _)| *known == name) {
                Some((_, Use::Many)) => {}
                Some((_, Use::One)) if seen.contains(&name) => {
                    self.error(child, format!("is given twice in {}; keep one", element.name));
                }
                Some((_, Use::One)) => seen.push(name),
                Some((_, Use::Ignored)) => self.find(FindingKind::Ignored, child, "ignored"),
                Some((_, Use::NotYet)) => {
                    self.find(FindingKind::NotSupported, child, "not supported yet: the server goes without");
                }
                None => {
                    let similar = crate::similar(name, table.iter().map(|(known, _)| *known));
                    let instead = similar.map_or_else(
                        || "remove it, or correct its name".to_owned(),
                        |name| format!("write {name}"),
                    );
                    let kind = if self.strict { FindingKind::Error } else { FindingKind::Unknown };
                    self.find(kind, child, format!("is not known in {}; {instead}", element.name));
                }
            }
        }
    }

    /// The text of an element; empty text is an error.
    pub(super) fn text(&mut self, element: &Element) -> Option<String> {
        if let Some(child) = element.children.first() {
            self.error(child, format!("is not known in {}; write text there", element.name));
            return None;
        }
        match &element.text {
            Ok(text) if text.is_empty() => self.error(element, "is empty; write a value, or remove it"),
            Ok(text) => return Some(text.clone()),
            Err(fault) => self.error(element, fault.clone()),
        }
        None
    }

    /// The text of a child, if there is one.
    pub(super) fn optional(&mut self, parent: &Element, name: &str) -> Option<String> {
        parent.get(name).and_then(|child| self.text(child))
    }

    /// The text of a child that has to be there.
    pub(super) fn required(&mut self, parent: &Element, name: &str) -> Option<String> {
        if parent.get(name).is_none() {
            self.error(parent, format!("{name} is missing; add <{name}>...</{name}>"));
        }
        self.optional(parent, name)
    }

    /// `Name`, or `Topic` as older files have it.
    pub(super) fn topic_name(&mut self, parent: &Element) -> Option<String> {
        if parent.get("Name").is_none() && parent.get("Topic").is_some() {
            return self.optional(parent, "Topic");
        }
        self.required(parent, "Name")
    }

    /// The value of a child, if there is one.
    pub(super) fn value<T>(
        &mut self,
        parent: &Element,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let child = parent.get(name)?;
        let text = self.text(child)?;
        parse(&text).map_err(|fault| self.error(child, fault)).ok()
    }

    /// What a child chooses, if there is one.
    pub(super) fn choice<T: Clone>(
        &mut self,
        parent: &Element,
        name: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.value(parent, name, |text| choose(text, choices))
    }

    /// The texts of all children of one name.
    pub(super) fn texts(&mut self, parent: &Element, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for child in parent.all(&[name]) {
            texts.extend(self.text(child));
        }
        texts
    }

    /// The texts of `Field` in a child such as `Enrichment`.
    pub(super) fn fields(&mut self, parent: &Element, name: &str) -> Vec<String> {
        let Some(child) = parent.get(name) else { return Vec::new() };
        self.check(child, super::schema::FIELDS);
        self.texts(child, "Field")
    }

    /// Checks what is inside of the children of one name.
    pub(super) fn syntax<T, E: std::fmt::Display>(
        &mut self,
        parent: &Element,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) {
        for child in parent.all(&[name]) {
            if let Ok(text) = &child.text {
                if let Err(fault) = parse(text) {
                    self.error(child, format!("\"{text}\" does not parse: {fault}; correct it"));
                }
            }
        }
    }

    /// As [`Reader::syntax`], of expressions: with the functions that the file declares.
    pub(super) fn expression<T, E: std::fmt::Display>(
        &mut self,
        parent: &Element,
        name: &str,
        parse: impl Fn(&str, &Language) -> Result<T, E>,
    ) {
        let language = self.language.clone();
        self.syntax(parent, name, |text| parse(text, &language));
    }

    /// Remembers where a definition and its elements are.
    pub(super) fn remember(
        &mut self,
        subject: Subject,
        name: &str,
        element: &Element,
        parts: &[&'static str],
    ) {
        let mut note = |part, element: &Element| {
            let at = (element.place.clone(), element.name.clone());
            self.places.insert((subject, name.to_owned(), part), at);
        };
        note("", element);
        for part in parts {
            if let Some(child) = element.get(part) {
                note(part, child);
            }
        }
    }
}

/// One of a list of words.
pub(super) fn choose<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    chosen.map(|(_, value)| value.clone()).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("\"{text}\" is not known; write one of {}", names.join(", "))
    })
}
