//! Message formats: what delta publish, delta subscribe, select lists and projections make
//! of bodies.

use amps_protocol::CompositeBuilder;
use amps_testkit::filter::{DeltaNull, Document, Field, Format, Path, Select, SelectError, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn paths(texts: &[&str]) -> Vec<Path> {
    texts.iter().map(|text| path(text)).collect()
}

fn nvfix() -> Format {
    Format::Nvfix { separator: b'|' }
}

fn fix() -> Format {
    Format::Fix { separator: b'|' }
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

fn merged(format: &Format, stored: &str, delta: &str) -> String {
    shown(format.merge(stored.as_bytes(), delta.as_bytes(), DeltaNull::Keep))
}

/// The difference with and without keys, and whether anything changed.
fn difference(format: &Format, old: &str, new: &str, keys: &[&str]) -> (String, String, bool) {
    let keys = paths(keys);
    let with = format.difference(old.as_bytes(), new.as_bytes(), &keys, true);
    let without = format.difference(old.as_bytes(), new.as_bytes(), &keys, false);
    assert_eq!(with.changed, without.changed);
    (shown(with.body), shown(without.body), with.changed)
}

fn selected(format: &Format, body: &str, list: &str) -> String {
    shown(format.select(body.as_bytes(), &Select::parse(&format!("[{list}]")).unwrap()))
}

fn composed(format: &Format, fields: &[(&str, Value<'static>)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (path(name), Field::new(value.clone()))).collect();
    shown(format.compose(&fields))
}

#[test]
fn a_name_gives_a_format() {
    assert_eq!(Format::of("json"), Format::Json);
    assert_eq!(Format::of("fix"), Format::Fix { separator: 1 });
    assert_eq!(Format::of("nvfix"), Format::Nvfix { separator: 1 });
    assert_eq!(Format::of("xml"), Format::Xml);
    for opaque in ["binary", "bson", "msgpack", "unknown", ""] {
        assert_eq!(Format::of(opaque), Format::Opaque);
    }
    let delta = [Format::Json, fix(), nvfix(), Format::Xml, Format::composite_local(["json"])];
    assert!(delta.iter().all(Format::supports_delta));
    assert!(!Format::Opaque.supports_delta() && !Format::composite_global(["json"]).supports_delta());
}

#[test]
fn what_is_well_formed() {
    let local = Format::composite_local(["json", "binary"]);
    let global = Format::composite_global(["json", "binary"]);
    for (format, body, expected) in [
        (Format::Json, &br#" {"a":1} "#[..], true),
        (Format::Json, b"", false),
        (Format::Json, br#"{"a":1"#, false),
        (nvfix(), b"a=1|b=|", true),
        (nvfix(), b"", true),
        (nvfix(), b"nothing", false),
        (fix(), b"35=D|x=1", true),
        (fix(), b"x=1|4294967296=2", false),
        (Format::Xml, b"<?xml version='1.0'?><!-- c --><a b='1'>&lt;&#65;<![CDATA[<]]></a>\n", true),
        (Format::Xml, b"\xef\xbb\xbf<a/>", true),
        (Format::Xml, b"<a>", false),
        (Format::Xml, b"<a></b>", false),
        (Format::Xml, b"<a/><b/>", false),
        (Format::Xml, b"<a/>x", false),
        (Format::Xml, b"<a>&nbsp;</a>", false),
        (Format::Xml, b"<a b='1' b='2'/>", false),
        (Format::Xml, b"<a>\xff</a>", false),
        (Format::Xml, b"", false),
        (Format::Opaque, b"\x00", true),
        (local.clone(), &parts(&[&b"{}"[..], b"\xff"]), true),
        (local.clone(), &parts(&[&b""[..], b"\xff", b"payload"]), true),
        (local.clone(), &parts(&[&b"{"[..]]), false),
        (local, b"\x00\x00\x00\x09{}", false),
        (global, &parts(&[&b"{"[..]]), true),
    ] {
        assert_eq!(format.parses(body), expected, "{format:?} {}", String::from_utf8_lossy(body));
    }
}

#[test]
fn nesting_is_bounded() {
    let xml = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(Format::Xml.parses(xml(64).as_bytes()));
    assert!(!Format::Xml.parses(xml(65).as_bytes()));
    assert!(!Format::Xml.parses("<a>".repeat(100_000).as_bytes()));
    assert!(Path::parse(&"/a".repeat(128)).is_ok());
    assert!(Path::parse(&"/a".repeat(129)).is_err());
    assert!(Select::parse(&format!("[+{}]", "/a".repeat(100_000))).is_err());
}

#[test]
fn a_path_leads_into_xml() {
    let body = Format::Xml.read(
        b"<r a='x &amp; y'>\n <e>1</e>\n <e k='2'>&#x41;&lt;<![CDATA[<b>]]></e>\n <c><d>7</d></c><n></n><w> </w>\n</r>",
    );
    for (text, expected) in [
        ("/r/@a", "x & y"),
        ("/r/e", "1,A<<b>"),
        ("/r/e[1]", "A<<b>"),
        ("/r/e/@k", "2"),
        ("/r/c/d", "7"),
        ("/r/c", ""),
        ("/r/n", ""),
        ("/r/w", " "),
        ("/r", ""),
        ("/r[0]/e[0]", "1"),
        ("/r[1]/e", ""),
        ("/e", ""),
        ("/r/@a/x", ""),
        ("/r/e[2]", ""),
    ] {
        let mut found = Vec::new();
        body.look_up(&path(text), &mut found);
        let texts: Vec<String> =
            found.into_iter().map(|field| String::from_utf8_lossy(&field.into_text()).into_owned()).collect();
        assert_eq!(texts.join(","), expected, "{text}");
    }
}

#[test]
fn repeated_fields_are_arrays() {
    let count = |format: Format, body: &[u8], text: &str| {
        let document = format.read(body);
        let mut found = Vec::new();
        document.look_up(&path(text), &mut found);
        found.len()
    };
    assert_eq!(count(fix(), b"55=a|055=b|1=x", "/55"), 2);
    assert_eq!(count(fix(), b"55=a|055=b|1=x", "/0055[1]"), 1);
    assert_eq!(count(nvfix(), b"a/b=1|a/b=2", "/a/b"), 2);
    let global = Format::composite_global(["json", "nvfix"]);
    let body = parts(&[&br#"{"a":[1,2]}"#[..], b"a=3\x01"]);
    assert_eq!((count(global.clone(), &body, "/a"), count(global.clone(), &body, "/a[2]")), (3, 1));
    assert_eq!(count(global, &body, "/a[3]"), 0);
}

#[test]
fn keys_are_texts() {
    let keys = |body: &str| Format::Json.key_texts(body.as_bytes(), &paths(&["/id", "/n/x"]));
    let one = Some(vec![b"1".to_vec(), Vec::new()]);
    assert_eq!(keys(r#"{"id":1}"#), one);
    assert_eq!(keys(r#"{"id":"1"}"#), one);
    assert_eq!(keys(r#"{"id":1.0}"#), Some(vec![b"1.0".to_vec(), Vec::new()]));
    assert_eq!(keys(r#"{"n":{"x":[5,6]}}"#), Some(vec![Vec::new(), b"5".to_vec()]));
    assert_eq!(keys("{"), None);
    assert_eq!(fix().key_texts(b"1=07|", &paths(&["/1"])), Some(vec![b"07".to_vec()]));
    let local = Format::composite_local(["json", "json"]);
    let body = parts(&["{}", r#"{"id":7}"#]);
    assert_eq!(local.key_texts(&body, &paths(&["/1/id", "/0/id", "/9/id"])).unwrap()[0], b"7");
    assert_eq!(Format::Opaque.key_texts(b"x", &paths(&["/id"])), Some(vec![Vec::new()]));
}

#[test]
fn delta_publish_in_json() {
    for (stored, delta, expected) in [
        // The table of server.md 4.9.
        (r#"{"id":1,"a":1,"b":2}"#, r#"{"id":1,"b":3}"#, r#"{"id":1,"a":1,"b":3}"#),
        (r#"{"id":1,"a":1}"#, r#"{"id":1,"a":null}"#, r#"{"id":1,"a":1}"#),
        (r#"{"id":1,"n":{"x":1,"y":2}}"#, r#"{"id":1,"n":{"x":9}}"#, r#"{"id":1,"n":{"x":9,"y":2}}"#),
        (r#"{"id":1,"v":[{"k":1},{"k":2}]}"#, r#"{"id":1,"v":[{"k":7}]}"#, r#"{"id":1,"v":[{"k":7}]}"#),
        // Spelling and layout stay.
        (
            "{ \"a\" : 1.50,\n\"b\":\"\\u0041\" }\n",
            r#"{"c":[ 1 ]}"#,
            "{ \"a\" : 1.50,\n\"b\":\"\\u0041\",\"c\":[ 1 ] }\n",
        ),
        ("{ }", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2 }"#),
        // An empty value is no value; an empty array is one.
        (r#"{"a":1,"b":[1]}"#, r#"{"a":"","b":[],"c":null,"d":{"e":null}}"#, r#"{"a":1,"b":[]}"#),
        // What changes its kind is replaced.
        (r#"{"a":1,"b":{"c":2}}"#, r#"{"a":{"x":1},"b":2}"#, r#"{"a":{"x":1},"b":2}"#),
        // Of equal keys the first is the value.
        (r#"{"a":1,"a":2}"#, r#"{"a":3,"a":4}"#, r#"{"a":3,"a":2}"#),
        // What is no object is a plain message.
        ("[1]", r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, "{", "{"),
    ] {
        assert_eq!(merged(&Format::Json, stored, delta), expected, "{stored} {delta}");
    }
    let set = Format::Json.merge(br#"{"a":1,"b":2}"#, br#"{"a":null,"c":""}"#, DeltaNull::SetNull);
    assert_eq!(shown(set), r#"{"a":null,"b":2,"c":""}"#);
}

#[test]
fn delta_publish_in_fix() {
    assert_eq!(merged(&fix(), "1=a|55=x|055=y|2=b", "55=z|3=|4=n|4=m"), "1=a|55=z|2=b|4=n|4=m|");
    assert_eq!(merged(&nvfix(), "id=1|a=1|", "id=1|a="), "id=1|a=1|");
    let set = nvfix().merge(b"id=1|a=1|", b"a=", DeltaNull::SetNull);
    assert_eq!(shown(set), "id=1|a=|");
    assert_eq!(merged(&nvfix(), "garbage", "a=1"), "a=1");
}

#[test]
fn delta_publish_in_xml() {
    for (stored, delta, expected) in [
        ("<r><id>1</id><a>x</a></r>", "<r><id>1</id><a>y</a></r>", "<r><id>1</id><a>y</a></r>"),
        ("<r>\n <a>x</a>\n</r>\n", "<r><b>1</b></r>", "<r>\n <a>x</a><b>1</b>\n</r>\n"),
        ("<r a='1' b=\"2\"/>", "<r b='3' c='4'/>", "<r a=\"1\" b=\"3\" c=\"4\"></r>"),
        ("<r><a/></r>", "<r><a><b>1</b></a></r>", "<r><a><b>1</b></a></r>"),
        ("<r><a>x</a></r>", "<r><a/></r>", "<r><a>x</a></r>"),
        ("<r><a k='1'>x</a></r>", "<r><a k='2'/></r>", "<r><a k=\"2\">x</a></r>"),
        ("<r><e>1</e><f/><e>2</e></r>", "<r><e>3</e></r>", "<r><e>3</e><f/></r>"),
        ("<r><e>1</e></r>", "<r><e>2</e><e>3</e></r>", "<r><e>2</e><e>3</e></r>"),
        ("<r> t <a>1</a> u</r>", "<r>v</r>", "<r>v<a>1</a></r>"),
        ("<r><a>1</a></r>", "<s><a>2</a></s>", "<s><a>2</a></s>"),
        ("<r><a k='\"'/></r>", "<r><a j='&quot;'/></r>", "<r><a k='\"' j=\"&quot;\"></a></r>"),
    ] {
        assert_eq!(merged(&Format::Xml, stored, delta), expected, "{stored} {delta}");
    }
    let set = Format::Xml.merge(b"<r><a>x</a><b>y</b></r>", b"<r><a/></r>", DeltaNull::SetNull);
    assert_eq!(shown(set), "<r><a></a><b>y</b></r>");
    let set = Format::Xml.merge(b"<r><a>x</a></r>", b"<r/>", DeltaNull::SetNull);
    assert_eq!(shown(set), "<r><a>x</a></r>");
}

#[test]
fn delta_publish_in_composites() {
    let local = Format::composite_local(["json", "json", "binary"]);
    let stored = parts(&[r#"{"a":1}"#, r#"{"b":2}"#, "old"]);
    let delta = parts(&["", r#"{"c":3}"#, "new", "more"]);
    let expected = parts(&[r#"{"a":1}"#, r#"{"b":2,"c":3}"#, "new", "more"]);
    assert_eq!(local.merge(&stored, &delta, DeltaNull::Keep), expected);
    assert_eq!(local.merge(&stored, &parts::<&str>(&[]), DeltaNull::Keep), stored);
    for plain in [Format::composite_global(["json"]), Format::Opaque] {
        assert_eq!(plain.merge(&stored, b"delta", DeltaNull::Keep), b"delta");
    }
}

#[test]
fn delta_subscribe_in_json() {
    for (old, new, keys, with, without, changed) in [
        (
            r#"{"id":1,"a":1,"b":2}"#,
            r#"{"id":1,"a":1,"b":3}"#,
            "/id",
            r#"{"id":1,"b":3}"#,
            r#"{"b":3}"#,
            true,
        ),
        (r#"{"id":1,"b":3}"#, r#"{"id":1,"b":3}"#, "/id", r#"{"id":1}"#, "{}", false),
        (r#"{"id":1,"b":1}"#, r#"{"b":1.0,"id":1}"#, "/id", r#"{"b":1.0,"id":1}"#, r#"{"b":1.0}"#, true),
        (r#"{"id":1,"b":1}"#, r#"{"id":1,"b":"1"}"#, "/id", r#"{"id":1,"b":"1"}"#, r#"{"b":"1"}"#, true),
        (r#"{"id":1,"b":"A"}"#, r#"{"id":1,"b":"\u0041"}"#, "/id", r#"{"id":1}"#, "{}", false),
        (r#"{"id":1,"b":1}"#, r#"{"id":1}"#, "/id", r#"{"id":1}"#, "{}", true),
        (
            r#"{"id":1,"v":[1,2]}"#,
            r#"{"id":1,"v":[1,3]}"#,
            "/id",
            r#"{"id":1,"v":[1,3]}"#,
            r#"{"v":[1,3]}"#,
            true,
        ),
        (
            r#"{"k":{"id":1,"x":1},"n":{"x":1,"y":2}}"#,
            r#"{"k":{"id":1,"x":1},"n":{"x":1,"y":3}}"#,
            "/k/id",
            r#"{"k":{"id":1},"n":{"y":3}}"#,
            r#"{"n":{"y":3}}"#,
            true,
        ),
        (r#"{"n":{"x":1}}"#, r#"{"n":{}}"#, "/id", "{}", "{}", true),
        (r#"{"n":1}"#, r#"{"n":{}}"#, "/id", r#"{"n":{}}"#, r#"{"n":{}}"#, true),
        ("1", r#"{"id":1}"#, "/id", r#"{"id":1}"#, r#"{"id":1}"#, true),
    ] {
        assert_eq!(
            difference(&Format::Json, old, new, &[keys]),
            (with.to_owned(), without.to_owned(), changed),
            "{old} {new}"
        );
    }
}

#[test]
fn delta_subscribe_in_other_formats() {
    for (format, old, new, key, with, without, changed) in [
        (fix(), "1=k|2=a|3=b|", "1=k|2=a|3=c|4=|", "/1", "1=k|3=c|4=|", "3=c|4=|", true),
        (nvfix(), "id=k|a=1|", "id=k|a=1|", "/id", "id=k|", "", false),
        (nvfix(), "id=k|a=1|", "id=k|", "/id", "id=k|", "", true),
        (nvfix(), "id=k|a=1|a=2|", "id=k|a=1|a=3|", "/id", "id=k|a=1|a=3|", "a=1|a=3|", true),
        (
            Format::Xml,
            "<r><id>1</id><a k='1' j='2'>x</a><e>1</e><e>2</e></r>",
            "<r><id>1</id><a k='1' j='3'>x</a><e>1</e><e>3</e></r>",
            "/r/id",
            "<r><id>1</id><a j=\"3\"></a><e>1</e><e>3</e></r>",
            "<r><a j=\"3\"></a><e>1</e><e>3</e></r>",
            true,
        ),
        (
            Format::Xml,
            "<r k='1'><a>x</a></r>",
            "<r k='1'><a>x</a></r>",
            "/r/@k",
            "<r k=\"1\"></r>",
            "<r/>",
            false,
        ),
        (Format::Xml, "<r><a>x</a></r>", "<r/>", "/r/id", "<r/>", "<r/>", true),
        (Format::Xml, "<r><a>x</a></r>", "<s/>", "/r/id", "<s/>", "<s/>", true),
        (Format::Opaque, "a", "b", "/id", "b", "b", true),
        (Format::Opaque, "a", "a", "/id", "a", "a", false),
    ] {
        assert_eq!(
            difference(&format, old, new, &[key]),
            (with.to_owned(), without.to_owned(), changed),
            "{old} {new}"
        );
    }
}

#[test]
fn delta_subscribe_in_composites() {
    let local = Format::composite_local(["json", "json", "binary"]);
    let old = parts(&[r#"{"id":1,"x":1}"#, r#"{"b":2,"c":3}"#, "bytes"]);
    let new = parts(&[r#"{"id":1,"x":1}"#, r#"{"b":2,"c":4}"#, "bytes"]);
    let with = local.difference(&old, &new, &paths(&["/0/id"]), true);
    assert_eq!((with.body, with.changed), (parts(&[r#"{"id":1}"#, r#"{"c":4}"#, ""]), true));
    let without = local.difference(&old, &new, &paths(&["/0/id"]), false);
    assert_eq!(without.body, parts(&["", r#"{"c":4}"#, ""]));
    let same = local.difference(&new, &new, &paths(&["/0/id"]), true);
    assert_eq!((same.body, same.changed), (parts(&[r#"{"id":1}"#, "", ""]), false));
}

#[test]
fn select_lists_in_json() {
    let body = r#"{"a":1,"b":{"c":2,"d":3},"e":4}"#;
    for (list, expected) in [
        // The table of server.md 2.9.
        ("-/,+/a", r#"{"a":1}"#),
        ("-/,+/b/c", r#"{"b":{"c":2}}"#),
        ("-/b", r#"{"a":1,"e":4}"#),
        ("-/b,+/b/d", r#"{"a":1,"b":{"d":3},"e":4}"#),
        ("+/,-/e", r#"{"a":1,"b":{"c":2,"d":3}}"#),
        ("-/,+/zz", "{}"),
        // The first of equal identifiers decides.
        ("-/a,+/a,+/,-/", r#"{"b":{"c":2,"d":3},"e":4}"#),
        ("-/b/c,-/b/d", r#"{"a":1,"e":4}"#),
        ("+/b,-/b/c,-/b/d", r#"{"a":1,"b":{},"e":4}"#),
        ("", body),
        ("+/a/b/c", body),
    ] {
        assert_eq!(selected(&Format::Json, body, list), expected, "{list}");
    }
    assert_eq!(selected(&Format::Json, "{ \"a\": 1 , \"b\" :2}", "-/b"), "{\"a\": 1}");
    let legs = r#"{"legs":[{"s":"I","p":1},{"p":2},7,[{"s":"M"}]],"none":{}}"#;
    assert_eq!(selected(&Format::Json, legs, "-/legs/p"), r#"{"legs":[{"s":"I"},7,[{"s":"M"}]],"none":{}}"#);
    assert_eq!(selected(&Format::Json, legs, "-/,+/legs/s"), r#"{"legs":[{"s":"I"},[{"s":"M"}]]}"#);
    assert_eq!(selected(&Format::Json, legs, "-/,+/legs/q"), "{}");
    for untouched in ["5", "{", "null"] {
        assert_eq!(selected(&Format::Json, untouched, "-/"), untouched);
    }
}

#[test]
fn select_lists_in_other_formats() {
    for (format, body, list, expected) in [
        (fix(), "1=a|2=b|01=c", "-/,+/1", "1=a|01=c|"),
        (nvfix(), "a=1|b=2|", "-/a", "b=2|"),
        (nvfix(), "a=1|b=2", "-/c", "a=1|b=2"),
        (nvfix(), "a=1", "-/", ""),
        (Format::Xml, "<r><a>1</a><b>2</b></r>", "-/,+/r/a", "<r><a>1</a></r>"),
        (Format::Xml, "<r k='1' j='2'><a>1</a> <b>2</b></r>", "-/r/b,-/r/@j", "<r k=\"1\"><a>1</a> </r>"),
        (
            Format::Xml,
            "<?xml version='1.0'?><r><a><b/>x</a></r>",
            "-/,+/r/zz",
            "<?xml version='1.0'?><r></r>",
        ),
        (Format::Xml, "<r><a>1</a>", "-/", "<r><a>1</a>"),
        (Format::Opaque, "bytes", "-/", "bytes"),
    ] {
        assert_eq!(selected(&format, body, list), expected, "{body} {list}");
    }
    let body = parts(&[r#"{"a":1,"b":2}"#, r#"{"a":3}"#, "bytes"]);
    let types = ["json", "json", "binary"];
    let select = |format: Format, list: &str| format.select(&body, &Select::parse(list).unwrap());
    assert_eq!(select(Format::composite_local(types), "[-/,+/0/a]"), parts(&[r#"{"a":1}"#, "{}", ""]));
    assert_eq!(select(Format::composite_local(types), "[-/1]"), parts(&[r#"{"a":1,"b":2}"#, "{}", "bytes"]));
    assert_eq!(select(Format::composite_global(types), "[-/a]"), parts(&[r#"{"b":2}"#, "{}", "bytes"]));
}

#[test]
fn select_lists_unite() {
    let select = |text: &str| Select::parse(text).unwrap();
    let body = br#"{"a":1,"b":{"c":2,"d":3},"e":4}"#;
    let united = |lists: &[&str]| {
        let lists: Vec<Select> = lists.iter().map(|list| select(list)).collect();
        shown(Format::Json.select(body, &Select::union(&lists)))
    };
    assert_eq!(united(&["[-/,+/a]", "[-/,+/b/c]"]), r#"{"a":1,"b":{"c":2}}"#);
    assert_eq!(united(&["[-/b]", "[-/e,-/b/c]"]), r#"{"a":1,"b":{"d":3},"e":4}"#);
    assert_eq!(united(&["[-/,+/a]", "[]"]), shown(body.to_vec()));
    assert_eq!(united(&[]), shown(body.to_vec()));
    assert_eq!(united(&["[-/b/c]", "[-/,+/b]"]), shown(body.to_vec()));
}

#[test]
fn a_select_list_says_what_is_wrong() {
    assert!(matches!(Select::parse("-/a"), Err(SelectError::List(_))));
    assert!(matches!(Select::parse("[/a]"), Err(SelectError::List(_))));
    assert_eq!(
        Select::parse("[+a]").unwrap_err().to_string(),
        "'a' in a select list is no field: expected a field like /name in the identifier at offset 0"
    );
    for indexed in ["[+/a[0]]", "[-[t]./a]"] {
        assert!(matches!(Select::parse(indexed), Err(SelectError::NotPlain { .. })), "{indexed}");
    }
}

#[test]
fn bodies_are_composed_of_fields() {
    let fields = [
        ("/id", Value::Int(7)),
        ("/n/x", Value::Float(100.0)),
        ("/s", Value::string(&b"a\"\\\n\x01<"[..])),
        ("/n/y", Value::UInt(u64::MAX)),
        ("/no", Value::Null),
        ("/nan", Value::Float(f64::NAN)),
        ("/yes", Value::Bool(true)),
        ("/small", Value::Float(1e-7)),
    ];
    assert_eq!(
        composed(&Format::Json, &fields),
        r#"{"id":7,"n":{"x":100.0,"y":18446744073709551615},"s":"a\"\\\n\u0001<","no":null,"nan":0,"yes":true,"small":1e-7}"#
    );
    assert_eq!(
        composed(&nvfix(), &fields),
        "id=7|n/x=100.0|s=a\"\\\n\u{1}<|n/y=18446744073709551615|no=|nan=0|yes=1|small=1e-7|"
    );
    assert_eq!(composed(&nvfix(), &[("/a", Value::string(&b"x|y"[..])), ("/b", Value::Int(1))]), "b=1|");
    assert_eq!(composed(&fix(), &[("/055", Value::Int(1)), ("/name", Value::Int(2))]), "55=1|");
    assert_eq!(
        composed(
            &Format::Xml,
            &[
                ("/r/id", Value::Int(7)),
                ("/r/@k", Value::string(&b"\"<"[..])),
                ("/r/n/x", Value::Null),
                ("[/r/1 b]", Value::Bool(false)),
            ]
        ),
        "<r k=\"&quot;&lt;\"><id>7</id><n><x/></n><_1_b>0</_1_b></r>"
    );
    assert_eq!(composed(&Format::Json, &[]), "{}");
    assert_eq!(composed(&Format::Opaque, &fields), "");
    let fields = [(path("/1/a"), Field::new(Value::Int(1))), (path("/7/b"), Field::new(Value::Int(2)))];
    let local = Format::composite_local(["json", "json"]);
    assert_eq!(local.compose(&fields), parts(&["", r#"{"a":1}"#]));
    let global = Format::composite_global(["binary", "json"]);
    assert_eq!(global.compose(&[(path("/a"), Field::new(Value::Int(1)))]), parts(&["", r#"{"a":1}"#]));
}

#[test]
fn a_number_keeps_the_text_it_had_in_another_format() {
    let source = fix().read(b"1=007|2=99.50|");
    let field = |name: &str| {
        let mut found = Vec::new();
        source.look_up(&path(name), &mut found);
        found.remove(0).into_owned()
    };
    let fields = [(path("/a"), field("/1")), (path("/b"), field("/2"))];
    assert_eq!(shown(Format::Json.compose(&fields)), r#"{"a":"007","b":99.50}"#);
    assert_eq!(shown(nvfix().compose(&fields)), "a=007|b=99.50|");
}

#[test]
fn fields_are_set_in_place() {
    let set = |format: &Format, body: &[u8], name: &str, value: Value<'static>| {
        format.set(body, &[(path(name), Field::new(value))])
    };
    let json = |name, value| shown(set(&Format::Json, br#"{"a": 1.50,"b":{"c":[1]}}"#, name, value));
    assert_eq!(json("/a", Value::Null), r#"{"a": null,"b":{"c":[1]}}"#);
    assert_eq!(json("/b/d", Value::Int(2)), r#"{"a": 1.50,"b":{"c":[1],"d":2}}"#);
    assert_eq!(json("/b/c", Value::Int(2)), r#"{"a": 1.50,"b":{"c":2}}"#);
    assert_eq!(shown(set(&Format::Json, b"{", "/a", Value::Int(1))), "{");
    assert_eq!(shown(set(&nvfix(), b"a=1|", "/b", Value::Int(2))), "a=1|b=2|");
    assert_eq!(shown(set(&fix(), b"1=1|", "/b", Value::Int(2))), "1=1|");
    assert_eq!(
        shown(set(&Format::Xml, b"<r> t <a>1</a></r>", "/r/@k", Value::Int(2))),
        "<r k=\"2\"> t <a>1</a></r>"
    );
    assert_eq!(shown(set(&Format::Xml, b"<r/>", "/s/a", Value::Int(2))), "<r/>");
    let local = Format::composite_local(["json", "json"]);
    let body = parts(&[r#"{"a":1}"#, r#"{"a":1}"#]);
    assert_eq!(set(&local, &body, "/1/a", Value::Int(2)), parts(&[r#"{"a":1}"#, r#"{"a":2}"#]));
    let global = Format::composite_global(["json", "json"]);
    let body = parts(&[r#"{"a":1}"#, r#"{"b":1}"#]);
    assert_eq!(set(&global, &body, "/b", Value::Int(2)), parts(&[r#"{"a":1}"#, r#"{"b":2}"#]));
    assert_eq!(set(&global, &body, "/c", Value::Int(2)), parts(&[r#"{"a":1,"c":2}"#, r#"{"b":1}"#]));
}
