//! Draws a scenario from a seed: the queue, the clients, the network, the faults.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_client::Reconnect;
use amps_client::simulation::{Bugs, SimConfig};
use amps_testkit::sim::{Chunking, LinkSettings, Plan, Rng};
use amps_testkit::{Config, Engine, Fairness, Leasing, Observe, QueueConfig};
use amps_transport::Time;

use super::model::Style;
use super::report::FaultKind;

pub(super) const QUEUE: &str = "work";
/// A topic on which nothing is published.
pub(super) const SIDE: &str = "aside";
pub(super) const HOST: &str = "server";
pub(super) const PORT: u16 = 9007;

const MILLI: Duration = Duration::from_millis(1);

/// What is fixed before a run begins.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) start: Time,
    /// How many messages are published.
    pub(super) messages: u32,
    /// Where they are published to.
    pub(super) topic: &'static str,
    pub(super) lease: Duration,
    /// Messages may expire after some unsuccessful deliveries.
    pub(super) may_expire: bool,
    /// Only the holder of a lease may acknowledge.
    pub(super) strict: bool,
    pub(super) workers: usize,
    pub(super) links: LinkSettings,
    pub(super) plan: Plan<FaultKind>,
    /// Between two turns of the publisher.
    pub(super) pace: Duration,
    /// Bytes of padding in a body, at most.
    pub(super) padding: u64,
    /// When everything has to be done, after the last fault.
    pub(super) patience: Duration,
}

impl Setup {
    pub(super) fn draw(rng: &mut Rng) -> (Self, Config) {
        let start = Time::EPOCH + Duration::from_secs(1_700_000_000);
        let over_topic = rng.chance(50);
        let topic = if over_topic { "flights" } else { QUEUE };
        let lease = rng.span(2000 * MILLI, 4000 * MILLI);
        let fairness = *rng
            .pick(&[Fairness::Fast, Fairness::RoundRobin, Fairness::Proportional])
            .unwrap_or(&Fairness::Fast);
        let (may_expire, strict) = (rng.chance(15), rng.chance(50));
        let mut queue = QueueConfig::new(QUEUE)
            .underlying(topic)
            .lease(lease)
            .max_backlog(rng.between(1, 30) as u32)
            .fairness(fairness)
            .leasing(if strict { Leasing::Strict } else { Leasing::Sublet });
        if may_expire {
            queue = queue.max_deliveries(rng.between(3, 6) as u32);
        }
        if rng.chance(25) {
            queue = queue.total_backlog(rng.between(5, 40) as usize);
        }
        let config = Config { queues: vec![queue], ..Config::default() };
        let (count, span) = (rng.between(4, 9) as usize, 5000 * MILLI);
        let plan = Plan::draw(rng, &FaultKind::WORKERS, count, start + 300 * MILLI, span, 1500 * MILLI);
        let setup = Self {
            start,
            messages: rng.between(200, 300) as u32,
            topic,
            lease,
            may_expire,
            strict,
            workers: rng.between(2, 4) as usize,
            links: links(rng),
            plan,
            pace: *rng.pick(&[20 * MILLI, 60 * MILLI, 200 * MILLI, 600 * MILLI]).unwrap_or(&MILLI),
            padding: *rng.pick(&[0, 0, 100, 600]).unwrap_or(&0),
            patience: Duration::from_secs(90),
        };
        (setup, config)
    }
}

fn links(rng: &mut Rng) -> LinkSettings {
    let chunking = match rng.below(10) {
        0 => Chunking::UpTo(rng.between(8, 40) as usize),
        1..=3 => Chunking::UpTo(rng.between(40, 2000) as usize),
        _ => Chunking::Whole,
    };
    let fastest = rng.span(Duration::from_micros(10), MILLI);
    LinkSettings {
        fastest,
        slowest: fastest + rng.span(Duration::ZERO, 20 * MILLI),
        chunking,
        window: *rng.pick(&[700, 4 << 10, 64 << 10, 256 << 10]).unwrap_or(&(64 << 10)),
        nanos_per_byte: if rng.chance(20) { rng.between(10, 2000) } else { 0 },
    }
}

/// An engine that reports nothing: the referees read the wire.
///
/// # Errors
/// The configuration contradicts itself, as text.
pub(super) fn engine(config: Config) -> Result<Engine, String> {
    let mut engine = Engine::new(config).map_err(|error| error.to_string())?;
    engine.set_observe(Observe::Nothing);
    Ok(engine)
}

/// How one client is set up.
#[derive(Clone, Debug)]
pub(super) struct ClientPlan {
    pub(super) config: SimConfig,
    pub(super) style: Style,
    /// What it asks for.
    pub(super) backlog: u32,
    /// How long it takes over one message.
    pub(super) work: Duration,
}

impl ClientPlan {
    pub(super) fn draw(rng: &mut Rng, name: String, bugs: Bugs) -> Self {
        let style = match rng.below(3) {
            0 => Style::Handler { fails: *rng.pick(&[0, 0, 5, 20]).unwrap_or(&0) },
            1 => Style::Stream,
            _ => Style::Threads,
        };
        let config = SimConfig {
            name,
            servers: vec![format!("tcp://{HOST}:{PORT}/amps/json")],
            reconnect: Some(
                Reconnect::new()
                    .initial(rng.span(20 * MILLI, 200 * MILLI))
                    .max(rng.span(300 * MILLI, 2000 * MILLI)),
            ),
            heartbeat: rng.chance(60).then(|| Duration::from_secs(rng.between(1, 2))),
            ack_batch_size: *rng.pick(&[0, 1, 2, 5, 10, 30, 100]).unwrap_or(&1),
            ack_timeout: rng.span(30 * MILLI, 1000 * MILLI),
            send_limit: 1 << 20,
            seed: rng.next_u64(),
            bugs,
        };
        let backlog = *rng.pick(&[1, 2, 5, 10, 20, 50]).unwrap_or(&1);
        // A full backlog is worked off well within a lease.
        let longest = Duration::from_millis(600) / backlog.min(30);
        Self { config, style, backlog, work: rng.span(Duration::ZERO, longest) }
    }
}
