//! The thread on which server choosers and delay strategies run.
//!
//! One for each client that has either: what happened is told in order, and answers come back to
//! the session as notes. It ends with its client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::builder::parse_server;
use crate::client::Inner;
use crate::dispatcher::panic_text;
use crate::error::{Error, Result};
use crate::reconnect::{Reconnect, Rng};
use crate::server_chooser::{ConnectionInfo, DelayStrategy, ServerChooser};
use crate::session::{Advice, Note};

/// What a session tells, or asks.
#[derive(Debug)]
pub(crate) enum News {
    /// Which server is next, and after which wait? The answer bears this number.
    Next(u64),
    /// An attempt failed, or a connection was lost.
    Failed(Error, ConnectionInfo),
    /// A logon succeeded.
    Succeeded(ConnectionInfo),
    /// It has held for a while.
    Stable,
    /// The application asks to connect: nothing that failed before counts.
    Anew,
}

/// The session's end of it.
pub(crate) struct Advisor(Sender<News>);

impl Advisor {
    /// Starts the thread, which answers whoever `client` is then.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(
        chooser: Box<dyn ServerChooser>,
        strategy: Box<dyn DelayStrategy>,
        client: Arc<OnceLock<Weak<Inner>>>,
    ) -> Result<Self> {
        let (sender, news) = channel();
        std::thread::Builder::new()
            .name("amps-chooser".into())
            .spawn(move || run(&*chooser, strategy, &news, &client))
            .map_err(|error| Error::EventLoop(Arc::new(error)))?;
        Ok(Self(sender))
    }

    pub(crate) fn tell(&self, news: News) {
        // It ends only when its sender does.
        let _ = self.0.send(news);
    }
}

fn run(
    chooser: &dyn ServerChooser,
    mut strategy: Box<dyn DelayStrategy>,
    news: &Receiver<News>,
    client: &OnceLock<Weak<Inner>>,
) {
    // Of a call that nobody waits for: whoever asks next is told.
    let mut panicked = None;
    for news in news {
        let number = if let News::Next(number) = news { Some(number) } else { None };
        let outcome = catch_unwind(AssertUnwindSafe(|| act(chooser, &mut *strategy, news)));
        let advice = match outcome {
            Ok(None) => continue,
            Ok(Some(advice)) => panicked.take().map_or(advice, Err),
            Err(panic) => {
                let error = Error::NoServer { reason: format!("a policy panicked: {}", panic_text(panic)) };
                if number.is_none() {
                    panicked = Some(error);
                    continue;
                }
                Err(error)
            }
        };
        let Some(inner) = client.get().and_then(Weak::upgrade) else { return };
        inner.handle.post(Note::Advised { number: number.unwrap_or_default(), advice: Box::new(advice) });
    }
}

fn act(chooser: &dyn ServerChooser, strategy: &mut dyn DelayStrategy, news: News) -> Option<Result<Advice>> {
    match news {
        News::Failed(error, info) => chooser.report_failure(&error, &info),
        News::Succeeded(info) => chooser.report_success(&info),
        News::Stable | News::Anew => strategy.reset(),
        News::Next(_) => return Some(next(chooser, strategy)),
    }
    None
}

fn next(chooser: &dyn ServerChooser, strategy: &mut dyn DelayStrategy) -> Result<Advice> {
    let Some(server) = chooser.current() else { return Err(Error::NoServer { reason: chooser.error() }) };
    let (uri, authenticator) = server.into_parts();
    let endpoint = parse_server(&uri)?;
    let wait = strategy.wait(&endpoint.to_string()).map_err(|reason| Error::NoServer { reason })?;
    Ok(Advice { endpoint, wait, authenticator })
}

/// A reconnect policy as a strategy, beside a server chooser.
pub(crate) struct PolicyDelay {
    policy: Reconnect,
    rng: Rng,
    /// Attempts per server since the last stable logon.
    tried: FxHashMap<String, u32>,
    began: Option<Instant>,
}

impl PolicyDelay {
    pub(crate) fn new(policy: Reconnect, seed: u64) -> Self {
        Self { policy, rng: Rng(seed), tried: FxHashMap::default(), began: None }
    }
}

impl DelayStrategy for PolicyDelay {
    fn wait(&mut self, server: &str) -> std::result::Result<Duration, String> {
        let lasts = self.began.get_or_insert_with(Instant::now).elapsed();
        if let Some(limit) = self.policy.give_up_after.filter(|limit| lasts >= *limit) {
            return Err(format!("no server could be used for {limit:?}"));
        }
        let tried = self.tried.entry(server.to_owned()).or_default();
        let wait = self.policy.wait(*tried, self.rng.unit());
        *tried = tried.saturating_add(1);
        Ok(wait)
    }

    fn reset(&mut self) {
        self.tried.clear();
        self.began = None;
    }
}
