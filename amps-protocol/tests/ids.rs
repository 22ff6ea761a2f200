//! Lists of ids: each is delivered once, and a hostile list costs little.

use amps_protocol::{Id, Ids, SowKeys};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the iterator must give, by the plainest means.
fn reference(list: &[u8]) -> Vec<&[u8]> {
    let mut ids: Vec<&[u8]> = Vec::new();
    for id in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if !id.is_empty() && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

proptest! {
    #[test]
    fn every_id_comes_once_in_the_order_of_the_list(list in vec("[ ]?[a-c]{0,2}[ ]?", 0..200)) {
        let list = list.join(",").into_bytes();
        prop_assert!(Ids::new(&list).map(|id| &**id).eq(reference(&list)));
    }

    #[test]
    fn no_bytes_make_a_list_panic(list in vec(prop_oneof![Just(b','), Just(b' '), any::<u8>()], 0..200)) {
        let ids: Vec<_> = Ids::new(&list).collect();
        prop_assert!(ids.iter().all(|id| !id.is_empty() && !id.contains(&b',')));
        prop_assert!(SowKeys::new(&list).count() >= ids.len());
    }

    #[test]
    fn what_is_accepted_as_an_id_comes_back_from_a_list(texts in vec(vec(any::<u8>(), 0..6), 1..80)) {
        let texts: Vec<_> = texts.iter().filter(|text| Id::text(*text).is_ok()).map(Vec::as_slice).collect();
        let list = texts.join(&b","[..]);
        prop_assert!(texts.iter().all(|text| Ids::new(&list).any(|id| **id == **text)));
    }
}

#[test]
fn ten_thousand_ids_come_once_each() {
    let ids: Vec<String> = (0..10_000).map(|n| (n % 9_000).to_string()).collect();
    assert_eq!(Ids::new(ids.join(",").as_bytes()).count(), 9_000);
    // Repeats and gaps neither lengthen the comparisons nor grow the set.
    assert_eq!(Ids::new("1,".repeat(10_000).as_bytes()).count(), 1);
    assert_eq!(Ids::new(",".repeat(1 << 20).as_bytes()).count(), 0);
}

#[test]
fn keys_are_text_and_may_exceed_64_bits() {
    let keys: Vec<_> = SowKeys::new(b"1853097931817257202,22363879930342650852").collect();
    assert_eq!(keys, ["1853097931817257202", "22363879930342650852"], "vector V38");
}
