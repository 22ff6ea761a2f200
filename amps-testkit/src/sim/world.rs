//! Endpoints, the connections between them, and the queue of events.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use amps_transport::{
    Address, CloseMode, CloseReason, ConnId, ConnectError, Input, ListenerId, Machine, Outlet, Sink, Target,
    Time,
};
use bytes::BytesMut;

use super::link::LinkSettings;
use super::pipe::{End, EndId, Pipe};
use super::plan::Rng;

/// How long a close that flushes may take.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Names a machine of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// What meets those who connect to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// They come in.
    Open,
    /// They are refused.
    Refuse,
    /// Nobody answers: their attempt times out.
    Blackhole,
    /// Somebody else answers.
    Redirect(EndpointId),
}

/// What happens to an endpoint: an [`Input`] in the making, or a call to the scenario.
#[derive(Debug)]
pub enum Step {
    /// See [`Input::Connected`].
    Connected(ConnId),
    /// See [`Input::ConnectFailed`].
    ConnectFailed(ConnId, ConnectError),
    /// See [`Input::Accepted`].
    Accepted(ConnId, ListenerId),
    /// See [`Input::Received`].
    Received {
        /// The connection.
        conn: ConnId,
        /// Everything that the machine has not taken yet.
        bytes: BytesMut,
        /// How many of them are new, at the end.
        fresh: usize,
    },
    /// See [`Input::Closed`].
    Closed(ConnId, CloseReason),
    /// See [`Input::Timer`].
    Timer,
    /// The scenario asked for it with [`World::wake`].
    Wake(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Bytes, or the end, arrive at an end.
    Arrival(u64),
    /// An attempt to connect reaches the listener.
    Knock(u64),
    /// The answer reaches the one who connects.
    Answered(u64),
    Refused(u64),
    TimedOut(u64, Duration),
    FlushOver(u64),
    Timer(u32),
    Wake(u32, u64),
}

/// What machines sent, in order, as a listener on every wire would see it.
///
/// ```
/// use amps_testkit::sim::World;
/// use amps_transport::Time;
///
/// let mut world = World::new(1, Time::EPOCH);
/// world.record_sent();
/// // ... machines send something ...
/// let sent = world.take_sent();
/// assert_eq!(sent.iter().count(), 0);
/// world.give_back(sent);
/// ```
#[derive(Debug, Default)]
pub struct Sent {
    pieces: Vec<(ConnId, usize)>,
    bytes: Vec<u8>,
}

impl Sent {
    /// Each piece, with the sender's name for the connection.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &[u8])> {
        let mut rest = &self.bytes[..];
        self.pieces.iter().map(move |&(conn, length)| {
            let (piece, tail) = rest.split_at(length);
            rest = tail;
            (conn, piece)
        })
    }
}

#[derive(Debug)]
struct Listener {
    owner: EndpointId,
    host: String,
    port: u16,
    door: Door,
}

#[derive(Debug, Default)]
struct Clockwork {
    /// What the machine asked for last.
    deadline: Option<Time>,
    /// The earliest timer event that is planned.
    planned: Option<Time>,
}

/// See the [module's documentation](super), which has an example.
#[derive(Debug)]
pub struct World {
    now: Time,
    rng: Rng,
    sequence: u64,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    endpoints: Vec<Clockwork>,
    listeners: Vec<Listener>,
    pipes: Vec<Pipe>,
    links: LinkSettings,
    /// Ends that sent something since their link was last looked at.
    dirty: Vec<EndId>,
    sent: Sent,
    recording: bool,
}

impl World {
    /// A world without anything in it.
    pub fn new(seed: u64, start: Time) -> Self {
        Self {
            now: start,
            rng: Rng::new(seed),
            sequence: 0,
            events: BinaryHeap::new(),
            endpoints: Vec::new(),
            listeners: Vec::new(),
            pipes: Vec::new(),
            links: LinkSettings::default(),
            dirty: Vec::new(),
            sent: Sent::default(),
            recording: false,
        }
    }

    /// The present time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The world's own source of chance.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Makes room for one more machine.
    pub fn add_endpoint(&mut self) -> EndpointId {
        self.endpoints.push(Clockwork::default());
        EndpointId(self.endpoints.len() as u32 - 1)
    }

    /// Lets `owner` be reached at a name and a port.
    pub fn listen(&mut self, owner: EndpointId, host: &str, port: u16) -> ListenerId {
        self.listeners.push(Listener { owner, host: host.into(), port, door: Door::Open });
        ListenerId(self.listeners.len() as u64 - 1)
    }

    /// Says what meets those who connect from now on.
    pub fn set_door(&mut self, listener: ListenerId, door: Door) {
        if let Some(listener) = self.listeners.get_mut(listener.0 as usize) {
            listener.door = door;
        }
    }

    /// How the links of future connections behave.
    pub fn set_links(&mut self, settings: LinkSettings) {
        self.links = settings;
    }

    /// Keeps what machines send, for [`take_sent`](Self::take_sent).
    pub fn record_sent(&mut self) {
        self.recording = true;
    }

    /// Takes what machines sent since the last call.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// Gives a buffer back, so that the next one need not be allocated.
    pub fn give_back(&mut self, mut sent: Sent) {
        if self.sent.pieces.is_empty() {
            sent.pieces.clear();
            sent.bytes.clear();
            self.sent = sent;
        }
    }

    /// Wakes the scenario, on behalf of an endpoint, at a time; see [`Step::Wake`].
    pub fn wake(&mut self, endpoint: EndpointId, at: Time, token: u64) {
        self.plan(at, Event::Wake(endpoint.0, token));
    }

    /// Lets time pass without anything happening, as when a whole machine is suspended:
    /// whatever was due meanwhile happens late.
    pub fn jump(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// When the next event is due.
    pub fn next_time(&self) -> Option<Time> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// Goes to the next event that concerns anybody; `None` if nothing will ever happen.
    pub fn next_step(&mut self) -> Option<(EndpointId, Step)> {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            if let Some(step) = self.happen(at, event) {
                return Some(step);
            }
        }
        None
    }

    /// Tells a machine what happens to it, and takes in what it wants.
    pub fn deliver<M: Machine>(&mut self, endpoint: EndpointId, step: Step, machine: &mut M) {
        let mut left = None;
        let input = match step {
            Step::Connected(conn) => Input::Connected { conn, local: None, peer: None },
            Step::ConnectFailed(conn, error) => Input::ConnectFailed { conn, error },
            Step::Accepted(conn, listener) => Input::Accepted { conn, listener, peer: None },
            Step::Received { conn, bytes, .. } => {
                Input::Received { conn, bytes: &mut left.insert((conn, bytes)).1 }
            }
            Step::Closed(conn, reason) => Input::Closed { conn, reason },
            Step::Timer => Input::Timer,
            Step::Wake(_) => return,
        };
        self.handle(endpoint, input, machine);
        if let Some((conn, bytes)) = left {
            if let Some(end) = self.end_mut(EndId::of(conn)).filter(|end| end.open) {
                end.carry = bytes;
            }
        }
    }

    /// Passes a note to a machine, as another thread would.
    pub fn tell<M: Machine>(&mut self, endpoint: EndpointId, note: M::Note, machine: &mut M) {
        self.handle(endpoint, Input::Note(note), machine);
    }

    fn handle<M: Machine>(&mut self, endpoint: EndpointId, input: Input<'_, M::Note>, machine: &mut M) {
        let now = self.now;
        machine.handle(now, input, &mut WorldSink { world: self, owner: endpoint });
        self.settle();
        self.set_deadline(endpoint, machine.deadline());
    }

    // ----- faults ---------------------------------------------------------------------

    /// The connections that are established and that both ends still count on.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, EndpointId, EndpointId)> {
        let live = |pipe: &&(usize, &Pipe)| pipe.1.established && pipe.1.ends.iter().all(|end| end.open);
        let pipes: Vec<_> = self.pipes.iter().enumerate().rev().take(64).collect();
        let found: Vec<_> = pipes
            .iter()
            .filter(live)
            .map(|(at, pipe)| (ConnId(*at as u64 * 2), pipe.ends[0].owner, pipe.ends[1].owner))
            .collect();
        found.into_iter()
    }

    /// Whether the machine at this end still counts on the connection.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.end(EndId::of(conn)).is_some_and(|end| end.open)
    }

    /// The other end of a connection.
    pub fn peer(conn: ConnId) -> ConnId {
        EndId::of(conn).peer().conn()
    }

    /// Ends a connection in both directions behind what is on its way.
    pub fn cut(&mut self, conn: ConnId) {
        self.both(conn, |link, now, rng| {
            link.drop_unsent();
            link.finish(now, rng);
        });
    }

    /// Resets a connection: of what is on its way, a random part is destroyed.
    pub fn reset(&mut self, conn: ConnId) {
        self.both(conn, |link, now, rng| {
            let keep = rng.below(link.in_flight() as u64 + 1) as usize;
            link.reset(now, keep, rng);
        });
    }

    /// Both directions carry nothing any more, and nobody is told.
    pub fn half_open(&mut self, conn: ConnId) {
        self.both(conn, |link, _, _| link.die());
    }

    /// Nothing sent from this end arrives before `until`.
    pub fn stall(&mut self, conn: ConnId, until: Time) {
        if let Some(end) = self.end_mut(EndId::of(conn)) {
            end.out.stall(until);
        }
    }

    /// Changes how both links of a connection behave.
    pub fn set_link(&mut self, conn: ConnId, settings: LinkSettings) {
        self.both(conn, |link, _, _| link.set(settings));
    }

    /// What a kernel does that has retransmitted for long enough, or whose probes stay
    /// unanswered: every end of a half-open connection that is still in use fails.
    pub fn expire_half_open(&mut self) {
        for number in 0..self.pipes.len() {
            for side in 0..2 {
                let id = EndId(number as u64 * 2 + side);
                let dead = self.end(id.peer()).is_some_and(|peer| peer.out.is_dead());
                let open = self.end(id).is_some_and(|end| end.open);
                if dead && open {
                    let Self { pipes, rng, now, links, .. } = self;
                    let peer = &mut pipes[number].ends[id.peer().side()];
                    peer.out = super::link::Link::new(*links);
                    peer.out.reset(*now, 0, rng);
                    self.plan_arrival(id);
                }
            }
        }
    }

    fn both(&mut self, conn: ConnId, mut f: impl FnMut(&mut super::link::Link, Time, &mut Rng)) {
        let id = EndId::of(conn);
        let Self { pipes, rng, now, .. } = self;
        let Some(pipe) = pipes.get_mut(id.pipe()) else { return };
        for end in &mut pipe.ends {
            f(&mut end.out, *now, rng);
        }
        self.plan_arrival(id);
        self.plan_arrival(id.peer());
    }

    // ----- events ---------------------------------------------------------------------

    fn plan(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn happen(&mut self, at: Time, event: Event) -> Option<(EndpointId, Step)> {
        match event {
            Event::Arrival(end) => self.arrival(at, EndId(end)),
            Event::Knock(end) => self.knock(EndId(end)),
            Event::Answered(id) => {
                let end = self.end(EndId(id)).filter(|end| end.open)?;
                Some((end.owner, Step::Connected(ConnId(id))))
            }
            Event::Refused(id) => {
                let address = self.address(EndId(id));
                self.connect_failed(EndId(id), ConnectError::Refused { address })
            }
            Event::TimedOut(id, timeout) => {
                if self.pipes.get(EndId(id).pipe())?.established {
                    return None;
                }
                let address = self.address(EndId(id));
                self.connect_failed(EndId(id), ConnectError::TimedOut { address, timeout })
            }
            Event::FlushOver(id) => {
                let now = self.now;
                let Self { pipes, rng, .. } = self;
                let end = &mut pipes.get_mut(EndId(id).pipe())?.ends[EndId(id).side()];
                end.out.drop_unsent();
                end.out.finish(now, rng);
                self.plan_arrival(EndId(id).peer());
                None
            }
            Event::Timer(id) => self.timer(at, EndpointId(id)),
            Event::Wake(id, token) => Some((EndpointId(id), Step::Wake(token))),
        }
    }

    fn timer(&mut self, at: Time, id: EndpointId) -> Option<(EndpointId, Step)> {
        let now = self.now;
        let clockwork = self.endpoints.get_mut(id.0 as usize)?;
        if clockwork.planned != Some(at) {
            return None;
        }
        clockwork.planned = None;
        let deadline = clockwork.deadline?;
        if deadline <= now {
            return Some((id, Step::Timer));
        }
        self.set_deadline(id, Some(deadline));
        None
    }

    fn set_deadline(&mut self, id: EndpointId, deadline: Option<Time>) {
        let Some(clockwork) = self.endpoints.get_mut(id.0 as usize) else { return };
        clockwork.deadline = deadline;
        if let Some(deadline) = deadline {
            if clockwork.planned.is_none_or(|planned| deadline < planned) {
                clockwork.planned = Some(deadline);
                self.plan(deadline, Event::Timer(id.0));
            }
        }
    }

    /// An attempt to connect reaches the other side.
    fn knock(&mut self, id: EndId) -> Option<(EndpointId, Step)> {
        let now = self.now;
        let pipe = self.pipes.get(id.pipe())?;
        let number = pipe.listener?;
        let listener = self.listeners.get(number)?;
        let owner = match listener.door {
            Door::Open => listener.owner,
            Door::Redirect(owner) => owner,
            Door::Refuse => {
                let back = now + self.latency();
                self.plan(back, Event::Refused(id.0));
                return None;
            }
            // The attempt's time runs out by itself.
            Door::Blackhole => return None,
        };
        let pipe = self.pipes.get_mut(id.pipe())?;
        pipe.established = true;
        let end = &mut pipe.ends[1];
        (end.owner, end.open) = (owner, true);
        let back = now + self.latency();
        self.plan(back, Event::Answered(id.0));
        // Whatever the other side sends arrives behind the answer.
        self.pipes[id.pipe()].ends[1].out.stall(back);
        // If the one who connects went away meanwhile, its end is on its way already.
        self.plan_arrival(id.peer());
        Some((owner, Step::Accepted(id.peer().conn(), ListenerId(number as u64))))
    }

    fn connect_failed(&mut self, id: EndId, error: ConnectError) -> Option<(EndpointId, Step)> {
        let pipe = self.pipes.get_mut(id.pipe())?;
        if pipe.established || !pipe.ends[0].open {
            return None;
        }
        pipe.ends[0].open = false;
        Some((pipe.ends[0].owner, Step::ConnectFailed(id.conn(), error)))
    }

    fn arrival(&mut self, at: Time, id: EndId) -> Option<(EndpointId, Step)> {
        let now = self.now;
        let Self { pipes, rng, .. } = self;
        let pipe = pipes.get_mut(id.pipe())?;
        let [a, b] = &mut pipe.ends;
        let (end, peer) = if id.side() == 0 { (a, b) } else { (b, a) };
        if end.planned != Some(at) {
            return None;
        }
        end.planned = None;
        if !end.open {
            return None;
        }
        if end.reading && std::mem::take(&mut end.offer) {
            let (owner, bytes) = (end.owner, std::mem::take(&mut end.carry));
            self.plan_arrival(id);
            if bytes.is_empty() {
                return None;
            }
            return Some((owner, Step::Received { conn: id.conn(), bytes, fresh: 0 }));
        }
        if let Some(reason) = peer.out.ended(now) {
            let reason = reason.clone();
            end.open = false;
            end.carry = BytesMut::new();
            end.out.drop_unsent();
            end.out.finish(now, rng);
            let owner = end.owner;
            self.plan_arrival(id.peer());
            return Some((owner, Step::Closed(id.conn(), reason)));
        }
        let fresh = peer.out.arrive(now, &mut end.carry);
        peer.out.admit(now, rng);
        if peer.flush_until.is_some() && peer.out.unsent() == 0 {
            peer.out.finish(now, rng);
        }
        let (owner, bytes) = (end.owner, std::mem::take(&mut end.carry));
        self.plan_arrival(id);
        if fresh == 0 {
            if let Some(end) = self.end_mut(id) {
                end.carry = bytes;
            }
            return None;
        }
        Some((owner, Step::Received { conn: id.conn(), bytes, fresh }))
    }

    /// Plans what arrives next at an end, if anything does.
    fn plan_arrival(&mut self, id: EndId) {
        let now = self.now;
        let Some(pipe) = self.pipes.get_mut(id.pipe()) else { return };
        let [a, b] = &mut pipe.ends;
        let (end, peer) = if id.side() == 0 { (a, b) } else { (b, a) };
        // Nobody reads: nothing arrives, but for a reset.
        let deaf = !end.open || (!end.reading && !matches!(peer.out.ended(now), Some(CloseReason::Reset)));
        let next = match (deaf, end.offer) {
            (true, _) => None,
            (false, true) => Some(now),
            (false, false) => peer.out.next_arrival().map(|due| due.max(now)),
        };
        if end.planned != next {
            end.planned = next;
            if let Some(due) = next {
                self.plan(due, Event::Arrival(id.0));
            }
        }
    }

    /// Puts on its way what was sent.
    fn settle(&mut self) {
        while let Some(id) = self.dirty.pop() {
            let Self { pipes, rng, now, .. } = self;
            if let Some(pipe) = pipes.get_mut(id.pipe()) {
                let end = &mut pipe.ends[id.side()];
                end.out.admit(*now, rng);
                if end.flush_until.is_some() && end.out.unsent() == 0 {
                    end.out.finish(*now, rng);
                }
            }
            self.plan_arrival(id.peer());
            self.plan_arrival(id);
        }
    }

    fn touch(&mut self, id: EndId) {
        if self.dirty.last() != Some(&id) {
            self.dirty.push(id);
        }
    }

    fn latency(&mut self) -> Duration {
        self.rng.span(self.links.fastest, self.links.slowest)
    }

    fn end(&self, id: EndId) -> Option<&End> {
        self.pipes.get(id.pipe()).map(|pipe| &pipe.ends[id.side()])
    }

    fn end_mut(&mut self, id: EndId) -> Option<&mut End> {
        self.pipes.get_mut(id.pipe()).map(|pipe| &mut pipe.ends[id.side()])
    }

    fn address(&self, id: EndId) -> String {
        let listener = self.pipes.get(id.pipe()).and_then(|pipe| self.listeners.get(pipe.listener?));
        listener.map_or_else(|| "nowhere".into(), |found| format!("{}:{}", found.host, found.port))
    }
}

/// What one machine may do to the world.
struct WorldSink<'a> {
    world: &'a mut World,
    owner: EndpointId,
}

impl WorldSink<'_> {
    fn mine(&mut self, conn: ConnId) -> Option<&mut End> {
        let owner = self.owner;
        self.world.end_mut(EndId::of(conn)).filter(|end| end.open && end.owner == owner)
    }
}

impl Sink for WorldSink<'_> {
    fn connect(&mut self, target: Target) -> ConnId {
        let Self { world, owner } = self;
        let is_it = |l: &Listener| matches!(&target.address, Address::Tcp { host, port } if l.port == *port && l.host == *host);
        let listener = world.listeners.iter().position(is_it);
        let id = EndId(world.pipes.len() as u64 * 2);
        let mut ends = [0, 1].map(|_| End::new(*owner, world.links));
        ends[0].open = true;
        world.pipes.push(Pipe { ends, listener, established: false });
        let there = world.now + world.latency();
        world.plan(there, if listener.is_some() { Event::Knock(id.0) } else { Event::Refused(id.0) });
        world.plan(world.now + target.timeout, Event::TimedOut(id.0, target.timeout));
        id.conn()
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(end) = self.mine(conn) {
            end.out.send(bytes);
            self.world.touch(EndId::of(conn));
            if self.world.recording {
                self.world.sent.pieces.push((conn, bytes.len()));
                self.world.sent.bytes.extend_from_slice(bytes);
            }
        }
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let id = EndId::of(conn);
        let now = self.world.now;
        let Some(end) = self.mine(conn) else { return };
        end.open = false;
        end.carry = BytesMut::new();
        match mode {
            CloseMode::Flush => {
                end.flush_until = Some(now + FLUSH_WITHIN);
                self.world.plan(now + FLUSH_WITHIN, Event::FlushOver(id.0));
            }
            CloseMode::Abort | CloseMode::Reset => {
                let World { pipes, rng, .. } = &mut *self.world;
                let out = &mut pipes[id.pipe()].ends[id.side()].out;
                // What was sent before in this very call counts as written already, or not.
                if rng.chance(50) {
                    out.admit(now, rng);
                }
                out.drop_unsent();
                if rng.chance(50) {
                    out.finish(now, rng);
                } else {
                    let keep = out.in_flight();
                    out.reset(now, keep, rng);
                }
            }
        }
        self.world.touch(id);
    }

    fn set_reading(&mut self, conn: ConnId, on: bool) {
        if let Some(end) = self.mine(conn) {
            end.offer |= on && !end.reading;
            end.reading = on;
            self.world.touch(EndId::of(conn));
        }
    }

    fn outlet(&mut self, _: ConnId) -> Option<Outlet> {
        None
    }

    fn unsent(&self, conn: ConnId) -> usize {
        self.world.end(EndId::of(conn)).map_or(0, |end| end.out.unsent())
    }
}

#[cfg(test)]
mod tests;
