//! `cargo xtask bench`: what we reach of what is possible.

use std::process::Command;

/// Runs the ratios (default), or criterion's benchmarks too.
///
/// # Errors
/// The benchmark that failed.
pub fn run(all: bool) -> Result<(), String> {
    let benches: &[&str] = if all { &["ratios", "recovery", "receive", "publish"] } else { &["ratios"] };
    for bench in benches {
        let status = Command::new("cargo")
            .args(["bench", "-p", "benches", "--bench", bench])
            .status()
            .map_err(|error| format!("cargo bench: {error}"))?;
        if !status.success() {
            return Err(format!("benchmark {bench} failed ({status})"));
        }
    }
    Ok(())
}
