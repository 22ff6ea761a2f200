//! The engine of the fake server: what it does with a message, free of any I/O.

pub mod filter;
