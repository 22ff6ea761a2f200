//! Every transcript, four ways: in the process, over TCP, over TCP with a client that writes byte
//! by byte, and with a server that does.

mod support;

use amps_testkit::{Action, Fault, Setting, Trigger};

use support::in_process::InProcess;
use support::over_tcp::OverTcp;
use support::pair_in_process::PairInProcess;
use support::pair_over_tcp::PairOverTcp;
use support::script::Dialogue;
use support::transcripts::{TRANSCRIPTS, dialogues};

fn each(play: impl Fn(&Dialogue)) {
    for dialogue in dialogues() {
        println!("{}", dialogue.title);
        play(&dialogue);
    }
}

/// server.md 11 and 0.5: a setting that no dialogue turns is one that nobody has seen work.
#[test]
fn every_setting_is_turned_away_from_its_default_in_a_dialogue() {
    let turned: Vec<(&str, &str)> = TRANSCRIPTS
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("@ switch ")?.split_once('='))
        .collect();
    let untouched: Vec<String> = Setting::all()
        .into_iter()
        .filter(|setting| !turned.iter().any(|(key, value)| *key == setting.key && *value != setting.default))
        .map(|setting| setting.key)
        .collect();
    assert_eq!(untouched, [""; 0]);
}

#[test]
fn dialogues_in_process() {
    each(|dialogue| {
        let (builder, transport) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairInProcess::start(&builder));
        }
        dialogue.play(&mut InProcess::start(builder, transport));
    });
}

#[test]
fn dialogues_over_tcp() {
    each(|dialogue| {
        let (builder, transport) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, usize::MAX));
        }
        dialogue.play(&mut OverTcp::start(builder, transport, usize::MAX));
    });
}

#[test]
fn dialogues_over_tcp_one_byte_at_a_time() {
    each(|dialogue| {
        let (builder, transport) = dialogue.server();
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, 1));
        }
        dialogue.play(&mut OverTcp::start(builder, transport, 1));
    });
}

/// AC-CI-06: all of them, those of section 2 among them.
#[test]
fn ac_ci_06_dialogues_with_a_server_that_writes_one_byte_at_a_time() {
    each(|dialogue| {
        let (builder, transport) = dialogue.server();
        let bytes = Fault::when(Trigger::any_accept()).always().then(Action::partial_writes([1]));
        let builder = builder.fault(bytes);
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverTcp::start(builder, usize::MAX));
        }
        dialogue.play(&mut OverTcp::start(builder, transport, usize::MAX));
    });
}
