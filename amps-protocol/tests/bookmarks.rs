//! Bookmarks: what is printed parses back, and the order within a publisher is total.

use amps_protocol::{
    Bookmark, BookmarkFault, BookmarkList, BookmarkRange, MessageId, Position, RangeEdge, ReplayFrom,
};
use core::cmp::Ordering;
use proptest::collection::vec;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = MessageId> {
    // Few publishers, so that they meet; all numbers, so that the ends are there.
    let number = || prop_oneof![0u64..4, Just(u64::MAX), any::<u64>()];
    (number(), number()).prop_map(|(publisher, sequence)| MessageId { publisher, sequence })
}

fn bookmark() -> impl Strategy<Value = Bookmark> {
    prop_oneof![
        6 => id().prop_map(Bookmark::from),
        1 => Just(Bookmark::epoch()),
        1 => Just(Bookmark::now()),
        1 => any::<u64>().prop_map(Bookmark::at),
        1 => vec(any::<u8>(), 0..8).prop_map(|bytes| Bookmark::from(&bytes[..])),
    ]
}

fn list() -> impl Strategy<Value = BookmarkList> {
    vec(bookmark(), 0..8).prop_map(|bookmarks| {
        let mut list = BookmarkList::new();
        for bookmark in bookmarks {
            let _ = list.push(bookmark);
        }
        list
    })
}

fn edge() -> impl Strategy<Value = RangeEdge> {
    prop_oneof![Just(RangeEdge::Included), Just(RangeEdge::Excluded)]
}

fn replay() -> impl Strategy<Value = ReplayFrom> {
    let range = (list(), edge(), list(), edge())
        .prop_filter_map("both sides", |(start, left, end, right)| {
            Some(BookmarkRange::new(start, end).ok()?.with_edges(left, right).into())
        });
    prop_oneof![list().prop_map(ReplayFrom::from), range]
}

fn bytes<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    pieces.collect::<Vec<_>>().concat()
}

proptest! {
    #[test]
    fn a_printed_message_id_parses_back(id in id()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert!(id.encode(&mut [0; MessageId::MAX_LEN]) == id.to_string().as_bytes());
    }

    #[test]
    fn whatever_is_sent_parses_back(replay in replay()) {
        let sent = bytes(replay.pieces());
        prop_assert_eq!(ReplayFrom::parse(&sent), Ok(replay.clone()));
        prop_assert_eq!(replay.to_string(), String::from_utf8_lossy(&sent).into_owned());
    }

    #[test]
    fn the_order_of_one_publisher_is_total_and_there_is_none_across(a in id(), b in id(), c in id()) {
        prop_assert_eq!(a.compare(&b).is_some(), a.publisher == b.publisher);
        prop_assert_eq!(a.compare(&b), b.compare(&a).map(Ordering::reverse));
        prop_assert_eq!(a.compare(&b) == Some(Ordering::Equal), a == b);
        let [a, b, c] = [a, b, c].map(|id| MessageId { publisher: 7, ..id });
        let below = |left: &MessageId, right| left.compare(right).unwrap().is_le();
        prop_assert!(below(&a, &b) || below(&b, &a));
        prop_assert!(!(below(&a, &b) && below(&b, &c)) || below(&a, &c));
    }

    #[test]
    fn a_list_holds_the_lowest_message_of_each_publisher(ids in vec(id(), 0..40)) {
        let messages = ids.iter().filter(|id| (id.publisher, id.sequence) != (0, 1));
        let list: BookmarkList = messages.clone().copied().collect();
        for id in messages {
            let kept = list.get(id.publisher).unwrap();
            prop_assert!(kept.sequence <= id.sequence && ids.contains(&kept));
        }
        let mut publishers: Vec<u64> = list.iter().filter_map(|b| Some(b.message_id()?.publisher)).collect();
        publishers.sort_unstable();
        publishers.dedup();
        prop_assert_eq!(publishers.len(), list.len());
    }

    #[test]
    fn merging_twice_changes_nothing_more(a in list(), b in list()) {
        let mut once = a.clone();
        once.merge(&b);
        let mut twice = once.clone();
        twice.merge(&b);
        twice.merge(&a);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_moment_is_kept_to_the_microsecond(nanos in any::<u64>()) {
        prop_assert_eq!(Bookmark::at(nanos).position(), Position::Timestamp(nanos / 1000 * 1000));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(text in vec(any::<u8>(), 0..60), near in r"[\[(]?[0-9|,:T. ]{0,30}[\])]?") {
        for text in [&text[..], near.as_bytes()] {
            let _ = (MessageId::parse(text), BookmarkRange::parse(text), Bookmark::from(text).position());
            if let Ok(replay) = ReplayFrom::parse(text) {
                prop_assert_eq!(ReplayFrom::parse(&bytes(replay.pieces())), Ok(replay));
            }
        }
    }
}

#[test]
fn a_bookmark_of_a_store_that_knows_nothing_is_the_start_of_the_log() {
    assert_eq!(ReplayFrom::from(BookmarkList::new()), ReplayFrom::epoch());
    assert_eq!(ReplayFrom::epoch().position(), Some(Position::Epoch));
}

#[test]
fn most_recent_never_reaches_the_wire() {
    for text in ["recent", "RECENT", " most_recent ", "1|2|,recent", "[recent:0|1|]"] {
        let error = text.parse::<ReplayFrom>().unwrap_err();
        assert_eq!(error.fault, BookmarkFault::MostRecent, "{text}");
        assert!(error.to_string().contains("bookmark store"), "{error}");
    }
    assert!(ReplayFrom::try_from(Bookmark::from("recent")).is_err());
}

#[test]
fn ten_thousand_publishers_make_one_list() {
    let text = (0..10_000).map(|publisher| format!("{publisher}|9|")).collect::<Vec<_>>().join(",");
    let list: BookmarkList = text.parse().unwrap();
    assert_eq!(list.len(), 10_000);
    assert_eq!(list.to_string(), text);
}

#[test]
fn every_fault_says_in_words_what_was_expected_and_where() {
    let message = |text: &str| MessageId::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(message("x"), "invalid bookmark at byte 0: expected the publisher's number");
    assert_eq!(message("12"), "invalid bookmark at byte 2: expected '|' after the publisher's number");
    assert_eq!(message("12|"), "invalid bookmark at byte 3: expected the sequence number after '|'");
    assert_eq!(message("99999999999999999999|"), "invalid bookmark at byte 0: the number exceeds 64 bits");
    assert_eq!(message("1|2|3"), "invalid bookmark at byte 4: expected the end of the bookmark");
    let replay = |text: &str| text.parse::<ReplayFrom>().unwrap_err().to_string();
    assert_eq!(replay("1|2|,"), "invalid bookmark at byte 5: expected a bookmark, found nothing");
    assert_eq!(
        replay("1|2|, a b"),
        "invalid bookmark at byte 7: a bookmark cannot hold blanks, control bytes, ',', ':' or brackets"
    );
    assert_eq!(
        replay("[0)"),
        "invalid bookmark at byte 2: expected ':' between the start and the end of the range"
    );
    assert_eq!(replay("[:0)"), "invalid bookmark at byte 1: expected the start of the range before ':'");
    assert_eq!(replay("[0:)"), "invalid bookmark at byte 3: expected the end of the range after ':'");
    assert_eq!(replay("[0:1|2|"), "invalid bookmark at byte 7: expected ']' or ')' at the end of the range");
    assert_eq!(
        "0:1|2|".parse::<BookmarkRange>().unwrap_err().to_string(),
        "invalid bookmark at byte 0: expected '[' or '(', with which every range begins"
    );
}

#[test]
fn bookmarks_and_what_is_made_of_them_show_themselves_as_they_are_sent() {
    let bookmark = Bookmark::from(bytes::Bytes::from_static(b"12|5|"));
    assert_eq!(bookmark, Bookmark::from(amps_protocol::BStr::new("12|5|")));
    assert_eq!(format!("{bookmark:?}"), "Bookmark(12|5|)");
    let list = BookmarkList::try_from(bookmark).unwrap();
    assert_eq!(format!("{list:?}"), "BookmarkList(12|5|)");
    let range = BookmarkRange::new(list.clone(), list.clone()).unwrap();
    assert_eq!(format!("{range:?}"), "BookmarkRange([12|5|:12|5|))");
    assert_eq!((range.start(), range.start_edge()), (&list, RangeEdge::Included));
    assert_eq!((range.end(), range.end_edge()), (&list, RangeEdge::Excluded));
    assert_eq!(format!("{:?}", ReplayFrom::from(range)), "ReplayFrom([12|5|:12|5|))");
    assert_eq!(format!("{:?}", ReplayFrom::from(list)), "ReplayFrom(12|5|)");
}

#[test]
fn a_replay_from_one_place_knows_which_and_from_several_does_not() {
    let id = MessageId { publisher: 12, sequence: 5 };
    assert_eq!(ReplayFrom::from(id).position(), Some(Position::Message(id)));
    let second = 1_420_202_100_000_000_000;
    assert_eq!(ReplayFrom::at(second).position(), Some(Position::Timestamp(second)));
    assert_eq!(ReplayFrom::at(second).to_string(), "20150102T123500Z");
    for text in ["1|2|,3|4|", "[0:1|2|]"] {
        assert_eq!(text.parse::<ReplayFrom>().unwrap().position(), None, "{text}");
    }
    let single = ReplayFrom::try_from(Bookmark::from("12|5")).unwrap();
    assert_eq!(single, ReplayFrom::from(id));
    assert_eq!((single.list().map(BookmarkList::len), single.range()), (Some(1), None));
}
