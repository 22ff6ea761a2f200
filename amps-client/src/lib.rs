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
//! * Queues: [`Subscribe::max_backlog`], [`Subscribe::auto_ack`], [`Message::ack`],
//!   [`ClientBuilder::ack_batch_size`]. Acknowledgements are batched in `session/acks.rs`.
//! * Staying connected: [`ClientBuilder::reconnect`], [`ClientBuilder::heartbeat`],
//!   [`ClientBuilder::on_disconnect`], [`ClientBuilder::on_state`].
//! * Ending: [`Client::close`], which finishes the work in hand.
//! * Errors: [`Error`], sorted by [`ErrorKind`].

mod builder;
pub use builder::ClientBuilder;
mod client;
pub use client::{Client, DEFAULT_CLOSE_WITHIN, EventLoop};
mod dispatcher;
pub use dispatcher::HandlerResult;
mod error;
pub use error::{DisconnectCause, Error, ErrorKind, Result};
mod listener;
pub use listener::ConnectionState;
mod message;
pub use message::Message;
mod publish;
pub use publish::Receipt;
mod queue;
pub use queue::SowDelete;
mod reconnect;
pub use reconnect::Reconnect;
mod session;
pub use session::acks::AckOption;
pub use session::line::Counters;
pub use session::outbound::PublishState;
mod stream;
mod subscribe;
pub use subscribe::Subscribe;
mod subscription;
pub use subscription::{HandlerSubscription, Subscription};

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

pub use amps_protocol::{CommandKind, Message as RawMessage};
