//! A peer that is no server: it answers everything with anything.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_testkit::sim::Rng;
use amps_transport::{CloseMode, Input, Machine, Sink, Time};
use bytes::BytesMut;

pub(super) struct Liar {
    rng: Rng,
}

/// What a server might say, which the liar cuts up and mixes.
const WORDS: [&str; 14] = [
    r#"{"c":"ack","cid":"1","a":"processed","status":"success"}"#,
    r#"{"c":"ack","cid":"2","a":"processed","status":"failure","reason":"x"}"#,
    r#"{"c":"ack","a":"persisted","status":"failure","s":3}"#,
    r#"{"c":"ack","cid":"1","a":"processed","status":"retry","user_id":"u","pw":"n"}"#,
    r#"{"c":"sow","query_id":"2","t":"orders","bs":2}{"k":"1","l":900}{}"#,
    r#"{"c":"sow","query_id":"2","t":"orders","bs":2}{"k":"1","l":2}{}"#,
    r#"{"c":"group_end","query_id":"2"}"#,
    r#"{"c":"p","t":"orders","sids":"2,3,4","lp":"x","bm":"1|1|"}{"id":1}"#,
    r#"{"c":"heartbeat"}"#,
    r#"{"c":"nonsense","sids":"2"}"#,
    "{",
    "",
    r#"{"c":"#,
    "\u{0}\u{1}\u{2}",
];

impl Liar {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { rng }
    }

    fn frame(&mut self, out: &mut BytesMut) {
        let mut body = Vec::new();
        for _ in 0..self.rng.between(1, 2) {
            let word = *self.rng.pick(&WORDS).unwrap_or(&"");
            let cut =
                if self.rng.chance(85) { word.len() } else { self.rng.below(word.len() as u64 + 1) as usize };
            body.extend_from_slice(&word.as_bytes()[..cut]);
            if self.rng.chance(70) {
                break;
            }
        }
        let length = if self.rng.chance(4) { self.rng.next_u64() as u32 } else { body.len() as u32 };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&body);
    }
}

impl Machine for Liar {
    type Note = ();

    fn handle<S: Sink>(&mut self, _: Time, input: Input<'_, ()>, sink: &mut S) {
        let Input::Received { conn, bytes } = input else { return };
        bytes.clear();
        let mut out = BytesMut::new();
        for _ in 0..self.rng.below(4) {
            self.frame(&mut out);
        }
        if !out.is_empty() {
            sink.send(conn, &out);
        }
        if self.rng.chance(10) {
            sink.close(conn, CloseMode::Abort);
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
