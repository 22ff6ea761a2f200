//! What ties a bookmark subscription to the client's bookmark store.
//!
//! Owns where a subscription begins when it is placed, and when it is placed again; asks the
//! store whether a message is new, and tells it what the server says of its log. Delivers
//! nothing and writes nothing.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use amps_protocol::{AckType, AckTypes, BookmarkNotFound, CommandKind, Id, Message, ServerVersion};

use crate::bookmark_store::{Arrival, BookmarkStore, RecoveryPoint};
use crate::bookmarks::{BookmarkList, MOST_RECENT, MessageId, ReplayFrom};
use crate::command::Command;
use crate::error::{Error, Result};

/// The beginning of the log.
const EPOCH: &str = "0";

/// From now on.
const NOW: &str = "0|1|";

/// Servers from here on can be told where to begin if they know none of a list (protocol.md O-*).
const KNOWS_NOT_FOUND: ServerVersion = ServerVersion::new(5, 3, 5, 0);

/// Servers from here on take a list of bookmarks (client.md BM-10).
const KNOWS_LISTS: ServerVersion = ServerVersion::new(4, 0, 0, 0);

/// The client's bookmark store, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Bookmarks(pub(crate) Option<Arc<dyn BookmarkStore>>);

impl Bookmarks {
    /// The tie of a subscription to the store, if it is a bookmark subscription.
    pub(crate) fn replay(&self, command: &Command, sub: Option<&Id<'_>>) -> Option<Arc<Replay>> {
        if is_replay(command) { self.tie(&sub?.to_string()) } else { None }
    }

    /// The tie of whatever goes by this id, which may become a bookmark subscription later.
    pub(crate) fn tie(&self, sub: &str) -> Option<Arc<Replay>> {
        let store = Arc::clone(self.0.as_ref()?);
        Some(Arc::new(Replay { store, sub: sub.to_owned() }))
    }
}

impl fmt::Debug for Bookmarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bookmarks").field(&self.0.is_some()).finish()
    }
}

/// One subscription of the store.
pub(crate) struct Replay {
    store: Arc<dyn BookmarkStore>,
    sub: String,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("sub", &self.sub).finish_non_exhaustive()
    }
}

/// Whether a command is a bookmark subscription.
pub(crate) fn is_replay(command: &Command) -> bool {
    command.is_subscribe() && command.get_bookmark().is_some()
}

/// Whether a bookmark is the client's own word for "where I left off" (BK-2).
pub(crate) fn is_most_recent(bookmark: &str) -> bool {
    bookmark.eq_ignore_ascii_case(MOST_RECENT) || bookmark.eq_ignore_ascii_case("most_recent")
}

impl Replay {
    /// A new subscriber is about to begin.
    ///
    /// # Errors
    /// The store cannot keep that.
    pub(crate) fn begin(&self, command: &Command) -> Result<()> {
        let from = match command.get_bookmark() {
            // What "now" means, the server says when the replay is complete.
            None | Some(NOW) => return Ok(()),
            Some(from) if is_most_recent(from) => EPOCH,
            Some(from) => from,
        };
        self.store.begin(&self.sub, from).map_err(Error::Store)
    }

    /// The id was made up for this run: what an earlier one knew by it is about another subscription (client.md
    /// BK-5).
    ///
    /// # Errors
    /// The store cannot forget that.
    pub(crate) fn forget(&self) -> Result<()> {
        if self.recovery_point().bookmark.is_empty() {
            return Ok(());
        }
        self.store.purge_sub(&self.sub).map_err(Error::Store)
    }

    /// Whether a message goes to the application. A store in trouble loses nothing for that.
    pub(super) fn arrived(&self, message: MessageId) -> (Arrival, Option<Error>) {
        match self.store.arrived(&self.sub, message) {
            Ok(arrival) => (arrival, None),
            Err(error) => (Arrival::New, Some(Error::Store(error))),
        }
    }

    /// The application is done with a message.
    pub(crate) fn discard(&self, message: MessageId) -> Result<()> {
        self.store.discard(&self.sub, message).map_err(Error::Store)
    }

    fn recovery_point(&self) -> RecoveryPoint {
        self.store.recovery_point(&self.sub)
    }
}

/// A subscription on its connection, as the inbound half sees it.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(super) replay: Arc<Replay>,
    /// The server has said that the replay starts: what came before is of an earlier subscriber of the same id.
    begun: bool,
    /// The replay has caught up: until then, what is persisted may be ahead of it.
    caught_up: bool,
    begins_now: bool,
    gap: bool,
    /// Delivered only when every replica has it, perhaps after its `persisted` ack.
    lags: bool,
    /// The last `persisted` bookmark of a subscription that lags.
    held: Option<MessageId>,
}

impl Progress {
    pub(super) fn new(replay: Arc<Replay>, command: &Command) -> Self {
        let begins_now = command.get_bookmark() == Some(NOW);
        let lags = command.get_options().fully_durable();
        Self { replay, begun: false, caught_up: false, begins_now, gap: false, lags, held: None }
    }

    /// The server replays from here on: for a new subscriber (`anew`) or for the one that was there. Only
    /// now the last one's part is over: until then the id may still be refused, and messages of the last one may be
    /// under way. Returns what the store has to say.
    pub(super) fn begins(&mut self, anew: bool) -> Option<Error> {
        self.begun = true;
        let taken_over = if anew { self.replay.store.new_subscriber(&self.replay.sub) } else { Ok(()) };
        taken_over.err().map(Error::Store)
    }

    /// The next connection replays anew.
    pub(super) fn restart(&mut self) {
        // It began at "now", and nobody has said where that was.
        self.gap |= self.begun && self.begins_now;
        self.begun = false;
        self.stopped();
    }

    /// The server was told to send nothing for a while: what it has persisted says nothing of what it has sent.
    pub(super) fn stopped(&mut self) {
        self.caught_up = false;
        self.held = None;
    }

    /// Whether something may have been missed between two connections.
    pub(super) const fn take_gap(&mut self) -> bool {
        std::mem::replace(&mut self.gap, false)
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// The server says how far it is. Returns whether that is safe on all its replicas, and
    /// what the store has to say.
    pub(super) fn acknowledged(&mut self, ack: &Message<&[u8]>) -> (bool, Option<Error>) {
        let at = ack.bookmark().and_then(|bookmark| MessageId::parse(bookmark).ok());
        if ack.is_ack(AckType::Completed) {
            self.caught_up = true;
            if std::mem::take(&mut self.begins_now) {
                // An empty log has no bookmark: whatever comes is behind its beginning.
                let from = at.map_or_else(|| EPOCH.to_owned(), |at| at.to_string());
                return (false, self.replay.store.begin(&self.replay.sub, &from).err().map(Error::Store));
            }
        }
        if !ack.is_ack(AckType::Persisted) || !self.caught_up {
            return (false, None);
        }
        let safe = if self.lags { std::mem::replace(&mut self.held, at) } else { at };
        let Some(safe) = safe else { return (false, None) };
        (true, self.replay.store.persisted(&self.replay.sub, safe).err().map(Error::Store))
    }
}

/// Which message of the log this is, to be told from those that were seen; `None` if it is none.
pub(crate) fn logged<B: AsRef<[u8]>>(message: &Message<B>) -> Option<MessageId> {
    if !matches!(message.command(), CommandKind::Publish | CommandKind::DeltaPublish)
        || message.lease().is_some()
    {
        return None;
    }
    MessageId::parse(message.bookmark()?).ok()
}

/// Where subscriptions that were resumed together begin again: so that none misses anything.
/// `None` if that cannot be said, and each begins where it has to.
pub(super) fn common_point<'a>(members: impl Iterator<Item = &'a Replay>) -> Option<String> {
    let mut all = BookmarkList::new();
    for replay in members {
        let point = replay.recovery_point();
        if point.bookmark == EPOCH {
            return Some(EPOCH.to_owned());
        }
        if !point.progress {
            return None;
        }
        all.merge(&BookmarkList::parse(point.bookmark.as_bytes()).ok()?);
    }
    (!all.is_empty()).then(|| text_of(&all))
}

fn text_of(list: &BookmarkList) -> String {
    list.pieces().map(String::from_utf8_lossy).collect()
}

/// The acknowledgements that the client needs of a bookmark subscription (BK-3).
pub(super) fn acks(asked: AckTypes, replay: Option<&Arc<Replay>>) -> AckTypes {
    if replay.is_none() || asked.is_empty() {
        return asked;
    }
    asked.with(AckType::Persisted).with(AckType::Completed)
}

/// How a subscription is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// For the first time.
    First,
    /// After a reconnect.
    Again {
        /// A server has said, since it began, up to where everything is on all its replicas.
        safe: bool,
    },
}

/// The command as a server takes it now.
pub(super) fn resolved<'a>(
    command: &'a Command,
    replay: Option<&Replay>,
    placing: Placing,
    version: Option<ServerVersion>,
    common: Option<&str>,
) -> Cow<'a, Command> {
    let Some(asked) = command.get_bookmark().filter(|_| is_replay(command)) else {
        return Cow::Borrowed(command);
    };
    let most_recent = is_most_recent(asked);
    let original = if most_recent { EPOCH } else { asked };
    let Some(replay) = replay else {
        return if most_recent { at(command, original) } else { Cow::Borrowed(command) };
    };
    // A range keeps its end, and a limited replay its number: the store drops what came before.
    let whole = command.get_top_n().is_some()
        || command.get_options().contains("top_n")
        || ReplayFrom::parse(asked.as_bytes()).is_ok_and(|from| from.range().is_some());
    let resumes = most_recent || (matches!(placing, Placing::Again { .. }) && !whole);
    let point = replay.recovery_point();
    if !resumes || point.bookmark.is_empty() {
        return at(command, original);
    }
    if !point.progress {
        return at(command, &point.bookmark);
    }
    let before = |known: ServerVersion| version.is_some_and(|version| version < known);
    let unsafe_there = placing == (Placing::Again { safe: false }) && before(KNOWS_NOT_FOUND);
    if unsafe_there || before(KNOWS_LISTS) {
        // It may be another server, which knows nothing of these bookmarks and would skip to its end (P6).
        return at(command, original);
    }
    let bookmark = match BookmarkList::parse(point.bookmark.as_bytes()) {
        Ok(list) => Cow::Owned(text_of(&list)),
        Err(_) => Cow::Borrowed(&*point.bookmark),
    };
    let command = command.clone().bookmark(common.unwrap_or(&bookmark));
    if command.get_options().contains("bookmark_not_found") || before(KNOWS_NOT_FOUND) {
        return Cow::Owned(command);
    }
    Cow::Owned(command.bookmark_not_found(BookmarkNotFound::Epoch))
}

fn at<'a>(command: &'a Command, bookmark: &str) -> Cow<'a, Command> {
    if command.get_bookmark() == Some(bookmark) {
        Cow::Borrowed(command)
    } else {
        Cow::Owned(command.clone().bookmark(bookmark))
    }
}
