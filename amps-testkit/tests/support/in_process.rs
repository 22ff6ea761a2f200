//! A stage without sockets: the pure engine, called directly.

use std::collections::BTreeMap;
use std::time::Duration;

use amps_protocol::next_frame;
use amps_testkit::{
    Engine, Event, FakeServerBuilder, LogCut, LoggedMessage, Observe, QueueSnapshot, TransportConfig,
};
use amps_transport::{
    CloseMode, CloseReason, ConnId, Input, ListenerId, Machine, Outlet, Sink, Target, Time,
};
use bytes::BytesMut;

use super::stage::Stage;

/// What the engine wants done.
#[derive(Default)]
pub(crate) struct Outbox {
    sent: BTreeMap<ConnId, BytesMut>,
    closed: Vec<ConnId>,
    /// What was sent and not received yet counts as unsent: consumers are slow.
    slow: bool,
}

impl Sink for Outbox {
    fn connect(&mut self, _target: Target) -> ConnId {
        unreachable!("a server connects nowhere")
    }
    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.sent.entry(conn).or_default().extend_from_slice(bytes);
    }
    fn close(&mut self, conn: ConnId, _mode: CloseMode) {
        self.closed.push(conn);
    }
    fn set_reading(&mut self, _conn: ConnId, _on: bool) {}
    fn outlet(&mut self, _conn: ConnId) -> Option<Outlet> {
        None
    }
    fn unsent(&self, conn: ConnId) -> usize {
        self.sent.get(&conn).filter(|_| self.slow).map_or(0, BytesMut::len)
    }
}

pub(crate) struct InProcess {
    engine: Engine,
    outbox: Outbox,
    inbox: BTreeMap<ConnId, BytesMut>,
    now: Time,
    connected: u64,
    events: Vec<Event>,
    checked: bool,
}

impl InProcess {
    pub(crate) fn start(builder: FakeServerBuilder, transport: Option<TransportConfig>) -> Self {
        let mut engine = builder.engine().unwrap();
        engine.set_observe(Observe::All);
        if let Some(transport) = transport {
            engine.set_transport(ListenerId(0), transport).unwrap();
        }
        let now = Time::from_unix_nanos(1_767_225_600_000_000_000);
        let (outbox, inbox) = (Outbox::default(), BTreeMap::new());
        Self { engine, outbox, inbox, now, connected: 0, events: Vec::new(), checked: true }
    }

    /// A stage that records nothing and does not check the engine's books: to measure.
    pub(crate) fn quiet(builder: FakeServerBuilder) -> Self {
        let mut stage = Self::start(builder, None);
        stage.engine.set_observe(Observe::Nothing);
        stage.checked = false;
        stage
    }

    /// Consumers are slow from now on: a replay waits until they have received.
    pub(crate) fn be_slow(&mut self) {
        self.outbox.slow = true;
    }

    /// What was sent and not received yet, in bytes.
    pub(crate) fn waiting(&self, conn: usize) -> usize {
        self.outbox.sent.get(&ConnId(conn as u64)).map_or(0, BytesMut::len)
    }

    /// One more step of the replays, as a driver does when it has nothing else to do.
    pub(crate) fn continue_replays(&mut self) {
        self.engine.continue_replays(self.now, &mut self.outbox);
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// What is due now is done, as on an event loop that has nothing else to do.
    fn go_on(&mut self) {
        while self.engine.deadline().is_some_and(|at| at <= self.now) {
            self.engine.handle(self.now, Input::Timer, &mut self.outbox);
        }
    }

    /// Whether the server has ended a connection.
    pub(crate) fn is_closed(&self, conn: usize) -> bool {
        self.outbox.closed.contains(&ConnId(conn as u64))
    }

    /// The next frame from the server, if there is one.
    pub(crate) fn poll(&mut self, conn: usize) -> Option<Vec<u8>> {
        let sent = self.outbox.sent.entry(ConnId(conn as u64)).or_default();
        let total = next_frame(sent, usize::MAX).unwrap()?;
        Some(sent.split_to(total)[4..].to_vec())
    }

    fn handle(&mut self, input: Input<'_, ()>) {
        self.engine.handle(self.now, input, &mut self.outbox);
        self.go_on();
        if self.checked {
            assert_eq!(self.engine.contradictions(), Vec::<String>::new());
        }
        self.events.extend(self.engine.take_events().into_iter().map(|(_, event)| event));
    }
}

impl Stage for InProcess {
    fn connect(&mut self) {
        let conn = ConnId(self.connected);
        self.connected += 1;
        self.handle(Input::Accepted { conn, listener: ListenerId(0), peer: None });
    }

    fn send(&mut self, conn: usize, bytes: &[u8], _frames: usize) {
        let conn = ConnId(conn as u64);
        let mut waiting = self.inbox.remove(&conn).unwrap_or_default();
        waiting.extend_from_slice(bytes);
        self.handle(Input::Received { conn, bytes: &mut waiting });
        self.inbox.insert(conn, waiting);
    }

    fn receive(&mut self, conn: usize) -> Option<Vec<u8>> {
        let frame = self.poll(conn);
        let closed = self.outbox.closed.contains(&ConnId(conn as u64));
        assert!(frame.is_some() || closed, "the server sent nothing");
        frame
    }

    fn disconnect(&mut self, conn: usize) {
        self.handle(Input::Closed { conn: ConnId(conn as u64), reason: CloseReason::EndOfStream });
    }

    fn close_reason(&mut self, conn: usize) -> String {
        let wanted = ConnId(conn as u64);
        let reason = self.events.iter().find_map(|event| match event {
            Event::Closed { conn, reason } if *conn == wanted => Some(reason.to_string()),
            _ => None,
        });
        reason.expect("the connection is open")
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.engine.clock_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.handle(Input::Timer);
        }
        self.now = end;
    }

    fn publish(&mut self, topic: &str, body: &str) {
        self.engine.publish(self.now, "json", topic, body.as_bytes(), &mut self.outbox).unwrap();
        self.go_on();
    }

    fn queue(&mut self, name: &str) -> QueueSnapshot {
        self.engine.queue(name).expect("the queue is configured")
    }

    fn restart(&mut self) {
        let kept = self.engine.state_to_keep();
        self.engine.restart(self.now, kept, &mut self.outbox);
    }

    fn hold_durability(&mut self, held: bool) {
        self.engine.hold_durability(self.now, held, &mut self.outbox);
        self.go_on();
    }

    fn truncate(&mut self, cut: LogCut) {
        self.engine.truncate_before(cut);
    }

    fn log(&mut self) -> Vec<LoggedMessage> {
        self.engine.logged_messages()
    }
}
