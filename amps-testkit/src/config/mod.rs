//! AMPS's own XML configuration, as the configuration of a fake server (server.md 8.7).
//!
//! Owns the files: nothing they name except what they include is opened. Reading order:
//!
//! * `file` is what callers see, with `finding`, what they are told;
//! * `xml` makes a tree of elements, with `variables` for `${VAR}`;
//! * `schema` lists the elements, `reader` and `units` turn them into values;
//! * `scope`, `transports`, `topics`, `queues`, `security`, `actions` know what they mean.

mod actions;
mod file;
mod finding;
mod queues;
mod reader;
mod replication;
mod sample;
mod schema;
mod scope;
mod security;
mod topics;
mod transports;
mod units;
mod variables;
mod xml;

pub(crate) use file::explain;
pub use file::{ConfigFile, ConfigReader};
pub use finding::{ConfigFileError, Finding, FindingKind};
pub(crate) use reader::Places;
pub use sample::SAMPLE_CONFIG;
