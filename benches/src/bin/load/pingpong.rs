//! `load pingpong`: how long a message takes from the publish to the subscription of the same client.
//!
//! Owns the rounds. One message is on its way at a time; whatever comes on the topic counts as its return.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use amps_client::{Client, HandlerSubscription, Message};
use serde_json::{Value, json};

use crate::body::Body;
use crate::cli::{Pingpong, Turn};
use crate::failure::Failure;
use crate::meter::rounded;

/// Rounds before those that count.
const WARM_UP: usize = 1000;

/// A message that has not come back by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Pingpong) -> Result<Value, Failure> {
    let client = options.server.connect("pingpong")?;
    let table = Table { client: &client, options };
    let rounds = match options.mode {
        Turn::Inline => table.inline(),
        Turn::Channel => table.channel(),
        Turn::Iterator => table.iterator(),
    }?;
    Ok(rounds.report())
}

/// Where it is played.
struct Table<'a> {
    client: &'a Client,
    options: &'a Pingpong,
}

impl Table<'_> {
    fn inline(&self) -> Result<Rounds, Failure> {
        let (done, finished) = channel();
        let (client, topic) = (self.client.clone(), self.options.server.topic.clone());
        let body = Body::new(self.options.size);
        let mut running = Some(Rounds::new(self.options.n));
        let subscription = self.subscribe(move |_| {
            let Some(rounds) = &mut running else { return Ok(()) };
            let outcome = match rounds.back() {
                true => Ok(running.take()),
                false => {
                    rounds.go();
                    match client.publish(&topic, body.bytes()) {
                        Ok(_) => return Ok(()),
                        Err(error) => Err(error),
                    }
                }
            };
            done.send(outcome)?;
            Ok(())
        })?;
        self.client.publish(&self.options.server.topic, Body::new(self.options.size).bytes())?;
        let outcome = self.wait_for_end(&finished)?;
        // Its client would live as long as the handler.
        subscription.unsubscribe();
        outcome?.ok_or(Failure::Ended)
    }

    fn channel(&self) -> Result<Rounds, Failure> {
        let (back, came): (Sender<()>, Receiver<()>) = channel();
        let subscription = self.subscribe(move |_| Ok(back.send(())?))?;
        let rounds = self.play(|| match came.recv_timeout(PATIENCE) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(self.silence()),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::of_ended(self.client)),
        });
        subscription.unsubscribe();
        rounds
    }

    fn iterator(&self) -> Result<Rounds, Failure> {
        let mut subscription = self.client.subscribe(&self.options.server.topic).start()?;
        self.options.server.ready();
        subscription.set_timeout(Some(PATIENCE));
        self.play(|| match subscription.next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(amps_client::Error::Idle { .. })) => Err(self.silence()),
            Some(Err(error)) => Err(error.into()),
            None => Err(Failure::of_ended(self.client)),
        })
    }

    /// All rounds from this thread.
    fn play(&self, mut until_back: impl FnMut() -> Result<(), Failure>) -> Result<Rounds, Failure> {
        let mut rounds = Rounds::new(self.options.n);
        let body = Body::new(self.options.size);
        loop {
            rounds.go();
            self.client.publish(&self.options.server.topic, body.bytes())?;
            until_back()?;
            if rounds.back() {
                return Ok(rounds);
            }
        }
    }

    fn subscribe(
        &self,
        handler: impl FnMut(&Message<&[u8]>) -> amps_client::HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription, Failure> {
        let subscription = self.client.subscribe(&self.options.server.topic).on_message(handler)?;
        self.options.server.ready();
        Ok(subscription)
    }

    /// Waits while messages come.
    fn wait_for_end<T>(&self, finished: &Receiver<T>) -> Result<T, Failure> {
        let mut delivered = 0;
        loop {
            match finished.recv_timeout(PATIENCE) {
                Ok(outcome) => return Ok(outcome),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::of_ended(self.client)),
                Err(RecvTimeoutError::Timeout) => {
                    let before = std::mem::replace(&mut delivered, self.client.stats().delivered);
                    if delivered == before {
                        return Err(self.silence());
                    }
                }
            }
        }
    }

    fn silence(&self) -> Failure {
        Failure::Silence { topic: self.options.server.topic.clone(), after: PATIENCE }
    }
}

/// What was measured of each round.
#[derive(Debug)]
struct Rounds {
    began: Instant,
    /// Still to warm up.
    cold: usize,
    took: Vec<Duration>,
    wanted: usize,
    /// Processor time: of the process before the rounds that count, then of those.
    cpu: Duration,
}

impl Rounds {
    fn new(wanted: u32) -> Self {
        let wanted = wanted as usize;
        Self {
            began: Instant::now(),
            cold: WARM_UP,
            took: Vec::with_capacity(wanted),
            wanted,
            cpu: Duration::ZERO,
        }
    }

    /// A message is about to be published.
    fn go(&mut self) {
        self.began = Instant::now();
    }

    /// It is back; whether that was the last round.
    fn back(&mut self) -> bool {
        let took = self.began.elapsed();
        if self.cold > 0 {
            self.cold -= 1;
            if self.cold == 0 {
                self.cpu = benches::system::cpu();
            }
            return false;
        }
        self.took.push(took);
        let last = self.took.len() == self.wanted;
        if last {
            self.cpu = benches::system::cpu().saturating_sub(self.cpu);
        }
        last
    }

    fn report(mut self) -> Value {
        self.took.sort_unstable();
        let micros = |time: Duration| rounded(time.as_secs_f64() * 1e6, 3);
        let at = |per_mille| micros(quantile(&self.took, per_mille));
        let rounds = self.took.len().max(1) as f64;
        let total: Duration = self.took.iter().sum();
        json!({
            "p50_us": at(500),
            "p90_us": at(900),
            "p99_us": at(990),
            "p999_us": at(999),
            "mean_us": rounded(total.as_secs_f64() * 1e6 / rounds, 3),
            "max_us": at(1000),
            "cpu_us_per_round": rounded(self.cpu.as_secs_f64() * 1e6 / rounds, 3),
        })
    }
}

/// The smallest value that so many of a thousand do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let sorted: Vec<Duration> = (1..=10).map(Duration::from_micros).collect();
        let at = |per_mille| quantile(&sorted, per_mille).as_micros();
        assert_eq!((at(500), at(900), at(990), at(1000)), (5, 9, 10, 10));
        assert_eq!(quantile(&sorted[..1], 500), sorted[0]);
        assert_eq!(quantile(&[], 500), Duration::ZERO);
    }

    #[test]
    fn rounds_that_warm_up_do_not_count() {
        let mut rounds = Rounds::new(2);
        for _ in 0..=WARM_UP {
            assert!(!rounds.back());
        }
        assert!(rounds.back());
        assert_eq!(rounds.took.len(), 2);
    }
}
