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

/// What a null in a delta does to the stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaNull {
    /// Nothing.
    Keep,
    /// It takes its place.
    SetNull,
}

#[derive(Clone, Debug)]
pub(crate) struct Select;

impl Select {
    pub(crate) fn parse(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
    pub(crate) fn union(&self, _: &Self) -> Self {
        Self
    }
}

pub(crate) struct Difference {
    pub(crate) body: Vec<u8>,
    pub(crate) changed: bool,
}

impl Format {
    pub(crate) fn key_texts(&self, body: &[u8], keys: &[Path]) -> Option<Vec<Vec<u8>>> {
        let document = self.read(body);
        Some(
            keys.iter()
                .map(|path| {
                    let mut f = Vec::new();
                    document.look_up(path, &mut f);
                    f.into_iter().next().map_or(Vec::new(), |f| f.into_text().into_owned())
                })
                .collect(),
        )
    }
    pub(crate) fn merge(&self, _: &[u8], delta: &[u8], _: DeltaNull) -> Vec<u8> {
        delta.to_vec()
    }
    pub(crate) fn supports_delta(&self) -> bool {
        true
    }
    pub(crate) fn difference(&self, _: &[u8], new: &[u8], _: &[Path], _: bool) -> Difference {
        Difference { body: new.to_vec(), changed: true }
    }
    pub(crate) fn select(&self, body: &[u8], _: &Select) -> Vec<u8> {
        body.to_vec()
    }
}
