//! What every publish store promises.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CLIENT, Draw, Expect, Violation, holds};
use crate::publish_store::{Attached, Progress, PublishStore};
use crate::store_error::StoreError;

/// No store needs this long for something that it can do at all.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const MADE: &str = "a store can be made, and a client can take it";
const FRESH: &str = "a new store keeps nothing and knows of no number";
const APPENDED: &str = "what was appended is shown byte for byte, in ascending order";
const ACCEPTED: &str = "a message is accepted if its number is larger than any before";
const FROM: &str = "reading begins at the number that is asked for, also where there is a gap";
const ENOUGH: &str = "reading ends when the visitor has seen enough";
const COUNTED: &str = "len, is_empty, bytes and lowest agree with what is shown";
const DISCARDED: &str = "a discard forgets everything up to its number, and nothing else";
const ANY_NUMBER: &str = "any number can be discarded up to, kept or not, also twice";
const SAFE: &str = "what was appended may leave and becomes safe within seconds";
const TOLD: &str = "a store tells its client by Progress when may_leave or safe has changed";
const CLOSED: &str = "a store can be closed";

/// Checks what [`PublishStore`] promises of every store. `make` makes a new one that is empty, each time.
///
/// # Errors
/// The first rule that is broken.
///
/// ```
/// use amps_client::MemoryPublishStore;
/// use amps_client::testing::check_publish_store;
///
/// check_publish_store(|| Ok(MemoryPublishStore::new()))?;
/// # Ok::<(), amps_client::testing::Violation>(())
/// ```
pub fn check_publish_store<S: PublishStore>(
    mut make: impl FnMut() -> Result<S, StoreError>,
) -> Result<(), Violation> {
    let mut taken = || Taken::by(CLIENT, make());
    it_begins_with_nothing(taken()?)?;
    it_shows_what_was_appended(taken()?)?;
    it_forgets_what_is_discarded(taken()?)?;
    it_lets_go(taken()?)?;
    for seed in 1..=20 {
        it_does_what_a_map_does(taken()?, seed)?;
    }
    Ok(())
}

/// A store that a client has taken.
pub(super) struct Taken<S> {
    pub(super) store: S,
    pub(super) found: Attached,
    /// How often the store told of progress.
    told: Arc<(Mutex<u64>, Condvar)>,
}

/// Messages by number.
pub(super) type Frames = BTreeMap<u64, Vec<u8>>;

impl<S: PublishStore> Taken<S> {
    pub(super) fn by(client: &str, made: Result<S, StoreError>) -> Result<Self, Violation> {
        let mut store = made.or_broken(MADE, "making it")?;
        let told: Arc<(Mutex<u64>, Condvar)> = Arc::default();
        let teller = Arc::clone(&told);
        let progress = Progress::new(move || {
            *teller.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            teller.1.notify_all();
        });
        let found = store.attach(client, progress).or_broken(MADE, "attach")?;
        Ok(Self { store, found, told })
    }

    pub(super) fn append(&mut self, number: u64, frame: &[u8]) -> Result<(), Violation> {
        self.store.append(number, frame).or_broken(ACCEPTED, &format!("append({number})"))
    }

    pub(super) fn discard(&mut self, number: u64) -> Result<(), Violation> {
        self.store.discard_up_to(number).or_broken(ANY_NUMBER, &format!("discard_up_to({number})"))
    }

    pub(super) fn shown(&mut self, from: u64) -> Result<Vec<(u64, Vec<u8>)>, Violation> {
        let mut shown = Vec::new();
        let read = self.store.read(from, &mut |number, frame| {
            shown.push((number, frame.to_vec()));
            true
        });
        read.or_broken(APPENDED, &format!("read({from})"))?;
        Ok(shown)
    }

    /// What is kept is exactly this.
    pub(super) fn keeps(&mut self, frames: &Frames, rule: &'static str) -> Result<(), Violation> {
        let shown = self.shown(0)?;
        let numbers: Vec<u64> = shown.iter().map(|(number, _)| *number).collect();
        let expected: Vec<u64> = frames.keys().copied().collect();
        holds(numbers == expected, rule, || {
            format!("the messages {} instead of {}", list(&numbers), list(&expected))
        })?;
        let wrong = shown.iter().find(|(number, frame)| frames.get(number) != Some(frame));
        holds(wrong.is_none(), rule, || {
            let (number, frame) = wrong.map_or((0, 0), |(number, frame)| (*number, frame.len()));
            format!("the message {number} has other bytes ({frame} of them) than it was given")
        })?;
        let store = &self.store;
        let bytes: usize = frames.values().map(Vec::len).sum();
        let counted = (store.len(), store.is_empty(), store.bytes(), store.lowest());
        let expected = (frames.len(), frames.is_empty(), bytes as u64, frames.keys().next().copied());
        holds(counted == expected, COUNTED, || format!("{counted:?} instead of {expected:?}"))
    }

    /// Waits until everything up to a number may leave and is safe.
    pub(super) fn settle(&self, number: u64) -> Result<(), Violation> {
        let deadline = Instant::now() + PATIENCE;
        let (told, news) = &*self.told;
        let mut seen = *told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.store.may_leave() >= number && self.store.safe() >= number {
                return Ok(());
            }
            let guard = told.lock().unwrap_or_else(PoisonError::into_inner);
            let left = deadline.saturating_duration_since(Instant::now());
            let (guard, waited) = news
                .wait_timeout_while(guard, left, |told| *told == seen)
                .unwrap_or_else(PoisonError::into_inner);
            seen = *guard;
            drop(guard);
            if waited.timed_out() {
                let (may_leave, safe) = (self.store.may_leave(), self.store.safe());
                let silent = may_leave >= number && safe >= number;
                let trouble = self.store.trouble().map(|it| format!(", trouble: {it}")).unwrap_or_default();
                return Err(Violation::new(
                    if silent { TOLD } else { SAFE },
                    format!(
                        "{PATIENCE:?} after {number} was appended, may_leave is {may_leave}, safe is {safe}{trouble}"
                    ),
                ));
            }
        }
    }

    pub(super) fn close(mut self) -> Result<(), Violation> {
        self.store.close().or_broken(CLOSED, "close")
    }
}

/// At most the first few.
fn list(numbers: &[u64]) -> String {
    const SHOWN: usize = 12;
    let more = numbers.len().saturating_sub(SHOWN);
    let shown = numbers.get(..SHOWN).unwrap_or(numbers);
    if more == 0 { format!("{shown:?}") } else { format!("{shown:?} and {more} more") }
}

fn it_begins_with_nothing<S: PublishStore>(mut taken: Taken<S>) -> Result<(), Violation> {
    let found = taken.found;
    holds(found == Attached::default(), FRESH, || format!("attach returned {found:?}"))?;
    taken.keeps(&Frames::new(), FRESH)?;
    taken.close()
}

/// Frames of all sorts, under numbers with gaps.
fn some_frames() -> Frames {
    let large: Vec<u8> = (0..300_000_u32).map(|at| at.to_be_bytes()[3]).collect();
    let frames =
        [b"first".to_vec(), Vec::new(), vec![0; 40], b"{\"c\":\"p\"}body".to_vec(), large, vec![0xff; 1]];
    [1, 2, 5, 9, 1000, 1 << 40].into_iter().zip(frames).collect()
}

fn it_shows_what_was_appended<S: PublishStore>(mut taken: Taken<S>) -> Result<(), Violation> {
    let frames = some_frames();
    let mut kept = Frames::new();
    for (number, frame) in &frames {
        taken.append(*number, frame)?;
        kept.insert(*number, frame.clone());
        taken.keeps(&kept, APPENDED)?;
    }
    for from in [0, 1, 2, 3, 5, 6, 1000, 1001, 1 << 40, (1 << 40) + 1, u64::MAX] {
        let shown: Vec<u64> = taken.shown(from)?.into_iter().map(|(number, _)| number).collect();
        let expected: Vec<u64> = frames.range(from..).map(|(number, _)| *number).collect();
        holds(shown == expected, FROM, || format!("read({from}) showed {shown:?} instead of {expected:?}"))?;
    }
    for enough in 1..=frames.len() {
        let mut seen = 0;
        let read = taken.store.read(2, &mut |_, _| {
            seen += 1;
            seen < enough
        });
        read.or_broken(ENOUGH, "read(2)")?;
        let expected = enough.min(frames.len() - 1);
        holds(seen == expected, ENOUGH, || format!("{seen} messages were shown instead of {expected}"))?;
    }
    taken.settle(1 << 40)?;
    taken.keeps(&frames, APPENDED)?;
    taken.close()
}

fn it_forgets_what_is_discarded<S: PublishStore>(mut taken: Taken<S>) -> Result<(), Violation> {
    let mut kept = some_frames();
    for (number, frame) in &kept {
        taken.append(*number, frame)?;
    }
    for number in [0, 2, 2, 1, 4, 9] {
        taken.discard(number)?;
        kept.retain(|it, _| *it > number);
        // A lower one than before brings nothing back.
        taken.keeps(&kept, DISCARDED)?;
    }
    taken.settle(1 << 40)?;
    taken.discard(1 << 41)?;
    taken.keeps(&Frames::new(), DISCARDED)?;
    taken.append((1 << 41) + 1, b"and on it goes")?;
    taken.keeps(&Frames::from([((1 << 41) + 1, b"and on it goes".to_vec())]), APPENDED)?;
    taken.close()
}

fn it_lets_go<S: PublishStore>(mut taken: Taken<S>) -> Result<(), Violation> {
    for number in 1..=50 {
        taken.append(number, b"a message that has to leave")?;
        if number % 10 == 0 {
            taken.settle(number)?;
        }
    }
    taken.discard(50)?;
    taken.append(51, b"and one after a discard")?;
    taken.settle(51)?;
    taken.close()
}

fn it_does_what_a_map_does<S: PublishStore>(mut taken: Taken<S>, seed: u64) -> Result<(), Violation> {
    let mut draw = Draw(seed);
    let (mut kept, mut last) = (Frames::new(), 0);
    for _ in 0..200 {
        step(&mut taken, &mut draw, &mut kept, &mut last)?;
    }
    taken.keeps(&kept, APPENDED)?;
    taken.settle(last)?;
    taken.close()
}

/// Something that a client might do.
pub(super) fn step<S: PublishStore>(
    taken: &mut Taken<S>,
    draw: &mut Draw,
    kept: &mut Frames,
    last: &mut u64,
) -> Result<(), Violation> {
    match draw.below(10) {
        0..=5 => {
            *last += 1 + draw.below(3);
            let len = draw.below(2000) as usize;
            let frame = vec![draw.below(256) as u8; len];
            taken.append(*last, &frame)?;
            kept.insert(*last, frame);
        }
        6 | 7 => {
            let number = last.saturating_sub(draw.below(30));
            taken.discard(number)?;
            kept.retain(|it, _| *it > number);
        }
        8 => {
            let from = last.saturating_sub(draw.below(40));
            let shown = taken.shown(from)?;
            let expected: Vec<_> = kept.range(from..).map(|(it, frame)| (*it, frame.clone())).collect();
            holds(shown == expected, FROM, || {
                format!("read({from}) showed {} messages instead of {}", shown.len(), expected.len())
            })?;
        }
        _ => taken.keeps(kept, APPENDED)?,
    }
    Ok(())
}
