//! `cargo xtask tryout`: the first program of the README, as a reader makes it.
//!
//! Owns what that reader does: a new project outside of this workspace, the lines of `Cargo.toml` and the program as they
//! stand in the README, and `cargo run`.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// Where the README's reader has the checkout, as the README writes it.
const CHECKOUT: &str = "../amps";

/// What the program says when it has done its work.
const SAYS: &str = "Order { id: 3, qty: 30 }";

/// Makes the project, runs it, and says how long that took.
///
/// # Errors
/// The README has no such program, or it fails.
pub fn run() -> Result<(), String> {
    let readme = fs::read_to_string("README.md").map_err(|error| format!("README.md: {error}"))?;
    let manifest = block(&readme, "toml").ok_or("README.md has no lines for Cargo.toml")?;
    let program = block(&readme, "rust").ok_or("README.md has no program")?;
    if !manifest.contains(CHECKOUT) {
        return Err(format!("README.md: the lines for Cargo.toml do not name the checkout as {CHECKOUT}"));
    }
    let here = env::current_dir().map_err(|error| format!("this directory: {error}"))?;
    let folder = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
    let project = folder.path().join("order-worker");
    let began = Instant::now();
    fs::create_dir_all(project.join("src"))
        .and_then(|()| fs::write(project.join("src/main.rs"), program))
        .and_then(|()| {
            let head = "[package]\nname = \"order-worker\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
            fs::write(
                project.join("Cargo.toml"),
                head.to_owned() + &manifest.replace(CHECKOUT, &here.display().to_string()),
            )
        })
        .map_err(|error| format!("{}: {error}", project.display()))?;
    // As a reader has it: nothing is compiled yet.
    let output = Command::new("cargo")
        .args(["run", "-q"])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", project.join("target"))
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.contains(SAYS) {
        return Err(format!(
            "the first program of the README fails: {said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    println!(
        "== the first program of the README: {:.0} s from nothing to its last line",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The first block of this language.
fn block<'a>(text: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    rest.split_once("```").map(|(block, _)| block)
}
