//! Message formats on any input: nothing fails, deltas add up, select lists are stable.

use amps_protocol::CompositeBuilder;
use amps_testkit::filter::{DeltaNull, Document, Field, Format, Path, Select, Value};
use proptest::prelude::*;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn parts<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let mut body = CompositeBuilder::new();
    for part in parts {
        body.append(part).unwrap();
    }
    body.into_bytes()
}

fn shown(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

/// JSON objects with few names, so that two of them have much in common.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-3..3_i64).prop_map(Into::into),
        Just(serde_json::json!(1.5)),
        "[a1é]{0,2}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[abcd]", value, 0..4)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

/// The new value with everything that only the old one has, as merging would.
fn nothing_removed(old: &serde_json::Value, new: &serde_json::Value) -> serde_json::Value {
    let (serde_json::Value::Object(old), serde_json::Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut all = old.clone();
    for (key, value) in new {
        let merged = old.get(key).map_or_else(|| value.clone(), |old| nothing_removed(old, value));
        all.insert(key.clone(), merged);
    }
    serde_json::Value::Object(all)
}

fn select_list() -> impl Strategy<Value = Select> {
    prop::collection::vec(("[+-]", "(/[abcd]){1,3}|/"), 0..5).prop_map(|entries| {
        let entries: Vec<String> =
            entries.into_iter().map(|(sign, field)| format!("{sign}{field}")).collect();
        Select::parse(&format!("[{}]", entries.join(","))).unwrap()
    })
}

fn formats() -> Vec<Format> {
    let types = ["json", "xml", "nvfix"];
    vec![
        Format::Json,
        Format::Fix { separator: b'|' },
        Format::Nvfix { separator: b'|' },
        Format::Xml,
        Format::composite_local(types),
        Format::composite_global(types),
        Format::Opaque,
    ]
}

/// Bodies that are nearly something.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..48),
        r#"[{}\[\]",:0-9a\\u. ]{0,40}"#.prop_map(String::into_bytes),
        r#"(<(/?[ab]|a b='1?'|!--|!\[CDATA\[|/)>?|&(amp|#65|x);|[ x]|-->|\]\]>){0,12}"#
            .prop_map(String::into_bytes),
        "[0-9a=|]{0,24}".prop_map(String::into_bytes),
        json().prop_map(|value| value.to_string().into_bytes()),
        xml().prop_map(String::into_bytes),
        prop::collection::vec(json(), 0..3).prop_map(|values| {
            parts(&values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>())
        }),
    ]
}

/// Well-formed XML of few names.
fn xml() -> impl Strategy<Value = String> {
    let leaf = ("[ab]", "[xy ]{0,2}").prop_map(|(name, text)| format!("<{name}>{text}</{name}>"));
    let element = leaf.prop_recursive(3, 16, 3, |inner| {
        ("[ab]", "( k='[12]')?", prop::collection::vec(inner, 0..3))
            .prop_map(|(name, attribute, inside)| format!("<{name}{attribute}>{}</{name}>", inside.concat()))
    });
    prop::collection::vec(element, 0..3).prop_map(|inside| format!("<a>{}</a>", inside.concat()))
}

proptest! {
    #[test]
    fn merging_the_difference_gives_the_new_record(old in json(), new in json()) {
        let new = nothing_removed(&old, &new);
        let (old_text, new_text) = (old.to_string(), new.to_string());
        let change = Format::Json.difference(old_text.as_bytes(), new_text.as_bytes(), &[], true);
        let merged = Format::Json.merge(old_text.as_bytes(), &change.body, DeltaNull::SetNull);
        let merged: serde_json::Value = serde_json::from_slice(&merged).unwrap();
        prop_assert_eq!(&merged, &new);
        prop_assert_eq!(change.changed, old != new);
        if !change.changed {
            prop_assert_eq!(change.body, b"{}");
        }
    }

    #[test]
    fn merging_keeps_what_the_delta_does_not_name(old in json(), delta in json()) {
        let merged = Format::Json.merge(old.to_string().as_bytes(), delta.to_string().as_bytes(), DeltaNull::SetNull);
        let merged: serde_json::Value = serde_json::from_slice(&merged).unwrap();
        prop_assert_eq!(merged, nothing_removed(&old, &delta));
    }

    #[test]
    fn a_delta_of_xml_gives_the_new_record(old in xml(), new in xml()) {
        let new = Format::Xml.merge(old.as_bytes(), new.as_bytes(), DeltaNull::Keep);
        let change = Format::Xml.difference(old.as_bytes(), &new, &[], true);
        prop_assert!(Format::Xml.parses(&change.body));
        let merged = Format::Xml.merge(old.as_bytes(), &change.body, DeltaNull::Keep);
        prop_assert!(Format::Xml.parses(&merged));
        let rest = Format::Xml.difference(&merged, &new, &[], true);
        prop_assert!(!rest.changed, "{} {} {}", old, shown(new), shown(change.body));
    }

    #[test]
    fn selecting_twice_is_selecting_once(body in body(), select in select_list()) {
        for format in formats() {
            let once = format.select(&body, &select);
            prop_assert_eq!(format.select(&once, &select), once, "{:?}", format);
        }
    }

    #[test]
    fn a_union_delivers_what_each_list_delivers(value in json(), lists in prop::collection::vec(select_list(), 1..3)) {
        let body = value.to_string();
        let union = Format::Json.select(body.as_bytes(), &Select::union(&lists));
        for list in &lists {
            let alone = Format::Json.select(body.as_bytes(), list);
            prop_assert_eq!(Format::Json.select(&union, list), alone);
        }
    }

    #[test]
    fn no_body_makes_anything_fail(one in body(), two in body(), select in select_list()) {
        let keys = ["/a", "/0/a/@k", "/a/b[1]"].map(path);
        for format in formats() {
            for null in [DeltaNull::Keep, DeltaNull::SetNull] {
                let merged = format.merge(&one, &two, null);
                prop_assert!(!format.parses(&one) || !format.parses(&two) || format.parses(&merged), "{:?}", format);
            }
            let change = format.difference(&one, &two, &keys, true);
            prop_assert!(!format.parses(&one) || !format.parses(&two) || format.parses(&change.body), "{:?}", format);
            let selected = format.select(&one, &select);
            prop_assert!(!format.parses(&one) || format.parses(&selected), "{:?}", format);
            let fields = [(path("/a/b"), Field::string(two.clone()))];
            prop_assert!(format.parses(&format.compose(&fields)), "{:?}", format);
            let _ = (format.set(&one, &fields), format.key_texts(&one, &keys));
        }
    }

    #[test]
    fn composed_json_is_json(text in prop::collection::vec(any::<u8>(), 0..16), float in any::<f64>()) {
        let fields = [(path("/a/s"), Field::string(text)), (path("/a/f"), Field::new(Value::Float(float)))];
        let body = Format::Json.compose(&fields);
        let document = Format::Json.read(&body);
        prop_assert!(document.parses());
        let mut found = Vec::new();
        document.look_up(&path("/a/s"), &mut found);
        prop_assert_eq!(found[0].value(), fields[0].1.value());
    }
}
