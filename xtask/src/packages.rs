//! `cargo xtask package`: what would be published.
//!
//! Owns the list of published crates, in the order in which they can be published, and what a package has to hold. It
//! publishes nothing.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The crates that are published, each after those that it needs.
pub const PUBLISHED: &[&str] = &["amps-protocol", "amps-transport", "amps-testkit", "amps-client"];

/// The client's tests need the fake server, which is no dependency of its package.
const WITHOUT_TESTS: &str = "amps-client";

/// What every package has at its top.
const EXPECTED: &[&str] = &["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"];

/// Files that a package may hold, by how their names end.
const KINDS: &[&str] = &["rs", "md", "toml", "txt", "xml", "json", "html", "proptest-regressions", "sh"];

/// Files without such an end; the last one is the application that a test of the fake server's README runs.
const NAMES: &[&str] = &[
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "Cargo.lock",
    "Cargo.toml.orig",
    ".cargo_vcs_info.json",
    "tests/data/my-application",
];

/// A file that is larger is there by mistake.
const LARGEST: u64 = 256 * 1024;

/// Packages all of them and looks at what is in them. With `whole`, each is also compiled from its package, as if the others
/// were published, and its tests run outside of this workspace; of the client's package only the program is compiled there.
///
/// # Errors
/// What cargo said, or the findings, a line each.
pub fn run(whole: bool) -> Result<(), String> {
    let began = Instant::now();
    let mut findings = Vec::new();
    for package in PUBLISHED {
        let files = listed(package)?;
        check_files(package, &files, &mut findings);
        check_metadata(package, &mut findings);
    }
    if !findings.is_empty() {
        return Err(format!("packages:\n  {}", findings.join("\n  ")));
    }
    // Who publishes does so from a clean checkout: cargo sees to that. Who changes something packages it before.
    let mut args = vec!["package", "--allow-dirty"];
    for package in PUBLISHED {
        args.extend(["-p", package]);
    }
    if !whole {
        args.push("--no-verify");
    }
    quietly(Command::new("cargo").args(args))?;
    if whole {
        test_unpacked()?;
    }
    let how = if whole {
        format!("compiled from its package, and tested there but for {WITHOUT_TESTS}")
    } else {
        "packaged, not compiled".to_owned()
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("== packages: {} in this order, each {how}: {seconds:.1} s", PUBLISHED.join(", "));
    Ok(())
}

fn listed(package: &str) -> Result<BTreeSet<String>, String> {
    let output = quietly(Command::new("cargo").args(["package", "--list", "--allow-dirty", "-p", package]))?;
    Ok(output.lines().map(|line| line.replace('\\', "/")).collect())
}

fn check_files(package: &str, files: &BTreeSet<String>, findings: &mut Vec<String>) {
    for expected in EXPECTED {
        if !files.contains(*expected) {
            findings.push(format!("{package}: {expected} is missing"));
        }
    }
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        if fs::read(licence).ok() != fs::read(Path::new(package).join(licence)).ok() {
            findings.push(format!("{package}: {licence} is not that of the workspace"));
        }
    }
    for file in files {
        let kind = Path::new(file).extension().map(|kind| kind.to_string_lossy().into_owned());
        if !NAMES.contains(&file.as_str()) && !kind.is_some_and(|kind| KINDS.contains(&kind.as_str())) {
            findings.push(format!("{package}: {file} has nothing to do in a package"));
        }
        let path = Path::new(package).join(file);
        if fs::metadata(&path).is_ok_and(|found| found.len() > LARGEST && !file.ends_with("Cargo.lock")) {
            findings.push(format!("{package}: {file} is larger than {} KiB", LARGEST / 1024));
        }
        if file.ends_with(".rs") {
            check_includes(package, file, files, findings);
        }
    }
}

/// What a source includes has to be in the package as well, unless only this workspace's documentation tests do so.
fn check_includes(package: &str, file: &str, files: &BTreeSet<String>, findings: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(Path::new(package).join(file)) else { return };
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut before = "";
    for line in text.lines() {
        for call in ["include_str!(\"", "include_bytes!(\"", "#[path = \""] {
            let Some((_, rest)) = line.split_once(call) else { continue };
            let Some((name, _)) = rest.split_once('"') else { continue };
            let within = plain(&folder.join(name));
            if !within.is_some_and(|path| files.contains(&path)) && !before.contains("doctest") {
                findings.push(format!("{package}: {file} includes {name}, which is not in the package"));
            }
        }
        before = line;
    }
}

/// A path without `..`, or `None` if it leads out.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.iter().map(|part| part.to_string_lossy()) {
        match &*part {
            "." => {}
            ".." => _ = parts.pop()?,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn check_metadata(package: &str, findings: &mut Vec<String>) {
    let text = fs::read_to_string(Path::new(package).join("Cargo.toml")).unwrap_or_default();
    for line in [
        "description = \"",
        "readme = \"README.md\"",
        "license.workspace = true",
        "rust-version.workspace = true",
        "keywords = [",
        "categories = [",
        "[package.metadata.docs.rs]\nall-features = true",
    ] {
        if !text.contains(line) {
            findings.push(format!("{package}: Cargo.toml has no {line}"));
        }
    }
}

/// Unpacks every package somewhere else, each with those before it in place of the registry's, and runs its tests.
fn test_unpacked() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no directory to unpack: {error}"))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let target = std::path::absolute(target).map_err(|error| format!("the target directory: {error}"))?;
    let mut patches = Vec::new();
    for package in PUBLISHED {
        let name = format!("{package}-{}", env!("CARGO_PKG_VERSION"));
        let archive = target.join("package").join(format!("{name}.crate"));
        quietly(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder.path()))?;
        let place = folder.path().join(&name);
        println!("== the tests of {name}, unpacked");
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&place).env("CARGO_TARGET_DIR", target.join("unpacked"));
        for profile in ["DEV", "TEST"] {
            cargo.env(format!("CARGO_PROFILE_{profile}_OPT_LEVEL"), "1");
            cargo.env(format!("CARGO_PROFILE_{profile}_DEBUG"), "0");
        }
        cargo.args(["test", "-q", "--all-features"]).args(&patches);
        if *package == WITHOUT_TESTS {
            cargo.args(["--bins", "--no-run"]);
        }
        quietly(&mut cargo)?;
        patches.push("--config".to_owned());
        patches.push(format!("patch.crates-io.{package}.path={:?}", place.display().to_string()));
    }
    Ok(())
}

/// What a command says on its stdout; all that it says, if it fails.
fn quietly(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{shown} failed:\n{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_of_a_package_are_none() {
        assert_eq!(plain(Path::new("src/../README.md")).as_deref(), Some("README.md"));
        assert_eq!(plain(Path::new("src/../../README.md")), None);
    }

    #[test]
    fn junk_and_what_is_missing_are_found() {
        let mut findings = Vec::new();
        let files = ["src/lib.rs", "notes.swp"].map(str::to_owned).into();
        check_files("amps-protocol", &files, &mut findings);
        for expected in ["README.md is missing", "notes.swp has nothing to do"] {
            assert!(findings.iter().any(|finding| finding.contains(expected)), "{findings:?}");
        }
    }
}
