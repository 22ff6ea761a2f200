//! The configuration of topics that keep a state of the world (server.md 4.1).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::limits::RecoveryPoint;

/// What becomes of records in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SowExpiration {
    /// Nothing; what messages say of it is stored and has no effect.
    #[default]
    Disabled,
    /// A record expires if its message says so.
    Enabled,
    /// A record expires after this time, unless its message says otherwise.
    After(Duration),
}

/// Which past states of a topic can be queried (server.md 4.8).
///
/// ```
/// use amps_testkit::SowHistory;
/// use std::time::Duration;
///
/// let history =
///     SowHistory { window: Duration::from_secs(7 * 86_400), granularity: Duration::from_secs(900) };
/// assert!(history.granularity < history.window);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SowHistory {
    /// How far back.
    pub window: Duration,
    /// How often a state is saved at most; zero for every one.
    pub granularity: Duration,
}

/// The configuration of one topic, or of all topics that match a pattern, with a state of the
/// world.
///
/// ```
/// use amps_testkit::{SowConfig, SowExpiration};
/// use std::time::Duration;
///
/// let orders = SowConfig::new("orders")
///     .key("/id")
///     .expiration(SowExpiration::After(Duration::from_secs(45)));
/// assert_eq!(orders.name(), "orders");
/// ```
#[derive(Clone, Debug)]
pub struct SowConfig {
    pub(crate) name: String,
    pub(crate) message_type: String,
    pub(crate) pattern: Option<String>,
    pub(crate) keys: Vec<String>,
    pub(crate) domain: Option<String>,
    pub(crate) expiration: SowExpiration,
    pub(crate) history: Option<SowHistory>,
    pub(crate) preprocessing: Vec<String>,
    pub(crate) enrichment: Vec<String>,
    pub(crate) transient: bool,
    pub(crate) recovery_point: RecoveryPoint,
}

impl SowConfig {
    /// A topic of JSON messages whose publishers choose the key of each record, until
    /// [`key`](Self::key) says which fields make it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message_type: "json".into(),
            pattern: None,
            keys: Vec::new(),
            domain: None,
            expiration: SowExpiration::default(),
            history: None,
            preprocessing: Vec::new(),
            enrichment: Vec::new(),
            transient: false,
            recovery_point: RecoveryPoint::default(),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The message type. Default `json`.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = name.into();
        self
    }

    /// A field that makes the key of a record, such as `/id`. Repeatable: the key is made of
    /// all of them. Without any, publishers have to send the key.
    #[must_use]
    pub fn key(mut self, field: impl Into<String>) -> Self {
        self.keys.push(field.into());
        self
    }

    /// Records with equal key fields have equal keys in all topics of one domain. Default:
    /// the topic's name.
    #[must_use]
    pub fn key_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Every topic that matches this regular expression is a topic of its own within this
    /// container, whose name then only serves entitlements.
    #[must_use]
    pub fn pattern(mut self, regex: impl Into<String>) -> Self {
        self.pattern = Some(regex.into());
        self
    }

    /// What becomes of records in time. Default [`SowExpiration::Disabled`].
    #[must_use]
    pub fn expiration(mut self, expiration: SowExpiration) -> Self {
        self.expiration = expiration;
        self
    }

    /// Keeps past states that can be queried. Default: none. Not for a topic that expires, nor
    /// for one with a [`pattern`](Self::pattern).
    #[must_use]
    pub fn history(mut self, history: SowHistory) -> Self {
        self.history = Some(history);
        self
    }

    /// A field that is added to a message before its key is computed, such as
    /// `CONCAT(/a, /b) AS /id`, of the message alone. `HINT OPTIONAL` behind it leaves the field
    /// out where the value is `NULL`, `HINT SET_CURRENT` shows it to the next fields. Repeatable.
    #[must_use]
    pub fn preprocess(mut self, field: impl Into<String>) -> Self {
        self.preprocessing.push(field.into());
        self
    }

    /// A field that is added to a message before it is stored and delivered. It may use the
    /// record that the message replaces: `/n + /n OF PREVIOUS AS /sum`. Hints as with
    /// [`preprocess`](Self::preprocess). Repeatable.
    #[must_use]
    pub fn enrich(mut self, field: impl Into<String>) -> Self {
        self.enrichment.push(field.into());
        self
    }

    /// Whether the records are gone after a restart, unless a log brings them back. Default
    /// `false`. Without restarts that keep state there is no difference.
    #[must_use]
    pub fn transient(mut self, on: bool) -> Self {
        self.transient = on;
        self
    }

    /// From where in the log a transient topic is rebuilt: [`RecoveryPoint::Now`] leaves it
    /// empty. Default [`RecoveryPoint::Epoch`].
    #[must_use]
    pub fn recovery_point(mut self, point: RecoveryPoint) -> Self {
        self.recovery_point = point;
        self
    }
}
