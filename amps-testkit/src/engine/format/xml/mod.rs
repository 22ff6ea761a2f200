//! XML bodies: read, merged, compared, cut down, composed.
//!
//! `read` makes elements of a text, by a parser for XML that is not this project's; `edit`
//! works on them. Namespaces are part of the names, as they are written.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod compose;
mod edit;
mod read;

pub(super) use compose::compose;
pub(super) use edit::{difference, merge, select};
pub(super) use read::XmlDocument;
