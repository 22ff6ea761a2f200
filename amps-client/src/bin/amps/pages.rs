//! `amps completions` and `amps man`: what packages install beside the program.

use std::fs;
use std::io::Write;

use clap::{Command, CommandFactory};
use clap_mangen::Man as Page;

use crate::failure::{Failure, OTHER, Outcome};
use crate::options::{Cli, Completions, Man};

/// Prints the completions for a shell.
pub(crate) fn completions(options: &Completions) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "amps", &mut script);
    printed(&script)
}

/// Prints a manual page, or writes all of them.
pub(crate) fn man(options: &Man) -> Result<Outcome, Failure> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let commands: Vec<Command> =
        cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    if let Some(dir) = &options.dir {
        let unwritten = |error| Failure::new(OTHER, format!("cannot write to {}: {error}", dir.display()));
        for command in std::iter::once(&cli).chain(&commands) {
            let page = page(command).map_err(unwritten)?;
            fs::write(dir.join(format!("{}.1", page_name(command))), page).map_err(unwritten)?;
        }
        return Ok(Outcome::Done);
    }
    let command = match &options.command {
        None => &cli,
        Some(name) => {
            let known = commands.iter().find(|command| {
                command.get_name() == name || command.get_all_aliases().any(|alias| alias == name)
            });
            known.ok_or_else(|| Failure::usage(format!("there is no command \"{name}\"; see amps --help")))?
        }
    };
    let page = page(command).map_err(|error| Failure::new(OTHER, error.to_string()))?;
    printed(&page)
}

/// `amps`, or `amps-sow` for the command `sow`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Page::new(command.clone().version(env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    Ok(page)
}

/// To stdout; that nobody reads on is no failure.
fn printed(text: &[u8]) -> Result<Outcome, Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(OTHER, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(Outcome::Done),
    }
}
