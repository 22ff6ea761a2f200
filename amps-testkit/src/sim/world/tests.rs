//! The world with toy machines: order, faults, and what a machine is told.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::*;
use crate::sim::Chunking;
use amps_transport::SocketOptions;

const SECOND: Duration = Duration::from_secs(1);

/// Does what its note says; remembers what happened.
#[derive(Default)]
struct Toy {
    conn: Option<ConnId>,
    heard: Vec<u8>,
    log: Vec<String>,
    echo: bool,
    /// Takes only whole groups of so many bytes.
    group: usize,
    deadline: Option<Time>,
    fired: Vec<Time>,
    unsent: usize,
}

#[derive(Debug)]
enum Order {
    Connect,
    Say(Vec<u8>),
    Close(CloseMode),
    Read(bool),
    Alarm(Time),
}

impl Machine for Toy {
    type Note = Order;

    fn handle<S: Sink>(&mut self, now: Time, input: Input<'_, Order>, sink: &mut S) {
        match input {
            Input::Note(Order::Connect) => {
                let socket = SocketOptions::default();
                let target = Target { socket, ..Target::tcp("server", 1, 3 * SECOND) };
                self.conn = Some(sink.connect(target));
            }
            Input::Note(Order::Say(words)) => self.conn.into_iter().for_each(|conn| sink.send(conn, &words)),
            Input::Note(Order::Close(mode)) => self.conn.into_iter().for_each(|conn| sink.close(conn, mode)),
            Input::Note(Order::Read(on)) => self.conn.into_iter().for_each(|conn| sink.set_reading(conn, on)),
            Input::Note(Order::Alarm(at)) => self.deadline = Some(at),
            Input::Connected { conn, .. } => self.log.push(format!("{conn:?} connected")),
            Input::ConnectFailed { error, .. } => self.log.push(format!("failed: {error}")),
            Input::Accepted { conn, .. } => {
                self.conn = Some(conn);
                self.log.push(format!("{conn:?} accepted"));
            }
            Input::Received { conn, bytes } => {
                let usable = bytes.len() - bytes.len() % self.group.max(1);
                let taken = bytes.split_to(usable);
                self.heard.extend_from_slice(&taken);
                if self.echo {
                    sink.send(conn, &taken);
                }
            }
            Input::Closed { reason, .. } => self.log.push(format!("closed: {reason:?}")),
            Input::Timer => {
                self.fired.push(now);
                self.deadline = None;
            }
            Input::Writable { .. } => {}
        }
        self.unsent = self.conn.map_or(0, |conn| sink.unsent(conn));
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

struct Pair {
    world: World,
    ids: [EndpointId; 2],
    toys: [Toy; 2],
    door: ListenerId,
}

impl Pair {
    fn new(seed: u64, links: LinkSettings) -> Self {
        let mut world = World::new(seed, Time::EPOCH + SECOND);
        world.set_links(links);
        let ids = [world.add_endpoint(), world.add_endpoint()];
        let door = world.listen(ids[1], "server", 1);
        Self { world, ids, toys: Default::default(), door }
    }

    fn tell(&mut self, who: usize, order: Order) {
        self.world.tell(self.ids[who], order, &mut self.toys[who]);
    }

    fn step(&mut self) -> bool {
        let Some((who, step)) = self.world.next_step() else { return false };
        let which = usize::from(who == self.ids[1]);
        self.world.deliver(who, step, &mut self.toys[which]);
        true
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn connected(seed: u64, links: LinkSettings) -> Self {
        let mut pair = Self::new(seed, links);
        pair.tell(0, Order::Connect);
        pair.run();
        pair
    }
}

fn small() -> LinkSettings {
    LinkSettings { chunking: Chunking::UpTo(3), window: 16, ..LinkSettings::default() }
}

#[test]
fn bytes_come_back_whole_through_small_windows_and_a_machine_that_leaves_some() {
    for seed in 0..50 {
        let mut pair = Pair::connected(seed, small());
        pair.toys[1].echo = true;
        pair.toys[1].group = 7;
        let words: Vec<u8> = (0..700).map(|i| i as u8).collect();
        pair.tell(0, Order::Say(words.clone()));
        assert_eq!(pair.toys[0].unsent, 700, "what was sent in this call has not set out yet");
        pair.run();
        assert_eq!(pair.toys[0].heard, words);
        assert_eq!(pair.toys[0].log, ["conn0 connected"]);
        assert_eq!(pair.toys[1].log, ["conn1 accepted"]);
    }
}

#[test]
fn who_does_not_read_holds_the_sender_back() {
    let mut pair = Pair::connected(1, small());
    pair.tell(1, Order::Read(false));
    pair.tell(0, Order::Say(vec![1; 100]));
    pair.run();
    assert!(pair.toys[1].heard.is_empty());
    pair.tell(0, Order::Alarm(Time::EPOCH));
    pair.run();
    assert_eq!(pair.toys[0].unsent, 84);
    pair.tell(1, Order::Read(true));
    pair.run();
    assert_eq!(pair.toys[1].heard.len(), 100);
}

#[test]
fn doors_refuse_swallow_and_redirect() {
    let mut pair = Pair::new(1, LinkSettings::default());
    pair.world.set_door(pair.door, Door::Refuse);
    pair.tell(0, Order::Connect);
    pair.run();
    pair.world.set_door(pair.door, Door::Blackhole);
    let before = pair.world.now();
    pair.tell(0, Order::Connect);
    pair.run();
    assert_eq!(pair.world.now() - before, 3 * SECOND);
    assert!(pair.toys[0].log[0].contains("server:1 was refused"), "{:?}", pair.toys[0].log);
    assert!(pair.toys[0].log[1].contains("within 3s"), "{:?}", pair.toys[0].log);
    pair.world.set_door(pair.door, Door::Redirect(pair.ids[0]));
    pair.tell(0, Order::Connect);
    pair.run();
    assert_eq!(pair.toys[0].log.len(), 4, "accepted and connected by itself");
    assert!(pair.toys[1].log.is_empty());
}

#[test]
fn a_close_that_flushes_brings_everything_out_and_then_ends() {
    let mut pair = Pair::connected(5, small());
    pair.tell(0, Order::Say(vec![7; 200]));
    pair.tell(0, Order::Close(CloseMode::Flush));
    pair.run();
    assert_eq!(pair.toys[1].heard.len(), 200);
    assert_eq!(pair.toys[1].log, ["conn1 accepted", "closed: EndOfStream"]);
    assert_eq!(pair.toys[0].log, ["conn0 connected"], "who closes is told nothing");
}

#[test]
fn a_close_that_flushes_does_not_wait_for_ever() {
    let mut pair = Pair::connected(5, small());
    pair.tell(1, Order::Read(false));
    pair.tell(0, Order::Say(vec![7; 200]));
    pair.tell(0, Order::Close(CloseMode::Flush));
    pair.run();
    pair.tell(1, Order::Read(true));
    pair.run();
    assert_eq!(pair.toys[1].heard.len(), 16, "what was on its way");
    assert_eq!(pair.toys[1].log.len(), 2);
}

#[test]
fn an_abort_and_a_reset_are_told_to_the_other_side_exactly_once() {
    for seed in 0..100 {
        let mut pair = Pair::connected(seed, small());
        pair.tell(0, Order::Say(vec![7; 200]));
        pair.tell(0, Order::Close(CloseMode::Abort));
        pair.run();
        assert_eq!(pair.toys[1].log.len(), 2, "{:?}", pair.toys[1].log);
        assert!(pair.toys[1].heard.len() <= 16);

        let mut pair = Pair::connected(seed, small());
        pair.tell(0, Order::Say(vec![7; 200]));
        pair.world.reset(ConnId(0));
        pair.run();
        assert!(pair.toys.iter().all(|toy| toy.log[1] == "closed: Reset" && toy.log.len() == 2));
    }
}

#[test]
fn nobody_learns_of_a_half_open_connection_until_the_kernel_gives_up() {
    let mut pair = Pair::connected(3, small());
    pair.world.half_open(ConnId(0));
    pair.tell(0, Order::Say(vec![7; 200]));
    pair.tell(0, Order::Close(CloseMode::Abort));
    pair.run();
    assert_eq!(pair.toys[1].log.len(), 1);
    pair.world.expire_half_open();
    pair.run();
    assert_eq!(pair.toys[1].log, ["conn1 accepted", "closed: Reset"]);
    assert!(pair.toys[1].heard.is_empty());
}

#[test]
fn timers_come_when_they_are_due_and_late_after_a_jump() {
    let mut pair = Pair::new(1, LinkSettings::default());
    let due = pair.world.now() + SECOND;
    pair.tell(0, Order::Alarm(due + SECOND));
    pair.tell(0, Order::Alarm(due));
    pair.run();
    assert_eq!(pair.toys[0].fired, [due]);
    let before = pair.world.now();
    pair.tell(0, Order::Alarm(before + 5 * SECOND));
    pair.world.jump(60 * SECOND);
    pair.run();
    assert_eq!(pair.toys[0].fired[1], before + 60 * SECOND);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let run = |seed| {
        let mut pair = Pair::connected(seed, small());
        pair.toys[1].echo = true;
        pair.tell(0, Order::Say(vec![1; 500]));
        pair.run();
        pair.world.now()
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}
