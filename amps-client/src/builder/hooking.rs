//! What is heard of a client from its first connection on.

use std::sync::{Arc, Mutex};

use amps_protocol::{CommandKind, Message as Raw};

use super::ClientBuilder;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::hooks::{Direction, SlowConsumer};
use crate::lease::LeaseOverrun;
use crate::listener::ConnectionState;
use crate::write_failure::FailedWrite;

impl ClientBuilder {
    /// Adds a listener for the states of the connection; see [`Client::on_state`].
    pub fn on_state(self, listener: impl Fn(ConnectionState) + Send + Sync + 'static) -> Self {
        self.hooks.add_state(Arc::new(listener));
        self
    }

    /// Sets a listener for errors that have no caller: failed handlers, lost connections, refused
    /// resubscriptions, and each failed attempt to connect, also those of a `connect` that goes
    /// on to another server. May be called from several threads.
    pub fn on_error(self, listener: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.hooks.set_error(Arc::new(listener));
        self
    }

    /// Sets a listener for messages that no subscription took, for example late ones of a
    /// subscription that has ended. Runs on the loop.
    pub fn on_unexpected(self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) -> Self {
        self.hooks.set_unexpected(Arc::new(listener));
        self
    }

    /// Sets a listener for messages that were seen before; see [`Client::on_duplicate`].
    pub fn on_duplicate(self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) -> Self {
        self.hooks.set_duplicate(Arc::new(listener));
        self
    }

    /// Sets a listener for refused writes; see [`Client::on_failed_write`].
    pub fn on_failed_write(self, listener: impl Fn(&FailedWrite<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.set_failed_write(Arc::new(listener));
        self
    }

    /// Sets a listener for every message of one kind; see [`Client::on_kind`].
    pub fn on_kind(self, kind: CommandKind, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) -> Self {
        self.hooks.set_messages(kind, Arc::new(listener));
        self
    }

    /// Shows the raw bytes; see [`Client::on_traffic`]. Set here, it sees the logon, and with
    /// that the password.
    pub fn on_traffic(self, listener: impl FnMut(Direction, &[u8]) + Send + 'static) -> Self {
        self.hooks.set_traffic(Arc::new(Mutex::new(listener)));
        self
    }

    /// Sets a listener for streams that are full; see [`Client::on_slow_consumer`].
    pub fn on_slow_consumer(self, listener: impl Fn(&SlowConsumer) + Send + Sync + 'static) -> Self {
        self.hooks.set_slow(Arc::new(listener));
        self
    }

    /// Sets a listener for messages that were acknowledged after their lease had ended; see
    /// [`Client::on_lease_overrun`].
    pub fn on_lease_overrun(self, listener: impl Fn(&LeaseOverrun) + Send + Sync + 'static) -> Self {
        self.hooks.set_overrun(Arc::new(listener));
        self
    }

    /// Runs on the thread that serves the client when a connection begins; see
    /// [`Client::on_connection_start`].
    pub fn on_connection_start(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks.set_start(Arc::new(hook));
        self
    }

    /// Runs on the thread that serves the client when a connection has ended; see
    /// [`Client::on_connection_end`].
    pub fn on_connection_end(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks.set_end(Arc::new(hook));
        self
    }

    /// Sets what happens after an unexpected disconnect, in place of a reconnect policy. It
    /// runs on a thread of its own, once per disconnect and not for `close`; it may call
    /// `connect`, `connect_to` and `subscribe`. Subscriptions have ended by then.
    pub fn on_disconnect(self, handler: impl FnMut(&Client, &Error) -> Result<()> + Send + 'static) -> Self {
        self.hooks.set_disconnect(Arc::new(Mutex::new(handler)));
        self
    }
}
