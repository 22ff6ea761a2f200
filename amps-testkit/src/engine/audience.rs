//! The plain subscriptions to one topic, and which of them a message can be for.
//!
//! Owns an index over filters that ask for one value of a field, which most filters of many
//! subscriptions do. It only leaves out who certainly does not want a message; who is left
//! decides by the whole filter.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use amps_transport::{ConnId, Time};

use super::filter::{Path, ValueKey};
use super::selector::{Facts, Selector};
use super::subscription::{SubKey, Subscription};

/// With fewer subscriptions an index is not worth it.
const WORTH_IT: usize = 16;

/// Subscriptions by connection, each in the order of creation.
pub(crate) type ByConnection = Vec<(ConnId, Vec<SubKey>)>;

/// A subscription, and the place of its connection in the audience.
type Listener = (usize, SubKey);

/// Who listens to one topic.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    all: ByConnection,
    index: Option<Index>,
}

#[derive(Debug, Default)]
struct Index {
    fields: Vec<(Path, BTreeMap<ValueKey, Vec<Listener>>)>,
    /// Those whose filter says nothing of the kind: it has to be evaluated.
    others: Vec<Other>,
}

#[derive(Debug)]
struct Other {
    listener: Listener,
    selector: Option<Selector>,
    /// It hears when a record leaves its focus.
    oof: bool,
}

impl Audience {
    pub(crate) fn new<'s>(
        all: ByConnection,
        subscription: impl Fn(SubKey) -> Option<&'s Subscription>,
    ) -> Self {
        let listeners = || {
            let places = all.iter().enumerate();
            places.flat_map(|(place, (_, keys))| keys.iter().map(move |&key| (place, key)))
        };
        if listeners().count() < WORTH_IT {
            return Self { all, index: None };
        }
        let mut index = Index::default();
        for listener in listeners() {
            if let Some(subscription) = subscription(listener.1) {
                index.add(listener, subscription);
            }
        }
        Self { all, index: Some(index) }
    }

    /// Whether it is worth while to look up fields only once.
    pub(crate) const fn is_large(&self) -> bool {
        self.index.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that one of these states of a message can be for.
    pub(crate) fn concerned(
        &self,
        old: Option<Facts<'_>>,
        new: Option<Facts<'_>>,
        now: Time,
    ) -> Cow<'_, ByConnection> {
        let Some(index) = &self.index else { return Cow::Borrowed(&self.all) };
        let wants = |other: &&Other| {
            let Some(selector) = &other.selector else { return true };
            let states = new.into_iter().chain(old.filter(|_| other.oof));
            states.into_iter().any(|facts| selector.matches(facts, now))
        };
        let mut found: Vec<Listener> =
            index.others.iter().filter(wants).map(|other| other.listener).collect();
        for facts in old.into_iter().chain(new) {
            for (path, listeners) in &index.fields {
                let mut values = Vec::new();
                facts.document.look_up(path, &mut values);
                let keys = values.iter().flat_map(ValueKey::of);
                found.extend(keys.filter_map(|key| listeners.get(&key)).flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        let mut concerned: ByConnection = Vec::new();
        let mut last = None;
        for (place, key) in found {
            match concerned.last_mut().filter(|_| last == Some(place)) {
                Some((_, keys)) => keys.push(key),
                None => concerned.extend(self.all.get(place).map(|(conn, _)| (*conn, vec![key]))),
            }
            last = Some(place);
        }
        Cow::Owned(concerned)
    }
}

impl Index {
    fn add(&mut self, listener: Listener, subscription: &Subscription) {
        let Subscription { selector, shape, .. } = subscription;
        let Some((path, keys)) = selector.as_ref().and_then(Selector::equality) else {
            return self.others.push(Other { listener, selector: selector.clone(), oof: shape.oof });
        };
        let place = self.fields.iter().position(|(known, _)| known == path).unwrap_or_else(|| {
            self.fields.push((path.clone(), BTreeMap::new()));
            self.fields.len() - 1
        });
        let listeners = &mut self.fields[place].1;
        for key in keys {
            listeners.entry(key).or_default().push(listener);
        }
    }
}
