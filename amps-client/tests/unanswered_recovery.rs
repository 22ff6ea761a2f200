//! A server that accepts the logon of a recovery and answers nothing after it, in virtual time.
#![cfg(feature = "simulation")]

use std::time::Duration;

use amps_client::simulation::{Bugs, Handled, LeaseId, Model, SimClient, SimConfig, SimNote, Sub, Ticket};
use amps_client::{ConnectionState, Error, Reconnect};
use amps_protocol::{CommandKind, FrameDecoder, Message};
use amps_transport::{CloseMode, CloseReason, ConnId, Input, Machine, Outlet, Sink, Target, Time};
use bytes::BytesMut;

#[derive(Default)]
struct Wires {
    connections: u64,
    sent: BytesMut,
    closed: Vec<ConnId>,
}

impl Sink for Wires {
    fn connect(&mut self, _: Target) -> ConnId {
        self.connections += 1;
        ConnId(self.connections)
    }
    fn send(&mut self, _: ConnId, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
    }
    fn close(&mut self, conn: ConnId, _: CloseMode) {
        self.closed.push(conn);
    }
    fn set_reading(&mut self, _: ConnId, _: bool) {}
    fn outlet(&mut self, _: ConnId) -> Option<Outlet> {
        None
    }
    fn unsent(&self, _: ConnId) -> usize {
        0
    }
}

#[derive(Default)]
struct Application {
    states: Vec<ConnectionState>,
    reports: Vec<String>,
}

impl Model for Application {
    fn deliver(&mut self, _: Sub, _: &Message<&[u8]>, _: Option<LeaseId>) -> Handled {
        Handled::Done
    }
    fn ended(&mut self, _: Sub, _: Option<Error>) {}
    fn replaced(&mut self, _: Sub) {}
    fn interrupted(&mut self, _: Sub) {}
    fn duplicate(&mut self, _: &amps_client::RawMessage<&[u8]>) {}
    fn resumed(&mut self, _: Sub, _: bool) {}
    fn draining(&mut self, _: Sub) {}
    fn state(&mut self, state: ConnectionState) {
        self.states.push(state);
    }
    fn report(&mut self, error: &Error) {
        self.reports.push(error.to_string());
    }
}

struct World {
    client: SimClient<Application>,
    wires: Wires,
    now: Time,
}

impl World {
    fn input(&mut self, input: Input<'_, SimNote>) {
        self.client.handle(self.now, input, &mut self.wires);
    }

    /// The next frame that the client sent.
    fn expect(&mut self, kind: CommandKind) -> Message {
        let frame = FrameDecoder::default().decode(&mut self.wires.sent).unwrap().expect("a frame");
        let message = Message::decode(frame).unwrap();
        assert_eq!(message.command(), kind);
        message
    }

    fn answer(&mut self, conn: ConnId, command: &Message) {
        let cid = command.command_id().unwrap();
        let ack = format!(r#"{{"c":"ack","cid":"{cid}","a":"processed","status":"success"}}"#);
        let mut bytes = BytesMut::from(&(ack.len() as u32).to_be_bytes()[..]);
        bytes.extend_from_slice(ack.as_bytes());
        self.input(Input::Received { conn, bytes: &mut bytes });
    }

    fn log_on(&mut self, conn: ConnId) {
        self.input(Input::Connected { conn, local: None, peer: None });
        let logon = self.expect(CommandKind::Logon);
        self.answer(conn, &logon);
    }

    /// Lets time pass until the client wants to be called.
    fn wait(&mut self) {
        self.now = self.client.deadline().expect("something to wait for").max(self.now);
        self.input(Input::Timer);
    }
}

#[test]
fn a_connection_whose_recovery_is_not_answered_is_given_up() {
    let config = SimConfig {
        name: "c".into(),
        servers: vec!["tcp://server:9007/amps/json".into()],
        reconnect: Some(Reconnect::new().jitter(0.0)),
        heartbeat: None,
        ack_batch_size: 1,
        ack_timeout: Duration::from_secs(1),
        send_limit: 1 << 20,
        seed: 1,
        bugs: Bugs::default(),
    };
    let client = SimClient::new(config, Application::default()).unwrap();
    let now = Time::EPOCH + Duration::from_secs(1_700_000_000);
    let mut world = World { client, wires: Wires::default(), now };
    world.input(Input::Note(SimNote::Connect(Ticket::default())));
    world.log_on(ConnId(1));
    let (_, ticket) = world.client.subscribe(now, "q", 10, true, None).unwrap();
    world.input(Input::Note(SimNote::Wake));
    let subscribe = world.expect(CommandKind::Subscribe);
    world.answer(ConnId(1), &subscribe);
    ticket.outcome().unwrap().unwrap();

    world.input(Input::Closed { conn: ConnId(1), reason: CloseReason::Reset });
    while world.wires.connections < 2 {
        world.wait();
    }
    world.log_on(ConnId(2));
    world.expect(CommandKind::Subscribe);
    let began = world.now;
    while world.wires.closed.is_empty() {
        world.wait();
    }
    assert_eq!(world.wires.closed, [ConnId(2)]);
    assert_eq!(world.now - began, Duration::from_secs(30));
    assert_eq!(world.client.model().states.last(), Some(&ConnectionState::Disconnected));
    let report = world.client.model().reports.last().unwrap();
    assert!(report.contains("subscribe \"q\" again: no answer within 30s"), "{report}");
    while world.wires.connections < 3 {
        world.wait();
    }
}
