//! Processes that are killed without warning: a short run with each policy, and what becomes of the processes.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::chaos::{Chaos, Policy};
use xtask::process::PART;

fn short(policy: Policy) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
    let summary =
        Chaos { program, kills: 15, seed: 1, policy }.run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(summary.kills.iter().sum::<u32>(), 15);
    assert!(summary.accepted > 0 && summary.received >= summary.accepted, "{summary}");
}

#[test]
fn kills_lose_nothing_and_repeat_the_last_discards_only_where_the_system_writes_behind() {
    short(Policy::Interval);
}

#[test]
fn kills_lose_and_repeat_nothing_where_each_write_is_forced() {
    short(Policy::EveryWrite);
}

#[test]
fn a_part_ends_when_whoever_started_it_is_gone() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([PART, "server", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    assert_eq!(out.read_to_string(&mut line).unwrap(), 0);
}
