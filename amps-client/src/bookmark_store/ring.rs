//! A bookmark store in a file of a fixed size.
//!
//! Owns how that file looks, and which slot belongs to which subscription. What is in a slot is what a
//! recovery point adapter is told: everything else is the memory store's.
//!
//! ```text
//! file   = header , padding up to 4096 , { slot } ;
//! header = "AMPSRING" , version (u32) , slots (u32) , length of the name (u16) , name of the client , CRC-32 (u32) ;
//! slot   = 4 * entry ;
//! entry  = CRC-32 (u32) , generation (u64) , in use (u8) , length of the id (u16) , length of the bookmark (u16) ,
//!          id , bookmark , padding up to 1024 ;
//! ```
//!
//! All numbers are big-endian. The checksum of an entry begins with the number of its slot. Of a slot's entries
//! that are whole the one of the highest generation counts. The next is written over another one, and never over
//! the newest of those that were forced onto the disk: an entry that is torn when the process dies costs one step
//! back, and a failure of the machine costs the steps since the last force. Neither is ever a step ahead.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nom::bytes::complete::{tag, take};
use nom::error::Error;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};
use rustc_hash::FxHashMap;

use super::adapter::{RecoveryPointAdapter, StoredPoint};
use super::{Arrival, BookmarkStore, MemoryBookmarkStore, RecoveryPoint};
use crate::bookmarks::MessageId;
use crate::journal::{Disk, DiskFile, RealDisk};
use crate::store_error::StoreError;

const MAGIC: &[u8; 8] = b"AMPSRING";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 4096;
const ENTRIES: usize = 4;
const ENTRY_LEN: usize = 1024;
const SLOT_LEN: usize = ENTRIES * ENTRY_LEN;
/// Header without the name and the checksum.
const FIXED_LEN: usize = MAGIC.len() + 4 + 4 + 2;
/// Everything of an entry in front of the id.
const ENTRY_HEAD_LEN: usize = 4 + 8 + 1 + 2 + 2;
/// What there is for an id and a bookmark.
const ENTRY_ROOM: usize = ENTRY_LEN - ENTRY_HEAD_LEN;

/// Keeps only the newest recovery point of each subscription, in a file whose size never changes.
///
/// Within a run it is as exact as a [`MemoryBookmarkStore`]. A restart is approximate: nothing is missed, but what was
/// discarded behind the recovery point is delivered again. Who discards in order gets no repetitions. It costs a
/// write of less than 100 bytes, for one or two publishers, whenever a recovery point moves, and nothing ever has to
/// be written anew; the file has 4 KiB for each subscription and 4 KiB besides.
///
/// What was written outlives the process. It is forced onto the disk by `close` and by a purge; if the machine fails
/// before, older recovery points may be back, down to those that were forced last, and never newer ones.
///
/// The file belongs to one client, by name, and to one process at a time. An id and the bookmark of its subscription
/// must not exceed 1007 bytes together, which is enough for the points of 23 publishers in the worst case. What does
/// not fit, and a subscription for which no slot is left, is reported as an error whenever its recovery point moves;
/// for this run all goes on.
///
/// ```
/// use amps_client::bookmarks::MessageId;
/// use amps_client::{BookmarkStore, RingBookmarkStore};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("order-worker.ring");
///
/// let store = RingBookmarkStore::open(&path, 16)?; // up to 16 subscriptions
/// # // What a client does with it:
/// store.attach("order-worker")?;
/// for sequence in 1..=1000 {
///     let message = MessageId { publisher: 7, sequence };
///     store.arrived("orders-1", message)?;
///     store.discard("orders-1", message)?;
/// }
/// drop(store); // the process ends
///
/// let store = RingBookmarkStore::open(&path, 16)?;
/// store.attach("order-worker")?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "7|1000|");
/// assert_eq!(std::fs::metadata(&path)?.len(), 17 * 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RingBookmarkStore {
    memory: MemoryBookmarkStore,
    ring: Arc<Ring>,
}

impl RingBookmarkStore {
    /// Opens a file for this many subscriptions and locks it. If there is none it is made; its directory
    /// must be there.
    ///
    /// # Errors
    /// Any [`StoreError`]: the file is in use, damaged, written by a newer version, no ring store, made for another
    /// number of subscriptions, or the system refused. Whose file it is turns out when a client takes the store.
    pub fn open(path: impl AsRef<Path>, slots: u32) -> Result<Self, StoreError> {
        let ring = Arc::new(Ring::open(path.as_ref(), slots, Arc::new(RealDisk))?);
        Ok(Self { memory: MemoryBookmarkStore::new().with_adapter(Arc::clone(&ring)), ring })
    }
}

impl BookmarkStore for RingBookmarkStore {
    fn attach(&self, client: &str) -> Result<(), StoreError> {
        self.ring.attach(client)?;
        self.memory.attach(client)
    }

    fn begin(&self, sub: &str, from: &str) -> Result<(), StoreError> {
        self.memory.begin(sub, from)
    }

    fn new_subscriber(&self, sub: &str) -> Result<(), StoreError> {
        self.memory.new_subscriber(sub)
    }

    fn arrived(&self, sub: &str, message: MessageId) -> Result<Arrival, StoreError> {
        self.memory.arrived(sub, message)
    }

    fn discard(&self, sub: &str, message: MessageId) -> Result<(), StoreError> {
        self.memory.discard(sub, message)
    }

    fn persisted(&self, sub: &str, last: MessageId) -> Result<(), StoreError> {
        self.memory.persisted(sub, last)
    }

    fn recovery_point(&self, sub: &str) -> RecoveryPoint {
        self.memory.recovery_point(sub)
    }

    fn oldest_open(&self, sub: &str) -> Option<MessageId> {
        self.memory.oldest_open(sub)
    }

    fn open_messages(&self, sub: &str) -> usize {
        self.memory.open_messages(sub)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.memory.purge()
    }

    fn purge_sub(&self, sub: &str) -> Result<(), StoreError> {
        self.memory.purge_sub(sub)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.memory.close()
    }
}

impl Drop for RingBookmarkStore {
    fn drop(&mut self) {
        // Whoever wants to know closes it first.
        let _unknown = self.close();
    }
}

/// The file.
struct Ring {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    slots: u32,
    table: Mutex<Table>,
}

/// What is where.
#[derive(Default)]
struct Table {
    /// `None` once it is closed.
    file: Option<Arc<dyn DiskFile>>,
    attached: bool,
    /// Whose file it is; `None` if nothing was there.
    owner: Option<String>,
    taken: FxHashMap<Box<str>, Slot>,
    /// The lowest comes last.
    free: Vec<Slot>,
    found: Vec<StoredPoint>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u32,
    /// Of its newest entry; 0 if there is none.
    generation: u64,
    /// Which of its entries that is.
    entry: usize,
    /// The entry that is not to be written over.
    forced: Option<usize>,
}

impl Slot {
    /// One of which nothing is known.
    const fn empty(index: u32) -> Self {
        Self { index, generation: 0, entry: ENTRIES - 1, forced: None }
    }

    /// The same with another entry.
    fn next(self) -> Self {
        let mut entry = (self.entry + 1) % ENTRIES;
        if self.forced == Some(entry) {
            entry = (entry + 1) % ENTRIES;
        }
        Self { entry, generation: self.generation + 1, ..self }
    }
}

impl Ring {
    fn open(path: &Path, slots: u32, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        if slots == 0 {
            return Err(StoreError::other(
                "a ring store of no slots can keep nothing; give it one for each subscription",
            ));
        }
        let file = disk.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::Locked { path: path.to_owned() },
            _ => StoreError::io("open", path, error),
        })?;
        let unreadable = |error| StoreError::io("read", path, error);
        let len = file.len().map_err(unreadable)?;
        let mut table = Table::default();
        if len == 0 {
            table.free = (0..slots).rev().map(Slot::empty).collect();
        } else {
            let mut header = vec![0; HEADER_LEN.min(usize::try_from(len).unwrap_or(HEADER_LEN))];
            file.read_at(0, &mut header).map_err(unreadable)?;
            table.owner = Some(check_header(&header, len, slots, path)?);
            let mut bytes = vec![0; SLOT_LEN];
            for index in (0..slots).rev() {
                file.read_at(offset(index, 0), &mut bytes).map_err(unreadable)?;
                table.take_up(index, &bytes);
            }
        }
        table.file = Some(file);
        Ok(Self { path: path.to_owned(), disk, slots, table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, client: &str) -> Result<(), StoreError> {
        let mut table = self.table();
        if table.file.is_none() {
            return Err(StoreError::Closed);
        }
        if table.attached {
            return Err(StoreError::Locked { path: self.path.clone() });
        }
        match &table.owner {
            // What is there may have been written by a process that died, and not be on the disk yet.
            Some(owner) if owner == client => self.sync(&mut table)?,
            Some(owner) => {
                return Err(StoreError::OtherClient {
                    path: self.path.clone(),
                    owner: owner.clone(),
                    client: client.to_owned(),
                });
            }
            None => {
                table.file = Some(self.make_file(client)?);
                table.owner = Some(client.to_owned());
            }
        }
        table.attached = true;
        Ok(())
    }

    /// Makes the file beside its place, so that it is there as a whole or not at all.
    fn make_file(&self, client: &str) -> Result<Arc<dyn DiskFile>, StoreError> {
        let Some(header) = header(self.slots, client) else {
            let len = client.len();
            return Err(StoreError::other(format!("a client's name of {len} bytes is too long for a store")));
        };
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let wrong = |error| StoreError::io("write", &beside, error);
        let file = self.disk.create(&beside).map_err(wrong)?;
        file.set_len(offset(self.slots, 0)).map_err(wrong)?;
        file.write_at(0, &header).map_err(wrong)?;
        file.sync().map_err(wrong)?;
        let replaced = self.disk.rename(&beside, &self.path);
        replaced.map_err(|error| StoreError::io("replace", &self.path, error))?;
        let named = self.disk.sync_directory(&self.path);
        named.map_err(|error| StoreError::io("sync the directory of", &self.path, error))?;
        Ok(file)
    }

    /// Writes the next entry of a slot. If that fails the next attempt goes to the same place, and the others stay
    /// as they are.
    fn write(&self, table: &Table, slot: Slot, content: Option<&StoredPoint>) -> Result<Slot, StoreError> {
        let Some(file) = table.file.as_ref().filter(|_| table.attached) else {
            return Err(StoreError::Closed);
        };
        let slot = slot.next();
        let entry = entry(slot.index, slot.generation, content);
        file.write_at(offset(slot.index, slot.entry), &entry)
            .map_err(|error| StoreError::io("write", &self.path, error))?;
        Ok(slot)
    }

    /// Forces everything onto the disk.
    fn sync(&self, table: &mut Table) -> Result<(), StoreError> {
        let file = table.file.as_ref().ok_or(StoreError::Closed)?;
        file.sync().map_err(|error| StoreError::io("sync", &self.path, error))?;
        for slot in table.taken.values_mut().chain(&mut table.free) {
            slot.forced = (slot.generation > 0).then_some(slot.entry);
        }
        Ok(())
    }
}

impl Table {
    /// Takes up what a slot has.
    fn take_up(&mut self, index: u32, bytes: &[u8]) {
        let entries = bytes.chunks(ENTRY_LEN).enumerate();
        let newest = entries
            .filter_map(|(entry, bytes)| Some((entry, read_entry(index, bytes)?)))
            .max_by_key(|(_, (generation, _))| *generation);
        let Some((entry, (generation, content))) = newest else {
            self.free.push(Slot::empty(index));
            return;
        };
        let slot = Slot { index, generation, entry, forced: None };
        let Some(point) = content else {
            self.free.push(slot);
            return;
        };
        if self.taken.contains_key(&*point.sub_id) {
            // A slot that was given free and whose last entry is torn.
            self.free.push(slot);
            return;
        }
        self.taken.insert(point.sub_id.as_str().into(), slot);
        self.found.push(point);
    }
}

impl RecoveryPointAdapter for Ring {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        Ok(std::mem::take(&mut self.table().found))
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        let len = point.sub_id.len() + point.bookmark.len();
        if len > ENTRY_ROOM {
            return Err(StoreError::other(format!(
                "the recovery point of \"{}\" takes {len} bytes with its id, and {} has room for {ENTRY_ROOM}; \
                 the last one that fitted stays. Use a shorter id, or a FileBookmarkStore",
                point.sub_id,
                self.path.display()
            )));
        }
        let mut table = self.table();
        let known = table.taken.get(point.sub_id.as_str()).copied();
        let Some(slot) = known.or_else(|| table.free.last().copied()) else {
            return Err(StoreError::other(format!(
                "{} has {} slots, and no one is left for \"{}\"; purge a subscription that is over, or use \
                 another file with more slots",
                self.path.display(),
                self.slots,
                point.sub_id
            )));
        };
        let slot = self.write(&table, slot, Some(&point))?;
        if known.is_none() {
            table.free.pop();
        }
        table.taken.insert(point.sub_id.into(), slot);
        Ok(())
    }

    fn purge(&self) -> Result<(), StoreError> {
        let mut table = self.table();
        let ids: Vec<Box<str>> = table.taken.keys().cloned().collect();
        for id in ids {
            self.give_free(&mut table, &id)?;
        }
        self.sync(&mut table)
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        let mut table = self.table();
        self.give_free(&mut table, sub_id)?;
        self.sync(&mut table)
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut table = self.table();
        let synced = if table.attached && table.file.is_some() { self.sync(&mut table) } else { Ok(()) };
        table.file = None;
        synced
    }
}

impl Ring {
    fn give_free(&self, table: &mut Table, sub_id: &str) -> Result<(), StoreError> {
        let Some(slot) = table.taken.get(sub_id).copied() else { return Ok(()) };
        let slot = self.write(table, slot, None)?;
        table.taken.remove(sub_id);
        table.free.push(slot);
        Ok(())
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("path", &self.path).field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// Where an entry stands.
fn offset(slot: u32, entry: usize) -> u64 {
    HEADER_LEN as u64 + u64::from(slot) * SLOT_LEN as u64 + (entry * ENTRY_LEN) as u64
}

/// The beginning of a file; `None` if the client's name is too long for it.
fn header(slots: u32, client: &str) -> Option<Vec<u8>> {
    if client.len() > HEADER_LEN - FIXED_LEN - 4 {
        return None;
    }
    let name_len = u16::try_from(client.len()).ok()?;
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_be_bytes());
    header.extend_from_slice(&slots.to_be_bytes());
    header.extend_from_slice(&name_len.to_be_bytes());
    header.extend_from_slice(client.as_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_be_bytes());
    Some(header)
}

/// Whose file it is, if it can be used.
fn check_header(bytes: &[u8], len: u64, slots: u32, path: &Path) -> Result<String, StoreError> {
    let corrupt =
        |offset, fault: &str| StoreError::Corrupt { path: path.to_owned(), offset, fault: fault.to_owned() };
    let (rest, _) =
        tag::<_, _, Error<&[u8]>>(&MAGIC[..]).parse(bytes).map_err(|_| StoreError::NotAStore {
            path: path.to_owned(),
            expected: "ring bookmark store",
            found: "it does not begin as ring stores do".to_owned(),
        })?;
    let cut_off = |_| corrupt(0, "the header is cut off");
    let (rest, version) = be_u32::<_, Error<&[u8]>>(rest).map_err(cut_off)?;
    if version > VERSION {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found: version, known: VERSION });
    }
    let (rest, (found, name)) = header_fields(rest).map_err(cut_off)?;
    let head_len = bytes.len() - rest.len();
    let (_, checksum) = be_u32::<_, Error<&[u8]>>(rest).map_err(cut_off)?;
    if crc32fast::hash(bytes.get(..head_len).unwrap_or_default()) != checksum {
        return Err(corrupt(0, "the checksum of the header does not fit"));
    }
    let name = std::str::from_utf8(name).map_err(|_| corrupt(0, "the client's name is not UTF-8"))?;
    if len != offset(found, 0) {
        return Err(corrupt(len, "the file does not have the size for its slots"));
    }
    if found != slots {
        return Err(StoreError::other(format!(
            "{} has {found} slots, not {slots}; open it with {found}, or use another file",
            path.display()
        )));
    }
    Ok(name.to_owned())
}

fn header_fields(input: &[u8]) -> IResult<&[u8], (u32, &[u8])> {
    let (input, (slots, name_len)) = (be_u32, be_u16).parse(input)?;
    let (input, name) = take(name_len)(input)?;
    Ok((input, (slots, name)))
}

/// An entry, as far as it has to be written. What is in it fits.
fn entry(slot: u32, generation: u64, content: Option<&StoredPoint>) -> Vec<u8> {
    let (id, bookmark) = content.map_or(("", ""), |point| (&point.sub_id, &point.bookmark));
    let len = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut entry = Vec::with_capacity(ENTRY_HEAD_LEN + id.len() + bookmark.len());
    entry.extend_from_slice(&[0; 4]);
    entry.extend_from_slice(&generation.to_be_bytes());
    entry.push(u8::from(content.is_some()));
    entry.extend_from_slice(&len(id));
    entry.extend_from_slice(&len(bookmark));
    entry.extend_from_slice(id.as_bytes());
    entry.extend_from_slice(bookmark.as_bytes());
    let checksum = checksum(slot, entry.get(4..).unwrap_or_default());
    if let Some(place) = entry.first_chunk_mut() {
        *place = checksum.to_be_bytes();
    }
    entry
}

/// The generation and the content of an entry, unless it is torn or was never written.
fn read_entry(slot: u32, bytes: &[u8]) -> Option<(u64, Option<StoredPoint>)> {
    let (after, checksum_found) = be_u32::<_, Error<&[u8]>>(bytes).ok()?;
    let head: IResult<&[u8], (u64, u8, u16, u16)> = (be_u64, be_u8, be_u16, be_u16).parse(after);
    let (rest, (generation, in_use, id_len, bookmark_len)) = head.ok()?;
    let texts: IResult<&[u8], (&[u8], &[u8])> = (take(id_len), take(bookmark_len)).parse(rest);
    let (rest, (id, bookmark)) = texts.ok()?;
    let sealed = after.get(..after.len() - rest.len())?;
    if generation == 0 || checksum(slot, sealed) != checksum_found {
        return None;
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let point = StoredPoint { sub_id: text(id)?, bookmark: text(bookmark)? };
    Some((generation, (in_use == 1).then_some(point)))
}

fn checksum(slot: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(slot);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
