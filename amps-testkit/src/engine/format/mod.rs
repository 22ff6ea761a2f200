//! Message types: what can be seen in a body.
//!
//! Owns the step from the name of a message type to a way of reading bodies. What can be read
//! is read once per message, however many filters look at it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::filter::{Document, Field, JsonDocument, Path};

/// How the bodies of a message type are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    /// Bytes: no path leads anywhere.
    Opaque,
}

impl Format {
    /// The format of a message type, by its name.
    pub(crate) fn of(message_type: &str) -> Self {
        match message_type {
            "json" => Self::Json,
            _ => Self::Opaque,
        }
    }

    /// A body, to be looked into. Nothing is parsed before the first path is looked up.
    pub(crate) fn read<'b>(&self, body: &'b [u8]) -> Body<'b> {
        match self {
            Self::Json => Body::Json(JsonDocument::new(body)),
            Self::Opaque => Body::Opaque,
        }
    }
}

/// A body that is being looked into.
#[derive(Debug)]
pub(crate) enum Body<'b> {
    Json(JsonDocument<'b>),
    Opaque,
}

impl Document for Body<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        match self {
            Self::Json(document) => document.look_up(path, found),
            Self::Opaque => {}
        }
    }
}
