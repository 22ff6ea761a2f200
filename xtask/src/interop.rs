//! `cargo xtask interop`: transports between this project and programs of others.
//!
//! Owns which programs those are and how they are installed, where that may be done; what is said to them is in the
//! tests that it runs. Where one is missing, its tests say so in one line.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What has to end well, and the packages of Debian that see to it.
const PACKAGES: &[(&[&str], &[&str])] = &[
    (&["openssl", "version"], &["openssl"]),
    (&["nginx", "-v"], &["nginx-light", "libnginx-mod-stream"]),
    (&["socat", "-V"], &["socat"]),
    (&["python3", "-m", "ensurepip", "--version"], &["python3", "python3-venv"]),
];

/// Where Python's packages go.
const FOLDER: &str = "target/interop-python";

/// The variable that names Python to the tests.
const PYTHON: &str = "AMPS_TEST_PYTHON";

/// What is run: a name, the package, its file of tests, and which of them.
const PARTS: &[(&str, &str, &str, &str)] = &[
    ("openssl s_client and s_server", "amps-transport", "tls_openssl", ""),
    ("Python's zlib, the layer alone", "amps-transport", "web", "pythons_zlib"),
    ("nginx as TLS, WebSocket and preflight proxy", "amps-client", "interop", "nginx"),
    ("socat for socket files", "amps-client", "interop", "socat"),
    ("Python's zlib, client and server", "amps-client", "interop", "pythons_zlib"),
    ("Python's websockets, client and server", "amps-client", "interop", "web_socket_library"),
];

/// Installs what is missing and may be installed, and runs every part.
///
/// # Errors
/// The parts that fail, with what they said.
pub fn run() -> Result<(), String> {
    install();
    let python = python();
    let mut failed = Vec::new();
    for (name, package, file, tests) in PARTS {
        let began = Instant::now();
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--workspace", "--all-features", "--test", file, "--", tests, "--show-output"]);
        let output = cargo.env(PYTHON, &python).output().map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let skipped = said.lines().find(|line| line.starts_with("skipped"));
        let ran = said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
        let seconds = began.elapsed().as_secs_f64();
        match skipped {
            _ if !output.status.success() || ran == 0 => {
                println!(
                    "{name}: failed ({package}, {file})\n{said}{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                failed.push(*name);
            }
            Some(why) => println!("{name}: {why}"),
            None => println!("{name}: {ran} tests, {seconds:.0} s"),
        }
    }
    println!("Python's websockets, the echo of the transport alone:");
    let echo = Command::new("bash").arg("xtask/interop/websocket.sh").env(PYTHON, &python).status();
    if !echo.is_ok_and(|status| status.success()) {
        failed.push("xtask/interop/websocket.sh");
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("interoperation failed: {}", failed.join("; "))) }
}

/// Installs the programs that are missing.
fn install() {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(probe, _)| !probe.split_first().is_some_and(|(program, rest)| runs(program, rest)))
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if missing.is_empty() {
        return;
    }
    let may = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let installed = may
        && runs("apt-get", &["update", "-q"])
        && runs("apt-get", &[&["install", "-qy", "--no-install-recommends"], &missing[..]].concat());
    if !installed {
        println!("could not install: {}", missing.join(" "));
    }
}

/// Python with the library that is not its own, in a folder of its own; the system's where that cannot be made.
fn python() -> String {
    let there = std::env::current_dir().unwrap_or_default().join(FOLDER).join("bin/python");
    let there = there.display().to_string();
    let has = |python: &str| runs(python, &["-c", "import websockets"]);
    if !has(&there) {
        let made = runs("python3", &["-m", "venv", FOLDER]);
        let _installed = made && runs(&there, &["-m", "pip", "install", "-q", "websockets>=14"]);
    }
    if Path::new(&there).exists() && has(&there) { there } else { "python3".to_owned() }
}

/// Whether a command ends well.
fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
