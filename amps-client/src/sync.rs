//! What the hand-offs between threads are made of: the standard library's, and under `--cfg amps_loom` those of
//! `loom`, which tries every order in which threads may meet (`models.rs`, `cargo xtask loom`).

#[cfg(all(test, amps_loom))]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(all(test, amps_loom)))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
