//! The handler path allocates nothing per message. Counted, not timed.

use benches::receive::Handler;

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

#[test]
fn a_handler_receives_without_allocating() {
    let mut handler = Handler::new();
    let messages = 50_000;
    // Buffers reach their sizes first.
    handler.run(messages);
    let profiler = dhat::Profiler::builder().testing().build();
    handler.run(messages);
    let blocks = dhat::HeapStats::get().total_blocks;
    drop(profiler);
    let per_message = blocks as f64 / messages as f64;
    assert!(per_message < 0.02, "{blocks} allocations for {messages} messages");
}
