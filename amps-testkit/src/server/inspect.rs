//! The handle's look at what the server holds (server.md OBS-04).

use std::sync::mpsc::sync_channel;

use super::FakeServer;
use crate::clock::NextTimer;
use crate::engine::{ConnectionSnapshot, PublisherSequence, SowRecord, SubscriptionSnapshot, TopicSnapshot};
use crate::shell::{Note, Outside, View};
use crate::state::ServerState;
use crate::state::overview::Overview;

impl FakeServer {
    /// Everything that the server holds, at one moment; `to_json` writes it.
    pub fn state(&self) -> ServerState {
        self.look(ServerState::of).unwrap_or_default()
    }

    /// The connections, in the order of arrival.
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().start()?;
    /// assert!(server.connections().iter().all(|connection| connection.pending_bytes == 0));
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn connections(&self) -> Vec<ConnectionSnapshot> {
        self.look(|view| view.engine.connections_with(view.unsent)).unwrap_or_default()
    }

    /// The subscriptions of all connections, those of the oldest connection first; whose they are
    /// say [`connections`](Self::connections).
    pub fn subscriptions(&self) -> Vec<SubscriptionSnapshot> {
        self.connections().into_iter().flat_map(|connection| connection.subscriptions).collect()
    }

    /// The topics that keep a state of the world, in the order of their configuration.
    pub fn topics(&self) -> Vec<TopicSnapshot> {
        self.look(|view| view.engine.topics()).unwrap_or_default()
    }

    /// The records of a topic, in the order of their insertion; also those of a view, and of a
    /// container of topics by its name. Empty also if there is no such topic.
    pub fn sow(&self, topic: &str) -> Vec<SowRecord> {
        let topic = topic.to_owned();
        self.look(move |view| view.engine.sow(&topic)).unwrap_or_default()
    }

    /// The highest sequence number of every publisher.
    pub fn sequences(&self) -> Vec<PublisherSequence> {
        self.look(|view| view.engine.sequences()).unwrap_or_default()
    }

    /// Everything that waits for the clock, the earliest first: what
    /// [`next_timer`](Self::next_timer) will say, one after the other.
    ///
    /// ```
    /// use amps_testkit::{FakeServer, QueueConfig};
    /// use std::time::Duration;
    ///
    /// let work = QueueConfig::new("work").expiration(Duration::from_secs(5));
    /// let server = FakeServer::builder().queue(work).virtual_clock().start()?;
    /// server.publish("work", "1").unwrap();
    /// server.publish("work", "2").unwrap();
    /// assert_eq!(server.timers().len(), 2);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn timers(&self) -> Vec<NextTimer> {
        self.look(|view: &View<'_>| View::timers(view)).unwrap_or_default()
    }

    /// A few rows of everything, for a page; one look that is not long, however much the server holds.
    pub(crate) fn overview(&self) -> Option<Overview> {
        self.look(Overview::of)
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.look(|view| view.virtual_clock).unwrap_or_default()
    }

    /// `None` if the loop has ended.
    fn look<T: Send + 'static>(&self, look: impl FnOnce(&View<'_>) -> T + Send + 'static) -> Option<T> {
        let (done, answer) = sync_channel(1);
        let look = Box::new(move |view: &View<'_>| {
            let _nobody_waits = done.try_send(look(view));
        });
        self.machine.post(Note::Outside(Outside::Look(look))).then(|| answer.recv().ok()).flatten()
    }
}
