//! A client for AMPS.
mod error;
pub use error::*;
mod listener;
pub use listener::*;
mod reconnect;
pub use reconnect::*;
mod session;
