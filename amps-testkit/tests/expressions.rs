//! The expression language: the vectors of the specification, and its properties.

mod support;

use amps_protocol::CompositeBuilder;
use amps_testkit::filter::{
    Context, Dialect, Document, DuplicateKeys, Filter, FilterError, Format, JsonDocument, NullLogic, Value,
    evaluate,
};
use amps_testkit::{FakeServer, MessageLayout, MessageTypeConfig};
use proptest::prelude::*;
use support::in_process::InProcess;
use support::stage::Stage;

const D1: &[u8] = include_bytes!("data/expressions-json-d1.json");
const D2: &str = "8=FIX.4.4|35=D|34=7|9=7|55=IBM|44=90.25|38=1000|109=usTRADE|58=";
const D3: &str = r#"<Order update="full"><ClientID>12345</ClientID><Symbol>IBM</Symbol><OrderQty>1000</OrderQty><Fill px="90.5">a</Fill><Fill px="91.0">b</Fill></Order>"#;

/// The result in the notation of the vectors.
fn result(text: &str, document: &dyn Document) -> String {
    let Ok(filter) = Filter::parse(text) else { return String::from("E") };
    let context = Context::default();
    let value = evaluate(&filter, document, &context);
    let matches = filter.matches(document, &context);
    assert_eq!(matches, value.truth() == Some(true), "matches and evaluate differ: {text}");
    match value {
        Value::Null => String::from("N"),
        Value::Bool(true) => String::from("T"),
        Value::Bool(false) => String::from("F"),
        Value::String(bytes) => format!("'{}'", String::from_utf8_lossy(&bytes)),
        number => String::from_utf8_lossy(&number.into_text()).into_owned(),
    }
}

fn d1(text: &str) -> String {
    result(text, &JsonDocument::new(D1))
}

fn message(text: &str) -> String {
    Filter::parse(text).unwrap_err().to_string()
}

/// The document D4: two parts of JSON and one of bytes.
fn d4() -> Vec<u8> {
    let mut body = CompositeBuilder::new();
    body.append(br#"{"id":1,"note":"first part","kind":"sample"}"#).unwrap();
    body.append(br#"{"note":"second part","owner":"Acme"}"#).unwrap();
    body.append(b"\xde\xad").unwrap();
    body.into_bytes()
}

#[test]
fn vectors() {
    let d4_parts = ["json", "json", "binary"];
    let cases: [(Format, Vec<u8>, &str); 5] = [
        (Format::of("json"), D1.to_vec(), include_str!("data/expressions-json.txt")),
        (Format::of("fix"), D2.replace('|', "\x01").into_bytes(), include_str!("data/expressions-fix.txt")),
        (Format::of("xml"), D3.as_bytes().to_vec(), include_str!("data/expressions-xml.txt")),
        (Format::composite_global(d4_parts), d4(), include_str!("data/expressions-composite-global.txt")),
        (Format::composite_local(d4_parts), d4(), include_str!("data/expressions-composite-local.txt")),
    ];
    let mut numbers = Vec::new();
    let mut wrong = Vec::new();
    for (format, body, vectors) in cases {
        let document = format.read(&body);
        assert!(document.parses(), "{format:?}");
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.splitn(3, '\t');
            let [Some(number), Some(expected), Some(text)] = [columns.next(), columns.next(), columns.next()]
            else {
                panic!("three columns wanted: {line}");
            };
            numbers.push(number.parse::<u32>().unwrap());
            let got = result(text, &document);
            if got != expected {
                wrong.push(format!("{number}: {text}: expected {expected}, got {got}"));
            }
        }
    }
    assert!(numbers.into_iter().eq(1..=167));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_document_without_fields_matches_no_field() {
    let body = Format::of("binary").read(b"{\"id\":42}");
    assert_eq!(result("/id IS NULL", &body), "T");
    assert_eq!(result("/id = 42", &body), "F");
}

#[test]
fn an_error_says_where_and_what() {
    let after = "expected an operator or the end of the expression near";
    assert_eq!(message("/a = 1 && /b = 2"), format!("{after} '&&' at offset 7 (AMPS writes AND)"));
    assert_eq!(message("/a ~ 'x'"), format!("{after} '~' at offset 3 (AMPS writes LIKE)"));
    assert_eq!(message("/a = 1 = 2"), format!("{after} '=' at offset 7 (comparisons cannot be chained)"));
    assert_eq!(message("1 /b"), format!("{after} '/b' at offset 2 (to divide, put a blank after the '/')"));
    assert_eq!(
        message("/a ="),
        "expected a field, a literal or a function near the end of the text at offset 4"
    );
    assert_eq!(
        message("a = 1"),
        "expected a field, a literal or a function near 'a' at offset 0 \
         (a field is written /name, a string in quotes)"
    );
    assert_eq!(message("/a = 'x"), "the string that starts at offset 5 has no closing quote");
    assert_eq!(message("FOO(1)"), "unknown function 'FOO' at offset 0");
    assert_eq!(message("UPPER()"), "function UPPER at offset 0 takes 1 argument, not 0");
    assert_eq!(message("/a = 1x"), "'1x' at offset 5 is not a number");
    assert!(message("/a LIKE '('").starts_with("the pattern at offset 8 is not a regular expression: "));
    assert!(message("/a OF PREVIOUS = 1").ends_with("cannot be used in a filter or in preprocessing"));
    for aggregate in ["SUM", "avg", "Count", "MIN", "MAX", "ANY", "COUNT_DISTINCT"] {
        let error = Filter::parse(&format!("{aggregate}(/a) > 1")).unwrap_err();
        assert!(matches!(error, FilterError::Aggregate { .. }), "{error}");
    }
    assert!(message("[orders]./a = 1").ends_with("cannot be used in a filter or in preprocessing"));
    for absent in ["LAST_READ('t')", "VALUE_LOOKUP('t')"] {
        assert!(matches!(Filter::parse(absent), Err(FilterError::UnknownFunction { .. })), "{absent}");
    }
}

#[test]
fn hostile_nesting_and_length_are_errors() {
    for opening in ["(", "NOT ", "- ", "IF(", "1 IN ("] {
        let error = Filter::parse(&opening.repeat(20_000)).unwrap_err();
        assert!(matches!(error, FilterError::TooDeep { .. }), "{opening}: {error}");
    }
    // As deep as it may be, in a thread of the usual size and without optimisation.
    for (opening, closing, expected) in [
        ("(", ")", "1"),
        ("NOT ", "", "F"),
        ("- ", "", "-1"),
        ("IF(TRUE, ", ", 2)", "1"),
        ("1 IN (", ")", "T"),
        ("1 + CONCAT(", ")", "64"),
    ] {
        let nested = format!("{}1{}", opening.repeat(63), closing.repeat(63));
        assert_eq!(d1(&nested), expected, "{opening}");
    }
    assert!(matches!(Filter::parse(&" ".repeat(300_000)), Err(FilterError::TooLong { .. })));
    assert_eq!(d1(&format!("1{}", " + 1".repeat(50_000))), "50001");
    assert_eq!(d1(&format!("1 = 1{}", " AND 1".repeat(40_000))), "T");
    assert_eq!(result("/a IS NULL", &JsonDocument::new(&b"[".repeat(1_000_000))), "T");
}

#[test]
fn json_access() {
    let twice = br#"{"c":1,"c":2}"#;
    assert_eq!(result("/c", &JsonDocument::new(twice)), "1");
    assert_eq!(result("/c", &JsonDocument::with_duplicates(twice, DuplicateKeys::Last)), "2");
    let document =
        JsonDocument::new(br#"{"p":99.50,"u":"\u00e9\ud83d\ude00","a":[null,[1,{"b":7}]],"e":1e3}"#);
    assert_eq!(result("CONCAT(/p, '')", &document), "'99.50'");
    assert_eq!(result("/p LIKE '50$'", &document), "T");
    assert_eq!(result("/u", &document), "'é😀'");
    assert_eq!(result("ARRAY_COUNT(/a)", &document), "2");
    assert_eq!(result("/a/b", &document), "7");
    assert_eq!(result("/e = 1000", &document), "T");
    for bad in ["", "{", r#"{"a":1}x"#, r#"{"a":01}"#, r#"{"a":1,}"#, r#"{"a":"\x"}"#, r#"{"a":"\ud8"}"#] {
        assert_eq!(result("/a IS NULL", &JsonDocument::new(bad.as_bytes())), "T", "{bad}");
    }
    assert_eq!(result("/a LIKE '^.$'", &JsonDocument::new(b"{\"a\":\"\xff\"}")), "T");
}

#[test]
fn patterns() {
    for (pattern, subject, expected) in [
        (r"(.)\1", "balloon", "T"),
        (r"(.)\1", "abc", "F"),
        ("^(?!x).*$", "xy", "F"),
        ("^(?!x).*$", "yx", "T"),
    ] {
        assert_eq!(d1(&format!("'{subject}' LIKE '{pattern}'")), expected, "{pattern} {subject}");
    }
    assert_eq!(d1("REGEXP_MATCH(/text, 'Q[a-z]+')"), "'Quick'");
    assert_eq!(d1("REGEXP_REPLACE(/text, '[a-z]+', '.')"), "'T. Q. B. F.'");
}

/// SUB-10: this flag decides where such a filter may stand.
#[test]
fn a_filter_that_asks_for_the_time_is_known_as_one() {
    let clock = Filter::parse("UNIX_TIMESTAMP() > 0").unwrap();
    assert!(!clock.is_deterministic());
    let context = Context { now: std::time::Duration::from_secs(1), ..Context::default() };
    assert!(clock.matches(&JsonDocument::new(b"{}"), &context));
}

/// AC-EXP-06
#[test]
fn of_equal_keys_the_first_counts_or_the_last() {
    let twice = br#"{"c":1,"c":2}"#;
    for (duplicates, first, second) in [(DuplicateKeys::First, "T", "F"), (DuplicateKeys::Last, "F", "T")] {
        let document = JsonDocument::with_duplicates(twice, duplicates);
        assert_eq!((result("/c = 1", &document), result("/c = 2", &document)), (first.into(), second.into()));
    }
}

#[test]
fn functions() {
    for (text, expected) in [
        ("CRC32('123456789')", "3421780262"),
        ("STRFTIME('%Y-%m-%d %H:%M:%S.%03f', 1709210096.25)", "'2024-02-29 12:34:56.250'"),
        ("STRFTIME('%a %j %U %p %f', 0)", "'Thu 001 00 AM 000000'"),
        ("STRPTIME('2024-02-29 12:34:56', '%Y-%m-%d %H:%M:%S')", "1709210096"),
        ("STRPTIME('31 Feb 2024', '%d %b %Y')", "N"),
        ("LENGTH(/name)", "6"),
        ("ROUND(2.345, 2)", "2.35"),
        ("ROUND(-2.5)", "-3"),
        ("CHAR_VALUE(65)", "'A'"),
        ("CHAR_VALUE(256)", "N"),
        ("UPPER(/missing)", "N"),
        ("9223372036854775807 + 1", "9223372036854775808"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615 * 18446744073709551615 > 1e38", "T"),
        ("ARRAY_SUM(/missing)", "N"),
        ("ARRAY_TO_STRING(/missing, ',', '?')", "N"),
        ("TOPIC_NAME()", "N"),
        ("MESSAGE_SIZE()", "0"),
        ("LAST_UPDATED() = UNIX_TIMESTAMP()", "T"),
        ("GEO_DISTANCE(/id, /neg, /id, /neg)", "0"),
        ("ROUND(GEO_DISTANCE(0, 0, 0, 180) / 1000)", "20015"),
        ("GEO_DISTANCE(0, 0, /missing, 0)", "N"),
        ("GEO_DISTANCE(0, 0, 'x', 0) IS NAN", "T"),
    ] {
        assert_eq!(d1(text), expected, "{text}");
    }
    assert!(!Filter::parse("unix_timestamp() > 0").unwrap().is_deterministic());
    assert!(Filter::parse("/a > 0").unwrap().is_deterministic());
}

#[test]
fn truth_tables() {
    // left, right, AND and OR of AMPS, AND and OR of SQL
    let table = [
        ("FALSE", "FALSE", "FFFF"),
        ("FALSE", "NULL", "FNFN"),
        ("FALSE", "TRUE", "FTFT"),
        ("NULL", "FALSE", "NNFN"),
        ("NULL", "NULL", "NNNN"),
        ("NULL", "TRUE", "NNNT"),
        ("TRUE", "FALSE", "FTFT"),
        ("TRUE", "NULL", "NTNT"),
        ("TRUE", "TRUE", "TTTT"),
    ];
    let sql = Dialect { null_logic: NullLogic::Sql, ..Dialect::default() };
    for (left, right, expected) in table {
        let got: String = [Dialect::default(), sql]
            .into_iter()
            .flat_map(|dialect| ["AND", "OR"].map(|operator| (dialect, operator)))
            .map(|(dialect, operator)| {
                let filter =
                    Filter::parse_in(&format!("{left} {operator} {right}"), &dialect.into()).unwrap();
                match evaluate(&filter, &JsonDocument::new(b"{}"), &Context::default()) {
                    Value::Null => 'N',
                    value => {
                        if value == Value::Bool(true) {
                            'T'
                        } else {
                            'F'
                        }
                    }
                }
            })
            .collect();
        assert_eq!(got, expected, "{left} {right}");
    }
    assert_eq!((d1("NOT TRUE"), d1("NOT FALSE"), d1("NOT NULL")), ("F".into(), "T".into(), "N".into()));
}

#[test]
fn a_filter_can_be_shared() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let filter = Filter::parse("/a LIKE 'x'").unwrap();
    shared(&filter);
    assert_eq!(filter.clone().text(), "/a LIKE 'x'");
}

/// Expressions that parse, mostly; the words are glued by blanks.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "/id",
        "/nums",
        "/missing",
        "/none",
        "/name",
        "/big",
        "/tags[1]",
        "/flag",
        "NULL",
        "TRUE",
        "'x'",
        "''",
        "0",
        "-9223372036854775808",
        "18446744073709551615",
        "1e308",
        "NAN_VALUE()",
        "'12'",
        "0.5",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 32, 3, |inner| {
        let operators = vec!["+", "-", "*", "/", "%", "=", "!=", "<", ">=", "AND", "OR"];
        let calls = vec!["SUBSTR", "ROUND", "STRFTIME", "INSTR", "STRPTIME", "COALESCE"];
        let single = vec!["NOT", "-", "ABS", "CHAR_VALUE", "ARRAY_MAX", "ARRAY_SUM", "CRC32", "REVERSE"];
        prop_oneof![
            (inner.clone(), prop::sample::select(operators), inner.clone())
                .prop_map(|(left, operator, right)| format!("({left}) {operator} ({right})")),
            (prop::sample::select(single), inner.clone()).prop_map(|(name, of)| format!("{name} ({of})")),
            (prop::sample::select(calls), inner.clone(), inner.clone())
                .prop_map(|(name, first, second)| format!("{name}({first}, {second})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(of, low, high)| format!("({of}) BETWEEN ({low}) AND ({high})")),
            (inner.clone(), inner).prop_map(|(of, member)| format!("({of}) NOT ENDS WITH ({member})")),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn parsing_almost_an_expression_never_panics(text in r#"[/a\[\]0-9'"\\xré (),.=<>&@LIKEINOT-]{0,40}"#) {
        let _ = d1(&text);
    }

    #[test]
    fn patterns_never_panic(pattern in r"[ab()\[\]{}^$*+?|\\QEh0-9&~:é.-]{0,20}", subject in "[ab0é\n]{0,10}") {
        let _ = d1(&format!("'{subject}' LIKE '{pattern}'"));
    }

    #[test]
    fn evaluating_never_panics(text in expression()) {
        prop_assert!(d1(&text) != "E", "{text}");
    }

    #[test]
    fn any_payload_is_a_document(payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = result("/a/b[1] = 1", &JsonDocument::new(&payload));
    }
}

/// AC-EXP-01, AC-EXP-02: every vector is a filter of a live subscription.
#[test]
fn vectors_as_filters_of_subscriptions() {
    let d4_parts = || vec!["json".to_owned(), "json".to_owned(), "binary".to_owned()];
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("json", D1.to_vec(), include_str!("data/expressions-json.txt")),
        ("fix", D2.replace('|', "\x01").into_bytes(), include_str!("data/expressions-fix.txt")),
        ("xml", D3.as_bytes().to_vec(), include_str!("data/expressions-xml.txt")),
        ("global", d4(), include_str!("data/expressions-composite-global.txt")),
        ("local", d4(), include_str!("data/expressions-composite-local.txt")),
    ];
    let mut subscribed = 0;
    for (message_type, body, vectors) in cases {
        let builder = FakeServer::builder()
            .message_type(MessageTypeConfig::new("global", MessageLayout::CompositeGlobal(d4_parts())))
            .message_type(MessageTypeConfig::new("local", MessageLayout::CompositeLocal(d4_parts())));
        let mut stage = InProcess::start(builder, None);
        stage.connect();
        let send = |stage: &mut InProcess, header: serde_json::Value, body: &[u8]| {
            let header = header.to_string();
            let mut frame = ((header.len() + body.len()) as u32).to_be_bytes().to_vec();
            frame.extend_from_slice(header.as_bytes());
            frame.extend_from_slice(body);
            stage.send(0, &frame, 1);
        };
        send(&mut stage, serde_json::json!({"c": "logon", "mt": message_type, "client_name": "a"}), b"");
        let mut wanted = Vec::new();
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.splitn(3, '\t').collect();
            let (number, expected, text) = (columns[0], columns[1], columns[2]);
            let command = serde_json::json!({
                "c": "subscribe", "cid": number, "sub_id": number, "t": "T", "f": text, "a": "processed"
            });
            send(&mut stage, command, b"");
            let ack = String::from_utf8(stage.poll(0).unwrap()).unwrap();
            let refused = ack.contains(r#""status":"failure""#) && ack.contains(r#""reason":"bad filter""#);
            assert_eq!(refused, expected == "E", "{number}: {text}: {ack}");
            // A value that is not true of itself is one that is, if it is a number but 0.
            let number_is_true = expected.parse().is_ok_and(|value: f64| value != 0.0);
            if expected == "T" || number_is_true {
                wanted.push(number);
            }
            subscribed += usize::from(!refused);
        }
        send(&mut stage, serde_json::json!({"c": "publish", "t": "T"}), &body);
        let delivery = stage.poll(0).unwrap();
        let delivery = amps_protocol::Message::decode(&delivery[..]).unwrap();
        let ids = delivery.sub_ids().map(ToString::to_string).unwrap_or_default();
        assert_eq!(ids.split(',').collect::<Vec<_>>(), wanted, "{message_type}");
        assert_eq!(stage.poll(0), None);
    }
    assert_eq!(subscribed, 160);
}
