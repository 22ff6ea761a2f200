//! `cargo xtask dialogues`: the transcripts against a server that is not ours.

use std::process::Command;

/// Prints the configuration that such a server needs.
///
/// # Errors
/// The test binary cannot be built.
pub fn print_configuration() -> Result<(), String> {
    run("configuration_of_a_target", None)
}

/// Plays every transcript that needs no fake server against the one at `HOST:PORT`.
///
/// # Errors
/// Some differ; each is shown with the line.
pub fn play(target: &str) -> Result<(), String> {
    run("dialogues_against_a_target", Some(target))
}

fn run(test: &str, target: Option<&str>) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "test",
        "--quiet",
        "-p",
        "amps-testkit",
        "--test",
        "elsewhere",
        "--",
        "--ignored",
        "--nocapture",
        test,
    ]);
    cargo.envs(target.map(|target| ("AMPS_TARGET", target)));
    let status = cargo.status().map_err(|error| format!("cargo test: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("dialogues: {status}")) }
}
