//! Every transcript: in the process, and by every way in which a server can be reached, also byte by byte.

mod support;

use amps_testkit::{Action, FakeServerBuilder, Fault, Setting, Trigger};

use support::channel::Way;
use support::in_process::InProcess;
use support::over_sockets::OverSockets;
use support::pair_in_process::PairInProcess;
use support::pair_over_sockets::PairOverSockets;
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

/// Plays every dialogue by one way, against a server as `with` makes it.
fn by(way: Way, bytes_per_write: usize, with: impl Fn(FakeServerBuilder) -> FakeServerBuilder) {
    each(|dialogue| {
        let (builder, transport) = dialogue.server();
        let builder = with(builder);
        if dialogue.is_pair() {
            return dialogue.play(&mut PairOverSockets::start(way, builder, bytes_per_write));
        }
        dialogue.play(&mut OverSockets::start(way, builder, transport, bytes_per_write));
    });
}

fn as_it_is(builder: FakeServerBuilder) -> FakeServerBuilder {
    builder
}

/// The server writes one byte at a time.
fn in_bytes(builder: FakeServerBuilder) -> FakeServerBuilder {
    builder.fault(Fault::when(Trigger::any_accept()).always().then(Action::partial_writes([1])))
}

#[test]
fn dialogues_over_tcp() {
    by(Way::Tcp, usize::MAX, as_it_is);
}

#[test]
fn dialogues_over_tcp_one_byte_at_a_time() {
    by(Way::Tcp, 1, as_it_is);
}

/// AC-CI-06: all of them, those of section 2 among them.
#[test]
fn ac_ci_06_dialogues_with_a_server_that_writes_one_byte_at_a_time() {
    by(Way::Tcp, usize::MAX, in_bytes);
}

#[test]
fn dialogues_behind_a_preflight() {
    by(Way::Preflight, usize::MAX, as_it_is);
    by(Way::Preflight, 1, in_bytes);
}

#[cfg(unix)]
#[test]
fn dialogues_over_a_socket_file() {
    by(Way::Unix, usize::MAX, as_it_is);
    by(Way::Unix, 1, in_bytes);
}

#[cfg(feature = "tls")]
#[test]
fn dialogues_over_tls() {
    by(Way::Tcps, usize::MAX, as_it_is);
    by(Way::Tcps, 1, in_bytes);
}

#[cfg(feature = "zlib")]
#[test]
fn dialogues_compressed() {
    by(Way::Zlib, usize::MAX, as_it_is);
    by(Way::Zlib, 1, in_bytes);
}

/// AC-CONN-16: for every dialogue, the frames are those that come over TCP.
#[cfg(feature = "websocket")]
#[test]
fn ac_conn_16_dialogues_over_web_socket() {
    by(Way::Ws, usize::MAX, as_it_is);
    by(Way::Ws, 1, in_bytes);
}

#[cfg(all(feature = "tls", feature = "websocket"))]
#[test]
fn dialogues_over_web_socket_and_tls() {
    by(Way::Wss, usize::MAX, as_it_is);
}

#[cfg(all(feature = "tls", feature = "zlib"))]
#[test]
fn dialogues_over_tls_behind_a_preflight_and_compressed() {
    by(Way::TcpsPreflightZlib, usize::MAX, as_it_is);
}
