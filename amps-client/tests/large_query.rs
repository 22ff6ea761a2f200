//! A query with very many records needs no more memory than its stream may hold.

mod common;

use amps_client::CommandKind;
use common::{Peer, aside};

const RECORDS: u32 = 1_000_000;
const DEPTH: usize = 1000;

/// Memory of this process in bytes, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// C-10-6-3
#[test]
fn a_million_records_stream_in_constant_memory() {
    let peer = Peer::unless(|way| way.pieces, "a million records, byte by byte, take minutes");
    let (client, mut line) = peer.connect(peer.client("c"));
    let querying = aside(move || client.sow("t").max_depth(DEPTH).batch_size(100).start());
    let query = line.expect(CommandKind::Sow);
    let id = query.query_id().unwrap().to_string();
    line.ack(&query);
    let records = querying.join().unwrap().unwrap();
    let sending = aside(move || {
        line.send(&format!(r#"{{"c":"group_begin","query_id":"{id}"}}"#));
        for first in (0..RECORDS).step_by(100) {
            let mut frame = format!(r#"{{"c":"sow","t":"t","query_id":"{id}","bs":100}}"#);
            for n in first..first + 100 {
                let body = format!(r#"{{"id":{n},"text":"something of a usual length"}}"#);
                frame += &format!(r#"{{"k":"{n}","l":{}}}{body}"#, body.len());
            }
            line.send(&frame);
        }
        line.send(&format!(r#"{{"c":"group_end","query_id":"{id}"}}"#));
    });
    let before = resident();
    let (mut seen, mut most) = (0, 0);
    let mut records = records;
    while let Some(message) = records.next() {
        let message = message.unwrap();
        if message.command() == CommandKind::Sow {
            assert_eq!(message.sow_key().unwrap(), seen.to_string().as_str());
            seen += 1;
        }
        if seen % 1000 == 0 {
            most = most.max(records.depth());
        }
    }
    assert_eq!(seen, RECORDS);
    assert!(most <= DEPTH, "{most} unread");
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + (32 << 20), "{before} bytes before, {after} after 60 MB have passed");
    }
    sending.join().unwrap();
}
