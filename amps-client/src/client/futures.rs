//! The calls that wait, for async code: what is asked is sent now, and a future waits for the answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use amps_protocol::AckType;
use amps_transport::Time;

use super::{Client, parse_servers};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::session::Note;
use crate::session::commands::Wait;
use crate::session::outbound::Outbound;
use crate::session::shared::Urgency;
use crate::session::waiter::{Done, Waiter};
use crate::sow_delete::{DeleteStats, SowDelete};
use crate::trace::CommandSpan;

/// The answer of the server, or of the client, to a call; a future for any runtime.
///
/// Eager: what was asked is asked already, polled or not. Safe to cancel: dropping this changes nothing, but
/// nobody hears the answer, and no waker is kept. When the connection is lost meanwhile it ends as the call that
/// blocks does: with `Disconnected`, or, where commands are sent again
/// ([`ClientBuilder::retry_on_disconnect`](crate::ClientBuilder::retry_on_disconnect)), with the answer of the next
/// connection.
///
/// ```
/// use std::future::Future;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use std::time::Duration;
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
///
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// client.publish("orders", "1")?;
/// let mut flushed = pin!(client.flush_future(Duration::from_secs(10)));
/// // A runtime does this:
/// let mut context = Context::from_waker(Waker::noop());
/// while let Poll::Pending = flushed.as_mut().poll(&mut context) {}
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it is a future: await it"]
pub struct Answer<T> {
    waiter: Arc<Waiter>,
    span: CommandSpan,
    /// It could not be asked.
    failed: Option<Error>,
    read: fn(Done) -> T,
    /// Who waits for an answer keeps the client alive.
    _client: Client,
}

impl<T> Future for Answer<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let polled = self.span.within(|| self.waiter.poll(cx.waker()));
        if let Poll::Ready(result) = &polled {
            self.span.outcome(result);
        }
        polled.map_ok(self.read)
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.waiter.forget_waker();
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// A client on its way; made by [`ClientBuilder::connect_future`](crate::ClientBuilder::connect_future).
///
/// Safe to cancel: dropping it ends the attempts, and nothing of the client is left.
///
/// ```
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect_future().await?;
/// assert!(client.is_connected());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it is a future: await it"]
#[derive(Debug)]
pub struct Connecting(std::result::Result<(Client, Answer<()>), Option<Error>>);

impl Connecting {
    pub(crate) fn of(built: Result<Client>) -> Self {
        Self(built.map_err(Some).map(|client| {
            let answer = client.connect_future();
            (client, answer)
        }))
    }
}

impl Future for Connecting {
    type Output = Result<Client>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok((client, answer)) => Pin::new(answer).poll(cx).map_ok(|()| client.clone()),
            Err(error) => Poll::Ready(Err(error.take().unwrap_or(Error::Usage("this future has ended")))),
        }
    }
}

impl Client {
    /// As [`connect`](Self::connect), for async code. Safe to cancel: dropped, the attempts go on, up to
    /// `ClientBuilder::connect_deadline`, and [`state`](Self::state) tells what comes of them;
    /// [`close_future`](Self::close_future) ends them.
    pub fn connect_future(&self) -> Answer<()> {
        self.noted("connect", |waiter| Note::Connect { servers: None, waiter: waiter.into() })
    }

    /// As [`connect_to`](Self::connect_to), for async code. Safe to cancel, as
    /// [`connect_future`](Self::connect_future) is.
    pub fn connect_to_future<I: IntoIterator<Item = S>, S: AsRef<str>>(&self, servers: I) -> Answer<()> {
        let checked = parse_servers(servers).and_then(|servers| {
            servers.iter().try_for_each(|server| self.inner.transports.check(server)).map(|()| servers)
        });
        match checked {
            Ok(servers) => self
                .noted("connect", |waiter| Note::Connect { servers: Some(servers), waiter: waiter.into() }),
            Err(error) => self.failed(error),
        }
    }

    /// As [`close_within`](Self::close_within), for async code: read what the streams still yield meanwhile, in
    /// another task or joined with this. Safe to cancel: dropped, the client closes all the same, within its
    /// deadline.
    ///
    /// Await this before the last clone of a client is dropped: that writes what waits to be written, and may
    /// block its thread for up to a second.
    pub fn close_future(&self, deadline: Duration) -> Answer<()> {
        self.noted("close", |waiter| Note::Close { within: deadline, waiter: waiter.into() })
    }

    /// As [`abort`](Self::abort), for async code: closes at once, and tells when that has happened. Safe to
    /// cancel: the client is closed all the same.
    pub fn abort_future(&self) -> Answer<()> {
        self.noted("abort", |waiter| Note::Abort { waiter: waiter.into() })
    }

    /// As [`pause`](Self::pause), for async code. Safe to cancel: the server is asked all the same.
    pub fn pause_future<S: AsRef<str>>(&self, sub_ids: impl IntoIterator<Item = S>) -> Answer<()> {
        self.controlled(sub_ids, Command::pause)
    }

    /// As [`resume`](Self::resume), for async code. Safe to cancel: the server is asked all the same.
    pub fn resume_future<S: AsRef<str>>(&self, sub_ids: impl IntoIterator<Item = S>) -> Answer<()> {
        self.controlled(sub_ids, Command::resume)
    }

    fn controlled<S: AsRef<str>>(
        &self,
        sub_ids: impl IntoIterator<Item = S>,
        how: impl FnOnce(Command) -> Command,
    ) -> Answer<()> {
        match self.control_command(sub_ids, how) {
            Ok(Some(command)) => self.perform_future(&command),
            Ok(None) => self.asked(self.span("resume"), drop, |outbound, _, waiter| {
                outbound.answered(waiter);
                Ok(())
            }),
            Err(error) => self.failed(error),
        }
    }

    /// As [`flush`](Self::flush), for async code. Safe to cancel: what was published is on its way all the same.
    pub fn flush_future(&self, timeout: Duration) -> Answer<()> {
        self.asked(self.span("flush"), drop, |outbound, now, waiter| {
            outbound.flush(now, Some(timeout), waiter)
        })
    }

    /// As [`perform`](Self::perform), for async code, and for commands without messages: others are placed by
    /// [`execute_future`](Self::execute_future). It never blocks: where too much waits to be sent, the answer is
    /// `Full`. Safe to cancel: the command is carried out all the same.
    pub fn perform_future(&self, command: &Command) -> Answer<()> {
        let timeout = self.timeout_of(command);
        self.asked(CommandSpan::of(self.name(), command), drop, |outbound, now, waiter| {
            command.check()?;
            if command.is_subscribe() || command.is_sow() {
                let text = format!("{}: it has messages; place it with execute_future", command.describe());
                return Err(Error::InvalidArgument(text));
            }
            let waits = command.waits(command.asked(false));
            let wait = waits.then(|| Wait::processed(timeout, waiter));
            outbound.perform_any(now, command, wait)?;
            if !waits {
                outbound.answered(waiter);
            }
            Ok(())
        })
    }

    /// As [`sow_delete`](Self::sow_delete), for async code. Safe to cancel: the records are deleted all the same.
    pub fn sow_delete_future(&self, delete: &SowDelete) -> Answer<DeleteStats> {
        let command = delete.command();
        let timeout = self.timeout_of(command);
        self.asked(
            CommandSpan::of(self.name(), command),
            |done| done.deleted,
            |outbound, now, waiter| {
                command.check()?;
                let settles = command.get_bookmark().is_some();
                let until = if settles { AckType::Processed } else { AckType::Stats };
                outbound.perform(now, command, Some(Wait { until, timeout, waiter: Some(waiter) }))
            },
        )
    }

    pub(crate) fn asked<T>(
        &self,
        span: CommandSpan,
        read: fn(Done) -> T,
        ask: impl FnOnce(&mut Outbound, Time, &Arc<Waiter>) -> Result<()>,
    ) -> Answer<T> {
        let waiter = Arc::new(Waiter::default());
        let now = self.inner.clock.now();
        let asked = self.inner.shared.act(now, Urgency::Now, |outbound| ask(outbound, now, &waiter));
        if asked.is_err() {
            span.outcome(&asked);
        }
        Answer { waiter, span, failed: asked.err(), read, _client: self.clone() }
    }

    fn failed(&self, error: Error) -> Answer<()> {
        let (waiter, span) = (Arc::default(), self.span("refused"));
        span.outcome::<()>(&Err(error.clone()));
        Answer { waiter, span, failed: Some(error), read: drop, _client: self.clone() }
    }

    fn noted(&self, call: &str, note: impl FnOnce(Arc<Waiter>) -> Note) -> Answer<()> {
        let waiter = Arc::new(Waiter::default());
        let posted = self.post(note(Arc::clone(&waiter)));
        let span = self.span(call);
        if posted.is_err() {
            span.outcome(&posted);
        }
        Answer { waiter, span, failed: posted.err(), read: drop, _client: self.clone() }
    }
}
