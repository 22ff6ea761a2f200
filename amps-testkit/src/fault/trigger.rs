//! What sets a fault off.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::time::Duration;

use amps_protocol::format_timestamp;
use amps_transport::Time;

use crate::form::FaultError;
use crate::matcher::Matcher;

/// What sets a fault off.
///
/// Frames, bytes and connections count from 1, and from the moment when the server gets the
/// fault; frames and bytes are counted for each connection by itself, and only frames in the
/// fault's scope.
///
/// A trigger says which frame is at hand; what an action does to a frame it does to that one, if
/// it goes the right way. Otherwise the action waits for the next frame of its connection that
/// does: so [`Trigger::Logon`] with [`Action::DropMidFrame`](crate::Action::DropMidFrame) cuts
/// the answer to the logon.
///
/// ```
/// use amps_testkit::{Matcher, Trigger};
///
/// assert_eq!(Trigger::outbound(3).to_string(), "before outbound frame 3");
/// assert_eq!(Trigger::inbound_matching(Matcher::any().topic("T")).to_string(), "on inbound any frame with topic \"T\"");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Trigger {
    /// This connection is accepted; `None` for each of them.
    Accept(Option<u64>),
    /// A logon arrives.
    Logon,
    /// This inbound frame arrives.
    Inbound(u64),
    /// Such a frame arrives.
    InboundMatching(Box<Matcher>),
    /// This outbound frame is about to leave.
    Outbound(u64),
    /// Such a frame is about to leave.
    OutboundMatching(Box<Matcher>),
    /// So many bytes have left on a connection.
    OutboundByte(u64),
    /// So much of the server's time has passed since the server got the fault. It concerns all
    /// connections of that moment; if it may fire more often, it does so in this interval.
    After(Duration),
    /// The server's clock shows this time. It concerns all connections of that moment.
    At(Time),
    /// Chance, between 0 and 1, for each frame that goes the way which the action is about.
    Probability(f64),
}

impl Trigger {
    /// The n-th connection is accepted.
    pub const fn accept(n: u64) -> Self {
        Self::Accept(Some(n))
    }

    /// A connection is accepted, whichever.
    pub const fn any_accept() -> Self {
        Self::Accept(None)
    }

    /// The n-th inbound frame arrives.
    pub const fn inbound(n: u64) -> Self {
        Self::Inbound(n)
    }

    /// Such a frame arrives.
    pub fn inbound_matching(matcher: Matcher) -> Self {
        Self::InboundMatching(Box::new(matcher))
    }

    /// A frame arrives, whichever.
    pub fn any_inbound() -> Self {
        Self::inbound_matching(Matcher::any())
    }

    /// The n-th outbound frame is about to leave.
    pub const fn outbound(n: u64) -> Self {
        Self::Outbound(n)
    }

    /// Such a frame is about to leave.
    pub fn outbound_matching(matcher: Matcher) -> Self {
        Self::OutboundMatching(Box::new(matcher))
    }

    /// A frame is about to leave, whichever.
    pub fn any_outbound() -> Self {
        Self::outbound_matching(Matcher::any())
    }

    pub(crate) fn check(&self) -> Result<(), FaultError> {
        match self {
            Self::Accept(Some(0)) | Self::Inbound(0) | Self::Outbound(0) | Self::OutboundByte(0) => {
                Err(FaultError::new("when", "numbers begin with 1"))
            }
            Self::InboundMatching(matcher) => matcher.check().map_err(|error| error.within("when.inbound")),
            Self::OutboundMatching(matcher) => matcher.check().map_err(|error| error.within("when.outbound")),
            Self::Probability(p) if !(0.0..=1.0).contains(p) => {
                Err(FaultError::new("when.probability", format!("{p} does not lie between 0 and 1")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(Some(n)) => write!(f, "when connection {n} is accepted"),
            Self::Accept(None) => f.write_str("when a connection is accepted"),
            Self::Logon => f.write_str("on logon"),
            Self::Inbound(n) => write!(f, "on inbound frame {n}"),
            Self::InboundMatching(matcher) => write!(f, "on inbound {matcher}"),
            Self::Outbound(n) => write!(f, "before outbound frame {n}"),
            Self::OutboundMatching(matcher) => write!(f, "before outbound {matcher}"),
            Self::OutboundByte(n) => write!(f, "after {n} outbound bytes"),
            Self::After(span) => write!(f, "after {span:?}"),
            Self::At(time) => write!(f, "at {}", format_timestamp(time.as_unix_nanos())),
            Self::Probability(p) => write!(f, "with probability {p}"),
        }
    }
}
