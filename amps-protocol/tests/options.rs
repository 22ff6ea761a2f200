//! Options: what is printed parses back, lists survive, values are exact, rules hold.

use std::time::Duration;

use amps_protocol::{
    BookmarkNotFound, CommandKind, Conflation, FieldList, HeartbeatRequest, Interval, ListItems, OptionKind,
    OptionName, OptionProblem, Options, Pace, Projection, Rate, SelectList, Selection, SizeUnit,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Balanced text such as may stand in an item of a list, commas protected.
fn item() -> impl Strategy<Value = String> {
    let leaf = prop_oneof!["/[a-z]{1,5}", "'[^']{0,6}'", "\"[^\"]{0,6}\"", "[a-z0-9+é]{1,4}"];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(|items| format!("F({})", items.join(","))),
            vec(inner, 1..3).prop_map(|items| format!("/x[{}]", items.join(","))),
        ]
    })
}

fn interval() -> impl Strategy<Value = Interval> {
    let unit = prop_oneof![Just(1u64), Just(1_000_000), Just(1_000_000_000), Just(3_600_000_000_000)];
    let exact = (any::<u16>(), unit).prop_map(|(n, unit)| Duration::from_nanos(u64::from(n) * unit));
    prop_oneof![exact, (any::<u64>(), 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))]
        .prop_map(Interval::from)
}

fn rate() -> impl Strategy<Value = Rate> {
    let unit = prop_oneof![
        Just(SizeUnit::Kilobytes),
        Just(SizeUnit::Megabytes),
        Just(SizeUnit::Gigabytes),
        Just(SizeUnit::Terabytes)
    ];
    prop_oneof![
        any::<u64>().prop_map(Rate::Messages),
        (any::<u64>(), unit).prop_map(|(count, unit)| Rate::Bytes(count, unit)),
        (any::<u64>(), 0u8..=19).prop_map(|(digits, decimals)| Rate::Pace(Pace::new(digits, decimals))),
    ]
}

prop_compose! {
    fn lists()(items in vec(item(), 0..5), columns in vec((item(), "/[a-z]{1,5}"), 0..5), signs in vec(any::<bool>(), 5))
        -> (FieldList, SelectList, Projection)
    {
        let mut select = SelectList::new();
        for (item, sign) in items.iter().zip(signs) {
            if sign { select.include(item) } else { select.exclude(item) }.unwrap();
        }
        let mut projection = Projection::new();
        for (expression, field) in &columns {
            projection.push(expression, field).unwrap();
        }
        (FieldList::of(&items).unwrap(), select, projection)
    }
}

prop_compose! {
    /// Any list that a program can build.
    fn options()(
        flags in vec(0..OptionName::ALL.len(), 0..6),
        unknown in vec(("[a-z][a-z0-9_]{0,8}", proptest::option::of(r"[^,\[\] \t][^,\[\]\t]{0,6}[^,\[\] \t]|x")), 0..3),
        interval in proptest::option::of(interval()),
        rate in proptest::option::of(rate()),
        counts in proptest::option::of((any::<u32>(), any::<u64>())),
        lists in proptest::option::of(lists()),
    ) -> Options {
        let mut options = Options::new();
        for flag in flags {
            let name = OptionName::ALL[flag];
            if name.kind() == OptionKind::Flag && name != OptionName::None {
                options.flag(name.token());
            }
        }
        for (name, value) in unknown.iter().filter(|(name, _)| name != "none") {
            match value {
                Some(value) => options.set(name, value),
                None => options.flag(name),
            }
        }
        if let Some(interval) = interval {
            options.set_conflation(Conflation::Every(interval)).set_ack_conflation(interval);
        }
        if let Some(rate) = rate {
            options.set_rate(rate);
        }
        if let Some((backlog, top_n)) = counts {
            options.set_max_backlog(backlog).set_top_n(top_n);
        }
        if let Some((fields, select, projection)) = lists {
            options.set_grouping(fields).set_select(select).set_projection(projection);
        }
        options
    }
}

proptest! {
    #[test]
    fn whatever_is_printed_parses_back(options in options()) {
        let printed = options.to_string();
        prop_assert_eq!(Options::try_parse(&printed), Ok(options.clone()));
        prop_assert_eq!(Options::parse(&printed), options.clone());
        let wire = options.pieces().collect::<Vec<_>>().concat();
        prop_assert_eq!(wire, printed.into_bytes());
    }

    #[test]
    fn strict_and_tolerant_reading_agree_where_strict_reading_accepts(text in r"[a-c=, \[\]'/]{0,20}") {
        if let Ok(strict) = Options::try_parse(&text) {
            prop_assert_eq!(Options::try_parse(strict.to_string()), Ok(strict.clone()));
            prop_assert_eq!(strict, Options::parse(&text));
        }
    }

    #[test]
    fn typed_values_come_back_as_they_were_set(interval in interval(), rate in rate(), lists in lists(), n in any::<u64>()) {
        let (fields, select, projection) = lists;
        let mut options = Options::new();
        options.set_conflation(Conflation::Every(interval)).set_rate_max_gap(interval).set_lease_extension(interval);
        options.set_rate(rate).set_top_n(n).set_skip_n(n).set_conflation_key(fields.clone());
        options.set_select(select.clone()).set_projection(projection.clone());
        options.set_bookmark_not_found(BookmarkNotFound::Fail);
        let options = Options::try_parse(options.to_string()).unwrap();
        prop_assert_eq!(options.conflation(), Ok(Some(Conflation::Every(interval))));
        prop_assert_eq!(options.rate_max_gap(), Ok(Some(interval)));
        prop_assert_eq!(options.rate(), Ok(Some(rate)));
        prop_assert_eq!((options.top_n(), options.skip_n()), (Ok(Some(n)), Ok(Some(n))));
        prop_assert_eq!(options.conflation_key(), Ok(Some(fields)));
        prop_assert_eq!(options.select(), Ok(Some(select)));
        prop_assert_eq!(options.projection(), Ok(Some(projection)));
        prop_assert_eq!(options.bookmark_not_found(), Ok(Some(BookmarkNotFound::Fail)));
    }

    #[test]
    fn no_text_makes_a_parser_panic(
        text in any::<String>(),
        near in r#"[\[(]?[a-z0-9.,/+'"\[\]() -]{0,24}[\])]?"#,
        bytes in vec(any::<u8>(), 0..40),
    ) {
        let _ = Options::try_parse(&bytes);
        for text in [&text, &near] {
            let _ = (text.parse::<Interval>(), text.parse::<Rate>(), text.parse::<Conflation>());
            let _ = (text.parse::<FieldList>(), text.parse::<SelectList>(), text.parse::<Projection>());
            let _ = HeartbeatRequest::parse(text);
            for value in [text.clone(), format!("select={text},projection={text},rate={text},top_n={text}")] {
                let _ = Options::parse(&value).problems(CommandKind::SowAndSubscribe, true);
            }
        }
    }

    #[test]
    fn a_pace_of_one_changes_nothing(seconds in 0u64..1 << 40, nanos in 0u32..1_000_000_000) {
        let pause = Duration::new(seconds, nanos);
        prop_assert_eq!(Pace::new(1, 0).stretch(pause), Some(pause));
        prop_assert_eq!(Pace::new(10, 1).stretch(pause), Some(pause));
    }
}

#[test]
fn the_documented_samples_parse() {
    let options = Options::try_parse("conflation=1m, conflation_key=[/a]").unwrap();
    assert_eq!(options.to_string(), "conflation=1m,conflation_key=[/a]");
    assert_eq!(options.conflation().unwrap().unwrap().to_string(), "1m");
    let options = Options::try_parse("conflation_key= [/id]").unwrap();
    assert_eq!(options.conflation_key().unwrap().unwrap().to_string(), "[/id]");
    let options = Options::try_parse("conflation=10s,conflation_key=[/a,/b]").unwrap();
    assert_eq!(options.len(), 2);
    assert_eq!(options.check(CommandKind::Subscribe, false), Ok(()));
    assert_eq!(Options::try_parse("oof,").unwrap().to_string(), "oof");
}

#[test]
fn a_paginated_query_holds_four_options() {
    let options = Options::try_parse("oof,top_n=10,skip_n=30,select=[-/,+/id,+/ticker]").unwrap();
    assert_eq!(options.len(), 4, "vector V32");
    assert!(options.oof());
    assert_eq!((options.top_n(), options.skip_n()), (Ok(Some(10)), Ok(Some(30))));
    let select = options.select().unwrap().unwrap();
    let expected = [(Selection::Exclude, "/"), (Selection::Include, "/id"), (Selection::Include, "/ticker")];
    assert!(select.iter().eq(expected));
    assert_eq!(options.check(CommandKind::SowAndSubscribe, false), Ok(()));
}

#[test]
fn an_aggregated_query_holds_two_options() {
    let text = "projection=[MAX(/price) AS /max,/tickerId as /ticker],grouping=[/tickerId]";
    let options = Options::try_parse(text).unwrap();
    assert_eq!(options.len(), 2, "vector V35");
    assert_eq!(options.to_string(), text, "what was not touched goes out as it came");
    let projection = options.projection().unwrap().unwrap();
    assert!(projection.iter().eq([("MAX(/price)", "/max"), ("/tickerId", "/ticker")]));
    assert_eq!(options.check(CommandKind::SowAndDeltaSubscribe, false), Ok(()));
    assert!(options.check(CommandKind::SowAndSubscribe, true).is_err(), "not with a bookmark");
}

#[test]
fn a_projection_of_more_than_64_kb_is_a_problem() {
    let mut options = Options::parse("grouping=[/a]");
    options.set("projection", format!("[{} AS /x]", "/a".repeat(40_000)));
    assert!(matches!(options.check(CommandKind::Sow, false), Err(OptionProblem::Value(_))));
}

#[test]
fn every_option_is_refused_where_the_table_has_no_mark() {
    let table: &[(&str, &str)] = &[
        ("ack_conflation", "lg"),
        ("bookmark", "s d qs qd"),
        ("bookmark_not_found", "s+"),
        ("cancel", "del"),
        ("conflation", "s d qs qd"),
        ("conflation_key", "s d qs qd"),
        ("expire", "del"),
        ("fully_durable", "s+"),
        ("grouping", "q qs- qd-"),
        ("lease_extension", "del"),
        ("live", "s+ d+ qs+ qd+"),
        ("max_backlog", "s d ack"),
        ("no_empties", "d qd"),
        ("no_sowkey", "s d q qs qd"),
        ("non_regex_topic", "s d q qs qd"),
        ("oof", "s- d- q qs- qd-"),
        ("pause", "s d qs"),
        ("pretty", "lg"),
        ("projection", "q qs- qd-"),
        ("rate", "s+ d+ qs+"),
        ("rate_max_gap", "s+"),
        ("replace", "s d q qs qd"),
        ("resume", "s d qs"),
        ("select", "s q qs qd"),
        ("send_keys", "d q qs qd"),
        ("skip_n", "q qs qd"),
        ("timestamp", "s d q qs qd"),
        ("top_n", "q qs qd"),
    ];
    let commands = [
        ("s", CommandKind::Subscribe),
        ("d", CommandKind::DeltaSubscribe),
        ("q", CommandKind::Sow),
        ("qs", CommandKind::SowAndSubscribe),
        ("qd", CommandKind::SowAndDeltaSubscribe),
        ("del", CommandKind::SowDelete),
        ("lg", CommandKind::Logon),
        ("ack", CommandKind::Ack),
        ("flush", CommandKind::Flush),
    ];
    for (token, marks) in table {
        let option = OptionName::from_token(token).unwrap();
        let marks: Vec<&str> = marks.split(' ').collect();
        for (short, command) in commands {
            let any = marks.contains(&short);
            let with = any || marks.contains(&&*format!("{short}+"));
            let without = any || marks.contains(&&*format!("{short}-"));
            assert_eq!(option.applies_to(command, true), with, "{token} in {short} with a bookmark");
            assert_eq!(option.applies_to(command, false), without, "{token} in {short} without");
        }
    }
    // All others are those of heartbeats, and `none`.
    assert_eq!(OptionName::ALL.len(), table.len() + 4);
}

#[test]
fn live_excludes_what_slows_a_replay() {
    for other in [OptionName::Rate, OptionName::Pause, OptionName::Resume] {
        let mut options = Options::new();
        options.set_live(true);
        match other {
            OptionName::Rate => drop(options.set_rate(Rate::Pace(Pace::new(2, 0)))),
            _ => options.flag(other.token()),
        }
        let problem = OptionProblem::Excludes { option: OptionName::Live, other };
        assert_eq!(options.check(CommandKind::Subscribe, true), Err(problem));
    }
}

#[test]
fn items_of_a_list_borrow_from_it() {
    let text = String::from("[/a, /b]");
    let mut items = ListItems::parse(&text).unwrap();
    assert_eq!((items.next(), items.next(), items.next()), (Some("/a"), Some("/b"), None));
}

#[test]
fn every_fault_of_a_list_says_in_words_what_was_expected_and_where() {
    let fault = |text: &[u8]| Options::try_parse(text).unwrap_err().to_string();
    assert_eq!(fault(b"oof,\xff"), "invalid options at byte 4: the bytes are not UTF-8");
    assert_eq!(
        fault(b"oof,5"),
        "invalid options at byte 4: expected the name of an option, which is made of lower-case letters, digits and '_'"
    );
    assert_eq!(
        fault(b"oof live"),
        "invalid options at byte 4: expected '=' or ',' after the name of an option"
    );
    assert_eq!(
        fault(b"select=[/a] b"),
        "invalid options at byte 12: expected ',' after the list in brackets"
    );
    assert_eq!(
        "select=[/a".parse::<Options>().unwrap_err().to_string(),
        "invalid options at byte 7: the list that begins here is never closed by ']'"
    );
    let mut options = Options::new();
    options.set("new", "a,b");
    assert_eq!(
        options.check(CommandKind::Sow, false).unwrap_err().to_string(),
        "invalid options at byte 5: a comma outside brackets ends the option; write the value as a list in brackets"
    );
}

#[test]
fn options_of_a_heartbeat_belong_to_no_other_command() {
    let problems = |text: &str, command| Options::parse(text).problems(command, false);
    for option in [OptionName::Start, OptionName::Beat, OptionName::Stop] {
        assert!(option.applies_to(CommandKind::Heartbeat, false));
        let text = if option == OptionName::Start { "start=5" } else { option.token() };
        assert_eq!(problems(text, CommandKind::Heartbeat), [], "{text}");
        let command = CommandKind::Subscribe;
        assert_eq!(problems(text, command), [OptionProblem::NotApplicable { option, command }], "{text}");
    }
}

#[test]
fn values_are_judged_by_the_kind_of_their_option() {
    let first = |text: &str, command, bookmark| {
        Options::parse(text).check(command, bookmark).map_err(|problem| problem.to_string())
    };
    assert_eq!(first("pretty=true", CommandKind::Logon, false), Ok(()));
    assert_eq!(
        first("pretty=maybe", CommandKind::Logon, false).unwrap_err(),
        "option \"pretty\" cannot have the value \"maybe\": at byte 0 expected true or false"
    );
    assert_eq!(first("bookmark_not_found=fail", CommandKind::Subscribe, true), Ok(()));
    assert_eq!(
        first("bookmark_not_found=soon", CommandKind::Subscribe, true).unwrap_err(),
        "option \"bookmark_not_found\" cannot have the value \"soon\": at byte 0 expected epoch, now or fail"
    );
    for (text, option) in
        [("grouping=[]", "grouping"), ("select=[]", "select"), ("projection=[]", "projection")]
    {
        assert_eq!(
            first(text, CommandKind::Sow, false).unwrap_err(),
            format!(
                "option \"{option}\" cannot have the value \"[]\": at byte 1 expected at least one field"
            )
        );
    }
}

#[test]
fn switches_are_taken_back() {
    let mut options = Options::parse("pretty=true,oof");
    assert_eq!(options.set_pretty(false).to_string(), "oof");
    assert_eq!(options.set_pretty(false).to_string(), "oof", "twice is as once");
    assert!(options.remove("oof") && !options.remove("oof"));
}

#[test]
fn values_come_apart_into_what_they_were_made_of() {
    let interval = Interval::from(Duration::from_millis(250));
    assert_eq!(
        (interval.duration(), Duration::from(interval)),
        (Duration::from_millis(250), interval.duration())
    );
    assert_eq!(Pace::new(150, 2).parts(), (15, 1));
    for (i, unit) in [SizeUnit::Kilobytes, SizeUnit::Megabytes, SizeUnit::Gigabytes, SizeUnit::Terabytes]
        .into_iter()
        .enumerate()
    {
        assert_eq!(unit.bytes(), 1024u64.pow(i as u32 + 1));
    }
    for text in ["none", "auto", "250ms"] {
        assert_eq!(text.parse::<Conflation>().unwrap().to_string(), text);
    }
    let list = SelectList::only(["/id", "/x"]).unwrap();
    assert_eq!(list.to_string(), "[-/,+/id,+/x]");
    assert!(SelectList::only(["/id,/x"]).is_err(), "a comma makes two of it");
    assert_eq!(Projection::default(), Projection::new());
}
