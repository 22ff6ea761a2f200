//! From identifiers on the wire to what was placed.
//!
//! One look in a hash table for each message, however many subscriptions there are, and none for one with the
//! identifier of the message before. The hash has no random seed, so that a simulation repeats exactly; the keys are
//! the client's own.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{AckType, AckTypes};
use rustc_hash::FxHashMap;

use super::by_key::ByKey;
use super::replay::Progress;
use super::subscription::SubKey;
use crate::command::{Ends, WireIds};

/// What the inbound half keeps of something that was placed.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) key: SubKey,
    pub(crate) auto_ack: bool,
    /// Leased messages that reached the application on this connection: the number of the
    /// next one.
    pub(crate) leased: u64,
    /// The acknowledgements that the application wants to see.
    wanted: AckTypes,
    /// Those of them that have come.
    came: AckTypes,
    ends: Ends,
    group_ended: bool,
    ids: Vec<Box<[u8]>>,
    /// Of the command by which it was placed again.
    number: Option<Box<[u8]>>,
    /// Of a bookmark subscription whose client has a bookmark store.
    pub(crate) progress: Option<Progress>,
}

impl Route {
    /// Whether the application wants to see this acknowledgement.
    pub(crate) const fn wants(&self, ack: AckType) -> bool {
        self.wanted.contains(ack)
    }

    /// An acknowledgement came.
    pub(crate) const fn acknowledged(&mut self, ack: AckType) {
        self.came = self.came.with(ack);
    }

    /// Whether messages come until it is ended.
    pub(crate) fn is_live(&self) -> bool {
        self.ends == Ends::Never
    }

    /// The result has ended.
    pub(crate) const fn group_ended(&mut self) {
        self.group_ended = true;
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        let all_came = self.wanted.iter().all(|ack| self.came.contains(ack));
        match self.ends {
            Ends::Never => false,
            Ends::WithGroup => self.group_ended && all_came,
            Ends::WithAcks => all_came,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_id: FxHashMap<Box<[u8]>, SubKey>,
    by_key: ByKey<Route>,
    /// The identifier that was looked for last, and whose it is.
    last: (Vec<u8>, Option<SubKey>),
}

impl Routes {
    pub(crate) fn add(
        &mut self,
        key: SubKey,
        ids: &WireIds,
        auto_ack: bool,
        wanted: AckTypes,
        ends: Ends,
        progress: Option<Progress>,
    ) {
        self.last.1 = None;
        let ids: Vec<Box<[u8]>> = ids.distinct().map(|id| id.as_bytes().into()).collect();
        for id in &ids {
            self.by_id.insert(id.clone(), key);
        }
        let (leased, came, group_ended) = (0, AckTypes::NONE, false);
        self.by_key.insert(
            key,
            Route { key, auto_ack, leased, wanted, came, ends, group_ended, ids, number: None, progress },
        );
    }

    /// The server answers a command of its recovery by this number from now on.
    pub(crate) fn add_number(&mut self, key: SubKey, serial: u64) {
        let Some(route) = self.by_key.get_mut(key) else { return };
        self.last.1 = None;
        let id: Box<[u8]> = serial.to_string().into_bytes().into();
        if self.by_id.contains_key(&id) {
            return;
        }
        if let Some(old) = route.number.replace(id.clone()) {
            self.by_id.remove(&old);
        }
        self.by_id.insert(id, key);
    }

    /// A replacement was accepted.
    pub(crate) fn replaced(&mut self, key: SubKey, auto_ack: bool, progress: Option<Progress>) {
        if let Some(route) = self.by_key.get_mut(key) {
            route.auto_ack = auto_ack;
            route.progress = progress;
        }
    }

    pub(crate) fn remove(&mut self, key: SubKey) {
        let Some(route) = self.by_key.remove(key) else { return };
        self.last.1 = None;
        for id in route.ids.into_iter().chain(route.number) {
            // Another command may have taken the id over meanwhile.
            if self.by_id.get(&id) == Some(&key) {
                self.by_id.remove(&id);
            }
        }
    }

    /// Leases ended with their connection: numbers begin anew.
    pub(crate) fn restart(&mut self, key: SubKey) {
        if let Some(route) = self.by_key.get_mut(key) {
            route.leased = 0;
            if let Some(progress) = &mut route.progress {
                progress.restart();
            }
        }
    }

    #[inline]
    pub(crate) fn find(&mut self, id: &[u8]) -> Option<&mut Route> {
        if let Some(key) = self.last.1.filter(|_| self.last.0 == id) {
            return self.by_key.get_mut(key);
        }
        let key = *self.by_id.get(id)?;
        self.last.0.clear();
        self.last.0.extend_from_slice(id);
        self.last.1 = Some(key);
        self.by_key.get_mut(key)
    }

    pub(crate) fn get(&mut self, key: SubKey) -> Option<&mut Route> {
        self.by_key.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_key.values()
    }
}
