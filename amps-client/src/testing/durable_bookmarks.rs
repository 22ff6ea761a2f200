//! What a bookmark store promises that outlives its process.

use super::bookmarks::{ANSWERS, Taken, agrees, id, step};
use super::model::{Model, entries};
use super::{CLIENT, Draw, Expect, Violation, holds};
use crate::bookmark_store::{Arrival, BookmarkStore};
use crate::store_error::StoreError;

const POINTS: &str = "after a restart the recovery points are what they were";
const OPEN_AGAIN: &str = "after a restart what was not discarded is new again, and nothing is open";
const DISCARDED: &str =
    "what was discarded is a duplicate also after a restart, if something before it was open";
const PURGED: &str = "what was purged does not come back";
const OWNER: &str = "a store that outlives the process belongs to one client, and refuses others by name";
const ALL_TOGETHER: &str = "after a restart a store goes on with what it had, as the trait says";

/// Checks what [`BookmarkStore`] promises of a store that outlives its process; what it promises of every store is
/// checked by [`check_bookmark_store`](super::check_bookmark_store). `open` opens the store at a place that the
/// suite names: nothing is there at first, and what one store has left there the next one finds.
///
/// Stores are closed before they are opened again. A process that dies in the middle is beyond this suite.
///
/// # Errors
/// The first rule that is broken.
///
/// ```
/// use amps_client::FileBookmarkStore;
/// use amps_client::testing::check_durable_bookmark_store;
///
/// let directory = tempfile::tempdir()?;
/// check_durable_bookmark_store(|place| FileBookmarkStore::open(directory.path().join(place)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_durable_bookmark_store<S: BookmarkStore>(
    mut open: impl FnMut(&str) -> Result<S, StoreError>,
) -> Result<(), Violation> {
    check_recovery_points(&mut open)?;
    it_knows_what_was_discarded_behind_an_open_message(&mut || open("singly"))?;
    it_belongs_to_one_client(&mut || open("owner"))?;
    for seed in 1..=8 {
        it_does_what_its_trait_says(&mut || open(&format!("model-{seed}")), seed)?;
    }
    Ok(())
}

/// Checks a store of which only the recovery points outlive the process: after a restart they are what they were,
/// what was open comes again, and what was purged does not. That what was discarded is not delivered again is not
/// asked of it.
///
/// # Errors
/// The first rule that is broken.
///
/// ```
/// use amps_client::RingBookmarkStore;
/// use amps_client::testing::check_recovery_points;
///
/// let directory = tempfile::tempdir()?;
/// check_recovery_points(|place| RingBookmarkStore::open(directory.path().join(place), 8))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_recovery_points<S: BookmarkStore>(
    mut open: impl FnMut(&str) -> Result<S, StoreError>,
) -> Result<(), Violation> {
    its_points_are_what_they_were(&mut || open("points"))?;
    what_was_open_comes_again(&mut || open("open"))?;
    what_was_purged_is_gone(&mut || open("purged"))?;
    for seed in 1..=8 {
        it_always_knows_its_points(&mut || open(&format!("always-{seed}")), seed)?;
    }
    Ok(())
}

type Open<'a, S> = &'a mut dyn FnMut() -> Result<S, StoreError>;

fn its_points_are_what_they_were<S: BookmarkStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let taken = Taken::by(CLIENT, open())?;
    taken.begin("begun", "20240101T000000Z")?;
    taken.begin("now", "0|1|")?;
    taken.begin("moved", "0")?;
    taken.all_new("moved", &[id(1, 1), id(2, 1), id(1, 2)])?;
    taken.discard("moved", id(1, 1))?;
    taken.discard("moved", id(2, 1))?;
    taken.persisted("persisted", id(9, 9))?;
    taken.all_new("both", &[id(1, 5), id(2, 7)])?;
    taken.discard("both", id(1, 5))?;
    taken.discard("both", id(2, 7))?;
    taken.persisted("both", id(1, 3))?;
    taken.close()?;
    // Twice: what was read must be as good as what was written.
    for _ in 0..2 {
        let taken = Taken::by(CLIENT, open())?;
        taken.point("begun", &["20240101T000000Z"], false, POINTS)?;
        taken.point("now", &["0|1|"], false, POINTS)?;
        taken.point("moved", &["1|1|", "2|1|"], true, POINTS)?;
        taken.point("persisted", &["9|9|"], true, POINTS)?;
        taken.point("both", &["1|5|", "2|7|", "1|3|"], true, POINTS)?;
        taken.point("unknown", &[], false, POINTS)?;
        taken.begin("moved", "0")?;
        taken.point("moved", &["1|1|", "2|1|"], true, POINTS)?;
        taken.close()?;
    }
    Ok(())
}

/// BM-21
fn what_was_open_comes_again<S: BookmarkStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let taken = Taken::by(CLIENT, open())?;
    taken.all_new("s", &[id(1, 1), id(1, 2), id(1, 3), id(2, 1)])?;
    taken.discard("s", id(1, 1))?;
    taken.discard("s", id(1, 3))?;
    taken.close()?;
    for _ in 0..2 {
        let taken = Taken::by(CLIENT, open())?;
        let open = (taken.0.oldest_open("s"), taken.0.open_messages("s"));
        holds(open == (None, 0), OPEN_AGAIN, || format!("{open:?}"))?;
        taken.point("s", &["1|1|"], true, POINTS)?;
        taken.arrived("s", id(1, 2), Arrival::New, OPEN_AGAIN)?;
        taken.arrived("s", id(2, 1), Arrival::New, OPEN_AGAIN)?;
        taken.point("s", &["1|1|"], true, OPEN_AGAIN)?;
        taken.close()?;
    }
    let taken = Taken::by(CLIENT, open())?;
    taken.arrived("s", id(1, 2), Arrival::New, OPEN_AGAIN)?;
    let _either = taken.arrives("s", id(1, 3))?;
    for message in [id(1, 2), id(1, 3)] {
        taken.discard("s", message)?;
    }
    taken.point("s", &["1|3|"], true, POINTS)?;
    taken.close()
}

fn what_was_purged_is_gone<S: BookmarkStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let taken = Taken::by(CLIENT, open())?;
    for sub in ["a", "b", "c"] {
        taken.all_new(sub, &[id(1, 1), id(1, 2), id(1, 3)])?;
        taken.discard(sub, id(1, 1))?;
        taken.discard(sub, id(1, 3))?;
    }
    taken.0.purge_sub("a").or_broken(ANSWERS, "purge_sub")?;
    taken.0.purge_sub("c").or_broken(ANSWERS, "purge_sub")?;
    taken.begin("c", "20240101T000000Z")?;
    taken.close()?;
    let taken = Taken::by(CLIENT, open())?;
    taken.point("a", &[], false, PURGED)?;
    taken.point("b", &["1|1|"], true, POINTS)?;
    taken.point("c", &["20240101T000000Z"], false, PURGED)?;
    for sequence in 1..=3 {
        taken.arrived("a", id(1, sequence), Arrival::New, PURGED)?;
    }
    taken.0.purge().or_broken(ANSWERS, "purge")?;
    taken.close()?;
    let taken = Taken::by(CLIENT, open())?;
    for sub in ["a", "b", "c"] {
        taken.point(sub, &[], false, PURGED)?;
        taken.arrived(sub, id(1, 1), Arrival::New, PURGED)?;
    }
    taken.close()
}

fn it_always_knows_its_points<S: BookmarkStore>(open: Open<'_, S>, seed: u64) -> Result<(), Violation> {
    let mut draw = Draw(seed);
    let mut before = [const { (Vec::new(), false) }; 2];
    // Sequence numbers ascend, as they do in a log that is read once.
    let mut sequence = 0;
    for _ in 0..6 {
        let taken = Taken::by(CLIENT, open())?;
        for (at, sub) in ["first", "second"].into_iter().enumerate() {
            let point = taken.0.recovery_point(sub);
            let expected = before.get(at).cloned().unwrap_or_default();
            holds(entries(&point) == expected, POINTS, || format!("{point:?} instead of {expected:?}"))?;
        }
        let mut open_messages = Vec::new();
        for _ in 0..40 {
            let sub = if draw.below(2) == 0 { "first" } else { "second" };
            match draw.below(5) {
                0..=1 => {
                    sequence += 1;
                    let message = id(1 + draw.below(3), sequence);
                    taken.arrived(sub, message, Arrival::New, OPEN_AGAIN)?;
                    open_messages.push((sub, message));
                }
                2..=3 if !open_messages.is_empty() => {
                    let at = draw.below(open_messages.len().min(3) as u64) as usize;
                    let (sub, message) = open_messages.remove(at);
                    taken.discard(sub, message)?;
                }
                _ => taken.persisted(sub, id(1 + draw.below(3), sequence))?,
            }
        }
        before = ["first", "second"].map(|sub| entries(&taken.0.recovery_point(sub)));
        taken.close()?;
    }
    Ok(())
}

/// P6
fn it_knows_what_was_discarded_behind_an_open_message<S: BookmarkStore>(
    open: Open<'_, S>,
) -> Result<(), Violation> {
    let messages = [id(1, 1), id(1, 2), id(2, 1), id(1, 3)];
    let taken = Taken::by(CLIENT, open())?;
    taken.all_new("s", &messages)?;
    for message in [id(1, 1), id(2, 1), id(1, 3)] {
        taken.discard("s", message)?;
    }
    taken.close()?;
    // A run that ends before anything has come, then one that sees the log again.
    Taken::by(CLIENT, open())?.close()?;
    let taken = Taken::by(CLIENT, open())?;
    taken.arrived("s", id(1, 1), Arrival::Duplicate, DISCARDED)?;
    taken.arrived("s", id(1, 2), Arrival::New, OPEN_AGAIN)?;
    taken.arrived("s", id(2, 1), Arrival::Duplicate, DISCARDED)?;
    taken.arrived("s", id(1, 3), Arrival::Duplicate, DISCARDED)?;
    taken.point("s", &["1|1|"], true, OPEN_AGAIN)?;
    taken.discard("s", id(1, 2))?;
    taken.point("s", &["1|3|", "2|1|"], true, DISCARDED)?;
    taken.close()
}

/// BM-24
fn it_belongs_to_one_client<S: BookmarkStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let taken = Taken::by(CLIENT, open())?;
    taken.begin("s", "0")?;
    taken.close()?;
    let somebody = open().and_then(|store| store.attach("somebody-else"));
    holds(somebody.is_err(), OWNER, || "a client of another name could take it".to_owned())?;
    let taken = Taken::by(CLIENT, open())?;
    taken.point("s", &["0"], false, POINTS)?;
    taken.close()
}

fn it_does_what_its_trait_says<S: BookmarkStore>(open: Open<'_, S>, seed: u64) -> Result<(), Violation> {
    let mut draw = Draw(seed);
    let mut models = [Model::default(), Model::default()];
    for _ in 0..6 {
        let taken = Taken::by(CLIENT, open())?;
        for (sub, model) in ["first", "second"].into_iter().zip(&models) {
            agrees(&taken, sub, model, ALL_TOGETHER, "a restart")?;
        }
        for _ in 0..40 {
            step(&taken, &mut draw, &mut models, ALL_TOGETHER)?;
        }
        taken.close()?;
        models.iter_mut().for_each(Model::restart);
    }
    Ok(())
}
