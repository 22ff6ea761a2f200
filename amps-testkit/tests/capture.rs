//! Packet captures: the journal as one, and one as a script (OBS-09).

mod support;

use std::time::Duration;

use amps_testkit::{Capture, CaptureError, FakeServer, JournalMode, QueueConfig};
use proptest::prelude::*;
use support::raw_client::{PATIENCE, RawClient};

/// Bytes of the file's header, and of the header of a packet in it.
const HEAD: usize = 24;
const PACKET_HEAD: usize = 16;
/// Bytes of the headers of IP and TCP.
const HEADERS: usize = 40;

fn server() -> FakeServer {
    let queue = QueueConfig::new("work").lease(Duration::from_secs(30));
    FakeServer::builder().queue(queue).journal(JournalMode::All).virtual_clock().start().unwrap()
}

/// A worker and a publisher, and what was recorded of them.
fn recorded() -> Vec<u8> {
    let server = server();
    let mut worker = RawClient::named(&server, "worker");
    assert!(
        worker
            .ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#)
            .contains("success")
    );
    server.advance(Duration::from_secs(1));
    let mut publisher = RawClient::named(&server, "publisher");
    // More than one packet.
    publisher.send(&format!(r#"{{"c":"p","t":"work","s":1}}{}"#, "x".repeat(150_000)));
    worker.receive();
    worker.quiet();
    server.settle(PATIENCE).unwrap();
    let mut file = Vec::new();
    server.journal_pcap(&mut file).unwrap();
    file
}

fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut packets) = (&file[HEAD..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (packet, after) = rest.split_at(PACKET_HEAD + length);
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}

fn file_of<'p>(file: &[u8], packets: impl IntoIterator<Item = &'p Vec<u8>>) -> Vec<u8> {
    let mut other = file[..HEAD].to_vec();
    packets.into_iter().for_each(|packet| other.extend(packet));
    other
}

#[test]
fn what_was_recorded_is_read_and_played_again() {
    let file = recorded();
    let capture = Capture::parse(&file).unwrap();
    let told: Vec<(usize, bool)> =
        capture.turns().iter().map(|turn| (turn.connection, turn.from_client)).collect();
    let (worker, publisher, client, answer) = (0, 1, true, false);
    assert_eq!(
        told,
        [
            (worker, client),
            (worker, answer),
            (worker, client),
            (worker, answer),
            (publisher, client),
            (publisher, answer),
            (publisher, client),
            (worker, answer),
            (worker, client),
            (worker, answer),
        ]
    );
    assert!(capture.turns()[6].frame.len() > 150_000);
    let times = [3, 4].map(|turn| capture.turns()[turn].time);
    assert_eq!(times[1].saturating_since(times[0]), Duration::from_secs(1));

    let received = capture.play(server().addr(), PATIENCE).unwrap();
    let answers = capture.turns().iter().filter(|turn| !turn.from_client);
    // All but the times and the number of the delivery are the same.
    let lengths = |frames: &mut dyn Iterator<Item = usize>| frames.collect::<Vec<_>>();
    assert_eq!(
        lengths(&mut received.iter().map(Vec::len)),
        lengths(&mut answers.map(|turn| turn.frame.len()))
    );
    // A server that knows no such queue answers otherwise.
    let other = FakeServer::builder().no_txlog().refuse_logon("no").start().unwrap();
    let error = capture.play(other.addr(), PATIENCE).unwrap_err();
    assert!(error.to_string().starts_with(&format!("turn {}, on connection 0,", error.turn)), "{error}");
}

/// A worker that leaves gives its message back, also when that is played.
#[test]
fn the_end_of_a_connection_is_played_too() {
    let original = server();
    let subscribe = r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"work","a":"processed"}"#;
    let mut first = RawClient::named(&original, "first");
    first.ask(subscribe);
    let mut second = RawClient::named(&original, "second");
    second.ask(r#"{"c":"p","cid":"2","t":"work","a":"processed"}job"#);
    assert!(first.receive().ends_with("job"));
    second.ask(subscribe);
    drop(first);
    assert!(second.receive().ends_with("job"));
    original.settle(PATIENCE).unwrap();
    let mut file = Vec::new();
    original.journal_pcap(&mut file).unwrap();
    let capture = Capture::parse(&file).unwrap();
    assert_eq!(capture.turns().iter().filter(|turn| turn.closes && turn.from_client).count(), 1);
    let received = capture.play(server().addr(), PATIENCE).unwrap();
    assert!(received.last().unwrap().ends_with(b"job"));
    // Of a direction whose beginning is missing nothing can be told: that is no empty direction.
    let all = packets(&file);
    let without = all.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, packet)| packet);
    assert!(matches!(Capture::parse(&file_of(&file, without)), Err(CaptureError::Gap { connection: 0, .. })));
}

#[test]
fn packets_may_come_twice_and_out_of_order() {
    let file = recorded();
    let wanted = Capture::parse(&file).unwrap();
    let mut packets = packets(&file);
    let big: Vec<usize> = (0..packets.len()).filter(|&n| packets[n].len() > 10_000).collect();
    // The two directions have three packets each.
    assert_eq!(big.len(), 6);
    packets.swap(big[0], big[2]);
    packets.insert(big[1], packets[big[0]].clone());
    packets.push(packets[3].clone());
    let capture = Capture::parse(&file_of(&file, &packets)).unwrap();
    let frames =
        |capture: &Capture| capture.turns().iter().map(|turn| turn.frame.clone()).collect::<Vec<_>>();
    assert_eq!(frames(&capture), frames(&wanted));
}

#[test]
fn captures_of_other_links_and_byte_orders_are_the_same() {
    let file = recorded();
    let wanted = Capture::parse(&file).unwrap();
    for (link, in_front) in [(1, 14), (113, 16), (0, 4)] {
        let mut other = file[..HEAD - 4].to_vec();
        other.extend(u32::to_le_bytes(link));
        for packet in packets(&file) {
            let length = (packet.len() - PACKET_HEAD + in_front) as u32;
            other.extend(&packet[..8]);
            other.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
            other.extend(vec![0; in_front]);
            other.extend(&packet[PACKET_HEAD..]);
        }
        assert_eq!(Capture::parse(&other).unwrap(), wanted, "link {link}");
    }
    let swapped =
        |bytes: &[u8]| bytes.chunks(4).flat_map(|word| word.iter().rev().copied()).collect::<Vec<_>>();
    let mut other = swapped(&file[..4]);
    other.extend([0, 2, 0, 4]);
    other.extend(swapped(&file[8..HEAD]));
    for packet in packets(&file) {
        other.extend(swapped(&packet[..PACKET_HEAD]));
        other.extend(&packet[PACKET_HEAD..]);
    }
    assert_eq!(Capture::parse(&other).unwrap(), wanted);
}

#[test]
fn what_cannot_be_read_is_told() {
    let file = recorded();
    assert_eq!(Capture::parse(&file[..HEAD - 1]), Err(CaptureError::NoCapture));
    let mut other = file.clone();
    other[20] = 9;
    assert_eq!(Capture::parse(&other), Err(CaptureError::Link(9)));
    assert_eq!(Capture::parse(&file[..HEAD + 20]), Err(CaptureError::Torn { offset: HEAD }));

    let mut fewer = packets(&file);
    let big = fewer.iter().position(|packet| packet.len() > 10_000).unwrap();
    let lost = fewer.remove(big).len() - PACKET_HEAD - HEADERS;
    let gap = CaptureError::Gap { connection: 1, missing: lost as u32 };
    assert_eq!(Capture::parse(&file_of(&file, &fewer)), Err(gap));

    let mut others = packets(&file);
    let first = others.iter_mut().find(|packet| packet.len() > PACKET_HEAD + HEADERS).unwrap();
    first[PACKET_HEAD + HEADERS] = 0xff;
    let error = Capture::parse(&file_of(&file, &others)).unwrap_err();
    assert!(matches!(error, CaptureError::NoFrames { connection: 0, .. }), "{error}");
}

proptest! {
    #[test]
    fn no_file_makes_the_reader_panic(
        edits in prop::collection::vec((0_usize..600, any::<u8>()), 0..8),
        cut in 0_usize..600,
    ) {
        static FILE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(recorded);
        let mut file = FILE[..600.min(FILE.len())].to_vec();
        edits.into_iter().for_each(|(at, byte)| file[at] = byte);
        file.truncate(cut.max(HEAD));
        let _ = Capture::parse(&file);
    }
}
