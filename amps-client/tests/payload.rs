//! What helps with bodies, bookmarks and versions (client.md 9), as this crate gives it.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use amps_client::ServerVersion;
use amps_client::bookmarks::{self, BookmarkRange, Position, RangeEdge};
use amps_client::payload::{
    CompositeBuilder, CompositeReader, FixBuilder, FixReader, NvfixBuilder, NvfixReader,
};

fn parts(body: &[u8]) -> Vec<&[u8]> {
    CompositeReader::new(body).map(Result::unwrap).collect()
}

/// C-9-1-1
#[test]
fn composite_messages_are_built_and_read() {
    let mut builder = CompositeBuilder::new();
    builder.append(br#"{"id":1}"#).unwrap().append([0x00, 0xff]).unwrap();
    let expected = b"\0\0\0\x08{\"id\":1}\0\0\0\x02\0\xff";
    assert_eq!(builder.as_bytes(), expected);
    assert_eq!(parts(builder.as_bytes()), [&br#"{"id":1}"#[..], b"\0\xff"]);
    builder.clear();
    assert!(parts(builder.as_bytes()).is_empty());
}

/// C-9-1-2
#[test]
fn an_empty_part_is_a_part() {
    let mut builder = CompositeBuilder::new();
    builder.append("a").unwrap().append("").unwrap().append("c").unwrap();
    assert_eq!(parts(builder.as_bytes()), [&b"a"[..], b"", b"c"]);
    assert_eq!(CompositeReader::part(builder.as_bytes(), 1), Ok(Some(&b""[..])));
}

/// C-9-1-3: and what comes before is read; and a payload that is not parsed stays as it is.
#[test]
fn a_part_that_is_cut_off_is_an_error_and_ends_the_reading() {
    let mut reader = CompositeReader::new(b"\0\0\0\x01a\0\0\0\x64short");
    assert_eq!(reader.next(), Some(Ok(&b"a"[..])));
    assert_eq!(reader.next().unwrap().unwrap_err().part, 1);
    assert_eq!(reader.next(), None);
    assert!(CompositeReader::new(b"\0\0").next().unwrap().is_err(), "not even a length");

    let mut reader = CompositeReader::new(b"\0\0\0\x01aanything at all");
    assert_eq!(reader.next(), Some(Ok(&b"a"[..])));
    assert_eq!(reader.remaining(), b"anything at all");
}

/// C-9-2-1
#[test]
fn fix_is_built_in_order() {
    let mut builder = FixBuilder::new();
    builder.append(8, "FIX.4.2").unwrap().append(35, "D").unwrap();
    assert_eq!(builder.as_bytes(), b"8=FIX.4.2\x0135=D\x01");
    assert!(builder.append(58, "a\x01b").is_err(), "it would end the field");
    let mut named = NvfixBuilder::with_separator(b'|').unwrap();
    named.append("a", "1").unwrap().append("a", "2").unwrap();
    assert_eq!(named.as_bytes(), b"a=1|a=2|");
    assert!(named.append("b=c", "1").is_err() && named.append("b|c", "1").is_err());
}

/// C-9-2-2
#[test]
fn a_value_is_everything_behind_the_first_equals_sign() {
    let fields: HashMap<u32, &[u8]> = FixReader::new(b"1=a\x012=b=c").collect();
    assert_eq!(fields, HashMap::from([(1, &b"a"[..]), (2, &b"b=c"[..])]));
    let last: HashMap<&[u8], &[u8]> = NvfixReader::new(b"k=1\x01k=2\x01").collect();
    assert_eq!(last, HashMap::from([(&b"k"[..], &b"2"[..])]), "the last of a key wins");
    assert_eq!(NvfixReader::new(b"k=1\x01k=2\x01").count(), 2, "read one by one, both are there");
}

/// C-9-2-3
#[test]
fn fields_that_are_none_are_skipped() {
    let mut reader = FixReader::new(b"x=1\x012=b\x01");
    assert_eq!(reader.by_ref().collect::<Vec<_>>(), [(2, &b"b"[..])]);
    assert_eq!(reader.skipped(), 1);
}

/// C-9-3-1
#[test]
fn versions_are_compared_by_their_numbers() {
    let version = |text: &str| text.parse::<ServerVersion>().unwrap();
    assert!(version("5.3.4.9") < version("5.3.10.1"));
    assert!(version("5.3.10.1") > version("5.3.4.99"));
    assert_eq!(version("5.3.4.12").numbers(), [5, 3, 4, 12]);
}

/// C-9-3-2
#[test]
fn ranges_of_bookmarks_are_read_and_written() {
    let text = "[20200604T000000:20200605T000000)";
    let range: BookmarkRange = text.parse().unwrap();
    assert_eq!((range.start_edge(), range.end_edge()), (RangeEdge::Included, RangeEdge::Excluded));
    assert_eq!(range.to_string(), text);
    assert!("[20200604T000000:20200605T000000".parse::<BookmarkRange>().is_err());
}

/// C-9-3-3
#[test]
fn a_moment_is_a_bookmark() {
    let moment = UNIX_EPOCH + Duration::from_secs(1_420_202_100);
    let bookmark = bookmarks::at(moment);
    assert_eq!(bookmark.to_string(), "20150102T123500Z");
    assert_eq!(bookmark.position(), Position::Timestamp(1_420_202_100_000_000_000));
    assert_eq!(bookmarks::at(moment + Duration::from_millis(250)).to_string(), "20150102T123500.250000Z");
    assert_eq!(bookmarks::at(UNIX_EPOCH - Duration::from_secs(1)), bookmarks::at(UNIX_EPOCH));
}
