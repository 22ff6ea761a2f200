//! What can go wrong with stores, publish stores and bookmark stores alike.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a store cannot be opened, or cannot keep something. Cheap to clone.
///
/// Whatever it is: what was in the store's file is left as it was.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused to read or write.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, in words.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// There is no room left for the file.
    #[error(
        "no room to write {}: {source}; free some space: the store goes on by itself, and keeps in memory what it has accepted",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process, or another client of this one, has the file.
    #[error("{} is in use by another client or process; give each client a file of its own", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is a store of another kind, or no store at all.
    #[error("{} is not a {expected}: {found}; check the path", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What it is, in words.
        found: String,
    },
    /// A newer version of this library has written the file.
    #[error(
        "{} has format version {found}, this program knows versions up to {known}; use a newer program, or another file",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version it says.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// The file belongs to a client of another name.
    #[error(
        "{} belongs to the client \"{owner}\", not to \"{client}\"; use that name, or another file",
        path.display()
    )]
    OtherClient {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who wanted it.
        client: String,
    },
    /// The file is damaged, and not merely at its end.
    #[error(
        "{} is damaged at byte {offset}: {fault}; nothing was changed. See what can be read with `cargo xtask store`, restore the file from a copy, or move it away to begin anew",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there, in words.
        fault: String,
    },
    /// The store was closed.
    #[error("the store is closed; open it anew, for another client")]
    Closed,
    /// What a store of somebody else's says.
    #[error("{0}")]
    Other(Arc<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Any other error, for stores of your own.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
    }

    /// What the system said, sorted into [`Full`](Self::Full) and [`Io`](Self::Io).
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let (path, source) = (path.into(), Arc::new(source));
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}
