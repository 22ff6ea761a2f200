//! Two addresses of one log (server.md PAIR-09, inferred).
//!
//! Owns the two names, and what it means to kill one of them. There is one engine behind both: one log,
//! one order, the same bookmarks on both sides, and nothing that could be on its way between them. What
//! links do is a matter of [`Pair`](crate::Pair).

use std::net::SocketAddr;

use crate::builder::FakeServerBuilder;
use crate::engine::{NotPublished, Published, TransportConfig};
use crate::pair::Side;
use crate::server::{FakeServer, StartError};

/// Two servers, A and B, that share one log: for tests of a client that goes from one to the other, where
/// the order in which two logs grow does not matter. A [`Pair`](crate::Pair) has two logs.
///
/// Clocks, state of the world, queues with their leases, sequence numbers and faults are shared too; a
/// client name is taken once, whichever side its clients connect to.
///
/// ```
/// use amps_testkit::{FakeServer, Mirror, Side};
///
/// let mirror = Mirror::start(FakeServer::builder())?;
/// assert_ne!(mirror.uri(Side::A, "json"), mirror.uri(Side::B, "json"));
/// mirror.publish("orders", "1").unwrap();
/// mirror.kill(Side::A);
/// mirror.publish("orders", "2").unwrap();
/// mirror.restart(Side::A)?;
/// assert_eq!(mirror.server().logged_messages().len(), 2);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct Mirror {
    server: FakeServer,
}

impl Mirror {
    /// Starts what is described, with a listener for each side beside those that it has.
    ///
    /// # Errors
    /// As for [`FakeServerBuilder::start`].
    pub fn start(builder: FakeServerBuilder) -> Result<Self, StartError> {
        let listener = |builder: FakeServerBuilder, side: Side| {
            builder.transport("tcp://127.0.0.1:0/amps", TransportConfig::new(side.name()))
        };
        let server = listener(listener(builder, Side::A), Side::B).start()?;
        Ok(Self { server })
    }

    /// What is behind both.
    pub const fn server(&self) -> &FakeServer {
        &self.server
    }

    /// Where a side listens. It keeps its port while it is down.
    pub fn addr(&self, side: Side) -> SocketAddr {
        let mut listeners = self.server.listeners().into_iter();
        let found = listeners.find(|listening| listening.name == side.name());
        found.and_then(|listening| listening.addr).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The connection string of a side for one message type: `tcp://127.0.0.1:PORT/amps/json`.
    pub fn uri(&self, side: Side, message_type: &str) -> String {
        format!("tcp://{}/amps/{message_type}", self.addr(side))
    }

    /// Ends the connections of a side, and refuses new ones. What was logged the other side has.
    pub fn kill(&self, side: Side) {
        self.server.disable_transport(side.name());
    }

    /// Lets clients connect to a side again, on the same port.
    ///
    /// # Errors
    /// Another process has taken the port.
    pub fn restart(&self, side: Side) -> Result<(), StartError> {
        self.server.enable_transport(side.name()).map(drop)
    }

    /// Publishes a JSON message on behalf of both.
    ///
    /// # Errors
    /// As for [`FakeServer::publish`].
    pub fn publish(&self, topic: &str, body: impl AsRef<[u8]>) -> Result<Published, NotPublished> {
        self.server.publish(topic, body)
    }
}
