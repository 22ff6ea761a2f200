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
//! * Helpers: [`payload`] builds and reads bodies, [`bookmarks`] names places in a log.
//! * Ending: [`Client::close`], which finishes the work in hand.
//! * Errors: [`Error`], sorted by [`ErrorKind`].
//! * Async code: every call that waits has a future beside it ([`ClientBuilder::connect_future`],
//!   [`Subscribe::start_future`], [`Client::publish_future`]), receipts are futures, and with the feature `async`
//!   subscriptions are streams; any runtime will do. See [`guide::async_code`].
//! * With `serde`: the feature `json` has typed subscriptions, and SOW topics as maps that keep themselves up to date;
//!   see [`guide::typed_messages`].
//! * To be watched: [`Client::stats`], and the feature `tracing`; see [`guide::tracing_and_metrics`].
//! * On the command line: the feature `cli` is the program `amps`; see [`guide::command_line`].
//!
//! # Speed
//!
//! * A handler ([`Subscribe::on_message`]) sees messages where they were received, without a
//!   copy and without a change of threads; a stream hands them to another thread, a read at a
//!   time, and keeps what is unread in memory, up to [`ClientBuilder::stream_limit`].
//! * The fastest message is the one that is not sent: let the server filter
//!   ([`Subscribe::filter`]), send changes only ([`Client::delta_subscribe`]) or the newest
//!   ([`Subscribe::conflation`]), and ask for results in batches that fit
//!   ([`Sow::batch_size`]). Acknowledge queue messages in batches
//!   ([`ClientBuilder::ack_batch_size`]).
//! * Copy out of a handler only what is needed; publish bytes as they are.
//! * An interval of heartbeats ([`ClientBuilder::heartbeat`]) of about half the interruption
//!   that can be tolerated notices a loss in time. It must exceed the worst latency and the
//!   longest run of a handler.
//! * Who publishes listens with [`ClientBuilder::on_failed_write`], who has handlers with
//!   [`ClientBuilder::on_error`]: what goes wrong there has no caller.
//! * Small messages leave at once (`tcp_nodelay` in the connection string is on); off, some
//!   wait for others, which saves bandwidth.
//! * Who watches for failed writes wants the topics in the server's transaction log: there
//!   one acknowledgement stands for many, elsewhere each message has its own.

#![forbid(unsafe_code)]
// On docs.rs: which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The example of the README runs with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the workspace's README, which uses these features.
#[cfg(all(doctest, feature = "async", feature = "json"))]
#[doc = include_str!("../../README.md")]
struct WorkspaceReadme;

mod advisor;
mod authenticator;
pub use authenticator::{Authenticator, AuthenticatorError};
mod bookmark_store;
pub use bookmark_store::{
    Arrival, BookmarkStore, ConflatingRecoveryPointAdapter, FileBookmarkStore, FileBookmarkStoreBuilder,
    MemoryBookmarkStore, RecoveryPoint, RecoveryPointAdapter, RingBookmarkStore, SowRecoveryPointAdapter,
    StoredPoint,
};
pub mod bookmarks;
mod builder;
pub use builder::ClientBuilder;
mod caller;
mod client;
pub use client::{Answer, Client, Connecting, DEFAULT_CLOSE_WITHIN, EventLoop};
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
mod journal;
pub use journal::{StoreEnd, StoreRecord, StoreReport, inspect_store};
mod json_text;
mod lease;
pub use lease::LeaseOverrun;
mod listener;
pub use listener::{AfterRefusal, ConnectionState};
mod message;
pub use message::{AckGuard, Message};
#[cfg(all(test, amps_loom))]
mod models;
mod parked;
pub mod payload;
mod placement;
pub use placement::Starting;
mod publish;
pub use publish::{PublishOptions, Receipt};
mod publish_store;
pub use publish_store::{
    Attached, FilePublishStore, FilePublishStoreBuilder, HybridPublishStore, HybridPublishStoreBuilder,
    MemoryPublishStore, Progress, PublishStore, SyncPolicy,
};
mod reconnect;
pub use reconnect::Reconnect;
mod server_chooser;
pub use server_chooser::{ConnectionInfo, DefaultServerChooser, DelayStrategy, Server, ServerChooser};
mod session;
pub use session::acks::{AckOption, RawAckOption};
pub use session::line::Counters;
pub use session::outbound::PublishState;
pub use session::peer::Peer;
pub use session::publisher::StoreStatus;
mod sow_delete;
pub use sow_delete::{DeleteStats, SowDelete};
#[cfg(feature = "json")]
mod sow_map;
#[cfg(feature = "json")]
pub use sow_map::{Change, MapState, SowMap, SowMapBuilder};
mod store_error;
pub use store_error::StoreError;
mod stream;
pub use stream::WhenFull;
mod subscribe;
pub use subscribe::{Sow, Subscribe};
mod subscription;
pub use subscription::{Closer, HandlerSubscription, Subscription};
mod sync;
mod trace;
pub mod transport;
mod transports;
#[cfg(feature = "json")]
mod typed;
#[cfg(feature = "json")]
pub use typed::{Typed, TypedError, TypedSubscription, Unreadable};
#[cfg(all(feature = "async", feature = "json"))]
mod typed_stream;
#[cfg(all(feature = "async", feature = "json"))]
pub use typed_stream::TypedStream;
mod write_failure;
pub use write_failure::FailedWrite;

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

#[cfg(feature = "async")]
pub use futures_core;

pub use amps_protocol::{
    AckType, AckTypes, BookmarkNotFound, CommandKind, Message as RawMessage, OofReason, Options, ReasonClass,
    ServerVersion,
};
