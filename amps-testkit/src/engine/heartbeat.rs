//! Heartbeats (server.md 1.7).
//!
//! Owns two timers per connection: `Beat`, when something has to be sent at the latest, and
//! `Silence`, armed by the first heartbeat after the last sign of life (CONN-63).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{CommandKind, FrameWriter, HeartbeatRequest, Message};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::reasons::Reason;
use super::reply::AckFrame;
use super::subscription::text;
use super::timers::Timer;

/// A client may be silent for this many intervals after a heartbeat.
const SILENT_INTERVALS: u32 = 2;

impl Engine {
    pub(super) fn heartbeat<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        message: &Message<&[u8]>,
        sink: &mut S,
    ) {
        let options = text(message.options().map(|o| &**o));
        let Some(request) = HeartbeatRequest::parse(&options) else {
            return self.refuse(now, conn, message, Reason::InvalidOptions.into(), sink);
        };
        self.timers.set(Timer::Silence(conn), None);
        match request {
            HeartbeatRequest::Start(seconds) if seconds > 0 => {
                self.set_heartbeat(now, conn, Some(Duration::from_secs(seconds)));
            }
            HeartbeatRequest::Start(_) | HeartbeatRequest::Stop => self.set_heartbeat(now, conn, None),
            HeartbeatRequest::Beat => {}
        }
        self.acknowledge(now, conn, message, AckFrame::new(), sink);
    }

    fn set_heartbeat(&mut self, now: Time, conn: ConnId, interval: Option<Duration>) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.heartbeat = interval;
        }
        self.timers.set(Timer::Beat(conn), interval.map(|interval| now + interval));
    }

    /// Sends a heartbeat, unless something else was sent lately.
    pub(super) fn beat<S: Sink>(&mut self, now: Time, conn: ConnId, sink: &mut S) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let Some(interval) = connection.heartbeat else { return };
        let due = connection.last_sent + interval;
        if due > now {
            return self.timers.set(Timer::Beat(conn), Some(due));
        }
        FrameWriter::new(&mut self.out, CommandKind::Heartbeat).finish(b"");
        self.transmit(now, conn, sink);
        self.timers.set(Timer::Beat(conn), Some(now + interval));
        if !self.timers.is_set(Timer::Silence(conn)) {
            self.timers.set(Timer::Silence(conn), Some(now + interval * SILENT_INTERVALS));
        }
    }
}
