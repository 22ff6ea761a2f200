//! What a decoder is held against: the header scanned by hand with `memchr2`, without a
//! grammar, without errors worth reading, for the form that encoders write and no other.
//!
//! It fills a struct of the same shape as `amps_protocol::Header`, so that the ratio of the
//! two tells what the grammar costs and nothing else.

use amps_protocol::{AckTypes, CommandKind, Status};
use memchr::memchr2;

/// The same shape as `amps_protocol::Header`.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Start and length of what deliveries and acknowledgements carry.
    pub spans: [(u16, u16); 11],
    /// Where the body begins.
    pub body: u32,
    /// Where the header begins.
    pub start: u32,
    /// `c`.
    pub command: CommandKind,
    /// `a`.
    pub acks: AckTypes,
    /// `status`.
    pub status: Option<Status>,
    /// Whether there are other fields.
    pub others: bool,
    /// Values with escapes, which this scanner refuses.
    pub escaped: Option<Box<Vec<u8>>>,
}

const _: () = assert!(size_of::<Index>() == size_of::<amps_protocol::Header>());

/// Scans `{"key":"value","key":123,...}`; `None` if it is anything else.
#[inline(never)]
pub fn scan(frame: &[u8], index: &mut Index) -> Option<()> {
    *index = Index::default();
    let mut at = 1;
    loop {
        // At a key's opening quote.
        let key_start = at + 1;
        let key_end = key_start + memchr2(b'"', b'\\', frame.get(key_start..)?)?;
        let key = &frame[key_start..key_end];
        let value_start = key_end + 2;
        let (start, end, after) = if *frame.get(value_start)? == b'"' {
            let start = value_start + 1;
            let end = start + memchr2(b'"', b'\\', frame.get(start..)?)?;
            if frame[end] == b'\\' {
                return None;
            }
            (start, end, end + 1)
        } else {
            let end = value_start + memchr2(b',', b'}', &frame[value_start..])?;
            (value_start, end, end)
        };
        let value = &frame[start..end];
        let span = (start as u16, (end - start) as u16);
        match key {
            b"c" => index.command = CommandKind::from_token(value),
            b"a" => index.acks = AckTypes::parse(value),
            b"status" => index.status = Some(Status::from_token(value)),
            b"t" => index.spans[0] = span,
            b"sids" => index.spans[1] = span,
            b"bm" => index.spans[2] = span,
            b"k" => index.spans[3] = span,
            b"ts" => index.spans[4] = span,
            b"lp" => index.spans[5] = span,
            b"x" => index.spans[6] = span,
            b"cid" => index.spans[7] = span,
            b"sub_id" => index.spans[8] = span,
            b"query_id" => index.spans[9] = span,
            b"l" => index.spans[10] = span,
            _ => index.others = true,
        }
        match frame.get(after)? {
            b',' => at = after + 1,
            b'}' => {
                index.body = after as u32 + 1;
                return Some(());
            }
            _ => return None,
        }
    }
}
