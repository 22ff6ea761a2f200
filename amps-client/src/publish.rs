//! What a publish returns.

use std::fmt;
use std::sync::Arc;

use crate::session::Shared;
use crate::session::outbound::{Generation, PublishState};

/// Tells what became of one published message. Ignore it, or ask it later.
///
/// Queued and written are different answers, and neither says that the server has the
/// message: after [`Client::flush`](crate::Client::flush) everything written before was
/// processed by the server.
#[derive(Clone)]
pub struct Receipt {
    shared: Arc<Shared>,
    generation: Generation,
    end: u64,
}

impl Receipt {
    pub(crate) const fn new(shared: Arc<Shared>, generation: Generation, end: u64) -> Self {
        Self { shared, generation, end }
    }

    /// What became of the message so far.
    pub fn state(&self) -> PublishState {
        self.shared.with(|outbound| outbound.publish_state(self.generation, self.end))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.state()).finish()
    }
}
