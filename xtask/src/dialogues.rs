//! `cargo xtask dialogues`: the transcripts against a server that is not ours.

use std::process::Command;

/// Prints the configuration that such a server needs.
///
/// # Errors
/// The test cannot be built or run.
pub fn print_configuration() -> Result<(), String> {
    elsewhere(&["--config"])
}

/// Plays every transcript that needs no fake server against the one at `HOST:PORT`.
///
/// # Errors
/// Some differ; each is shown with the line.
pub fn play(target: &str) -> Result<(), String> {
    elsewhere(&["--target", target])
}

fn elsewhere(options: &[&str]) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "-p", "amps-testkit", "--test", "elsewhere", "--"]).args(options);
    let status = cargo.status().map_err(|error| format!("cargo test: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("dialogues: {status}")) }
}
