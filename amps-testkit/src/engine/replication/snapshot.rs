//! Links as others see them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::source::Line;
use super::{Engine, LinkState, SyncMode};

/// The link to a destination at one moment.
///
/// ```
/// use amps_testkit::{FakeServerBuilder, Pair, Side, SyncMode};
///
/// let pair = Pair::start(FakeServerBuilder::default().virtual_clock())?;
/// let link = &pair.server(Side::A).links()[0];
/// assert_eq!((link.peer.as_deref(), link.mode, link.connected), (Some("B"), SyncMode::Sync, true));
/// assert_eq!(link.waiting, 0);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSnapshot {
    /// What this instance calls the destination.
    pub destination: String,
    /// What the destination calls itself, as far as it was ever connected.
    pub peer: Option<String>,
    /// Whether publishers wait for it.
    pub mode: SyncMode,
    /// What it lets through.
    pub state: LinkState,
    /// Whether the two are connected, and know each other.
    pub connected: bool,
    /// How many entries of the log have yet to be sent.
    pub waiting: usize,
    /// How many entries were sent since the two were connected.
    pub sent: u64,
    /// How many entries were sent and not confirmed.
    pub unconfirmed: usize,
    /// How long entries are held back.
    pub lag: Duration,
    /// Why the destination would not have it.
    pub fault: Option<String>,
}

/// How many frames went which way over the present connection of one end of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The other instance.
    pub(crate) peer: Option<String>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Connected, and nothing is left to do on this end.
    pub(crate) settled: bool,
    /// There is no connection, and none is sought.
    pub(crate) off: bool,
}

/// What two instances compare to know that nothing is under way between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchanges {
    pub(crate) activity: u64,
    pub(crate) halted: bool,
    pub(crate) out: Vec<Exchange>,
    pub(crate) incoming: Vec<Exchange>,
}

impl Engine {
    /// The links to destinations, in the order of the configuration.
    pub fn links(&self) -> Vec<LinkSnapshot> {
        let snapshot = |link: &super::Destination| {
            let position = |at: &u64| self.log.get(*at).is_some_and(|item| self.is_for(link, *at, item));
            LinkSnapshot {
                destination: link.config.name.clone(),
                peer: link.peer.clone(),
                mode: link.mode,
                state: link.state,
                connected: matches!(link.line, Line::Established(_)),
                waiting: (link.cursor..self.log.end()).filter(position).count(),
                sent: link.entries,
                unconfirmed: link.in_flight.len(),
                lag: link.lag,
                fault: link.fault.clone(),
            }
        };
        self.replication.destinations.iter().map(snapshot).collect()
    }

    pub(crate) fn exchanges(&self) -> Exchanges {
        let links = self.replication.destinations.iter().zip(self.links());
        let out = links.map(|(link, snapshot)| {
            let rests = link.state != LinkState::Up || !self.replication.auto || !link.lag.is_zero();
            Exchange {
                peer: link.peer.clone(),
                sent: link.sent,
                received: link.received,
                settled: snapshot.connected && (snapshot.waiting == 0 || rests),
                off: link.conn().is_none()
                    && (link.state == LinkState::Down || link.config.addresses.is_empty()),
            }
        });
        let incoming = self.replication.upstreams.values().map(|upstream| Exchange {
            peer: upstream.instance.clone(),
            sent: upstream.sent,
            received: upstream.received,
            settled: upstream.instance.is_some(),
            off: false,
        });
        Exchanges {
            activity: self.replication.activity,
            halted: self.replication.halted,
            out: out.collect(),
            incoming: incoming.collect(),
        }
    }
}
