//! What every bookmark store promises.

use super::model::{Model, entries};
use super::publishes::MADE;
use super::{CLIENT, Draw, Expect, Violation, holds};
use crate::bookmark_store::{Arrival, BookmarkStore};
use crate::bookmarks::MessageId;
use crate::store_error::StoreError;

const UNKNOWN: &str =
    "of a subscription that nothing is known of, the recovery point is empty and nothing is open";
const BEGUN: &str =
    "where a subscription begins is its recovery point until there is a better one, and is said once";
const STAYS: &str = "the recovery point stays before the first open message";
const MOVES: &str = "the recovery point moves over the whole run of discarded messages at the front";
const EACH: &str = "the recovery point lists the last discarded message of each publisher";
const NEW: &str = "a message is new unless it was discarded, or arrived before in this run";
const REPEATED: &str = "a message that arrived before in this run is a duplicate, open or discarded";
const PASSED: &str = "a message at or before its publisher's point is a duplicate";
const JOINS: &str =
    "a persisted bookmark joins the recovery point once all that arrived before it is discarded";
const DISCARDS_NOTHING: &str = "a persisted bookmark discards nothing and makes no duplicates";
const LAST_PERSISTED: &str =
    "the last persisted bookmark is in the recovery point, also if it is the lower one";
const NOT_OPEN: &str = "a discard of a message that is not open has no effect";
const RENEWED: &str =
    "for a new subscriber what was not discarded is new again, and everything else stays as it was";
const APART: &str = "what happens to one subscription changes no other";
const PURGED_SUB: &str = "purge_sub forgets everything about one subscription, and nothing else";
const PURGED: &str = "purge forgets everything";
const OPEN: &str = "oldest_open and open_messages agree with what arrived and was not discarded";
const THREADS: &str = "messages can be discarded by many threads at the same time";
const CLOSED: &str = "a store can be closed";
pub(super) const ANSWERS: &str = "a store that is well does what it is told";
const ALL_TOGETHER: &str =
    "the recovery point, duplicates and open messages follow from what happened, as the trait says";

/// Checks what [`BookmarkStore`] promises of every store. `make` makes a new one that knows nothing, each time.
///
/// # Errors
/// The first rule that is broken.
///
/// ```
/// use amps_client::MemoryBookmarkStore;
/// use amps_client::testing::check_bookmark_store;
///
/// check_bookmark_store(|| Ok(MemoryBookmarkStore::new()))?;
/// # Ok::<(), amps_client::testing::Violation>(())
/// ```
pub fn check_bookmark_store<S: BookmarkStore>(
    mut make: impl FnMut() -> Result<S, StoreError>,
) -> Result<(), Violation> {
    let mut taken = || Taken::by(CLIENT, make());
    it_knows_nothing(&taken()?)?;
    it_begins_where_it_is_told(&taken()?)?;
    its_point_stays_before_what_is_open(&taken()?)?;
    it_knows_duplicates(&taken()?)?;
    it_takes_persisted_bookmarks(&taken()?)?;
    it_ignores_what_is_not_open(&taken()?)?;
    it_keeps_subscriptions_apart(&taken()?)?;
    it_forgets_what_it_is_told_to(&taken()?)?;
    it_counts_what_is_open(&taken()?)?;
    it_serves_another_subscriber(&taken()?)?;
    it_is_used_by_many_threads(&taken()?)?;
    for seed in 1..=40 {
        it_does_what_its_trait_says(&taken()?, seed)?;
    }
    Ok(())
}

/// A store that a client has taken.
pub(super) struct Taken<S>(pub(super) S);

pub(super) const fn id(publisher: u64, sequence: u64) -> MessageId {
    MessageId { publisher, sequence }
}

impl<S: BookmarkStore> Taken<S> {
    pub(super) fn by(client: &str, made: Result<S, StoreError>) -> Result<Self, Violation> {
        let store = made.or_broken(MADE, "making it")?;
        store.attach(client).or_broken(MADE, "attach")?;
        Ok(Self(store))
    }

    pub(super) fn begin(&self, sub: &str, from: &str) -> Result<(), Violation> {
        self.0.begin(sub, from).or_broken(ANSWERS, "begin")
    }

    pub(super) fn arrives(&self, sub: &str, message: MessageId) -> Result<Arrival, Violation> {
        self.0.arrived(sub, message).or_broken(ANSWERS, "arrived")
    }

    /// A message arrives, and is what it should be.
    pub(super) fn arrived(
        &self,
        sub: &str,
        message: MessageId,
        expected: Arrival,
        rule: &'static str,
    ) -> Result<(), Violation> {
        let arrival = self.arrives(sub, message)?;
        holds(arrival == expected, rule, || format!("{message} was {arrival:?} instead of {expected:?}"))
    }

    /// These arrive and are new.
    pub(super) fn all_new(&self, sub: &str, messages: &[MessageId]) -> Result<(), Violation> {
        messages.iter().try_for_each(|message| self.arrived(sub, *message, Arrival::New, NEW))
    }

    pub(super) fn discard(&self, sub: &str, message: MessageId) -> Result<(), Violation> {
        self.0.discard(sub, message).or_broken(ANSWERS, "discard")
    }

    pub(super) fn persisted(&self, sub: &str, last: MessageId) -> Result<(), Violation> {
        self.0.persisted(sub, last).or_broken(ANSWERS, "persisted")
    }

    /// The recovery point has these entries, in any order.
    pub(super) fn point(
        &self,
        sub: &str,
        expected: &[&str],
        progress: bool,
        rule: &'static str,
    ) -> Result<(), Violation> {
        let point = self.0.recovery_point(sub);
        let (found, moved) = entries(&point);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        holds(found == expected && moved == progress, rule, || {
            format!("{point:?} instead of {:?}, progress: {progress}", expected.join(","))
        })
    }

    pub(super) fn close(&self) -> Result<(), Violation> {
        self.0.close().or_broken(CLOSED, "close")
    }
}

fn it_knows_nothing<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.point("s", &[], false, UNKNOWN)?;
    let open = (taken.0.oldest_open("s"), taken.0.open_messages("s"));
    holds(open == (None, 0), UNKNOWN, || format!("{open:?}"))?;
    taken.0.purge_sub("s").or_broken(ANSWERS, "purge_sub of an unknown subscription")?;
    taken.close()
}

fn it_begins_where_it_is_told<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.begin("s", "20240101T000000Z")?;
    taken.point("s", &["20240101T000000Z"], false, BEGUN)?;
    taken.begin("s", "0")?;
    taken.point("s", &["20240101T000000Z"], false, BEGUN)?;
    taken.all_new("s", &[id(1, 1)])?;
    taken.point("s", &["20240101T000000Z"], false, STAYS)?;
    taken.discard("s", id(1, 1))?;
    taken.point("s", &["1|1|"], true, MOVES)?;
    taken.begin("s", "0")?;
    taken.point("s", &["1|1|"], true, BEGUN)?;
    // From now on: it looks like a message, and is none.
    taken.begin("now", "0|1|")?;
    taken.point("now", &["0|1|"], false, BEGUN)?;
    taken.close()
}

/// BM-4, BM-6
fn its_point_stays_before_what_is_open<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.begin("s", "0")?;
    taken.all_new("s", &[id(1, 1), id(1, 2), id(1, 3)])?;
    taken.discard("s", id(1, 2))?;
    taken.point("s", &["0"], false, STAYS)?;
    taken.discard("s", id(1, 3))?;
    taken.point("s", &["0"], false, STAYS)?;
    taken.discard("s", id(1, 1))?;
    taken.point("s", &["1|3|"], true, MOVES)?;

    taken.all_new("two", &[id(1, 7), id(2, 3), id(1, 8)])?;
    taken.discard("two", id(1, 7))?;
    taken.point("two", &["1|7|"], true, MOVES)?;
    taken.discard("two", id(1, 8))?;
    taken.point("two", &["1|7|"], true, STAYS)?;
    taken.discard("two", id(2, 3))?;
    taken.point("two", &["1|8|", "2|3|"], true, EACH)?;
    taken.close()
}

/// BM-3
fn it_knows_duplicates<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.all_new("s", &[id(1, 5)])?;
    taken.arrived("s", id(1, 5), Arrival::Duplicate, REPEATED)?;
    taken.arrived("s", id(1, 3), Arrival::New, NEW)?;
    taken.arrived("s", id(2, 5), Arrival::New, NEW)?;
    taken.discard("s", id(2, 5))?;
    taken.arrived("s", id(2, 5), Arrival::Duplicate, REPEATED)?;
    taken.discard("s", id(1, 5))?;
    taken.arrived("s", id(1, 5), Arrival::Duplicate, REPEATED)?;
    taken.arrived("s", id(1, 4), Arrival::Duplicate, PASSED)?;
    taken.arrived("s", id(1, 3), Arrival::Duplicate, REPEATED)?;
    taken.arrived("s", id(1, 6), Arrival::New, NEW)?;
    taken.arrived("s", id(u64::MAX, u64::MAX), Arrival::New, NEW)?;
    taken.close()
}

fn it_serves_another_subscriber<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    let renew = |sub: &str| taken.0.new_subscriber(sub).or_broken(ANSWERS, "new_subscriber");
    renew("unknown")?;
    taken.all_new("s", &[id(1, 1), id(1, 2), id(1, 3), id(1, 4)])?;
    taken.discard("s", id(1, 1))?;
    taken.discard("s", id(1, 3))?;
    renew("s")?;
    let open = (taken.0.oldest_open("s"), taken.0.open_messages("s"));
    holds(open == (None, 0), RENEWED, || format!("still open: {open:?}"))?;
    taken.point("s", &["1|1|"], true, RENEWED)?;
    taken.arrived("s", id(1, 1), Arrival::Duplicate, RENEWED)?;
    taken.arrived("s", id(1, 2), Arrival::New, RENEWED)?;
    taken.arrived("s", id(1, 3), Arrival::Duplicate, RENEWED)?;
    taken.arrived("s", id(1, 4), Arrival::New, RENEWED)?;
    taken.discard("s", id(1, 2))?;
    taken.point("s", &["1|3|"], true, RENEWED)?;
    taken.close()
}

/// BM-7, BM-8
fn it_takes_persisted_bookmarks<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.persisted("early", id(9, 100))?;
    taken.point("early", &["9|100|"], true, JOINS)?;
    taken.arrived("early", id(9, 50), Arrival::New, DISCARDS_NOTHING)?;

    taken.all_new("s", &[id(1, 1)])?;
    taken.persisted("s", id(9, 100))?;
    taken.point("s", &[], false, JOINS)?;
    taken.all_new("s", &[id(1, 2)])?;
    taken.discard("s", id(1, 1))?;
    taken.point("s", &["1|1|", "9|100|"], true, JOINS)?;
    taken.arrived("s", id(9, 7), Arrival::New, DISCARDS_NOTHING)?;
    let open = taken.0.open_messages("s");
    holds(open == 2, DISCARDS_NOTHING, || format!("{open} messages are open instead of 2"))?;

    taken.all_new("low", &[id(1, 5), id(2, 7)])?;
    taken.discard("low", id(1, 5))?;
    taken.discard("low", id(2, 7))?;
    taken.persisted("low", id(1, 3))?;
    taken.point("low", &["1|5|", "2|7|", "1|3|"], true, LAST_PERSISTED)?;
    taken.persisted("low", id(2, 9))?;
    taken.point("low", &["1|5|", "2|9|"], true, LAST_PERSISTED)?;
    taken.close()
}

/// BM-13
fn it_ignores_what_is_not_open<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    let never = |call: &'static str, outcome: Result<(), StoreError>| outcome.or_broken(NOT_OPEN, call);
    never("a discard in an unknown subscription", taken.0.discard("s", id(1, 1)))?;
    taken.point("s", &[], false, NOT_OPEN)?;
    taken.arrived("s", id(1, 1), Arrival::New, NOT_OPEN)?;
    taken.arrived("s", id(1, 2), Arrival::New, NOT_OPEN)?;
    never("a discard of what never arrived", taken.0.discard("s", id(1, 9)))?;
    never("a discard of another publisher's", taken.0.discard("s", id(5, 1)))?;
    taken.point("s", &[], false, NOT_OPEN)?;
    taken.discard("s", id(1, 1))?;
    never("a second discard", taken.0.discard("s", id(1, 1)))?;
    taken.point("s", &["1|1|"], true, NOT_OPEN)?;
    let open = taken.0.open_messages("s");
    holds(open == 1, NOT_OPEN, || format!("{open} messages are open instead of 1"))?;
    taken.arrived("s", id(1, 9), Arrival::New, NOT_OPEN)?;
    taken.close()
}

fn it_keeps_subscriptions_apart<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    taken.begin("a", "0")?;
    for sub in ["b", "A", "", "a b", "\u{e9}"] {
        taken.point(sub, &[], false, APART)?;
        taken.arrived(sub, id(1, 1), Arrival::New, APART)?;
    }
    taken.discard("b", id(1, 1))?;
    taken.persisted("b", id(3, 3))?;
    taken.point("b", &["1|1|", "3|3|"], true, APART)?;
    taken.point("a", &["0"], false, APART)?;
    taken.point("A", &[], false, APART)?;
    taken.arrived("a", id(1, 1), Arrival::New, APART)?;
    taken.close()
}

fn it_forgets_what_it_is_told_to<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    for sub in ["a", "b"] {
        taken.all_new(sub, &[id(1, 1), id(1, 2), id(1, 3)])?;
        taken.discard(sub, id(1, 1))?;
        taken.discard(sub, id(1, 3))?;
        taken.persisted(sub, id(9, 9))?;
    }
    let forgotten = |sub: &str, rule| {
        taken.point(sub, &[], false, rule)?;
        let open = (taken.0.oldest_open(sub), taken.0.open_messages(sub));
        holds(open == (None, 0), rule, || format!("still open: {open:?}"))?;
        taken.begin(sub, "20240101T000000Z")?;
        taken.point(sub, &["20240101T000000Z"], false, rule)?;
        (1..=3).try_for_each(|sequence| taken.arrived(sub, id(1, sequence), Arrival::New, rule))
    };
    taken.0.purge_sub("a").or_broken(PURGED_SUB, "purge_sub")?;
    forgotten("a", PURGED_SUB)?;
    taken.point("b", &["1|1|"], true, PURGED_SUB)?;
    taken.arrived("b", id(1, 3), Arrival::Duplicate, PURGED_SUB)?;
    taken.0.purge().or_broken(PURGED, "purge")?;
    forgotten("a", PURGED)?;
    forgotten("b", PURGED)?;
    taken.close()
}

fn it_counts_what_is_open<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    let messages = [id(2, 1), id(1, 4), id(1, 3), id(2, 2)];
    taken.all_new("s", &messages)?;
    let mut open = messages.to_vec();
    for discarded in [id(1, 4), id(2, 1), id(2, 2), id(1, 3)] {
        let found = (taken.0.oldest_open("s"), taken.0.open_messages("s"));
        let expected = (open.first().copied(), open.len());
        holds(found == expected, OPEN, || format!("{found:?} instead of {expected:?}"))?;
        taken.discard("s", discarded)?;
        open.retain(|message| *message != discarded);
    }
    let found = (taken.0.oldest_open("s"), taken.0.open_messages("s"));
    holds(found == (None, 0), OPEN, || format!("{found:?} when all are discarded"))?;
    taken.close()
}

/// BM-15
fn it_is_used_by_many_threads<S: BookmarkStore>(taken: &Taken<S>) -> Result<(), Violation> {
    const COUNT: u64 = 2000;
    const EACH: u64 = 4;
    let outcomes: Vec<Result<(), Violation>> = std::thread::scope(|scope| {
        for sequence in 1..=COUNT {
            for sub in ["a", "b"] {
                taken.all_new(sub, &[id(1, sequence)])?;
            }
        }
        let discard = |sub: &'static str, part: u64| {
            move || {
                let mut mine = (1..=COUNT).rev().filter(|sequence| sequence % EACH == part);
                mine.try_for_each(|sequence| taken.discard(sub, id(1, sequence)))
            }
        };
        let parts = ["a", "b"].into_iter().flat_map(|sub| (0..EACH).map(move |part| (sub, part)));
        let threads: Vec<_> = parts.map(|(sub, part)| scope.spawn(discard(sub, part))).collect();
        let panicked = |_| Err(Violation::new(THREADS, "a discard panicked"));
        Ok(threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect())
    })?;
    outcomes.into_iter().collect::<Result<(), _>>()?;
    let last = id(1, COUNT).to_string();
    for sub in ["a", "b"] {
        taken.point(sub, &[&last], true, THREADS)?;
        let open = taken.0.open_messages(sub);
        holds(open == 0, THREADS, || format!("{open} messages are open when all are discarded"))?;
    }
    taken.close()
}

fn it_does_what_its_trait_says<S: BookmarkStore>(taken: &Taken<S>, seed: u64) -> Result<(), Violation> {
    let mut draw = Draw(seed);
    let mut models = [Model::default(), Model::default()];
    for _ in 0..150 {
        step(taken, &mut draw, &mut models, ALL_TOGETHER)?;
    }
    taken.close()
}

/// Something that may happen to one of two subscriptions, in the store and in its model.
pub(super) fn step<S: BookmarkStore>(
    taken: &Taken<S>,
    draw: &mut Draw,
    models: &mut [Model; 2],
    rule: &'static str,
) -> Result<(), Violation> {
    let [first, second] = models;
    let (sub, model) = if draw.below(2) == 0 { ("first", first) } else { ("second", second) };
    let message = id(1 + draw.below(3), 1 + draw.below(25));
    let done = match draw.below(16) {
        0 => {
            let from = format!("2024010{}T000000Z", 1 + draw.below(3));
            taken.begin(sub, &from)?;
            model.begin(&from);
            format!("begin({from})")
        }
        1..=7 => {
            let expected = model.arrived(message);
            taken.arrived(sub, message, expected, rule)?;
            format!("arrived({message})")
        }
        8..=12 => {
            let open = model.open();
            let message = open.get(draw.below(open.len().min(4) as u64) as usize).copied().unwrap_or(message);
            taken.discard(sub, message)?;
            model.discard(message);
            format!("discard({message})")
        }
        13 => {
            taken.discard(sub, message)?;
            model.discard(message);
            format!("discard({message})")
        }
        14 if draw.below(8) == 0 => {
            taken.0.purge_sub(sub).or_broken(ANSWERS, "purge_sub")?;
            *model = Model::default();
            "purge_sub".to_owned()
        }
        _ => {
            taken.persisted(sub, message)?;
            model.persisted(message);
            format!("persisted({message})")
        }
    };
    agrees(taken, sub, model, rule, &done)
}

/// The store says of a subscription what its model says.
pub(super) fn agrees<S: BookmarkStore>(
    taken: &Taken<S>,
    sub: &str,
    model: &Model,
    rule: &'static str,
    after: &str,
) -> Result<(), Violation> {
    let point = taken.0.recovery_point(sub);
    let (expected, progress) = model.recovery_point();
    holds(entries(&point) == (expected.clone(), progress), rule, || {
        format!("after {after}: {point:?} instead of {:?}, progress: {progress}", expected.join(","))
    })?;
    let open = model.open();
    let found = (taken.0.oldest_open(sub), taken.0.open_messages(sub));
    let expected = (open.first().copied(), open.len());
    holds(found == expected, rule, || format!("after {after}: open are {found:?} instead of {expected:?}"))
}
