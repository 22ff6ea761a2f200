//! What the benchmarks measure, and the floors that they are measured against.
//!
//! Every measurement moves real bytes over loopback. A floor does the same with the least
//! that any program could do; what counts is the ratio of the two in one run, because
//! machines differ and drift.

mod peer;
pub use peer::{BODY, Flood, HEADER, Sponge};
pub mod codec;
pub mod connect;
pub mod content;
#[cfg(unix)]
pub mod crowd;
pub mod publish;
pub mod queue;
pub mod ratio;
pub mod receive;
pub mod recovery;
pub mod report;
#[cfg(unix)]
pub mod round_trip;
pub mod server;
#[cfg(unix)]
pub mod system;
#[cfg(unix)]
pub mod transports;
#[cfg(unix)]
pub mod whole;
pub mod yardstick;
