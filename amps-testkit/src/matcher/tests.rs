//! What a matcher accepts, and how it says what is different.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::Message;
use serde_json::json;

use super::*;

fn differences(matcher: &Matcher, frame: &str) -> Vec<String> {
    let message = Message::decode(frame.as_bytes()).unwrap();
    matcher.differences(Some("app-1"), 2, &message).iter().map(ToString::to_string).collect()
}

const FRAME: &str = r#"{"c":"p","t":"orders","s":7,"sids":"1,4","zz":1.5,"o":"a,b"}{"id":1,"qty":9}"#;

#[test]
fn everything_that_is_named_has_to_hold() {
    let accepted = [
        Matcher::any(),
        Matcher::command(CommandKind::Subscribe).or_command(CommandKind::Publish),
        Matcher::any().client("^app").connection(2).topic("orders").topic_matching("^o").sub_id("4"),
        Matcher::any().header_is("s", "7").header_is("zz", "1.5"),
        Matcher::any().header("o", HeaderTest::Contains("a,".into())).header("x", HeaderTest::Absent),
        Matcher::any().header("topic", HeaderTest::Present),
        Matcher::any()
            .body(r#"{"id":1,"qty":9}"#)
            .body_json(json!({"qty": 9, "id": 1}))
            .body_filter("/qty > 5"),
    ];
    for matcher in accepted {
        assert_eq!(differences(&matcher, FRAME), Vec::<String>::new(), "{matcher}");
    }
}

#[test]
fn each_difference_names_what_was_expected_and_found() {
    let matcher = Matcher::command(CommandKind::Subscribe)
        .client("^b")
        .connection(1)
        .topic("T")
        .topic_matching("^x")
        .sub_id("9")
        .header_is("s", "8")
        .header("o", HeaderTest::Absent)
        .header("x", HeaderTest::Present)
        .body_json(json!({"id": 2}));
    let expected = [
        "command: expected subscribe, found \"p\"",
        "client: expected a match for \"^b\", found \"app-1\"",
        "connection: expected 1, found 2",
        "topic: expected \"T\", found \"orders\"",
        "topic: expected a match for \"^x\", found \"orders\"",
        "subscription: expected \"9\", found \"1,4\"",
        "s: expected \"8\", found \"7\"",
        "o: expected none, found \"a,b\"",
        "x: expected anything, found none",
        "body: expected the JSON {\"id\":2}, found \"{\"id\":1,\"qty\":9}\"",
    ];
    assert_eq!(differences(&matcher, FRAME), expected);
}

#[test]
fn the_json_form_says_the_same() {
    let matcher = Matcher::command(CommandKind::Publish)
        .or_command(CommandKind::Ack)
        .sent()
        .client("^app")
        .connection(1)
        .topic("T")
        .topic_matching("^T")
        .sub_id("s")
        .header("a", HeaderTest::Contains("p".into()))
        .header("b", HeaderTest::Present)
        .header("c", HeaderTest::Absent)
        .header_is("d", "absent")
        .body(b"\xff")
        .body_json(json!([1]))
        .body_filter("/a = 1")
        .message_type("fix");
    let json = matcher.to_json();
    assert_eq!(Matcher::from_json(&json), Ok(matcher), "{json}");
}

#[test]
fn errors_name_the_key() {
    for (form, error) in [
        (json!({"command": "publsh"}), "command: there is no command \"publsh\"; the closest is \"flush\""),
        (json!({"header": 1}), "header: expected an object, found 1"),
        (json!({"header": {"a": {"has": "x"}}}), "header.a: there is no \"has\"; the closest is \"equals\""),
        (json!({"body": {"xml": ""}}), "body.xml: there is no \"xml\"; write one of text, json, filter"),
        (json!({"connection": -1}), "connection: expected a number, 0 or more, found -1"),
        (json!("publish"), ": expected an object, found \"publish\""),
    ] {
        let found = Matcher::from_json(&form).unwrap_err().to_string();
        assert!(found.starts_with(error.split(';').next().unwrap()), "{found}");
    }
    assert!(Matcher::from_json(&json!({"client": "("})).unwrap_err().to_string().contains("client"));
    assert!(Matcher::from_json(&json!({"body": {"filter": "/a &&"}})).is_err());
    assert!(Matcher::any().topic_matching("(").check().is_err());
}
