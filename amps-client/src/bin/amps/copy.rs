//! The second server of `--copy`.
//!
//! Owns the publishing to a server that may refuse: to one that gets copies, and to the one of `publish` itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amps_client::{Error, MemoryPublishStore};

use crate::connection::{Link, PATIENCE, Wish};
use crate::failure::{Failure, REFUSED};
use crate::options::Connection;
use crate::stop::Stop;

/// Bytes that may wait for the server to persist them.
const KEPT: u64 = 64 << 20;
/// How often the server says what it has persisted. Left to itself it takes a second, for which a short run would wait.
const TOLD_EVERY: Duration = Duration::from_millis(10);

/// After a reason to stop, the server gets so long to take what was published.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often to look, while the server is awaited, whether that is in vain.
const GLANCE: Duration = Duration::from_millis(100);

/// What a server refused.
#[derive(Clone, Debug, Default)]
struct Refusals {
    count: u64,
    first: String,
}

/// A connection to publish over: every message is known to have arrived, or to be refused.
pub(crate) struct Target {
    link: Link,
    refusals: Arc<Mutex<Refusals>>,
    published: u64,
}

impl Target {
    /// Connects to the servers of `--server`.
    pub(crate) fn open(options: &Connection, stop: &Stop) -> Result<Self, Failure> {
        Self::open_to("--server", &options.server, options, stop)
    }

    fn open_to(
        option: &'static str,
        servers: &[String],
        options: &Connection,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let refusals = Arc::<Mutex<Refusals>>::default();
        let heard = Arc::clone(&refusals);
        let wish = Wish { option, servers, lasting: false, name: None };
        let link = Link::open_with(wish, options, stop, |builder| {
            builder
                .ack_conflation(TOLD_EVERY)
                .publish_store(MemoryPublishStore::new())
                .on_store_growth(KEPT, |_| false)
                .on_failed_write(move |failed| {
                    let mut refusals = lock(&heard);
                    if refusals.count == 0 {
                        refusals.first = failed.reason();
                    }
                    refusals.count += 1;
                })
        })?;
        Ok(Self { link, refusals, published: 0 })
    }

    /// Connects to the server of `--copy`, if there is one.
    pub(crate) fn copy(
        server: Option<&String>,
        options: &Connection,
        stop: &Stop,
    ) -> Result<Option<Self>, Failure> {
        let open = |server: &String| Self::open_to("--copy", std::slice::from_ref(server), options, stop);
        server.map(open).transpose()
    }

    pub(crate) fn publish(&mut self, topic: &str, data: &[u8], delta: bool) -> Result<(), Failure> {
        let client = &self.link.client;
        let sent = if delta { client.delta_publish(topic, data) } else { client.publish(topic, data) };
        sent.map_err(|error| self.link.reason(error))?;
        self.published += 1;
        Ok(())
    }

    /// Waits until the server has dealt with everything, however long that takes it. There is little time after a
    /// reason to stop, among them that `--timeout` is over, and none after a connection was lost that nobody makes
    /// again.
    pub(crate) fn flush(&self, stop: &Stop) -> Result<(), Failure> {
        let client = &self.link.client;
        let mut waiting = Waiting::new(Instant::now());
        loop {
            let unpersisted = client.publish_store().map_or(0, |store| store.unpersisted);
            let hurries = stop.cause().is_some();
            let left = waiting.look(Instant::now(), unpersisted, client.is_connected(), hurries);
            // The store waits for any later connection; that there is none is for this side to know.
            match client.flush(left.min(GLANCE)) {
                Err(Error::TimedOut { .. }) if left > GLANCE && !self.link.is_lost() => {}
                flushed => return flushed.map_err(|error| Failure::from(self.link.reason(error))),
            }
        }
    }

    /// How many messages the server has taken.
    pub(crate) fn accepted(&self) -> u64 {
        self.published.saturating_sub(lock(&self.refusals).count)
    }

    /// What the server refused so far, as a failure.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let refusals = lock(&self.refusals);
        if refusals.count == 0 {
            return Ok(());
        }
        let Refusals { count, first } = &*refusals;
        let text = format!("the server refused {count} of {} messages: {first}", self.published);
        Err(Failure::new(REFUSED, format!("{text}; check the topic, its permissions, and the messages")))
    }

    /// Ends the connection at once: what has not arrived will not.
    pub(crate) fn abandon(&self) {
        self.link.client.abort();
    }

    pub(crate) fn close(&self, stop: &Stop) -> Result<(), Failure> {
        self.link.close(stop)
    }
}

/// How long a server is still waited for. A pure function of what is seen, so that no test has to wait.
#[derive(Debug)]
struct Waiting {
    until: Instant,
    /// The fewest messages that were left.
    fewest: usize,
    hurries: bool,
}

impl Waiting {
    fn new(now: Instant) -> Self {
        Self { until: now + PATIENCE, fewest: usize::MAX, hurries: false }
    }

    /// What is left of the time. It does not run while there is a connection, nor where messages have become fewer,
    /// by a connection that came and went between two looks. With a reason to stop it runs once, whatever happens.
    fn look(&mut self, now: Instant, unpersisted: usize, connected: bool, hurries: bool) -> Duration {
        let progress = unpersisted < self.fewest;
        self.fewest = self.fewest.min(unpersisted);
        if hurries {
            if !std::mem::replace(&mut self.hurries, true) {
                self.until = now + LAST_WORDS;
            }
        } else if progress || connected {
            self.until = now + PATIENCE;
        }
        self.until.saturating_duration_since(now)
    }
}

fn lock(refusals: &Mutex<Refusals>) -> MutexGuard<'_, Refusals> {
    refusals.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_slow_server_is_waited_for_as_long_as_the_connection_lives() {
        let began = Instant::now();
        let mut waiting = Waiting::new(began);
        // An hour for what takes it an hour, and also where nothing is persisted for a while.
        for second in 0..3600 {
            let left = waiting.look(began + SECOND * second, 3600 - second as usize / 100, true, false);
            assert_eq!(left, PATIENCE, "after {second} s");
        }
    }

    #[test]
    fn without_a_connection_time_runs_from_the_last_message_that_was_taken() {
        let began = Instant::now();
        let mut waiting = Waiting::new(began);
        assert_eq!(waiting.look(began, 10, false, false), PATIENCE);
        assert_eq!(waiting.look(began + SECOND * 20, 10, false, false), PATIENCE - SECOND * 20);
        // A connection came and went.
        assert_eq!(waiting.look(began + SECOND * 21, 9, false, false), PATIENCE);
        // What is sent again, or added, is no progress.
        assert_eq!(waiting.look(began + SECOND * 31, 12, false, false), PATIENCE - SECOND * 10);
        assert_eq!(waiting.look(began + SECOND * 41, 9, false, false), PATIENCE - SECOND * 20);
        assert_eq!(waiting.look(began + SECOND * 60, 9, false, false), Duration::ZERO);
    }

    #[test]
    fn a_reason_to_stop_leaves_little_time_whatever_the_server_does() {
        let began = Instant::now();
        let mut waiting = Waiting::new(began);
        assert_eq!(waiting.look(began, 10, true, false), PATIENCE);
        assert_eq!(waiting.look(began + SECOND, 9, true, true), LAST_WORDS);
        assert_eq!(waiting.look(began + SECOND * 2, 8, true, true), LAST_WORDS - SECOND);
        assert_eq!(waiting.look(began + SECOND * 9, 7, true, true), Duration::ZERO);
    }
}
