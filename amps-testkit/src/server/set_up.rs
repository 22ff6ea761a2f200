//! The handle's way to put things in place without a client, and to begin again (server.md
//! OBS-05, OBS-06, AC-CI-10).

use super::{FakeServer, StartError};
use crate::engine::{NotPublished, PublishOptions, Published, SeedError, SeedKind, SeedMessage};
use crate::shell::{Note, Outside};

impl FakeServer {
    /// Publishes on behalf of the server, or of a client that need not be there: as if it had
    /// sent that publish, but nobody's rights are asked, and nobody is acknowledged.
    ///
    /// # Errors
    /// The publish of a client would be refused, for the same reason; nothing was done.
    pub fn publish_as(
        &self,
        topic: &str,
        body: impl AsRef<[u8]>,
        options: &PublishOptions,
    ) -> Result<Published, NotPublished> {
        let (topic, body, options) = (topic.to_owned(), body.as_ref().to_vec(), options.clone());
        let done = self.ask(|done| Note::Outside(Outside::Publish { topic, body, options, done }));
        self.handed_over();
        done.unwrap_or(Ok(Published { bookmark: None }))
    }

    /// Puts a record into a topic with a state of the world, or in the place of the one with its
    /// key, at a time of choice. It enters neither log nor queue; where its topic is logged, a
    /// restart forgets it. Views follow, and who is subscribed hears of it.
    ///
    /// # Errors
    /// The topic keeps no records, or a publish like it would be refused.
    pub fn seed_record(&self, record: SeedMessage) -> Result<Published, SeedError> {
        self.seed(SeedKind::Record, record)
    }

    /// Puts messages into the transaction log, with times and bookmarks of choice, oldest first.
    /// What a publish has done by then is done too: records, queues, and who is subscribed hears
    /// of it.
    ///
    /// ```
    /// use amps_testkit::{FakeServer, SeedMessage};
    /// use std::time::Duration;
    ///
    /// let server = FakeServer::builder().virtual_clock().start()?;
    /// let ago = |hours: u64| server.now() - Duration::from_secs(3600 * hours);
    /// let entry = |n: u64| SeedMessage::new("orders", n.to_string()).publisher("app").sequence(n);
    /// let bookmarks = server.seed_log([entry(3).at(ago(2)), entry(5).at(ago(1))]).unwrap();
    /// assert_eq!(server.logged_messages()[1].at, ago(1));
    /// assert_eq!(bookmarks[1].bookmark.unwrap().sequence, 5);
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    ///
    /// # Errors
    /// The first that cannot be there: its topic is not logged, its time is before that of the
    /// last entry or after the server's, or its sequence number is known. Those before it are in
    /// place, those after it are not.
    pub fn seed_log(
        &self,
        entries: impl IntoIterator<Item = SeedMessage>,
    ) -> Result<Vec<Published>, SeedError> {
        entries.into_iter().map(|entry| self.seed(SeedKind::Log, entry)).collect()
    }

    /// Puts a message into a queue, by the queue's name; it enters the log, too.
    ///
    /// ```
    /// use amps_testkit::{FakeServer, QueueConfig, SeedMessage};
    ///
    /// let server = FakeServer::builder().queue(QueueConfig::new("work").underlying("jobs")).start()?;
    /// server.seed_queue_message(SeedMessage::new("work", "1")).unwrap();
    /// assert_eq!(server.queue("work").unwrap().available[0].body, b"1");
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    ///
    /// # Errors
    /// There is no such queue, or the log cannot take it; see [`seed_log`](Self::seed_log).
    pub fn seed_queue_message(&self, message: SeedMessage) -> Result<Published, SeedError> {
        self.seed(SeedKind::Queue, message)
    }

    /// Makes a sequence number of a client known, and with it all lower ones: its next publish
    /// has to have a higher one, and its next logon is told this one.
    ///
    /// # Errors
    /// A higher one is known.
    pub fn set_sequence(&self, client: &str, sequence: u64) -> Result<(), SeedError> {
        let client = client.to_owned();
        self.ask(|done| Note::Outside(Outside::SetSequence(client, sequence, done))).unwrap_or(Ok(()))
    }

    /// Goes back to the start, as between two tests: every connection is closed, every message,
    /// lease, sequence number, expectation, journal entry and right given since is forgotten, the
    /// faults are those of the configuration, a virtual clock is where it started, and every
    /// transport is open again on its port. What a data directory held is forgotten, too. What other
    /// instances have replicated from here they have, and send back.
    ///
    /// ```
    /// use amps_testkit::FakeServer;
    ///
    /// let server = FakeServer::builder().virtual_clock().start()?;
    /// let (port, start) = (server.addr(), server.now());
    /// server.publish("orders", "{}").unwrap();
    /// server.advance(std::time::Duration::from_secs(60));
    /// server.reset()?;
    /// assert_eq!((server.addr(), server.now()), (port, start));
    /// assert!(server.log().is_empty());
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    ///
    /// # Errors
    /// A transport was disabled meanwhile, and another process has taken its port.
    pub fn reset(&self) -> Result<(), StartError> {
        // Who has connected before this call is let in first, and so does not outlive it.
        self.handed_over();
        self.ask(|done| Note::Outside(Outside::Reset(done))).unwrap_or(Ok(()))?;
        self.handed_over();
        self.resume_accepting()
    }

    fn seed(&self, kind: SeedKind, message: SeedMessage) -> Result<Published, SeedError> {
        let seeded = self.ask(|done| Note::Outside(Outside::Seed(kind, Box::new(message), done)));
        self.handed_over();
        seeded.unwrap_or(Ok(Published { bookmark: None }))
    }
}
