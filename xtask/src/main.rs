//! `cargo xtask <chore>`: dispatches to the chores, and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value};

const USAGE: &str = "cargo xtask <chore> [options]

chores:
  sim    run the simulator over many seeds, or replay one";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<(), String> {
    let mut parser = lexopt::Parser::from_env();
    let chore = match parser.next().map_err(|error| error.to_string())? {
        Some(Value(chore)) => chore.to_string_lossy().into_owned(),
        Some(Long("help") | Short('h')) => {
            println!("{USAGE}");
            return Ok(());
        }
        _ => return Err(USAGE.into()),
    };
    // One line per chore: `ci`, `tidy` and `bench` go here.
    match chore.as_str() {
        "sim" => xtask::sim::main(&mut parser),
        other => Err(format!("no such chore: {other}\n\n{USAGE}")),
    }
}
