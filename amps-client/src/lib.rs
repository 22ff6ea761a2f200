//! A client for AMPS, 60East's messaging engine.
//!
//! The three main types: a [`Client`] is a connection that any number of threads share; a
//! [`Subscription`] is the messages of a topic or a queue, as an iterator; a [`Message`] is
//! one of them, to be read and acknowledged.
//!
//! ```
//! use amps_client::Client;
//! # let server = amps_testkit::FakeServer::builder()
//! #     .queue(amps_testkit::QueueConfig::new("work").max_backlog(100)).start()?;
//! # let uri = server.uri("json");
//! # { let feeder = Client::builder("feeder").server(&uri).connect()?;
//! #   for i in 0..3 { feeder.publish("work", format!("{{\"id\":{i}}}"))?; } }
//!
//! // `uri` is a connection string such as "tcp://localhost:9007/amps/json".
//! let client = Client::builder("order-worker-1").server(&uri).ack_batch_size(10).connect()?;
//! let work = client.subscribe("work").max_backlog(30).auto_ack(true).start()?;
//! for message in work.take(3) {
//!     println!("{}", String::from_utf8_lossy(message?.data()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How to do what, page by page, is in the [developer guide](guide). Whoever knows AMPS from another
//! language finds the old names in [`guide::names`].
//!
//! * Queues: [`Subscribe::max_backlog`], [`Subscribe::auto_ack`], [`Message::ack`],
//!   [`ClientBuilder::ack_batch_size`]. Acknowledgements are batched in `session/acks.rs`.
//! * Staying connected: [`ClientBuilder::reconnect`], [`ClientBuilder::heartbeat`],
//!   [`ClientBuilder::on_disconnect`], [`ClientBuilder::on_state`].
//! * Ending: [`Client::close`], which finishes the work in hand.
//! * Errors: [`Error`], sorted by [`ErrorKind`].

/// The example of the README runs with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod authenticator;
pub use authenticator::{Authenticator, AuthenticatorError};
mod builder;
pub use builder::ClientBuilder;
mod caller;
mod client;
pub use client::{Client, DEFAULT_CLOSE_WITHIN, EventLoop};
mod command;
pub use command::Command;
mod conflate;
mod dispatcher;
pub use dispatcher::HandlerResult;
mod error;
pub use error::{DisconnectCause, Error, ErrorKind, Result};
#[cfg(feature = "async")]
mod futures_stream;
#[cfg(feature = "async")]
pub use futures_stream::MessageStream;
pub mod guide;
mod hooks;
pub use hooks::{Direction, Hook, ListenerId, SlowConsumer};
mod listener;
pub use listener::ConnectionState;
mod message;
pub use message::{AckGuard, Message};
mod placement;
pub use placement::Starting;
mod publish;
pub use publish::{PublishOptions, Receipt};
mod reconnect;
pub use reconnect::Reconnect;
mod session;
pub use session::acks::{AckOption, RawAckOption};
pub use session::line::Counters;
pub use session::outbound::PublishState;
pub use session::peer::Peer;
mod sow_delete;
pub use sow_delete::{DeleteStats, SowDelete};
mod stream;
pub use stream::WhenFull;
mod subscribe;
pub use subscribe::{Sow, Subscribe};
mod subscription;
pub use subscription::{Closer, HandlerSubscription, Subscription};
mod write_failure;
pub use write_failure::FailedWrite;

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

#[cfg(feature = "async")]
pub use futures_core;

pub use amps_protocol::{
    AckType, AckTypes, BookmarkNotFound, CommandKind, Message as RawMessage, OofReason, Options, ReasonClass,
    ServerVersion,
};
