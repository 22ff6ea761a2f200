//! `cargo xtask transports`: the client's tests, unchanged, over each transport.
//!
//! Owns the list of ways, and which tests run by which. How a test comes by its server is said in
//! `amps-client/tests/common/way.rs`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

/// The variable that the tests look at.
const VARIABLE: &str = "AMPS_TEST_TRANSPORT";

/// Plain TCP is what the tests use by themselves.
const WAYS: &[&str] =
    &["tcps", "unix", "ws", "wss", "zlib", "preflight", "all", "tcp-pieces", "all-pieces", "wss-pieces"];

/// What a change is checked by: the tests that say most about a transport, by the highest stacks, and over sockets
/// that give and take one byte at a time.
const SHORT_WAYS: &[&str] = &["wss", "all", "tcp-pieces"];

/// The tests of the short form.
const SHORT: &[&str] = &[
    "bad_input",
    "disconnects",
    "first_program",
    "heartbeats",
    "last_words",
    "publish_stores",
    "publishing",
    "queue_end_to_end",
    "recovering",
    "scripted_faults",
    "sow",
    "streams",
    "subscribing",
    "threading",
    "traffic",
];

/// These reach their servers in ways of their own.
const OWN_WAYS: &[&str] = &["each_transport", "interop", "transport_options", "transports"];

/// Of these, what fills sockets with many megabytes, which takes a minute byte by byte; the long form has the time.
const LONG_IN_PIECES: &[&str] = &["publishing"];

/// Runs the client's tests by all ways, by one, or the short form.
///
/// # Errors
/// No such way, or a test fails by one.
pub fn run(way: Option<&str>, short: bool) -> Result<(), String> {
    match way {
        Some(way) if WAYS.contains(&way) => by(way, short),
        Some(way) => Err(format!("no way is called {way}; there are {}", WAYS.join(", "))),
        None => if short { SHORT_WAYS } else { WAYS }.iter().try_for_each(|way| by(way, short)),
    }
}

fn by(way: &str, short: bool) -> Result<(), String> {
    // Built as for the other steps of the gate, which saves to build it again.
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).env(VARIABLE, way);
    let in_time = |name: &&&str| !(way.ends_with("-pieces") && LONG_IN_PIECES.contains(*name));
    let names = match short {
        true => SHORT.iter().filter(in_time).map(|name| (*name).to_owned()).collect(),
        false => with_peers()?,
    };
    cargo.args(names.iter().flat_map(|name| ["--test", name]));
    let began = Instant::now();
    let output = cargo.args(["--", "--show-output"]).output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let tests = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
    let plain: BTreeSet<&str> = said.lines().filter_map(|line| line.strip_prefix("stays plain: ")).collect();
    if !output.status.success() {
        let why = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{why}\nthe client's tests over {way}: {}", output.status));
    }
    println!(
        "the client over {way}: {tests} tests, {} by plain TCP, {:.0} s",
        plain.len(),
        began.elapsed().as_secs_f64()
    );
    plain.iter().for_each(|line| println!("    {line}"));
    if tests == 0 { Err(format!("no test ran over {way}")) } else { Ok(()) }
}

/// The tests that have a server to talk to.
fn with_peers() -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("amps-client/tests: {error}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir("amps-client/tests").map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| path.is_file()) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        if text.contains("mod common;") && !OWN_WAYS.contains(&name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
