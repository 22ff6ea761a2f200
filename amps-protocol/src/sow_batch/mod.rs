//! The records of a `sow` frame (protocol.md 7.3): each a header, then exactly as many bytes
//! of data as the header says.

mod read;
pub use read::{RecordPosition, Records, SharedRecords};
mod write;
pub use write::{BatchWriter, RecordWriter};
