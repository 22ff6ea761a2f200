//! What a session expects of the application behind it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::{CommandKind, Message};
use amps_transport::{ConnId, Time};
use bytes::Bytes;

use super::outbound::Generation;
use super::replay::Replay;
use super::settling::Lease;
use super::subscription::SubKey;
use crate::advisor::News;
use crate::authenticator::{Authenticator, Question};
use crate::command::Command;
use crate::error::Error;
use crate::listener::{AfterRefusal, ConnectionState};

/// A message on its way to one subscription.
#[derive(Debug)]
pub(crate) struct Delivery<'a, 'b> {
    /// Whose it is.
    pub(crate) key: SubKey,
    /// The connection that it came by.
    pub(crate) generation: Generation,
    /// The message, borrowed from the read buffer.
    pub(crate) message: &'a mut Message<&'b [u8]>,
    /// Where its frame lies within the read that [`App::end_of_read`] hands over.
    pub(crate) offset: usize,
    /// The number of its lease, if it has one.
    pub(crate) lease: Option<Lease>,
    /// Its tie to the bookmark store, for the application to say when it is done with the message.
    pub(crate) replay: Option<Arc<Replay>>,
    /// Whether the index may be taken out of `message` (no other subscription needs it).
    pub(crate) last: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Processed: a leased message is acknowledged if its subscription says so.
    Done,
    /// Failed: a leased message of an auto-ack subscription is cancelled.
    Failed,
    /// Kept in a stream; the application acknowledges when it has read it.
    Kept,
}

/// The application's side: handlers and streams in production, a model in the simulator.
pub(crate) trait App {
    /// Takes one message.
    fn deliver(&mut self, delivery: Delivery<'_, '_>) -> Disposition;

    /// The message whose delivery failed has been dealt with: its error may be reported.
    fn report_failure(&mut self);

    /// The present time, not before `then`: handlers take their time.
    fn now(&mut self, then: Time) -> Time;

    /// Whether a message that was delivered is needed beyond the read that it came with.
    fn holds_bytes(&self) -> bool;

    /// The read that all messages since the last call belonged to is over; `bytes` holds it.
    fn end_of_read(&mut self, bytes: Bytes);

    /// Whether the next message must wait. Only what [`wants_pause`](Self::wants_pause) says
    /// later ends that.
    fn is_full(&self) -> bool;

    /// The threads that would have to make room while reading is stopped.
    fn held_back(&self) -> Vec<u64>;

    /// Whether the application has taken in so much that reading should stop for now.
    fn wants_pause(&mut self) -> bool;

    /// The subscription is over; with an error if the application did not ask for that.
    fn ended(&mut self, key: SubKey, error: Option<Error>);

    /// The server agreed to a replacement, whose command had the number `serial`; `takes_over`: somebody else
    /// has the messages from now on.
    fn replaced(&mut self, key: SubKey, serial: SubKey, takes_over: bool);

    /// The connection is gone; unread leased messages belong to the server again.
    fn interrupted(&mut self, key: SubKey);

    /// The subscription was placed again on a new connection; `gapless`: nothing was missed.
    fn resumed(&mut self, key: SubKey, gapless: bool);

    /// The server has refused to place a subscription again.
    fn not_resubscribed(&mut self, command: &Command, error: &Error) -> AfterRefusal;

    /// A message came that the subscription has had before.
    fn duplicate(&mut self, message: &Message<&[u8]>);

    /// No message comes any more; what is there may still be read.
    fn draining(&mut self, key: SubKey);

    /// The connection's state changed.
    fn state(&mut self, state: ConnectionState);

    /// The connection is recovered: whatever is asked of the client now finds it as it was.
    fn recovered(&mut self);

    /// Something failed that has no caller.
    fn report(&mut self, error: &Error);

    /// The connection is gone and nobody reconnects: the application's own handler may.
    fn disconnected(&mut self, error: &Error);

    /// Whether somebody watches every message of this kind.
    fn watches(&self, kind: CommandKind) -> bool;

    /// Shows a message to whoever watches its kind.
    fn observe(&mut self, message: &Message<&[u8]>);

    /// An acknowledgement says that something was not persisted, with what that was if it is
    /// known; whether anybody wanted to know.
    fn failed_write(&mut self, ack: &Message<&[u8]>, original: Option<&Message<&[u8]>>) -> bool;

    /// Asks what to log on with, or tells that it was right. Without anybody to ask it returns
    /// `false`; else the answer of a question comes back as a note.
    fn authenticate(&mut self, conn: ConnId, question: &Question) -> bool;

    /// Whether somebody else than the session chooses the servers.
    fn advises(&self) -> bool;

    /// Tells whoever chooses the servers what happened, or asks for the next.
    fn advise(&mut self, news: News);

    /// A server was chosen, with credentials of its own if it has any.
    fn chosen(&mut self, authenticator: Option<Arc<dyn Authenticator>>);

    /// Bytes came, as they were read.
    fn raw_inbound(&mut self, bytes: &[u8]);

    /// A message that no subscription took.
    fn unexpected(&mut self, message: &Message<&[u8]>);
}
