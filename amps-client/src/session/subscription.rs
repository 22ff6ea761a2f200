//! One subscription as the session knows it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::fmt;

use amps_protocol::{AckType, Command, Id, Options, Subscribe};

use super::acks::{AckSettings, Acks};
use super::leases::Leases;

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

/// What a subscription asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubscribeSpec {
    /// The topic, or a regular expression over topics.
    pub(crate) topic: String,
    /// The content filter.
    pub(crate) filter: Option<String>,
    /// The options, `max_backlog` among them.
    pub(crate) options: Options,
    /// The subscription id; `None` takes the command id.
    pub(crate) sub_id: Option<String>,
    /// Acknowledge leased messages once they are processed.
    pub(crate) auto_ack: bool,
    /// Overrides the client's batch size.
    pub(crate) ack_batch_size: Option<usize>,
    /// Place the subscription again after a reconnect.
    pub(crate) resubscribe: bool,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Id<'static>,
    pub(crate) spec: SubscribeSpec,
    /// What the server granted on this connection; `None` if it is no queue.
    pub(crate) granted: Option<u32>,
    /// It has to do with a queue, as far as is known; stays so across connections.
    pub(crate) is_queue: bool,
    pub(crate) acks: Acks,
    pub(crate) leases: Leases,
    /// Leases that auto-ack leaves to the application.
    pub(crate) exempt: BTreeSet<u64>,
}

impl Subscription {
    pub(crate) fn new(id: Id<'static>, spec: SubscribeSpec) -> Self {
        let is_queue = spec.options.contains("max_backlog");
        Self {
            id,
            spec,
            is_queue,
            granted: None,
            acks: Acks::default(),
            leases: Leases::default(),
            exempt: BTreeSet::new(),
        }
    }

    /// The command that places it, with the options of this once.
    pub(crate) fn command(&self, cid: u64, options: Options) -> Subscribe<'_> {
        Command::subscribe(&self.spec.topic, self.id.clone())
            .filter(self.spec.filter.as_deref().unwrap_or_default())
            .options(options)
            .ask(cid, AckType::Processed)
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
    }
}
