//! Decoding and encoding in memory: no socket, no thread, no clock.
//!
//! Owns the inputs and one function per case, shared by the instruction counts (which repeat
//! exactly), by the wall-clock ratios, and by the test that counts allocations.

use std::hint::black_box;

use amps_protocol::{
    AckType, Command, CommandKind, Field, FrameWriter, LENGTH_PREFIX, Message, MessageDecoder, Options,
};
use bytes::BytesMut;

use crate::peer::{BODY, HEADER};
use crate::yardstick::{self, Index};

/// The smallest delivery that is routed.
pub const MINIMAL: &str = r#"{"c":"p","t":"orders","sids":"1"}"#;

/// What most commands are answered with.
pub const ACK: &str = r#"{"c":"ack","cid":"1","a":"processed","status":"success"}"#;

/// Records in the batch that is read and written.
const RECORDS: usize = 10;

/// One thing to measure: its name, and the work, done so many times.
#[derive(Clone, Copy)]
pub struct Case {
    /// How it is asked for.
    pub name: &'static str,
    /// How many units of work one call does (records of a batch; else 1).
    pub units: usize,
    /// Does it `n` times.
    pub run: fn(n: usize),
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn case(name: &'static str, units: usize, run: fn(usize)) -> Case {
    Case { name, units, run }
}

/// Every case.
pub const CASES: &[Case] = &[
    case("decode publish", 1, |n| decode(HEADER, n)),
    case("decode a publish like others", 1, decode_alike),
    case("decode ack", 1, |n| decode(ACK, n)),
    case("decode minimal", 1, |n| decode(MINIMAL, n)),
    case("scan publish", 1, |n| scan(HEADER, n)),
    case("scan ack", 1, |n| scan(ACK, n)),
    case("scan minimal", 1, |n| scan(MINIMAL, n)),
    case("decode sow record", RECORDS, decode_batch),
    case("encode publish", 1, encode_publish),
    case("encode subscribe", 1, encode_subscribe),
    case("encode sow record", RECORDS, encode_batch),
];

fn decode(header: &str, n: usize) {
    let frame = [header, BODY].concat();
    for _ in 0..n {
        let message = Message::decode(black_box(frame.as_bytes()));
        black_box(&message);
    }
}

fn decode_alike(n: usize) {
    let frames = [HEADER, &HEADER.replace("1234567890123456789", "9876543210987654321")];
    let frames = frames.map(|header| [header, BODY].concat());
    let mut decoder = MessageDecoder::new();
    for number in 0..n {
        let message = decoder.decode(black_box(frames[number % 2].as_bytes()));
        black_box(&message);
    }
}

/// The yardstick of `decode`.
fn scan(header: &str, n: usize) {
    let frame = [header, BODY].concat();
    for _ in 0..n {
        let mut index = Index::default();
        let found = yardstick::scan(black_box(frame.as_bytes()), &mut index);
        black_box((&index, found));
    }
}

fn encode_publish(n: usize) {
    let mut out = BytesMut::with_capacity(1024);
    for sequence in 0..n {
        out.clear();
        let publish = Command::publish(black_box("orders"))
            .sequence(black_box(sequence as u64 + 1_000_000))
            .data(black_box(BODY));
        black_box(publish.encode(&mut out)).ok();
        black_box(&out);
    }
}

fn encode_subscribe(n: usize) {
    let mut out = BytesMut::with_capacity(1024);
    let options = Options::parse("max_backlog=10,no_sowkey,timestamp");
    let subscribe = Command::subscribe("orders", 1)
        .filter("/region = 'EMEA' AND /price > 99.5")
        .options(options)
        .ask(1, AckType::Processed);
    for _ in 0..n {
        out.clear();
        black_box(black_box(&subscribe).encode(&mut out)).ok();
        black_box(&out);
    }
}

fn decode_batch(n: usize) {
    let mut frame = BytesMut::new();
    put_batch(&mut frame);
    for _ in 0..n {
        let batch = Message::decode(black_box(&frame[LENGTH_PREFIX..]));
        for record in batch.iter().flat_map(Message::records).flatten() {
            black_box(&record);
        }
    }
}

fn encode_batch(n: usize) {
    let mut out = BytesMut::with_capacity(4096);
    for _ in 0..n {
        out.clear();
        put_batch(&mut out);
        black_box(&out);
    }
}

fn put_batch(out: &mut BytesMut) {
    let mut batch = FrameWriter::new(out, CommandKind::Sow)
        .text(Field::Topic, black_box("orders"))
        .text(Field::QueryId, black_box("10"))
        .number(Field::BatchSize, RECORDS as u64)
        .records();
    for _ in 0..RECORDS {
        batch.record().text(Field::SowKey, black_box("1853097931817257202")).data(black_box(BODY.as_bytes()));
    }
    // A batch of ten never exceeds the limit; if it did, the case would measure nothing.
    black_box(batch.finish()).ok();
}
