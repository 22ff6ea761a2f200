//! Decoding, and encoding into a reserved buffer, allocate nothing. Counted, not timed.
//!
//! The counter counts for the whole process, so there is no test harness beside it, whose
//! threads would allocate too.

use benches::codec::CASES;

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

fn main() {
    for case in CASES {
        let blocks = |n: usize| {
            let profiler = dhat::Profiler::builder().testing().build();
            (case.run)(n);
            let blocks = dhat::HeapStats::get().total_blocks;
            drop(profiler);
            blocks
        };
        // What is allocated does not depend on how often it is done: it is the setting up, and getting to know what
        // the first headers look like.
        assert_eq!(blocks(10), blocks(1010), "{case:?}");
    }
    println!("decoding and encoding {} cases allocated nothing", CASES.len());
}
