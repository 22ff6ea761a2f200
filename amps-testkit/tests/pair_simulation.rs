//! Instances in a network that breaks: whatever happens, in the end all have the same (HA-01,
//! HA-06, PAIR-04), and nothing goes round in circles (PAIR-06).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use amps_protocol::next_frame;
use amps_testkit::sim::{Chunking, EndpointId, LinkSettings, Rng, World};
use amps_testkit::{
    DestinationConfig, Engine, FakeServer, LinkChange, LinkState, LoggedMessage, QueueConfig,
    ReplicatedTopic, SyncMode,
};
use amps_transport::{
    CloseMode, CloseReason, ConnId, Input, ListenerId, Machine, Outlet, Sink, Target, Time,
};
use bytes::BytesMut;

const NAMES: [&str; 3] = ["A", "B", "C"];
const SEEDS: u64 = 200;
const CLIENTS: ListenerId = ListenerId(u64::MAX);
/// Connections of clients, which are not of the world.
const FIRST_CLIENT: u64 = 1 << 40;

/// What the scenario does to an instance.
enum Deed {
    /// A client connects, and logs on.
    LogOn {
        client: ConnId,
        name: String,
    },
    Frame {
        client: ConnId,
        frame: String,
    },
    Leave(ConnId),
    Link(String, LinkChange),
    Kill {
        keep_log: bool,
    },
    Restart,
}

/// An instance, and what it said to clients.
struct Node {
    engine: Engine,
    running: bool,
    said: VecDeque<(ConnId, String)>,
}

/// Keeps what goes to clients, and passes on the rest.
struct Tap<'a, S> {
    sink: &'a mut S,
    said: &'a mut VecDeque<(ConnId, String)>,
}

impl<S: Sink> Sink for Tap<'_, S> {
    fn connect(&mut self, target: Target) -> ConnId {
        self.sink.connect(target)
    }
    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if conn.0 < FIRST_CLIENT {
            return self.sink.send(conn, bytes);
        }
        let total = next_frame(bytes, usize::MAX).unwrap().unwrap();
        self.said.push_back((conn, String::from_utf8(bytes[4..total].to_vec()).unwrap()));
    }
    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        if conn.0 < FIRST_CLIENT {
            return self.sink.close(conn, mode);
        }
        self.said.push_back((conn, "closed".to_owned()));
    }
    fn set_reading(&mut self, conn: ConnId, on: bool) {
        self.sink.set_reading(conn, on);
    }
    fn outlet(&mut self, conn: ConnId) -> Option<Outlet> {
        self.sink.outlet(conn)
    }
    fn unsent(&self, conn: ConnId) -> usize {
        self.sink.unsent(conn)
    }
}

impl Node {
    fn receive<S: Sink>(&mut self, now: Time, client: ConnId, frame: &str, sink: &mut S) {
        let mut bytes = BytesMut::from(&(frame.len() as u32).to_be_bytes()[..]);
        bytes.extend_from_slice(frame.as_bytes());
        self.engine.handle(now, Input::Received { conn: client, bytes: &mut bytes }, sink);
    }

    fn act<S: Sink>(&mut self, now: Time, deed: Deed, sink: &mut S) {
        match deed {
            Deed::LogOn { client, name } => {
                self.engine.handle(
                    now,
                    Input::Accepted { conn: client, listener: CLIENTS, peer: None },
                    sink,
                );
                let frame = format!(
                    r#"{{"c":"logon","cid":"1","client_name":"{name}","mt":"json","a":"processed"}}"#
                );
                self.receive(now, client, &frame, sink);
            }
            Deed::Frame { client, frame } => self.receive(now, client, &frame, sink),
            Deed::Leave(conn) => {
                self.engine.handle(now, Input::Closed { conn, reason: CloseReason::EndOfStream }, sink);
            }
            Deed::Link(name, change) => assert!(self.engine.change_link(now, &name, change, sink)),
            Deed::Kill { keep_log } => {
                self.running = false;
                self.engine.halt(now, false, sink);
                if !keep_log {
                    self.engine.restart_empty(now, sink);
                }
            }
            Deed::Restart => {
                self.running = true;
                let kept = self.engine.state_to_keep();
                self.engine.restart(now, kept, sink);
                self.engine.end_halt(now, sink);
            }
        }
    }
}

impl Machine for Node {
    type Note = Deed;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Deed>, sink: &mut S) {
        let mut said = std::mem::take(&mut self.said);
        let tap = &mut Tap { sink, said: &mut said };
        match input {
            Input::Note(deed) => self.act(now, deed, tap),
            // A process that is dead answers nobody.
            Input::Accepted { conn, .. } if !self.running => tap.close(conn, CloseMode::Abort),
            Input::Accepted { conn, listener, peer } => {
                self.engine.handle(now, Input::Accepted { conn, listener, peer }, tap);
            }
            Input::Connected { conn, local, peer } => {
                self.engine.handle(now, Input::Connected { conn, local, peer }, tap);
            }
            Input::ConnectFailed { conn, error } => {
                self.engine.handle(now, Input::ConnectFailed { conn, error }, tap);
            }
            Input::Received { conn, bytes } => self.engine.handle(now, Input::Received { conn, bytes }, tap),
            Input::Closed { conn, reason } => self.engine.handle(now, Input::Closed { conn, reason }, tap),
            Input::Writable { conn } => self.engine.handle(now, Input::Writable { conn }, tap),
            Input::Timer => self.engine.handle(now, Input::Timer, tap),
        }
        assert_eq!(self.engine.contradictions(), Vec::<String>::new());
        self.said = said;
    }

    fn deadline(&self) -> Option<Time> {
        self.engine.deadline()
    }
}

/// A client that publishes, and sends again what the server does not know.
struct Publisher {
    name: String,
    published: u64,
    session: Option<(usize, ConnId)>,
}

struct Net {
    world: World,
    ids: Vec<EndpointId>,
    nodes: Vec<Node>,
    clients: u64,
    /// What consumers of the queue got and acknowledged, by the instance that sent it.
    acknowledged: BTreeMap<String, usize>,
    consumers: Vec<Option<ConnId>>,
}

impl Net {
    /// Each instance of `links` replicates to those named.
    fn new(seed: u64, links: &[&[DestinationConfig]]) -> Self {
        let mut world = World::new(seed, Time::from_unix_nanos(1_767_225_600_000_000_000));
        world.set_links(LinkSettings { chunking: Chunking::UpTo(60), ..LinkSettings::default() });
        let (mut ids, mut nodes) = (Vec::new(), Vec::new());
        for (name, destinations) in NAMES.iter().zip(links) {
            let id = world.add_endpoint();
            let listener = world.listen(id, name, 1);
            let mut builder = FakeServer::builder()
                .instance(*name)
                .early_accept(false)
                .queue(QueueConfig::new("work").underlying("T").max_backlog(3));
            for destination in *destinations {
                let address = format!("{}:1", destination.name());
                builder = builder.replicate_to(destination.clone().address(address));
            }
            let mut engine = builder.engine().unwrap();
            engine.set_observe(amps_testkit::Observe::Nothing);
            engine.set_replication_listener(listener);
            ids.push(id);
            nodes.push(Node { engine, running: true, said: VecDeque::new() });
        }
        let consumers = vec![None; nodes.len()];
        let mut net = Self { world, ids, nodes, clients: 0, acknowledged: BTreeMap::new(), consumers };
        // Deadlines are asked for after the first input.
        for at in 0..net.nodes.len() {
            net.nodes[at].engine.accept_early();
            net.act(at, Deed::Leave(ConnId(u64::MAX)));
        }
        net
    }

    fn act(&mut self, at: usize, deed: Deed) {
        self.world.tell(self.ids[at], deed, &mut self.nodes[at]);
        self.consume(at);
    }

    /// Lets the world go on for a while.
    fn run(&mut self, span: Duration) {
        let end = self.world.now() + span;
        while self.world.next_time().is_some_and(|at| at <= end) {
            let Some((who, step)) = self.world.next_step() else { break };
            let at = self.ids.iter().position(|id| *id == who).unwrap();
            self.world.deliver(who, step, &mut self.nodes[at]);
            self.consume(at);
        }
    }

    /// A consumer acknowledges what it gets, at once.
    fn consume(&mut self, at: usize) {
        let Some(consumer) = self.consumers[at] else { return };
        while let Some(place) = self.nodes[at]
            .said
            .iter()
            .position(|(conn, frame)| *conn == consumer && frame.starts_with(r#"{"c":"p""#))
        {
            let (_, frame) = self.nodes[at].said.remove(place).unwrap();
            let bookmark = frame.split(r#""bm":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
            *self.acknowledged.entry(bookmark.clone()).or_default() += 1;
            let frame = format!(r#"{{"c":"sow_delete","t":"work","bm":"{bookmark}"}}"#);
            let deed = Deed::Frame { client: consumer, frame };
            self.world.tell(self.ids[at], deed, &mut self.nodes[at]);
        }
    }

    /// The sequence number that an instance knows of the client; `None` if it is not let in.
    fn log_on(&mut self, at: usize, name: &str) -> Option<(ConnId, u64)> {
        if !self.nodes[at].running {
            return None;
        }
        self.clients += 1;
        let client = ConnId(FIRST_CLIENT + self.clients);
        self.nodes[at].said.retain(|(conn, _)| Some(*conn) == self.consumers[at]);
        self.act(at, Deed::LogOn { client, name: name.to_owned() });
        let (_, answer) = self.nodes[at].said.iter().find(|(conn, _)| *conn == client)?;
        let number = answer.split(r#""s":"#).nth(1)?.split(',').next()?.parse().ok()?;
        Some((client, number))
    }

    fn start_consumer(&mut self, at: usize) {
        let name = format!("consumer-{at}");
        let Some((client, _)) = self.log_on(at, &name) else { return };
        self.consumers[at] = Some(client);
        let frame = r#"{"c":"subscribe","sub_id":"w","t":"work","o":"max_backlog=3"}"#.to_owned();
        self.act(at, Deed::Frame { client, frame });
    }

    fn publish(&mut self, publisher: &mut Publisher, at: usize, more: u64) {
        publisher.published += more;
        let mut from = publisher.published + 1 - more;
        let here = publisher.session.filter(|(side, _)| *side == at);
        let client = match here {
            Some((_, client)) => client,
            None => {
                if let Some((old, conn)) = publisher.session.take() {
                    self.act(old, Deed::Leave(conn));
                }
                let Some((client, known)) = self.log_on(at, &publisher.name) else { return };
                publisher.session = Some((at, client));
                from = known + 1;
                client
            }
        };
        for sequence in from..=publisher.published {
            let frame = format!(r#"{{"c":"p","t":"T","s":{sequence}}}"{}-{sequence}""#, publisher.name);
            self.act(at, Deed::Frame { client, frame });
        }
    }

    fn log(&self, at: usize) -> Vec<LoggedMessage> {
        self.nodes[at].engine.logged_messages()
    }
}

/// Every publisher's messages in the order of the log, the numbers without gap from 1.
fn by_publisher(log: &[LoggedMessage]) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in log {
        let LoggedMessage { publisher, bookmark, body, .. } = message;
        assert_eq!(String::from_utf8_lossy(body), format!("\"{publisher}-{}\"", bookmark.sequence));
        found.entry(publisher.clone()).or_default().push(bookmark.sequence);
    }
    found
}

/// With `careful`, publishers stay where they are and no log is lost: then no message is
/// delivered twice either.
fn play(seed: u64, careful: bool) {
    let link = |name: &str| DestinationConfig::new(name);
    let mut net = Net::new(seed, &[&[link("B")], &[link("A")]]);
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut publishers: Vec<Publisher> =
        (0..3).map(|n| Publisher { name: format!("p{n}"), published: 0, session: None }).collect();
    net.run(Duration::from_secs(1));
    net.start_consumer(0);
    for _ in 0..120 {
        let (at, other) = if rng.below(2) == 0 { (0, 1) } else { (1, 0) };
        let to = || NAMES[other].to_owned();
        match rng.below(24) {
            0..10 => {
                let who = rng.below(3) as usize;
                // A publisher stays where it is, most of the time.
                let home = publishers[who].session.map_or(at, |(side, _)| side);
                let side = match careful {
                    true => who % 2,
                    false if rng.below(6) == 0 => 1 - home,
                    false => home,
                };
                let more = 1 + rng.below(4);
                net.publish(&mut publishers[who], side, more);
            }
            10 => net.act(at, Deed::Link(to(), LinkChange::State(LinkState::Paused))),
            11 => net.act(at, Deed::Link(to(), LinkChange::Deliver(2))),
            12..14 => net.act(at, Deed::Link(to(), LinkChange::State(LinkState::Down))),
            14..17 => net.act(at, Deed::Link(to(), LinkChange::State(LinkState::Up))),
            17 => net.act(at, Deed::Link(to(), LinkChange::Mode(SyncMode::Async))),
            18 => net.act(at, Deed::Link(to(), LinkChange::Lag(Duration::from_millis(rng.below(50))))),
            19 | 20 if net.nodes[at].running => {
                // What only a lost log knew is sent again by its publisher; what consumers did
                // there, nobody knows.
                let keep_log = careful || rng.below(3) > 0 || !net.nodes[other].running;
                net.act(at, Deed::Kill { keep_log });
                net.consumers[at] = None;
                for publisher in &mut publishers {
                    publisher.session = publisher.session.filter(|(side, _)| *side != at);
                }
            }
            19..22 if !net.nodes[at].running => net.act(at, Deed::Restart),
            22 if net.consumers[at].is_none() => net.start_consumer(at),
            _ => {}
        }
        net.run(Duration::from_micros(rng.below(200_000)));
    }
    // Everything heals, and every publisher makes sure that all is known.
    for (at, other) in [(0, 1), (1, 0)] {
        if !net.nodes[at].running {
            net.act(at, Deed::Restart);
        }
        net.act(at, Deed::Link(NAMES[other].to_owned(), LinkChange::Lag(Duration::ZERO)));
        net.act(at, Deed::Link(NAMES[other].to_owned(), LinkChange::State(LinkState::Up)));
    }
    net.run(Duration::from_secs(10));
    for publisher in &mut publishers {
        let (now, other) = publisher.session.map_or((0, 1), |(side, _)| (side, 1 - side));
        net.publish(publisher, other, 1);
        net.run(Duration::from_secs(1));
        assert_eq!(publisher.session.map(|(side, _)| side), Some(other), "seed {seed}: {now} let nobody in");
    }
    net.run(Duration::from_secs(10));
    for at in [0, 1] {
        if net.consumers[at].is_none() {
            net.start_consumer(at);
        }
    }
    net.run(Duration::from_secs(10));

    let expected: BTreeMap<String, Vec<u64>> =
        publishers.iter().map(|p| (p.name.clone(), (1..=p.published).collect())).collect();
    for at in [0, 1] {
        assert_eq!(by_publisher(&net.log(at)), expected, "seed {seed}: instance {at}");
        let link = &net.nodes[at].engine.links()[0];
        assert_eq!((link.waiting, link.unconfirmed), (0, 0), "seed {seed}: {link:?}");
        let queue = net.nodes[at].engine.queue("work").unwrap();
        let left = (queue.available.len(), queue.leased.len(), queue.elsewhere.len());
        assert_eq!(left, (0, 0, 0), "seed {seed}: instance {at}: {queue:?}");
    }
    let all: usize = expected.values().map(Vec::len).sum();
    assert_eq!(net.acknowledged.len(), all, "seed {seed}: every message was consumed");
    if careful {
        assert!(net.acknowledged.values().all(|count| *count == 1), "seed {seed}: {:?}", net.acknowledged);
    }
}

#[test]
fn whatever_breaks_both_have_everything_once_and_in_order_when_it_heals() {
    for seed in 0..SEEDS {
        play(seed, seed % 3 == 0);
    }
}

/// PAIR-06: A sends to B, B to C, C to A, and each passes on what it got.
#[test]
fn what_goes_round_stops_before_it_is_back() {
    let passing =
        |name: &str| DestinationConfig::new(name).topic(ReplicatedTopic::new(".*").pass_through(".*"));
    let mut net = Net::new(1, &[&[passing("B")], &[passing("C")], &[passing("A")]]);
    net.run(Duration::from_secs(1));
    let mut publisher = Publisher { name: "p".into(), published: 0, session: None };
    net.publish(&mut publisher, 0, 5);
    net.run(Duration::from_secs(1));
    let sent: Vec<u64> = net.nodes.iter().map(|node| node.engine.links()[0].sent).collect();
    assert_eq!(sent, [5, 5, 0]);
    let paths: BTreeSet<Vec<String>> =
        net.log(2).into_iter().map(|message| message.via.unwrap().path).collect();
    assert_eq!(paths, BTreeSet::from([vec!["A".to_owned(), "B".to_owned()]]));
}

/// What is not told to pass on stays where it came to.
#[test]
fn without_pass_through_only_what_was_published_here_goes_on() {
    let west = ReplicatedTopic::new(".*").pass_through("^west$");
    let mut net =
        Net::new(1, &[&[DestinationConfig::new("B")], &[DestinationConfig::new("C").topic(west)], &[]]);
    net.run(Duration::from_secs(1));
    let mut publisher = Publisher { name: "p".into(), published: 0, session: None };
    net.publish(&mut publisher, 0, 3);
    net.run(Duration::from_secs(1));
    let mut other = Publisher { name: "q".into(), published: 0, session: None };
    net.publish(&mut other, 1, 2);
    net.run(Duration::from_secs(1));
    assert_eq!([0, 1, 2].map(|at| net.log(at).len()), [3, 5, 2]);
}

/// Q-43, Q-73: A has the message at once and acknowledges it; C hears of that before it has the
/// message itself.
#[test]
fn an_acknowledgement_that_overtakes_its_message_is_remembered() {
    let to = DestinationConfig::new;
    let mut net = Net::new(1, &[&[to("B"), to("C")], &[to("A"), to("C")], &[]]);
    net.run(Duration::from_secs(1));
    net.act(1, Deed::Link("C".into(), LinkChange::Lag(Duration::from_secs(5))));
    net.start_consumer(0);
    let mut publisher = Publisher { name: "p".into(), published: 0, session: None };
    net.publish(&mut publisher, 1, 2);
    net.run(Duration::from_secs(1));
    assert_eq!((net.acknowledged.len(), net.log(0).len(), net.log(2).len()), (2, 2, 0));
    net.run(Duration::from_secs(10));
    let queue = net.nodes[2].engine.queue("work").unwrap();
    assert_eq!((net.log(2).len(), queue.elsewhere.len(), queue.available.len()), (2, 0, 0));
}

#[test]
fn whoever_is_not_who_was_meant_is_not_replicated_to() {
    let mut net = Net::new(
        1,
        &[
            &[DestinationConfig::new("A")],
            &[DestinationConfig::new("C").group("west")],
            &[DestinationConfig::new("B").group("B")],
        ],
    );
    net.run(Duration::from_secs(1));
    let links: Vec<_> = net.nodes.iter().map(|node| node.engine.links().remove(0)).collect();
    assert_eq!(links[0].fault.as_deref(), Some("this instance is called A too"));
    assert_eq!(links[1].fault.as_deref(), Some("C is of the group \"C\", not \"west\""));
    assert_eq!((links[2].fault.as_deref(), links[2].peer.as_deref()), (None, Some("B")));
    assert_eq!([0, 1, 2].map(|at| links[at].connected), [false, false, true]);
}
