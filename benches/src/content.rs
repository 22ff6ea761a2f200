//! What the peers send: frames that were encoded before, as a server writes them.

use amps_protocol::{CommandKind, Field, FrameWriter};
use bytes::BytesMut;

use crate::peer::{BODY, HEADER};

/// So many messages are prepared, and sent again and again.
pub const CHUNK: usize = 1000;

/// Records in each batch of a query's result.
pub const BATCH: usize = 100;

/// What a message delivered from a queue has in its header.
const LEASED: &str = r#"{"c":"p","t":"orders","sids":"1","bm":"14223183437845374372|1000000|","lp":"20261121T014400.123456Z","ts":"20261121T014300.123456Z","k":"1234567890123456789","l":128}"#;

/// The bytes of one message.
fn frame(header: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&((header.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
}

/// The header of one message: each has its own bookmark, time and key, as in a log.
fn header(number: usize) -> String {
    // Keys are hashes: most have 19 or 20 digits.
    let key = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string();
    HEADER
        .replace("|1234|", &format!("|{}|", 1_000_000 + number))
        .replace(".123456Z", &format!(".{:06}Z", number * 997 % 1_000_000))
        .replace("1234567890123456789", &key)
}

/// [`CHUNK`] publishes, to these subscriptions in turn.
pub fn to_subscriptions(ids: &[String]) -> Vec<u8> {
    let mut chunk = Vec::new();
    for (number, id) in ids.iter().cycle().take(CHUNK).enumerate() {
        let header = header(number).replace(r#""sids":"1""#, &format!(r#""sids":"{id}""#));
        frame(&header, BODY.as_bytes(), &mut chunk);
    }
    chunk
}

/// So many publishes, whose bodies are so long.
pub fn of_size(size: usize, count: usize) -> Vec<u8> {
    let body: Vec<u8> = BODY.bytes().cycle().take(size).collect();
    let mut chunk = Vec::new();
    for number in 0..count {
        let header = header(number).replace(r#""l":128"#, &format!(r#""l":{size}"#));
        frame(&header, &body, &mut chunk);
    }
    chunk
}

/// [`CHUNK`] publishes of so many records in turn.
pub fn of_keys(keys: usize) -> Vec<u8> {
    let mut chunk = Vec::new();
    for number in 0..CHUNK.max(keys) {
        let key = format!("{:019}", 1_000_000_000_000_000_000 + (number % keys) as u64);
        frame(&HEADER.replace("1234567890123456789", &key), BODY.as_bytes(), &mut chunk);
    }
    chunk
}

/// One message of a queue, each with a bookmark of its own.
pub fn leased(number: usize, out: &mut Vec<u8>) {
    let header = LEASED.replace("1000000", &format!("{}", 1_000_000 + number));
    frame(&header, BODY.as_bytes(), out);
}

/// [`CHUNK`] records of a query's result, in batches of [`BATCH`].
///
/// # Panics
/// Never: a batch is small.
pub fn records() -> Vec<u8> {
    let mut chunk = BytesMut::new();
    for batch in 0..CHUNK / BATCH {
        let mut records = FrameWriter::new(&mut chunk, CommandKind::Sow)
            .text(Field::Topic, "orders")
            .text(Field::QueryId, "1")
            .number(Field::BatchSize, BATCH as u64)
            .records();
        for number in 0..BATCH {
            let key = format!("{}", 1_853_097_931_817_000_000 + (batch * BATCH + number) as u64);
            records.record().text(Field::SowKey, &*key).data(BODY.as_bytes());
        }
        records.finish().expect("a small batch");
    }
    chunk.to_vec()
}
