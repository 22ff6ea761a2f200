//! `load`: puts load on any AMPS server, real or fake, and prints one line of JSON about it.
//!
//! Owns the order of things, and the exit status: 0 when it ran, 1 for what nobody foresaw, 2 for a mistake on
//! the command line, 3 where there is no connection or it was lost, 4 for what the server refused. Errors are one
//! line on stderr. It uses what AMPS documents and nothing else of a server.
#![forbid(unsafe_code)]

#[cfg(unix)]
mod body;
#[cfg(unix)]
mod cli;
#[cfg(unix)]
mod conns;
#[cfg(unix)]
mod failure;
#[cfg(unix)]
mod meter;
#[cfg(unix)]
mod pingpong;
#[cfg(unix)]
mod publish;
#[cfg(unix)]
mod receive;
#[cfg(unix)]
mod sow;
#[cfg(unix)]
mod system;

use std::process::ExitCode;

/// The system's allocator, counted.
#[global_allocator]
static COUNTING: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[cfg(unix)]
fn main() -> ExitCode {
    use std::io::Write as _;

    let command = match cli::parse() {
        Ok(command) => command,
        Err(end) => return end,
    };
    let outcome = command.run().and_then(|report| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{report}").and_then(|()| out.flush()).map_err(failure::Failure::Output)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("error: load asks the system what it has used, in the way of Unix; there is none here");
    ExitCode::FAILURE
}
