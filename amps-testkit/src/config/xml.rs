//! A configuration file as a tree of elements.
//!
//! Owns files and lines, `<Include>`, `${VAR}` and entities; it knows nothing of what the
//! elements mean. Text whose variables are not set is an error only where somebody reads it,
//! so that what is ignored needs no environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::finding::{Finding, FindingKind};
use super::variables::Variables;

/// How deep elements may be nested: far more than any configuration needs.
const DEEPEST: usize = 64;
/// How deep files may include each other.
const DEEPEST_INCLUDE: usize = 32;
/// The most that all files together may have, as the real server's default.
const LARGEST: usize = 5 * 1024 * 1024;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
}

impl Place {
    /// A finding here; what it quotes of the file is put on one line.
    pub(crate) fn finding(&self, kind: FindingKind, element: &str, text: impl Into<String>) -> Finding {
        let one_line = |text: String| {
            if !text.contains(char::is_control) {
                return text;
            }
            let words: Vec<&str> =
                text.split(|c: char| c.is_control() || c == ' ').filter(|word| !word.is_empty()).collect();
            words.join(" ")
        };
        let (file, line) = (self.file.to_string(), self.line);
        Finding { kind, file, line, element: one_line(element.to_owned()), text: one_line(text.into()) }
    }

    fn error(&self, element: &str, text: impl Into<String>) -> Finding {
        self.finding(FindingKind::Error, element, text)
    }
}

/// An element with what is inside.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The text directly inside, trimmed, with variables replaced; or why they cannot be.
    pub(crate) text: Result<String, String>,
    pub(crate) children: Vec<Self>,
}

impl Element {
    pub(crate) fn all<'e>(&'e self, names: &'e [&str]) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| names.contains(&child.name.as_str()))
    }

    pub(crate) fn get<'e>(&'e self, name: &'e str) -> Option<&'e Self> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads a file, and the files that it includes.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn load(path: &Path, variables: &Variables) -> Result<Element, Finding> {
    let mut loader = Loader { variables, open: Vec::new(), loaded: 0 };
    let name: Arc<str> = path.display().to_string().into();
    let whole = Place { file: Arc::clone(&name), line: 0 };
    let top = loader.file(path, &whole, "")?;
    root(top, &whole)
}

/// Reads a text as if it were a file in the current directory.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(name: &str, text: &str, variables: &Variables) -> Result<Element, Finding> {
    let mut loader = Loader { variables, open: Vec::new(), loaded: 0 };
    let whole = Place { file: name.into(), line: 0 };
    let top = loader.text(&whole.file, text, Path::new(""))?;
    root(top, &whole)
}

fn root(top: Vec<Element>, whole: &Place) -> Result<Element, Finding> {
    let mut top = top.into_iter();
    let root = top.next().ok_or_else(|| whole.error("", "there is no element; write <AMPSConfig>"))?;
    match top.next() {
        Some(other) => Err(other.place.error(&other.name, "is outside of AMPSConfig; move it inside")),
        None if root.name != "AMPSConfig" => {
            Err(root.place.error(&root.name, "is not the configuration of AMPS; write <AMPSConfig>"))
        }
        None => Ok(root),
    }
}

struct Loader<'v> {
    variables: &'v Variables,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    /// Bytes read so far.
    loaded: usize,
}

impl Loader<'_> {
    fn file(&mut self, path: &Path, from: &Place, element: &str) -> Result<Vec<Element>, Finding> {
        let cannot = |why: &dyn std::fmt::Display| {
            let shown = path.display();
            from.error(element, format!("cannot read \"{shown}\": {why}; correct the path"))
        };
        let identity = path.canonicalize().map_err(|error| cannot(&error))?;
        if let Some(start) = self.open.iter().position(|open| *open == identity) {
            let cycle = self.open.iter().skip(start).chain([&identity]);
            let names: Vec<String> = cycle
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
                .collect();
            let cycle = names.join(" includes ");
            return Err(from.error(element, format!("goes round in a circle: {cycle}; remove one")));
        }
        if self.open.len() >= DEEPEST_INCLUDE {
            let text = format!("more than {DEEPEST_INCLUDE} files include each other; include fewer");
            return Err(from.error(element, text));
        }
        let bytes = fs::read(path).map_err(|error| cannot(&error))?;
        let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is not UTF-8"))?;
        let name: Arc<str> = path.display().to_string().into();
        self.open.push(identity);
        let elements = self.text(&name, &text, path.parent().unwrap_or(Path::new("")));
        self.open.pop();
        elements
    }

    fn text(&mut self, file: &Arc<str>, text: &str, directory: &Path) -> Result<Vec<Element>, Finding> {
        self.loaded += text.len();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut lines = Lines { file, text, line: 1, counted: 0 };
        if self.loaded > LARGEST {
            let text = format!("all files together have more than {LARGEST} bytes; include fewer");
            return Err(lines.at(0).error("", text));
        }
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Open> = Vec::new();
        let mut top: Vec<Element> = Vec::new();
        loop {
            let position = reader.buffer_position();
            let event = reader.read_event().map_err(|error| {
                lines.at(reader.error_position()).error(
                    open.last().map_or("", |open| &open.name),
                    format!("is not XML: {error}; correct it"),
                )
            })?;
            match event {
                Event::Start(start) => {
                    let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
                    let place = lines.at(position);
                    if open.len() >= DEEPEST {
                        return Err(place.error(&name, format!("is nested more than {DEEPEST} deep")));
                    }
                    open.push(Open { name, place, text: String::new(), children: Vec::new() });
                }
                Event::End(_) => {
                    let Some(closed) = open.pop() else { continue };
                    let found = self.close(closed, directory)?;
                    open.last_mut().map_or(&mut top, |parent| &mut parent.children).extend(found);
                }
                Event::Text(text) => {
                    let text = text.decode().unwrap_or_default();
                    take_text(&text, &mut open, &mut lines, position)?;
                }
                Event::CData(text) => {
                    let text = text.decode().unwrap_or_default();
                    take_text(&text, &mut open, &mut lines, position)?;
                }
                Event::GeneralRef(reference) => {
                    let text = resolve(&reference).map_err(|fault| {
                        lines.at(position).error(open.last().map_or("", |open| &open.name), fault)
                    })?;
                    take_text(&text, &mut open, &mut lines, position)?;
                }
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        match open.last() {
            Some(open) => Err(open.place.error(&open.name, format!("has no end; add </{}>", open.name))),
            None => Ok(top),
        }
    }

    /// The element, or, in the place of an `Include`, what it includes.
    fn close(&mut self, closed: Open, directory: &Path) -> Result<Vec<Element>, Finding> {
        let Open { name, place, text, children } = closed;
        let text = self.variables.expand(text.trim());
        if name != "Include" {
            return Ok(vec![Element { name, place, text, children }]);
        }
        let path = text.map_err(|fault| place.error(&name, fault))?;
        if path.is_empty() {
            return Err(place.error(&name, "names no file; write the path of one"));
        }
        // That it is relative to the file with the Include is inferred.
        self.file(&directory.join(path), &place, &name)
    }
}

/// An element whose end has not been read yet.
struct Open {
    name: String,
    place: Place,
    text: String,
    children: Vec<Element>,
}

fn take_text(text: &str, open: &mut [Open], lines: &mut Lines<'_>, position: u64) -> Result<(), Finding> {
    match open.last_mut() {
        Some(open) => open.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => {
            let word = text.split_whitespace().next().unwrap_or_default();
            let blank = (text.len() - text.trim_start().len()) as u64;
            let fault = format!("\"{word}\" is outside of every element; remove it");
            return Err(lines.at(position + blank).error("", fault));
        }
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, String> {
    let name = reference.decode().unwrap_or_default();
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Ok(character.to_string());
    }
    let known = resolve_predefined_entity(&name);
    known.map(str::to_owned).ok_or_else(|| {
        format!("the entity &{name}; is not defined; write its text, or use <Include> or ${{VAR}}")
    })
}

/// Line numbers of positions that only grow.
struct Lines<'t> {
    file: &'t Arc<str>,
    text: &'t str,
    line: usize,
    counted: usize,
}

impl Lines<'_> {
    fn at(&mut self, position: u64) -> Place {
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(self.text.len());
        let passed = self.text.as_bytes().get(self.counted..position).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.counted.max(position);
        Place { file: Arc::clone(self.file), line: self.line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Element, String> {
        let mut variables = Variables::default();
        variables.use_environment(false);
        variables.define("PORT", "90&07");
        parse("a.xml", text, &variables).map_err(|finding| finding.to_string())
    }

    #[test]
    fn elements_have_lines_and_text() {
        let text = "<?xml version=\"1.0\"?>\n<!-- ${NOT} &here; -->\n<AMPSConfig>\n  <Name> a&amp;b &#x41; </Name>\
                    \n  <Empty/>\n  <Text><![CDATA[ a < b ]]></Text>\n  <Port>${PORT}</Port>\n</AMPSConfig>\n";
        let root = read(text).unwrap();
        let found: Vec<_> = root
            .children
            .iter()
            .map(|child| (child.name.as_str(), child.place.line, child.text.clone().unwrap()))
            .collect();
        let expected = [("Name", 4, "a&b A"), ("Empty", 5, ""), ("Text", 6, "a < b"), ("Port", 7, "90&07")];
        assert_eq!(found, expected.map(|(name, line, text)| (name, line, text.to_owned())));
    }

    #[test]
    fn a_variable_that_is_not_set_spoils_only_its_own_text() {
        let root = read("<AMPSConfig><A>${X}</A><B>b</B></AMPSConfig>").unwrap();
        assert!(root.get("A").unwrap().text.is_err());
        assert_eq!(root.get("B").unwrap().text.as_deref(), Ok("b"));
    }

    #[test]
    fn what_is_not_xml_is_an_error_with_its_line() {
        let deep = format!("<AMPSConfig>{}", "<a>".repeat(DEEPEST));
        let table = [
            ("", "a.xml: there is no element; write <AMPSConfig>"),
            ("<Config/>", "a.xml:1: Config: is not the configuration of AMPS; write <AMPSConfig>"),
            ("<AMPSConfig/>\n<Name/>", "a.xml:2: Name: is outside of AMPSConfig; move it inside"),
            ("<AMPSConfig/>\nx y", "a.xml:2: \"x\" is outside of every element; remove it"),
            ("<AMPSConfig>\n<A>", "a.xml:2: A: has no end; add </A>"),
            (
                "<AMPSConfig>\n<A>&b;</A></AMPSConfig>",
                "a.xml:2: A: the entity &b; is not defined; write its text, or use <Include> or ${VAR}",
            ),
            (
                "<AMPSConfig>\n<Include/></AMPSConfig>",
                "a.xml:2: Include: names no file; write the path of one",
            ),
            (&deep, "a.xml:1: a: is nested more than 64 deep"),
        ];
        for (text, message) in table {
            assert_eq!(read(text).unwrap_err(), message);
        }
        let message = read("<AMPSConfig>\n<A>\n</B></AMPSConfig>").unwrap_err();
        assert!(message.starts_with("a.xml:3: A: is not XML: "), "{message}");
    }
}
