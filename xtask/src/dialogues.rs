//! `cargo xtask dialogues`: the transcripts against a server that is not ours.

use std::net::TcpStream;
use std::process::Command;

/// Prints the configuration that such a server needs.
///
/// # Errors
/// The test binary cannot be built or run.
pub fn print_configuration() -> Result<(), String> {
    let output =
        test("configuration_of_a_target").output().map_err(|error| format!("cargo test: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // What the test harness says stands around it.
    let begin = text.find("<AMPSConfig>");
    let end = text.find("</AMPSConfig>").map(|end| end + "</AMPSConfig>".len());
    match begin.zip(end).and_then(|(begin, end)| text.get(begin..end)) {
        Some(configuration) if output.status.success() => {
            println!("{configuration}");
            Ok(())
        }
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Plays every transcript that needs no fake server against the one at `HOST:PORT`.
///
/// # Errors
/// Some differ; each is shown with the line.
pub fn play(target: &str) -> Result<(), String> {
    TcpStream::connect(target).map_err(|error| format!("dialogues: no server at {target}: {error}"))?;
    let status = test("dialogues_against_a_target").env("AMPS_TARGET", target).status();
    let status = status.map_err(|error| format!("cargo test: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("dialogues: {status}")) }
}

fn test(name: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "test",
        "--quiet",
        "-p",
        "amps-testkit",
        "--test",
        "elsewhere",
        "--",
        "--ignored",
        "--nocapture",
    ]);
    cargo.arg(name);
    cargo
}
