//! A server that keeps its log in a file goes on where it was (server.md DUP-04, Q-71,
//! AC-TXL-25), whatever became of the end of the file.

mod support;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use amps_testkit::{FakeServer, FakeServerBuilder, QueueConfig, SowConfig, StartError};
use support::data_dir::DataDir;
use support::raw_client::RawClient;

fn server(data: &Path) -> FakeServerBuilder {
    FakeServer::builder()
        .queue(QueueConfig::new("work").lease(Duration::from_secs(30)))
        .sow(SowConfig::new("orders").key("/id"))
        .virtual_clock()
        .data_dir(data)
}

#[test]
fn a_server_begins_with_what_another_kept() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    for n in 0..3 {
        first.publish("work", n.to_string()).unwrap();
    }
    first.advance(Duration::from_secs(60));
    first.publish("orders", r#"{"id":1}"#).unwrap();
    let (log, now) = (first.logged_messages(), first.now());
    assert_eq!(log.len(), 4);
    drop(first);

    let second = server(data.path()).start().unwrap();
    assert_eq!(second.logged_messages(), log);
    assert_eq!(second.queue("work").unwrap().available.len(), 3);
    assert_eq!(second.now(), now, "time does not go back");
    // What comes next is named by no bookmark that was used before.
    second.publish("work", "3").unwrap();
    let again = second.logged_messages();
    assert!(log.iter().all(|message| message.bookmark != again[4].bookmark));
    second.restart_empty();
    assert_eq!(second.logged_messages(), []);
    second.publish("work", "4").unwrap();
    drop(second);

    let third = server(data.path()).start().unwrap();
    let bodies: Vec<_> = third.logged_messages().into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [b"4"]);
}

#[test]
fn a_torn_end_is_cut_off_and_appended_to() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    first.publish("T", "1").unwrap();
    first.publish("T", "2").unwrap();
    drop(first);
    let file = data.path().join("txlog.bin");
    let length = std::fs::metadata(&file).unwrap().len();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 3).unwrap();

    let second = server(data.path()).start().unwrap();
    assert_eq!(second.logged_messages().len(), 1);
    second.publish("T", "3").unwrap();
    drop(second);
    let third = server(data.path()).start().unwrap();
    let bodies: Vec<_> = third.logged_messages().into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [b"1", b"3"]);
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let data = DataDir::new();
    std::fs::create_dir_all(data.path()).unwrap();
    let file = data.path().join("txlog.bin");
    std::fs::File::create(&file).unwrap().write_all(b"something else altogether").unwrap();
    let error = server(data.path()).start().unwrap_err();
    assert!(matches!(error, StartError::Data { .. }), "{error}");
    assert!(error.to_string().contains("no transaction log of version 2"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"something else altogether");
}

#[test]
fn damage_in_front_of_whole_records_is_refused_and_left_alone() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    for n in 0..3 {
        first.publish("T", format!("body {n}")).unwrap();
    }
    drop(first);
    let file = data.path().join("txlog.bin");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(6).position(|window| window == b"body 1").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&file, &bytes).unwrap();

    let error = server(data.path()).start().unwrap_err();
    let StartError::Data { source, .. } = &error else { panic!("{error}") };
    let fault = source.to_string();
    let number = |after: &str| -> usize {
        let rest = fault.split_once(after).unwrap().1;
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    };
    let (from, to) = (number("from byte "), number("to byte "));
    assert!((from..to).contains(&place), "{fault}: the byte is {place}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);

    // What the error proposes helps.
    OpenOptions::new().write(true).open(&file).unwrap().set_len(from as u64).unwrap();
    let second = server(data.path()).start().unwrap();
    assert_eq!(second.logged_messages().len(), 1);
}

/// However the half of a large message looks, it is no reason to look at every byte of it again and again.
#[test]
fn a_large_torn_end_is_cut_off_at_once() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    first.publish("T", "1").unwrap();
    let mut noise = 1_u64;
    let mut body = Vec::new();
    while body.len() < 8 << 20 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.extend_from_slice(&noise.to_be_bytes());
    }
    first.publish("T", body).unwrap();
    drop(first);
    let file = data.path().join("txlog.bin");
    let length = std::fs::metadata(&file).unwrap().len();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    assert_eq!(server(data.path()).start().unwrap().logged_messages().len(), 1);
}

/// What is truncated cannot be replayed; the state of the world and queues do not go with it.
#[test]
fn records_and_queue_messages_outlive_a_truncation_of_the_log() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    for id in 1..=3 {
        first.publish("orders", format!("{{\"id\":{id}}}")).unwrap();
        first.publish("work", id.to_string()).unwrap();
    }
    first.truncate_before(amps_testkit::LogCut::Newest(1));
    let (records, waiting) = (first.sow("orders").len(), first.queue("work").unwrap().available.len());
    assert_eq!((records, waiting), (3, 3));
    drop(first);
    let second = server(data.path()).start().unwrap();
    assert_eq!((second.sow("orders").len(), second.queue("work").unwrap().available.len()), (3, 3));
    assert_eq!(second.logged_messages().len(), 1);
}

#[test]
fn a_directory_has_one_server_at_a_time() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    first.publish("T", "1").unwrap();
    let error = server(data.path()).start().unwrap_err();
    assert!(matches!(error, StartError::Data { .. }), "{error}");
    assert!(error.to_string().contains("another server keeps its log there"), "{error}");
    first.restart();
    first.publish("T", "2").unwrap();
    drop(first);
    let second = server(data.path()).start().unwrap();
    assert_eq!(second.logged_messages().len(), 2);
}

#[test]
fn what_is_truncated_stays_away() {
    let data = DataDir::new();
    let first = server(data.path()).start().unwrap();
    for n in 0..5 {
        first.publish("T", n.to_string()).unwrap();
    }
    first.truncate_before(amps_testkit::LogCut::Time(first.now()));
    assert_eq!(first.logged_messages().len(), 5);
    first.truncate_before(amps_testkit::LogCut::Newest(2));
    let left = first.logged_messages();
    drop(first);
    let second = server(data.path()).start().unwrap();
    assert_eq!(second.logged_messages(), left);
    second.clear_log();
    second.restart();
    assert_eq!(second.logged_messages(), []);
    assert_eq!(second.data_error(), None);
}

#[test]
fn a_file_that_is_mostly_dead_is_written_anew() {
    let data = DataDir::new();
    let file = data.path().join("txlog.bin");
    let size = || std::fs::metadata(&file).unwrap().len();
    let first = server(data.path()).start().unwrap();
    let mut client = RawClient::named(&first, "a");
    for n in 1..=200 {
        client.send(&format!(r#"{{"c":"p","t":"T","s":{n}}}"{}""#, "x".repeat(1000)));
    }
    client.quiet();
    first.restart_empty();
    for n in 0..3 {
        first.publish("work", n.to_string()).unwrap();
    }
    let left = first.logged_messages();
    drop(first);
    let before = size();
    assert!(before > 200_000, "{before}");

    // As a server leaves it that is killed while it writes.
    let beside = data.path().join("txlog.bin.new");
    std::fs::write(&beside, b"AMPSTLOG and no more").unwrap();
    let second = server(data.path()).start().unwrap();
    assert!(size() < before / 100, "{} of {before}", size());
    assert!(!beside.exists());
    assert_eq!(second.logged_messages(), left);
    assert_eq!(second.queue("work").unwrap().available.len(), 3);
    // What it is from then on is in the new file, which nobody else may have.
    second.publish("T", "new").unwrap();
    let error = server(data.path()).start().unwrap_err();
    assert!(error.to_string().contains("another server keeps its log there"), "{error}");
    second.restart();
    assert_eq!((second.logged_messages().len(), second.data_error()), (4, None));
    drop(second);
    let third = server(data.path()).start().unwrap();
    assert_eq!(third.logged_messages().len(), 4);
}

/// States that are replaced again and again do not fill the disk, however long a server runs.
#[test]
fn a_running_server_writes_a_file_anew_that_is_mostly_dead() {
    let data = DataDir::new();
    let unlogged = || {
        let sow = SowConfig::new("screens").key("/id");
        FakeServer::builder().sow(sow).no_txlog().data_dir(data.path())
    };
    let first = unlogged().start().unwrap();
    let body = |n: u32| format!("{{\"id\":{},\"n\":{n},\"x\":\"{}\"}}", n % 10, "x".repeat(60_000));
    for n in 0..600 {
        first.publish("screens", body(n)).unwrap();
    }
    let size = std::fs::metadata(data.path().join("txlog.bin")).unwrap().len();
    assert!(size < 25 << 20, "36 MB were written, 600 kB count, and {size} are there");
    let records = first.sow("screens");
    assert_eq!(records.len(), 10);
    drop(first);
    assert_eq!(unlogged().start().unwrap().sow("screens"), records);
}

#[test]
fn a_file_in_which_most_counts_is_left_alone() {
    let data = DataDir::new();
    let file = data.path().join("txlog.bin");
    let first = server(data.path()).start().unwrap();
    for n in 0..100 {
        first.publish("T", format!("{n}{}", "x".repeat(1000))).unwrap();
    }
    first.truncate_before(amps_testkit::LogCut::Newest(60));
    drop(first);
    let before = std::fs::read(&file).unwrap();
    drop(server(data.path()).start().unwrap());
    assert!(std::fs::read(&file).unwrap().starts_with(&before));
}
