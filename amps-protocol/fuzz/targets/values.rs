//! What is asserted of the values that fields hold: bookmarks, options, ids, times, versions.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use amps_protocol::{
    AckTypes, BStr, Bookmark, BookmarkError, BookmarkList, BookmarkNotFound, BookmarkRange, CommandKind,
    Conflation, Field, FieldList, FrameWriter, HeartbeatRequest, Id, Ids, Interval, LENGTH_PREFIX, LeaseEnd,
    Message, MessageId, OofReason, OptionProblem, OptionValueError, Options, OptionsError, Position,
    Projection, Rate, ReasonClass, ReplayFrom, SelectList, ServerVersion, SowKeys, Status, ValueFault,
    format_timestamp, parse_timestamp,
};
use bytes::BytesMut;

/// A bookmark, a list, a range: sent back as it was received (B-3), and read as it was printed.
pub(crate) fn bookmark(data: &[u8]) {
    let bookmark = Bookmark::from(data);
    assert_eq!(bookmark.as_ref(), data);
    assert_eq!(bookmark.to_string(), BStr::new(data).to_string());
    assert_eq!(bookmark, bookmark.clone());

    let mut out = BytesMut::new();
    FrameWriter::new(&mut out, CommandKind::SowDelete).text(Field::Bookmark, &bookmark).finish(b"");
    let message = Message::decode(&out[LENGTH_PREFIX..]).unwrap();
    // An empty identifier counts as absent (D-14).
    let expected = Some(data).filter(|data| !data.is_empty());
    assert_eq!(message.bookmark().map(|text| &**text), expected);

    if let Some(id) = within(data, MessageId::parse(data)) {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.encode(&mut [0; MessageId::MAX_LEN]), id.to_string().as_bytes());
        let now = (id.publisher, id.sequence) == (0, 1);
        assert_eq!(bookmark.position(), if now { Position::Now } else { Position::Message(id) });
    }
    if let Position::Timestamp(nanos) = bookmark.position() {
        assert_eq!(Bookmark::at(nanos).position(), Position::Timestamp(nanos / 1000 * 1000));
    }

    let list = within(data, BookmarkList::parse(data));
    if let Some(list) = &list {
        let sent = concat(list.pieces());
        assert_eq!(BookmarkList::parse(&sent).as_ref(), Ok(list));
        assert_eq!(list.to_string(), BStr::new(&sent).to_string());
        let entries = data.split(|byte| *byte == b',').count();
        assert!((1..=entries).contains(&list.len()), "{} of {entries}", list.len());
        for id in list.iter().filter_map(Bookmark::message_id) {
            assert_eq!(list.get(id.publisher), Some(id));
        }
        let mut merged = list.clone();
        merged.merge(list);
        assert_eq!(&merged, list);
    }
    let range = within(data, BookmarkRange::parse(data));
    if let Some(range) = &range {
        assert_eq!(BookmarkRange::parse(&concat(range.pieces())).as_ref(), Ok(range));
        let edges = (range.start_edge(), range.end_edge());
        let again = BookmarkRange::new(range.start().clone(), range.end().clone()).unwrap();
        assert_eq!(&again.with_edges(edges.0, edges.1), range);
    }
    let replay = within(data, ReplayFrom::parse(data));
    if let Some(replay) = &replay {
        assert_eq!(ReplayFrom::parse(&concat(replay.pieces())).as_ref(), Ok(replay));
        assert_eq!(
            (replay.list(), replay.range()),
            (list.as_ref().filter(|_| range.is_none()), range.as_ref())
        );
    }
    assert_eq!(replay.is_some(), list.is_some() || range.is_some());
}

/// A fault lies within its text, and has words.
fn within<T>(text: &[u8], parsed: Result<T, BookmarkError>) -> Option<T> {
    if let Err(error) = &parsed {
        assert!(error.offset <= text.len() && !error.to_string().is_empty(), "{error:?}");
    }
    parsed.ok()
}

fn concat<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    pieces.collect::<Vec<_>>().concat()
}

/// Options: read, printed, read again; judged and looked into without a panic.
pub(crate) fn options(data: &[u8]) {
    let strict = Options::try_parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return assert!(matches!(strict, Err(OptionsError { offset, .. }) if offset < data.len()));
    };
    let options = Options::parse(text);
    match strict {
        Ok(strict) => {
            assert_eq!(strict, options);
            assert_eq!(Options::try_parse(strict.to_string()), Ok(strict));
        }
        Err(error) => assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error}"),
    }
    for (name, value) in options.iter() {
        assert!(!name.is_empty() && options.contains(name), "{name:?}");
        assert_eq!(options.get(name), value);
    }
    let mut names: Vec<&str> = options.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "every option once: {options}");
    assert_eq!(concat(options.pieces()), options.to_string().as_bytes());

    // A list that is never closed (O-8) swallows what is printed behind it, once.
    let again = Options::parse(&options.to_string());
    if text.contains(['[', ']']) {
        let settled = Options::parse(&again.to_string());
        assert_eq!(Options::parse(&settled.to_string()), settled);
    } else {
        assert_eq!(again, options);
    }

    if let Some(request) = HeartbeatRequest::parse(text) {
        assert_eq!(HeartbeatRequest::parse(&request.to_string()), Some(request));
    }
    typed(&options);
    let kind = CommandKind::ALL[data.len() % CommandKind::ALL.len()];
    for has_bookmark in [false, true] {
        judged(&options, kind, has_bookmark);
    }
}

/// Every typed getter: what it gives is read again once it is set.
fn typed(options: &Options) {
    macro_rules! read_and_set {
        ($($get:ident $set:ident,)*) => {
            $(match options.$get() {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let mut set = options.clone();
                    set.$set(value.clone());
                    assert_eq!(set.$get(), Ok(Some(value)));
                    assert_eq!(set.len(), options.len());
                }
                Err(error) => value_within(&error),
            })*
        };
    }
    read_and_set!(
        ack_conflation set_ack_conflation,
        bookmark_not_found set_bookmark_not_found,
        conflation set_conflation,
        conflation_key set_conflation_key,
        grouping set_grouping,
        lease_extension set_lease_extension,
        max_backlog set_max_backlog,
        projection set_projection,
        rate set_rate,
        rate_max_gap set_rate_max_gap,
        select set_select,
        skip_n set_skip_n,
        top_n set_top_n,
    );
    assert_eq!(options.oof(), options.contains("oof"));
    if let Err(error) = options.pretty() {
        value_within(&error);
    }
}

fn value_within(error: &OptionValueError) {
    assert!(error.fault.offset <= error.value.len(), "{error:?}");
}

fn judged(options: &Options, command: CommandKind, has_bookmark: bool) {
    let problems = options.problems(command, has_bookmark);
    assert_eq!(options.check(command, has_bookmark), problems.first().cloned().map_or(Ok(()), Err));
    for problem in &problems {
        assert!(!problem.to_string().is_empty());
        match problem {
            OptionProblem::Malformed(error) => assert!(error.offset <= options.to_string().len(), "{error}"),
            OptionProblem::Value(error) => value_within(error),
            _ => {}
        }
    }
    if problems.is_empty() && command != CommandKind::Heartbeat {
        assert_eq!(Options::try_parse(options.to_string()).as_ref(), Ok(options), "sent as it was meant");
    }
}

/// A list of ids: each once, in the order of the list.
pub(crate) fn ids(data: &[u8]) {
    let entries = || data.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|id| !id.is_empty());
    let mut seen = BTreeSet::new();
    let expected: Vec<&[u8]> = entries().filter(|id| seen.insert(*id)).collect();
    let mut ids = Ids::new(data);
    assert!(ids.by_ref().map(|id| &**id).eq(expected.iter().copied()));
    assert_eq!(ids.next(), None);
    assert!(SowKeys::new(data).map(|key| &**key).eq(entries()));
    // However often the list is repeated, nothing new comes.
    let repeated = [data, b","].concat().repeat(8);
    assert!(Ids::new(&repeated).map(|id| &**id).eq(expected.iter().copied()));

    let usable: Vec<Id<'_>> = expected.iter().filter_map(|id| Id::text(*id).ok()).collect();
    assert!(expected.len() - usable.len() <= 1, "every entry but \"all\" is an id");
    let mut out = BytesMut::new();
    FrameWriter::new(&mut out, CommandKind::Publish).list(Field::SubIds, &usable).finish(b"");
    let message = Message::decode(&out[LENGTH_PREFIX..]).unwrap();
    assert!(message.ids().map(|id| &**id).eq(usable.iter().map(Id::as_bytes)));

    // The whole as one id: accepted if and only if a list gives it back alone.
    let alone = expected == [data];
    match Id::text(data) {
        Ok(id) => {
            assert!(alone && id.as_bytes() == data && id.clone().into_owned() == id);
            if let Ok(number) = id.to_string().parse::<u64>() {
                assert_eq!(Id::number(number) == id, number.to_string().as_bytes() == data);
            }
        }
        Err(error) => assert!(!alone || data == b"all", "{error}"),
    }
}

/// The values that stand alone in a field or an option: what is printed is read again.
pub(crate) fn value(data: &[u8]) {
    if let Some(nanos) = parse_timestamp(data) {
        let printed = format_timestamp(nanos).to_string();
        assert_eq!(parse_timestamp(printed.as_bytes()), Some(nanos / 1000 * 1000), "{printed}");
        assert_eq!(LeaseEnd::parse(data), Ok(LeaseEnd::At(nanos)));
    }
    match LeaseEnd::parse(data) {
        Ok(end) => {
            let at = [0, 1, u64::MAX].map(|arrival| end.unix_nanos(arrival));
            assert!(at[0] <= at[1] && at[1] <= at[2]);
            if let LeaseEnd::In(duration) = end {
                let printed = Interval::from(duration).to_string();
                assert_eq!(printed.parse(), Ok(end));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ServerVersion::parse(data) {
        Ok(version) => {
            assert_eq!(version.to_string().parse(), Ok(version));
            let [major, minor, maintenance, hotfix] = version.numbers();
            assert_eq!(ServerVersion::new(major, minor, maintenance, hotfix), version);
        }
        Err(error) => assert!(error.offset <= data.len()),
    }
    let acks = AckTypes::parse(data);
    assert_eq!(AckTypes::parse(acks.to_string().as_bytes()), acks);
    let status = Status::from_token(data);
    assert!(status == Status::Other || data.eq_ignore_ascii_case(status.token().as_bytes()));
    let reason = OofReason::of(data);
    assert!(reason == OofReason::Other || OofReason::of(reason.token().as_bytes()) == reason);

    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(ReasonClass::of(text), ReasonClass::of(format!(" {text}\t")));
    read_again::<Interval>(text);
    read_again::<Rate>(text);
    read_again::<Conflation>(text);
    read_again::<BookmarkNotFound>(text);
    read_again::<FieldList>(text);
    read_again::<SelectList>(text);
    read_again::<Projection>(text);
    if let Ok(Rate::Pace(pace)) = text.parse() {
        let (digits, _) = pace.parts();
        assert_eq!(digits == 0, pace.stretch(Duration::ZERO).is_none() && digits == 0);
    }
}

fn read_again<T: FromStr<Err = ValueFault> + Display + PartialEq + std::fmt::Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value)),
        Err(fault) => assert!(fault.offset <= text.len() && !fault.to_string().is_empty(), "{fault:?}"),
    }
}
