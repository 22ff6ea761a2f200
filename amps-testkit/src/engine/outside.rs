//! What is published and put in place without a client (server.md OBS-05, OBS-06).
//!
//! Owns the vocabulary, and the rules that a client's commands would have to keep as well: no
//! sequence number counts twice, and neither sequence numbers nor times go back in the log.
//! From there on a message takes the way of every publish.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use amps_protocol::MessageId;
use amps_transport::{Sink, Time};

use super::Engine;
use super::publish::Publication;
use super::reasons::Reason;
use super::reply::Refusal;
use super::topic::Route;
use super::txlog::name_hash;

/// How a message is published on behalf of the server, or of a client that need not be there.
///
/// ```
/// use amps_testkit::{FakeServer, PublishOptions};
///
/// let server = FakeServer::builder().start()?;
/// let as_app = PublishOptions { publisher: Some("app".into()), sequence: Some(7), ..Default::default() };
/// server.publish_as("orders", "{\"id\":1}", &as_app).unwrap();
/// let refused = server.publish_as("orders", "{\"id\":1}", &as_app).unwrap_err();
/// assert_eq!(refused.to_string(), "not published: duplicate");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// The message type. Default `json`.
    pub message_type: Option<String>,
    /// The client name of the publisher. Default: the server itself, by the name of its instance.
    pub publisher: Option<String>,
    /// The publisher's sequence number. Default: none, and the server numbers the message. It
    /// needs a publisher.
    pub sequence: Option<u64>,
    /// The key of its record, where publishers choose it.
    pub key: Option<String>,
    /// The correlation id.
    pub correlation: Option<Vec<u8>>,
    /// Seconds to live; 0 means for ever. Default: what the topic or queue says.
    pub expiration: Option<u64>,
    /// Only what changes in its record. Default `false`.
    pub delta: bool,
}

/// A message was published.
///
/// ```
/// use amps_testkit::{FakeServer, PublishOptions};
///
/// let server = FakeServer::builder().start()?;
/// let published = server.publish_as("orders", "{}", &PublishOptions::default()).unwrap();
/// assert_eq!(published.bookmark, Some(server.logged_messages()[0].bookmark));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What names it, if its topic is logged.
    pub bookmark: Option<MessageId>,
}

/// A message was not published, or not put in place; nothing was done.
///
/// ```
/// use amps_testkit::{FakeServer, PublishOptions, Reason};
///
/// let server = FakeServer::builder().start()?;
/// let refused = server.publish_as("", "{}", &PublishOptions::default()).unwrap_err();
/// assert_eq!((refused.reason, refused.text.as_str()), (Reason::InvalidTopic, "invalid topic"));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not published: {text}{}", detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
pub struct NotPublished {
    /// Why.
    pub reason: Reason,
    /// The reason as a client reads it.
    pub text: String,
    /// What is wrong in particular.
    pub detail: Option<String>,
}

/// A message to be put in place before a test begins, at a time of choice.
///
/// ```
/// use amps_testkit::{FakeServer, SeedMessage, SowConfig};
/// use std::time::Duration;
///
/// let server = FakeServer::builder().sow(SowConfig::new("orders").key("/id")).virtual_clock().start()?;
/// let hour_ago = server.now() - Duration::from_secs(3600);
/// server.seed_record(SeedMessage::new("orders", "{\"id\":1}").at(hour_ago)).unwrap();
/// assert_eq!(server.sow("orders")[0].updated, hour_ago);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a seed does nothing before a server has it"]
pub struct SeedMessage {
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
    pub(crate) options: PublishOptions,
    pub(crate) bookmark: Option<MessageId>,
    pub(crate) at: Option<Time>,
}

impl SeedMessage {
    /// A JSON message of the server itself, now.
    pub fn new(topic: impl Into<String>, body: impl AsRef<[u8]>) -> Self {
        let (topic, body) = (topic.into(), body.as_ref().to_vec());
        Self { topic, body, options: PublishOptions::default(), bookmark: None, at: None }
    }

    /// The message type.
    pub fn message_type(mut self, name: impl Into<String>) -> Self {
        self.options.message_type = Some(name.into());
        self
    }

    /// The client name of the publisher.
    pub fn publisher(mut self, name: impl Into<String>) -> Self {
        self.options.publisher = Some(name.into());
        self
    }

    /// The publisher's sequence number; it makes the bookmark, together with the name.
    pub fn sequence(mut self, sequence: u64) -> Self {
        self.options.sequence = Some(sequence);
        self
    }

    /// The bookmark, whoever the publisher is.
    pub fn bookmark(mut self, bookmark: MessageId) -> Self {
        self.bookmark = Some(bookmark);
        self
    }

    /// When it is said to have been published; not after the server's time.
    pub fn at(mut self, time: Time) -> Self {
        self.at = Some(time);
        self
    }

    /// The key of its record, where publishers choose it.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// The correlation id.
    pub fn correlation(mut self, id: impl AsRef<[u8]>) -> Self {
        self.options.correlation = Some(id.as_ref().to_vec());
        self
    }

    /// Seconds to live, counted from the time of the message; 0 means for ever.
    pub fn expiration(mut self, seconds: u64) -> Self {
        self.options.expiration = Some(seconds);
        self
    }

    /// Every option of a publish at once.
    pub fn options(mut self, options: PublishOptions) -> Self {
        self.options = options;
        self
    }
}

/// What a [`SeedMessage`] becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeedKind {
    /// A record that no log knows of.
    Record,
    /// An entry of the log, with all that follows from it.
    Log,
    /// The same, and it has to be a queue.
    Queue,
}

/// Why something was not put in place; nothing was done.
///
/// ```
/// use amps_testkit::{FakeServer, SeedError, SeedMessage};
///
/// let server = FakeServer::builder().start()?;
/// let error = server.seed_record(SeedMessage::new("orders", "{}")).unwrap_err();
/// assert_eq!(error, SeedError::NoRecords { topic: "orders".into() });
/// assert!(error.to_string().starts_with("\"orders\" keeps no state of the world"));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// A publish of the same kind would be refused.
    #[error(transparent)]
    Refused(#[from] NotPublished),
    /// The topic keeps no records.
    #[error("\"{topic}\" keeps no state of the world; configure it as a SOW topic")]
    NoRecords {
        /// The topic.
        topic: String,
    },
    /// The topic is not in the transaction log.
    #[error("\"{topic}\" is not logged; add it to the topics of the transaction log")]
    NotLogged {
        /// The topic.
        topic: String,
    },
    /// There is no such queue.
    #[error("there is no queue \"{queue}\"; configure it")]
    NoQueue {
        /// The name.
        queue: String,
    },
    /// Times do not go back in the log, and nothing in it is of the future.
    #[error("the time {at:?} is not between {first:?}, the last in the log, and {last:?}, the server's")]
    Time {
        /// The time of the seed.
        at: Time,
        /// The earliest that could be.
        first: Time,
        /// The latest that could be.
        last: Time,
    },
    /// The sequence number, or a higher one, is known.
    #[error("the sequence number {sequence} is not above {known}, the highest known of its publisher")]
    Sequence {
        /// The number.
        sequence: u64,
        /// The highest that is known.
        known: u64,
    },
}

impl Engine {
    /// Publishes on behalf of the server or of a client that need not be there. Nobody's rights
    /// are asked.
    ///
    /// # Errors
    /// A publish of that kind would be refused.
    pub fn publish_as<S: Sink>(
        &mut self,
        now: Time,
        topic: &str,
        body: &[u8],
        options: &PublishOptions,
        sink: &mut S,
    ) -> Result<Published, NotPublished> {
        if self.is_halted() {
            // AMPS has no reason for it: nobody would be there to refuse anything.
            let refusal = Refusal::because(Reason::NotEntitled, "the server is stopped".to_owned());
            return Err(self.not_published(refusal));
        }
        self.close_slow(now, sink);
        let outcome = self.route_outside(topic, options).and_then(|route| {
            let bookmark = if route.logged { Some(self.bookmark_for(options)?) } else { None };
            self.put(now, &route, body, options, bookmark, sink)?;
            Ok(Published { bookmark })
        });
        self.settle(now, sink);
        outcome.map_err(|refusal| self.not_published(refusal))
    }

    /// Puts a message in place as if it had been published at its time. Whoever is subscribed is
    /// told.
    pub(crate) fn seed<S: Sink>(
        &mut self,
        now: Time,
        kind: SeedKind,
        seed: &SeedMessage,
        sink: &mut S,
    ) -> Result<Published, SeedError> {
        let outcome = self.placed(now, kind, seed).and_then(|(route, at, bookmark)| {
            let put = self.put(at, &route, &seed.body, &seed.options, bookmark, sink);
            put.map(|()| Published { bookmark }).map_err(|refusal| self.not_published(refusal).into())
        });
        self.settle(now, sink);
        outcome
    }

    /// Where a seed goes, when it is said to have come, and the bookmark that is its own from now on.
    fn placed(
        &mut self,
        now: Time,
        kind: SeedKind,
        seed: &SeedMessage,
    ) -> Result<(Arc<Route>, Time, Option<MessageId>), SeedError> {
        let SeedMessage { topic, options, bookmark, at, .. } = seed;
        let is_queue = |queue: &super::queue::Queue| {
            *queue.name == **topic && self.types.name(queue.message_type) == message_type(options)
        };
        if kind == SeedKind::Queue && !self.queues.iter().any(is_queue) {
            return Err(SeedError::NoQueue { queue: topic.clone() });
        }
        let route = self.route_outside(topic, options).map_err(|refusal| self.not_published(refusal))?;
        let at = at.unwrap_or(now);
        if kind == SeedKind::Record {
            return match &route.table {
                None => Err(SeedError::NoRecords { topic: topic.clone() }),
                Some(_) if at > now => Err(SeedError::Time { at, first: Time::EPOCH, last: now }),
                Some(_) => Ok((route, at, None)),
            };
        }
        if !route.logged {
            return Err(SeedError::NotLogged { topic: topic.clone() });
        }
        let first = self.last_logged_at().unwrap_or(Time::EPOCH);
        if at < first || at > now {
            return Err(SeedError::Time { at, first, last: now });
        }
        let chosen = bookmark.or_else(|| self.chosen_bookmark(options));
        if let Some(MessageId { publisher, sequence }) = chosen {
            let known = self.log.highest(publisher);
            if sequence <= known {
                return Err(SeedError::Sequence { sequence, known });
            }
        }
        let bookmark = chosen.map_or_else(|| self.bookmark_for(options), Ok);
        let bookmark = bookmark.map_err(|refusal| self.not_published(refusal))?;
        Ok((route, at, Some(bookmark)))
    }

    /// Lets a publisher's next sequence number be the one after this.
    pub(crate) fn set_sequence(&mut self, client: &str, sequence: u64) -> Result<(), SeedError> {
        let publisher = self.client_hash(client);
        let known = self.log.highest(publisher);
        if sequence < known {
            return Err(SeedError::Sequence { sequence, known });
        }
        self.log.advance(publisher, sequence);
        self.scripted.name_publisher(publisher, client);
        Ok(())
    }

    /// The first part of a client's bookmarks (BMK-03).
    pub(super) fn client_hash(&self, name: &str) -> u64 {
        self.config.switches.bookmark_hash.get(name).copied().unwrap_or_else(|| name_hash(name))
    }

    fn route_outside(&mut self, topic: &str, options: &PublishOptions) -> Result<Arc<Route>, Refusal> {
        let name = message_type(options);
        let Some(message_type) = self.types.known(name) else {
            let detail = format!("\"{name}\" is neither built in nor configured");
            return Err(Refusal::because(Reason::InvalidMessageType, detail));
        };
        self.publish_route(message_type, Some(topic.as_bytes()))
    }

    fn chosen_bookmark(&self, options: &PublishOptions) -> Option<MessageId> {
        let (publisher, sequence) = (options.publisher.as_ref()?, options.sequence.filter(|&s| s > 0)?);
        Some(MessageId { publisher: self.client_hash(publisher), sequence })
    }

    fn bookmark_for(&mut self, options: &PublishOptions) -> Result<MessageId, Refusal> {
        if let Some(bookmark) = self.chosen_bookmark(options) {
            if !self.log.advance(bookmark.publisher, bookmark.sequence) {
                return Err(Reason::Duplicate.into());
            }
            return Ok(bookmark);
        }
        Ok(match &options.publisher {
            Some(name) => self.server_bookmark(name_hash(&format!("{name}@{}", self.config.instance))),
            None => self.own_bookmark(),
        })
    }

    fn put<S: Sink>(
        &mut self,
        at: Time,
        route: &Route,
        body: &[u8],
        options: &PublishOptions,
        bookmark: Option<MessageId>,
        sink: &mut S,
    ) -> Result<(), Refusal> {
        let publication = Publication {
            message_type: self.types.id(message_type(options)),
            delta: options.delta,
            body,
            key: options.key.as_ref().map(String::as_bytes),
            correlation: options.correlation.as_deref(),
            expiration: options.expiration,
            publisher: options.publisher.as_deref().unwrap_or(&self.config.instance).into(),
            bookmark,
        };
        self.spread(at, route, publication, sink)
    }

    fn not_published(&self, refusal: Refusal) -> NotPublished {
        let Refusal { reason, detail } = refusal;
        NotPublished { reason, text: self.config.reasons.text(reason).to_owned(), detail }
    }
}

fn message_type(options: &PublishOptions) -> &str {
    options.message_type.as_deref().unwrap_or("json")
}
