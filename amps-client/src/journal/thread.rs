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
        last = shared.step(&mut shared.worker(), interval_over);
        shared.tell();
    }
}

/// Waits until there is something to do, or may be. Returns whether the interval of the policy is over, or
/// `None` if the journal is being closed.
fn wait<O: Owner>(shared: &Shared<O>, last: Step, unsynced_since: &mut Option<Instant>) -> Option<bool> {
    let mut core = shared.lock();
    core.looked_at = core.written.position;
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
            let how = if deadline.is_some() { Asleep::UntilForced } else { Asleep::Idle };
            core = sleep(shared, core, how, deadline);
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
        Asleep::Idle | Asleep::UntilForced => !core.pending.is_empty(),
        Asleep::Lingering => core.pending.len() >= BURST,
    };
    wake(shared, core, needed);
}

/// After somebody else has written, or has tried: the thread forces it when it is time, looks whether
/// the file should be written anew, and tries again what failed.
pub(super) fn wake_after_write<O>(shared: &Shared<O>, core: &mut Core<O>, step: Step) {
    let much = core.written.position >= core.looked_at + shared.rewrite_above.min(BURST as u64);
    let forces = matches!(shared.policy, SyncPolicy::Interval(_));
    let needed = match core.asleep {
        Asleep::No | Asleep::Lingering => false,
        Asleep::Idle => forces || much || step == Step::Failed,
        Asleep::UntilForced => much || step == Step::Failed,
    };
    wake(shared, core, needed);
}

fn wake<O>(shared: &Shared<O>, core: &mut Core<O>, needed: bool) {
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
