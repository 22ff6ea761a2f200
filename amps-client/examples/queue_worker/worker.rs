//! One worker: a client that consumes the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use amps_client::{Client, ConnectionState, ErrorKind, HandlerResult, Message, Reconnect, Subscription};
use amps_protocol::Endpoint;
use serde_json::Value;

use crate::BoxError;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::tap::Tap;

/// The canceller gives back every message that comes to it as such a one, up to a limit.
const GIVE_BACK_EVERY: u64 = 25;
const GIVE_BACK_AT_MOST: u64 = 5;

/// The holder sits on this message.
const HOLD_AT: u64 = 40;

/// A lease that ends later than this is not worth waiting for.
const LEASE_WORTH_WAITING: Duration = Duration::from_secs(120);

/// What makes a worker special, and how it consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// An iterator with auto-ack.
    Plain,
    /// The same; its connection is cut twice.
    Cut,
    /// A handler with auto-ack that fails now and then, which gives the message back.
    Canceller,
    /// An iterator that acknowledges by itself, and sits on one message until its lease ends.
    Holder,
}

impl Role {
    fn of(number: u32) -> Self {
        match number {
            2 => Self::Cut,
            3 => Self::Canceller,
            4 => Self::Holder,
            _ => Self::Plain,
        }
    }
}

/// What one worker did.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) processed: u64,
    pub(crate) acknowledged: u64,
    pub(crate) cancelled: u64,
    pub(crate) redelivered: u64,
    pub(crate) reconnects: u64,
}

pub(crate) struct Worker {
    role: Role,
    client: Client,
    taps: Vec<Tap>,
    counts: Arc<Counts>,
    thread: JoinHandle<Result<(), BoxError>>,
}

#[derive(Default)]
struct Counts {
    processed: AtomicU64,
    redelivered: AtomicU64,
    delivered: AtomicU64,
    cancelled: AtomicU64,
    logons: AtomicU64,
}

/// What a worker needs to do its work.
#[derive(Clone)]
struct Bench {
    number: u32,
    ledger: Arc<Ledger>,
    counts: Arc<Counts>,
}

impl Worker {
    pub(crate) fn start(
        options: &Options,
        servers: &[String],
        number: u32,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, BoxError> {
        let counts = Arc::new(Counts::default());
        let mut taps = Vec::new();
        let mut uris = Vec::new();
        for server in servers {
            let endpoint: Endpoint = server.parse()?;
            let tap = Tap::start(&endpoint, number, ledger)?;
            uris.push(tap.uri(&endpoint));
            taps.push(tap);
        }
        let role = Role::of(number);
        let (logons, book) = (Arc::clone(&counts), Arc::clone(ledger));
        let client = Client::builder(format!("queue-worker-{number}"))
            .servers(uris)
            .ack_batch_size(options.batch)
            .ack_timeout(Duration::from_millis(100))
            .reconnect(Reconnect::new().initial(Duration::from_millis(50)).max(Duration::from_secs(2)))
            .on_state(move |state| match state {
                ConnectionState::Resubscribed => _ = logons.logons.fetch_add(1, Ordering::SeqCst),
                ConnectionState::Disconnected if role == Role::Holder => book.release(),
                _ => {}
            })
            .connect()?;
        let work = client.subscribe(&options.queue).max_backlog(options.backlog);
        let bench = Bench { number, ledger: Arc::clone(ledger), counts: Arc::clone(&counts) };
        let thread = match role {
            Role::Plain | Role::Cut => {
                let work = work.auto_ack(true).start()?;
                spawn(move || iterate(work, &bench, work_on))
            }
            Role::Holder => {
                let work = work.start()?;
                spawn(move || iterate(work, &bench, hold_one))
            }
            Role::Canceller => {
                let at_work = bench.clone();
                work.auto_ack(true).on_message(move |message| work_or_fail(&at_work, message))?;
                spawn(move || wait_for_end(&bench))
            }
        };
        Ok(Self { role, client, taps, counts, thread })
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// How often the worker was connected and subscribed again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.counts.logons.load(Ordering::SeqCst).saturating_sub(1)
    }

    /// Cuts the worker's connection; `false` if there is none.
    pub(crate) fn cut(&self) -> bool {
        self.taps.iter().any(Tap::cut)
    }

    pub(crate) fn join(self) -> Result<Row, BoxError> {
        let reconnects = self.reconnects();
        self.thread.join().map_err(|_| "a worker panicked")??;
        // What this worker could not finish goes back to the queue: nothing is lost by it.
        if let Err(error) = self.client.close() {
            if error.kind() != ErrorKind::Unfinished {
                return Err(error.into());
            }
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Ok(Row {
            name: self.client.name().to_owned(),
            role: self.role,
            processed: count(&self.counts.processed),
            acknowledged: self.client.stats().acknowledged,
            cancelled: count(&self.counts.cancelled),
            redelivered: count(&self.counts.redelivered),
            reconnects,
        })
    }
}

/// Reads a subscription until the run is over.
fn iterate(
    mut work: Subscription,
    bench: &Bench,
    mut each: impl FnMut(&Bench, &Message) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    loop {
        match work.next_within(Duration::from_millis(20)) {
            Ok(Some(message)) => each(bench, &message)?,
            Ok(None) if bench.ledger.is_stopped() => return Ok(()),
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for_end(bench: &Bench) -> Result<(), BoxError> {
    while !bench.ledger.is_stopped() {
        bench.ledger.wait_for_activity(bench.ledger.activity(), Duration::from_millis(20));
    }
    Ok(())
}

fn work_on(bench: &Bench, message: &Message) -> Result<(), BoxError> {
    let flight = bench.receive(message)?;
    bench.work(message, &flight)
}

/// Acknowledges by itself, but for one message, on which it sits until the server gives it to
/// somebody else.
fn hold_one(bench: &Bench, message: &Message) -> Result<(), BoxError> {
    let flight = bench.receive(message)?;
    let due = bench.counts.delivered.load(Ordering::Relaxed) >= HOLD_AT;
    if due && !lease_ends_soon(message) {
        bench.ledger.leases_are_endless();
    } else if due && bench.ledger.hold(flight.id) {
        return Ok(());
    }
    bench.work(message, &flight)?;
    message.ack();
    Ok(())
}

fn work_or_fail(bench: &Bench, message: &Message<&[u8]>) -> HandlerResult {
    let flight = bench.receive(message)?;
    let Counts { delivered, cancelled, .. } = &*bench.counts;
    let due = delivered.load(Ordering::Relaxed) % GIVE_BACK_EVERY == 0;
    if due && cancelled.load(Ordering::Relaxed) < GIVE_BACK_AT_MOST {
        cancelled.fetch_add(1, Ordering::Relaxed);
        return Err("not now".into());
    }
    bench.work(message, &flight)
}

/// What a record says.
struct Flight {
    id: usize,
    origin: String,
    delay: i64,
}

impl Bench {
    fn receive<B: AsRef<[u8]>>(&self, message: &Message<B>) -> Result<Flight, BoxError> {
        let flight = parse(message.data())?;
        self.counts.delivered.fetch_add(1, Ordering::Relaxed);
        if self.ledger.delivered(flight.id) > 0 {
            self.counts.redelivered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(flight)
    }

    /// The work on one record.
    fn work<B: AsRef<[u8]>>(&self, message: &Message<B>, flight: &Flight) -> Result<(), BoxError> {
        let bookmark = message.bookmark().ok_or("a queue message without bookmark")?;
        self.ledger.worked(self.number, flight.id, bookmark, &flight.origin, flight.delay);
        self.counts.processed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn parse(data: &[u8]) -> Result<Flight, BoxError> {
    let record: Value = serde_json::from_slice(data)?;
    let id = record["id"].as_u64().ok_or("a record without id")?;
    let origin = record["origin"].as_str().ok_or("a record without origin")?;
    let delay = record["delay"].as_i64().ok_or("a record without delay")?;
    Ok(Flight { id: usize::try_from(id)?, origin: origin.to_owned(), delay })
}

fn lease_ends_soon(message: &Message) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let end = message.lease().and_then(|text| amps_protocol::parse_timestamp(text));
    end.is_some_and(|end| Duration::from_nanos(end) < now + LEASE_WORTH_WAITING)
}
