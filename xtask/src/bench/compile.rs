//! What it costs to build `amps-client` without features from scratch: seconds, and crates.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::measured::{Better, Row};
use super::output;

const PACKAGE: &str = "amps-client";

/// Wanted: under 20 s on 2 cores.
const MOST_SECONDS: f64 = 20.0;
/// Wanted: under 25 crates.
const MOST_CRATES: f64 = 24.0;

/// Builds in a new directory inside `target`, which is gone afterwards.
pub(super) fn rows(target: &Path) -> Result<Vec<Row>, String> {
    let tree = tree()?;
    let seconds = seconds(target)?;
    Ok(vec![
        row("from scratch, without features", "s", seconds, MOST_SECONDS, "one build, profile `dev`"),
        row(
            "crates in the tree, without features",
            "crates",
            crates(&tree) as f64,
            MOST_CRATES,
            "all that are compiled with it, those of procedural macros and of this workspace too",
        ),
    ])
}

/// What the package is made of. Fetches what is not on the machine, so that the build waits for no network.
fn tree() -> Result<String, String> {
    let args = ["tree", "--offline", "-p", PACKAGE, "-e", "normal", "--prefix", "none"];
    output("cargo", &args).or_else(|_| {
        output("cargo", &["fetch", "--locked"])?;
        output("cargo", &args)
    })
}

/// The crates of a tree without indentation, each version once, without the package itself.
fn crates(tree: &str) -> usize {
    let mut crates: Vec<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .filter(|(name, _)| *name != PACKAGE)
        .collect();
    crates.sort_unstable();
    crates.dedup();
    crates.len()
}

/// How long a build takes by the clock on the wall.
fn seconds(target: &Path) -> Result<f64, String> {
    let fresh = tempfile::tempdir_in(target).map_err(|error| format!("{}: {error}", target.display()))?;
    let mut command = Command::new("cargo");
    // As on a machine with two processors, whatever this one has.
    command
        .args(["build", "--quiet", "--offline", "-j", "2", "-p", PACKAGE, "--target-dir"])
        .arg(fresh.path());
    // Neither a cache of somebody's nor their profile: what a user has who builds it for the first time.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let flags = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_JOBS"].contains(&&*text);
        if flags || text.contains("_WRAPPER") || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    // The profile of whoever depends on it, and not the one that this workspace has for its own tests.
    command.envs([("CARGO_PROFILE_DEV_OPT_LEVEL", "0"), ("CARGO_PROFILE_DEV_DEBUG", "true")]);
    println!("== {PACKAGE} from scratch");
    let began = Instant::now();
    let status = command.status().map_err(|error| format!("cargo build: {error}"))?;
    let seconds = began.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err(format!("cargo build -p {PACKAGE} failed ({status})")) }
}

fn row(name: &str, unit: &str, value: f64, most: f64, note: &str) -> Row {
    Row {
        group: format!("compile time of `{PACKAGE}`"),
        name: name.to_owned(),
        unit: unit.to_owned(),
        values: vec![value],
        floor: None,
        floor_values: None,
        better: Better::Lower,
        target_ratio: None,
        target: Some(most),
        note: Some(note.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_by_version_and_the_package_does_not() {
        let tree = "amps-client v0.1.0 (/somewhere)\namps-protocol v0.1.0 (/somewhere)\nmemchr v2.8.3\n\
                    nom v8.0.0\nmemchr v2.8.3\nthiserror-impl v2.0.0 (proc-macro)\nnom v8.0.0 (*)\nnom v7.0.0\n\n";
        assert_eq!(crates(tree), 5);
        assert_eq!(crates("amps-client v0.1.0 (/somewhere)\n"), 0);
    }
}
