//! `amps`: AMPS on the command line.
//!
//! Owns the way from arguments to a command, and from its outcome to an exit status and one line on stderr. What
//! a command does is in a module of its own; the protocol is the library's business.

use std::ffi::OsString;
use std::process::ExitCode;

mod archive;
mod connection;
mod copy;
mod decode;
mod delete;
mod escapes;
mod failure;
mod human;
mod input;
mod json;
mod options;
mod output;
mod pages;
mod ping;
mod printer;
mod publish;
mod receive;
mod server;
mod servers;
mod spark;
mod stop;
mod template;

use clap::Parser;
use clap::error::ErrorKind;

use crate::failure::{Failure, Outcome, USAGE};
use crate::options::{Cli, Command};

fn main() -> ExitCode {
    let arguments = spark::arguments(std::env::args_os());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, &arguments),
    };
    let outcome = match cli.command {
        Command::Ping(options) => ping::run(&options),
        Command::Publish(options) => publish::run(&options),
        Command::Subscribe(options) => receive::subscribe(&options),
        Command::Sow(options) => receive::sow(&options),
        Command::SowAndSubscribe(options) => receive::sow_and_subscribe(&options),
        Command::SowDelete(options) => delete::run(&options),
        Command::Decode(options) => decode::run(&options),
        Command::Completions(options) => pages::completions(&options),
        Command::Man(options) => pages::man(&options),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Signalled(signal)) => ExitCode::from(stop::status_of(signal)),
        Err(failure) => failure.report(),
    }
}

/// What clap has to say: a page that was asked for, or one line.
fn misunderstood(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed stdout wants no help.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        _ => Failure::of_usage(error, arguments).report(),
    }
}
