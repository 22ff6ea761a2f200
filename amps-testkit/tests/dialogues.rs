//! Every transcript, four ways: in the process, over TCP, over TCP with a client that writes byte
//! by byte, and with a server that does.

mod support;

use amps_testkit::{Action, Fault, Trigger};

use support::in_process::InProcess;
use support::over_tcp::OverTcp;
use support::pair_in_process::PairInProcess;
use support::pair_over_tcp::PairOverTcp;
use support::script::{Dialogue, parse};

const TRANSCRIPTS: &[&str] = &[
    include_str!("dialogues/connection.txt"),
    include_str!("dialogues/publish.txt"),
    include_str!("dialogues/queue.txt"),
    include_str!("dialogues/queue_limits.txt"),
    include_str!("dialogues/log.txt"),
    include_str!("dialogues/sow.txt"),
    include_str!("dialogues/rights.txt"),
    include_str!("dialogues/pair.txt"),
    include_str!("dialogues/actions.txt"),
    include_str!("dialogues/past_and_joins.txt"),
];

fn each(play: impl Fn(&Dialogue)) {
    for dialogue in TRANSCRIPTS.iter().flat_map(|text| parse(text)) {
        println!("{}", dialogue.title);
        play(&dialogue);
    }
}

#[test]
fn dialogues_in_process() {
    each(|dialogue| {
        let (builder, message_type) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairInProcess::start(&builder));
        }
        dialogue.play(&mut InProcess::start(builder, message_type));
    });
}

#[test]
fn dialogues_over_tcp() {
    each(|dialogue| {
        let (builder, message_type) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, usize::MAX));
        }
        dialogue.play(&mut OverTcp::start(builder, message_type, usize::MAX));
    });
}

#[test]
fn dialogues_over_tcp_one_byte_at_a_time() {
    each(|dialogue| {
        let (builder, message_type) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, 1));
        }
        dialogue.play(&mut OverTcp::start(builder, message_type, 1));
    });
}

/// AC-CI-06: all of them, those of section 2 among them.
#[test]
fn ac_ci_06_dialogues_with_a_server_that_writes_one_byte_at_a_time() {
    each(|dialogue| {
        let (builder, message_type) = dialogue.server();
        let bytes = Fault::when(Trigger::any_accept()).always().then(Action::partial_writes([1]));
        let builder = builder.fault(bytes);
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, usize::MAX));
        }
        dialogue.play(&mut OverTcp::start(builder, message_type, usize::MAX));
    });
}
