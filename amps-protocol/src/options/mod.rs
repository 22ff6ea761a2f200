//! Option lists: the `o` field (protocol.md 6).
//!
//! Owns the list itself ([`Options`]), the table of documented options ([`OptionName`]),
//! their values, and the rules by which they combine. What it does not know it passes
//! through unchanged, for the server to judge (O-9).

mod heartbeat;
mod list;
mod name;
mod parse;
mod rules;
mod typed;
mod value;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

pub use heartbeat::HeartbeatRequest;
pub use list::{FieldList, ListItems, MAX_PROJECTION, Projection, SelectList, Selection};
pub use name::{OptionKind, OptionName};
pub use parse::{OptionsError, OptionsFault};
pub use rules::OptionProblem;
pub use value::{BookmarkNotFound, Conflation, Interval, OptionValueError, Pace, Rate, SizeUnit, ValueFault};

/// A list of options such as `max_backlog=10,select=[/a,/b]`.
///
/// Options keep the order in which they were given; setting one again replaces it. Beside
/// the raw [`get`](Self::get) and [`set`](Self::set) every documented option has a typed
/// getter and setter.
///
/// ```
/// use amps_protocol::{CommandKind, Options};
///
/// let mut options = Options::parse("replace, conflation_key= [/a,/b] ,");
/// options.set_conflation("250ms".parse()?).set_timestamp(true);
/// options.set("max_backlog", 10);
/// assert_eq!(options.get("conflation_key"), Some("[/a,/b]"));
/// assert_eq!(options.max_backlog()?, Some(10));
/// assert_eq!(
///     options.to_string(),
///     "replace,conflation_key=[/a,/b],conflation=250ms,timestamp,max_backlog=10"
/// );
/// options.check(CommandKind::Subscribe, false)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Cow<'static, str>,
    value: Option<String>,
}

impl Options {
    /// No options.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Reads a list. It never fails: what breaks the grammar is kept as it is, for the
    /// server to judge. White space around names and values is dropped, `none` and empty
    /// options are skipped, the last of several equal names wins.
    pub fn parse(text: &str) -> Self {
        let mut gathered = Gathered::default();
        let mut rest = text;
        loop {
            let (end, option) = parse::option(rest).unwrap_or_else(|_| parse::tolerant_option(rest));
            if let Some((name, value)) = option {
                gathered.take(name, value);
            }
            match end.strip_prefix(',') {
                Some(more) => rest = more,
                None => return gathered.options,
            }
        }
    }

    /// Reads a list as [`parse`](Self::parse) does, but refuses one that breaks the
    /// grammar, as a server would. Unknown options are no fault.
    ///
    /// # Errors
    /// A list in brackets is not closed (O-8), a name is none, or the text is not UTF-8.
    pub fn try_parse(text: impl AsRef<[u8]>) -> Result<Self, OptionsError> {
        let bytes = text.as_ref();
        let text = core::str::from_utf8(bytes)
            .map_err(|error| OptionsError { offset: error.valid_up_to(), fault: OptionsFault::NotUtf8 })?;
        let mut gathered = Gathered::default();
        let mut rest = text;
        loop {
            let (end, option) = parse::option(rest)
                .map_err(|(at, fault)| OptionsError { offset: text.len() - at.len(), fault })?;
            if let Some((name, value)) = option {
                gathered.take(name, value);
            }
            match end.strip_prefix(',') {
                Some(more) => rest = more,
                None => return Ok(gathered.options),
            }
        }
    }

    /// Sets `name` without a value.
    pub fn flag(&mut self, name: &str) {
        self.put(name, None);
    }

    /// Sets `name=value`. The value is taken as it is: one that holds a comma must be a
    /// list in brackets, which [`check`](Self::check) finds out.
    pub fn set(&mut self, name: &str, value: impl fmt::Display) {
        self.put(name, Some(value.to_string()));
    }

    /// Takes an option out; returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.name != name);
        self.entries.len() != before
    }

    /// The value of an option that has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entry(name)?.value.as_deref()
    }

    /// Whether the option is present, with a value or without.
    pub fn contains(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|entry| (&*entry.name, entry.value.as_deref()))
    }

    /// The list as it stands on the wire, piece by piece, for encoders that neither
    /// allocate nor format.
    ///
    /// ```
    /// use amps_protocol::Options;
    ///
    /// let wire: Vec<u8> = Options::parse("oof,top_n=10").pieces().flatten().copied().collect();
    /// assert_eq!(wire, b"oof,top_n=10");
    /// ```
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().enumerate().flat_map(|(i, (name, value))| {
            let comma = (i > 0).then_some(",");
            let value = value.map(|value| ["=", value]);
            comma.into_iter().chain([name]).chain(value.into_iter().flatten()).map(str::as_bytes)
        })
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn put(&mut self, name: &str, value: Option<String>) {
        let name = own_name(name);
        match self.entries.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => entry.value = value,
            None => self.entries.push(Entry { name, value }),
        }
    }
}

/// A documented name needs no memory of its own.
fn own_name(name: &str) -> Cow<'static, str> {
    OptionName::from_token(name).map_or_else(|| Cow::Owned(name.into()), |known| Cow::Borrowed(known.token()))
}

/// Entries that are searched one by one; beyond, an index finds equal names.
const SEARCHED: usize = 32;

/// The options that a parser has found so far. Whoever wrote the list, the time for `n` of
/// them is at most proportional to `n log n`.
#[derive(Default)]
struct Gathered {
    options: Options,
    index: BTreeMap<Cow<'static, str>, usize>,
}

impl Gathered {
    fn take(&mut self, name: &str, value: Option<&str>) {
        let means_nothing = name.is_empty() || (name == OptionName::None.token() && value.is_none());
        if means_nothing {
            return;
        }
        let value = value.map(String::from);
        let entries = &mut self.options.entries;
        if entries.len() < SEARCHED {
            return self.options.put(name, value);
        }
        if self.index.is_empty() {
            self.index.extend(entries.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)));
        }
        let name = own_name(name);
        match self.index.get(&name).and_then(|&at| entries.get_mut(at)) {
            Some(entry) => entry.value = value,
            None => {
                self.index.insert(name.clone(), entries.len());
                entries.push(Entry { name, value });
            }
        }
    }
}

impl FromStr for Options {
    type Err = OptionsError;

    /// As [`try_parse`](Self::try_parse).
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        Self::try_parse(text)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            f.write_str(name)?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_protect_commas_and_quotes_protect_brackets() {
        let text = "projection=[SUM(/a[0]) AS /x,'],' AS /y],grouping=[/k]";
        for options in [Options::parse(text), Options::try_parse(text).unwrap()] {
            assert_eq!(options.len(), 2);
            assert_eq!(options.to_string(), text);
        }
    }

    #[test]
    fn long_lists_keep_their_order_and_the_last_of_equal_names() {
        let names = (0..10_000).map(|n| alloc::format!("n{}={n}", n % 5_000));
        let text: Vec<String> = names.collect();
        for options in [Options::parse(&text.join(",")), Options::try_parse(text.join(",")).unwrap()] {
            assert_eq!(options.len(), 5_000);
            assert_eq!(options.iter().next(), Some(("n0", Some("5000"))));
            assert_eq!(options.get("n4999"), Some("9999"));
        }
    }

    #[test]
    fn the_last_of_equal_names_wins_and_none_is_nothing() {
        assert_eq!(Options::parse("max_backlog=5,max_backlog=7").max_backlog(), Ok(Some(7)));
        assert!(Options::parse("none").is_empty());
        assert!(Options::parse(",,").is_empty());
        assert!(Options::try_parse(" none , ,").unwrap().is_empty());
    }

    #[test]
    fn strict_reading_says_where_the_list_breaks_the_grammar() {
        for (text, offset, fault) in [
            (&b"select=[/a,/b"[..], 7, OptionsFault::UnterminatedList),
            (b"select=['/a],oof", 7, OptionsFault::UnterminatedList),
            (b"oof,,5", 5, OptionsFault::ExpectedName),
            (b"Oof", 0, OptionsFault::ExpectedName),
            (b"=5", 0, OptionsFault::ExpectedName),
            (b"oof live", 4, OptionsFault::ExpectedSeparator),
            (b"select=[/a] /b", 12, OptionsFault::ExpectedComma),
            (b"top_n=1,\xff", 8, OptionsFault::NotUtf8),
        ] {
            assert_eq!(Options::try_parse(text), Err(OptionsError { offset, fault }));
        }
    }

    #[test]
    fn strict_reading_passes_unknown_options_through() {
        let options = Options::try_parse("pull, new_thing = a b ,empty=").unwrap();
        assert_eq!(options.to_string(), "pull,new_thing=a b,empty=");
    }
}
