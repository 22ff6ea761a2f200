//! Writes that the server refused.

use std::fmt;

use amps_protocol::{Message as Raw, ReasonClass};

/// An acknowledgement that says that a publish or a delete was not persisted; see
/// [`Client::on_failed_write`](crate::Client::on_failed_write).
///
/// A server acknowledges only what asks for it: give the client a publish store, or the command
/// [`AckType::Persisted`](crate::AckType::Persisted).
pub struct FailedWrite<'a> {
    ack: &'a Raw<&'a [u8]>,
    original: Option<&'a Raw<&'a [u8]>>,
}

impl<'a> FailedWrite<'a> {
    pub(crate) const fn new(ack: &'a Raw<&'a [u8]>, original: Option<&'a Raw<&'a [u8]>>) -> Self {
        Self { ack, original }
    }

    /// The server's words; empty if it gave none.
    pub fn reason(&self) -> String {
        self.ack.reason().map(ToString::to_string).unwrap_or_default()
    }

    /// What kind of refusal it is.
    pub fn class(&self) -> ReasonClass {
        ReasonClass::of(self.reason())
    }

    /// The sequence number of the write, if it has one.
    pub fn sequence(&self) -> Option<u64> {
        self.ack.sequence()
    }

    /// What was to be written: a publish or a delete, with its topic, its body and all else. Only
    /// a publish store knows it; it leaves the store when the listener has returned.
    pub const fn original(&self) -> Option<&Raw<&'a [u8]>> {
        self.original
    }

    /// The acknowledgement itself.
    pub const fn ack(&self) -> &Raw<&'a [u8]> {
        self.ack
    }
}

impl fmt::Debug for FailedWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedWrite")
            .field("sequence", &self.sequence())
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}
