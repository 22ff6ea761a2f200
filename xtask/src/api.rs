//! `cargo xtask api`: the public API of each published crate, against what is recorded in `docs/api`.
//!
//! Owns the records and what may change: something that is gone, or is not what it was, fails; something new is told. It
//! reads the API with `cargo public-api`, which needs a nightly compiler. It does not see everything that can break a
//! user: what a function does, say, or a new method without a default in a trait that users implement.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::packages::PUBLISHED;

const FOLDER: &str = "docs/api";

/// Lines about what no user can name, or what changes with the compiler.
const NOISE: &[&str] = &[
    "core::marker::Freeze",
    "core::marker::StructuralPartialEq",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// Says what is missing to read an API, or `None`.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let runs = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    if !runs("cargo", &["public-api", "--version"]) {
        return Some("cargo public-api is not installed: cargo install cargo-public-api --locked");
    }
    if !runs("cargo", &["+nightly", "--version"]) {
        return Some("cargo public-api needs a nightly compiler: rustup toolchain install nightly");
    }
    None
}

/// Compares, or records.
///
/// # Errors
/// What is gone or changed, or what is missing to find out.
pub fn run(record: bool) -> Result<(), String> {
    if let Some(missing) = missing() {
        return Err(missing.to_owned());
    }
    let mut broken = Vec::new();
    for package in PUBLISHED {
        let now = read(package)?;
        let file = PathBuf::from(FOLDER).join(format!("{package}.txt"));
        if record {
            let text = now.join("\n") + "\n";
            fs::create_dir_all(FOLDER)
                .and_then(|()| fs::write(&file, text))
                .map_err(|error| format!("{}: {error}", file.display()))?;
            println!("{}: {} items", file.display(), now.len());
            continue;
        }
        let before = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let before: Vec<String> = before.lines().map(str::to_owned).collect();
        let (gone, new) = differences(&before, &now);
        println!(
            "== the API of {package}: {} items, {} new, {} gone or changed",
            now.len(),
            new.len(),
            gone.len()
        );
        for item in &new {
            println!("  new: {item}");
        }
        broken.extend(gone.iter().map(|item| format!("{package}: {item}")));
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(format!(
        "gone from the public API, or changed:\n  {}\nIf that is meant, it is a breaking change: say so in \
         CHANGELOG.md, raise the version, and record it with cargo xtask api --record",
        broken.join("\n  ")
    ))
}

/// Every public item, a line each.
fn read(package: &str) -> Result<Vec<String>, String> {
    let args = ["public-api", "-p", package, "--all-features", "--omit", "blanket-impls", "--color=never"];
    let output = Command::new("cargo").args(args).output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let items = text.lines().filter(|line| !NOISE.iter().any(|noise| line.contains(noise)));
    Ok(items.map(str::to_owned).collect())
}

/// What is only in the first, and what is only in the second; an item may be there several times.
fn differences<'a>(before: &'a [String], now: &'a [String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for item in before {
        *counts.entry(item).or_default() -= 1;
    }
    for item in now {
        *counts.entry(item).or_default() += 1;
    }
    let of = |sign: i64| {
        let changed = counts.iter().filter(move |(_, count)| **count * sign > 0);
        changed.map(|(item, _)| *item).collect()
    };
    (of(-1), of(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_item_is_gone_and_an_added_one_is_new() {
        let lines = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let before = lines(&["pub fn a()", "pub fn b()", "impl C", "impl C"]);
        let now = lines(&["pub fn b(u32)", "pub fn a()", "impl C", "pub fn d()"]);
        let (gone, new) = differences(&before, &now);
        assert_eq!(gone, ["impl C", "pub fn b()"]);
        assert_eq!(new, ["pub fn b(u32)", "pub fn d()"]);
    }
}
