//! Lists in brackets: `[/id,/region]`, `[-/,+/id]`, `[SUM(/qty) AS /total]`.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::parse::{self, Nesting};
use super::value::ValueFault;
use crate::offset::offset_of;

/// Most bytes that a `projection` may have, brackets included. The documents say 64 KB;
/// that this means 65,536 bytes of the value is inferred.
pub const MAX_PROJECTION: usize = 64 << 10;

/// The items of a list in brackets: an iterator that honours nested brackets, parentheses
/// and quotes. Items are trimmed, empty ones skipped.
///
/// ```
/// use amps_protocol::ListItems;
///
/// let items = ListItems::parse("[ /a[0,1], CONCAT(/b,',') AS /c ,]")?;
/// assert_eq!(items.collect::<Vec<_>>(), ["/a[0,1]", "CONCAT(/b,',') AS /c"]);
/// assert!(ListItems::parse("[/a").is_err());
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListItems<'a> {
    rest: Option<&'a str>,
}

impl<'a> ListItems<'a> {
    /// Takes a list with its brackets.
    ///
    /// # Errors
    /// The text does not begin with `[`, or the list does not end where the text does.
    pub fn parse(text: &'a str) -> Result<Self, ValueFault> {
        let text = text.trim();
        if !text.starts_with('[') {
            return Err(ValueFault::new(0, "a list in brackets, such as [/a,/b]"));
        }
        match parse::list(text) {
            Ok(("", list)) => {
                Ok(Self { rest: list.strip_prefix('[').and_then(|list| list.strip_suffix(']')) })
            }
            Ok((rest, _)) => Err(ValueFault::new(text.len() - rest.len(), "the end of the list")),
            Err(_) => Err(ValueFault::new(text.len(), "']' at the end of the list")),
        }
    }
}

impl<'a> Iterator for ListItems<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let rest = self.rest.take()?;
            let mut nesting = Nesting::within_list();
            let comma = rest.char_indices().find(|(_, c)| {
                nesting.step(*c);
                *c == ',' && nesting.between_items()
            });
            let (item, after) = comma.map_or((rest, None), |(at, _)| {
                let (item, after) = rest.split_at(at);
                (item, after.strip_prefix(','))
            });
            self.rest = after;
            let item = item.trim();
            if !item.is_empty() {
                return Some(item);
            }
        }
    }
}

/// Whether a text is one item: not empty, balanced, no comma of its own.
fn check_item(text: &str) -> Result<&str, ValueFault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ValueFault::new(0, "an item of a list, found nothing"));
    }
    let mut nesting = Nesting::within_list();
    for (offset, c) in text.char_indices() {
        nesting.step(c);
        if nesting.broken || nesting.brackets == 0 {
            return Err(ValueFault::new(offset, "balanced brackets and parentheses"));
        }
        if c == ',' && nesting.between_items() {
            return Err(ValueFault::new(offset, "one item, without a comma"));
        }
    }
    if nesting.between_items() {
        Ok(text)
    } else {
        Err(ValueFault::new(text.len(), "closed brackets, parentheses and quotes"))
    }
}

/// Fields in brackets, such as those of `conflation_key` and `grouping`.
///
/// ```
/// use amps_protocol::FieldList;
///
/// let mut fields: FieldList = "[/id, /region]".parse()?;
/// fields.push("/desk")?;
/// assert_eq!(fields.to_string(), "[/id,/region,/desk]");
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldList(Vec<String>);

impl FieldList {
    /// A list of no fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A list of these fields.
    ///
    /// # Errors
    /// One of them is not one item of a list.
    pub fn of<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> Result<Self, ValueFault> {
        let mut list = Self::new();
        for field in fields {
            list.push(field.as_ref())?;
        }
        Ok(list)
    }

    /// Adds a field.
    ///
    /// # Errors
    /// It is empty, holds a comma, or does not close what it opens.
    pub fn push(&mut self, field: &str) -> Result<&mut Self, ValueFault> {
        self.0.push(check_item(field)?.to_owned());
        Ok(self)
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for FieldList {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        let mut list = Self::new();
        for item in ListItems::parse(text)? {
            list.push(item).map_err(|fault| within(text, item, fault))?;
        }
        Ok(list)
    }
}

impl fmt::Display for FieldList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.iter(), |f, field| write!(f, "{field}"))
    }
}

/// Whether a field of a [`SelectList`] is delivered.
///
/// ```
/// use amps_protocol::{SelectList, Selection};
///
/// let list: SelectList = "[-/,+/id]".parse()?;
/// assert_eq!(list.iter().next(), Some((Selection::Exclude, "/")));
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// `+`: it is.
    Include,
    /// `-`: it is not.
    Exclude,
}

/// Which fields of a message are delivered: the value of `select`. The most specific entry
/// decides; `-/` takes all fields out, `+/` puts all in.
///
/// ```
/// use amps_protocol::SelectList;
///
/// let list = SelectList::only(["/id", "/ticker"])?;
/// assert_eq!(list.to_string(), "[-/,+/id,+/ticker]");
/// let mut list = SelectList::new();
/// list.exclude("/notes")?;
/// assert_eq!(list.to_string(), "[-/notes]");
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectList(Vec<(Selection, String)>);

impl SelectList {
    /// A list without entries.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// These fields and no other.
    ///
    /// # Errors
    /// One of them is not one item of a list.
    pub fn only<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> Result<Self, ValueFault> {
        let mut list = Self::new();
        list.exclude("/")?;
        for field in fields {
            list.include(field.as_ref())?;
        }
        Ok(list)
    }

    /// Delivers a field.
    ///
    /// # Errors
    /// It is empty, holds a comma, or does not close what it opens.
    pub fn include(&mut self, field: &str) -> Result<&mut Self, ValueFault> {
        self.push(Selection::Include, field)
    }

    /// Leaves a field out.
    ///
    /// # Errors
    /// It is empty, holds a comma, or does not close what it opens.
    pub fn exclude(&mut self, field: &str) -> Result<&mut Self, ValueFault> {
        self.push(Selection::Exclude, field)
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Selection, &str)> {
        self.0.iter().map(|(selection, field)| (*selection, field.as_str()))
    }

    fn push(&mut self, selection: Selection, field: &str) -> Result<&mut Self, ValueFault> {
        self.0.push((selection, check_item(field)?.to_owned()));
        Ok(self)
    }
}

impl FromStr for SelectList {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        let mut list = Self::new();
        for item in ListItems::parse(text)? {
            let (selection, field) = match (item.strip_prefix('+'), item.strip_prefix('-')) {
                (Some(field), _) => (Selection::Include, field),
                (_, Some(field)) => (Selection::Exclude, field),
                _ => return Err(ValueFault::new(offset_of(text, item), "'+' or '-' before a field")),
            };
            list.push(selection, field).map_err(|fault| within(text, field, fault))?;
        }
        Ok(list)
    }
}

impl fmt::Display for SelectList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.iter(), |f, (selection, field)| {
            let sign = match selection {
                Selection::Include => '+',
                Selection::Exclude => '-',
            };
            write!(f, "{sign}{field}")
        })
    }
}

/// Computed fields: the value of `projection`, at most [`MAX_PROJECTION`] bytes long.
///
/// ```
/// use amps_protocol::Projection;
///
/// let mut projection: Projection = "[MAX(/price) as /max]".parse()?;
/// projection.push("/tickerId", "/ticker")?;
/// assert_eq!(projection.to_string(), "[MAX(/price) AS /max,/tickerId AS /ticker]");
/// # Ok::<(), amps_protocol::ValueFault>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    columns: Vec<(String, String)>,
    /// Bytes of the printed list, so that a long one is not counted again and again.
    len: usize,
}

const AS: &str = " AS ";

impl Projection {
    /// A projection without fields.
    pub const fn new() -> Self {
        Self { columns: Vec::new(), len: "[]".len() }
    }

    /// Adds `expression AS field`.
    ///
    /// # Errors
    /// The expression is not one item of a list, the field does not begin with `/` or
    /// holds a blank, or the whole would exceed [`MAX_PROJECTION`]. The offset counts within
    /// the part that is at fault.
    pub fn push(&mut self, expression: &str, field: &str) -> Result<&mut Self, ValueFault> {
        let expression = check_item(expression)?;
        let field = check_column(field)?;
        let comma = usize::from(!self.columns.is_empty());
        let len = self.len + comma + expression.len() + AS.len() + field.len();
        if len > MAX_PROJECTION {
            return Err(ValueFault::new(0, "at most 64 KB in all"));
        }
        self.len = len;
        self.columns.push((expression.to_owned(), field.to_owned()));
        Ok(self)
    }

    /// Expressions and the fields that they are named, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|(expression, field)| (expression.as_str(), field.as_str()))
    }
}

/// Whether a text is the name of a column: a field, without blanks.
fn check_column(field: &str) -> Result<&str, ValueFault> {
    let field = check_item(field)?;
    if field.starts_with('/') && !field.contains(char::is_whitespace) {
        Ok(field)
    } else {
        Err(ValueFault::new(0, "a field such as /total, without blanks"))
    }
}

impl Default for Projection {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for Projection {
    type Err = ValueFault;

    fn from_str(text: &str) -> Result<Self, ValueFault> {
        let mut projection = Self::new();
        for item in ListItems::parse(text)? {
            let (expression, field) = split_as(item)
                .ok_or_else(|| ValueFault::new(offset_of(text, item), "an expression AS /field"))?;
            // Each part by itself, so that a fault is found where it is.
            check_item(expression).map_err(|fault| within(text, expression, fault))?;
            check_column(field).map_err(|fault| within(text, field, fault))?;
            projection.push(expression, field).map_err(|fault| within(text, item, fault))?;
        }
        Ok(projection)
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.iter(), |f, (expression, field)| write!(f, "{expression}{AS}{field}"))
    }
}

/// Splits at the last `AS`, in any case, that lies outside quotes, brackets and
/// parentheses.
fn split_as(item: &str) -> Option<(&str, &str)> {
    let mut nesting = Nesting::within_list();
    let mut found = None;
    for (at, c) in item.char_indices() {
        nesting.step(c);
        let word = item.get(at..at + AS.len()).map(str::as_bytes);
        if let (true, Some([b' ' | b'\t', b'a' | b'A', b's' | b'S', b' ' | b'\t'])) =
            (nesting.between_items(), word)
        {
            found = Some(at);
        }
    }
    let (expression, rest) = item.split_at(found?);
    Some((expression, rest.get(AS.len()..)?))
}

fn within(text: &str, part: &str, fault: ValueFault) -> ValueFault {
    ValueFault::new(offset_of(text, part) + fault.offset, fault.expected)
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (i, item) in items.enumerate() {
        f.write_str(if i > 0 { "," } else { "" })?;
        write(f, item)?;
    }
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn faults_are_found_where_they_are_in_the_whole_list() {
        assert_eq!("[/a,/b)x]".parse::<FieldList>().unwrap_err().offset, 6);
        assert_eq!("[/a AS x]".parse::<Projection>().unwrap_err().offset, 7);
        assert_eq!("[/a AS /x,/b AS /y z]".parse::<Projection>().unwrap_err().offset, 16);
        assert_eq!("[+/a,/b]".parse::<SelectList>().unwrap_err().offset, 5);
    }

    #[test]
    fn items_are_split_outside_of_whatever_nests() {
        for (text, items) in [
            ("[]", &[][..]),
            ("[a,,b]", &["a", "b"]),
            ("['a,b',\"],\"]", &["'a,b'", "\"],\""]),
            ("[IF(/a,1,2),/b[1,2]]", &["IF(/a,1,2)", "/b[1,2]"]),
        ] {
            assert!(ListItems::parse(text).unwrap().eq(items.iter().copied()), "{text}");
        }
        for (text, offset) in [("/a", 0), ("[/a", 3), ("[/a]x", 4), ("", 0), ("['/a]", 5)] {
            assert_eq!(ListItems::parse(text).unwrap_err().offset, offset, "{text}");
        }
    }

    #[test]
    fn what_would_become_two_items_is_refused() {
        let refused = |text: &str| FieldList::new().push(text).unwrap_err().offset;
        assert_eq!(refused("  "), 0);
        assert_eq!(refused("/a,/b"), 2);
        assert_eq!(refused("/a]"), 2);
        assert_eq!(refused("/a[0"), 4);
        assert_eq!(refused("'a"), 2);
        assert!(FieldList::new().push("','").is_ok());
    }

    #[test]
    fn a_select_list_needs_its_signs() {
        assert_eq!("[-/,/id]".parse::<SelectList>().unwrap_err().offset, 4);
        assert_eq!(
            "[-/, + ]".parse::<SelectList>().unwrap_err().expected,
            "an item of a list, found nothing"
        );
    }

    #[test]
    fn the_last_as_outside_quotes_names_the_field() {
        let text = "[' AS ' AS /x,SUM(/a as /b) aS /y]";
        let projection: Projection = text.parse().unwrap();
        assert!(projection.iter().eq([("' AS '", "/x"), ("SUM(/a as /b)", "/y")]));
        assert_eq!("[/a AS /x,/b]".parse::<Projection>().unwrap_err().offset, 10);
        assert!("[/a AS x]".parse::<Projection>().is_err());
    }

    #[test]
    fn a_projection_ends_at_64_kb() {
        let mut projection = Projection::new();
        projection.push(&"x".repeat(MAX_PROJECTION - "[ AS /a]".len()), "/a").unwrap();
        assert_eq!(projection.to_string().len(), MAX_PROJECTION);
        assert!(projection.push("/b", "/b").is_err());
    }
}
