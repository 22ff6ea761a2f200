//! From subscription ids on the wire to subscriptions.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::subscription::SubKey;

/// What the inbound half keeps of a subscription.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) key: SubKey,
    pub(crate) auto_ack: bool,
    /// Leased messages that reached the application on this connection: the number of the
    /// next one.
    pub(crate) leased: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_id: BTreeMap<Box<[u8]>, Route>,
}

impl Routes {
    pub(crate) fn add(&mut self, id: &str, key: SubKey, auto_ack: bool) {
        self.by_id.insert(id.as_bytes().into(), Route { key, auto_ack, leased: 0 });
    }

    pub(crate) fn remove(&mut self, key: SubKey) {
        self.by_id.retain(|_, route| route.key != key);
    }

    /// Leases ended with their connection: numbers begin anew.
    pub(crate) fn restart(&mut self, key: SubKey) {
        if let Some(route) = self.by_id.values_mut().find(|route| route.key == key) {
            route.leased = 0;
        }
    }

    #[inline]
    pub(crate) fn find(&mut self, id: &[u8]) -> Option<&mut Route> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_id.values()
    }
}
