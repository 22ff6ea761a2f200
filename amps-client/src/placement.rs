//! From a described command to a placed one: whose messages go where.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amps_protocol::{CommandKind, Id};

use crate::caller;
use crate::client::Client;
use crate::command::{Command, Ends};
use crate::dispatcher::{Handler, HandlerResult, Target, panic_text};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::session::acks::AckOption;
use crate::session::commands::Wait;
use crate::session::outbound::Outbound;
use crate::session::placing::unknown_subscription;
use crate::session::shared::Urgency;
use crate::session::subscription::{Spec, SubKey};
use crate::session::waiter::{Done, Waiter};
use crate::stream::{Limits, StreamQueue, WhenFull};
use crate::subscription::{HandlerSubscription, Subscription};
use crate::trace::CommandSpan;

/// A command, and what is to become of its messages.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) client: Client,
    pub(crate) spec: Spec,
    pub(crate) silent: bool,
    pub(crate) max_depth: Option<usize>,
    pub(crate) max_bytes: Option<usize>,
    pub(crate) when_full: WhenFull,
    pub(crate) conflates: bool,
}

/// A command that was written, until the server has answered it.
struct Begun {
    client: Client,
    key: SubKey,
    waiter: Arc<Waiter>,
    timeout: Option<Duration>,
    span: CommandSpan,
    /// Its messages have somebody to go to.
    routed: bool,
    /// It replaces another, whose key it keeps.
    replaces: Option<SubKey>,
}

impl Placement {
    pub(crate) fn new(client: Client, command: Command) -> Self {
        let mut spec = Spec::new(command);
        spec.auto_ack = client.auto_ack();
        Self {
            client,
            spec,
            silent: false,
            max_depth: None,
            max_bytes: None,
            when_full: WhenFull::default(),
            conflates: false,
        }
    }

    /// As an iterator.
    pub(crate) fn start(self) -> Result<Subscription> {
        let (begun, finish) = self.begin_stream(caller::current())?;
        begun.wait()?;
        Ok(finish(begun.key(), begun.key))
    }

    /// As an iterator that is there once the server has agreed.
    pub(crate) fn start_future(self) -> Starting {
        // A future does not block its thread, so that nobody has to be warned.
        match self.begin_stream(0) {
            Ok((begun, finish)) => Starting::begun(begun, finish, drop),
            Err(error) => Starting(StartingState::Failed(Some(error))),
        }
    }

    fn begin_stream(mut self, caller: u64) -> Result<(Begun, Finish<Subscription>)> {
        self.spec.streams = true;
        let inner = self.client.inner();
        let limits = Limits {
            bytes: self.max_bytes.unwrap_or(inner.stream_limit),
            depth: unlimited(self.max_depth.unwrap_or_else(|| inner.max_depth())),
            when_full: self.when_full,
        };
        let queue = Arc::new(StreamQueue::new(limits, caller));
        if self.conflates {
            queue.conflate();
        }
        let auto_ack = self.spec.auto_ack;
        let (stream, silent) = (Arc::clone(&queue), self.silent);
        let client = self.client.clone();
        // From here, and not from the tables when it is there: the connection may be lost by then, and what
        // has come is to be discarded all the same.
        let mut replay = None;
        let begun = self.begin(caller, |sub| {
            replay = client.inner().bookmarks.tie(&sub);
            Target::Stream { sub, queue: stream, silent }
        })?;
        if !begun.routed {
            // Nothing comes, so that it has ended.
            queue.end(None);
        }
        let end = client.clone();
        Ok((begun, Box::new(move |key, owner| Subscription::new(end, key, owner, queue, auto_ack, replay))))
    }

    /// With a handler.
    pub(crate) fn handle(self, handler: Handler) -> Result<HandlerSubscription> {
        let client = self.client.clone();
        let begun = self.begin(caller::current(), |sub| Target::Handler { sub, handler })?;
        begun.wait()?;
        Ok(HandlerSubscription::new(client, begun.key(), begun.key))
    }

    /// With a handler that has its messages once the server has agreed.
    pub(crate) fn handle_future(self, handler: Handler) -> Starting<HandlerSubscription> {
        let client = self.client.clone();
        match self.begin(0, |sub| Target::Handler { sub, handler }) {
            Ok(begun) => {
                let finish: Finish<HandlerSubscription> =
                    Box::new(move |key, owner| HandlerSubscription::new(client, key, owner));
                Starting::begun(begun, finish, |handled| handled.unsubscribe())
            }
            Err(error) => Starting(StartingState::Failed(Some(error))),
        }
    }

    /// With a handler on a thread of its own.
    pub(crate) fn handle_aside(
        mut self,
        handler: impl FnMut(&Message) -> HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription> {
        // Acknowledged there, once the handler is done with it.
        let auto_ack = std::mem::take(&mut self.spec.auto_ack);
        let client = self.client.clone();
        Self::aside(client, self.start()?, auto_ack, handler)
    }

    /// With a handler on a thread of its own, once the server has agreed.
    pub(crate) fn handle_aside_future(
        mut self,
        handler: impl FnMut(&Message) -> HandlerResult + Send + 'static,
    ) -> impl Future<Output = Result<HandlerSubscription>> + Send {
        let auto_ack = std::mem::take(&mut self.spec.auto_ack);
        let client = self.client.clone();
        let starting = self.start_future();
        async move { Self::aside(client, starting.await?, auto_ack, handler) }
    }

    fn aside(
        client: Client,
        stream: Subscription,
        auto_ack: bool,
        mut handler: impl FnMut(&Message) -> HandlerResult + Send + 'static,
    ) -> Result<HandlerSubscription> {
        stream.forget_reader();
        let (key, owner, id) = (stream.key(), stream.owner(), stream.sub_id());
        let hooks = client.hooks();
        let worker = std::thread::Builder::new().name(format!("amps-handler-{id}")).spawn(move || {
            for message in stream {
                let message = match message {
                    Ok(message) => message,
                    Err(error) => {
                        hooks.report(&error);
                        continue;
                    }
                };
                let outcome =
                    catch_unwind(AssertUnwindSafe(|| handler(&message).map_err(|error| error.to_string())));
                let text = match outcome {
                    Ok(Ok(())) => {
                        if auto_ack {
                            message.settle_unless_kept(None);
                        }
                        continue;
                    }
                    Ok(Err(text)) => text,
                    Err(panic) => format!("it panicked: {}", panic_text(panic)),
                };
                if auto_ack {
                    message.settle_unless_kept(Some(&AckOption::Cancel));
                }
                hooks.report(&Error::Handler { subscription: id.clone(), text });
            }
        });
        worker.map_err(|error| Error::EventLoop(Arc::new(error)))?;
        Ok(HandlerSubscription::new(client, key, owner))
    }

    /// With nobody: only whether it succeeded is of interest.
    pub(crate) fn perform(self) -> Result<Done> {
        if self.spec.command.replaces() {
            return self.replace();
        }
        if self.spec.command.is_subscribe() || self.spec.command.is_sow() {
            // It is placed like any other, and what it brings is dropped.
            return self.handle(Box::new(|_| Ok(()))).map(|_| Done::default());
        }
        let Self { client, spec, .. } = self;
        let command = spec.command;
        command.check()?;
        let asked = command.asked(false);
        if !command.waits(asked) {
            client.with_room(|now, outbound| outbound.perform_any(now, &command, None))?;
            return Ok(Done::default());
        }
        client.may_wait(command.name())?;
        let timeout = client.timeout_of(&command);
        let span = CommandSpan::of(client.name(), &command);
        client.command(&span, timeout, |outbound, now, waiter| {
            outbound.perform_any(now, &command, Some(Wait::processed(timeout, waiter)))
        })
    }

    /// Replaces what a subscription asks for; whoever has its messages keeps them.
    fn replace(self) -> Result<Done> {
        let Self { client, spec, .. } = self;
        let command = spec.command;
        command.check()?;
        client.may_wait(command.name())?;
        let timeout = client.timeout_of(&command);
        let id = command.get_sub_id().unwrap_or_default().to_owned();
        let span = CommandSpan::of(client.name(), &command);
        client.command(&span, timeout, |outbound, now, waiter| {
            let key = outbound.key_of(&id).ok_or_else(|| unknown_subscription(&id))?;
            let serial = outbound.reserve();
            let change = |old: &Spec| Ok(Spec { command, ..old.clone() });
            outbound.replace(now, key, serial, false, change, timeout, waiter)
        })
    }

    /// `caller`: the thread that waits, 0 if none does.
    fn begin(self, caller: u64, target: impl FnOnce(String) -> Target) -> Result<Begun> {
        let span = CommandSpan::of(self.client.name(), &self.spec.command);
        let begun = self.begin_in(span.clone(), caller, target);
        if let Err(error) = &begun {
            span.outcome::<()>(&Err(error.clone()));
        }
        begun
    }

    fn begin_in(
        self,
        span: CommandSpan,
        caller: u64,
        target: impl FnOnce(String) -> Target,
    ) -> Result<Begun> {
        let Self { client, spec, .. } = self;
        spec.command.check()?;
        let waits = spec.command.waits(spec.command.asked(spec.streams));
        if waits && caller != 0 {
            client.may_wait(spec.command.name())?;
            client.may_be_answered()?;
        }
        let timeout = client.timeout_of(&spec.command);
        let inner = client.inner();
        let waiter = Arc::new(Waiter::of(caller));
        let key = inner.shared.with(Outbound::reserve);
        if spec.command.replaces() {
            let id = spec.command.get_sub_id().unwrap_or_default().to_owned();
            let Some(old) = inner.shared.with(|outbound| outbound.key_of(&id)) else {
                return Err(unknown_subscription(&id));
            };
            inner.targets.add_replacement(key, target(id));
            let now = inner.clock.now();
            let placed = inner.shared.act(now, Urgency::Now, |outbound| {
                outbound.replace(now, old, key, true, |_| Ok(spec), timeout, &waiter)
            });
            let begun = Begun { client, key, waiter, timeout, span, routed: true, replaces: Some(old) };
            return match placed {
                Ok(()) => Ok(begun),
                Err(error) => Err(begun.undo(error)),
            };
        }
        let command = &spec.command;
        let routed = command.ends() != Ends::WithAcks || !command.get_acks().is_empty();
        if !routed || command.kind() == CommandKind::Unsubscribe {
            let wait = waits.then(|| Wait::processed(timeout, &waiter));
            let written =
                client.with_room_for(caller, |now, outbound| outbound.perform_any(now, command, wait));
            if !waits {
                waiter.complete(Ok(Done::default()));
            }
            written?;
            return Ok(Begun { client, key, waiter, timeout, span, routed: false, replaces: None });
        }
        let ids = command.wire_ids(key.0)?;
        if let Some(replay) = inner.bookmarks.replay(command, ids.sub.as_ref()) {
            if command.get_sub_id().is_none() && ids.command == Id::number(key.0) {
                replay.forget()?;
            }
            replay.begin(command)?;
        }
        let id = ids.name();
        // Before the command is written, so that no message finds nobody.
        inner.targets.add(key, target(id));
        let placed = client
            .with_room_for(caller, |now, outbound| outbound.place(now, key, spec.clone(), timeout, &waiter));
        let begun = Begun { client, key, waiter, timeout, span, routed: true, replaces: None };
        match placed {
            Ok(()) => Ok(begun),
            Err(error) => Err(begun.undo(error)),
        }
    }
}

/// Zero is any number.
pub(crate) const fn unlimited(depth: usize) -> usize {
    if depth == 0 { usize::MAX } else { depth }
}

impl Begun {
    /// Under which key the messages come.
    fn key(&self) -> SubKey {
        self.replaces.unwrap_or(self.key)
    }

    fn wait(&self) -> Result<()> {
        let result = self.span.within(|| self.client.wait(&self.waiter, self.timeout));
        self.conclude(result)
    }

    fn conclude(&self, result: Result<Done>) -> Result<()> {
        match result {
            Ok(_) => {
                self.span.outcome(&result);
                Ok(())
            }
            Err(error) => Err(self.undo(error)),
        }
    }

    /// It came to nothing: whoever was to take the messages is let go.
    fn undo(&self, error: Error) -> Error {
        self.span.outcome::<()>(&Err(error.clone()));
        let inner = self.client.inner();
        if self.replaces.is_some() {
            drop(inner.targets.take_replacement(self.key));
        } else if self.routed {
            inner.shared.act(inner.clock.now(), Urgency::Now, |outbound| outbound.forget(self.key));
        }
        error
    }
}

type Finish<T> = Box<dyn FnOnce(SubKey, SubKey) -> T + Send>;

/// A subscription on its way: a future of a [`Subscription`], or of a [`HandlerSubscription`].
///
/// Eager: the command is written already. Safe to cancel: dropping this ends the subscription again, and leased
/// messages that have come meanwhile go back to their queue. Of a replacement it only means that nobody takes the
/// messages over: what was asked for may come into force.
///
/// ```
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect_future().await?;
/// let orders = client.subscribe("orders").filter("/qty > 3").start_future().await?;
/// assert!(!orders.sub_id().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it is a future: await it"]
pub struct Starting<T = Subscription>(StartingState<T>);

enum StartingState<T> {
    Begun(Option<Waiting<T>>),
    Failed(Option<Error>),
}

/// What waits for the server, what comes of it, and how that ends if nobody wants it any more.
struct Waiting<T> {
    begun: Begun,
    finish: Finish<T>,
    end: fn(T),
}

impl<T> Waiting<T> {
    fn finish(self) -> (T, fn(T)) {
        ((self.finish)(self.begun.key(), self.begun.key), self.end)
    }
}

impl<T> Starting<T> {
    fn begun(begun: Begun, finish: Finish<T>, end: fn(T)) -> Self {
        Self(StartingState::Begun(Some(Waiting { begun, finish, end })))
    }
}

impl<T> Future for Starting<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            StartingState::Failed(error) => {
                Poll::Ready(Err(error.take().unwrap_or(Error::Usage("this future has ended"))))
            }
            StartingState::Begun(state) => {
                let Some(waiting) = state else {
                    return Poll::Ready(Err(Error::Usage("this future has ended")));
                };
                let Poll::Ready(result) = waiting.begun.waiter.poll(cx.waker()) else { return Poll::Pending };
                let Some(waiting) = state.take() else { return Poll::Pending };
                Poll::Ready(waiting.begun.conclude(result).map(|()| waiting.finish().0))
            }
        }
    }
}

impl<T> Drop for Starting<T> {
    fn drop(&mut self) {
        let StartingState::Begun(state) = &mut self.0 else { return };
        let Some(waiting) = state.take() else { return };
        let begun = &waiting.begun;
        begun.waiter.forget_waker();
        if begun.replaces.is_some() {
            let inner = begun.client.inner();
            let (now, key) = (inner.clock.now(), begun.key);
            // Answered already: what went over to a stream that nobody has ends with it. Otherwise what was
            // asked for may come into force all the same, and the messages stay where they went.
            let open = inner.shared.act(now, Urgency::Now, |outbound| outbound.no_takeover(key));
            if open || !matches!(begun.waiter.take(), Some(Ok(_))) {
                if !open {
                    drop(inner.targets.take_replacement(key));
                }
                return;
            }
        }
        let (made, end) = waiting.finish();
        end(made);
    }
}

impl<T> std::fmt::Debug for Starting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Starting").finish_non_exhaustive()
    }
}
