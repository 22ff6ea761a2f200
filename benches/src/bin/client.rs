//! Runs a whole client for so many times 100 messages: `client CASE COUNT`. To be run under a tool that counts
//! instructions; `cargo xtask instructions` does. `client peer KIND` is the other end, in a process of its own. `client crowd N` tells what N
//! clients on one thread take.

use std::process::ExitCode;

use benches::whole::{Apart, CASES, UNITS, crowd, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        for (name, _, _) in CASES {
            println!("{name}\t{UNITS}");
        }
        return ExitCode::SUCCESS;
    };
    if name == "peer" {
        return match serve(&count) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => wrong(&text),
        };
    }
    if let ("crowd", Ok(clients)) = (&*name, count.parse()) {
        println!("{}", crowd(clients));
        return ExitCode::SUCCESS;
    }
    let (Some((_, peer, run)), Ok(count)) =
        (CASES.iter().find(|case| case.0 == name), count.parse::<usize>())
    else {
        return wrong(&format!(
            "no case \"{name}\", or \"{count}\" is no number; without arguments all cases are listed"
        ));
    };
    run(&mut Apart::start(peer), count * UNITS);
    ExitCode::SUCCESS
}

fn wrong(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}
