//! A fake AMPS server for tests.
#![forbid(unsafe_code)]

mod engine;
pub use engine::*;
