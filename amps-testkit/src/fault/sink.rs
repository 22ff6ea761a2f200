//! What the engine takes for the network.
//!
//! Owns nothing: it leads what the engine sends through the faults, and everything else past
//! them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_transport::{CloseMode, ConnId, Outlet, Sink, Target, Time};

use super::FaultLayer;

pub(crate) struct FaultSink<'a, S> {
    pub(super) layer: &'a mut FaultLayer,
    pub(super) sink: &'a mut S,
    pub(super) now: Time,
}

impl<'a, S: Sink> FaultSink<'a, S> {
    pub(crate) fn new(layer: &'a mut FaultLayer, now: Time, sink: &'a mut S) -> Self {
        Self { layer, sink, now }
    }
}

impl<S: Sink> Sink for FaultSink<'_, S> {
    fn connect(&mut self, target: Target) -> ConnId {
        self.sink.connect(target)
    }

    /// The engine sends one whole frame with each call.
    #[inline]
    fn send(&mut self, conn: ConnId, frame: &[u8]) {
        if self.layer.is_idle() {
            return self.sink.send(conn, frame);
        }
        self.layer.outbound(self.now, conn, frame, self.sink);
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        self.layer.close(self.now, conn, mode, self.sink);
    }

    fn set_reading(&mut self, conn: ConnId, on: bool) {
        self.sink.set_reading(conn, on);
    }

    fn outlet(&mut self, _conn: ConnId) -> Option<Outlet> {
        // The engine sends; an outlet would lead past the faults.
        None
    }

    #[inline]
    fn unsent(&self, conn: ConnId) -> usize {
        self.sink.unsent(conn) + self.layer.held_back(conn)
    }
}
