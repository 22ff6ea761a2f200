//! What this program does as one of the processes of a chore. Not for people.

use crate::process::say;
use crate::{chaos, served};

/// Plays a part.
///
/// # Errors
/// What ended it. Whoever started the process is told first.
pub fn play(args: &[String]) -> Result<(), String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match args[..] {
        ["server", address] => served::serve(address, None),
        ["server", address, data] => served::serve(address, Some(data.into())),
        _ => chaos::play_part(&args),
    };
    if let Err(error) = &ended {
        say(&format!("fatal: {error}"));
    }
    ended
}
