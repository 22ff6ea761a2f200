//! Records in order, of which a window is shown (server.md 4.5).
//!
//! Owns the order and the borders of the window. A change costs the logarithm of the number of
//! records: at most one record crosses each border. It knows nothing of who looks.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::Record;
use crate::engine::filter::SortKey;

/// What decides the order: the fields asked for, then the record key (PAG-01).
type Place = (Option<SortKey>, Arc<str>);

type Run = BTreeMap<Place, Arc<Record>>;

/// The records of one topic. Invariant: every place in `before` is less than every place in
/// `shown`, and those are less than every place in `after`; `before` has as many records as are
/// skipped, and `shown` as many as the window takes, as far as there are enough.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    skip: usize,
    size: usize,
    before: Run,
    shown: Run,
    after: Run,
    places: BTreeMap<Arc<str>, Place>,
    /// What moved in or out of the window since the last look: where it stood then, if it did.
    touched: BTreeMap<Arc<str>, Option<(Place, Arc<Record>)>>,
}

/// What a change did to the window, in the order of the window before and after it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// As it was shown.
    pub(super) left: Vec<Arc<Record>>,
    pub(super) entered: Vec<Arc<Record>>,
    /// The changed record was shown, and still is.
    pub(super) stayed: Option<Arc<Record>>,
}

impl Ranked {
    pub(super) fn new(skip: usize, size: usize) -> Self {
        Self { skip, size, ..Self::default() }
    }

    /// The records in the window, in order.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.shown.values()
    }

    /// Puts a record into its place, which it had not before.
    pub(super) fn insert(&mut self, order: Option<SortKey>, record: Arc<Record>) {
        let place = (order, Arc::clone(&record.key));
        self.places.insert(Arc::clone(&record.key), place.clone());
        let is_below = |run: &Run| run.last_key_value().is_some_and(|(last, _)| place < *last);
        if is_below(&self.before) {
            self.before.insert(place, record);
        } else if is_below(&self.shown) {
            self.show(place, record);
        } else {
            self.after.insert(place, record);
        }
        self.settle();
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, key: &Arc<str>) {
        let Some(place) = self.places.remove(key) else { return };
        match self.shown.remove_entry(&place) {
            Some((place, record)) => self.note(place, record),
            None => _ = self.before.remove(&place).or_else(|| self.after.remove(&place)),
        }
        self.settle();
    }

    /// What happened to the window since the last look, if only this record changed.
    pub(super) fn turn(&mut self, changed: &str) -> Turn {
        let (mut left, mut entered) = (Run::new(), Run::new());
        let mut stayed = None;
        for (key, former) in std::mem::take(&mut self.touched) {
            let present = self.places.get(&key).and_then(|place| self.shown.get_key_value(place));
            match (former, present) {
                (Some((place, record)), None) => _ = left.insert(place, record),
                (None, Some((place, record))) => _ = entered.insert(place.clone(), Arc::clone(record)),
                (Some(_), Some((_, record))) if *key == *changed => stayed = Some(Arc::clone(record)),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        Turn { left: left.into_values().collect(), entered: entered.into_values().collect(), stayed }
    }

    fn show(&mut self, place: Place, record: Arc<Record>) {
        self.touched.entry(Arc::clone(&place.1)).or_insert(None);
        self.shown.insert(place, record);
    }

    /// A record left the window, for now.
    fn note(&mut self, place: Place, record: Arc<Record>) {
        self.touched.entry(Arc::clone(&place.1)).or_insert(Some((place, record)));
    }

    /// Moves records across the borders until the window is what it should be.
    fn settle(&mut self) {
        while self.before.len() > self.skip {
            let Some((place, record)) = self.before.pop_last() else { break };
            self.show(place, record);
        }
        while self.before.len() < self.skip {
            let next = match self.shown.pop_first() {
                Some((place, record)) => {
                    self.note(place.clone(), Arc::clone(&record));
                    Some((place, record))
                }
                None => self.after.pop_first(),
            };
            let Some((place, record)) = next else { break };
            self.before.insert(place, record);
        }
        while self.shown.len() > self.size {
            let Some((place, record)) = self.shown.pop_last() else { break };
            self.note(place.clone(), Arc::clone(&record));
            self.after.insert(place, record);
        }
        while self.shown.len() < self.size {
            let Some((place, record)) = self.after.pop_first() else { break };
            self.show(place, record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::filter::{JsonDocument, OrderBy};
    use amps_transport::Time;
    use proptest::prelude::*;

    fn record(key: u8, value: u8) -> Arc<Record> {
        Arc::new(Record {
            topic: "t".into(),
            key: key.to_string().into(),
            body: format!("{{\"v\":{value}}}").into_bytes().into(),
            correlation: None,
            publisher: "".into(),
            bookmark: None,
            updated: Time::EPOCH,
            expires: None,
        })
    }

    fn names(records: &[Arc<Record>]) -> Vec<(String, Vec<u8>)> {
        records.iter().map(|record| (record.key.to_string(), record.body.to_vec())).collect()
    }

    proptest! {
        /// Against a window that is cut out of everything, sorted anew for each change.
        #[test]
        fn the_window_is_what_sorting_everything_shows(
            skip in 0usize..4,
            size in 0usize..4,
            steps in prop::collection::vec((0u8..8, prop::option::of(0u8..5)), 1..40),
        ) {
            let order = OrderBy::parse("/v DESC").unwrap();
            let sort_key = |record: &Record| order.key(&JsonDocument::new(&record.body));
            let mut ranked = Ranked::new(skip, size);
            let mut all: BTreeMap<String, Arc<Record>> = BTreeMap::new();
            let mut window: Vec<Arc<Record>> = Vec::new();
            for (key, value) in steps {
                ranked.remove(&key.to_string().into());
                all.remove(&key.to_string());
                if let Some(value) = value {
                    let record = record(key, value);
                    ranked.insert(Some(sort_key(&record)), Arc::clone(&record));
                    all.insert(key.to_string(), record);
                }
                let mut sorted: Vec<_> = all.values().cloned().collect();
                sorted.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)).then_with(|| a.key.cmp(&b.key)));
                let now: Vec<_> = sorted.into_iter().skip(skip).take(size).collect();
                let shows = |window: &[Arc<Record>], record: &Record| window.iter().any(|r| r.key == record.key);
                let left: Vec<_> = window.iter().filter(|record| !shows(&now, record)).cloned().collect();
                let entered: Vec<_> = now.iter().filter(|record| !shows(&window, record)).cloned().collect();
                let turn = ranked.turn(&key.to_string());
                prop_assert_eq!(names(&turn.left), names(&left));
                prop_assert_eq!(names(&turn.entered), names(&entered));
                let changed = all.get(&key.to_string()).filter(|record| shows(&now, record) && shows(&window, record));
                prop_assert_eq!(turn.stayed.map(|record| record.body.to_vec()), changed.map(|record| record.body.to_vec()));
                prop_assert_eq!(names(&ranked.shown().cloned().collect::<Vec<_>>()), names(&now));
                window = now;
            }
        }
    }
}
