//! To be filled.
pub mod sim;
