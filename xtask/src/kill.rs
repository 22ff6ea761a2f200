//! `cargo xtask kill`: the example against a server that is killed in the middle.
//!
//! The server is a process of its own; it is killed without warning and comes back with an
//! empty log. The example has to reconnect, publish again what nobody has processed yet, and
//! come to a clean end.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// When the server dies, after the example's start: early, in the middle, late.
const DELAYS_MS: [u64; 5] = [30, 60, 90, 120, 160];

/// How long the server is away.
const AWAY: Duration = Duration::from_millis(150);

/// Runs so many rounds.
///
/// # Errors
/// A round that did not come to a clean end.
pub fn run(rounds: u32) -> Result<(), String> {
    for args in [["-p", "amps-testkit"].as_slice(), &["-p", "amps-client", "--example", "queue_worker"]] {
        let status = Command::new("cargo").args(["build", "--release"]).args(args).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("cargo build {} failed", args.join(" ")));
        }
    }
    let address = free_address().map_err(|error| format!("no free port: {error}"))?;
    for round in 0..rounds {
        let delay = Duration::from_millis(DELAYS_MS[round as usize % DELAYS_MS.len()]);
        one_round(&address, delay)
            .map_err(|text| format!("round {round}, killed after {delay:?}: {text}"))?;
        println!("round {round}: killed after {delay:?}, recovered");
    }
    Ok(())
}

fn one_round(address: &str, delay: Duration) -> Result<(), String> {
    let mut server = serve(address)?;
    let worker = Command::new(program("examples/queue_worker"))
        .args(["--server", &format!("tcp://{address}/amps/json"), "--patience", "20"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("queue_worker: {error}"))?;
    sleep(delay);
    let killed = server.kill().and_then(|()| server.wait());
    sleep(AWAY);
    let mut server = serve(address)?;
    let output = worker.wait_with_output().map_err(|error| error.to_string());
    let _ = server.kill().and_then(|()| server.wait());
    killed.map_err(|error| format!("kill: {error}"))?;
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("the example ended with {}\n{out}{err}", output.status))
}

/// Starts the fake server and waits until it is ready.
fn serve(address: &str) -> Result<Child, String> {
    let mut server = Command::new(program("amps-testkit"))
        .args(["serve", "--listen", &format!("tcp://{address}/amps"), "--queue", "flight-work:flights"])
        .args(["--lease", "1", "--max-backlog", "90", "--log", "error"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("amps-testkit: {error}"))?;
    let mut line = String::new();
    let ready = server.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    if line.starts_with("ready ") {
        return Ok(server);
    }
    let _ = server.kill().and_then(|()| server.wait());
    Err(format!("amps-testkit did not get ready: {ready:?}"))
}

fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("release").join(name)
}

fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
