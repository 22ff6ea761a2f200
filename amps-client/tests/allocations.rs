//! What a message costs on its way to a handler: no allocation of its own.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::mpsc::channel;

use common::{PATIENCE, Peer, placed, plain, sid};

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work; a counter without a destructor is all that is
// added.
#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// C-10-6-2: counted on the thread that receives, from the thousandth message on. Reads may
/// cost something, messages must not.
#[test]
fn a_message_reaches_a_handler_without_an_allocation_of_its_own() {
    const FIRST: usize = 1_000;
    const LAST: usize = 200_000;
    let peer = Peer::unless(|way| way.pieces, "a read may cost an allocation");
    let (client, mut line) = peer.connect(peer.client("c"));
    let (sender, counts) = channel();
    let (_client, subscribe) = placed(&mut line, move || {
        let (mut messages, mut begin, mut bytes) = (0, 0, 0);
        let handler = move |message: &amps_client::Message<&[u8]>| {
            messages += 1;
            bytes += message.data().len() + message.topic().map_or(0, |topic| topic.len());
            match messages {
                FIRST => begin = COUNT.get(),
                LAST => sender.send((COUNT.get() - begin, bytes))?,
                _ => {}
            }
            Ok(())
        };
        client.subscribe("t").on_message(handler).unwrap();
        client
    });
    let batch = vec![plain(&sid(&subscribe), "t", &"x".repeat(100)); 1_000];
    for _ in 0..LAST / batch.len() {
        line.send_all(&batch);
    }
    let (allocations, bytes) = counts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(bytes, LAST * 101);
    assert!(allocations < LAST / 50, "{allocations} allocations for {} messages", LAST - FIRST);
}
