//! `cargo xtask ci`: what has to hold before a change lands.
//!
//! Owns the list of steps. Each is a command that anyone can run by hand.

use std::process::Command;
use std::time::Instant;

use crate::{
    api, dependencies, instructions, interop, kill, loom, network, packages, platforms, tidy, transports,
    tryout,
};

/// Environment and arguments of one step.
struct Step {
    name: &'static str,
    env: &'static [(&'static str, &'static str)],
    args: &'static [&'static str],
}

const fn cargo(name: &'static str, args: &'static [&'static str]) -> Step {
    Step { name, env: &[], args }
}

const STEPS: &[Step] = &[
    cargo("format", &["fmt", "--all", "--check"]),
    cargo("tests, as the README says", &["test", "--workspace", "--all-features"]),
    cargo("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    cargo(
        "clippy with all features",
        &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    ),
    // Alone, so that no other crate turns its features on.
    cargo("clippy of the client alone", &["clippy", "-p", "amps-client", "--", "-D", "warnings"]),
    cargo(
        "clippy of the command line alone",
        &["clippy", "-p", "amps-client", "--features", "cli", "--bins", "--", "-D", "warnings"],
    ),
    cargo(
        "clippy of the fake server alone",
        &["clippy", "-p", "amps-testkit", "--all-targets", "--", "-D", "warnings"],
    ),
    cargo(
        "amps-protocol without std",
        &["clippy", "-p", "amps-protocol", "--no-default-features", "--", "-D", "warnings"],
    ),
    Step {
        name: "documentation",
        env: &[("RUSTDOCFLAGS", "-D warnings")],
        args: &["doc", "--workspace", "--no-deps", "--all-features"],
    },
    cargo("the queue worker at full speed", &["run", "--release", "--example", "queue_worker"]),
    cargo("the simulator", &["run", "--release", "-p", "xtask", "--", "sim", "--seeds", "6000"]),
    cargo("planted mistakes", &["run", "--release", "-p", "xtask", "--", "sim", "--bugs"]),
];

/// The client's other examples: built together, each run by itself.
const EXAMPLES: &[&str] = &[
    "async_tokio",
    "behind_a_proxy",
    "durable_publisher",
    "failover_pair",
    "market_data",
    "prometheus",
    "resumable_subscriber",
    "testing_your_app",
    "token_from_command",
];

/// What they need of the client.
const EXAMPLES_NEED: &str = "async,json,tls";

/// Features of the client that a user may choose: each alone is compiled, and with `full` each set of them.
const FEATURES: &[&str] = &["async", "json", "tracing", "testing", "tls", "websocket", "zlib"];

/// Features of the fake server, each alone and in pairs: its tests are compiled as well.
const TESTKIT_FEATURES: &[&str] =
    &["tls", "zlib", "websocket", "tls,zlib", "tls,websocket", "zlib,websocket"];

/// What takes longer than a gate may: run it before a release.
const FULL: &[Step] = &[
    // One by one, so that none turns features of another on.
    cargo("tests of the transport alone", &["test", "-p", "amps-transport"]),
    cargo("tests of the fake server alone", &["test", "-p", "amps-testkit"]),
    cargo("tests of the client alone", &["test", "-p", "amps-client"]),
    cargo("the fuzz targets compile", &["check", "--manifest-path", "amps-protocol/fuzz/Cargo.toml"]),
    cargo("more seeds", &["run", "--release", "-p", "xtask", "--", "sim", "--seeds", "80000"]),
    cargo("more kills", &["run", "--release", "-p", "xtask", "--", "chaos", "--kills", "300"]),
    cargo("a soak", &["run", "--release", "-p", "xtask", "--", "soak", "--minutes", "5"]),
    cargo("ratios", &["bench", "-p", "benches", "--bench", "ratios"]),
];

/// Runs every step and stops at the first that fails. `full` adds the long ones.
///
/// # Errors
/// The step that failed, in words.
pub fn run(full: bool) -> Result<(), String> {
    tidy::run()?;
    no_std()?;
    for step in STEPS {
        execute(step.name, step.env, step.args)?;
    }
    examples()?;
    for feature in FEATURES {
        let args = ["clippy", "-q", "-p", "amps-client", "--features", feature, "--", "-D", "warnings"];
        execute(feature, &[], &args)?;
    }
    for feature in TESTKIT_FEATURES {
        let args = ["clippy", "-q", "-p", "amps-testkit", "--all-targets", "--features", feature];
        execute(feature, &[], &[&args[..], &["--", "-D", "warnings"]].concat())?;
    }
    packages::run(false)?;
    say_without_browser();
    transports::run(None, true)?;
    interop::run()?;
    instructions::run(false)?;
    kill::run(3)?;
    if full {
        releasable()?;
        powerset()?;
        transports::run(None, false)?;
        network::run()?;
        loom::run()?;
        for step in FULL {
            execute(step.name, step.env, step.args)?;
        }
        for round in 1..=100 {
            execute(
                &format!("the example, run {round} of 100"),
                &[],
                &["run", "--release", "--example", "queue_worker"],
            )?;
        }
    }
    println!("all steps passed");
    Ok(())
}

/// What concerns whoever uses the crates from elsewhere. What a tool is missing for is said, and not checked.
fn releasable() -> Result<(), String> {
    packages::run(true)?;
    tryout::run()?;
    platforms::run()?;
    if dependencies::is_installed() {
        dependencies::run()?;
    } else {
        println!("== NOT CHECKED: bans, licences, sources: cargo install cargo-deny --locked");
    }
    match api::missing() {
        None => api::run(false),
        Some(missing) => {
            println!("== NOT CHECKED: the public API against docs/api: {missing}");
            Ok(())
        }
    }
}

/// Every example ends by itself and well.
fn examples() -> Result<(), String> {
    let package = ["-p", "amps-client", "--features", EXAMPLES_NEED];
    execute("the examples", &[], &[&["build", "--examples"], &package[..]].concat())?;
    for example in EXAMPLES {
        let name = format!("the example {example}");
        execute(&name, &[], &[&["run", "-q"], &package[..], &["--example", example]].concat())?;
    }
    Ok(())
}

/// All combinations of features.
fn powerset() -> Result<(), String> {
    for (package, features) in [
        ("amps-client", FEATURES),
        ("amps-transport", &["tls", "tls-self-signed", "websocket", "zlib"]),
        ("amps-testkit", &["tls", "websocket", "zlib"]),
    ] {
        for chosen in 0_u32..1 << features.len() {
            let with = features.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            let with = with.map(|(_, feature)| *feature).collect::<Vec<_>>().join(",");
            let name = format!("{package} with {}", if with.is_empty() { "no feature" } else { &with });
            let args = ["clippy", "-q", "-p", package, "--features", &with, "--", "-D", "warnings"];
            execute(&name, &[], &args)?;
        }
    }
    Ok(())
}

/// `amps-protocol` compiles for a target that has no `std`; where that target is not
/// installed, none of its dependencies has its `std` feature on, and `#![no_std]` keeps the
/// crate itself from naming it.
fn no_std() -> Result<(), String> {
    const TARGET: &str = "x86_64-unknown-none";
    let installed =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().is_ok_and(
            |output| std::path::Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("").exists(),
        );
    if installed {
        let args = ["build", "-p", "amps-protocol", "--no-default-features", "--target", TARGET];
        return execute("amps-protocol for a target without std", &[], &args);
    }
    let output = Command::new("cargo")
        .args(["tree", "-p", "amps-protocol", "--no-default-features", "-e", "normal,no-proc-macro,features"])
        .args(["--prefix", "none"])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    match tree.lines().find(|line| line.contains("feature \"std\"")) {
        Some(line) => Err(format!("std crept into amps-protocol: {line}")),
        None => {
            println!(
                "== amps-protocol without std: no dependency asks for it (target {TARGET} not installed)"
            );
            Ok(())
        }
    }
}

/// The tests of the fake server's page pass without a browser; nobody should take that for more than it is.
fn say_without_browser() {
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    match names.iter().find(|name| is_there(name)) {
        Some(name) => println!("== the page in a browser: tested with {name}"),
        None => println!("== the page in a browser: skipped, because no Chromium is installed"),
    }
}

fn execute(name: &str, env: &[(&str, &str)], args: &[&str]) -> Result<(), String> {
    println!("== {name}: cargo {}", args.join(" "));
    let began = Instant::now();
    let status = Command::new("cargo")
        .args(args)
        .envs(env.iter().copied())
        .status()
        .map_err(|error| format!("{name}: {error}"))?;
    println!("== {name}: {:.1} s; {}", began.elapsed().as_secs_f64(), disk());
    if status.success() { Ok(()) } else { Err(format!("{name} failed ({status})")) }
}

/// What is free on the disk, as `df` says: a linker that runs out of it dies of a bus error.
fn disk() -> String {
    let df = Command::new("df").args(["-Pk", "."]).output();
    let free = df.ok().and_then(|df| {
        let text = String::from_utf8_lossy(&df.stdout).into_owned();
        text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()
    });
    free.map_or_else(|| "free disk unknown".to_owned(), |kib| format!("{} MiB of disk free", kib / 1024))
}
