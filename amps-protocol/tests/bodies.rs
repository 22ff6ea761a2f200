//! Composite, FIX and NVFIX bodies: what is built is read back, and no bytes whatever make a
//! reader panic or lose something in silence.

use std::collections::BTreeMap;

use amps_protocol::{
    CompositeBuildError, CompositeBuilder, CompositeError, CompositeFault, CompositeReader, FIX_SEPARATOR,
    FixBuilder, FixError, FixReader, NvfixBuilder, NvfixReader,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn parts_come_back_in_order_and_empty_ones_are_kept() {
    let mut body = CompositeBuilder::new();
    body.append(b"{\"id\":1}").unwrap().append(b"").unwrap().append(b"\x00\xff").unwrap();
    assert_eq!(body.as_bytes(), b"\0\0\0\x08{\"id\":1}\0\0\0\0\0\0\0\x02\x00\xff");
    let parts: Vec<_> = CompositeReader::new(body.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(parts, [&b"{\"id\":1}"[..], b"", b"\x00\xff"]);
    assert_eq!(CompositeReader::part(body.as_bytes(), 1), Ok(Some(&b""[..])));
    assert_eq!(CompositeReader::part(body.as_bytes(), 3), Ok(None));
    assert_eq!(CompositeReader::new(b"").next(), None, "an empty body has no parts");
}

#[test]
fn the_bytes_after_any_part_can_be_had_raw() {
    let body = b"\0\0\0\x01a\0\0\0\x02bc and what the server never parsed";
    let mut reader = CompositeReader::new(body);
    assert_eq!(reader.remaining(), body);
    assert_eq!(reader.by_ref().take(2).map(Result::unwrap).collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
    assert_eq!(reader.parts_read(), 2);
    assert_eq!(reader.remaining(), b" and what the server never parsed");
    // Read as a part, those bytes make no sense; they stay readable nevertheless.
    assert!(reader.next().unwrap().is_err());
    assert_eq!(reader.remaining(), b" and what the server never parsed");
}

#[test]
fn a_part_that_is_cut_off_is_named_and_ends_the_reading() {
    let body = b"\0\0\0\x01a\0\0\0\x64bcdef";
    let mut reader = CompositeReader::new(body);
    assert_eq!(reader.next(), Some(Ok(&b"a"[..])));
    let error =
        CompositeError { part: 1, offset: 5, fault: CompositeFault::TruncatedPart { length: 100, left: 5 } };
    assert_eq!(reader.next(), Some(Err(error)));
    assert_eq!(reader.next(), None);
    assert_eq!(reader.parts_read(), 1);
    assert_eq!(
        error.to_string(),
        "malformed composite body: part 1, at byte 5: expected 100 bytes as announced, of which 5 are left"
    );
    assert_eq!(CompositeReader::part(body, 0), Ok(Some(&b"a"[..])), "parts before the error stay good");
    assert_eq!(CompositeReader::part(body, 7), Err(error), "an error is never taken for a part");
    let short = CompositeReader::new(b"\0\0").next().unwrap().unwrap_err();
    assert_eq!((short.part, short.offset), (0, 0));
    assert_eq!(short.fault, CompositeFault::TruncatedLength { left: 2 });
}

#[test]
fn the_unparsed_payload_comes_once_and_last_and_a_cleared_builder_starts_anew() {
    let mut body = CompositeBuilder::new();
    body.append(b"x").unwrap().append_payload(b"raw").unwrap();
    let whole = body.clone();
    assert_eq!(body.append(b"y").unwrap_err(), CompositeBuildError::AfterPayload);
    assert_eq!(body.append_payload(b"y").unwrap_err(), CompositeBuildError::AfterPayload);
    assert_eq!(body, whole, "a refused part leaves no trace");
    body.clear();
    assert_eq!(body.append(b"z").unwrap().as_bytes(), b"\0\0\0\x01z");
}

#[test]
fn fix_fields_are_written_and_read_as_specified() {
    let mut body = FixBuilder::new();
    body.append(8, "FIX.4.2").unwrap().append(35, "D").unwrap();
    assert_eq!(body.as_bytes(), b"8=FIX.4.2\x0135=D\x01");
    let map: BTreeMap<u32, &[u8]> = FixReader::new(b"1=a\x012=b=c").collect();
    assert_eq!(map, BTreeMap::from([(1, &b"a"[..]), (2, b"b=c")]));
    body.clear();
    assert_eq!(body.append(0, "").unwrap().as_bytes(), b"0=\x01");
}

#[test]
fn what_is_no_field_is_skipped_and_counted() {
    let mut fix = FixReader::new(b"x=1\x012=b\x01=v\x01none\x01\x014294967296=big\x01-1=minus");
    assert_eq!(fix.skipped(), 0);
    assert_eq!(fix.by_ref().collect::<Vec<_>>(), [(2, &b"b"[..])]);
    assert_eq!(fix.skipped(), 6);
    assert_eq!(fix.next(), None);
    assert_eq!(fix.skipped(), 6, "nothing is counted twice");
    let mut nvfix = NvfixReader::new(b"=v\x01k=v\x01none");
    assert_eq!(nvfix.by_ref().collect::<Vec<_>>(), [(&b"k"[..], &b"v"[..])]);
    assert_eq!(nvfix.skipped(), 2);
}

#[test]
fn repeated_tags_all_come_and_a_lookup_takes_the_last() {
    let mut fix = FixReader::with_separator(b"5=a|6=b|5=c|5 =d|", b'|');
    assert_eq!(fix.next(), Some((5, &b"a"[..])));
    assert_eq!(fix.get(5), Some(&b"c"[..]));
    assert_eq!(fix.get(7), None);
    assert_eq!(fix.next(), Some((6, &b"b"[..])), "a lookup moves nothing");
    let nvfix = NvfixReader::new(b"k=1\x01K=2\x01k=");
    assert_eq!((nvfix.get("k"), nvfix.get("K"), nvfix.get("")), (Some(&b""[..]), Some(&b"2"[..]), None));
}

#[test]
fn what_cannot_be_expressed_is_refused_and_leaves_no_trace() {
    let mut fix = FixBuilder::new();
    fix.append(1, "a=b").unwrap();
    let before = fix.clone();
    assert_eq!(fix.append(58, b"ab\x01").unwrap_err(), FixError::SeparatorInValue { offset: 2 });
    assert_eq!(fix, before);
    let mut nvfix = NvfixBuilder::with_separator(b';').unwrap();
    assert_eq!(nvfix.append("", "v").unwrap_err(), FixError::EmptyKey);
    assert_eq!(nvfix.append("a=", "v").unwrap_err(), FixError::EqualsInKey { offset: 1 });
    assert_eq!(nvfix.append(";a", "v").unwrap_err(), FixError::SeparatorInKey { offset: 0 });
    assert_eq!(nvfix.append("a", ";").unwrap_err(), FixError::SeparatorInValue { offset: 0 });
    assert!(nvfix.as_bytes().is_empty());
    for separator in *b"=059" {
        assert_eq!(FixBuilder::with_separator(separator), Err(FixError::UnusableSeparator { separator }));
    }
    assert_eq!(NvfixBuilder::with_separator(b'='), Err(FixError::UnusableSeparator { separator: b'=' }));
    assert!(NvfixBuilder::with_separator(b'5').unwrap().append("a", "1").is_ok());
}

/// Bytes from which fields, separators and lengths form by chance.
fn body_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0u8), Just(1), Just(4), Just(b'='), Just(b'7'), Just(b'k'), any::<u8>()];
    vec(byte, 0..120)
}

proptest! {
    #[test]
    fn composite_parts_survive_a_round_trip(parts in vec(vec(any::<u8>(), 0..40), 0..8)) {
        let mut body = CompositeBuilder::new();
        for part in &parts {
            body.append(part).unwrap();
        }
        let body = body.into_bytes();
        let read = CompositeReader::new(&body).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(&read, &parts);
        // Cut off anywhere: every whole part comes, then an error unless the cut lies between parts.
        for end in 0..body.len() {
            let mut reader = CompositeReader::new(&body[..end]);
            let whole: Vec<_> = reader.by_ref().take_while(Result::is_ok).map(Result::unwrap).collect();
            prop_assert_eq!(&whole[..], &read[..whole.len()]);
            let good: usize = whole.iter().map(|part| 4 + part.len()).sum();
            prop_assert_eq!(reader.remaining(), &body[good..end]);
            prop_assert_eq!(CompositeReader::new(&body[..end]).any(|part| part.is_err()), good < end);
        }
    }

    #[test]
    fn fix_fields_survive_a_round_trip(
        fields in vec((any::<u32>(), vec(2u8.., 0..12)), 0..8),
        cut_separator: bool,
    ) {
        let mut body = FixBuilder::default();
        for (tag, value) in &fields {
            body.append(*tag, value).unwrap();
        }
        let mut body = body.into_bytes();
        if cut_separator {
            body.pop();
        }
        let mut reader = FixReader::new(&body);
        let read: Vec<_> = reader.by_ref().map(|(tag, value)| (tag, value.to_vec())).collect();
        prop_assert_eq!(&read, &fields);
        prop_assert_eq!(reader.skipped(), 0);
        for (tag, _) in &fields {
            let last = fields.iter().rfind(|(other, _)| other == tag).map(|(_, value)| &value[..]);
            prop_assert_eq!(reader.get(*tag), last);
        }
    }

    #[test]
    fn nvfix_fields_are_refused_or_survive_a_round_trip(
        fields in vec((vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..6)), 0..8),
        separator: u8,
    ) {
        let Ok(mut body) = NvfixBuilder::with_separator(separator) else {
            prop_assert_eq!(separator, b'=');
            return Ok(());
        };
        let mut kept = Vec::new();
        for (key, value) in &fields {
            let expressible = !key.is_empty()
                && !key.contains(&b'=')
                && !key.contains(&separator)
                && !value.contains(&separator);
            prop_assert_eq!(body.append(key, value).is_ok(), expressible);
            if expressible {
                kept.push((&key[..], &value[..]));
            }
        }
        let mut reader = NvfixReader::with_separator(body.as_bytes(), separator);
        prop_assert_eq!(reader.by_ref().collect::<Vec<_>>(), kept);
        prop_assert_eq!(reader.skipped(), 0);
    }

    #[test]
    fn composite_readers_account_for_every_byte(body in body_bytes()) {
        let mut reader = CompositeReader::new(&body);
        let mut taken = 0;
        for part in reader.by_ref() {
            match part {
                Ok(part) => taken += 4 + part.len(),
                Err(error) => prop_assert_eq!(error.offset, taken),
            }
        }
        prop_assert_eq!(reader.remaining(), &body[taken..]);
        prop_assert!(reader.next().is_none());
    }

    #[test]
    fn field_readers_account_for_every_field(body in body_bytes(), separator in prop_oneof![Just(FIX_SEPARATOR), any::<u8>()]) {
        let ends = body.iter().filter(|byte| **byte == separator).count();
        let pieces = ends + usize::from(body.last().is_some_and(|byte| *byte != separator));
        let mut fix = FixReader::with_separator(&body, separator);
        let mut nvfix = NvfixReader::with_separator(&body, separator);
        let (tags, keys) = (fix.by_ref().count(), nvfix.by_ref().count());
        prop_assert_eq!(tags + fix.skipped(), pieces);
        prop_assert_eq!(keys + nvfix.skipped(), pieces);
        prop_assert!(tags <= keys, "every FIX field is an NVFIX field");
    }
}

#[test]
fn a_part_beyond_the_last_is_none_and_a_short_length_says_what_was_expected() {
    let body = b"\0\0\0\x01a";
    assert_eq!(CompositeReader::part(body, 1), Ok(None));
    assert_eq!(CompositeReader::part(body, 9), Ok(None));
    let error = CompositeReader::part(b"\0\0\0", 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed composite body: part 0, at byte 0: expected a length of 4 bytes, of which 3 are left"
    );
}

#[test]
fn a_cleared_builder_keeps_its_separator() {
    let mut fix = FixBuilder::with_separator(b'|').unwrap();
    fix.append(1, "a").unwrap();
    fix.clear();
    fix.append(2, "b").unwrap();
    assert_eq!(fix.as_ref(), b"2=b|");
    assert_eq!(fix.into_bytes(), b"2=b|");
    let mut nvfix = NvfixBuilder::default();
    nvfix.append("a", "1").unwrap();
    nvfix.clear();
    assert_eq!(nvfix, NvfixBuilder::new());
    assert_eq!(nvfix.append("b", "2").unwrap().as_ref(), b"b=2\x01");
    assert_eq!(nvfix.into_bytes(), b"b=2\x01");
    assert_eq!(FixBuilder::default(), FixBuilder::new());
    assert_eq!(FixBuilder::new().append(8, "FIX.4.2").unwrap().as_bytes(), b"8=FIX.4.2\x01");
    let mut composite = CompositeBuilder::default();
    assert_eq!(composite.append(b"a").unwrap().as_ref(), b"\0\0\0\x01a");
}

#[test]
fn readers_show_where_they_stand_and_not_the_body() {
    let mut composite = CompositeReader::new(b"\0\0\0\x01a\0\0\0\x01b");
    composite.next();
    assert_eq!(format!("{composite:?}"), "CompositeReader(1 parts read, 5 bytes remain)");
    let mut fix = FixReader::new(b"x\x011=a\x012=b\x01");
    fix.next();
    assert_eq!(format!("{fix:?}"), "FixReader(4 bytes remain, 1 fields skipped)");
}
