//! Chores of this workspace, as a library so that their own tests can call them.
#![forbid(unsafe_code)]

pub mod sim;
