//! `cargo xtask deny`: what we depend on, as `deny.toml` says.
//!
//! Owns how `cargo deny` is asked, and that it says so where it is not installed.

use std::process::Command;

/// What needs no network.
const CHECKS: &[&str] = &["bans", "licenses", "sources"];

/// Whether `cargo deny` is there.
#[must_use]
pub fn is_installed() -> bool {
    Command::new("cargo").args(["deny", "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Checks bans, licences and sources.
///
/// # Errors
/// It is not installed, or it found something.
pub fn run() -> Result<(), String> {
    if !is_installed() {
        return Err("cargo deny is not installed: cargo install cargo-deny --locked".into());
    }
    println!("== cargo deny check {}", CHECKS.join(" "));
    let status = Command::new("cargo").args(["deny", "check"]).args(CHECKS).status();
    let status = status.map_err(|error| format!("cargo deny: {error}"))?;
    if status.success() { Ok(()) } else { Err("cargo deny found something".into()) }
}
