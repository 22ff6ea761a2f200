//! Subscribing, querying, and everything else that a command says.

use std::sync::atomic::Ordering;

use super::Client;
use crate::command::Command;
use crate::dispatcher::HandlerResult;
use crate::error::Result;
use crate::message::Message;
use crate::placement::{Placement, Starting};
use crate::session::placing::unknown_subscription;
use crate::subscribe::{Sow, Subscribe};
use crate::subscription::{HandlerSubscription, Subscription};

impl Client {
    /// Begins to describe a subscription to a topic, or to all topics that a regular
    /// expression matches.
    pub fn subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::subscribe(topic))
    }

    /// As [`subscribe`](Self::subscribe), with only the fields that changed. What is delivered
    /// is what the server sends: the client merges nothing.
    pub fn delta_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::delta_subscribe(topic))
    }

    /// Describes a bookmark subscription: a replay of a topic's log from `bookmark` on, which goes
    /// on with what is published afterwards. A bookmark is
    /// [`MOST_RECENT`](crate::bookmarks::MOST_RECENT) (where the subscription left off), that of a message, a comma
    /// list of them, `0` for the beginning, `0|1|` for now, a moment
    /// ([`bookmarks::at`](crate::bookmarks::at)), or a range.
    ///
    /// To go on after a restart, give the client a
    /// [bookmark store](crate::ClientBuilder::bookmark_store), the subscription an id of its own
    /// ([`Subscribe::sub_id`]), the same at every start, and [discard](Message::discard) every
    /// message.
    pub fn bookmark_subscribe(&self, topic: impl Into<String>, bookmark: impl Into<String>) -> Subscribe {
        self.subscribe(topic).bookmark(bookmark)
    }

    /// Pauses replays: from now on the server sends nothing for them, and keeps their place. After a
    /// reconnect they are paused still. Waits until the server agrees.
    ///
    /// # Errors
    /// `InvalidSubscription` for an id that the server does not know, `Disconnected`, `TimedOut`, or
    /// `Usage` on the loop.
    pub fn pause<S: AsRef<str>>(&self, sub_ids: impl IntoIterator<Item = S>) -> Result<()> {
        self.control(sub_ids, Command::pause)
    }

    /// Resumes replays that were paused, or placed with [`Command::pause`]. Several that stand at
    /// the same place are replayed together: their messages come in the order of the log, across
    /// topics, also after a reconnect.
    ///
    /// ```
    /// use amps_client::{Client, Command};
    /// # let server = amps_testkit::FakeServer::builder()
    /// #     .txlog("orders").txlog("trades").start()?;
    /// # let uri = server.uri("json");
    ///
    /// let client = Client::builder("desk-7").server(&uri).connect()?;
    /// client.publish("orders", "1")?;
    /// client.publish("trades", "2")?;
    /// client.publish("orders", "3")?;
    /// let paused = |topic, id| Command::subscribe(topic).bookmark("0").sub_id(id).pause();
    /// let (all, both) = std::sync::mpsc::channel();
    /// for (topic, id) in [("orders", "A"), ("trades", "B")] {
    ///     let all = all.clone();
    ///     client.execute_with(&paused(topic, id), move |message| {
    ///         all.send(message.data_str()?.to_owned())?;
    ///         Ok(())
    ///     })?;
    /// }
    /// client.resume(["A", "B"])?;
    /// let order: Vec<String> = both.iter().take(3).collect();
    /// assert_eq!(order, ["1", "2", "3"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    pub fn resume<S: AsRef<str>>(&self, sub_ids: impl IntoIterator<Item = S>) -> Result<()> {
        self.control(sub_ids, Command::resume)
    }

    fn control<S: AsRef<str>>(
        &self,
        sub_ids: impl IntoIterator<Item = S>,
        how: impl FnOnce(Command) -> Command,
    ) -> Result<()> {
        self.control_command(sub_ids, how)?.map_or(Ok(()), |command| self.perform(&command))
    }

    /// The command that pauses or resumes; `None` if there is nothing to ask.
    pub(super) fn control_command<S: AsRef<str>>(
        &self,
        sub_ids: impl IntoIterator<Item = S>,
        how: impl FnOnce(Command) -> Command,
    ) -> Result<Option<Command>> {
        let ids: Vec<String> = sub_ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        // Servers want a topic (protocol.md OP-4): that of the first.
        let first = ids.first().map_or("", |id| id.as_str());
        let topic = self.inner.shared.with(|outbound| outbound.topic_of(first));
        let Some(topic) = topic else { return Err(unknown_subscription(first)) };
        Ok(Some(how(Command::subscribe(topic).sub_ids(ids))))
    }

    /// Begins to describe a query: the records of a topic, as they are now.
    pub fn sow(&self, topic: impl Into<String>) -> Sow {
        Sow::of(self.clone(), Command::sow(topic))
    }

    /// Begins to describe a query whose result is followed by the messages of the topic,
    /// without a gap and without an overlap.
    pub fn sow_and_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::sow_and_subscribe(topic))
    }

    /// As [`sow_and_subscribe`](Self::sow_and_subscribe), with only the fields that changed
    /// once the result is there.
    pub fn sow_and_delta_subscribe(&self, topic: impl Into<String>) -> Subscribe {
        Subscribe::of(self.clone(), Command::sow_and_delta_subscribe(topic))
    }

    /// Executes a command, and returns its messages: those of a subscription, the records of a
    /// query, the acknowledgements that the command asks for. A command without any has an
    /// iterator that is at its end. Waits until the server has processed the command, unless it
    /// publishes, or asks for nothing.
    ///
    /// # Errors
    /// `InvalidArgument` before anything is sent; what the server refuses; `Disconnected`;
    /// `TimedOut`; `Usage` on the loop.
    pub fn execute(&self, command: &Command) -> Result<Subscription> {
        Placement::new(self.clone(), command.clone()).start()
    }

    /// Begins to describe how a command is placed that is there already: what a [`Command`] itself cannot say,
    /// such as [`Subscribe::no_resubscribe`], the limits of the stream, or the batches of acknowledgements.
    ///
    /// ```
    /// use amps_client::{Client, Command};
    /// # let server = amps_testkit::FakeServer::builder().start()?;
    /// # let uri = server.uri("json");
    ///
    /// let client = Client::builder("desk-7").server(&uri).connect()?;
    /// let command = Command::subscribe("orders").filter("/qty > 3");
    /// let orders = client.prepare(&command).no_resubscribe().max_depth(1000).start()?;
    /// # drop(orders);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare(&self, command: &Command) -> Subscribe {
        Subscribe::of(self.clone(), command.clone())
    }

    /// As [`execute`](Self::execute), for async code: the command is written now, and the
    /// future waits for the server. It never blocks: where too much waits to be sent, the answer is `Full`. See
    /// [`Starting`] for what happens when it is dropped.
    pub fn execute_future(&self, command: &Command) -> Starting {
        Placement::new(self.clone(), command.clone()).start_future()
    }

    /// As [`execute`](Self::execute), with a handler; see [`Subscribe::on_message`] for what it
    /// may do. With the option `replace` the handler takes over from the one before, once the
    /// server has agreed.
    ///
    /// # Errors
    /// As for `execute`.
    pub fn execute_with(
        &self,
        command: &Command,
        handler: impl FnMut(&Message<&[u8]>) -> HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription> {
        Placement::new(self.clone(), command.clone()).handle(Box::new(handler))
    }

    /// As [`execute_with`](Self::execute_with), for async code, in the way of
    /// [`execute_future`](Self::execute_future).
    pub fn execute_with_future(
        &self,
        command: &Command,
        handler: impl FnMut(&Message<&[u8]>) -> HandlerResult + Send + 'static,
    ) -> Starting<HandlerSubscription> {
        Placement::new(self.clone(), command.clone()).handle_future(Box::new(handler))
    }

    /// Executes a command whose messages, if there are any, nobody wants: only whether it
    /// succeeded is of interest. Waits as [`execute`](Self::execute) does.
    ///
    /// # Errors
    /// As for `execute`.
    pub fn perform(&self, command: &Command) -> Result<()> {
        Placement::new(self.clone(), command.clone()).perform().map(drop)
    }

    /// Writes a command as it is: no acknowledgement is added, nobody waits, and what comes of
    /// it goes to the listener for unexpected messages. For experts.
    ///
    /// # Errors
    /// `InvalidArgument`, `Disconnected`, or `Full`.
    pub fn send(&self, command: &Command) -> Result<()> {
        command.check()?;
        self.with_room(|now, outbound| outbound.send_as_is(now, command))
    }

    /// Ends subscriptions by id: one, or a comma list. Pending acknowledgements go out first.
    /// Does not wait; messages under way go to the listener for unexpected messages.
    ///
    /// # Errors
    /// `Disconnected` without a connection, unless a reconnect is under way: then the
    /// subscription is not placed again.
    pub fn unsubscribe(&self, sub_id: &str) -> Result<()> {
        self.perform(&Command::unsubscribe(sub_id))
    }

    /// Ends every subscription of this client; see [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// As for `unsubscribe`.
    pub fn unsubscribe_all(&self) -> Result<()> {
        self.unsubscribe("all")
    }

    /// Unread messages that a stream placed from now on holds at most; 0 for any number.
    /// Default 0: only bytes are counted.
    pub fn set_max_depth(&self, messages: usize) {
        self.inner.max_depth.store(messages, Ordering::Relaxed);
    }

    /// Unread messages that a stream placed from now on holds at most; 0 for any number.
    pub fn max_depth(&self) -> usize {
        self.inner.max_depth()
    }
}
