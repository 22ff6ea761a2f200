//! `cargo xtask tidy`: what a compiler does not check.
//!
//! Owns the rules of the house: every module says what it owns, no file outgrows a reader,
//! pure modules stay pure, licences are known, and the documents point at files that exist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MAX_LINES: usize = 700;

/// Modules that must not read clocks, start threads or open sockets. Each turns two lints on,
/// which clippy then enforces; here it is checked that none has turned them off.
const PURE: &[&str] = &[
    "amps-client/src/session",
    "amps-testkit/src/engine",
    "amps-testkit/src/fault",
    "amps-testkit/src/matcher",
    "amps-testkit/src/sim",
    "amps-transport/src/machine.rs",
];

/// Not pure, and why: the lock between the halves, the place where callers wait, and modules
/// that only list others.
const NOT_PURE: &[&str] = &["shared.rs", "waiter.rs", "room.rs", "mod.rs", "bugs.rs"];

const DENY: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";

/// Licences that may be linked into what we ship.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unlicense",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
];

/// Runs every check and reports all findings at once.
///
/// # Errors
/// The findings, a line each.
pub fn run() -> Result<(), String> {
    let mut findings = Vec::new();
    let sources = rust_files(Path::new("."));
    for path in &sources {
        let Ok(text) = fs::read_to_string(path) else { continue };
        check_source(path, &text, &mut findings);
    }
    check_licences(&mut findings)?;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        check_paths(document, &mut findings);
    }
    check_deny(&mut findings);
    crate::acceptance::check(&mut findings);
    if findings.is_empty() {
        println!("== tidy: {} source files, nothing to say", sources.len());
        return Ok(());
    }
    Err(format!("tidy:\n  {}", findings.join("\n  ")))
}

fn check_source(path: &Path, text: &str, findings: &mut Vec<String>) {
    let name = path.display();
    let published = ["amps-protocol", "amps-transport", "amps-client", "amps-testkit"];
    if published.iter().any(|package| path.ends_with(format!("{package}/src/lib.rs")))
        && !text.contains("\n#![forbid(unsafe_code)]\n")
    {
        findings
            .push(format!("{name}: what applications depend on has no unsafe code: #![forbid(unsafe_code)]"));
    }
    if !text.starts_with("//!") {
        findings.push(format!("{name}: begin with //! and what the module owns"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!("{name}: {lines} lines; split it along a seam"));
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let pure = PURE.iter().any(|place| path.starts_with(place)) && !NOT_PURE.contains(&file.as_str());
    if pure && !text.contains(DENY) && !text.contains("cfg(test)\n//!") {
        findings.push(format!("{name}: a pure module; add {DENY}"));
    }
    // Put together, so that this file does not find itself.
    for stub in [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")] {
        if text.contains(stub) {
            findings.push(format!("{name}: contains {stub}"));
        }
    }
}

fn check_licences(findings: &mut Vec<String>) -> Result<(), String> {
    let output = Command::new("cargo")
        .args(["tree", "--workspace", "-e", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = text.lines().filter(|line| line.contains('|')).collect();
    lines.sort_unstable();
    lines.dedup();
    for line in lines {
        let Some((package, licence)) = line.split_once('|') else { continue };
        // Every part of an AND must be acceptable, one part of an OR is enough.
        let licence = licence.trim_end_matches(" (*)").replace(['(', ')'], "").replace('/', " OR ");
        let accepted = licence.split(" AND ").all(|part| {
            part.split(" OR ").any(|choice| LICENCES.iter().any(|known| choice.trim().starts_with(known)))
        });
        if !accepted {
            findings.push(format!("{package}: licence \"{licence}\" is not on the list"));
        }
    }
    Ok(())
}

/// `cargo deny` goes by the same list.
fn check_deny(findings: &mut Vec<String>) {
    let text = fs::read_to_string("deny.toml").unwrap_or_default();
    let listed = text.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    let listed: Vec<&str> = listed.map_or("", |(list, _)| list).split('"').skip(1).step_by(2).collect();
    if listed != LICENCES {
        findings.push(format!("deny.toml allows other licences than these: {}", LICENCES.join(", ")));
    }
}

/// Names in backquotes that look like paths must exist.
fn check_paths(document: &str, findings: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(document) else {
        findings.push(format!("{document} is missing"));
        return;
    };
    for name in text.split('`').skip(1).step_by(2) {
        let looks_like_path = name.contains('/')
            && !name.contains([' ', '*', '<', '{', ':', '|', '\n'])
            && Path::new(name)
                .extension()
                .is_some_and(|ext| ext == "rs" || ext == "md" || ext == "txt" || ext == "toml");
        if looks_like_path && !Path::new(name).exists() {
            findings.push(format!("{document} names {name}, which does not exist"));
        }
    }
}

pub(crate) fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if path.is_dir() {
                if !hidden && !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path));
            }
        }
    }
    files.sort();
    files
}
