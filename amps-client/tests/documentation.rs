//! What the crate's documentation must tell.

/// C-10-6-1: each of the tips of client.md 10.6, by what it speaks of.
#[test]
fn the_documentation_has_its_tips_for_speed() {
    let source = include_str!("../src/lib.rs");
    let docs: String =
        source.lines().filter_map(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
    let tips = docs.split("# Speed").nth(1).expect("a section on speed");
    for words in [
        &["on_message", "unread in memory"][..],
        &["filter", "delta_subscribe", "conflation", "batch_size", "ack_batch_size"],
        &["Copy out of a handler only", "publish bytes as they are"],
        &["heartbeat", "half the interruption", "longest run of a handler"],
        &["on_failed_write", "on_error"],
        &["tcp_nodelay", "bandwidth"],
        &["transaction log"],
    ] {
        for word in words {
            assert!(tips.contains(word), "nothing is said of {word}");
        }
    }
}
