//! Looking at a store's file without changing it.
//!
//! Owns the report. What records mean is known to the module of each kind of store, which explains them.

use std::fmt;
use std::path::Path;

use super::disk::{DiskFile, open_to_look};
use super::format::{Record, SYNCED, StoreKind, VERSION, synced_up_to};
use super::scan::{Scan, ScanError, header_of};
use crate::store_error::StoreError;
use crate::{bookmark_store, publish_store};

/// Explains the records of one kind of store, in order.
pub(crate) trait Explain {
    /// A record in words.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn record(&mut self, position: u64, kind: u8, payload: &[u8]) -> Result<String, String>;

    /// What the records so far add up to.
    fn live(&self) -> String;
}

/// Who explains the records of a kind of store.
fn explainer(kind: StoreKind) -> Box<dyn Explain> {
    match kind {
        StoreKind::Publish => publish_store::explainer(),
        StoreKind::Bookmark => bookmark_store::explainer(),
    }
}

/// A record of a store's file, as [`inspect_store`] shows it. In words by [`Display`](fmt::Display).
///
/// ```
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("orders.publish");
/// # use amps_client::{FilePublishStore, Progress, PublishStore};
/// let mut store = FilePublishStore::open(&path)?;
/// store.attach("order-entry", Progress::new(|| {}))?;
/// store.discard_up_to(17)?;
/// store.close()?;
///
/// let mut discarded = None;
/// amps_client::inspect_store(&path, |record| {
///     if record.text.starts_with("discard") {
///         discarded = Some(record.to_string());
///     }
/// })?;
/// assert!(discarded.is_some_and(|record| record.ends_with("discarded: everything up to 17")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRecord {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its length in the file, in bytes.
    pub len: u64,
    /// What it says, in words that are for people and may change.
    pub text: String,
}

impl fmt::Display for StoreRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}  {}", self.offset, self.text)
    }
}

/// What [`inspect_store`] has found.
///
/// ```
/// use amps_client::{FilePublishStore, Progress, PublishStore, StoreEnd};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("orders.publish");
/// let mut store = FilePublishStore::open(&path)?;
/// store.attach("order-entry", Progress::new(|| {}))?;
/// store.close()?;
///
/// let report = amps_client::inspect_store(&path, |_| {})?;
/// assert_eq!((report.kind, report.client.as_str()), ("publish store", "order-entry"));
/// assert_eq!(report.end, StoreEnd::Whole);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// The kind of store, in words.
    pub kind: &'static str,
    /// The version of the format.
    pub version: u32,
    /// The client that owns it.
    pub client: String,
    /// The length of the file, in bytes.
    pub file_len: u64,
    /// How many records could be read.
    pub records: u64,
    /// What they add up to, in words that are for people and may change.
    pub live: String,
    /// How the file ends.
    pub end: StoreEnd,
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, version, client, file_len, records, live, end } = self;
        writeln!(f, "{kind} of the client \"{client}\", format version {version}")?;
        writeln!(f, "{file_len} bytes, {records} records")?;
        writeln!(f, "live: {live}")?;
        write!(f, "end: {end}")
    }
}

/// How a store's file ends.
///
/// ```
/// use amps_client::StoreEnd;
///
/// let end = StoreEnd::Torn { offset: 230, fault: "a record is cut off".to_owned() };
/// assert_eq!(end.to_string(), "a torn tail from byte 230 on, a record is cut off: it is cut off when the store is used");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEnd {
    /// With a whole record.
    Whole,
    /// With the remains of a write: whoever uses the store cuts them off. A store that is in use just now may look
    /// like that.
    Torn {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them, in words.
        fault: String,
    },
    /// It cannot be read any further, and cannot be used.
    Damaged {
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there, in words.
        fault: String,
    },
}

impl fmt::Display for StoreEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Torn { offset, fault } => {
                write!(f, "a torn tail from byte {offset} on, {fault}: it is cut off when the store is used")
            }
            Self::Damaged { offset, fault } => {
                write!(f, "damaged at byte {offset}, {fault}: what is shown is what comes before")
            }
        }
    }
}

/// Shows what is in the file of a [`FilePublishStore`](crate::FilePublishStore), or of another store of this
/// crate that keeps a file: each record to `visit`, in order, and what they add up to.
///
/// Nothing is changed or locked. The file of a store that is in use may be looked at; its end is what the
/// system shows at the moment. `cargo xtask store FILE` prints all of this.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("orders.publish");
/// # use amps_client::{FilePublishStore, Progress, PublishStore};
/// # let mut store = FilePublishStore::open(&path)?;
/// # store.attach("order-entry", Progress::new(|| {}))?;
/// # store.close()?;
/// let mut records = 0;
/// let report = amps_client::inspect_store(&path, |record| {
///     println!("{record}");
///     records += 1;
/// })?;
/// println!("{report}");
/// assert_eq!(report.records, records);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file cannot be read, is no store, its header is damaged, or a newer version has written it. Damage
/// behind the header is part of the report.
pub fn inspect_store(
    path: impl AsRef<Path>,
    mut visit: impl FnMut(&StoreRecord),
) -> Result<StoreReport, StoreError> {
    let path = path.as_ref();
    let file = open_to_look(path).map_err(|error| StoreError::io("open", path, error))?;
    let unreadable = |error| StoreError::io("read", path, error);
    let file_len = file.len().map_err(unreadable)?;
    let header = header_of(&file, file_len, path, "store")?;
    let mut explain = explainer(header.kind);
    let mut records = 0;
    let from = header.len as u64;
    let scan = Scan { file: &file, len: file_len, from, first: header.first };
    let read = scan.run(&mut |position, record| {
        let text = in_words(&mut *explain, position, &record)?;
        records += 1;
        let offset = from + position.wrapping_sub(header.first);
        visit(&StoreRecord { offset, len: record.len as u64, text });
        Ok(())
    });
    let end = match read {
        Ok(whole) => whole
            .torn
            .map_or(StoreEnd::Whole, |fault| StoreEnd::Torn { offset: whole.len, fault: fault.to_owned() }),
        Err(ScanError::Damaged(offset, fault)) => StoreEnd::Damaged { offset, fault },
        Err(ScanError::Io(error)) => return Err(unreadable(error)),
    };
    Ok(StoreReport {
        kind: header.kind.name(),
        version: VERSION,
        client: header.client,
        file_len,
        records,
        live: explain.live(),
        end,
    })
}

fn in_words(explain: &mut dyn Explain, position: u64, record: &Record<'_>) -> Result<String, String> {
    match (record.kind, synced_up_to(record, position)) {
        (SYNCED, Some(synced)) => {
            Ok(format!("synced: everything but the {} bytes before this", position.saturating_sub(synced)))
        }
        _ => explain.record(position, record.kind, record.payload),
    }
}
