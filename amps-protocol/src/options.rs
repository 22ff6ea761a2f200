//! Option lists: the `o` field.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A list of options such as `max_backlog=10,select=[/a,/b]`.
///
/// Commas inside `[...]` do not separate options; setting an option again replaces it.
///
/// ```
/// use amps_protocol::Options;
///
/// let mut options = Options::parse("replace, conflation_key= [/a,/b] ,");
/// options.set("max_backlog", 10);
/// assert_eq!(options.get("conflation_key"), Some("[/a,/b]"));
/// assert_eq!(options.to_string(), "replace,conflation_key=[/a,/b],max_backlog=10");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    entries: Vec<(String, Option<String>)>,
}

impl Options {
    /// No options.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Reads a list. It never fails: what it does not understand is kept as it is, for the
    /// server to judge. White space around names and values is dropped, `none` and empty
    /// options are skipped, the last of several equal names wins.
    pub fn parse(text: &str) -> Self {
        let mut options = Self::new();
        for part in split_outside_brackets(text) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (part.trim(), None),
            };
            let means_nothing = name.is_empty() || (name == "none" && value.is_none());
            if !means_nothing {
                options.put(name, value.map(String::from));
            }
        }
        options
    }

    /// Sets `name` without a value.
    pub fn flag(&mut self, name: &str) {
        self.put(name, None);
    }

    /// Sets `name=value`.
    pub fn set(&mut self, name: &str, value: impl fmt::Display) {
        self.put(name, Some(alloc::format!("{value}")));
    }

    /// Takes an option out; returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(n, _)| n != name);
        self.entries.len() != before
    }

    /// The value of an option that has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| n == name)?.1.as_deref()
    }

    /// Whether the option is present, with a value or without.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.iter().any(|(n, _)| n == name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The granted or asked backlog: the value of `max_backlog`, if it is a number.
    pub fn max_backlog(&self) -> Option<u32> {
        self.get("max_backlog")?.parse().ok()
    }

    fn put(&mut self, name: &str, value: Option<String>) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name.into(), value)),
        }
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

/// Splits at commas that lie outside brackets; quotes inside brackets hide both (O-2).
fn split_outside_brackets(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    let mut quote = None;
    text.split(move |c: char| {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if depth > 0 => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            (None, ',') => return depth == 0,
            _ => {}
        }
        false
    })
}

/// What the options of a `heartbeat` command ask for. They are positional, not a list:
/// `start,5` is one instruction (protocol.md O-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatRequest {
    /// Begin, or begin anew, with this interval in seconds; 0 ends it.
    Start(u64),
    /// A sign of life.
    Beat,
    /// End.
    Stop,
}

impl HeartbeatRequest {
    /// Reads `start,5` (also `start=5` and `start,5s`), `beat` or `stop`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text {
            "beat" => return Some(Self::Beat),
            "stop" => return Some(Self::Stop),
            _ => {}
        }
        let seconds = text.strip_prefix("start")?.trim_start_matches([',', '=', ' ']);
        seconds.trim_end_matches(['s', 'S', ' ']).parse().ok().map(Self::Start)
    }
}

impl fmt::Display for HeartbeatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(seconds) => write!(f, "start,{seconds}"),
            Self::Beat => f.write_str("beat"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn brackets_protect_commas_and_quotes_protect_brackets() {
        let text = "projection=[SUM(/a[0]) AS /x,'],' AS /y],grouping=[/k]";
        let options = Options::parse(text);
        assert_eq!(options.iter().count(), 2);
        assert_eq!(options.to_string(), text);
    }

    #[test]
    fn the_last_of_equal_names_wins_and_none_is_nothing() {
        assert_eq!(Options::parse("max_backlog=5,max_backlog=7").max_backlog(), Some(7));
        assert!(Options::parse("none").is_empty());
        assert!(Options::parse(",,").is_empty());
    }

    #[test]
    fn heartbeat_options_are_positional() {
        assert_eq!(HeartbeatRequest::parse("start,5"), Some(HeartbeatRequest::Start(5)));
        assert_eq!(HeartbeatRequest::parse("start=5s"), Some(HeartbeatRequest::Start(5)));
        assert_eq!(HeartbeatRequest::parse("beat"), Some(HeartbeatRequest::Beat));
        assert_eq!(HeartbeatRequest::parse("start"), None);
        assert_eq!(HeartbeatRequest::Start(5).to_string(), "start,5");
    }
}
