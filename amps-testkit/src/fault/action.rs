//! What a fault does.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::time::Duration;

use amps_protocol::AckType;
use amps_transport::CloseMode;

use crate::form::FaultError;

/// How a connection ends.
///
/// ```
/// use amps_testkit::{Action, HowClosed};
/// assert_eq!(Action::DropConnection(HowClosed::Rst).to_string(), "drop the connection (rst)");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HowClosed {
    /// What has left the server arrives, then the end of the stream.
    #[default]
    Fin,
    /// With a reset: what the client has not read yet may be lost, and its calls fail.
    Rst,
}

impl HowClosed {
    pub(crate) const fn mode(self) -> CloseMode {
        match self {
            Self::Fin => CloseMode::Flush,
            Self::Rst => CloseMode::Reset,
        }
    }
}

/// How long something lasts.
///
/// ```
/// use amps_testkit::{Action, Lasting};
/// use std::time::Duration;
///
/// assert_eq!(Action::StallReads(Lasting::UntilRemoved).to_string(), "stop reading until the fault is removed");
/// assert_eq!(Action::StallWrites(Lasting::For(Duration::from_secs(1))).to_string(), "stop writing for 1s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// For this long, of the server's time.
    For(Duration),
    /// Until the fault is removed; see [`FakeServer::remove_fault`](crate::FakeServer::remove_fault).
    UntilRemoved,
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(span) => write!(f, "for {span:?}"),
            Self::UntilRemoved => f.write_str("until the fault is removed"),
        }
    }
}

/// What follows a frame that is shorter than it says.
///
/// ```
/// use amps_testkit::{Action, Unfinished};
///
/// let cut = Action::TruncateLength { extra: 10, then: Unfinished::Close };
/// assert_eq!(cut.to_string(), "announce 10 bytes more than are sent, then close");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfinished {
    /// Nothing, until the fault is removed: the client waits for the rest.
    #[default]
    Stall,
    /// The end of the stream.
    Close,
}

/// What a fault does.
///
/// Some do it to a frame on its way out, some to a command on its way in, some to the connection
/// as a whole; where the trigger has no such frame at hand, the action waits for the next one of
/// the connection. "Server's time" is that of its clock, virtual or real.
///
/// ```
/// use amps_testkit::Action;
/// use serde_json::json;
///
/// assert_eq!(Action::drop_mid_frame(7).to_json(), json!({"drop_mid_frame": 7}));
/// assert_eq!(Action::from_json(&json!("swallow"))?, Action::Swallow);
/// # Ok::<(), amps_testkit::FaultError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Closes the connection now. An outbound frame at hand is not sent, an inbound one is not
    /// looked at; output that other faults still hold back is lost.
    DropConnection(HowClosed),
    /// Sends so many bytes of the frame, its four bytes of length included, then closes.
    DropMidFrame(usize),
    /// Announces a longer frame than is sent.
    TruncateLength {
        /// So many bytes more than there are.
        extra: u32,
        /// What follows.
        then: Unfinished,
    },
    /// Holds the frame back for so much of the server's time; later ones queue behind it. An
    /// inbound frame, if the trigger is inbound, else an outbound one.
    Delay(Duration),
    /// Stops reading from the client, whose writes then block when all buffers are full.
    StallReads(Lasting),
    /// Stops writing to the client.
    StallWrites(Lasting),
    /// From now on, until the fault is removed, output is written in pieces of these sizes, over
    /// and over; each is a write of its own. 0 counts as 1.
    PartialWrites {
        /// The sizes, in bytes.
        sizes: Vec<usize>,
        /// The server's time between one piece and the next.
        gap: Duration,
    },
    /// Gathers so many frames and writes them as one. What has not come together after 100 ms of
    /// the server's time is written as it is.
    Coalesce(usize),
    /// From now on, until the fault is removed, so many bytes leave in a second of the server's
    /// time: at most a tenth of them at once, or single bytes if it is less than ten.
    Throttle(u64),
    /// Overwrites bytes of the frame. What goes beyond its end is left out.
    Corrupt {
        /// Where, counted from the frame's four bytes of length.
        offset: usize,
        /// What is written there.
        bytes: Vec<u8>,
    },
    /// Inserts so many random bytes before the frame.
    Garbage(usize),
    /// Puts this text in the place of the header; the body stays, the length is right.
    BadHeader(String),
    /// Answers a logon with a failure.
    RefuseLogon {
        /// The reason that the client reads.
        reason: String,
        /// Whether the connection is closed after it.
        close: bool,
    },
    /// Answers a logon, and those that follow on the connection, with one challenge after the
    /// other; the next logon then counts (CONN-24).
    Challenge(Vec<String>),
    /// Refuses a logon as if the name were another user's, and closes (CONN-42).
    NameInUse,
    /// Answers a command with a failure for this reason, and does not carry it out: `processed`
    /// if asked for, and `persisted` for what has a sequence number.
    Fail(String),
    /// Throws the frame away: what comes in is not processed and not answered, what goes out is
    /// not sent. An inbound frame, if the trigger is inbound, else an outbound one.
    Swallow,
    /// Processes the command, but leaves out this kind of ack. If an outbound ack of the kind is
    /// at hand, that one; a `persisted` ack that covers many commands goes too, and comes back
    /// with [`Self::ReleasePersisted`].
    SwallowAck(AckType),
    /// Sends the frame so many extra times.
    Duplicate(u64),
    /// Gathers so many outbound frames and sends them in a random order that is not the one in
    /// which they came. What has not come together after 100 ms of the server's time is
    /// reordered as it is.
    Reorder {
        /// How many frames.
        window: usize,
        /// Only acks are gathered; everything else passes them.
        acks_only: bool,
    },
    /// Keeps `persisted` acks back, from now on. The latest of those that cover many commands,
    /// and each of the others.
    HoldPersisted,
    /// Sends the `persisted` acks that were kept back, and keeps no more.
    ReleasePersisted,
    /// Fails the publish or delete with this sequence number, whenever it arrives (PUB-24).
    PersistedFailure {
        /// The sequence number.
        sequence: u64,
        /// The reason that the client reads.
        reason: String,
    },
    /// Sends this frame, with its length before it; before the frame at hand, if one is about to
    /// leave.
    Inject(Vec<u8>),
    /// A bookmark subscription begins so many messages earlier than it asks.
    ReplayDuplicates(u64),
    /// At the next [`FakeServer::restart`](crate::FakeServer::restart) the last so many messages
    /// and deletes of the log are forgotten, with what came after them and the sequence numbers
    /// of their publishers.
    LoseEntries(usize),
    /// The next queue message of the connection is leased for this long only.
    LeaseShort(Duration),
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The connection; no frame is needed.
    Connection,
    /// A frame on its way out.
    Outbound,
    /// A command on its way in.
    Inbound,
    /// A frame, whichever way it goes.
    Either,
    /// The server.
    Server,
}

impl Action {
    /// [`Action::DropMidFrame`].
    pub const fn drop_mid_frame(bytes: usize) -> Self {
        Self::DropMidFrame(bytes)
    }

    /// [`Action::PartialWrites`] without a gap.
    pub fn partial_writes(sizes: impl IntoIterator<Item = usize>) -> Self {
        Self::PartialWrites { sizes: sizes.into_iter().collect(), gap: Duration::ZERO }
    }

    /// [`Action::Reorder`] of acks.
    pub const fn reorder_acks(window: usize) -> Self {
        Self::Reorder { window, acks_only: true }
    }

    /// [`Action::Inject`].
    pub fn inject(frame: impl AsRef<[u8]>) -> Self {
        Self::Inject(frame.as_ref().to_vec())
    }

    pub(crate) const fn target(&self) -> Target {
        match self {
            Self::DropConnection(_)
            | Self::StallReads(_)
            | Self::StallWrites(_)
            | Self::PartialWrites { .. }
            | Self::Throttle(_)
            | Self::HoldPersisted
            | Self::ReleasePersisted
            | Self::Inject(_)
            | Self::LeaseShort(_) => Target::Connection,
            Self::DropMidFrame(_)
            | Self::TruncateLength { .. }
            | Self::Coalesce(_)
            | Self::Corrupt { .. }
            | Self::Garbage(_)
            | Self::BadHeader(_)
            | Self::Duplicate(_)
            | Self::Reorder { .. } => Target::Outbound,
            Self::RefuseLogon { .. }
            | Self::Challenge(_)
            | Self::NameInUse
            | Self::Fail(_)
            | Self::PersistedFailure { .. }
            | Self::ReplayDuplicates(_) => Target::Inbound,
            Self::Delay(_) | Self::Swallow | Self::SwallowAck(_) => Target::Either,
            Self::LoseEntries(_) => Target::Server,
        }
    }

    pub(crate) fn check(&self) -> Result<(), FaultError> {
        match self {
            Self::PartialWrites { sizes, .. } if sizes.is_empty() => {
                Err(FaultError::new("then.partial_writes.sizes", "there is no size"))
            }
            Self::Throttle(0) => {
                Err(FaultError::new("then.throttle", "0 bytes a second: write stall_writes"))
            }
            Self::Coalesce(0) | Self::Reorder { window: 0, .. } => {
                Err(FaultError::new("then", "0 frames are none to gather"))
            }
            Self::Challenge(list) if list.is_empty() => {
                Err(FaultError::new("then.challenge", "there is no challenge"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropConnection(HowClosed::Fin) => f.write_str("drop the connection (fin)"),
            Self::DropConnection(HowClosed::Rst) => f.write_str("drop the connection (rst)"),
            Self::DropMidFrame(bytes) => write!(f, "drop the connection {bytes} bytes into the frame"),
            Self::TruncateLength { extra, then } => {
                let then = if *then == Unfinished::Stall { "stall" } else { "close" };
                write!(f, "announce {extra} bytes more than are sent, then {then}")
            }
            Self::Delay(span) => write!(f, "hold the frame for {span:?}"),
            Self::StallReads(lasting) => write!(f, "stop reading {lasting}"),
            Self::StallWrites(lasting) => write!(f, "stop writing {lasting}"),
            Self::PartialWrites { sizes, gap } if gap.is_zero() => {
                write!(f, "write pieces of {sizes:?} bytes")
            }
            Self::PartialWrites { sizes, gap } => write!(f, "write pieces of {sizes:?} bytes, {gap:?} apart"),
            Self::Coalesce(frames) => write!(f, "write {frames} frames as one"),
            Self::Throttle(rate) => write!(f, "write {rate} bytes a second"),
            Self::Corrupt { offset, bytes } => write!(f, "overwrite {} bytes at {offset}", bytes.len()),
            Self::Garbage(length) => write!(f, "insert {length} random bytes"),
            Self::BadHeader(text) => write!(f, "replace the header by {text}"),
            Self::RefuseLogon { reason, close } => {
                write!(f, "refuse the logon: {reason}{}", if *close { ", and close" } else { "" })
            }
            Self::Challenge(list) => write!(f, "send {} challenges", list.len()),
            Self::NameInUse => f.write_str("refuse the logon: name in use"),
            Self::Fail(reason) => write!(f, "fail the command: {reason}"),
            Self::Swallow => f.write_str("swallow the frame"),
            Self::SwallowAck(kind) => write!(f, "leave out the {} ack", kind.token()),
            Self::Duplicate(extra) => write!(f, "send the frame {extra} extra times"),
            Self::Reorder { window, acks_only: false } => write!(f, "reorder {window} frames"),
            Self::Reorder { window, acks_only: true } => write!(f, "reorder {window} acks"),
            Self::HoldPersisted => f.write_str("hold persisted acks"),
            Self::ReleasePersisted => f.write_str("release persisted acks"),
            Self::PersistedFailure { sequence, reason } => write!(f, "fail sequence {sequence}: {reason}"),
            Self::Inject(frame) => write!(f, "inject a frame of {} bytes", frame.len()),
            Self::ReplayDuplicates(count) => write!(f, "begin the replay {count} messages earlier"),
            Self::LoseEntries(count) => write!(f, "forget the last {count} log entries at the next restart"),
            Self::LeaseShort(span) => write!(f, "lease the next message for {span:?}"),
        }
    }
}
