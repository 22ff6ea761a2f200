//! A fake AMPS server for tests: queues with leases, content filters, the state of the world,
//! a transaction log with replays, heartbeats, entitlements, and a clock that the test moves.
//!
//! The main types:
//!
//! * [`FakeServer`] listens on loopback, and shows what happened and what it holds;
//! * [`QueueConfig`], [`SowConfig`], [`ViewConfig`] and [`ConflatedTopicConfig`] describe what
//!   it has; [`ConfigFile`] reads all that from a file as AMPS itself uses it;
//! * [`Pair`] is two servers that replicate to each other;
//! * [`Fault`] scripts what goes wrong, [`Matcher`] says which frames are meant or
//!   [expected](FakeServer::expect), [`Lint`] names what clients do wrong;
//! * [`Engine`] is the server itself, as a pure state machine: no socket, thread or clock.
//!
//! ```
//! use amps_testkit::{FakeServer, QueueConfig};
//! use std::time::Duration;
//!
//! let server = FakeServer::builder()
//!     .queue(QueueConfig::new("work").underlying("flights").lease(Duration::from_secs(30)))
//!     .virtual_clock()
//!     .start()?;
//!
//! // Connect a client to `server.uri("json")`, and let something happen.
//! server.publish("flights", r#"{"flight":"LH400"}"#).unwrap();
//! server.advance(Duration::from_secs(30));
//!
//! let work = server.queue("work").expect("it was configured");
//! assert_eq!(work.available.len(), 1);
//! assert_eq!(server.counters().published, 1);
//! # Ok::<(), amps_testkit::StartError>(())
//! ```
//!
//! Clients come by TCP, also with an HTTP preflight in front, and by Unix sockets; with the Cargo
//! features `tls`, `zlib` and `websocket`, none of which is on by default, by `tcps`, compressed, and
//! by `ws` and `wss`: see [`FakeServerBuilder::listen`].
//!
//! Each server stands for itself: nothing is global, ports are chosen by the system, and a
//! server ends when its handle is dropped.
#![forbid(unsafe_code)]
// On docs.rs: which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The examples of the README run with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod engine;
#[doc(hidden)]
pub use engine::filter;
#[doc(inline)]
pub use engine::filter::Value;
pub use engine::{
    Access, ActionConfig, ActionStep, ActionTrigger, AfterEnd, Authentication, Conditions, Config,
    ConfigError, ConflatedTopicConfig, ConnectionSnapshot, Counters, DeltaNull, DestinationConfig,
    Disconnect, DuplicateAck, Engine, Entitlement, EntitlementKind, Event, ExpirationModel, ExpiryReason,
    Fairness, Join, JoinField, LeaseHeader, Leasing, LinkChange, LinkSnapshot, LinkState, Lint, LogCut,
    LogRecord, LogTopics, LoggedMessage, LoggedTopic, MaxCancels, MessageId, MessageLayout,
    MessageTypeConfig, NanComparison, NotPublished, Noted, NullLogic, Observe, PageOrder, PublishCommand,
    PublishOptions, Published, PublisherSequence, QueueConfig, QueueCounters, QueueKind, QueueSnapshot,
    QueueTopic, QueuedMessage, Reason, Reasons, RecoveryPoint, ReplaySnapshot, ReplicatedTopic,
    ReturnPosition, Schedule, SeedError, SeedMessage, Semantics, SetError, Setting, SlowClientLimits,
    SowConfig, SowExpiration, SowHistory, SowRecord, SowTimestamp, SubscriptionSnapshot, Switches, SyncMode,
    TopicSnapshot, TransportConfig, TransportLimits, UnknownOptions, UnloggedBookmark, Unordered,
    UntypedCompare, Via, ViewConfig, ViewSource,
};

mod builder;
pub use builder::FakeServerBuilder;
mod capture;
pub use capture::{Capture, CaptureError, PlayError, Turn};
mod clock;
pub use clock::{NextTimer, TimerKind};
mod closest;
mod control;
use closest::{closest, similar};
mod config;
pub use config::{ConfigFile, ConfigFileError, ConfigReader, Finding, FindingKind, SAMPLE_CONFIG};
mod fault;
pub use fault::{
    Action, Fault, FaultBuilder, FaultId, FaultStatus, Firing, HowClosed, Lasting, Trigger, Unfinished,
};
mod form;
pub use form::FaultError;
mod expect;
pub use expect::{Expectation, Unmet};
mod journal;
pub use journal::{Entry, JournalMode, JournalQuery, LintFinding, OutOfOrder, Unwanted, WaitTimeout, What};
mod matcher;
pub use matcher::{HeaderTest, Matcher};
mod bell;
use bell::Bell;
mod mirror;
pub use mirror::Mirror;
mod pair;
pub use pair::{Direction, Pair, RaceOrder, Side};
mod port;
mod server;
pub use server::{Drop, FakeServer, Listening, SettleTimeout, StartError};
mod shell;
mod state;
pub use state::ServerState;
mod store;
mod wire;
#[cfg(feature = "tls")]
pub use amps_transport::{TlsServer, TlsServerBuilder, TlsSetupError};
pub use wire::Protocol;

pub mod sim;
