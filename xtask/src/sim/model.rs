//! The application of a simulated client: takes messages and says what it did with them.
//!
//! Owns the immediate verdict only. What is done later (reading a stream, acknowledging from
//! another thread) is up to the scenario, which learns of every call through [`AppEvent`]s.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_client::simulation::{Handled, LeaseId, Model, Sub};
use amps_client::{ConnectionState, Error};
use amps_protocol::Message;
use amps_testkit::sim::Rng;

/// How a worker deals with its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A handler; so many percent of its messages fail. Acknowledged automatically.
    Handler {
        /// Percent.
        fails: u64,
    },
    /// Reads its messages later, one after the other, and acknowledges each when it is read.
    Stream,
    /// Acknowledges, cancels or expires from other threads, at any time, in any order.
    Threads,
}

/// A bookmark, kept without an allocation.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    length: u8,
    bytes: [u8; 47],
}

impl Mark {
    /// Bookmarks of the simulated server are far shorter than what fits.
    pub(super) fn new(text: &[u8]) -> Self {
        let length = text.len().min(47);
        let mut bytes = [0; 47];
        bytes[..length].copy_from_slice(&text[..length]);
        Self { length: length as u8, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

/// A call that the application received.
#[derive(Debug)]
#[expect(dead_code, reason = "some fields are read by the trace only, through `Debug`")]
pub(super) enum AppEvent {
    Delivered { sub: Sub, lease: Option<LeaseId>, mark: Mark, id: Option<u32>, handled: Handled },
    Ended { sub: Sub, failed: bool },
    Interrupted,
    Resumed,
    Draining,
    State(ConnectionState),
    Reported(String),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) style: Style,
    pub(super) rng: Rng,
    pub(super) events: Vec<AppEvent>,
    pub(super) tracing: bool,
}

impl Worker {
    pub(super) fn new(style: Style, rng: Rng, tracing: bool) -> Self {
        Self { style, rng, events: Vec::new(), tracing }
    }
}

impl Model for Worker {
    fn deliver(&mut self, sub: Sub, message: &Message<&[u8]>, lease: Option<LeaseId>) -> Handled {
        let handled = match self.style {
            Style::Handler { fails } if self.rng.chance(fails) => Handled::Failed,
            Style::Handler { .. } => Handled::Done,
            Style::Stream | Style::Threads => Handled::Kept,
        };
        let mark = Mark::new(message.bookmark().map(|text| &**text).unwrap_or_default());
        self.events.push(AppEvent::Delivered { sub, lease, mark, id: id_of(message.data()), handled });
        handled
    }

    fn ended(&mut self, sub: Sub, error: Option<Error>) {
        self.events.push(AppEvent::Ended { sub, failed: error.is_some() });
    }

    fn replaced(&mut self, _: Sub) {}

    fn interrupted(&mut self, _: Sub) {
        self.events.push(AppEvent::Interrupted);
    }

    fn duplicate(&mut self, _: &Message<&[u8]>) {}
    fn resumed(&mut self, _: Sub, _: bool) {
        self.events.push(AppEvent::Resumed);
    }

    fn draining(&mut self, _: Sub) {
        self.events.push(AppEvent::Draining);
    }

    fn state(&mut self, state: ConnectionState) {
        self.events.push(AppEvent::State(state));
    }

    fn report(&mut self, error: &Error) {
        if self.tracing {
            self.events.push(AppEvent::Reported(error.to_string()));
        }
    }
}

/// The body of a message.
pub(super) fn body_of(id: u32, padding: usize) -> Vec<u8> {
    let mut body = format!("{{\"id\":{id},\"pad\":\"").into_bytes();
    body.resize(body.len() + padding, b'x');
    body.extend_from_slice(b"\"}");
    body
}

/// The number in the body of a message.
pub(super) fn id_of(body: &[u8]) -> Option<u32> {
    let digits = body.strip_prefix(b"{\"id\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
