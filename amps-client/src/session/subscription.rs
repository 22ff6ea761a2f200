//! One subscription as the session knows it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use amps_protocol::{Command as Wire, Id, Unsubscribe};

use super::acks::{AckSettings, Acks};
use super::leases::Leases;
use super::replay::Replay;
use crate::command::{Command, WireIds};

/// Names a subscription within its client, in the order in which they were placed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubKey(pub(crate) u64);

impl fmt::Display for SubKey {
    /// The subscription id that the key becomes, unless the application chooses one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sub{}", self.0)
    }
}

/// What is placed, and how.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The command as the application gave it, but for `replace`.
    pub(crate) command: Command,
    /// Acknowledge leased messages once they are processed.
    pub(crate) auto_ack: bool,
    /// Overrides the client's batch size.
    pub(crate) ack_batch_size: Option<usize>,
    /// Place the subscription again after a reconnect.
    pub(crate) resubscribe: bool,
    /// Its messages go to a stream.
    pub(crate) streams: bool,
}

impl Spec {
    pub(crate) const fn new(command: Command) -> Self {
        Self { command, auto_ack: false, ack_batch_size: None, resubscribe: true, streams: false }
    }
}

/// Something that was placed and whose messages somebody takes: a subscription, a query, or
/// a command whose acknowledgements the application wants to see.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) ids: WireIds,
    pub(crate) spec: Spec,
    /// Whose messages they are: the number of the command by which that was settled.
    pub(crate) owner: SubKey,
    /// What the server granted on this connection; `None` if it is no queue.
    pub(crate) granted: Option<u32>,
    /// It has to do with a queue, as far as is known; stays so across connections.
    pub(crate) is_queue: bool,
    pub(crate) acks: Acks,
    pub(crate) leases: Leases,
    /// Leases that auto-ack leaves to the application.
    pub(crate) exempt: BTreeSet<u64>,
    /// Leases that last longer than their messages say.
    pub(crate) extended: BTreeSet<u64>,
    /// Its tie to the bookmark store, if it is a bookmark subscription.
    pub(crate) replay: Option<Arc<Replay>>,
    /// A server has said up to where everything is on all its replicas.
    pub(crate) safe: bool,
    pub(crate) pausing: Pausing,
}

/// Whether a replay is paused, as the application wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pausing {
    /// Never was.
    #[default]
    No,
    Paused,
    /// Resumed together with all others of this number.
    Resumed(u64),
}

impl Subscription {
    pub(crate) fn new(owner: SubKey, ids: WireIds, spec: Spec, replay: Option<Arc<Replay>>) -> Self {
        let pausing = if spec.command.get_options().pause() { Pausing::Paused } else { Pausing::No };
        let is_queue = spec.command.get_options().contains("max_backlog");
        Self {
            ids,
            spec,
            owner,
            is_queue,
            granted: None,
            acks: Acks::default(),
            leases: Leases::default(),
            exempt: BTreeSet::new(),
            extended: BTreeSet::new(),
            replay,
            safe: false,
            pausing,
        }
    }

    /// Whether messages come until it is ended.
    pub(crate) fn is_live(&self) -> bool {
        self.ids.sub.is_some()
    }

    /// The name by which it is ended and reported.
    pub(crate) fn id(&self) -> &Id<'static> {
        self.ids.sub.as_ref().or(self.ids.query.as_ref()).unwrap_or(&self.ids.command)
    }

    /// Writes the command that ends it.
    pub(crate) fn end(&self) -> Option<Unsubscribe<'static>> {
        match (&self.ids.sub, &self.ids.query) {
            (Some(sub), Some(query)) if query != sub => {
                Some(Wire::unsubscribe([sub.clone()]).and_queries([query.clone()]))
            }
            (Some(sub), _) => Some(Wire::unsubscribe([sub.clone()])),
            (None, Some(query)) => Some(Wire::cancel_queries([query.clone()])),
            (None, None) => None,
        }
    }

    /// The acknowledgements that make a batch full.
    pub(crate) fn effective_batch(&self, settings: AckSettings) -> usize {
        let batch_size = self.spec.ack_batch_size.unwrap_or(settings.batch_size);
        AckSettings { batch_size, ..settings }.effective_batch(self.granted)
    }

    /// Forgets everything that belonged to the connection that was lost.
    pub(crate) fn connection_lost(&mut self) {
        self.granted = None;
        self.acks.clear();
        self.leases = Leases::default();
        self.exempt.clear();
        self.extended.clear();
    }
}
