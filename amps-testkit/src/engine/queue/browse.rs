//! What of a queue can be looked at: the messages that nobody holds (server.md Q-15).
//!
//! Owns the list of the messages of which that may have changed, for whoever keeps a copy of what
//! can be seen. It is written only if there is somebody.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::MessageId;

use super::{Entry, Queue, QueueMessage};

impl Queue {
    /// From now on, somebody wants to know what can be seen. Returns all that can be.
    pub(crate) fn begin_browsing(&mut self) -> impl Iterator<Item = &QueueMessage> {
        self.stirred.get_or_insert_default();
        self.browsable()
    }

    /// The messages that a query shows: active, and nobody's.
    pub(crate) fn browsable(&self) -> impl Iterator<Item = &QueueMessage> {
        self.active_messages().map(|(_, message)| message).filter(|message| message.lease.is_none())
    }

    /// The message with a bookmark, if a query shows it.
    pub(crate) fn browse(&self, bookmark: MessageId) -> Option<&QueueMessage> {
        let position = self.position_of(bookmark).filter(|position| !self.inactive.contains(position))?;
        self.message(position).filter(|message| message.lease.is_none())
    }

    /// It may have changed whether a message can be seen.
    pub(super) fn stir(&mut self, entry: &Arc<Entry>) {
        if let Some(stirred) = &mut self.stirred {
            stirred.push(Arc::clone(entry));
        }
    }

    /// Of which messages that may have changed since this was last asked, in order.
    pub(crate) fn take_stirred(&mut self) -> Vec<Arc<Entry>> {
        self.stirred.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
