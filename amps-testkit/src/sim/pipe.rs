//! One connection: two ends and the two links between them.
//!
//! Owns which end still belongs to its machine. Invariant: an end that is not `open` gets no
//! further input, whatever still arrives.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_transport::{ConnId, Time};
use bytes::BytesMut;

use super::link::{Link, LinkSettings};
use super::world::EndpointId;

/// Names an end: the connection's number and 0 for the end that connected, 1 for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndId(pub(super) u64);

impl EndId {
    pub(super) const fn of(conn: ConnId) -> Self {
        Self(conn.0)
    }

    pub(super) const fn conn(self) -> ConnId {
        ConnId(self.0)
    }

    pub(super) const fn pipe(self) -> usize {
        (self.0 / 2) as usize
    }

    pub(super) const fn side(self) -> usize {
        (self.0 % 2) as usize
    }

    pub(super) const fn peer(self) -> Self {
        Self(self.0 ^ 1)
    }
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) owner: EndpointId,
    /// The machine still counts on this end.
    pub(super) open: bool,
    pub(super) reading: bool,
    /// Reading goes on: what the machine left is offered again.
    pub(super) offer: bool,
    /// What the machine left of what it was given.
    pub(super) carry: BytesMut,
    /// What this end sends.
    pub(super) out: Link,
    /// When the arrival at this end that is planned next takes place.
    pub(super) planned: Option<Time>,
    /// After a close that flushes: what has not set out by then is dropped.
    pub(super) flush_until: Option<Time>,
}

impl End {
    pub(super) fn new(owner: EndpointId, settings: LinkSettings) -> Self {
        Self {
            owner,
            open: false,
            reading: true,
            offer: false,
            carry: BytesMut::new(),
            out: Link::new(settings),
            planned: None,
            flush_until: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) ends: [End; 2],
    /// The listener that it was asked for.
    pub(super) listener: Option<usize>,
    pub(super) established: bool,
}
