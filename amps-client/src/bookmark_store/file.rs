//! A bookmark store in a file.
//!
//! Owns what its records mean; the file itself is the journal's, how far a subscription was
//! processed the tracker's. Arrivals are not written: a message that arrived and was not
//! discarded has to come again after a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nom::combinator::all_consuming;
use nom::error::Error;
use nom::multi::fold_many1;
use nom::number::complete::{be_u32, be_u64};
use nom::{IResult, Parser};
use rustc_hash::FxHashMap;

use super::tracker::{Note, Tracker};
use super::{Arrival, BookmarkStore, RecoveryPoint};
use crate::bookmarks::MessageId;
#[cfg(any(test, feature = "simulation"))]
use crate::journal::Steps;
use crate::journal::{Journal, Log, Owner, RealDisk, Records, Settings, StoreKind};
use crate::publish_store::SyncPolicy;
use crate::store_error::StoreError;

const DEFAULT_POLICY: SyncPolicy = SyncPolicy::Interval(Duration::from_secs(1));

/// A subscription's number and id. Every other record of a subscription begins with the number.
const SUB: u8 = 1;
/// Where it begins.
const BEGIN: u8 = 2;
/// Messages that are discarded while something before them is open.
const DISCARDED: u8 = 3;
/// A publisher's point: the last message of the contiguous run.
const POINT: u8 = 4;
/// A persisted bookmark that nothing open precedes.
const PERSISTED: u8 = 5;
/// Nothing is known of the subscription any more.
const PURGED_SUB: u8 = 6;
/// Nothing is known of any.
const PURGED: u8 = 7;

/// Publisher and sequence number.
const MESSAGE_LEN: usize = 16;

/// So many messages share a record in a file that is written anew.
const MESSAGES_PER_RECORD: usize = 4096;

/// About what a note takes in a file that is written anew.
const BYTES_PER_NOTE: u64 = 20;

/// Keeps in a file what was processed: it outlives the process.
///
/// When `discard`, `purge` and `purge_sub` return, it is written: it outlives the process, however that ends.
/// A thread of the store's own forces it onto the disk as the [`SyncPolicy`] says (by default at least
/// once a second; see [`builder`](Self::builder)); from then on it outlives a failure of the machine. With
/// [`SyncPolicy::EveryWrite`] they return when it is on the disk; threads that discard at the same time share
/// one force. With the other policies nothing waits for the disk, but for the moment in which a new file takes the
/// place of one that is mostly dead. What the server has persisted, and where a subscription began, may be
/// written later.
///
/// After a restart each subscription resumes at or before its first message that is not discarded.
/// That one comes again, as new; what was discarded behind it is still known. **Every message has to
/// be discarded**: otherwise the recovery point stays where it is, and the file grows.
///
/// A message that arrived and is not yet discarded takes less than 100 bytes of memory, and none of
/// the file. The file shrinks while it is in use, when most of it is dead and it has more than 16 MiB, and when
/// it is closed: there is nothing to prune.
///
/// # The file
///
/// It belongs to one client, by name, and to one process at a time. What a process that died left half written
/// at its end is cut off. A file that is damaged elsewhere, written by a newer version, of another client or of
/// another kind is refused, and nothing in it is changed. An empty file is as good as none.
///
/// When the disk is full the store goes on in memory and tries again every second; until that succeeds `discard`
/// returns [`StoreError::Full`].
///
/// ```
/// use amps_client::bookmarks::MessageId;
/// use amps_client::{Arrival, BookmarkStore, FileBookmarkStore};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("order-worker.bookmarks");
///
/// let [first, second] = [1, 2].map(|sequence| MessageId { publisher: 7, sequence });
/// let store = FileBookmarkStore::open(&path)?;
/// # // What a client does with it:
/// store.attach("order-worker")?;
/// store.arrived("orders-1", first)?;
/// store.arrived("orders-1", second)?;
/// store.discard("orders-1", first)?;
/// drop(store); // the process ends
///
/// let store = FileBookmarkStore::open(&path)?;
/// store.attach("order-worker")?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "7|1|");
/// assert_eq!(store.arrived("orders-1", first)?, Arrival::Duplicate);
/// assert_eq!(store.arrived("orders-1", second)?, Arrival::New);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileBookmarkStore {
    journal: Journal<State>,
}

/// How a [`FileBookmarkStore`] is opened.
///
/// ```
/// use amps_client::{BookmarkStore, FileBookmarkStore, SyncPolicy};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders.bookmarks");
///
/// let store = FileBookmarkStore::builder(&path).sync(SyncPolicy::EveryWrite).open()?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct FileBookmarkStoreBuilder {
    path: PathBuf,
    policy: SyncPolicy,
}

impl FileBookmarkStoreBuilder {
    /// When what is written is forced onto the disk; by default at least once a second
    /// (`SyncPolicy::Interval(Duration::from_secs(1))`).
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Opens the file and locks it. If there is none it is made; its directory must be there.
    ///
    /// # Errors
    /// Any [`StoreError`]: the file is in use, damaged, written by a newer version, no bookmark store, or the
    /// system refused. Whose file it is turns out when a client takes the store.
    pub fn open(self) -> Result<FileBookmarkStore, StoreError> {
        let settings = Settings::new(Arc::new(RealDisk), self.policy);
        FileBookmarkStore::with_settings(&self.path, settings)
    }
}

impl FileBookmarkStore {
    /// Opens a store with the default policy, as [`builder`](Self::builder) does.
    ///
    /// # Errors
    /// See [`FileBookmarkStoreBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(path).open()
    }

    /// Opens a store with a policy of your choice.
    pub fn builder(path: impl AsRef<Path>) -> FileBookmarkStoreBuilder {
        FileBookmarkStoreBuilder { path: path.as_ref().to_owned(), policy: DEFAULT_POLICY }
    }

    fn with_settings(path: &Path, settings: Settings) -> Result<Self, StoreError> {
        Ok(Self { journal: Journal::open(path, StoreKind::Bookmark, State::default(), settings)? })
    }

    fn look<T: Default>(&self, sub: &str, look: impl FnOnce(&Tracker) -> T) -> T {
        self.journal.with(|state, _| state.subs.get(sub).map(|sub| look(&sub.tracker)).unwrap_or_default())
    }
}

#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
impl crate::journal::SimDisk {
    /// A bookmark store on this disk that has no thread: whoever asks for it takes the steps.
    ///
    /// # Errors
    /// See [`FileBookmarkStoreBuilder::open`].
    pub fn bookmark_store(
        &self,
        path: &Path,
        policy: SyncPolicy,
    ) -> Result<(FileBookmarkStore, Steps), StoreError> {
        self.bookmark_store_that_shrinks(path, policy, None)
    }

    /// The same, whose file is written anew from so many bytes on.
    fn bookmark_store_that_shrinks(
        &self,
        path: &Path,
        policy: SyncPolicy,
        above: Option<u64>,
    ) -> Result<(FileBookmarkStore, Steps), StoreError> {
        let settings = Settings::new(Arc::new(self.clone()), policy);
        let rewrite_above = above.unwrap_or(settings.rewrite_above);
        let store =
            FileBookmarkStore::with_settings(path, Settings { rewrite_above, thread: false, ..settings })?;
        let steps = store.journal.steps();
        Ok((store, steps))
    }
}

impl BookmarkStore for FileBookmarkStore {
    fn attach(&self, client: &str) -> Result<(), StoreError> {
        self.journal.attach(client, || {}, |_, _| Ok(()))
    }

    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
        self.journal.with(|state, log| state.change(sub, log, |tracker, told| tracker.begin(from, told))).1
    }

    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
        // Of arrivals the file knows nothing.
        self.journal.with(|state, log| state.change(sub, log, |tracker, _| tracker.new_subscriber())).1
    }

    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
        let (arrival, _) = self
            .journal
            .with(|state, log| state.change(sub, log, |tracker, told| tracker.arrived(message, told)));
        // What could not be appended says that points have passed what is noted to be discarded
        // singly. The next run finds that out by itself.
        Ok(arrival)
    }

    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
        self.journal.settle(|state, log| {
            if !state.subs.contains_key(sub) {
                return Ok(());
            }
            // Where it was not open, whoever has discarded it may not be back yet.
            state.change(sub, log, |tracker, told| tracker.discard(message, told)).1
        })
    }

    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
        self.journal
            .with(|state, log| state.change(sub, log, |tracker, told| tracker.persisted(last, told)))
            .1
    }

    fn recovery_point(&self, sub: &str) -> RecoveryPoint {
        self.look(sub, Tracker::recovery_point)
    }

    fn oldest_open(&self, sub: &str) -> Option<MessageId> {
        self.look(sub, Tracker::oldest_open)
    }

    fn open_messages(&self, sub: &str) -> usize {
        self.look(sub, Tracker::open_messages)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.journal.settle(|state, log| {
            state.forget_all();
            log.append(PURGED, &[]).map(drop)
        })
    }

    fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
        self.journal.settle(|state, log| match state.forget(sub) {
            None => Ok(()),
            Some(number) => log.append(PURGED_SUB, &[&number.to_be_bytes()]).map(drop),
        })
    }

    fn close(&self) -> Result<(), StoreError> {
        self.journal.close(|_, _| Ok(()))
    }
}

impl std::fmt::Debug for FileBookmarkStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subs = self.journal.with(|state, _| state.subs.len());
        f.debug_struct("FileBookmarkStore")
            .field("path", &self.journal.path())
            .field("subscriptions", &subs)
            .finish_non_exhaustive()
    }
}

/// What the records add up to, and what arrived in this run.
#[derive(Debug, Default)]
struct State {
    subs: FxHashMap<Box<str>, Sub>,
    /// The ids of the numbers that records use.
    names: FxHashMap<u32, Box<str>>,
    /// No number from here on was used.
    next: u32,
    /// How many notes a new file has at most.
    notes: usize,
}

#[derive(Debug, Default)]
struct Sub {
    tracker: Tracker,
    /// Its number, once a record has said it.
    number: Option<u32>,
}

impl State {
    /// Changes a subscription, and appends what has to outlive the process.
    fn change<T>(
        &mut self,
        id: &str,
        log: &mut Log<'_>,
        change: impl FnOnce(&mut Tracker, &mut dyn FnMut(Note<'_>)) -> T,
    ) -> (T, Result<(), StoreError>) {
        let Self { subs, names, next, notes } = self;
        let sub = match subs.get_mut(id) {
            Some(sub) => sub,
            None => subs.entry(id.into()).or_default(),
        };
        let Sub { tracker, number } = sub;
        let before = tracker.notes();
        let mut appended = Ok(());
        let result = change(tracker, &mut |note| {
            if appended.is_ok() {
                appended = append(log, id, number, names, next, note);
            }
        });
        *notes = (*notes + tracker.notes()).saturating_sub(before);
        (result, appended)
    }

    /// The number of the subscription, if any record is about it.
    fn forget(&mut self, id: &str) -> Option<u32> {
        let sub = self.subs.remove(id)?;
        self.notes = self.notes.saturating_sub(sub.tracker.notes());
        let number = sub.number?;
        self.names.remove(&number);
        Some(number)
    }

    fn forget_all(&mut self) {
        self.subs.clear();
        self.names.clear();
        self.notes = 0;
    }

    /// Takes up a record; `None` if it does not look as its kind does.
    fn take_up(&mut self, kind: u8, payload: &[u8]) -> Option<Result<(), String>> {
        if kind == PURGED {
            self.forget_all();
            return payload.is_empty().then_some(Ok(()));
        }
        let (payload, number) = be_u32::<_, Error<&[u8]>>(payload).ok()?;
        if kind == SUB {
            let name: Box<str> = text(payload)?.into();
            self.next = self.next.max(number.saturating_add(1));
            self.subs.entry(name.clone()).or_default().number = Some(number);
            self.names.insert(number, name);
            return Some(Ok(()));
        }
        let Some(name) = self.names.get(&number) else {
            return Some(Err(format!("a record of the unknown subscription {number}")));
        };
        if kind == PURGED_SUB {
            let name = name.clone();
            self.forget(&name);
            return payload.is_empty().then_some(Ok(()));
        }
        let tracker = &mut self.subs.get_mut(name)?.tracker;
        let before = tracker.notes();
        match kind {
            BEGIN => tracker.restore(Note::Begin(text(payload)?)),
            DISCARDED => messages(payload, &mut |message| tracker.restore(Note::Discarded(message)))?,
            POINT => messages(payload, &mut |message| tracker.restore(Note::Point(message)))?,
            PERSISTED => messages(payload, &mut |message| tracker.restore(Note::Persisted(message)))?,
            unknown => return Some(Err(format!("a record of the unknown kind {unknown}"))),
        }
        self.notes = (self.notes + tracker.notes()).saturating_sub(before);
        Some(Ok(()))
    }
}

impl Owner for State {
    fn replay(&mut self, _position: u64, kind: u8, payload: &[u8]) -> Result<(), String> {
        let len = payload.len();
        self.take_up(kind, payload)
            .unwrap_or_else(|| Err(format!("a record of the kind {kind} cannot have these {len} bytes")))
    }

    fn live_bytes(&self, _end: u64) -> u64 {
        self.notes as u64 * BYTES_PER_NOTE
    }

    fn snapshot(&mut self, records: &mut Records, end: u64) -> u64 {
        for (id, Sub { tracker, number }) in &self.subs {
            // Numbers stay: what is appended meanwhile goes into the old file as well.
            let Some(number) = number.map(u32::to_be_bytes) else { continue };
            records.push(SUB, &[&number, id.as_bytes()]);
            let mut discarded = Vec::new();
            tracker.recount(&mut |note| match note {
                Note::Discarded(message) => {
                    discarded.extend_from_slice(&bytes(message));
                    if discarded.len() >= MESSAGES_PER_RECORD * MESSAGE_LEN {
                        records.push(DISCARDED, &[&number, &discarded]);
                        discarded.clear();
                    }
                }
                note => with_payload(note, |kind, payload| {
                    records.push(kind, &[&number, payload]);
                }),
            });
            if !discarded.is_empty() {
                records.push(DISCARDED, &[&number, &discarded]);
            }
        }
        end
    }
}

/// Appends a note, and before the first of a subscription its number.
fn append(
    log: &mut Log<'_>,
    id: &str,
    known: &mut Option<u32>,
    names: &mut FxHashMap<u32, Box<str>>,
    next: &mut u32,
    note: Note<'_>,
) -> Result<(), StoreError> {
    let number = match *known {
        Some(number) => number,
        None => {
            let number = *next;
            log.append(SUB, &[&number.to_be_bytes(), id.as_bytes()])?;
            names.insert(number, id.into());
            *next = next.saturating_add(1);
            *known = Some(number);
            number
        }
    };
    with_payload(note, |kind, payload| log.append(kind, &[&number.to_be_bytes(), payload])).map(drop)
}

/// A note as the kind and the payload of a record, without the subscription's number.
fn with_payload<R>(note: Note<'_>, put: impl FnOnce(u8, &[u8]) -> R) -> R {
    match note {
        Note::Begin(from) => put(BEGIN, from.as_bytes()),
        Note::Discarded(message) => put(DISCARDED, &bytes(message)),
        Note::Point(message) => put(POINT, &bytes(message)),
        Note::Persisted(message) => put(PERSISTED, &bytes(message)),
    }
}

fn bytes(message: MessageId) -> [u8; MESSAGE_LEN] {
    (u128::from(message.publisher) << 64 | u128::from(message.sequence)).to_be_bytes()
}

fn text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok()
}

/// Shows all messages of a payload.
fn messages(payload: &[u8], visit: &mut dyn FnMut(MessageId)) -> Option<()> {
    let parsed: IResult<&[u8], ()> = all_consuming(fold_many1(
        (be_u64, be_u64),
        || (),
        |(), (publisher, sequence)| visit(MessageId { publisher, sequence }),
    ))
    .parse(payload);
    parsed.ok().map(drop)
}

mod explain;
pub(crate) use explain::explainer;

#[cfg(test)]
mod tests;
