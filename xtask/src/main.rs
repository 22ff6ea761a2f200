//! `cargo xtask <chore>`: dispatches to the chores, and nothing else.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use lexopt::prelude::{Long, Short, Value};

const USAGE: &str = "cargo xtask <chore> [options]

chores:
  ci            everything that must hold before a change lands  [--full]
  tidy          the rules that no compiler checks
  package       what would be published, and in which order  [--whole] compiles and tests it
  deny          licences, bans and sources of what we depend on, by cargo deny
  api           the public API against docs/api  [--record]
  platforms     the crates for other systems, or what depends on the system
  tryout        the first program of the README, in a project of its own
  instructions  of decoding and encoding, against the recorded baseline  [--record]
  kill          the example, while its server is killed  [--rounds N]
  chaos         publisher, subscriber and server, killed  [--kills N] [--seed S] [--policy P]
  soak          many clients for long: --minutes N [--clients 500] [--out target/soak]
  bench         measure against what is possible, and write benches/RESULTS.md and its plots: [--all] with
                criterion's benchmarks too, or only write them from the lines of a run: --render FILE
  dialogues     the transcripts against another server: --target HOST:PORT, or the configuration
                that it needs: --config
  transports    the client's tests over each transport  [WAY] [--short]
  interop       the transports against programs of others
  loom          the client's hand-offs between threads, in every order
  network       a client and a server with a bad cable between them
  store         what is in a store's file: FILE [--brief]
  sim           run the simulator over many seeds, or replay one";

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
    match chore.as_str() {
        "ci" => xtask::ci::run(flag(&mut parser, "full")?),
        "tidy" => xtask::tidy::run(),
        "package" => xtask::packages::run(flag(&mut parser, "whole")?),
        "deny" => xtask::dependencies::run(),
        "api" => xtask::api::run(flag(&mut parser, "record")?),
        "platforms" => xtask::platforms::run(),
        "tryout" => xtask::tryout::run(),
        "instructions" => xtask::instructions::run(flag(&mut parser, "record")?),
        "kill" => xtask::kill::run(number(&mut parser, "rounds", 5)?),
        "dialogues" => dialogues(&mut parser),
        "interop" => xtask::interop::run(),
        "loom" => xtask::loom::run(),
        "network" => xtask::network::run(),
        "transports" => transports(&mut parser),
        "store" => store(&mut parser),
        "chaos" => chaos(&mut parser),
        "soak" => soak(&mut parser),
        xtask::process::PART => xtask::parts::play(&words(&mut parser)?),
        "sim" => xtask::sim::main(&mut parser),
        "bench" => bench(&mut parser),
        other => Err(format!("no such chore: {other}\n\n{USAGE}")),
    }
}

fn bench(parser: &mut lexopt::Parser) -> Result<(), String> {
    let (mut all, mut file) = (false, None);
    while let Some(option) = parser.next().map_err(|error| error.to_string())? {
        match option {
            Long("all") => all = true,
            Long("render") => file = Some(PathBuf::from(parser.value().map_err(|error| error.to_string())?)),
            _ => return Err("write --all, or --render FILE, or neither".into()),
        }
    }
    match file {
        None => xtask::bench::run(all),
        Some(_) if all => Err("--render FILE measures nothing: write it without --all".into()),
        Some(file) => xtask::bench::render(&file),
    }
}

fn dialogues(parser: &mut lexopt::Parser) -> Result<(), String> {
    match parser.next().map_err(|error| error.to_string())? {
        Some(Long("config")) => xtask::dialogues::print_configuration(),
        Some(Long("target")) => {
            let target = parser.value().map_err(|error| error.to_string())?;
            xtask::dialogues::play(&target.to_string_lossy())
        }
        _ => Err("write --target HOST:PORT or --config".into()),
    }
}

fn transports(parser: &mut lexopt::Parser) -> Result<(), String> {
    let (mut way, mut short) = (None, false);
    while let Some(option) = parser.next().map_err(|error| error.to_string())? {
        match option {
            Value(name) => way = Some(name.to_string_lossy().into_owned()),
            Long("short") => short = true,
            _ => return Err("write a way, --short, or both".into()),
        }
    }
    xtask::transports::run(way.as_deref(), short)
}

fn store(parser: &mut lexopt::Parser) -> Result<(), String> {
    match parser.next().map_err(|error| error.to_string())? {
        Some(Value(file)) => xtask::store::print(file.as_ref(), flag(parser, "brief")?),
        _ => Err("name the file of a store".into()),
    }
}

fn chaos(parser: &mut lexopt::Parser) -> Result<(), String> {
    let (mut kills, mut seed, mut policy) = (300, 1, None);
    while let Some(option) = parser.next().map_err(|error| error.to_string())? {
        match option {
            Long("kills") => kills = value(parser, "kills")?,
            Long("seed") => seed = value(parser, "seed")?,
            Long("policy") => policy = Some(value(parser, "policy")?),
            _ => {
                return Err(
                    "the options here are --kills N, --seed S and --policy interval|every-write".into()
                );
            }
        }
    }
    xtask::chaos::run(kills, seed, policy)
}

fn soak(parser: &mut lexopt::Parser) -> Result<(), String> {
    let (mut minutes, mut clients, mut out) = (None, 500, "target/soak".into());
    while let Some(option) = parser.next().map_err(|error| error.to_string())? {
        match option {
            Long("minutes") => minutes = Some(value(parser, "minutes")?),
            Long("clients") => clients = value(parser, "clients")?,
            Long("out") => out = PathBuf::from(parser.value().map_err(|error| error.to_string())?),
            _ => return Err("the options here are --minutes N, --clients N and --out DIRECTORY".into()),
        }
    }
    xtask::soak::run(minutes.ok_or("say for how long: --minutes N")?, clients, &out)
}

/// The value of an option.
fn value<T: FromStr<Err: Display>>(parser: &mut lexopt::Parser, name: &str) -> Result<T, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    value.to_string_lossy().parse().map_err(|error| format!("--{name}: {error}"))
}

/// All that follows, as it is.
fn words(parser: &mut lexopt::Parser) -> Result<Vec<String>, String> {
    let words = parser.raw_args().map_err(|error| error.to_string())?;
    Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
}

/// Whether the one optional flag of a chore is given.
fn flag(parser: &mut lexopt::Parser, name: &str) -> Result<bool, String> {
    match parser.next().map_err(|error| error.to_string())? {
        None => Ok(false),
        Some(Long(given)) if given == name => Ok(true),
        Some(_) => Err(format!("the only option here is --{name}")),
    }
}

/// The value of the one optional option of a chore.
fn number(parser: &mut lexopt::Parser, name: &str, default: u32) -> Result<u32, String> {
    match parser.next().map_err(|error| error.to_string())? {
        None => Ok(default),
        Some(Long(given)) if given == name => {
            let value = parser.value().map_err(|error| error.to_string())?;
            value.to_string_lossy().parse().map_err(|_| format!("--{name} takes a number"))
        }
        Some(_) => Err(format!("the only option here is --{name} N")),
    }
}
