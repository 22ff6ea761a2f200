//! Arguments in the manner of `spark`: one dash before long names.
//!
//! Owns which arguments get a second dash: names of long options, where an option may stand. Values are not
//! touched, whatever they look like.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::options::Cli;

/// The arguments as clap wants them.
pub(crate) fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let cli = Cli::command();
    let mut command: &Command = &cli;
    let mut out = Vec::new();
    let mut value_follows = false;
    let mut given = given.into_iter();
    out.extend(given.next());
    while let Some(argument) = given.next() {
        let Some(text) = argument.to_str().filter(|_| !value_follows) else {
            value_follows = false;
            out.push(argument);
            continue;
        };
        if text == "--" {
            out.push(argument);
            out.extend(given);
            break;
        }
        if let Some(next) = command.find_subcommand(text) {
            command = next;
        }
        let dashes = if text.starts_with("--") { 2 } else { usize::from(text.starts_with('-')) };
        let name = text.get(dashes..).unwrap_or_default();
        let (name, has_value) = name.split_once('=').map_or((name, false), |(name, _)| (name, true));
        let option = command.get_arguments().find(|option| dashes > 0 && is_called(option, name));
        value_follows = !has_value && option.is_some_and(takes_value);
        match option {
            Some(_) if dashes == 1 => {
                let mut long = OsString::from("-");
                long.push(&argument);
                out.push(long);
            }
            _ => out.push(argument),
        }
    }
    out
}

fn is_called(option: &Arg, name: &str) -> bool {
    name.len() > 1
        && (option.get_long() == Some(name)
            || option.get_all_aliases().is_some_and(|aliases| aliases.contains(&name)))
}

/// Whether the next argument is the option's, whatever it is.
fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
        && option.get_num_args().is_none_or(|count| count.min_values() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &[&str]) -> Vec<String> {
        let given = line.iter().map(OsString::from);
        arguments(given).into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        assert_eq!(
            seen(&["amps", "sow", "-server", "localhost:9007", "--topic", "t", "-topn=3"]),
            ["amps", "sow", "--server", "localhost:9007", "--topic", "t", "--topn=3"]
        );
        assert_eq!(seen(&["amps", "subscribe", "-max_backlog", "3"])[2], "--max_backlog");
    }

    #[test]
    fn values_stay_as_they_are() {
        assert_eq!(seen(&["amps", "sow", "-filter", "-topic"])[3], "-topic");
        assert_eq!(seen(&["amps", "publish", "-secure", "-topic", "t"])[3], "--topic");
        assert_eq!(seen(&["amps", "decode", "--", "-file"])[3], "-file");
        assert_eq!(seen(&["amps", "-h"]), ["amps", "-h"]);
    }
}
