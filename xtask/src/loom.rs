//! `cargo xtask loom`: the hand-offs between threads in every order that their steps can take.
//!
//! The models are `amps-client/src/models.rs`. Built apart, because the crate is another one with them. There is no
//! step for Miri: it would look for mistakes in unsafe code, which the published crates forbid themselves (`tidy`).

use std::process::Command;

/// Runs all models.
///
/// # Errors
/// An order of steps in which a thread waits for ever, or finds what it should not; the output names it.
pub fn run() -> Result<(), String> {
    println!("== hand-offs in every order: cargo test -p amps-client --lib --features async models::");
    let status = Command::new("cargo")
        .args([
            "test",
            "-q",
            "-p",
            "amps-client",
            "--lib",
            "--features",
            "async",
            "--target-dir",
            "target/loom",
        ])
        .args(["models::"])
        .env("RUSTFLAGS", "--cfg amps_loom")
        .status()
        .map_err(|error| format!("cargo test: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("a model of a hand-off failed ({status})")) }
}
