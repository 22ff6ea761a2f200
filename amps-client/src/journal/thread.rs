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
    let mut unforced = Unforced::default();
    while let Some(interval_over) = wait(shared, last, &mut unforced) {
        unforced.step_began = Some(Instant::now());
        last = shared.step(&mut shared.worker(), interval_over);
        shared.tell();
    }
}

/// Since when something waits to be forced.
#[derive(Debug, Default)]
struct Unforced {
    since: Option<Instant>,
    /// What was forced when it was looked at last.
    synced: u64,
    /// What is forced in a step was written before.
    step_began: Option<Instant>,
}

impl Unforced {
    /// When an interval is over, if anything waits for that.
    fn deadline(&mut self, interval: Duration, written: u64, synced: u64, now: Instant) -> Option<Instant> {
        if written == synced {
            self.since = None;
        } else if synced != self.synced {
            // Callers have written while the rest was forced: for that the interval begins anew.
            self.since = self.step_began;
        }
        self.synced = synced;
        if written == synced {
            return None;
        }
        self.since.get_or_insert(now).checked_add(interval)
    }
}

/// Waits until there is something to do, or may be. Returns whether the interval of the policy is over, or
/// `None` if the journal is being closed.
fn wait<O: Owner>(shared: &Shared<O>, last: Step, unforced: &mut Unforced) -> Option<bool> {
    let mut core = shared.lock();
    core.looked_at = core.written.position;
    let deadline = match shared.policy {
        SyncPolicy::Interval(interval) => {
            let (written, synced) = (core.written.position, core.synced.position);
            unforced.deadline(interval, written.max(synced), synced, Instant::now())
        }
        SyncPolicy::EveryWrite | SyncPolicy::Never => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// BM-25
    #[test]
    fn what_is_written_during_a_force_waits_for_an_interval_of_its_own() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let second = Duration::from_secs(1);
        let mut unforced = Unforced::default();
        assert_eq!(unforced.deadline(second, 100, 100, at(0)), None);
        assert_eq!(unforced.deadline(second, 110, 100, at(10)), Some(at(1010)));
        assert_eq!(unforced.deadline(second, 190, 100, at(500)), Some(at(1010)), "the first write counts");
        unforced.step_began = Some(at(1010));
        // It was forced up to 200, and somebody has written meanwhile.
        assert_eq!(unforced.deadline(second, 220, 200, at(1030)), Some(at(2010)));
        assert_eq!(unforced.deadline(second, 300, 200, at(1500)), Some(at(2010)));
        unforced.step_began = Some(at(2010));
        assert_eq!(unforced.deadline(second, 300, 300, at(2020)), None, "everything is forced");
        assert_eq!(unforced.deadline(second, 310, 300, at(2500)), Some(at(3500)));
    }
}
