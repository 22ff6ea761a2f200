//! The transcripts against a server that is not ours, each a test of its own:
//! `cargo xtask dialogues --target HOST:PORT`, with the configuration that
//! `cargo xtask dialogues --config` prints and empty directories. Without a target it is the fake
//! server that stands in, started from that configuration.
//!
//! All options of a test binary are understood besides these two.

mod support;

use std::ffi::OsString;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;

use amps_testkit::{ConfigFile, FakeServer};
use libtest_mimic::{Arguments, Failed, Trial};
use support::target::{Elsewhere, Target, configuration, elsewhere};
use support::transcripts::dialogues;

/// What the two options say.
enum Wanted {
    SelfTest,
    Configuration,
    Target(String),
}

fn main() -> ExitCode {
    let (wanted, mut arguments) = match options(std::env::args_os()) {
        Ok((wanted, rest)) => (wanted, Arguments::from_iter(rest)),
        Err(text) => return refuse(&text),
    };
    // They share a server, and with it a clock.
    arguments.test_threads = Some(1);
    let (playable, left_out) = elsewhere(dialogues().collect());
    let trials = match wanted {
        Wanted::Configuration => {
            print!("{}", configuration(&playable));
            return ExitCode::SUCCESS;
        }
        Wanted::SelfTest => self_tests(playable, left_out.len()),
        Wanted::Target(address) => {
            if let Err(error) = TcpStream::connect(&address) {
                return refuse(&format!("no server at {address}: {error}"));
            }
            left_out.iter().for_each(|(title, why)| eprintln!("left out: {title}: {why}"));
            playable.into_iter().map(|played| against(played, address.clone())).collect()
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn refuse(text: &str) -> ExitCode {
    eprintln!("dialogues: {text}");
    ExitCode::from(2)
}

/// Takes the two options out of the arguments.
fn options(mut arguments: impl Iterator<Item = OsString>) -> Result<(Wanted, Vec<OsString>), String> {
    let (mut wanted, mut rest) = (Wanted::SelfTest, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => wanted = Wanted::Configuration,
            Some("--target") => {
                let address = arguments.next().and_then(|address| address.into_string().ok());
                wanted = Wanted::Target(address.ok_or("--target takes HOST:PORT")?);
            }
            _ => rest.push(argument),
        }
    }
    Ok((wanted, rest))
}

fn against(played: Elsewhere, address: String) -> Trial {
    let title = played.dialogue.title.clone();
    Trial::test(title, move || {
        played.dialogue.play(&mut Target::at(&address));
        Ok(())
    })
}

fn self_tests(playable: Vec<Elsewhere>, left_out: usize) -> Vec<Trial> {
    let configuration = configuration(&playable);
    let count = playable.len();
    let server = std::sync::LazyLock::new(move || {
        let file = ConfigFile::parse("dialogues.xml", &configuration).unwrap();
        FakeServer::builder().config(file).virtual_clock().start().unwrap()
    });
    let server = Arc::new(server);
    let mut trials = vec![Trial::test("most_dialogues_need_no_fake_server", move || match count {
        50.. => Ok(()),
        _ => Err(Failed::from(format!("only {count} can be played elsewhere, {left_out} not"))),
    })];
    trials.extend(playable.into_iter().map(|played| {
        let (title, server) = (played.dialogue.title.clone(), Arc::clone(&server));
        Trial::test(title, move || {
            played.dialogue.play(&mut Target::ours(&server));
            Ok(())
        })
    }));
    trials
}
