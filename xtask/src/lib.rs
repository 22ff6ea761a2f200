//! Chores of this workspace, as a library so that their own tests can call them.
#![forbid(unsafe_code)]

pub mod acceptance;
pub mod api;
pub mod bench;
pub mod chaos;
pub mod ci;
pub mod dependencies;
pub mod dialogues;
pub mod instructions;
pub mod interop;
pub mod kill;
pub mod loom;
pub mod network;
pub mod packages;
pub mod parts;
pub mod platforms;
pub mod process;
mod served;
pub mod sim;
pub mod soak;
pub mod store;
pub mod tidy;
pub mod transports;
pub mod tryout;
