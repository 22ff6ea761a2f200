//! The application of a client that keeps things: it notes every call, and acts later.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_client::simulation::{Handled, LeaseId, Model, Sub};
use amps_client::{ConnectionState, Error};
use amps_protocol::{CommandKind, Message};
use amps_testkit::MessageId;

use super::super::model::{Mark, id_of};

/// A call that the application received.
#[derive(Debug)]
#[expect(dead_code, reason = "some fields are read by the trace only, through `Debug`")]
pub(super) enum Event {
    /// A message of a replay.
    Replayed {
        sub: Sub,
        bookmark: MessageId,
        id: Option<u32>,
    },
    /// A message of the queue.
    Leased {
        sub: Sub,
        lease: LeaseId,
        mark: Mark,
        id: Option<u32>,
        done: bool,
    },
    Ended {
        sub: Sub,
        error: Option<String>,
    },
    State(ConnectionState),
    Reported(String),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) events: Vec<Event>,
    /// Queue messages are processed as they come, and acknowledged by the client.
    pub(super) at_once: bool,
    pub(super) tracing: bool,
}

impl Model for App {
    fn deliver(&mut self, sub: Sub, message: &Message<&[u8]>, lease: Option<LeaseId>) -> Handled {
        if message.command() != CommandKind::Publish {
            return Handled::Done;
        }
        let id = id_of(message.data());
        let text = message.bookmark().map(|text| &**text).unwrap_or_default();
        if let Some(lease) = lease {
            let done = self.at_once;
            self.events.push(Event::Leased { sub, lease, mark: Mark::new(text), id, done });
            return if done { Handled::Done } else { Handled::Kept };
        }
        if let Ok(bookmark) = MessageId::parse(text) {
            self.events.push(Event::Replayed { sub, bookmark, id });
        }
        Handled::Kept
    }

    fn ended(&mut self, sub: Sub, error: Option<Error>) {
        self.events.push(Event::Ended { sub, error: error.map(|error| error.to_string()) });
    }

    fn replaced(&mut self, _: Sub) {}
    fn interrupted(&mut self, _: Sub) {}
    fn duplicate(&mut self, _: &Message<&[u8]>) {}
    fn resumed(&mut self, _: Sub, _: bool) {}
    fn draining(&mut self, _: Sub) {}

    fn state(&mut self, state: ConnectionState) {
        self.events.push(Event::State(state));
    }

    fn report(&mut self, error: &Error) {
        if self.tracing {
            self.events.push(Event::Reported(error.to_string()));
        }
    }
}
