//! The program `amps` as a person or a script runs it: processes of its own, pipes, pseudo-terminals, signals.
//!
//! Each module holds the tests of one command, or of one way to run it. The server is embedded.
#![cfg(unix)]

mod archive;
mod decode;
mod delete;
mod drain;
mod failover;
mod pages;
mod ping;
mod process;
mod publish;
mod signals;
mod sow;
mod subscribe;
mod terminal;
