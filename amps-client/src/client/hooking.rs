//! Who hears of what besides the messages of subscriptions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use amps_protocol::{CommandKind, Message as Raw};

use super::Client;
use crate::command::Command;
use crate::dispatcher::run_deferred;
use crate::error::{Error, Result};
use crate::hooks::{Direction, Hook, ListenerId, SlowConsumer};
use crate::lease::LeaseOverrun;
use crate::listener::{AfterRefusal, ConnectionState};
use crate::session::shared::Urgency;
use crate::write_failure::FailedWrite;

impl Client {
    /// Adds a listener for the states of the connection. It runs on the loop, the first time perhaps on the thread
    /// that connects ([`ClientBuilder::connect`](crate::ClientBuilder::connect)): it must not wait, and a call of this client that waits returns `Usage` there. Its panic is reported.
    /// Listeners are called in the order in which they were added.
    pub fn on_state(&self, listener: impl Fn(ConnectionState) + Send + Sync + 'static) -> ListenerId {
        self.inner.hooks.add_state(Arc::new(listener))
    }

    /// Removes one listener for connection states; returns whether it was there.
    pub fn remove_state_listener(&self, id: ListenerId) -> bool {
        self.inner.hooks.remove_state(id)
    }

    /// Sets the listener for errors that have no caller; see [`ClientBuilder::on_error`](crate::ClientBuilder::on_error).
    pub fn on_error(&self, listener: impl Fn(&Error) + Send + Sync + 'static) {
        self.inner.hooks.set_error(Arc::new(listener));
    }

    /// Sets the listener for messages that no subscription took: late ones of a subscription
    /// that has ended, and refusals that nobody waits for. Runs on the loop. Without it they
    /// are dropped.
    pub fn on_unexpected(&self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_unexpected(Arc::new(listener));
    }

    /// Sets the listener for messages that were seen before, which reach no subscription. Runs
    /// on the loop.
    pub fn on_duplicate(&self, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_duplicate(Arc::new(listener));
    }

    /// Decides what becomes of a subscription that the server refuses to place again; see
    /// [`ClientBuilder::on_failed_resubscription`](crate::ClientBuilder::on_failed_resubscription).
    pub fn on_failed_resubscription(
        &self,
        decider: impl Fn(&Command, &Error) -> AfterRefusal + Send + Sync + 'static,
    ) {
        self.inner.hooks.set_refusal(Arc::new(decider));
    }

    /// Sets the listener for writes that the server refused to persist. Runs on the loop.
    /// Without it such acknowledgements go to [`on_unexpected`](Self::on_unexpected).
    pub fn on_failed_write(&self, listener: impl Fn(&FailedWrite<'_>) + Send + Sync + 'static) {
        self.inner.hooks.set_failed_write(Arc::new(listener));
    }

    /// Sets the listener for every message of one kind, before it goes where it belongs and
    /// whether or not anybody wants it. Runs on the loop. Handing `CommandKind::Ack` shows
    /// all acknowledgements, also those that the client asks for by itself.
    pub fn on_kind(&self, kind: CommandKind, listener: impl Fn(&Raw<&[u8]>) + Send + Sync + 'static) {
        self.inner.hooks.set_messages(kind, Arc::new(listener));
    }

    /// Sets what happens after an unexpected disconnect; see [`ClientBuilder::on_disconnect`](crate::ClientBuilder::on_disconnect).
    ///
    /// # Errors
    /// `Usage` if the client has a reconnect policy: the two exclude each other.
    pub fn on_disconnect(
        &self,
        handler: impl FnMut(&Self, &Error) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if self.inner.reconnects {
            return Err(Error::Usage(
                "a reconnect policy and a disconnect handler exclude each other; listen with `on_state` instead",
            ));
        }
        self.inner.hooks.set_disconnect(Arc::new(Mutex::new(handler)));
        Ok(())
    }

    /// Shows the raw bytes, for diagnosis: what is sent before it is encrypted or compressed,
    /// what is received afterwards. Bytes come as they are read and written, not frame by
    /// frame, lengths included. Set it before connecting to see the logon, and beware: a logon
    /// bears the password.
    ///
    /// The listener runs on the thread that writes or reads, so it must not wait for the server: nothing is
    /// written meanwhile. It must send nothing in answer to what goes out, which would never end. What
    /// it sends in answer to what comes in may be left out of what it is shown.
    pub fn on_traffic(&self, listener: impl FnMut(Direction, &[u8]) + Send + 'static) {
        self.inner.hooks.set_traffic(Arc::new(Mutex::new(listener)));
    }

    /// Sets the listener for streams that are full, because nobody reads them as fast as
    /// messages come. Called once each time that a stream becomes full. Runs on the loop.
    pub fn on_slow_consumer(&self, listener: impl Fn(&SlowConsumer) + Send + Sync + 'static) {
        self.inner.hooks.set_slow(Arc::new(listener));
    }

    /// Sets the listener for messages that were acknowledged after their lease had ended, by a handler, by auto-ack
    /// or by [`Message::ack`](crate::Message::ack): by then the server may have given them to somebody else. Runs on
    /// the thread that acknowledges, before the acknowledgement is on its way, and must not wait for the server.
    ///
    /// The server names the end of a lease by its clock, which is compared with this machine's (see
    /// [`ClientBuilder::system_time`](crate::ClientBuilder::system_time)): keep them in step. Messages that were
    /// given back, those whose lease was extended, and those of a connection that is gone are not told.
    pub fn on_lease_overrun(&self, listener: impl Fn(&LeaseOverrun) + Send + Sync + 'static) {
        self.inner.hooks.set_overrun(Arc::new(listener));
        self.inner.shared.leases.turn(true);
    }

    /// Runs on the thread that serves this client when a connection begins, before anything is
    /// received on it: to name the thread, or to bind it to a processor. The thread stays the
    /// same across reconnects, and may serve other clients too.
    pub fn on_connection_start(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.hooks.set_start(Arc::new(hook));
    }

    /// Runs on the thread that serves this client when a connection has ended.
    pub fn on_connection_end(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.hooks.set_end(Arc::new(hook));
    }

    /// Runs `work` once this client is connected and recovered: now if it is, else after the
    /// next recovery. On a thread of its own, so that it may wait; several run in order. Dropped
    /// with the client if that never happens.
    pub fn when_recovered(&self, work: impl FnOnce(&Self) + Send + 'static) {
        self.inner.hooks.defer(Box::new(work));
        run_deferred(self.clone(), &self.inner.hooks);
    }

    /// Gathers publishes: they are written once `bytes` wait, or `within` after the first of
    /// them, or with anything else that is sent. Larger pieces for the network at the price of
    /// that time. Zero bytes, the default, writes each at once, unless publishes come back to
    /// back.
    pub fn set_publish_batching(&self, bytes: usize, within: Duration) {
        let now = self.inner.clock.now();
        self.inner.shared.act(now, Urgency::Now, |outbound| outbound.set_batching(bytes, within));
    }

    /// Removes what was set for a hook: from the next event on, it is as if it had never been.
    pub fn remove_hook(&self, hook: Hook) {
        self.inner.hooks.remove(hook);
        if hook == Hook::LeaseOverruns {
            self.inner.shared.leases.turn(self.inner.hooks.watches_leases());
        }
    }
}
