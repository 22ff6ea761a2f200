//! What an open message costs while a million of them are open.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use amps_client::bookmarks::MessageId;
use amps_client::{Arrival, BookmarkStore, FileBookmarkStore, MemoryBookmarkStore, SyncPolicy};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work; numbers that anybody may change are all that is added.
#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGES: u64 = 1_000_000;
const SUB: &str = "orders-1";

/// Message number `n` of three publishers.
const fn message(n: u64) -> MessageId {
    MessageId { publisher: n % 3, sequence: n + 1 }
}

/// All of them once, in an order that jumps about: the step and the number have no common divisor.
fn shuffled() -> impl Iterator<Item = u64> {
    (0..MESSAGES).map(|n| n * 611_953 % MESSAGES)
}

/// Bytes at most, and bytes in the end, for each message.
fn measured(act: impl FnOnce()) -> (usize, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    act();
    let each = |bytes: usize| bytes.saturating_sub(before) / MESSAGES as usize;
    (each(PEAK.load(Ordering::Relaxed)), each(LIVE.load(Ordering::Relaxed)))
}

/// One test: others on other threads would be counted as well.
#[test]
fn a_message_that_is_open_takes_less_than_100_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let file = FileBookmarkStore::builder(directory.path().join("store")).sync(SyncPolicy::Never);
    // What the file's thread has not written yet comes on top, if it gets no processor.
    let stores: [(&str, Box<dyn BookmarkStore>, usize); 2] = [
        ("memory", Box::new(MemoryBookmarkStore::new()), 100),
        ("file", Box::new(file.open().unwrap()), 200),
    ];
    for (name, store, limit) in stores {
        store.attach("order-worker").unwrap();
        let (peak, open) = measured(|| {
            for n in 0..MESSAGES {
                assert_eq!(store.arrived(SUB, message(n)).unwrap(), Arrival::New);
            }
        });
        println!("{name}: {peak} bytes at most, {open} bytes for each open message");
        assert!(open > 16, "nothing was counted");
        assert!(peak < 100, "{peak} bytes for each message that is open");

        // All but the first: nothing can be forgotten yet.
        let (more, _) = measured(|| {
            for n in shuffled().filter(|n| *n > 0) {
                store.discard(SUB, message(n)).unwrap();
            }
        });
        println!("{name}: {more} bytes more while they are discarded out of order");
        assert!(
            open + more < limit,
            "{open} and {more} more bytes for each message while they are discarded"
        );
        assert_eq!((store.open_messages(SUB), store.recovery_point(SUB).progress), (1, false));

        let before = LIVE.load(Ordering::Relaxed);
        store.discard(SUB, message(0)).unwrap();
        let given_back = before.saturating_sub(LIVE.load(Ordering::Relaxed)) / MESSAGES as usize;
        println!("{name}: {given_back} bytes given back for each");
        assert!(given_back + 8 >= open, "{given_back} bytes are given back, and {open} were taken");
        assert_eq!(store.recovery_point(SUB).bookmark, "0|1000000|,1|999998|,2|999999|");
    }
}
