//! The session: the pure heart of a client.
//!
//! Two halves share one client. [`Outbound`](outbound::Outbound) stands behind a lock and is used
//! by every thread; [`Session`] belongs to the event loop, decodes and routes what comes in,
//! and keeps the connection alive. Neither holds a clock, a socket, a thread or a random
//! source, so that the simulator drives the same code that ships.
//!
//! ```text
//!            connect                 connected               logon acknowledged
//!   Idle ───────────► Connecting ───────────────► LoggingOn ───────────────────► Online
//!    ▲                 │    ▲                       │                              │
//!    │ gave up / closed│    │ wait is over          │ refused, timed out           │ lost
//!    │                 ▼    │                       ▼                              ▼
//!    └──────────────  Backoff ◄────────────────────────────────────────────────────┘
//! ```
//!
//! `Idle` is also where a client without a reconnect policy stays after a loss.

pub(crate) mod acks;
pub(crate) mod app;
pub(crate) mod bugs;
pub(crate) mod by_key;
pub(crate) mod commands;
mod connecting;
mod drain;
mod heartbeat;
mod inbound;
mod leases;
pub(crate) mod line;
pub(crate) mod outbound;
mod pausing;
pub(crate) mod peer;
pub(crate) mod placing;
pub(crate) mod publisher;
mod receiving;
pub(crate) mod recovery;
mod refusals;
pub(crate) mod replay;
pub(crate) mod room;
mod routes;
mod servers;
pub(crate) mod settling;
pub(crate) mod shared;
pub(crate) mod subscription;
pub(crate) mod waiter;
mod waiting;
mod wire;

pub(crate) use app::{App, Delivery, Disposition};
pub(crate) use heartbeat::HeartbeatSettings;
pub(crate) use inbound::{Advice, LogonSettings, Note, Session, SessionConfig, WOULD_DEADLOCK};
pub(crate) use shared::Shared;
