//! The transcripts against a server that is not ours: `cargo xtask dialogues --target HOST:PORT`,
//! with the configuration that `cargo xtask dialogues --config` prints and empty directories.
//! Here it is the fake server that stands in, started from that configuration.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use amps_testkit::{ConfigFile, FakeServer};
use support::script::{Dialogue, parse};
use support::target::{Elsewhere, Target, configuration, elsewhere};

const TRANSCRIPTS: &[&str] = &[
    include_str!("dialogues/connection.txt"),
    include_str!("dialogues/publish.txt"),
    include_str!("dialogues/queue.txt"),
    include_str!("dialogues/queue_limits.txt"),
    include_str!("dialogues/log.txt"),
    include_str!("dialogues/sow.txt"),
];

fn dialogues() -> Vec<Dialogue> {
    TRANSCRIPTS.iter().flat_map(|text| parse(text)).collect()
}

#[test]
fn dialogues_that_need_no_fake_server_hold_on_any() {
    let (playable, left_out) = elsewhere(dialogues());
    let file = ConfigFile::parse("dialogues.xml", &configuration(&playable)).unwrap();
    let server = FakeServer::builder().config(file).virtual_clock().start().unwrap();
    for Elsewhere { dialogue, .. } in &playable {
        println!("{}", dialogue.title);
        dialogue.play(&mut Target::ours(&server));
    }
    assert!(playable.len() >= 50, "only {} can be played elsewhere, {} not", playable.len(), left_out.len());
}

#[test]
#[ignore = "needs a server: cargo xtask dialogues --target HOST:PORT"]
fn dialogues_against_a_target() {
    let address = std::env::var("AMPS_TARGET").expect("AMPS_TARGET says where the server is: HOST:PORT");
    let (playable, left_out) = elsewhere(dialogues());
    for (title, why) in &left_out {
        println!("left out: {title}: {why}");
    }
    let mut failed = 0;
    for Elsewhere { dialogue, .. } in &playable {
        let outcome = catch_unwind(AssertUnwindSafe(|| dialogue.play(&mut Target::at(&address))));
        println!("{}: {}", if outcome.is_ok() { "holds" } else { "DIFFERS" }, dialogue.title);
        failed += usize::from(outcome.is_err());
    }
    println!("{} hold, {failed} differ, {} left out", playable.len() - failed, left_out.len());
    assert_eq!(failed, 0, "dialogues differ");
}

#[test]
#[ignore = "prints: cargo xtask dialogues --config"]
fn configuration_of_a_target() {
    print!("{}", configuration(&elsewhere(dialogues()).0));
}
