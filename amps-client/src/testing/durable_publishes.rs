//! What a publish store promises that outlives its process.

use super::publishes::{Frames, Taken, step};
use super::{CLIENT, Draw, Violation, holds};
use crate::publish_store::{Progress, PublishStore};
use crate::store_error::StoreError;

const KEPT: &str = "what was safe is there when the store is opened again";
const GONE: &str = "what was discarded does not come back after an orderly close";
const NUMBERS: &str = "no number that was given out may be given out again: last_used is not below it";
const PERSISTED: &str =
    "last_persisted lies before every number that is kept, and is none that was never given out";
const OWNER: &str = "a store that outlives the process belongs to one client, and refuses others by name";

/// Checks what [`PublishStore`] promises of a store that outlives its process; what it promises of every store is
/// checked by [`check_publish_store`](super::check_publish_store). `open` opens the store at a place that the suite
/// names: nothing is there at first, and what one store has left there the next one finds.
///
/// Stores are closed before they are opened again, or just dropped once they have said that everything is
/// [`safe`](PublishStore::safe). A process that dies in the middle is beyond this suite.
///
/// # Errors
/// The first rule that is broken.
///
/// ```
/// use amps_client::FilePublishStore;
/// use amps_client::testing::check_durable_publish_store;
///
/// let directory = tempfile::tempdir()?;
/// check_durable_publish_store(|place| FilePublishStore::open(directory.path().join(place)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_durable_publish_store<S: PublishStore>(
    mut open: impl FnMut(&str) -> Result<S, StoreError>,
) -> Result<(), Violation> {
    for orderly in [true, false] {
        let place = if orderly { "closed" } else { "dropped" };
        it_goes_on(&mut || open(place), orderly)?;
    }
    it_knows_its_numbers_when_it_keeps_nothing(&mut || open("numbers"))?;
    it_belongs_to_one_client(&mut || open("owner"))?;
    for seed in 1..=6 {
        it_does_what_a_map_does(&mut || open(&format!("map-{seed}")), seed)?;
    }
    Ok(())
}

type Open<'a, S> = &'a mut dyn FnMut() -> Result<S, StoreError>;

/// Ends a store, in order or by dropping it.
fn end<S: PublishStore>(taken: Taken<S>, orderly: bool) -> Result<(), Violation> {
    if orderly { taken.close() } else { Ok(()) }
}

fn it_goes_on<S: PublishStore>(open: Open<'_, S>, orderly: bool) -> Result<(), Violation> {
    let mut taken = Taken::by(CLIENT, open())?;
    let mut kept = Frames::new();
    for number in 1..=30 {
        let frame = vec![number as u8; 100 * number as usize];
        taken.append(number * 2, &frame)?;
        kept.insert(number * 2, frame);
    }
    taken.settle(60)?;
    end(taken, orderly)?;

    let mut taken = Taken::by(CLIENT, open())?;
    taken.keeps(&kept, KEPT)?;
    check_found(&taken, 60, &kept)?;
    taken.discard(21)?;
    kept.retain(|number, _| *number > 21);
    let next = taken.found.last_used + 1;
    taken.append(next, b"after a restart")?;
    kept.insert(next, b"after a restart".to_vec());
    taken.keeps(&kept, KEPT)?;
    taken.settle(next)?;
    end(taken, orderly)?;

    let mut taken = Taken::by(CLIENT, open())?;
    if !orderly {
        // What was discarded may be back.
        taken.discard(21)?;
    }
    taken.keeps(&kept, if orderly { GONE } else { KEPT })?;
    check_found(&taken, next, &kept)?;
    taken.close()
}

fn check_found<S: PublishStore>(taken: &Taken<S>, used: u64, kept: &Frames) -> Result<(), Violation> {
    let found = taken.found;
    holds(found.last_used >= used, NUMBERS, || format!("{found:?} although {used} was given out"))?;
    let lowest = kept.keys().next().copied();
    let fits = lowest.map_or(found.last_persisted <= found.last_used, |lowest| found.last_persisted < lowest);
    holds(fits, PERSISTED, || format!("{found:?}, and the lowest that is kept is {lowest:?}"))
}

fn it_knows_its_numbers_when_it_keeps_nothing<S: PublishStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let mut last = 0;
    for life in 0..6 {
        let mut taken = Taken::by(CLIENT, open())?;
        taken.keeps(&Frames::new(), GONE)?;
        check_found(&taken, last, &Frames::new())?;
        // Every other life is idle.
        if life % 2 == 0 {
            last = taken.found.last_used + 1;
            taken.append(last, b"soon persisted")?;
            taken.settle(last)?;
            taken.discard(last)?;
        } else {
            last = last.max(taken.found.last_used);
        }
        taken.close()?;
    }
    Ok(())
}

fn it_belongs_to_one_client<S: PublishStore>(open: Open<'_, S>) -> Result<(), Violation> {
    let mut taken = Taken::by(CLIENT, open())?;
    taken.append(1, b"private")?;
    taken.settle(1)?;
    taken.close()?;
    let somebody = open().and_then(|mut store| store.attach("somebody-else", Progress::new(|| {})));
    holds(somebody.is_err(), OWNER, || "a client of another name could take it".to_owned())?;
    let mut taken = Taken::by(CLIENT, open())?;
    taken.keeps(&Frames::from([(1, b"private".to_vec())]), KEPT)?;
    taken.close()
}

fn it_does_what_a_map_does<S: PublishStore>(open: Open<'_, S>, seed: u64) -> Result<(), Violation> {
    let mut draw = Draw(seed);
    let (mut kept, mut last) = (Frames::new(), 0);
    for _ in 0..6 {
        let mut taken = Taken::by(CLIENT, open())?;
        taken.keeps(&kept, KEPT)?;
        check_found(&taken, last, &kept)?;
        last = last.max(taken.found.last_used);
        for _ in 0..60 {
            step(&mut taken, &mut draw, &mut kept, &mut last)?;
        }
        taken.settle(last)?;
        taken.close()?;
    }
    Ok(())
}
