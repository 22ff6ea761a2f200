//! The thread of a journal: it takes the steps, waits in between, and alone reads a clock.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::committer::{Shared, Step};
use super::core::{Asleep, BURST, Core, Owner};
use crate::publish_store::SyncPolicy;

/// How long the first message of a burst waits for others, unless it has to be on the disk before anything
/// else happens. Otherwise each would be a write and a wake-up of its own.
const LINGER: Duration = Duration::from_micros(250);

/// How long it is until a disk that refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a thread does until the journal is closed.
pub(super) fn run<O: Owner>(shared: &Shared<O>) {
    let _end = End(shared);
    let mut last = Step::Done;
    let mut unsynced_since = None;
    while let Some(interval_over) = wait(shared, last, &mut unsynced_since) {
        let news = {
            let mut worker = shared.worker();
            last = shared.step(&mut worker, interval_over);
            std::mem::take(&mut worker.news)
        };
        shared.tell(news);
    }
}

/// Waits until there is something to do, or may be. Returns whether the interval of the policy is over, or
/// `None` if the journal is being closed.
fn wait<O: Owner>(shared: &Shared<O>, last: Step, unsynced_since: &mut Option<Instant>) -> Option<bool> {
    let mut core = shared.lock();
    let deadline = match shared.policy {
        SyncPolicy::Interval(interval) if core.written.position > core.synced.position => {
            unsynced_since.get_or_insert_with(Instant::now).checked_add(interval)
        }
        _ => {
            *unsynced_since = None;
            None
        }
    };
    match last {
        Step::Failed => core = sleep(shared, core, Asleep::No, Some(Instant::now() + RETRY)),
        Step::Nothing if !core.has_unwritten() && !core.demands_sync() => {
            core = sleep(shared, core, Asleep::Idle, deadline);
        }
        Step::Nothing | Step::Done => {}
    }
    let may_linger = shared.policy != SyncPolicy::EveryWrite && core.writing.is_empty();
    if may_linger && !core.pending.is_empty() && core.pending.len() < BURST {
        core = sleep(shared, core, Asleep::Lingering, Some(Instant::now() + LINGER));
    }
    let closing = core.closing;
    drop(core);
    (!closing).then(|| deadline.is_some_and(|deadline| Instant::now() >= deadline))
}

/// Sleeps until woken, or until then.
fn sleep<'a, O>(
    shared: &Shared<O>,
    mut core: MutexGuard<'a, Core<O>>,
    how: Asleep,
    until: Option<Instant>,
) -> MutexGuard<'a, Core<O>> {
    core.asleep = how;
    while !core.closing && core.asleep == how {
        core = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => break,
            Some(left) => shared.work.wait_timeout(core, left).unwrap_or_else(PoisonError::into_inner).0,
            None => shared.work.wait(core).unwrap_or_else(PoisonError::into_inner),
        };
    }
    core.asleep = Asleep::No;
    core
}

/// After something was appended.
pub(super) fn wake_if_needed<O>(shared: &Shared<O>, core: &mut Core<O>) {
    let needed = match core.asleep {
        Asleep::No => false,
        Asleep::Idle => !core.pending.is_empty(),
        Asleep::Lingering => core.pending.len() >= BURST,
    };
    if needed {
        core.asleep = Asleep::No;
        shared.work.notify_one();
    }
}

/// However the thread ends, nobody waits for it any longer.
struct End<'a, O: Owner>(&'a Shared<O>);

impl<O: Owner> Drop for End<'_, O> {
    fn drop(&mut self) {
        let mut core = self.0.lock();
        core.no_thread = true;
        core.telling = false;
        drop(core);
        self.0.settled.notify_all();
    }
}
