//! Values by subscription, where messages come in runs: the one that was asked for last is found again without a hash.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use rustc_hash::FxHashMap;
use slab::Slab;

use super::subscription::SubKey;

/// A map from subscriptions.
#[derive(Debug)]
pub(crate) struct ByKey<V> {
    values: Slab<(SubKey, V)>,
    places: FxHashMap<SubKey, usize>,
    /// Where the last one was.
    last: usize,
}

impl<V> Default for ByKey<V> {
    fn default() -> Self {
        Self { values: Slab::new(), places: FxHashMap::default(), last: 0 }
    }
}

impl<V> ByKey<V> {
    #[inline]
    pub(crate) fn get_mut(&mut self, key: SubKey) -> Option<&mut V> {
        let place = match self.values.get(self.last) {
            Some((last, _)) if *last == key => self.last,
            _ => *self.places.get(&key)?,
        };
        self.last = place;
        self.values.get_mut(place).map(|(_, value)| value)
    }

    pub(crate) fn get(&self, key: SubKey) -> Option<&V> {
        self.values.get(*self.places.get(&key)?).map(|(_, value)| value)
    }

    /// Adds a value, in the place of an earlier one of this key.
    pub(crate) fn insert(&mut self, key: SubKey, value: V) {
        match self.get_mut(key) {
            Some(place) => *place = value,
            None => {
                if self.values.capacity() == 0 {
                    // Most clients have one subscription, and there may be thousands of those.
                    self.values.reserve_exact(1);
                }
                self.places.insert(key, self.values.insert((key, value)));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: SubKey) -> Option<V> {
        let place = self.places.remove(&key)?;
        self.values.try_remove(place).map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter().map(|(_, (_, value))| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_the_place_of_another_is_not_taken_for_it() {
        let (one, two) = (SubKey(1), SubKey(2));
        let mut map = ByKey::default();
        map.insert(one, "one");
        assert_eq!(map.get_mut(one), Some(&mut "one"));
        assert_eq!(map.remove(one), Some("one"));
        assert_eq!(map.get_mut(one), None);
        assert_eq!(map.get(one), None);
        map.insert(two, "two");
        assert_eq!(map.get_mut(one), None);
        assert_eq!(map.remove(one), None);
        assert_eq!(map.get_mut(two), Some(&mut "two"));
        map.insert(two, "another");
        assert_eq!(map.values().collect::<Vec<_>>(), [&"another"]);
    }
}
