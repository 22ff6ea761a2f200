//! The forms of faults, and what they do to the bytes of a connection in memory.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::time::Duration;

use amps_protocol::AckType;
use amps_transport::{CloseMode, ConnId, Input, ListenerId, Machine, Outlet, Sink, Time};
use bytes::BytesMut;
use serde_json::json;

use super::*;
use crate::FakeServer;
use crate::engine::{Engine, Observe};
use crate::matcher::Matcher;

const CONN: ConnId = ConnId(1);

/// Every write by itself.
#[derive(Default)]
struct Wire {
    writes: Vec<Vec<u8>>,
    closed: Option<CloseMode>,
    reading: Option<bool>,
    unsent: BTreeMap<ConnId, usize>,
}

impl Sink for Wire {
    fn connect(&mut self, _: amps_transport::Target) -> ConnId {
        unreachable!("a server connects nowhere")
    }
    fn send(&mut self, _: ConnId, bytes: &[u8]) {
        self.writes.push(bytes.to_vec());
    }
    fn close(&mut self, _: ConnId, mode: CloseMode) {
        self.closed = Some(mode);
    }
    fn set_reading(&mut self, _: ConnId, on: bool) {
        self.reading = Some(on);
    }
    fn outlet(&mut self, _: ConnId) -> Option<Outlet> {
        None
    }
    fn unsent(&self, conn: ConnId) -> usize {
        self.unsent.get(&conn).copied().unwrap_or_default()
    }
}

/// A layer with its engine and one connection, without a loop.
struct Bench {
    layer: FaultLayer,
    engine: Engine,
    wire: Wire,
    now: Time,
}

impl Bench {
    fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut bench = Self {
            layer: FaultLayer::new(0, Observe::All),
            engine: FakeServer::builder().engine().unwrap(),
            wire: Wire::default(),
            now: Time::from_unix_nanos(1_000_000_000),
        };
        for fault in faults {
            fault.check().unwrap();
            bench.layer.add(&mut bench.engine, bench.now, fault, &mut bench.wire);
        }
        let accepted = Input::Accepted { conn: CONN, listener: ListenerId(0), peer: None };
        let through = &mut FaultSink::new(&mut bench.layer, bench.now, &mut bench.wire);
        bench.engine.handle(bench.now, accepted, through);
        bench.layer.accepted(&mut bench.engine, bench.now, (CONN, ListenerId(0)), &mut bench.wire);
        bench.client(r#"{"c":"logon","cid":"0","client_name":"a","mt":"json","a":"processed"}"#);
        bench
    }

    fn client(&mut self, frame: &str) {
        let mut bytes = BytesMut::from(&framed(frame)[..]);
        self.layer.receive(&mut self.engine, self.now, CONN, &mut bytes, &mut self.wire);
    }

    fn turn(&mut self) {
        self.layer.begin_turn(&mut self.engine, self.now, &mut self.wire);
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.turn();
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.wire.writes)
    }

    /// Turns until nothing wants one any more.
    fn turn_until_quiet(&mut self) {
        while self.layer.wants_turn() {
            self.turn();
        }
    }
}

fn framed(frame: &str) -> Vec<u8> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame.as_bytes());
    bytes
}

const FLUSH: &str = r#"{"c":"flush","cid":"1","a":"processed"}"#;

#[test]
fn each_piece_is_a_write_of_its_own() {
    let mut bench = Bench::new([Fault::when(Trigger::any_accept()).then(Action::partial_writes([3, 1]))]);
    bench.turn_until_quiet();
    let sizes: Vec<usize> = bench.take().iter().map(Vec::len).collect();
    assert!(sizes.len() > 4, "{sizes:?}");
    assert_eq!(sizes[..4], [3, 1, 3, 1]);
    bench.client(FLUSH);
    assert_eq!(bench.take().len(), 0, "the loop has not written the last piece yet");
    bench.turn();
    assert_eq!(bench.take().len(), 1, "one piece in one turn");
    bench.wire.unsent.insert(CONN, 1);
    bench.turn();
    assert!(bench.take().is_empty() && !bench.layer.wants_turn(), "the socket is full");
    bench.wire.unsent.clear();
    bench.turn();
    bench.turn_until_quiet();
    assert!(!bench.take().is_empty());
}

#[test]
fn pieces_with_a_gap_leave_by_the_clock() {
    let (sizes, gap) = (vec![100], Duration::from_millis(10));
    let mut bench =
        Bench::new([Fault::when(Trigger::any_accept()).then(Action::PartialWrites { sizes, gap })]);
    assert_eq!(bench.take().len(), 1);
    bench.turn();
    assert!(bench.take().is_empty());
    assert_eq!(bench.layer.deadline(), Some(bench.now + gap));
    bench.wait(gap);
    assert_eq!(bench.take().len(), 1);
}

#[test]
fn a_throttled_connection_gets_a_tenth_of_a_second_at_a_time() {
    let mut bench = Bench::new([Fault::when(Trigger::any_accept()).then(Action::Throttle(100))]);
    assert_eq!(bench.take(), [bench_first()], "the first ten bytes");
    for _ in 0..3 {
        bench.wait(Duration::from_millis(99));
        assert!(bench.take().is_empty());
        bench.wait(Duration::from_millis(1));
        assert_eq!(bench.take()[0].len(), 10);
    }
}

/// The first ten bytes of an answer to the logon.
fn bench_first() -> Vec<u8> {
    let mut bench = Bench::new([]);
    bench.take().concat()[..10].to_vec()
}

#[test]
fn frames_that_are_coalesced_are_one_write() {
    let mut bench = Bench::new([Fault::when(Trigger::outbound(2)).then(Action::Coalesce(3))]);
    assert_eq!(bench.take().len(), 1);
    bench.client(FLUSH);
    bench.client(FLUSH);
    assert!(bench.take().is_empty());
    bench.client(FLUSH);
    let writes = bench.take();
    assert_eq!(writes.len(), 1);
    bench.client(FLUSH);
    assert_eq!(writes[0], bench.take()[0].repeat(3));
}

#[test]
fn a_batch_that_is_not_full_leaves_after_a_while() {
    for action in [Action::Coalesce(3), Action::reorder_acks(3)] {
        let mut bench = Bench::new([Fault::when(Trigger::outbound(2)).then(action)]);
        bench.take();
        bench.client(FLUSH);
        bench.wait(Duration::from_millis(99));
        assert!(bench.take().is_empty());
        bench.wait(Duration::from_millis(1));
        assert_eq!(bench.take().len(), 1);
    }
}

#[test]
fn what_a_closed_connection_was_sent_leaves_before_the_end() {
    let mut bench =
        Bench::new([Fault::when(Trigger::outbound(2)).then(Action::Delay(Duration::from_secs(1)))]);
    bench.take();
    bench.client(r#"{"c":"nonsense","cid":"1","a":"processed"}"#);
    assert_eq!((bench.take().len(), bench.wire.closed), (0, None));
    bench.wait(Duration::from_secs(1));
    assert_eq!((bench.take().len(), bench.wire.closed), (1, Some(CloseMode::Flush)));
    assert!(!bench.layer.is_idle(), "the fault is still there");
}

#[test]
fn a_reset_is_asked_of_the_socket() {
    let reset = Fault::when(Trigger::outbound(2)).then(Action::DropConnection(HowClosed::Rst));
    let mut bench = Bench::new([reset]);
    bench.take();
    bench.client(FLUSH);
    assert_eq!((bench.take().len(), bench.wire.closed), (0, Some(CloseMode::Reset)));
    assert!(bench.engine.connections().is_empty());
}

#[test]
fn reading_stops_and_goes_on() {
    let stall =
        Fault::when(Trigger::inbound(2)).then(Action::StallReads(Lasting::For(Duration::from_secs(1))));
    let mut bench = Bench::new([stall]);
    bench.take();
    let mut bytes = BytesMut::from(&framed(FLUSH).repeat(2)[..]);
    bench.layer.receive(&mut bench.engine, bench.now, CONN, &mut bytes, &mut bench.wire);
    assert_eq!((bench.take().len(), bench.wire.reading), (1, Some(false)));
    assert_eq!(bytes.len(), framed(FLUSH).len(), "what came after it is left to be offered again");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.wire.reading, Some(true));
}

#[test]
fn connections_of_the_servers_own_are_left_alone() {
    let mut bench = Bench::new([Fault::when(Trigger::any_outbound()).always().then(Action::Swallow)]);
    let own = ConnId(9);
    FaultSink::new(&mut bench.layer, bench.now, &mut bench.wire).send(own, &framed(FLUSH));
    assert_eq!(bench.take(), [framed(FLUSH)]);
    let mut bytes = BytesMut::from(&framed(FLUSH)[..]);
    bench.layer.receive(&mut bench.engine, bench.now, own, &mut bytes, &mut bench.wire);
    assert!(bytes.is_empty() && bench.take().is_empty(), "the engine has it, and knows nothing of it");
}

#[test]
fn without_faults_bytes_go_past_the_layer() {
    let mut bench = Bench::new([]);
    assert!(bench.layer.is_idle());
    let fault = Fault::when(Trigger::outbound(9)).then(Action::Swallow);
    let id = bench.layer.add(&mut bench.engine, bench.now, fault, &mut bench.wire);
    assert!(!bench.layer.is_idle());
    assert!(bench.layer.remove(&mut bench.engine, bench.now, id, &mut bench.wire));
    assert!(bench.layer.is_idle());
}

#[test]
fn every_fault_is_read_as_it_was_written() {
    let second = Duration::from_secs(1);
    let triggers = [
        Trigger::accept(1),
        Trigger::any_accept(),
        Trigger::Logon,
        Trigger::inbound(2),
        Trigger::inbound_matching(Matcher::any().topic("T")),
        Trigger::outbound(3),
        Trigger::any_outbound(),
        Trigger::OutboundByte(10),
        Trigger::After(second),
        Trigger::At(Time::from_unix_nanos(1_767_225_600_000_000_001)),
        Trigger::Probability(0.25),
    ];
    for trigger in triggers {
        let fault = Fault::when(trigger)
            .on_client("^a")
            .on_connection(2)
            .on_sub_id("s")
            .on_topic("T")
            .on_transport("any-tcp")
            .times(3)
            .then(Action::Swallow);
        assert_eq!(Fault::from_json(&fault.to_json()), Ok(fault.clone()), "{fault}");
    }
    for action in every_action() {
        let fault = Fault::when(Trigger::Logon).always().then(action);
        assert_eq!(Fault::from_json(&fault.to_json()), Ok(fault.clone()), "{fault}");
    }
}

fn every_action() -> Vec<Action> {
    let span = Duration::from_millis(1500);
    vec![
        Action::DropConnection(HowClosed::Fin),
        Action::DropConnection(HowClosed::Rst),
        Action::drop_mid_frame(7),
        Action::TruncateLength { extra: 4, then: Unfinished::Close },
        Action::TruncateLength { extra: 4, then: Unfinished::Stall },
        Action::Delay(span),
        Action::StallReads(Lasting::UntilRemoved),
        Action::StallWrites(Lasting::For(span)),
        Action::PartialWrites { sizes: vec![1, 2], gap: span },
        Action::Coalesce(2),
        Action::Throttle(10),
        Action::Corrupt { offset: 3, bytes: b"\xff\x00".to_vec() },
        Action::Garbage(5),
        Action::BadHeader("{".to_owned()),
        Action::RefuseLogon { reason: "no".to_owned(), close: false },
        Action::Challenge(vec!["a".to_owned(), "b".to_owned()]),
        Action::NameInUse,
        Action::Fail("no".to_owned()),
        Action::Swallow,
        Action::SwallowAck(AckType::Persisted),
        Action::Duplicate(2),
        Action::Reorder { window: 3, acks_only: false },
        Action::reorder_acks(3),
        Action::HoldPersisted,
        Action::ReleasePersisted,
        Action::PersistedFailure { sequence: 3, reason: "no".to_owned() },
        Action::inject(r#"{"c":"heartbeat"}"#),
        Action::ReplayDuplicates(2),
        Action::LoseEntries(2),
        Action::LeaseShort(span),
    ]
}

#[test]
fn short_forms_are_understood() {
    let then = |action: serde_json::Value| Action::from_json(&action).unwrap();
    assert_eq!(then(json!({"partial_writes": [1]})), Action::partial_writes([1]));
    assert_eq!(then(json!({"reorder": 4})), Action::Reorder { window: 4, acks_only: false });
    assert_eq!(then(json!({"bad_header": {"c": 1}})), Action::BadHeader("{\"c\":1}".to_owned()));
    assert_eq!(then(json!({"truncate_length": {"extra": 1}})).target(), action::Target::Outbound);
    let fault = json!({"when": "on_logon", "then": "name_in_use"});
    assert_eq!(Fault::from_json(&fault), Ok(Fault::when(Trigger::Logon).then(Action::NameInUse)));
}

#[test]
fn errors_say_which_key_is_wrong_and_what_to_write() {
    let fault = |when: serde_json::Value, then: serde_json::Value| {
        Fault::from_json(&json!({"when": when, "then": then})).unwrap_err().to_string()
    };
    let swallow = json!("swallow");
    for (error, expected) in [
        (fault(json!({"outbound": 0}), swallow.clone()), "when: numbers begin with 1"),
        (
            fault(json!({"outbound": {"topik": "T"}}), swallow.clone()),
            "when.outbound.topik: there is no such key",
        ),
        (
            fault(json!({"inbound": {"client": "("}}), swallow.clone()),
            "when.inbound.client: \"(\" is no regular",
        ),
        (
            fault(json!({"probability": 2}), swallow.clone()),
            "when.probability: 2 does not lie between 0 and 1",
        ),
        (fault(json!("inbound"), swallow.clone()), "when.inbound: it needs a value"),
        (fault(json!({"after": 5}), swallow), "when.after: expected a span"),
        (fault(json!("on_logon"), json!({"delay": "1 hour"})), "then.delay: expected a span"),
        (
            fault(json!("on_logon"), json!("swalow")),
            "then: there is no \"swalow\"; the closest is \"swallow\"",
        ),
        (fault(json!("on_logon"), json!({"swallow": 1})), "then.swallow: expected the word alone"),
        (fault(json!("on_logon"), json!({"throttle": 0})), "then.throttle: 0 bytes a second"),
        (
            fault(json!("on_logon"), json!({"partial_writes": []})),
            "then.partial_writes.sizes: there is no size",
        ),
        (fault(json!("on_logon"), json!({"drop_connection": "nicely"})), "then.drop_connection: there is no"),
        (fault(json!("on_logon"), json!({"challenge": []})), "then.challenge: there is no challenge"),
        (fault(json!("on_logon"), json!({"coalesce": 0})), "then: 0 frames are none to gather"),
        (Fault::from_json(&json!({"when": "on_logon"})).unwrap_err().to_string(), "then: it is missing"),
    ] {
        assert!(error.starts_with(expected), "{error}");
    }
    let wrong = Fault::when(Trigger::Logon).on_client("(").then(Action::Swallow).check().unwrap_err();
    assert_eq!(wrong.key(), "scope.client");
}
