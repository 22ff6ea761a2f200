//! `cargo xtask platforms`: the other systems.
//!
//! Owns which those are. Where the standard library of one is installed, the published crates are checked for it; where it is
//! not, every place is listed that is not the same on all systems, for somebody to read.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::packages::PUBLISHED;
use crate::tidy::rust_files;

/// Systems that the crates have to compile for, besides the one at hand.
const TARGETS: &[&str] = &["aarch64-apple-darwin", "x86_64-apple-darwin", "x86_64-pc-windows-msvc"];

/// Features that need no C compiler for the other system.
const FEATURES: &[(&str, &str)] = &[
    ("amps-protocol", "std"),
    ("amps-transport", "websocket,zlib"),
    ("amps-testkit", "websocket,zlib"),
    ("amps-client", "async,json,testing,tracing,websocket,zlib"),
];

/// Features that are checked for no other system, and where what they compile is.
const UNCHECKED: &[(&str, &[&str])] = &[
    ("tls", &["amps-transport/src/tls", "amps-testkit/src/bin/amps-testkit/tls"]),
    ("tls-self-signed", &["amps-transport/src/tls"]),
    ("cli", &["amps-client/src/bin/amps/"]),
];

/// What a condition on the system looks like.
const WORDS: &[&str] =
    &["unix", "windows", "target_os", "target_family", "target_vendor", "target_env", "target_arch"];

/// Checks for the systems whose targets are installed, says what is not checked, and lists what depends on the system there.
///
/// # Errors
/// The check that failed.
pub fn run() -> Result<(), String> {
    let (installed, absent): (Vec<&str>, Vec<&str>) = TARGETS.iter().partition(|target| is_installed(target));
    for target in installed {
        for (package, features) in FEATURES {
            println!("== {package} for {target}");
            let args = ["check", "-q", "-p", package, "--features", features, "--target", target];
            let status = Command::new("cargo").args(args).status();
            if !status.map_err(|error| format!("cargo: {error}"))?.success() {
                return Err(format!("{package} does not compile for {target}"));
            }
        }
    }
    let mut places = places();
    if absent.is_empty() {
        places.retain(|place| is_unchecked(place));
    } else {
        println!("== NOT CHECKED: {}, which are not installed (rustup target add)", absent.join(", "));
    }
    let features: Vec<&str> = UNCHECKED.iter().map(|(feature, _)| *feature).collect();
    println!(
        "== NOT CHECKED: the features {} for any other system: the C code of `ring` needs a compiler of that system",
        features.join(", ")
    );
    println!("   {} places of what is not checked depend on the system:", places.len());
    for place in places {
        println!("   {place}");
    }
    Ok(())
}

/// Whether a place is behind a feature that is checked for no other system.
fn is_unchecked(place: &str) -> bool {
    UNCHECKED.iter().any(|(_, files)| files.iter().any(|file| place.starts_with(file)))
}

fn is_installed(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists()
    })
}

/// Every place that depends on the system, with its file and line, and the line that it is about.
fn places() -> Vec<String> {
    let mut places = Vec::new();
    for package in PUBLISHED {
        let mut files = vec![Path::new(package).join("Cargo.toml")];
        files.extend(rust_files(&Path::new(package).join("src")));
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            places.extend(
                within(&text).into_iter().map(|(line, text)| format!("{}:{line}: {text}", file.display())),
            );
        }
    }
    places
}

/// Conditions on the system in a text: the number of the line, and what stands there.
fn within(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let condition = ["cfg(", "cfg!(", "cfg_attr("].iter().find_map(|call| Some(line.split_once(call)?.1));
        let Some(condition) = condition.filter(|_| !line.starts_with("//")) else { continue };
        // A word of its own: a feature may be called `unix-sockets`.
        let mut words = condition.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        if words.any(|word| WORDS.contains(&word)) {
            let about = lines.get(at + 1).filter(|_| line.starts_with("#[") && line.ends_with(']'));
            found.push((at + 1, about.map_or_else(|| (*line).to_owned(), |about| format!("{line} {about}"))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_the_system_are_found_and_others_are_not() {
        let text = "#[cfg(not(unix))]\nfn a() {}\n// cfg(unix)\n#[cfg(feature = \"tls\")]\nif cfg!(target_os = \"linux\") {";
        let found = within(text);
        let expected = [(1, "#[cfg(not(unix))] fn a() {}"), (5, "if cfg!(target_os = \"linux\") {")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn every_feature_is_checked_or_said_to_be_not() {
        let checked = FEATURES.iter().flat_map(|(_, features)| features.split(','));
        let told = UNCHECKED.iter().map(|(feature, _)| *feature);
        let named: Vec<&str> = checked.chain(told).collect();
        for package in PUBLISHED {
            let manifest = fs::read_to_string(Path::new("..").join(package).join("Cargo.toml")).unwrap();
            let (_, features) = manifest.split_once("\n[features]\n").unwrap_or_default();
            for line in features.lines().take_while(|line| !line.starts_with('[')) {
                let Some((feature, _)) = line.split_once(" = [") else { continue };
                assert!(
                    ["default", "simulation"].contains(&feature) || named.contains(&feature),
                    "{feature}"
                );
            }
        }
        assert!(is_unchecked("amps-client/src/bin/amps/stop.rs:136: #[cfg(unix)]"));
        assert!(!is_unchecked("amps-client/src/journal/disk.rs:90: if cfg!(not(unix)) {"));
        for file in UNCHECKED.iter().flat_map(|(_, files)| *files) {
            let found = rust_files(&Path::new("..").join(Path::new(file).parent().unwrap()));
            assert!(found.iter().any(|path| path.to_string_lossy().contains(file)), "{file}");
        }
    }
}
