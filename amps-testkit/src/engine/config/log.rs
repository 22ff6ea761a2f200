//! Which topics have a transaction log (server.md 5.1).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// Which topics have a transaction log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTopics {
    /// There is no transaction log at all, so that client names need not be unique either.
    None,
    /// Topics that are covered by one of these.
    Matching(Vec<LoggedTopic>),
}

/// Topics that have a transaction log: a name, or a regular expression, of one message type or
/// of all.
///
/// ```
/// use amps_testkit::LoggedTopic;
///
/// let everything = LoggedTopic::from(".*");
/// let orders = LoggedTopic::new("^orders").message_type("json");
/// assert_eq!(orders.to_string(), "^orders of json");
/// assert_eq!(everything.to_string(), ".*");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedTopic {
    pub(crate) topics: String,
    pub(crate) message_type: Option<String>,
}

impl LoggedTopic {
    /// A topic, or a regular expression, of any message type.
    pub fn new(topics: impl Into<String>) -> Self {
        Self { topics: topics.into(), message_type: None }
    }

    /// Only topics of this message type: one name under two types is two topics (CONN-32).
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }
}

impl From<&str> for LoggedTopic {
    fn from(topics: &str) -> Self {
        Self::new(topics)
    }
}

impl From<String> for LoggedTopic {
    fn from(topics: String) -> Self {
        Self::new(topics)
    }
}

impl std::fmt::Display for LoggedTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.topics)?;
        self.message_type.iter().try_for_each(|name| write!(f, " of {name}"))
    }
}
