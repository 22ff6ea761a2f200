//! What a program sent before it ended arrives, although nothing was waited for.

mod common;

use std::process::{Command, Stdio};

use amps_client::CommandKind;
use common::Peer;

const COUNT: usize = 2000;
const VARIABLE: &str = "AMPS_TEST_LAST_WORDS_URI";

/// Runs in a process of its own: publishes, drops the client, and is gone.
#[test]
fn child() {
    let Ok(uri) = std::env::var(VARIABLE) else { return };
    let client = common::client("short-lived").server(uri).connect().unwrap();
    for i in 0..COUNT {
        client.publish("t", format!("{i}")).unwrap();
    }
    drop(client);
    std::process::exit(0);
}

#[test]
fn a_program_that_drops_its_client_and_ends_loses_nothing() {
    for _ in 0..10 {
        let peer = Peer::new();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env(VARIABLE, peer.uri())
            .env(common::ROOTS, common::roots())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = peer.accept_logon();
        let published = line.rest().iter().filter(|frame| frame.command() == CommandKind::Publish).count();
        assert!(child.wait().unwrap().success());
        assert_eq!(published, COUNT);
    }
}
