//! Draws a run from a seed: servers, clients and their stores, the network, the faults.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::simulation::{Bugs, SimConfig};
use amps_client::{Reconnect, SyncPolicy};
use amps_testkit::sim::{Chunking, LinkSettings, Plan, Rng};
use amps_testkit::{Config, DestinationConfig, QueueConfig, SyncMode};
use amps_transport::Time;

use super::super::report::FaultKind;

/// Messages for the replays.
pub(super) const TOPIC: &str = "orders";
/// Messages for the queue.
pub(super) const JOBS: &str = "jobs";
pub(super) const QUEUE: &str = "work";
/// Nobody may publish here.
pub(super) const FORBIDDEN: &str = "/AMPS/orders";
pub(super) const PORT: u16 = 9007;
pub(super) const LINK_PORT: u16 = 9100;
pub(super) const NAMES: [&str; 2] = ["a", "b"];

const MILLI: Duration = Duration::from_millis(1);

/// Faults that any run may have.
const COMMON: [FaultKind; 15] = [
    FaultKind::CutFin,
    FaultKind::CutReset,
    FaultKind::HalfOpen,
    FaultKind::Stall,
    FaultKind::SlowLink,
    FaultKind::Refused,
    FaultKind::Blackholed,
    FaultKind::LogonRefused,
    FaultKind::MuteServer,
    FaultKind::NameInUse,
    FaultKind::ClockJump,
    FaultKind::CutAll,
    FaultKind::ServerKilled,
    FaultKind::PublishRefused,
    FaultKind::ClientKilled,
];

/// The faults of this play.
pub(crate) const FAULTS: [FaultKind; 21] = [
    FaultKind::CutFin,
    FaultKind::CutReset,
    FaultKind::HalfOpen,
    FaultKind::Stall,
    FaultKind::SlowLink,
    FaultKind::Refused,
    FaultKind::Blackholed,
    FaultKind::LogonRefused,
    FaultKind::MuteServer,
    FaultKind::NameInUse,
    FaultKind::ClockJump,
    FaultKind::CutAll,
    FaultKind::ServerKilled,
    FaultKind::ServerLost,
    FaultKind::LinkPaused,
    FaultKind::LinkDown,
    FaultKind::LinkLag,
    FaultKind::Downgraded,
    FaultKind::ClientKilled,
    FaultKind::PowerCut,
    FaultKind::PublishRefused,
];

/// What a client keeps something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Memory,
    File(SyncPolicy),
}

impl Store {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 | 1 => Self::Memory,
            2 => Self::File(SyncPolicy::Never),
            3 => Self::File(SyncPolicy::Interval(rng.span(MILLI, 300 * MILLI))),
            _ => Self::File(SyncPolicy::EveryWrite),
        }
    }
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
    Worker,
    /// Logs on under somebody else's name.
    Impostor,
}

/// How one client is set up.
#[derive(Clone, Debug)]
pub(super) struct MemberPlan {
    pub(super) role: Role,
    pub(super) config: SimConfig,
    pub(super) publishes: Option<Store>,
    pub(super) bookmarks: Option<Store>,
    pub(super) strict: bool,
    pub(super) retry: bool,
    /// So many bytes fit into its socket at a time.
    pub(super) socket: Option<usize>,
    /// Replays, or the backlog of a worker.
    pub(super) wants: u32,
    /// Nothing is delivered before both servers have it.
    pub(super) fully_durable: bool,
    /// A subscription begins with the first message, or where it left off.
    pub(super) from: &'static str,
    /// How many messages it publishes.
    pub(super) messages: u32,
    /// How long its store's thread takes to do anything.
    pub(super) disk_pace: Duration,
    /// How long it takes over one message.
    pub(super) work: Duration,
}

/// What is fixed before a run begins.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) start: Time,
    pub(super) servers: Vec<Config>,
    pub(super) members: Vec<MemberPlan>,
    pub(super) has_queue: bool,
    /// Who survives a server takes over what it left in the queue (server.md Q-73).
    pub(super) takes_over: bool,
    /// How the links of a pair begin.
    pub(super) mode: SyncMode,
    pub(super) links: LinkSettings,
    pub(super) plan: Plan<FaultKind>,
    /// Publishers are done with it within this time, if nothing stands in the way.
    pub(super) publish_within: Duration,
    pub(super) patience: Duration,
}

impl Setup {
    /// Whether the queue is on a pair.
    pub(super) fn shares_queue(&self) -> bool {
        self.has_queue && self.servers.len() > 1
    }
}

impl Setup {
    pub(super) fn draw(rng: &mut Rng, bugs: Bugs) -> Self {
        let start = Time::EPOCH + Duration::from_secs(1_700_000_000);
        let pair = rng.chance(50);
        let loses = rng.chance(30);
        let has_queue = rng.chance(60);
        let takes_over = pair && has_queue && rng.chance(50);
        let lease = rng.span(1500 * MILLI, 4000 * MILLI);
        let mode = if rng.chance(20) { SyncMode::Async } else { SyncMode::Sync };
        let ack_conflation = rng.span(5 * MILLI, 400 * MILLI);
        let written_after = if rng.chance(20) { rng.span(MILLI, 50 * MILLI) } else { Duration::ZERO };
        let backlog = rng.between(1, 20) as u32;
        let server = |at: usize| {
            let other = NAMES[1 - at];
            let queue = QueueConfig::new(QUEUE).underlying(JOBS).lease(lease).max_backlog(backlog);
            Config {
                instance: NAMES[at].into(),
                destinations: match pair {
                    true => {
                        vec![DestinationConfig::new(other).address(format!("{other}:{LINK_PORT}")).mode(mode)]
                    }
                    false => Vec::new(),
                },
                early_accept: !pair,
                log_flush_interval: written_after,
                ack_conflation,
                queues: if has_queue { vec![queue] } else { Vec::new() },
                ..Config::default()
            }
        };
        let servers = (0..1 + usize::from(pair)).map(server).collect();
        let strict = !loses && rng.chance(30);
        let members = members(rng, bugs, pair, loses, has_queue, strict);
        let mut kinds = COMMON.to_vec();
        if loses {
            kinds.push(FaultKind::ServerLost);
        }
        if pair {
            kinds.extend([
                FaultKind::LinkPaused,
                FaultKind::LinkDown,
                FaultKind::LinkLag,
                FaultKind::Downgraded,
            ]);
            kinds.extend([FaultKind::ServerKilled; 2]);
        }
        let is_file = |store: Option<Store>| matches!(store, Some(Store::File(_)));
        if members.iter().any(|member| is_file(member.publishes) || is_file(member.bookmarks)) {
            kinds.extend([FaultKind::PowerCut, FaultKind::ClientKilled, FaultKind::ClientKilled]);
        }
        let (count, span) = (rng.between(4, 9) as usize, 5000 * MILLI);
        let plan = Plan::draw(rng, &kinds, count, start + 200 * MILLI, span, 1500 * MILLI);
        Self {
            start,
            servers,
            members,
            has_queue,
            takes_over,
            mode,
            links: links(rng),
            plan,
            publish_within: 5300 * MILLI,
            patience: Duration::from_secs(90),
        }
    }
}

fn members(rng: &mut Rng, bugs: Bugs, pair: bool, loses: bool, queue: bool, strict: bool) -> Vec<MemberPlan> {
    let mut members = Vec::new();
    let plain = |rng: &mut Rng, role: Role, name: String| {
        let longest = *rng.pick(&[20 * MILLI, 400 * MILLI]).unwrap_or(&MILLI);
        MemberPlan {
            role,
            config: config(rng, name, pair, bugs),
            publishes: None,
            bookmarks: None,
            strict,
            retry: rng.chance(50),
            socket: rng.chance(40).then(|| rng.between(60, 600) as usize),
            wants: 1,
            fully_durable: rng.chance(20),
            from: if rng.chance(70) { "recent" } else { "0" },
            messages: 0,
            disk_pace: *rng.pick(&[MILLI / 4, MILLI, 20 * MILLI, 120 * MILLI]).unwrap_or(&MILLI),
            work: rng.span(Duration::ZERO, longest),
        }
    };
    for number in 0..rng.between(1, 2) {
        let mut member = plain(rng, Role::Publisher, format!("publisher-{number}"));
        // Numbers that a server makes are used again when it has lost its log.
        if number == 0 || loses || rng.chance(60) {
            member.publishes = Some(Store::draw(rng));
        }
        member.messages = rng.between(15, 60) as u32;
        members.push(member);
    }
    for number in 0..rng.between(1, 2) {
        let mut member = plain(rng, Role::Subscriber, format!("subscriber-{number}"));
        member.bookmarks = Some(Store::draw(rng));
        member.wants = rng.between(1, 3) as u32;
        members.push(member);
    }
    for number in 0..if queue { rng.between(1, 2 + u64::from(pair)) } else { 0 } {
        let mut member = plain(rng, Role::Worker, format!("worker-{number}"));
        member.publishes = rng.chance(70).then(|| Store::draw(rng));
        member.wants = *rng.pick(&[1, 3, 10]).unwrap_or(&1);
        member.work = member.work.min(Duration::from_millis(500) / member.wants);
        members.push(member);
    }
    members
}

fn config(rng: &mut Rng, name: String, pair: bool, bugs: Bugs) -> SimConfig {
    let mut servers: Vec<String> =
        NAMES.iter().map(|host| format!("tcp://{host}:{PORT}/amps/json")).collect();
    servers.truncate(1 + usize::from(pair));
    if pair && rng.chance(30) {
        servers.reverse();
    }
    SimConfig {
        name,
        servers,
        reconnect: Some(
            Reconnect::new()
                .initial(rng.span(20 * MILLI, 200 * MILLI))
                .max(rng.span(300 * MILLI, 2000 * MILLI)),
        ),
        heartbeat: rng.chance(60).then(|| Duration::from_secs(rng.between(1, 2))),
        ack_batch_size: *rng.pick(&[1, 2, 5, 30]).unwrap_or(&1),
        ack_timeout: rng.span(30 * MILLI, 600 * MILLI),
        send_limit: 1 << 20,
        seed: rng.next_u64(),
        bugs,
    }
}

fn links(rng: &mut Rng) -> LinkSettings {
    let chunking = match rng.below(10) {
        0..=1 => Chunking::UpTo(rng.between(20, 400) as usize),
        _ => Chunking::Whole,
    };
    let fastest = rng.span(Duration::from_micros(10), MILLI);
    LinkSettings {
        fastest,
        slowest: fastest + rng.span(Duration::ZERO, 20 * MILLI),
        chunking,
        window: *rng.pick(&[700, 4 << 10, 64 << 10]).unwrap_or(&(64 << 10)),
        nanos_per_byte: if rng.chance(20) { rng.between(10, 1000) } else { 0 },
    }
}
