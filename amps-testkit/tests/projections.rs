//! What is made of many messages, or of two: projections, orders, fields of a predecessor.

use amps_testkit::filter::{
    Context, Document, Expression, Field, FilterError, JsonDocument, OrderBy, Path, Projection,
};
use proptest::prelude::*;

/// The value of a projection for a group of JSON messages; `N` is NULL.
fn project(text: &str, bodies: &[&str]) -> String {
    let projection = Projection::parse(text).unwrap();
    let mut accumulator = projection.accumulator();
    for body in bodies {
        projection.add(&mut accumulator, &JsonDocument::new(body.as_bytes()), &Context::default());
    }
    let value = projection.finish(&accumulator);
    if value.value().is_null() { String::from("N") } else { text_of(value) }
}

fn text_of(field: Field<'_>) -> String {
    String::from_utf8_lossy(&field.into_text()).into_owned()
}

#[test]
fn aggregates_of_a_group() {
    let group = [
        r#"{"id":1,"p":3,"s":"b","d":1}"#,
        r#"{"id":2,"p":5,"s":"a","d":1.0}"#,
        r#"{"id":3,"p":null,"d":"1","last":"00"}"#,
    ];
    for (text, expected) in [
        ("SUM(/p) AS /x", "8"),
        ("SUM(/p + 0.5) AS /x", "9"),
        ("AVG(/p) AS /x", "4"),
        ("COUNT(/p) AS /x", "2"),
        ("COUNT(/zz) AS /x", "0"),
        ("SUM(/zz) AS /x", "N"),
        ("AVG(/zz) AS /x", "N"),
        ("MIN(/p) AS /x", "3"),
        ("MAX(/p) AS /x", "5"),
        ("MIN(/s) AS /x", "a"),
        ("MAX(COALESCE(/s, 9)) AS /x", "b"),
        ("MIN(COALESCE(/s, 9)) AS /x", "9"),
        ("ANY(/s) AS /x", "b"),
        ("COUNT_DISTINCT(/d) AS /x", "1"),
        ("COUNT_DISTINCT(/id) AS /x", "3"),
        ("STDDEV_POP(/p) AS /x", "1"),
        ("ROUND(STDDEV_SAMP(/id), 6) AS /x", "1"),
        ("SUM(/s) AS /x", "NaN"),
        ("MAX(/id * NAN_VALUE()) AS /x", "NaN"),
        ("SUM(IF(/p > 3, 1, 0)) AS /x", "1"),
        ("SUM(/p) / COUNT(/p) AS /x", "4"),
        ("SUM(/p) > 7 AND MAX(/id) = /id AS /x", "1"),
        ("/id AS /x", "3"),
        ("/last", "00"),
        ("UPPER(CONCAT('n', /id)) AS /x", "N3"),
    ] {
        assert_eq!(project(text, &group), expected, "{text}");
    }
    assert_eq!(project("COUNT(/p) AS /x", &[]), "0");
    assert_eq!(project("/p AS /x", &[]), "N");
    assert_eq!(project("STDDEV_SAMP(/p) AS /x", &group[..1]), "N");
}

#[test]
fn a_value_of_the_last_message_keeps_its_spelling_and_all_its_elements() {
    assert_eq!(project("/p AS /x", &[r#"{"p":1}"#, r#"{"p":99.50}"#]), "99.50");
    assert_eq!(project("SUM(/n) = 1 AND /t = 'b' AS /x", &[r#"{"n":1,"t":["a","b"]}"#]), "1");
}

#[test]
fn a_list_of_projections() {
    let list =
        Projection::parse_list(" [/s AS /s, MAX(IF(/p > 1, /p, 1)) As /hi, /n,COUNT(/id) AS /c] ").unwrap();
    let names: Vec<String> = list.iter().map(|projection| projection.field().to_string()).collect();
    assert_eq!(names, ["/s", "/hi", "/n", "/c"]);
    assert_eq!(list.iter().map(Projection::is_aggregate).collect::<Vec<_>>(), [false, true, false, true]);

    let error = |text: &str| Projection::parse_list(text).unwrap_err().to_string();
    assert_eq!(error("/a AS /b"), "expected a list in brackets near '/a AS /b' at offset 0");
    assert_eq!(error("[/a + 1]"), "expected AS and the name of a field near the end of the text at offset 7");
    assert_eq!(
        error("[/a AS b]"),
        "expected a field like /name after AS near the end of the text at offset 8"
    );
    assert!(error("[]").starts_with("expected a field, a literal or a function"));
    assert!(error("[/a AS /b /c]").starts_with("expected ',' or ']' near '/c' at offset 10"));
    assert_eq!(error("[SUM(MAX(/a)) AS /b]"), "aggregate function 'MAX' at offset 5 is inside another one");
    assert!(matches!(Projection::parse("1 AS [t]./b"), Err(FilterError::Unexpected { .. })));
    assert!(matches!(Expression::parse("SUM(/a)"), Err(FilterError::Aggregate { .. })));
}

#[test]
fn a_field_of_the_previous_record() {
    let (old, new) = (JsonDocument::new(br#"{"n":2,"v":"x"}"#), JsonDocument::new(br#"{"n":3}"#));
    let context = Context { previous: Some(&old), ..Context::default() };
    let value = |text: &str, context: &Context<'_>| {
        text_of(Expression::parse(text).unwrap().evaluate(&new, context).into_owned())
    };
    assert_eq!(value("/n OF PREVIOUS + /n", &context), "5");
    assert_eq!(value("/n OF current - /n of previous", &context), "1");
    assert_eq!(value("/v OF PREVIOUS", &context), "x");
    assert_eq!(value("COALESCE(/n OF PREVIOUS, 7)", &Context::default()), "7");
    assert!(Expression::parse("/n OF NEXT").is_err());
    let (expression, field) = Expression::parse_as("/n + 1 AS /next/n").unwrap();
    assert_eq!((expression.text(), field.to_string().as_str()), ("/n + 1 AS /next/n", "/next/n"));
}

#[test]
fn identifiers() {
    for text in ["/a", "/a/b[3]/@c", "[/my field]", "[/my field/x][2]", "[orders]./a", "[json].[a b].[/c d]"]
    {
        let path = Path::parse(text).unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse::<Path>().unwrap(), path);
    }
    let path = Path::parse("[json].[orders]./a/b").unwrap();
    let qualifier = path.qualifier().unwrap();
    assert_eq!((qualifier.message_type.as_deref(), &*qualifier.topic), (Some("json"), "orders"));
    assert_eq!(Path::parse("[orders]./a").unwrap().qualifier().unwrap().message_type, None);
    for wrong in ["", "a", "/", "/a /b", "[/a", "[t].", "[].a", "[a].[b].[c]./d", "/a[x]", "'a'"] {
        assert!(Path::parse(wrong).is_err(), "{wrong}");
    }
}

/// A join of two records, which the qualifier tells apart.
struct Join<'a>(JsonDocument<'a>, JsonDocument<'a>);

impl Document for Join<'_> {
    fn look_up<'a>(&'a self, path: &Path, found: &mut Vec<Field<'a>>) {
        match path.qualifier().map(|qualifier| &*qualifier.topic) {
            Some("right") => self.1.look_up(path, found),
            _ => self.0.look_up(path, found),
        }
    }
}

#[test]
fn a_document_can_tell_topics_apart() {
    let join = Join(JsonDocument::new(br#"{"n":1}"#), JsonDocument::new(br#"{"n":20}"#));
    let expression = Expression::parse("[left]./n + [json].[right]./n").unwrap();
    assert_eq!(text_of(expression.evaluate(&join, &Context::default())), "21");
}

fn sorted(order: &str, bodies: &[&str]) -> Vec<String> {
    let order = OrderBy::parse(order).unwrap();
    let mut bodies: Vec<String> = bodies.iter().map(ToString::to_string).collect();
    bodies.sort_by_cached_key(|body| order.key(&JsonDocument::new(body.as_bytes())));
    bodies
}

#[test]
fn an_order_puts_numbers_before_strings_and_null_last() {
    let values = [r#"{"p":9}"#, r#"{"p":10}"#, r#"{"p":"x"}"#, r#"{"p":null}"#, r#"{"p":2.5}"#];
    let descending = [r#"{"p":null}"#, r#"{"p":"x"}"#, r#"{"p":10}"#, r#"{"p":9}"#, r#"{"p":2.5}"#];
    assert_eq!(sorted("/p DESC", &values), descending);
    let mut ascending = descending;
    ascending.reverse();
    assert_eq!(sorted("/p", &values), ascending);
    assert_eq!(sorted("/p ASC", &values), ascending);
    // A string stays a string, whatever it looks like.
    assert_eq!(sorted("/p", &[r#"{"p":"1"}"#, r#"{"p":2}"#]), [r#"{"p":2}"#, r#"{"p":"1"}"#]);
}

#[test]
fn an_order_has_many_fields() {
    let order = OrderBy::parse("/a asc , [/b c] DESC,/d").unwrap();
    let fields: Vec<_> = order.fields().map(|(path, descending)| (path.to_string(), descending)).collect();
    assert_eq!(fields, [("/a".into(), false), ("[/b c]".into(), true), ("/d".into(), false)]);
    let (one, two) = (JsonDocument::new(br#"{"a":1,"d":2}"#), JsonDocument::new(br#"{"a":1,"d":1}"#));
    assert!(order.compare(&one, &two).is_gt());
    for wrong in ["", "a", "/a UP", "/a ASC DESC", "/a,", "/a /b", ",/a", "SUM(/a)"] {
        assert!(OrderBy::parse(wrong).is_err(), "{wrong}");
    }
}

/// Every aggregate at once: what they remember differs.
const AGGREGATES: &str = "[SUM(/v) AS /sum,AVG(/v) AS /avg,COUNT(/v) AS /n,MIN(/v) AS /lo,MAX(/v) AS /hi,\
    ANY(/v) AS /any,COUNT_DISTINCT(/v) AS /kinds,STDDEV_POP(/v) AS /dev,STDDEV_SAMP(/v) AS /sdev]";

/// A value as JSON writes it: few of them, so that many are equal.
fn written() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "1",
        "1.0",
        "2",
        "-3",
        "0.1",
        "0.2",
        "1e300",
        "-1e300",
        "1e-5",
        "9007199254740993",
        "null",
        "\"7\"",
        "\"x\"",
        "true",
    ])
}

proptest! {
    /// Groups that messages come to and leave, in any order, against groups that are computed anew.
    #[test]
    fn what_left_a_group_leaves_nothing_behind(
        numbers in any::<bool>(),
        steps in prop::collection::vec((written(), prop::option::weighted(0.5, any::<prop::sample::Index>())), 1..40),
    ) {
        let context = Context::default();
        let body = |value: &str| format!("{{\"v\":{value}}}");
        for projection in Projection::parse_list(AGGREGATES).unwrap() {
            let mut group = projection.accumulator();
            let mut members: Vec<&str> = Vec::new();
            for (value, leaves) in &steps {
                if numbers && !value.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
                    continue;
                }
                if let Some(index) = leaves.filter(|_| !members.is_empty()) {
                    let gone = body(members.remove(index.index(members.len())));
                    projection.remove(&mut group, &JsonDocument::new(gone.as_bytes()), &context);
                }
                members.push(value);
                projection.add(&mut group, &JsonDocument::new(body(value).as_bytes()), &context);
                let bodies: Vec<String> = members.iter().map(|value| body(value)).collect();
                if group.is_stale() {
                    let each = |see: &mut dyn FnMut(&dyn Document)| {
                        bodies.iter().for_each(|body| see(&JsonDocument::new(body.as_bytes())));
                    };
                    projection.renew(&mut group, each, &context);
                }
                let mut anew = projection.accumulator();
                for body in &bodies {
                    projection.add(&mut anew, &JsonDocument::new(body.as_bytes()), &context);
                }
                let (kept, naive) = (projection.finish(&group), projection.finish(&anew));
                prop_assert_eq!(text_of(kept), text_of(naive), "{} of {:?}", projection.field(), members);
            }
        }
    }

    /// The best of the others is not asked for where it cannot have changed.
    #[test]
    fn the_greatest_is_found_again_only_if_it_left(values in prop::collection::vec(0u32..100, 2..20), index in any::<prop::sample::Index>()) {
        let (greatest, context) = (Projection::parse("MAX(/v) AS /hi").unwrap(), Context::default());
        let mut group = greatest.accumulator();
        let bodies: Vec<String> = values.iter().map(|value| format!("{{\"v\":{value}}}")).collect();
        bodies.iter().for_each(|body| greatest.add(&mut group, &JsonDocument::new(body.as_bytes()), &context));
        let gone = index.index(values.len());
        greatest.remove(&mut group, &JsonDocument::new(bodies[gone].as_bytes()), &context);
        let most = values.iter().max().unwrap();
        let was_the_only_one = values[gone] == *most && values.iter().filter(|value| *value == most).count() == 1;
        prop_assert_eq!(group.is_stale(), was_the_only_one);
    }

    #[test]
    fn nothing_here_panics(text in r#"[/a\[\]0-9'. ,()ASOFDESCUM-]{0,40}"#) {
        let _ = (Path::parse(&text), OrderBy::parse(&text), Projection::parse(&text), Projection::parse_list(&text));
    }
}
