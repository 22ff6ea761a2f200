//! `amps completions` and `amps man`: what packages install beside the program.

use std::fs;
use std::io::Write;

use clap::{Command, CommandFactory};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};

use crate::failure::{Failure, OTHER, Outcome};
use crate::options::{Cli, Completions, ENVIRONMENT, EXAMPLES, Man, STATUS};

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
    let mut out = Vec::new();
    let version = concat!("amps ", env!("CARGO_PKG_VERSION"));
    let page = Page::new(command.clone().after_help("")).source(version).manual("AMPS");
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut out)?;
    }
    let mut more = Roff::default();
    for (title, rows) in [("EXIT STATUS", STATUS), ("ENVIRONMENT", ENVIRONMENT)] {
        more.control("SH", [title]);
        for (name, text) in rows {
            more.control("TP", []);
            more.text([bold(*name)]);
            more.text([roman(*text)]);
        }
    }
    if command.has_subcommands() {
        more.control("SH", ["EXAMPLES"]);
        for line in EXAMPLES {
            more.control("PP", []);
            more.text([roman(*line)]);
        }
    } else {
        more.control("SH", ["SEE ALSO"]);
        more.text([bold("amps"), roman("(1)")]);
    }
    more.to_writer(&mut out)?;
    Ok(out)
}

/// To stdout; that nobody reads on is no failure.
fn printed(text: &[u8]) -> Result<Outcome, Failure> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(OTHER, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(Outcome::Done),
    }
}
