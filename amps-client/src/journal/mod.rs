//! An append-only log on a disk, for stores of any kind.
//!
//! A store gives the journal its state (an [`Owner`]) and appends records under the lock that
//! guards both. A thread of the journal's own takes what was appended since it last looked, writes
//! it at once, forces it onto the disk as the [`SyncPolicy`] demands, and tells whoever waits. A caller who
//! must know that it outlives the process writes by itself, so as not to wait for a force that is under way.
//! When most of the file is dead, the thread writes a new one beside it, which takes its place when it is
//! whole. The steps of that thread can also be done one by one, over a disk that is simulated.
//!
//! ```text
//! appended -> pending -> writing -> in the file (written) -> on the disk (synced)
//!             (one burst at a time, by the thread or a caller)
//! ```
//!
//! | File | Owns |
//! |---|---|
//! | `format.rs` | how headers and records look |
//! | `scan.rs` | reading a file, and what is a torn tail |
//! | `disk.rs` | what is needed of a file system |
//! | `core.rs` | what is behind the lock |
//! | `committer.rs` | what is done next: write, force, take the new file's next slice |
//! | `rewrite.rs` | the new file |
//! | `inspect.rs` | looking at a file without using it |
//! | `thread.rs` | the thread, its waiting and its clock: the only place that has one |

mod committer;
mod core;
mod disk;
mod format;
mod handle;
mod inspect;
mod rewrite;
mod scan;
#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(not(feature = "simulation"), expect(unreachable_pub, reason = "public to the simulator only"))]
mod sim_disk;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use self::core::{Log, Owner};
pub(crate) use disk::{Disk, DiskFile, RealDisk};
pub(crate) use format::{Found, Record, Records, StoreKind, record};
pub(crate) use handle::{Journal, Settings};
pub(crate) use inspect::Explain;
pub use inspect::{StoreEnd, StoreRecord, StoreReport, inspect_store};
#[cfg(any(test, feature = "simulation"))]
#[cfg_attr(
    not(feature = "simulation"),
    expect(unreachable_pub, reason = "public to the simulator only")
)]
pub use {committer::Step, handle::Steps, sim_disk::SimDisk};

#[cfg(doc)]
use crate::publish_store::SyncPolicy;
