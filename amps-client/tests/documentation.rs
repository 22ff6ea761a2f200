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

/// The tests that the guide names as proof, the table of transports foremost, exist.
#[test]
fn every_test_that_the_guide_names_exists() {
    let guide = include_str!("../src/guide/transports.md");
    let mut rows = 0;
    for line in guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Option")) {
        if line.matches('|').count() == 10 {
            rows += 1;
            assert!(line.trim_end_matches(" |").ends_with('`'), "a row without a test: {line}");
        }
    }
    assert!(rows > 15, "{rows}");
    let named = guide.split('`').filter_map(|word| word.split_once("::"));
    let named = named.filter(|(file, test)| {
        let plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        plain(file) && plain(test)
    });
    let mut count = 0;
    for (file, test) in named {
        let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "{file} has no test {test}");
        count += 1;
    }
    assert!(count > rows, "{count}");
}
