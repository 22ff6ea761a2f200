//! The configuration of views and conflated topics (server.md 4.12).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// One side of a [`Join`]: a field of a topic.
///
/// ```
/// use amps_testkit::JoinField;
///
/// let field = JoinField::new("orders", "/customer").message_type("nvfix");
/// assert_eq!(field.topic, "orders");
/// assert_eq!(field.message_type.as_deref(), Some("nvfix"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinField {
    /// The message type of the topic. `None`: that of the view.
    pub message_type: Option<String>,
    /// The topic.
    pub topic: String,
    /// The identifier of the field, such as `/customer`.
    pub field: String,
}

impl JoinField {
    /// A field of a topic that has the message type of the view.
    pub fn new(topic: impl Into<String>, field: impl Into<String>) -> Self {
        Self { message_type: None, topic: topic.into(), field: field.into() }
    }

    /// The message type of the topic. Default: that of the view.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = Some(name.into());
        self
    }

    /// Whether a topic of this message type can be meant.
    pub(crate) fn names(&self, message_type: &str) -> bool {
        self.message_type.as_deref().is_none_or(|name| name == message_type)
    }
}

/// A left outer join of two topics; several on one pair of topics all have to hold.
///
/// ```
/// use amps_testkit::{Join, JoinField};
///
/// let join = Join {
///     left: JoinField::new("orders", "/customer"),
///     right: JoinField::new("customers", "/id"),
/// };
/// assert_eq!(join.right.field, "/id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The side whose records always appear.
    pub left: JoinField,
    /// The side whose fields are NULL where nothing matches.
    pub right: JoinField,
}

/// What a view is made of.
///
/// ```
/// use amps_testkit::ViewSource;
///
/// assert_ne!(ViewSource::Topic("orders".into()), ViewSource::Joins(Vec::new()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewSource {
    /// One topic.
    Topic(String),
    /// Several, joined.
    Joins(Vec<Join>),
}

/// The configuration of a view: a topic whose records are computed from those of others.
///
/// ```
/// use amps_testkit::{ViewConfig, ViewSource};
///
/// let totals = ViewConfig::new("totals", ViewSource::Topic("orders".into()))
///     .group_by("/customer")
///     .field("SUM(/price) AS /total")
///     .filter("/status = 'open'");
/// assert_eq!(totals.name(), "totals");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    pub(crate) name: String,
    pub(crate) message_type: String,
    pub(crate) source: ViewSource,
    pub(crate) projection: Vec<String>,
    pub(crate) grouping: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) inline_conflation: bool,
    pub(crate) domain: Option<String>,
    pub(crate) join_null_equivalency: bool,
}

impl ViewConfig {
    /// A view of JSON messages, still without fields.
    pub fn new(name: impl Into<String>, source: ViewSource) -> Self {
        Self {
            name: name.into(),
            message_type: "json".into(),
            source,
            projection: Vec::new(),
            grouping: Vec::new(),
            filter: None,
            inline_conflation: false,
            domain: None,
            join_null_equivalency: false,
        }
    }

    /// The view's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    pub fn source(&self) -> &ViewSource {
        &self.source
    }

    /// The message type of its records. Default `json`.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = name.into();
        self
    }

    /// A field of its records, such as `SUM(/price) AS /total`. Repeatable.
    #[must_use]
    pub fn field(mut self, projection: impl Into<String>) -> Self {
        self.projection.push(projection.into());
        self
    }

    /// A field that tells one record from the next, such as `/customer`. Repeatable.
    #[must_use]
    pub fn group_by(mut self, field: impl Into<String>) -> Self {
        self.grouping.push(field.into());
        self
    }

    /// Which records of its one topic count. Default: all.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Whether updates that follow each other closely may be computed as one. Default `false`.
    #[must_use]
    pub fn inline_conflation(mut self, on: bool) -> Self {
        self.inline_conflation = on;
        self
    }

    /// Records with equal groups have equal keys in all topics of one domain. Default: the
    /// view's name.
    #[must_use]
    pub fn key_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Whether NULL joins with NULL. Default `false`.
    #[must_use]
    pub fn join_null_equivalency(mut self, on: bool) -> Self {
        self.join_null_equivalency = on;
        self
    }
}

/// The configuration of a conflated topic: a copy of another topic that changes less often.
///
/// ```
/// use amps_testkit::ConflatedTopicConfig;
/// use std::time::Duration;
///
/// let slow = ConflatedTopicConfig::new("prices-C", "prices").interval(Duration::from_secs(1));
/// assert_eq!(slow.underlying(), "prices");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflatedTopicConfig {
    pub(crate) name: String,
    pub(crate) message_type: String,
    pub(crate) underlying: String,
    pub(crate) interval: Duration,
    pub(crate) filter: Option<String>,
    pub(crate) enrichment: Vec<String>,
    pub(crate) topic_format: Option<String>,
}

impl ConflatedTopicConfig {
    /// A copy of a topic of JSON messages that changes at most every 5 seconds.
    pub fn new(name: impl Into<String>, underlying: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message_type: "json".into(),
            underlying: underlying.into(),
            interval: Duration::from_secs(5),
            filter: None,
            enrichment: Vec::new(),
            topic_format: None,
        }
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic that it copies.
    pub fn underlying(&self) -> &str {
        &self.underlying
    }

    /// The message type, which is that of the topic copied. Default `json`.
    #[must_use]
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.message_type = name.into();
        self
    }

    /// How long updates are held back; at least 100 ms. Default 5 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Which records are copied. Default: all.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// A field that is added to each record, such as `UPPER(/ticker) AS /ticker`. Repeatable.
    #[must_use]
    pub fn enrich(mut self, field: impl Into<String>) -> Self {
        self.enrichment.push(field.into());
        self
    }

    /// How the copies of the topics of a pattern are named; `%n` stands for the name of the
    /// original. Default: none, for a topic that is no pattern.
    #[must_use]
    pub fn topic_format(mut self, format: impl Into<String>) -> Self {
        self.topic_format = Some(format.into());
        self
    }
}
