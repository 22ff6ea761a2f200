//! What stands between the loop and the engine.
//!
//! Owns the faults of a server, when each fires, and the connections as they see them. Without
//! any fault it does nothing but to count connections. It changes the engine in two ways only:
//! it answers a command in its stead, or it ends a connection.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use amps_protocol::{CommandKind, Message};
use amps_transport::{CloseMode, ConnId, Input, ListenerId, Machine, Sink, Time};

use super::action::{Action, Target};
use super::link::{Armed, Link};
use super::sink::FaultSink;
use super::trigger::Trigger;
use super::{Count, Fault, FaultId, FaultStatus, Firing, Scope};
use crate::engine::{Engine, Event, Observe};
use crate::sim::Rng;

pub(crate) struct FaultLayer {
    faults: Vec<Installed>,
    next_id: u64,
    pub(super) rng: Rng,
    pub(super) links: BTreeMap<ConnId, Link>,
    names: BTreeMap<ListenerId, String>,
    /// Whether there is a fault, or the rest of one.
    active: bool,
    /// The time of the last input.
    now: Time,
    /// Connections to be ended when the engine can be called.
    pub(super) doomed: VecDeque<(ConnId, CloseMode)>,
    /// Leases to be shortened likewise.
    pub(super) leases: Vec<(ConnId, Duration)>,
    /// Log entries to be forgotten at the next restart.
    lost: usize,
    /// What happened, each with the number of frames that the engine had sent before in this step.
    events: Vec<(usize, Time, Event)>,
    sends: usize,
    recorded: Vec<(Time, Event)>,
    observe: Observe,
}

struct Installed {
    id: FaultId,
    fault: Fault,
    fired: u64,
    /// When it fires by the clock.
    due: Option<Time>,
    accepted: u64,
    /// Frames, or bytes, of each connection.
    counted: BTreeMap<ConnId, u64>,
}

/// A fault as a page shows it.
#[derive(Clone, Debug)]
pub(crate) struct FaultRow {
    pub(crate) id: u64,
    pub(crate) about: String,
    pub(crate) fired: u64,
    /// Whether it may fire again.
    pub(crate) armed: bool,
}

/// What may set a fault off.
#[derive(Clone, Copy)]
pub(super) enum Occasion<'a> {
    Accepted,
    Inbound(&'a Message<&'a [u8]>),
    Outbound(&'a Message<&'a [u8]>),
}

impl<'a> Occasion<'a> {
    const fn message(self) -> Option<&'a Message<&'a [u8]>> {
        match self {
            Self::Accepted => None,
            Self::Inbound(message) | Self::Outbound(message) => Some(message),
        }
    }
}

impl FaultLayer {
    pub(crate) fn new(seed: u64, observe: Observe) -> Self {
        Self {
            faults: Vec::new(),
            next_id: 0,
            rng: Rng::new(seed),
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            active: false,
            now: Time::EPOCH,
            doomed: VecDeque::new(),
            leases: Vec::new(),
            lost: 0,
            events: Vec::new(),
            sends: 0,
            recorded: Vec::new(),
            observe,
        }
    }

    /// Whether everything goes past it.
    #[inline]
    pub(crate) const fn is_idle(&self) -> bool {
        !self.active
    }

    /// From now on everything is told.
    pub(crate) fn observe_all(&mut self) {
        self.observe = Observe::All;
    }

    pub(crate) fn name_listener(&mut self, listener: ListenerId, name: String) {
        self.names.insert(listener, name);
    }

    /// Ends every connection, and forgets everything but the names of the listeners.
    pub(crate) fn start_over<S: Sink>(&mut self, seed: u64, observe: Observe, sink: &mut S) {
        for conn in self.links.keys() {
            sink.close(*conn, CloseMode::Abort);
        }
        let names = std::mem::take(&mut self.names);
        *self = Self { names, ..Self::new(seed, observe) };
    }

    // --- The faults ----------------------------------------------------------------------

    pub(crate) fn add<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        fault: Fault,
        sink: &mut S,
    ) -> FaultId {
        self.next_id += 1;
        let id = FaultId(self.next_id);
        let due = match fault.trigger {
            Trigger::After(span) => Some(now + span),
            Trigger::At(time) => Some(time),
            _ => None,
        };
        if !self.active {
            for (conn, client) in engine.client_names() {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.client = Some(client);
                }
            }
        }
        let (accepted, counted) = (0, BTreeMap::new());
        self.faults.push(Installed { id, fault, fired: 0, due, accepted, counted });
        self.active = true;
        self.run_due(engine, now, sink);
        id
    }

    pub(crate) fn remove<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        id: FaultId,
        sink: &mut S,
    ) -> bool {
        let before = self.faults.len();
        self.faults.retain(|installed| installed.id != id);
        let found = self.faults.len() < before;
        for (&conn, link) in &mut self.links {
            link.armed.retain(|armed| armed.fault != id);
            link.acks.omitted.retain(|omitted| omitted.fault != id);
            link.out.forget(id);
            if link.reads.is_some_and(|stall| stall.fault == id) {
                link.reads = None;
                sink.set_reading(conn, true);
            }
            if link.acks.held_by == Some(id) {
                let kept: Vec<_> = link.acks.release().collect();
                kept.into_iter().for_each(|frame| link.out.push(frame, now, None, now));
            }
        }
        self.run_due(engine, now, sink);
        found
    }

    pub(crate) fn status(&self) -> Vec<FaultStatus> {
        let status = |installed: &Installed| FaultStatus {
            id: installed.id,
            fault: installed.fault.clone(),
            fired: installed.fired,
        };
        self.faults.iter().map(status).collect()
    }

    /// The faults that were added last, the newest first, and how many there are.
    pub(crate) fn last_added(&self, most: usize) -> (Vec<FaultRow>, usize) {
        let row = |installed: &Installed| FaultRow {
            id: installed.id.0,
            about: installed.fault.to_string(),
            fired: installed.fired,
            armed: installed.fault.count.allows(installed.fired),
        };
        (self.faults.iter().rev().take(most).map(row).collect(), self.faults.len())
    }

    /// How many log entries a restart forgets.
    pub(crate) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    // --- Firing --------------------------------------------------------------------------

    /// The faults that this sets off, each told to the journal.
    pub(super) fn occurs(&mut self, now: Time, conn: ConnId, occasion: Occasion<'_>) -> Vec<Armed> {
        let Some(link) = self.links.get(&conn) else { return Vec::new() };
        let mut fired = Vec::new();
        let mut causes = Vec::new();
        for installed in &mut self.faults {
            let Installed { fault, .. } = &*installed;
            let spent = !fault.count.allows(installed.fired);
            if spent || !fault.scope.covers(link, &self.names, occasion.message()) {
                continue;
            }
            if let Some(cause) = installed.is_set_off(conn, link, occasion, &mut self.rng) {
                installed.fired += 1;
                causes.push((installed.id, cause, installed.fault.action.to_string()));
                fired.push(installed.armed());
            }
        }
        for (fault, cause, action) in causes {
            self.record(now, Event::Fault { conn, firing: Firing { fault, cause, action } });
        }
        fired
    }

    /// Which faults want to be asked before these bytes leave: after how many of them the first
    /// of them fires.
    pub(super) fn bytes_until_fault(&mut self, conn: ConnId, length: usize) -> Option<usize> {
        let link = self.links.get(&conn)?;
        let remaining = |installed: &Installed| {
            let Trigger::OutboundByte(n) = installed.fault.trigger else { return None };
            let counts = installed.fault.count.allows(installed.fired)
                && installed.fault.scope.covers(link, &self.names, None);
            let left = n.checked_sub(installed.counted.get(&conn).copied().unwrap_or_default())?;
            let left = usize::try_from(left).ok()?;
            (counts && left > 0 && left <= length).then_some(left)
        };
        self.faults.iter().filter_map(remaining).min()
    }

    /// So many bytes have left.
    pub(super) fn bytes_left(&mut self, now: Time, conn: ConnId, length: usize) -> Vec<Armed> {
        let Some(link) = self.links.get(&conn) else { return Vec::new() };
        let mut fired = Vec::new();
        for installed in &mut self.faults {
            let Trigger::OutboundByte(n) = installed.fault.trigger else { continue };
            let open = installed.fault.count.allows(installed.fired);
            if !open || !installed.fault.scope.covers(link, &self.names, None) {
                continue;
            }
            let counted = installed.counted.entry(conn).or_default();
            *counted += length as u64;
            if *counted == n {
                installed.fired += 1;
                fired.push((installed.id, format!("after {n} outbound bytes"), installed.armed()));
            }
        }
        let mut armed = Vec::new();
        for (fault, cause, action) in fired {
            let firing = Firing { fault, cause, action: action.action.to_string() };
            self.record(now, Event::Fault { conn, firing });
            armed.push(action);
        }
        armed
    }

    /// What the clock sets off.
    fn fire_by_clock<S: Sink>(&mut self, now: Time, sink: &mut S) {
        while let Some(place) = self.faults.iter().position(|installed| installed.is_due(now)) {
            let Some(installed) = self.faults.get_mut(place) else { return };
            installed.fired += 1;
            let cause = installed.fault.trigger.to_string();
            installed.due = match installed.fault.trigger {
                Trigger::After(span) if !span.is_zero() => installed.due.map(|due| due + span),
                _ => None,
            };
            let armed = installed.armed();
            let firing = |action: &Action| Firing {
                fault: armed.fault,
                cause: cause.clone(),
                action: action.to_string(),
            };
            let covered = |(_, link): &(&ConnId, &Link)| armed.scope.covers(link, &self.names, None);
            let conns: Vec<ConnId> = self.links.iter().filter(covered).map(|(conn, _)| *conn).collect();
            if armed.action.target() == Target::Server || conns.is_empty() {
                let event = Event::Fault { conn: Event::NOBODY, firing: firing(&armed.action) };
                self.record(now, event);
            }
            if let Action::LoseEntries(count) = armed.action {
                self.lost += count;
                continue;
            }
            for conn in conns {
                self.record(now, Event::Fault { conn, firing: firing(&armed.action) });
                let (fault, scope, action) = (armed.fault, armed.scope.clone(), armed.action.clone());
                self.begin(now, conn, Armed { fault, scope, action }, sink);
            }
        }
    }

    /// Does what needs no frame, and lets the rest wait for one.
    pub(super) fn begin<S: Sink>(&mut self, now: Time, conn: ConnId, armed: Armed, sink: &mut S) {
        match armed.action.target() {
            Target::Connection => self.execute(now, conn, armed.fault, armed.action, sink),
            Target::Server => {
                if let Action::LoseEntries(count) = armed.action {
                    self.lost += count;
                }
            }
            Target::Outbound | Target::Inbound | Target::Either => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.armed.push(armed);
                }
            }
        }
    }

    fn record(&mut self, now: Time, event: Event) {
        if self.observe != Observe::Nothing {
            self.events.push((self.sends, now, event));
        }
    }

    /// A frame that the engine knows nothing of.
    pub(super) fn record_sent(&mut self, now: Time, conn: ConnId, frame: &[u8]) {
        if self.observe == Observe::All {
            if let Ok(message) = Message::decode(frame) {
                self.record(now, Event::Sent { conn, message: message.to_owned() });
            }
        }
    }

    pub(super) fn has_sent(&mut self) {
        self.sends += 1;
    }

    // --- The engine ----------------------------------------------------------------------

    /// Somebody connected, and the engine knows it.
    pub(crate) fn accepted<S: Sink>(
        &mut self,
        engine: &mut Engine,
        now: Time,
        (conn, listener): (ConnId, ListenerId),
        sink: &mut S,
    ) {
        let Some(index) = engine.connection_index(conn) else { return };
        self.links.insert(conn, Link::new(index, listener));
        if self.active {
            self.collect(engine);
            for armed in self.occurs(now, conn, Occasion::Accepted) {
                self.begin(now, conn, armed, sink);
            }
            self.settle(engine, now, sink);
        }
    }

    /// A connection is no more.
    pub(crate) fn closed(&mut self, conn: ConnId) {
        self.links.remove(&conn);
        for installed in &mut self.faults {
            installed.counted.remove(&conn);
        }
    }

    /// Does what could not be done while the engine was at work. After every call of the engine.
    pub(crate) fn settle<S: Sink>(&mut self, engine: &mut Engine, now: Time, sink: &mut S) {
        loop {
            self.collect(engine);
            for (conn, span) in std::mem::take(&mut self.leases) {
                engine.shorten_next_lease(conn, span);
            }
            let Some((conn, mode)) = self.doomed.pop_front() else { break };
            engine.drop_connection(now, conn, mode, &mut FaultSink { layer: self, sink, now });
            // One that the engine had closed already.
            if self.links.remove(&conn).is_some() {
                sink.close(conn, mode);
            }
        }
        self.active = !self.faults.is_empty() || self.links.values().any(Link::is_busy);
    }

    /// Takes the engine's events, with those of the faults between them where they belong.
    fn collect(&mut self, engine: &mut Engine) {
        self.sends = 0;
        let mut own = std::mem::take(&mut self.events).into_iter().peekable();
        let mut sent = 0;
        for event in engine.take_events() {
            if matches!(event.1, Event::Sent { .. }) {
                while let Some((_, time, event)) = own.next_if(|(before, ..)| *before <= sent) {
                    self.recorded.push((time, event));
                }
                sent += 1;
            }
            self.recorded.push(event);
        }
        self.recorded.extend(own.map(|(_, time, event)| (time, event)));
    }

    pub(crate) fn take_events(&mut self) -> Vec<(Time, Event)> {
        std::mem::take(&mut self.recorded)
    }

    // --- Time ----------------------------------------------------------------------------

    /// A new input: what was written before is with the socket.
    pub(crate) fn begin_turn<S: Sink>(&mut self, engine: &mut Engine, now: Time, sink: &mut S) {
        self.links.values_mut().for_each(|link| link.out.begin_turn());
        self.run_due(engine, now, sink);
    }

    /// Whether a piece of output waits for nothing but to be a write of its own.
    pub(crate) fn wants_turn(&self) -> bool {
        self.active && self.links.values().any(|link| link.out.wants_turn(self.now))
    }

    /// When something goes on by the clock.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if !self.active {
            return None;
        }
        let due =
            |installed: &Installed| installed.due.filter(|_| installed.fault.count.allows(installed.fired));
        let faults = self.faults.iter().filter_map(due);
        let links = self.links.values().filter_map(|link| link.deadline(self.now));
        faults.chain(links).min()
    }

    /// What goes on next by the clock, in words.
    pub(crate) fn next_due(&self) -> Option<(Time, String)> {
        let at = self.deadline()?;
        let due = self.faults.iter().find(|installed| installed.due == Some(at));
        let what = match due {
            Some(installed) => format!("fault {} fires: {}", installed.id, installed.fault.action),
            None => "a fault lets something go on".to_owned(),
        };
        Some((at, what))
    }

    /// Everything that goes on by the clock, in words.
    pub(crate) fn all_due(&self) -> Vec<(Time, String)> {
        let open = self.faults.iter().filter(|installed| installed.fault.count.allows(installed.fired));
        let fires = |installed: &Installed| {
            Some((installed.due?, format!("fault {} fires: {}", installed.id, installed.fault.action)))
        };
        let links = self.links.values().filter_map(|link| link.deadline(self.now));
        let lets_go = links.map(|at| (at, "a fault lets something go on".to_owned()));
        open.filter_map(fires).chain(lets_go).collect()
    }

    /// Everything whose time has come.
    pub(crate) fn run_due<S: Sink>(&mut self, engine: &mut Engine, now: Time, sink: &mut S) {
        self.now = now;
        self.fire_by_clock(now, sink);
        self.settle(engine, now, sink);
        let conns: Vec<ConnId> = self.links.keys().copied().collect();
        for conn in conns {
            self.go_on_reading(now, conn, sink);
            self.release_held(engine, now, conn, sink);
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.out.stall = link.out.stall.filter(|stall| !stall.is_over(now));
            link.out.end_batch_if_due(now, &mut self.rng);
            let waited = !link.out.is_empty();
            self.pump(now, conn, sink);
            let drained =
                self.links.get(&conn).is_some_and(|link| waited && link.out.is_empty() && !link.closing);
            if drained {
                // As from a socket that takes bytes again: replays wait for that.
                engine.handle(now, Input::Writable { conn }, &mut FaultSink { layer: self, sink, now });
            }
            self.settle(engine, now, sink);
        }
    }

    fn go_on_reading<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        if let Some(link) =
            self.links.get_mut(&conn).filter(|l| l.reads.is_some_and(|stall| stall.is_over(now)))
        {
            link.reads = None;
            sink.set_reading(conn, true);
        }
    }
}

impl Installed {
    fn armed(&self) -> Armed {
        Armed { fault: self.id, scope: self.fault.scope.clone(), action: self.fault.action.clone() }
    }

    fn is_due(&self, now: Time) -> bool {
        self.fault.count.allows(self.fired) && self.due.is_some_and(|due| due <= now)
    }

    /// Why it fires, if it does.
    fn is_set_off(
        &mut self,
        conn: ConnId,
        link: &Link,
        occasion: Occasion<'_>,
        rng: &mut Rng,
    ) -> Option<String> {
        let client = link.client.as_deref();
        let mut count = || {
            let counted = self.counted.entry(conn).or_default();
            *counted += 1;
            *counted
        };
        match (&self.fault.trigger, occasion) {
            (Trigger::Accept(wanted), Occasion::Accepted) => {
                self.accepted += 1;
                let fires = wanted.is_none_or(|wanted| wanted == self.accepted);
                fires.then(|| format!("connection {} is accepted", self.accepted))
            }
            (Trigger::Logon, Occasion::Inbound(message)) => {
                (message.command() == CommandKind::Logon).then(|| "logon".to_owned())
            }
            (Trigger::Inbound(wanted), Occasion::Inbound(message)) => {
                (count() == *wanted).then(|| format!("inbound frame {wanted}, {}", brief(message)))
            }
            (Trigger::Outbound(wanted), Occasion::Outbound(message)) => {
                (count() == *wanted).then(|| format!("outbound frame {wanted}, {}", brief(message)))
            }
            (Trigger::InboundMatching(matcher), Occasion::Inbound(message)) => {
                matcher.fits(client, link.index, message).then(|| format!("inbound {}", brief(message)))
            }
            (Trigger::OutboundMatching(matcher), Occasion::Outbound(message)) => {
                matcher.fits(client, link.index, message).then(|| format!("outbound {}", brief(message)))
            }
            (Trigger::Probability(p), Occasion::Inbound(message) | Occasion::Outbound(message)) => {
                let outbound = matches!(occasion, Occasion::Outbound(_));
                let other_way = match self.fault.action.target() {
                    Target::Outbound => !outbound,
                    Target::Inbound => outbound,
                    Target::Connection | Target::Either | Target::Server => false,
                };
                (!other_way && draw(rng) < *p).then(|| format!("chance, {}", brief(message)))
            }
            _ => None,
        }
    }
}

/// A number from 0 up to, but without, 1.
fn draw(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A frame in a few words.
fn brief(message: &Message<&[u8]>) -> String {
    let mut text = match message.command() {
        CommandKind::Unknown | CommandKind::Missing => "unknown".to_owned(),
        command => command.token().to_owned(),
    };
    let parts = [("t", message.topic()), ("cid", message.command_id()), ("sub_id", message.sub_id())];
    for (key, value) in parts {
        if let Some(value) = value {
            text += &format!(" {key}={value}");
        }
    }
    if let Some(sequence) = message.sequence() {
        text += &format!(" s={sequence}");
    }
    text
}

impl Scope {
    /// Whether it is about this connection, and about this frame if there is one.
    pub(super) fn covers(
        &self,
        link: &Link,
        names: &BTreeMap<ListenerId, String>,
        message: Option<&Message<&[u8]>>,
    ) -> bool {
        let client =
            |pattern: &crate::matcher::Pattern| link.client.as_deref().is_some_and(|c| pattern.finds(c));
        let connection = self.connection.is_none_or(|index| index == link.index);
        let transport = self.transport.as_ref().is_none_or(|name| names.get(&link.listener) == Some(name));
        connection
            && transport
            && self.client.as_ref().is_none_or(client)
            && message.is_none_or(|message| self.covers_frame(message))
    }

    pub(super) fn covers_frame(&self, message: &Message<&[u8]>) -> bool {
        let topic = |wanted: &String| message.topic().is_some_and(|topic| topic == wanted.as_str());
        let sub_id = |wanted: &String| message.ids().any(|id| id == wanted.as_str());
        self.topic.as_ref().is_none_or(topic) && self.sub_id.as_ref().is_none_or(sub_id)
    }
}

impl FaultStatus {
    /// Whether it was to fire once, or so many times, and has not fired at all.
    pub fn is_unused(&self) -> bool {
        self.fired == 0 && self.fault.count != Count::Always
    }
}
