//! Publishes the records; and after a lost connection, once more those that nobody has
//! processed: a server that came back without its log has forgotten them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use amps_client::{Client, ConnectionState, Reconnect};

use crate::BoxError;
use crate::ledger::Ledger;

/// A server that does not answer in this time is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Enough records that every worker gets some.
const ENCORE: usize = 500;
const ENCORE_EVERY: Duration = Duration::from_millis(300);

/// How often the feeder looks whether it has to publish again.
const PAUSE: Duration = Duration::from_millis(50);

/// The feeder's connection, and how often it was made.
pub(crate) struct Feeder {
    client: Client,
    logons: Arc<AtomicU64>,
}

impl Feeder {
    /// Connects. The first to do so: a server that cannot be reached is found here.
    pub(crate) fn connect(servers: &[String]) -> Result<Self, BoxError> {
        let logons = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&logons);
        let client = Client::builder("queue-worker-feeder")
            .servers(servers)
            .connect_deadline(CONNECT_WITHIN)
            .reconnect(Reconnect::new().initial(Duration::from_millis(50)).max(Duration::from_secs(2)))
            .on_state(move |state| {
                if state == ConnectionState::LoggedOn {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            })
            .connect()?;
        Ok(Self { client, logons })
    }

    /// Publishes on a thread of its own until the run is over.
    pub(crate) fn start(
        self,
        topic: &str,
        records: Vec<&'static str>,
        ledger: &Arc<Ledger>,
    ) -> JoinHandle<Result<(), BoxError>> {
        let (topic, ledger) = (topic.to_owned(), Arc::clone(ledger));
        spawn(move || feed(&self.client, &topic, &records, &ledger, &self.logons))
    }
}

fn feed(
    client: &Client,
    topic: &str,
    records: &[&str],
    ledger: &Ledger,
    logons: &AtomicU64,
) -> Result<(), BoxError> {
    // The connection by which everything unprocessed was published, from start to end.
    let mut complete_on = None;
    let mut encore: Option<Instant> = None;
    while !ledger.is_stopped() {
        let connection = logons.load(Ordering::SeqCst);
        if client.is_connected() && complete_on != Some(connection) {
            let all = publish_unprocessed(client, topic, records, ledger);
            if all && logons.load(Ordering::SeqCst) == connection {
                complete_on = Some(connection);
            }
        }
        if ledger.wants_encore() && encore.is_none_or(|last| last.elapsed() > ENCORE_EVERY) {
            // Work that is done already, once more, so that a lease can be held till its end.
            encore = Some(Instant::now());
            for record in &records[..ENCORE] {
                let _ = client.publish(topic, record);
            }
        }
        ledger.wait_for_activity(ledger.activity(), PAUSE);
    }
    client.close()?;
    Ok(())
}

/// `false` if the connection was lost on the way.
fn publish_unprocessed(client: &Client, topic: &str, records: &[&str], ledger: &Ledger) -> bool {
    for (index, record) in records.iter().enumerate() {
        let id = index + 1;
        if ledger.is_processed(id) {
            continue;
        }
        if client.publish(topic, record).is_err() {
            return false;
        }
        ledger.published(id);
    }
    // Written is not received: let the server confirm.
    client.flush(Duration::from_secs(30)).is_ok()
}
