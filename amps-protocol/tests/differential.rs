//! The decoder against a second, naive one: the same verdict, the same place of the fault,
//! the same fields and the same body, on any bytes.

mod common;
mod naive;

use amps_protocol::Field;
use naive::compare::{compare, compare_records};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn both_decoders_agree_on_every_written_down_input() {
    for line in include_str!("data/malformed.txt").lines() {
        if let Some(input) = line.strip_prefix("  I ") {
            compare(&common::bytes_of(input));
        }
    }
    let mut frame = Vec::new();
    for line in include_str!("data/vectors.txt").lines() {
        match line.split_at_checked(4) {
            Some(("  H ", header)) => frame = header.as_bytes().to_vec(),
            Some(("  B ", body)) => frame.extend(common::bytes_of(body)),
            _ => continue,
        }
        for end in 0..=frame.len() {
            compare(&frame[..end]);
        }
    }
}

/// Every frame of up to six bytes out of those that mean something to the grammar, behind
/// several beginnings.
#[test]
fn both_decoders_agree_on_every_short_input() {
    const ALPHABET: &[u8] = b"{}[\"\\:, t";
    for beginning in ["", "{", "{\"t\":", "{\"t\":\"", "{\"t\":\"x\",\"t"] {
        let mut frame = beginning.as_bytes().to_vec();
        every_frame(&mut frame, beginning.len() + 6, ALPHABET);
    }
}

fn every_frame(frame: &mut Vec<u8>, longest: usize, alphabet: &[u8]) {
    compare(frame);
    if frame.len() < longest {
        for byte in alphabet {
            frame.push(*byte);
            every_frame(frame, longest, alphabet);
            frame.pop();
        }
    }
}

const ALIASES: &str = "cmd cmd_id seq bookmark password message_type topic filter order_by batch_size \
    group_sequence_number expiration sow_key correlation_id opts options leaseperiod lease_period timestamp \
    ack_type v send_matchng_ids maximum_messages msg_len";
const NO_KEYS: &str = "C cc T sid sub_ids query_i query_idx t\0 zz null Topic topics s\u{e9}";
const ESCAPED_KEYS: &str = r#"\u0063 \u0074 to\u0070ic \t t\ b\u006D \" \u00e9"#;
const ESCAPES: &str = r#"\" \\ \/ \b \f \n \r \t \u0041 \u00e9 \u20AC \u0000 \ud83d\ude00 \ud83d \ude00
    \ude00\ud83d \ud83d\ud83d\ude00 \ud83d\n \ud83d\u0041 \uDBFF\uDFFF \u12 \u12g4 \u \U0041 \q \{ \x41
    { } [ ] , : é"#;
const WORDS: &str = r"p ack sow publish processed success FAILURE retry null 0 42
    \u0070 ac\u006B proc\u0065ssed persisted\u002cstats \u0073uccess \u0034\u0032 \p";
const BARE: &str = "0 1 007 18446744073709551615 18446744073709551616 -1 1.5 1e3 true FALSE null NULL nullx p \
    ack processed success a:b \\ \\u0041 'x' \0 é";

/// One of the words of a list.
fn word(list: &'static str) -> impl Strategy<Value = Vec<u8>> {
    select(list.split_whitespace().collect::<Vec<_>>()).prop_map(|word| word.as_bytes().to_vec())
}

/// Keys: every written one, every other spelling, and some that only resemble them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let known = Field::ALL.iter().map(|field| field.key().as_bytes().to_vec()).collect::<Vec<_>>();
    prop_oneof![
        4 => word("c t s cid bm a status sids sub_id"),
        4 => select(known),
        2 => word(ALIASES),
        1 => word(NO_KEYS),
        1 => word(ESCAPED_KEYS),
        1 => vec(any::<u8>(), 0..12),
    ]
}

/// What a string can hold: mostly plain, with everything that a decoder has to mind.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-z0-9|,. ]{1,12}".prop_map(String::into_bytes),
        3 => word(ESCAPES),
        1 => vec(0u8..0x20, 1..3),
        1 => vec(0x80u8.., 1..4),
    ];
    prop_oneof![
        5 => "[a-zA-Z0-9|,./=_-]{0,24}".prop_map(String::into_bytes),
        3 => vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        2 => word(WORDS),
        1 => Just(b"persisted, stats".to_vec()),
        1 => Just(Vec::new()),
    ]
}

fn bare() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        4 => word(BARE),
        1 => vec(prop_oneof![0u8..b' ', b'-'..b'[', 0x7fu8..], 1..4),
    ]
}

fn quoted(text: &[u8]) -> Vec<u8> {
    [b"\"", text, b"\""].concat()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        60 => string().prop_map(|text| quoted(&text)),
        30 => bare(),
        1 => select(vec!["{}", "[]", "{\"t\":1}", "[1,2]", "", "\""]).prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// `usual` most of the time, else something odd that a decoder accepts, and at times what it
/// does not.
fn gap(
    usual: &'static str,
    odd: &'static [&'static str],
    wrong: &'static [&'static str],
) -> impl Strategy<Value = Vec<u8>> {
    let text = |text: &'static str| text.as_bytes().to_vec();
    prop_oneof![
        80 => Just(text(usual)),
        19 => select(odd).prop_map(text),
        1 => select(wrong).prop_map(text),
    ]
}

fn white() -> impl Strategy<Value = Vec<u8>> {
    gap("", &[" ", "\t", "\r\n", "  \n "], &["\x0b", "\u{a0}", ",", "x"])
}

fn separator() -> impl Strategy<Value = Vec<u8>> {
    gap(",", &["", " ", ", ", " ,", ",,", ",\n,\t"], &[";", ":", "x"])
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    (key(), white(), gap(":", &[":"], &["", "::", "=", ",", " "]), white(), value())
        .prop_map(|(key, before, colon, after, value)| [quoted(&key), before, colon, after, value].concat())
}

prop_compose! {
    /// Headers that are right more often than wrong, and a body.
    fn header()(
        before in white(),
        open in gap("{", &["{ ", "{,"], &["", "{{", "[", "\u{feff}{"]),
        members in vec((separator(), member()), 0..9),
        last in gap("", &[",", " ", " , "], &[";", ":"]),
        close in gap("}", &["}}", "} "], &["", "]"]),
        body in prop_oneof![Just(Vec::new()), vec(any::<u8>(), 0..12), Just(b" {\"k\":\"1\"}".to_vec())],
    ) -> Vec<u8> {
        let members: Vec<u8> = members
            .into_iter()
            .enumerate()
            .flat_map(|(i, (separator, member))| if i == 0 { member } else { [separator, member].concat() })
            .collect();
        [before, open, members, last, close, body].concat()
    }
}

prop_compose! {
    /// Records whose length is right more often than wrong, in a frame of their own.
    fn batch()(
        of_frame in vec(member(), 0..4),
        records in vec((white(), vec(member(), 0..4), vec(any::<u8>(), 0..12), 0..40), 0..6),
        behind in gap("", &[" ", "\r\n\t"], &["\x0c", "x", "{"]),
    ) -> Vec<u8> {
        let mut batch = [b"{\"c\":\"sow\",", &of_frame.join(&b',')[..], b"}"].concat();
        for (before, mut members, data, odd) in records {
            let length = match odd {
                0 => "\"\\u0032\"".to_owned(),
                1 => (data.len() + 1).to_string(),
                2 => "null".to_owned(),
                3..6 => format!("\"{}\"", data.len()),
                _ => data.len().to_string(),
            };
            let at = odd as usize % (members.len() + 1);
            members.insert(at, format!("\"l\":{length}").into_bytes());
            batch.extend([before, b"{".to_vec(), members.join(&b','), b"}".to_vec(), data].concat());
        }
        batch.extend(behind);
        batch
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn both_readers_find_the_same_records(frame in batch()) {
        compare(&frame);
        compare_records(&frame);
    }

    #[test]
    fn both_readers_find_the_same_records_in_a_batch_that_is_cut_off(
        frame in batch(),
        at: proptest::sample::Index,
    ) {
        compare_records(&frame[..at.index(frame.len() + 1)]);
    }

    #[test]
    fn both_decoders_agree_on_arbitrary_bytes(bytes in vec(any::<u8>(), 0..60)) {
        compare(&bytes);
        compare(&[b"{", &bytes[..]].concat());
        compare(&[b"{\"t\":\"", &bytes[..]].concat());
    }

    #[test]
    fn both_decoders_agree_on_what_looks_like_a_header(frame in header()) {
        compare(&frame);
    }

    #[test]
    fn both_decoders_agree_on_a_header_that_is_cut_off(frame in header(), at: proptest::sample::Index) {
        compare(&frame[..at.index(frame.len() + 1)]);
    }

    #[test]
    fn both_decoders_agree_on_a_header_with_one_byte_changed(
        mut frame in header(),
        at: proptest::sample::Index,
        byte in prop_oneof![select(b"{}[]\":,\\ un0".to_vec()), any::<u8>()],
    ) {
        if let Some(at) = frame.len().checked_sub(1).map(|last| at.index(last + 1)) {
            frame[at] = byte;
        }
        compare(&frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Positions and lengths around the powers of two at which an index may change its form.
    #[test]
    fn both_decoders_agree_far_into_a_frame(
        length in prop_oneof![0x7fe0usize..0x8020, 0xffc0usize..0x10020],
        key in key(),
        members in vec(member(), 0..4),
        in_string: bool,
    ) {
        let filling = if in_string {
            [quoted(&key), b":".to_vec(), quoted(&vec![b'x'; length])].concat()
        } else {
            vec![b' '; length]
        };
        compare(&[b"{".to_vec(), filling, b",".to_vec(), members.join(&b','), b"}body".to_vec()].concat());
    }
}
