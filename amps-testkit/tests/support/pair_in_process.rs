//! A stage without sockets: two engines, joined by wires that exist only in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use amps_protocol::next_frame;
use amps_testkit::{
    DestinationConfig, Direction, Engine, Event, FakeServerBuilder, LinkChange, LinkState, LogCut,
    LoggedMessage, Observe, QueueSnapshot, RaceOrder, Side, SyncMode,
};
use amps_transport::{
    CloseMode, CloseReason, ConnId, ConnectError, Input, ListenerId, Machine, Outlet, Sink, Target, Time,
};
use bytes::BytesMut;

use super::stage::{PairChange, Stage};

const CLIENTS: ListenerId = ListenerId(0);
const LINKS: ListenerId = ListenerId(1);

/// What an engine wants done on a link.
enum Act {
    Connect(ConnId),
    Send(ConnId, Vec<u8>),
    Close(ConnId),
}

#[derive(Default)]
struct Outbox {
    connections: u64,
    links: Vec<ConnId>,
    acts: VecDeque<Act>,
    sent: BTreeMap<ConnId, BytesMut>,
    closed: Vec<ConnId>,
}

impl Outbox {
    fn new_conn(&mut self) -> ConnId {
        self.connections += 1;
        ConnId(self.connections - 1)
    }

    fn new_link(&mut self) -> ConnId {
        let conn = self.new_conn();
        self.links.push(conn);
        conn
    }
}

impl Sink for Outbox {
    fn connect(&mut self, _target: Target) -> ConnId {
        let conn = self.new_link();
        self.acts.push_back(Act::Connect(conn));
        conn
    }
    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.links.contains(&conn) {
            self.acts.push_back(Act::Send(conn, bytes.to_vec()));
        } else {
            self.sent.entry(conn).or_default().extend_from_slice(bytes);
        }
    }
    fn close(&mut self, conn: ConnId, _mode: CloseMode) {
        if self.links.contains(&conn) {
            self.acts.push_back(Act::Close(conn));
        } else {
            self.closed.push(conn);
        }
    }
    fn set_reading(&mut self, _conn: ConnId, _on: bool) {}
    fn outlet(&mut self, _conn: ConnId) -> Option<Outlet> {
        None
    }
    fn unsent(&self, _conn: ConnId) -> usize {
        0
    }
}

struct Node {
    engine: Engine,
    outbox: Outbox,
    inbox: BTreeMap<ConnId, BytesMut>,
    events: Vec<Event>,
    running: bool,
}

pub(crate) struct PairInProcess {
    nodes: [Node; 2],
    /// Both ends of every wire.
    wires: BTreeMap<(Side, ConnId), ConnId>,
    clients: Vec<(Side, ConnId)>,
    side: Side,
    now: Time,
}

impl PairInProcess {
    pub(crate) fn start(builder: &FakeServerBuilder) -> Self {
        let node = |side: Side| {
            let peer = side.other().name();
            let builder = builder
                .clone()
                .instance(side.name())
                .replicate_to(DestinationConfig::new(peer).address(format!("{peer}:1")))
                .early_accept(false);
            let mut engine = builder.engine().unwrap();
            engine.set_observe(Observe::All);
            engine.set_replication_listener(LINKS);
            let (outbox, inbox) = (Outbox::default(), BTreeMap::new());
            Node { engine, outbox, inbox, events: Vec::new(), running: true }
        };
        let now = Time::from_unix_nanos(1_767_225_600_000_000_000);
        let nodes = [node(Side::A), node(Side::B)];
        let mut pair = Self { nodes, wires: BTreeMap::new(), clients: Vec::new(), side: Side::A, now };
        pair.go_on();
        pair
    }

    fn node(&mut self, side: Side) -> &mut Node {
        &mut self.nodes[side as usize]
    }

    /// Calls an engine, and does what follows on both sides.
    fn with<T>(&mut self, side: Side, call: impl FnOnce(&mut Engine, Time, &mut Outbox) -> T) -> T {
        let now = self.now;
        let node = self.node(side);
        let result = call(&mut node.engine, now, &mut node.outbox);
        self.go_on();
        result
    }

    fn feed(&mut self, side: Side, input: Input<'_, ()>) {
        let now = self.now;
        let node = self.node(side);
        node.engine.handle(now, input, &mut node.outbox);
        assert_eq!(node.engine.contradictions(), Vec::<String>::new());
        node.events.extend(node.engine.take_events().into_iter().map(|(_, event)| event));
    }

    /// What is due now is done, and what was said is heard, until nothing is left.
    fn go_on(&mut self) {
        loop {
            let now = self.now;
            let due = |node: &Node| node.engine.deadline().is_some_and(|at| at <= now);
            if let Some(side) = [Side::A, Side::B].into_iter().find(|side| due(&self.nodes[*side as usize])) {
                self.feed(side, Input::Timer);
            } else if let Some(side) =
                [Side::A, Side::B].into_iter().find(|side| !self.nodes[*side as usize].outbox.acts.is_empty())
            {
                let act = self.node(side).outbox.acts.pop_front().unwrap();
                self.act(side, act);
            } else {
                return;
            }
        }
    }

    fn act(&mut self, side: Side, act: Act) {
        let other = side.other();
        match act {
            Act::Connect(conn) if self.node(other).running => {
                let remote = self.node(other).outbox.new_link();
                self.wires.insert((side, conn), remote);
                self.wires.insert((other, remote), conn);
                self.feed(other, Input::Accepted { conn: remote, listener: LINKS, peer: None });
                self.feed(side, Input::Connected { conn, local: None, peer: None });
            }
            Act::Connect(conn) => {
                let error = ConnectError::Refused { address: other.name().to_owned() };
                self.feed(side, Input::ConnectFailed { conn, error });
            }
            Act::Send(conn, bytes) => {
                let Some(&remote) = self.wires.get(&(side, conn)) else { return };
                // Byte by byte: where one frame ends is none of the wire's business.
                for byte in bytes {
                    let mut waiting = self.node(other).inbox.remove(&remote).unwrap_or_default();
                    waiting.extend_from_slice(&[byte]);
                    self.feed(other, Input::Received { conn: remote, bytes: &mut waiting });
                    self.node(other).inbox.insert(remote, waiting);
                    if !self.wires.contains_key(&(side, conn)) {
                        return;
                    }
                }
            }
            Act::Close(conn) => {
                if let Some(remote) = self.wires.remove(&(side, conn)) {
                    self.wires.remove(&(other, remote));
                    self.feed(other, Input::Closed { conn: remote, reason: CloseReason::EndOfStream });
                }
            }
        }
    }

    fn link(&mut self, direction: Direction, change: LinkChange) {
        let source = direction.source();
        let known = self.with(source, |engine, now, outbox| {
            engine.change_link(now, source.other().name(), change, outbox)
        });
        assert!(known);
    }

    fn both(&mut self, state: LinkState) {
        for direction in [Direction::AToB, Direction::BToA] {
            self.link(direction, LinkChange::State(state));
        }
    }

    fn publish_on(&mut self, side: Side, topic: &str, body: &str) {
        self.with(side, |engine, now, outbox| {
            engine.publish(now, "json", topic, body.as_bytes(), outbox).unwrap();
        });
    }

    fn restart_side(&mut self, side: Side, early: bool) {
        self.node(side).running = true;
        self.with(side, |engine, now, outbox| {
            let kept = engine.state_to_keep();
            engine.restart(now, kept, outbox);
            if early {
                engine.accept_early();
            }
            engine.end_halt(now, outbox);
        });
        self.with(side.other(), Engine::connect_links);
    }

    fn race(&mut self, order: RaceOrder, topic: &str, on_a: &str, on_b: &str) {
        let own_first = order == RaceOrder::EachOwnFirst;
        if own_first {
            self.both(LinkState::Paused);
        }
        let mut publishes = [(Side::A, on_a), (Side::B, on_b)];
        if order == RaceOrder::BFirst {
            publishes.reverse();
        }
        for (side, body) in publishes {
            self.publish_on(side, topic, body);
        }
        if own_first {
            self.both(LinkState::Up);
        }
    }
}

impl Stage for PairInProcess {
    fn connect(&mut self) {
        let side = self.side;
        let conn = self.node(side).outbox.new_conn();
        self.clients.push((side, conn));
        self.feed(side, Input::Accepted { conn, listener: CLIENTS, peer: None });
        self.go_on();
    }

    fn send(&mut self, conn: usize, bytes: &[u8], _frames: usize) {
        let (side, conn) = self.clients[conn];
        let mut waiting = self.node(side).inbox.remove(&conn).unwrap_or_default();
        waiting.extend_from_slice(bytes);
        self.feed(side, Input::Received { conn, bytes: &mut waiting });
        self.node(side).inbox.insert(conn, waiting);
        self.go_on();
    }

    fn receive(&mut self, conn: usize) -> Option<Vec<u8>> {
        let (side, conn) = self.clients[conn];
        let outbox = &mut self.node(side).outbox;
        let sent = outbox.sent.entry(conn).or_default();
        let frame = next_frame(sent, usize::MAX).unwrap().map(|total| sent.split_to(total)[4..].to_vec());
        assert!(frame.is_some() || outbox.closed.contains(&conn), "the server sent nothing");
        frame
    }

    fn disconnect(&mut self, conn: usize) {
        let (side, conn) = self.clients[conn];
        self.feed(side, Input::Closed { conn, reason: CloseReason::EndOfStream });
        self.go_on();
    }

    fn close_reason(&mut self, conn: usize) -> String {
        let (side, wanted) = self.clients[conn];
        let reason = self.node(side).events.iter().find_map(|event| match event {
            Event::Closed { conn, reason } if *conn == wanted => Some(reason.to_string()),
            _ => None,
        });
        reason.expect("the connection is open")
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let next = |nodes: &[Node; 2]| nodes.iter().filter_map(|node| node.engine.clock_deadline()).min();
        while let Some(at) = next(&self.nodes).filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.go_on();
        }
        self.now = end;
    }

    fn publish(&mut self, topic: &str, body: &str) {
        self.publish_on(self.side, topic, body);
    }

    fn queue(&mut self, name: &str) -> QueueSnapshot {
        let side = self.side;
        self.node(side).engine.queue(name).expect("the queue is configured")
    }

    fn restart(&mut self) {
        unreachable!("a pair is restarted side by side")
    }

    fn hold_durability(&mut self, held: bool) {
        self.with(self.side, |engine, now, outbox| engine.hold_durability(now, held, outbox));
    }

    fn truncate(&mut self, cut: LogCut) {
        self.with(self.side, |engine, _, _| engine.truncate_before(cut));
    }

    fn log(&mut self) -> Vec<LoggedMessage> {
        let side = self.side;
        self.node(side).engine.logged_messages()
    }

    fn turn_to(&mut self, side: Side) {
        self.side = side;
    }

    fn change(&mut self, change: &PairChange) {
        match change.clone() {
            PairChange::Partition => self.both(LinkState::Down),
            PairChange::Heal => self.both(LinkState::Up),
            PairChange::Pause(link) => self.link(link, LinkChange::State(LinkState::Paused)),
            PairChange::Resume(link) => self.link(link, LinkChange::State(LinkState::Up)),
            PairChange::Deliver(link, count) => self.link(link, LinkChange::Deliver(count)),
            PairChange::Downgrade(link) => self.link(link, LinkChange::Mode(SyncMode::Async)),
            PairChange::Upgrade(link) => self.link(link, LinkChange::Mode(SyncMode::Sync)),
            PairChange::Lag(link, lag) => self.link(link, LinkChange::Lag(lag)),
            PairChange::Kill { side, keep_log } => {
                self.node(side).running = false;
                self.with(side, |engine, now, outbox| engine.halt(now, false, outbox));
                if !keep_log {
                    self.with(side, Engine::restart_empty);
                }
            }
            PairChange::Stop(side) => {
                self.node(side).running = false;
                self.with(side, |engine, now, outbox| engine.halt(now, true, outbox));
            }
            PairChange::Restart { side, early } => self.restart_side(side, early),
            PairChange::Proxied { side, queue, on } => {
                let known = self
                    .with(side, |engine, now, outbox| engine.set_proxied_transfer(now, &queue, on, outbox));
                assert!(known);
            }
            PairChange::Race { order, topic, on_a, on_b } => self.race(order, &topic, &on_a, &on_b),
        }
    }

    fn refuses_clients(&mut self) -> bool {
        let side = self.side;
        let conn = self.node(side).outbox.new_conn();
        self.feed(side, Input::Accepted { conn, listener: CLIENTS, peer: None });
        self.node(side).outbox.closed.contains(&conn)
    }
}
