//! The configuration of message types beside the built-in ones (server.md 1.4).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// The message types that need no definition (CONN-33).
pub(crate) const BUILT_IN_TYPES: &[&str] =
    &["json", "fix", "nvfix", "xml", "bflat", "msgpack", "bson", "binary"];

/// How the bodies of a configured message type are written.
///
/// ```
/// use amps_testkit::MessageLayout;
///
/// let parts = MessageLayout::CompositeLocal(vec!["json".into(), "binary".into()]);
/// assert_ne!(parts, MessageLayout::Opaque);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageLayout {
    /// As those of `json`: of equal keys in one object the first counts.
    Json,
    /// JSON that is always read to its end: of equal keys in one object the last counts. AMPS does
    /// so where `EarlyTerminationOptimization` is `false`.
    JsonLast,
    /// As those of `fix`, with this byte behind every field.
    Fix {
        /// The byte behind every field; 1 in the built-in type.
        separator: u8,
    },
    /// As those of `nvfix`, with this byte behind every field.
    Nvfix {
        /// The byte behind every field; 1 in the built-in type.
        separator: u8,
    },
    /// As those of `xml`.
    Xml,
    /// Parts of these message types; fields are named with the number of the part: `/0/id`.
    CompositeLocal(Vec<String>),
    /// Parts of these message types; fields are seen as those of one message.
    CompositeGlobal(Vec<String>),
    /// Bytes that nothing looks into.
    Opaque,
}

/// A message type beside the built-in ones.
///
/// A part of a composite is a built-in type, or one that is configured before it.
///
/// ```
/// use amps_testkit::{MessageLayout, MessageTypeConfig};
///
/// let piped = MessageTypeConfig::new("fix-piped", MessageLayout::Fix { separator: b'|' });
/// assert_eq!(piped.name(), "fix-piped");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTypeConfig {
    pub(crate) name: String,
    pub(crate) layout: MessageLayout,
    pub(crate) unified_tags: bool,
}

impl MessageTypeConfig {
    /// A message type of this name, with bodies of this layout.
    pub fn new(name: impl Into<String>, layout: MessageLayout) -> Self {
        Self { name: name.into(), layout, unified_tags: false }
    }

    /// Whether `/AMPS/SOWStats` has the FIX tags of version 5, which go with those of
    /// `/AMPS/ClientStatus`: 20068 for the topic and 20075 for its records. Default `false`: 20066
    /// and 20067. Only for [`MessageLayout::Fix`] and [`MessageLayout::Nvfix`].
    #[must_use]
    pub fn unified_tags(mut self, on: bool) -> Self {
        self.unified_tags = on;
        self
    }

    /// The name that topics and transports use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How bodies are written.
    pub fn layout(&self) -> &MessageLayout {
        &self.layout
    }
}
