//! The command line.

use clap::Parser;

/// Publishes 20,000 flight records into a queue and works them off with four workers, while
/// connections are cut, a lease expires and messages are given back. Prints a table per worker
/// and one line that sums up. Exit status 0 only if nothing was lost and every fault was met.
#[derive(Debug, Parser)]
#[command(name = "queue_worker", version)]
pub(crate) struct Options {
    /// An AMPS server to use instead of the fake one inside, as a connection string such as
    /// tcp://user:password@localhost:9007/amps/json. Give several for failover. The server needs
    /// the queue and the topic below, with a lease period.
    #[arg(long, value_name = "URI")]
    pub(crate) server: Vec<String>,

    /// The queue that the workers consume.
    #[arg(long, default_value = "flight-work", value_name = "NAME")]
    pub(crate) queue: String,

    /// The topic that the records are published to and that the queue collects.
    #[arg(long, default_value = "flights", value_name = "NAME")]
    pub(crate) topic: String,

    /// How many of the 20,000 records to use.
    #[arg(long, default_value_t = 20_000, value_parser = record_count, value_name = "COUNT")]
    pub(crate) records: usize,

    /// How many workers to start: the first is plain, the second is cut off twice, the third
    /// gives messages back, the fourth lets a lease expire, further ones are plain.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(4..=64), value_name = "COUNT")]
    pub(crate) workers: u32,

    /// Messages that a worker accepts at a time (max_backlog).
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..), value_name = "COUNT")]
    pub(crate) backlog: u32,

    /// Acknowledgements per batch; a third of the backlog is a good start.
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    pub(crate) batch: usize,

    /// Lease period of the fake server inside, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..), value_name = "MS")]
    pub(crate) lease_ms: u64,

    /// Seconds without any progress after which the run gives up.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) patience: u64,
}

fn record_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1_000..=20_000) => Ok(count),
        Ok(_) => Err("give a number from 1000 to 20000".into()),
        Err(error) => Err(format!("{error}")),
    }
}
