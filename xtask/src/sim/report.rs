//! What a run tells: how it ended, and how much of the system it reached.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use amps_transport::Time;

/// What can go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A connection ends in an orderly way that nobody asked for.
    CutFin,
    /// A connection is reset, and bytes on their way are destroyed.
    CutReset,
    /// A connection carries nothing any more, and nobody is told.
    HalfOpen,
    /// A connection stands still for a while.
    Stall,
    /// A connection becomes slow, its windows small and its chunks tiny.
    SlowLink,
    /// The server refuses connections for a while.
    Refused,
    /// Attempts to connect are not answered for a while.
    Blackholed,
    /// Logons are refused for a while.
    LogonRefused,
    /// Connections are accepted, and logons not answered, for a while.
    MuteServer,
    /// A consumer sits on its messages until their leases are over.
    LeaseExpiry,
    /// Somebody else logs on with the same name.
    NameInUse,
    /// Nothing runs for a while: everything that was due happens late.
    ClockJump,
    /// Every connection is reset at once.
    CutAll,
    /// A server dies, and comes back with its log.
    ServerKilled,
    /// A server dies, and comes back without its log.
    ServerLost,
    /// A link between servers stays connected and carries nothing for a while.
    LinkPaused,
    /// A link between servers is cut for a while.
    LinkDown,
    /// A link between servers lags for a while.
    LinkLag,
    /// Publishers do not wait for the other server for a while.
    Downgraded,
    /// The process of a client ends, in the middle of what it does to its disk or at rest.
    ClientKilled,
    /// The machine of a client fails.
    PowerCut,
    /// Something is published that the server refuses.
    PublishRefused,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::CutFin,
        Self::CutReset,
        Self::HalfOpen,
        Self::Stall,
        Self::SlowLink,
        Self::Refused,
        Self::Blackholed,
        Self::LogonRefused,
        Self::MuteServer,
        Self::LeaseExpiry,
        Self::NameInUse,
        Self::ClockJump,
        Self::CutAll,
        Self::ServerKilled,
        Self::ServerLost,
        Self::LinkPaused,
        Self::LinkDown,
        Self::LinkLag,
        Self::Downgraded,
        Self::ClientKilled,
        Self::PowerCut,
        Self::PublishRefused,
    ];

    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::CutFin => "a connection ends",
            Self::CutReset => "a connection is reset",
            Self::HalfOpen => "a connection is half open",
            Self::Stall => "a connection stands still",
            Self::SlowLink => "a connection becomes slow",
            Self::Refused => "connections are refused",
            Self::Blackholed => "nobody answers",
            Self::LogonRefused => "logons are refused",
            Self::MuteServer => "logons are not answered",
            Self::LeaseExpiry => "leases run out",
            Self::NameInUse => "somebody uses the name",
            Self::ClockJump => "nothing runs for a while",
            Self::CutAll => "all connections are reset",
            Self::ServerKilled => "a server dies",
            Self::ServerLost => "a server dies and loses its log",
            Self::LinkPaused => "replication is paused",
            Self::LinkDown => "replication is cut",
            Self::LinkLag => "replication lags",
            Self::Downgraded => "replication is not waited for",
            Self::ClientKilled => "a client's process dies",
            Self::PowerCut => "a client's machine fails",
            Self::PublishRefused => "a publish is refused",
        }
    }

    /// Those of the scenario "queue workers".
    pub const WORKERS: [Self; 13] = [
        Self::CutFin,
        Self::CutReset,
        Self::HalfOpen,
        Self::Stall,
        Self::SlowLink,
        Self::Refused,
        Self::Blackholed,
        Self::LogonRefused,
        Self::MuteServer,
        Self::LeaseExpiry,
        Self::NameInUse,
        Self::ClockJump,
        Self::CutAll,
    ];
}

/// The states of a session that a run should meet.
pub const STATES: [&str; 6] = ["idle", "backoff", "connecting", "logging on", "online", "draining"];

/// What is counted besides faults and states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summed {
    Messages,
    Deliveries,
    Acks,
    Recoveries,
    Excused,
    SharedQueues,
    Failovers,
    Redeliveries,
    Forgiven,
    Shared,
    Stranded,
    Lost,
    Steps,
}

impl Summed {
    pub(super) const ALL: [Self; 13] = [
        Self::Messages,
        Self::Deliveries,
        Self::Acks,
        Self::Recoveries,
        Self::Excused,
        Self::SharedQueues,
        Self::Failovers,
        Self::Redeliveries,
        Self::Forgiven,
        Self::Shared,
        Self::Stranded,
        Self::Lost,
        Self::Steps,
    ];

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Deliveries => "deliveries",
            Self::Acks => "acknowledgements",
            Self::Recoveries => "resubscriptions",
            Self::Excused => "excused",
            Self::SharedQueues => "queues-on-pairs",
            Self::Failovers => "failovers-with-leases",
            Self::Redeliveries => "redeliveries",
            Self::Forgiven => "redeliveries-excused",
            Self::Shared => "held-twice-excused",
            Self::Stranded => "stranded",
            Self::Lost => "losses-excused",
            Self::Steps => "events",
        }
    }
}

/// What was reached, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How often each fault took effect, as in [`FaultKind::ALL`].
    pub faults: [u64; FaultKind::ALL.len()],
    /// After how many inputs a session was in each state, as in [`STATES`].
    pub states: [u64; STATES.len()],
    /// Messages that reached the server, each counted once.
    pub messages: u64,
    /// Deliveries that reached an application.
    pub deliveries: u64,
    /// Acknowledgements seen on the wire.
    pub acks: u64,
    /// Times that a subscription was placed again after a loss.
    pub recoveries: u64,
    /// Messages that a subscription could not know to be missing when it changed servers.
    pub excused: u64,
    /// Runs with a queue on two servers that replicate.
    pub shared_queues: u64,
    /// Times that a worker changed servers and left leases behind.
    pub failovers: u64,
    /// Deliveries of queue messages that had been processed before.
    pub redeliveries: u64,
    /// Queue messages that came again although their acknowledgement was reported: it was in a log that
    /// was lost, or had not reached the server yet that delivers them.
    pub forgiven: u64,
    /// Queue messages that two workers had at once, because their publisher had given them to two servers
    /// that did not know of each other yet.
    pub shared: u64,
    /// Queue messages that only one server of a pair could ever deliver, because their publisher went to the
    /// other one along a link that nobody waited for: a worker had to be brought there.
    pub stranded: u64,
    /// Messages that no log has, because each that had it, as it was reported, was lost.
    pub lost: u64,
    /// Events of the simulated world.
    pub steps: u64,
}

impl Coverage {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.faults.iter_mut().zip(other.faults).chain(self.states.iter_mut().zip(other.states));
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.acks += other.acks;
        self.recoveries += other.recoveries;
        self.excused += other.excused;
        self.shared_queues += other.shared_queues;
        self.failovers += other.failovers;
        self.redeliveries += other.redeliveries;
        self.forgiven += other.forgiven;
        self.shared += other.shared;
        self.stranded += other.stranded;
        self.lost += other.lost;
        self.steps += other.steps;
    }

    pub(super) const fn summed(&self, what: Summed) -> u64 {
        match what {
            Summed::Messages => self.messages,
            Summed::Deliveries => self.deliveries,
            Summed::Acks => self.acks,
            Summed::Recoveries => self.recoveries,
            Summed::Excused => self.excused,
            Summed::SharedQueues => self.shared_queues,
            Summed::Failovers => self.failovers,
            Summed::Redeliveries => self.redeliveries,
            Summed::Forgiven => self.forgiven,
            Summed::Shared => self.shared,
            Summed::Stranded => self.stranded,
            Summed::Lost => self.lost,
            Summed::Steps => self.steps,
        }
    }

    /// Every count with its name, for a file.
    pub(super) fn each(&self, mut tell: impl FnMut(&str, u64)) {
        for what in Summed::ALL {
            tell(what.words(), self.summed(what));
        }
        for (kind, count) in FaultKind::ALL.iter().zip(self.faults) {
            tell(&format!("{kind:?}"), count);
        }
        for (state, count) in STATES.iter().zip(self.states) {
            tell(&state.replace(' ', "-"), count);
        }
    }

    /// Sets a count by the name that it has in a file; `None` if there is no such count.
    pub(super) fn put(&mut self, name: &str, count: u64) -> Option<()> {
        let summed = Summed::ALL.into_iter().find(|what| what.words() == name);
        let place = match summed {
            Some(Summed::Messages) => &mut self.messages,
            Some(Summed::Deliveries) => &mut self.deliveries,
            Some(Summed::Acks) => &mut self.acks,
            Some(Summed::Recoveries) => &mut self.recoveries,
            Some(Summed::Excused) => &mut self.excused,
            Some(Summed::SharedQueues) => &mut self.shared_queues,
            Some(Summed::Failovers) => &mut self.failovers,
            Some(Summed::Redeliveries) => &mut self.redeliveries,
            Some(Summed::Forgiven) => &mut self.forgiven,
            Some(Summed::Shared) => &mut self.shared,
            Some(Summed::Stranded) => &mut self.stranded,
            Some(Summed::Lost) => &mut self.lost,
            Some(Summed::Steps) => &mut self.steps,
            None => {
                let fault = FaultKind::ALL.iter().position(|kind| format!("{kind:?}") == name);
                let state = STATES.iter().position(|state| state.replace(' ', "-") == name);
                match (fault, state) {
                    (Some(at), _) => &mut self.faults[at],
                    (None, Some(at)) => &mut self.states[at],
                    (None, None) => return None,
                }
            }
        };
        *place = count;
        Some(())
    }

    /// Notes that a fault took effect.
    pub fn fired(&mut self, kind: FaultKind) {
        self.faults[kind as usize] += 1;
    }

    /// Notes the state of a session.
    pub fn met(&mut self, state: &str) {
        if let Some(at) = STATES.iter().position(|known| *known == state) {
            self.states[at] += 1;
        }
    }

    /// The first of these faults, or state, that never occurred.
    pub fn hole(&self, kinds: &[FaultKind]) -> Option<String> {
        let fault = FaultKind::ALL.iter().zip(self.faults);
        let fault = fault.into_iter().find(|(kind, count)| *count == 0 && kinds.contains(kind));
        let state = STATES.iter().zip(self.states).find(|(_, count)| *count == 0);
        fault
            .map(|(kind, _)| format!("the fault {kind:?} never took effect"))
            .or_else(|| state.map(|(name, _)| format!("no session was ever {name}")))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faults: ")?;
        for (kind, count) in FaultKind::ALL.iter().zip(self.faults).filter(|(_, count)| *count > 0) {
            write!(f, " {kind:?} {count}")?;
        }
        write!(f, "\nstates: ")?;
        for (name, count) in STATES.iter().zip(self.states) {
            write!(f, " {name} {count}")?;
        }
        write!(f, "\ncounted:")?;
        Summed::ALL.into_iter().try_for_each(|what| write!(f, " {} {}", what.words(), self.summed(what)))
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as numbered in the architecture.
    pub promise: &'static str,
    /// When, in virtual time.
    pub at: Time,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {:?}: {}", self.promise, self.at, self.text)
    }
}

/// How one seed went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// What was reached.
    pub coverage: Coverage,
    /// A digest of everything that happened, every byte included.
    pub digest: u64,
    /// What happened last, if it was asked for.
    pub trace: Vec<String>,
}
