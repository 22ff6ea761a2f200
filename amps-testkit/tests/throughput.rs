//! The pure engine keeps up: no work per message grows with the length of the queue.

mod support;

use std::time::{Duration, Instant};

use amps_testkit::{FakeServer, QueueConfig};
use support::in_process::InProcess;
use support::stage::Stage;

const MESSAGES: u64 = 100_000;

fn frame(text: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&(text.len() as u32).to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

#[test]
fn a_long_queue_is_filled_and_drained_quickly() {
    let queue = QueueConfig::new("work").max_backlog(100).lease(Duration::from_secs(30));
    let mut stage = InProcess::quiet(FakeServer::builder().queue(queue));
    for connection in 0..5 {
        stage.connect();
        let mut bytes = Vec::new();
        let logon = format!(r#"{{"c":"logon","mt":"json","client_name":"c{connection}"}}"#);
        frame(&logon, &mut bytes);
        // The first publishes. One of the others wants what never comes.
        if connection > 0 {
            let filter = if connection == 4 { r#","f":"/n < 0""# } else { "" };
            let subscribe =
                format!(r#"{{"c":"subscribe","sub_id":"s","t":"work"{filter},"o":"max_backlog=100"}}"#);
            frame(&subscribe, &mut bytes);
        }
        stage.send(connection, &bytes, 2);
    }
    let before = Instant::now();
    for batch in 0..MESSAGES / 100 {
        let mut bytes = Vec::new();
        for n in 0..100 {
            let sequence = batch * 100 + n + 1;
            frame(&format!(r#"{{"c":"p","s":{sequence},"t":"work"}}{{"n":{sequence}}}"#), &mut bytes);
        }
        stage.send(0, &bytes, 100);
    }
    let filled = before.elapsed();
    let mut acknowledged = 0;
    while acknowledged < MESSAGES {
        for worker in 1..4 {
            let mut bookmarks = Vec::new();
            while let Some(delivery) = stage.poll(worker) {
                let delivery = String::from_utf8(delivery).unwrap();
                let bookmark = delivery.split("\"bm\":\"").nth(1).unwrap().split('"').next().unwrap();
                bookmarks.push(bookmark.to_owned());
            }
            acknowledged += bookmarks.len() as u64;
            let mut bytes = Vec::new();
            frame(&format!(r#"{{"c":"sow_delete","t":"work","bm":"{}"}}"#, bookmarks.join(",")), &mut bytes);
            stage.send(worker, &bytes, 1);
        }
    }
    let total = before.elapsed();
    println!("{MESSAGES} messages: filled in {filled:?}, drained in {:?}", total - filled);
    assert_eq!(stage.queue("work").counters.acknowledged, MESSAGES);
    assert!(total < Duration::from_secs(20), "{total:?}");
}
