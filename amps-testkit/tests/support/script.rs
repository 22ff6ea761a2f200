//! The language of transcripts.
//!
//! ```text
//! ## title                                  a dialogue begins
//! @ queue work lease=30s backlog=5          what the server is told
//! -- A logs on                              connects client A, logon and its ack
//! C(A)> publish t=work | {"id":1}           A sends: command, fields, body
//! S(A)> p t=work bm=$B lp=t+30s !x | {"id":1}
//! S(A)> sow t=orders bs=2 // k=$K | {"id":1} // k=* | {"id":2}
//! -- advance 30s
//! -- A quiet                                nothing else was sent to A
//! -- A closed: heartbeat                    the server closed, for this reason
//! -- A disconnects
//! -- queue work: available=1 leased=0
//! -- A publishes 1..5 to T                  sequence numbers and bodies: {"n":1}, …
//! -- A gets 1..5 of T                       these bodies, each with a bookmark
//! -- log: 5                                 messages in the log
//! -- hold durability, release durability    whether peers confirm what is logged
//! -- truncate before $B, to the newest 2    removes the older part of the log
//! -- restart                                every connection ends; the log is kept
//! @ pair                                    two servers, A and B, that replicate
//! C(p@A)> …, S(p@B)> …, -- p@A logs on      a client, and the server that it is connected to
//! -- partition, heal, kill A, restart A …   see `pair_change`
//! -- log@A: 5, queue work@B: available=1, server@A publishes T | {}
//! -- B refuses clients
//! ```
//!
//! Of a frame from the server only what is named is compared: `h=v`, `h=*` (present), `h=*v`
//! (ends so), `h=$V` (binds V, or equals it), `!h` (absent). At the end every client that is
//! still connected has to be quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use amps_protocol::format_timestamp;
use amps_testkit::{
    ActionConfig, ActionTrigger, AfterEnd, ConflatedTopicConfig, Direction, Entitlement, ExpiryReason,
    Fairness, FakeServer, FakeServerBuilder, Join, JoinField, Leasing, LogCut, MessageLayout,
    MessageTypeConfig, QueueConfig, QueueKind, RaceOrder, ReturnPosition, Schedule, Semantics, Side,
    SowConfig, SowExpiration, SowHistory, Switches, UnloggedBookmark, ViewConfig, ViewSource,
};
use serde_json::Value;

use super::stage::{PairChange, Stage};

const CLOCK_START: u64 = 1_767_225_600_000_000_000;

pub(crate) struct Dialogue {
    pub title: String,
    lines: Vec<(usize, String)>,
}

pub(crate) fn parse(text: &str) -> Vec<Dialogue> {
    let mut dialogues: Vec<Dialogue> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            dialogues.push(Dialogue { title: title.to_owned(), lines: Vec::new() });
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let dialogue = dialogues.last_mut().expect("a title comes first");
            dialogue.lines.push((number + 1, line.to_owned()));
        }
    }
    dialogues
}

impl Dialogue {
    /// The server that the dialogue wants, and the message type of its listener.
    pub(crate) fn server(&self) -> (FakeServerBuilder, Option<&str>) {
        let mut builder = FakeServer::builder();
        let mut message_type = None;
        let mut switches = Switches::default();
        for (_, line) in &self.lines {
            let Some(setting) = line.strip_prefix("@ ") else { continue };
            let words: Vec<&str> = setting.split_whitespace().collect();
            builder = match words[..] {
                ["queue", name, ref rest @ ..] => builder.queue(queue(name, rest)),
                ["sow", name, ref rest @ ..] => builder.sow(sow(name, rest)),
                ["view", name, ref rest @ ..] => builder.view(view(name, rest)),
                ["conflated", name, underlying, interval, ref rest @ ..] => {
                    let topic = ConflatedTopicConfig::new(name, underlying).interval(duration(interval));
                    builder.conflated_topic(conflated(topic, rest))
                }
                ["txlog", topics] => builder.txlog(topics),
                ["no_txlog"] => builder.no_txlog(),
                ["txlog_flush_interval", interval] => builder.txlog_flush_interval(duration(interval)),
                ["switch", name] => {
                    switch(&mut switches, name);
                    builder.switches(switches.clone())
                }
                ["refuse_logon", ..] => builder.refuse_logon(setting["refuse_logon ".len()..].trim()),
                ["credentials", user, password] => builder.credentials(user, password),
                ["nvfix_type", name, separator] => {
                    let separator = separator.as_bytes()[0];
                    builder.message_type(MessageTypeConfig::new(name, MessageLayout::Nvfix { separator }))
                }
                ["action", ref words @ ..] => builder.action(action(words)),
                ["sow_stats", interval] => builder.sow_stats_interval(duration(interval)),
                ["implicit_authentication"] => builder.implicit_authentication(),
                ["challenge", text] => builder.challenge(text),
                ["entitle", right, user, topic, ref rest @ ..] => {
                    builder.entitle(entitlement(right, user, topic, rest))
                }
                ["pair"] => builder,
                ["ack_conflation", interval] => builder.ack_conflation(duration(interval)),
                ["type", name] => {
                    message_type = Some(name);
                    builder
                }
                _ => panic!("unknown setting: {line}"),
            };
        }
        (builder, message_type)
    }

    /// Whether it is about two servers.
    pub(crate) fn is_pair(&self) -> bool {
        self.lines.iter().any(|(_, line)| line == "@ pair")
    }

    /// What the server is told, without the `@`.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &str> {
        self.lines().filter_map(|line| line.strip_prefix("@ "))
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(_, line)| line.as_str())
    }

    /// The same with other lines, or without some. Settings stay.
    pub(crate) fn map(self, change: impl Fn(&str) -> Option<String>) -> Self {
        let lines = self.lines.into_iter();
        let lines = lines.filter_map(|(number, line)| match line.starts_with("@ ") {
            true => Some((number, line)),
            false => Some((number, change(&line)?)),
        });
        Self { title: self.title, lines: lines.collect() }
    }

    pub(crate) fn play(&self, stage: &mut dyn Stage) {
        let mut cast = Cast { stage, clients: BTreeMap::new(), names: BTreeMap::new() };
        for (number, line) in &self.lines {
            let place = format!("{} (line {number}): {line}", self.title);
            if let Some(event) = line.strip_prefix("-- ") {
                cast.event(event, &place);
            } else if let Some(rest) = line.strip_prefix("C(") {
                let (client, command) = rest.split_once(")> ").expect(&place);
                cast.send(client, command);
            } else if let Some(rest) = line.strip_prefix("S(") {
                let (client, expected) = rest.split_once(")> ").expect(&place);
                cast.expect(client, expected, &place);
            } else {
                assert!(line.starts_with("@ "), "not understood: {place}");
            }
        }
        let open: Vec<String> = cast.clients.keys().cloned().collect();
        for client in open {
            cast.quiet(&client, &format!("{}: at the end", self.title));
        }
    }
}

fn switch(switches: &mut Switches, name: &str) {
    match name {
        "bookmark.unlogged=live" => switches.bookmark_unlogged = UnloggedBookmark::Live,
        "queue.return_position=tail" => switches.return_position = ReturnPosition::Tail,
        "bookmark.after_end=remove" => switches.bookmark_after_end = AfterEnd::Remove,
        _ => match name.split_once('=') {
            Some(("queue.transfer_delay", delay)) => switches.transfer_delay = duration(delay),
            Some(("bookmark.persisted_interval", interval)) => {
                switches.bookmark_persisted_interval = Some(duration(interval));
            }
            Some(("bookmark.hash", value)) => {
                let (client, hash) = value.split_once(':').unwrap();
                switches.bookmark_hash.insert(client.to_owned(), hash.parse().unwrap());
            }
            _ => panic!("unknown switch {name}"),
        },
    }
}

fn queue(name: &str, settings: &[&str]) -> QueueConfig {
    let mut queue = QueueConfig::new(name);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap();
        queue = match key {
            "lease" => queue.lease(duration(value)),
            "backlog" => queue.max_backlog(value.parse().unwrap()),
            "priority" => queue.priority(value),
            "barrier" => queue.barrier(value),
            "depth" => queue.target_depth(value.parse().unwrap()),
            "total" => queue.total_backlog(value.parse().unwrap()),
            "underlying" => queue.underlying(value),
            "target" => queue.publish_target(value),
            "expiration" => queue.expiration(duration(value)),
            "filter" => queue.filter(value),
            "deliveries" => queue.max_deliveries(value.parse().unwrap()),
            "cancels" => queue.max_cancels(value.parse().unwrap()),
            "dead_letter" => queue.dead_letter(value),
            "semantics" => queue.semantics(match value {
                "at-most-once" => Semantics::AtMostOnce,
                _ => Semantics::AtLeastOnce,
            }),
            "kind" => queue.kind(match value.split_once(':') {
                Some(("group-local", owner)) => {
                    QueueKind::GroupLocal { initial_owner: owner.to_owned(), domain: None }
                }
                None if value == "local" => QueueKind::Local,
                _ => panic!("unknown kind {value}"),
            }),
            "leasing" => queue.leasing(if value == "strict" { Leasing::Strict } else { Leasing::Sublet }),
            "fairness" => queue.fairness(match value {
                "fast" => Fairness::Fast,
                "round-robin" => Fairness::RoundRobin,
                "proportional" => Fairness::Proportional,
                _ => panic!("unknown fairness {value}"),
            }),
            _ => panic!("unknown queue setting {key}"),
        };
    }
    queue
}

fn sow(name: &str, settings: &[&str]) -> SowConfig {
    let mut topic = SowConfig::new(name);
    for setting in settings {
        let (key, value) = setting.split_once('=').unwrap();
        topic = match key {
            "key" => topic.key(value),
            "preprocess" => topic.preprocess(value.replace('~', " ")),
            "enrich" => topic.enrich(value.replace('~', " ")),
            "domain" => topic.key_domain(value),
            "pattern" => topic.pattern(value),
            // history=WINDOW/GRANULARITY
            "history" => {
                let (window, granularity) = value.split_once('/').unwrap();
                topic.history(SowHistory { window: duration(window), granularity: duration(granularity) })
            }
            "type" => topic.message_type(value),
            "transient" => topic.transient(value == "yes"),
            "expiration" => topic.expiration(match value {
                "disabled" => SowExpiration::Disabled,
                "enabled" => SowExpiration::Enabled,
                period => SowExpiration::After(duration(period)),
            }),
            _ => panic!("unknown setting of a topic: {key}"),
        };
    }
    topic
}

/// `@ view NAME over=TOPIC by=/field field=EXPR~AS~/field filter=EXPR`, `~` for blanks; in place
/// of `over`, `join=LEFT:/field=RIGHT:/field`.
fn view(name: &str, settings: &[&str]) -> ViewConfig {
    let (over, rest) = settings.split_first().unwrap();
    let side = |text: &str| {
        let (topic, field) = text.split_once(':').unwrap();
        JoinField::new(topic, field)
    };
    let source = match over.strip_prefix("over=") {
        Some(topic) => ViewSource::Topic(topic.to_owned()),
        None => {
            let joins = settings.iter().filter_map(|setting| setting.strip_prefix("join="));
            ViewSource::Joins(
                joins
                    .map(|join| {
                        let (left, right) = join.split_once('=').unwrap();
                        Join { left: side(left), right: side(right) }
                    })
                    .collect(),
            )
        }
    };
    let rest = if matches!(source, ViewSource::Topic(_)) { rest } else { settings };
    rest.iter().fold(ViewConfig::new(name, source), |view, setting| {
        let (key, value) = setting.split_once('=').unwrap();
        let value = value.replace('~', " ");
        match key {
            "by" => view.group_by(value),
            "join" => view,
            "nulls" => view.join_null_equivalency(value == "agree"),
            "field" => view.field(value),
            "filter" => view.filter(value),
            _ => panic!("unknown setting of a view: {key}"),
        }
    })
}

/// `@ conflated NAME UNDERLYING INTERVAL filter=EXPR enrich=EXPR~AS~/field format=%n-C`
fn conflated(topic: ConflatedTopicConfig, settings: &[&str]) -> ConflatedTopicConfig {
    settings.iter().fold(topic, |topic, setting| {
        let (key, value) = setting.split_once('=').unwrap();
        let value = value.replace('~', " ");
        match key {
            "filter" => topic.filter(value),
            "enrich" => topic.enrich(value),
            "format" => topic.topic_format(value),
            _ => panic!("unknown setting of a conflated topic: {key}"),
        }
    })
}

/// `@ action (expired TOPIC[:REASON] | published TOPIC[:FILTER] | every INTERVAL)`, then
/// `publish TOPIC DATA` or `delete TOPIC FILTER`; `~` for blanks.
fn action(words: &[&str]) -> ActionConfig {
    let [when, what, act, topic, rest] = words else { panic!("five words: {words:?}") };
    let (what, condition) =
        what.split_once(':').map_or((*what, None), |(a, b)| (a, Some(b.replace('~', " "))));
    let trigger = match *when {
        "expired" => {
            let all = [ExpiryReason::TimeLimit, ExpiryReason::ForcedExpire, ExpiryReason::MaxCancels];
            let wanted = |reason: &ExpiryReason| Some(reason.as_str()) == condition.as_deref();
            ActionTrigger::Expired { topic: what.into(), reasons: all.into_iter().filter(wanted).collect() }
        }
        "published" => ActionTrigger::Published { topic: what.into(), filter: condition },
        "every" => ActionTrigger::Scheduled(Schedule::parse(what).unwrap()),
        _ => panic!("unknown trigger: {when}"),
    };
    let (action, rest) = (ActionConfig::new(trigger), rest.replace('~', " "));
    match *act {
        "publish" => action.publish(*topic, rest),
        "delete" => action.delete_records(*topic, rest),
        _ => panic!("unknown step: {act}"),
    }
}

/// `@ entitle read USER TOPIC filter=EXPR select=[LIST]`, `~` for blanks.
fn entitlement(right: &str, user: &str, topic: &str, settings: &[&str]) -> Entitlement {
    let entitlement = match right {
        "logon" => Entitlement::logon(user),
        "read" => Entitlement::read(user, topic),
        "write" => Entitlement::write(user, topic),
        _ => panic!("unknown right: {right}"),
    };
    settings.iter().fold(entitlement, |entitlement, setting| {
        let (key, value) = setting.split_once('=').unwrap();
        let value = value.replace('~', " ");
        match key {
            "filter" => entitlement.filter(value),
            "select" => entitlement.select(value),
            _ => panic!("unknown setting of an entitlement: {key}"),
        }
    })
}

struct Cast<'a> {
    stage: &'a mut dyn Stage,
    /// Connected clients by name, with the number of the connection.
    clients: BTreeMap<String, usize>,
    names: BTreeMap<String, String>,
}

impl Cast<'_> {
    fn connection(&mut self, client: &str) -> usize {
        if let Some(&number) = self.clients.get(client) {
            return number;
        }
        let number = self.names.values().filter(|name| *name == "(connection)").count();
        self.names.insert(format!("(connection {number})"), "(connection)".to_owned());
        self.turn_to(client);
        self.stage.connect();
        self.clients.insert(client.to_owned(), number);
        number
    }

    /// What follows is about the server that this name says, if it says any.
    fn turn_to(&mut self, name: &str) {
        if let Some(side) = side_of(name) {
            self.stage.turn_to(side);
        }
    }

    fn event(&mut self, event: &str, place: &str) {
        let words: Vec<&str> = event.split_whitespace().collect();
        if let Some(change) = pair_change(event, &words) {
            self.stage.change(&change);
            if let PairChange::Kill { side, .. } | PairChange::Stop(side) = change {
                self.clients.retain(|client, _| side_of(client) != Some(side));
            }
            return;
        }
        match words[..] {
            [side, "refuses", "clients"] => {
                self.turn_to(&format!("@{side}"));
                assert!(self.stage.refuses_clients(), "{place}");
            }
            ["advance", by] => self.stage.advance(duration(by)),
            [server, "publishes", topic, ..] if server.starts_with("server") => {
                self.turn_to(server);
                self.stage.publish(topic, event.split_once(" | ").map_or("", |(_, body)| body));
            }
            ["queue", name, ref counts @ ..] => self.check_queue(name.trim_end_matches(':'), counts, place),
            [log, count] if log.starts_with("log") => {
                self.turn_to(log.trim_end_matches(':'));
                assert_eq!(self.stage.log().len().to_string(), count, "{place}");
            }
            ["hold", "durability"] => self.stage.hold_durability(true),
            ["release", "durability"] => self.stage.hold_durability(false),
            ["truncate", "before", bookmark] => {
                let bookmark = self.filled_in(bookmark).parse().expect(place);
                self.stage.truncate(LogCut::Message(bookmark));
            }
            ["truncate", "to", "the", "newest", count] => {
                self.stage.truncate(LogCut::Newest(count.parse().expect(place)));
            }
            ["restart"] => {
                self.stage.restart();
                self.clients.clear();
            }
            [client, "publishes", numbers, "to", topic] => {
                let number = self.connection(client);
                let mut bytes = Vec::new();
                for n in range(numbers) {
                    let frame = format!("{{\"c\":\"p\",\"t\":\"{topic}\",\"s\":{n}}}{{\"n\":{n}}}");
                    bytes.extend(framed(frame.as_bytes()));
                }
                self.stage.send(number, &bytes, range(numbers).count());
            }
            [client, "gets", numbers, "of", topic] => {
                for n in range(numbers) {
                    self.expect(client, &format!("p t={topic} bm=*|{n}| | {{\"n\":{n}}}"), place);
                }
            }
            [client, "logs", "on"] => {
                let name = client.split('@').next().expect(place);
                let logon = format!("logon cid=logon client_name={name} mt=json a=processed");
                self.send(client, &logon);
                self.expect(client, "ack cid=logon a=processed status=success", place);
            }
            [client, "quiet"] => self.quiet(client, place),
            [client, "disconnects"] => {
                let number = self.clients.remove(client).expect(place);
                self.stage.disconnect(number);
            }
            [client, "closed:", ..] => {
                let reason = event.split_once("closed: ").expect(place).1;
                let number = self.clients.remove(client).expect(place);
                let rest = self.stage.receive(number);
                assert_eq!(rest.map(|frame| String::from_utf8_lossy(&frame).into_owned()), None, "{place}");
                assert_eq!(self.stage.close_reason(number), reason, "{place}");
            }
            [client, "sends", "malformed", ..] => {
                let number = self.connection(client);
                let bytes = event.split_once("malformed ").expect(place).1;
                self.stage.send(number, &framed(bytes.as_bytes()), 0);
            }
            _ => panic!("unknown event: {place}"),
        }
    }

    fn send(&mut self, client: &str, line: &str) {
        let number = self.connection(client);
        let (header, body) = line.split_once(" | ").unwrap_or((line, ""));
        let mut words = words(header).into_iter();
        let mut frame = format!("{{\"c\":\"{}\"", words.next().unwrap());
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("no value: {line}"));
            let value = self.filled_in(value).replace('\\', "\\\\").replace('"', "\\\"");
            frame.push_str(&format!(",\"{key}\":\"{value}\""));
        }
        frame.push('}');
        frame.push_str(body);
        self.stage.send(number, &framed(frame.as_bytes()), 1);
    }

    /// Puts the values of names in: `$A,$B`, `[$A:$B)`. Names are written in capitals.
    fn filled_in(&self, value: &str) -> String {
        let mut parts = value.split('$');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end =
                part.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            match name {
                "" => filled.push('$'),
                name => filled += self.names.get(name).unwrap_or_else(|| panic!("${name} is unbound")),
            }
            filled += rest;
        }
        filled
    }

    fn expect(&mut self, client: &str, expected: &str, place: &str) {
        let number = self.clients[client];
        let frame = self.stage.receive(number).unwrap_or_else(|| panic!("closed instead: {place}"));
        let shown = format!("{place}\n  the server sent {}", String::from_utf8_lossy(&frame));
        // The records of a batch follow its header, each behind `//`.
        let mut expected = expected.split(" //").map(str::trim_start);
        let mut rest = &frame[..];
        let header = expected.next().expect(place);
        let sow = header.split(' ').next() == Some("sow");
        rest = self.expect_part(header, rest, if sow { Some(0) } else { None }, &shown);
        for record in expected {
            rest = self.expect_part(record, rest, None, &shown);
        }
        assert!(rest.is_empty() || !sow, "more records than expected: {shown}");
    }

    /// Compares a header, and a body whose length is `length`, or what `l` says inside a batch,
    /// or all that is left. Returns what follows.
    fn expect_part<'f>(
        &mut self,
        expected: &str,
        bytes: &'f [u8],
        length: Option<usize>,
        shown: &str,
    ) -> &'f [u8] {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        let header = values.next().unwrap_or_else(|| panic!("nothing more: {shown}")).unwrap();
        let after = &bytes[values.byte_offset()..];
        let told = || header.get("l").filter(|_| header.get("c").is_none()).and_then(Value::as_u64);
        let length = length.or_else(|| told().map(|length| length as usize)).unwrap_or(after.len());
        let (body, rest) = after.split_at(length);
        let (expected_header, expected_body) = match (expected.strip_prefix("| "), expected.split_once(" | "))
        {
            (Some(body), _) => ("", Some(body)),
            (None, Some((header, body))) => (header, Some(body)),
            (None, None) => (expected, None),
        };
        if let Some(expected) = expected_body {
            assert_eq!(String::from_utf8_lossy(body), expected, "{shown}");
        }
        let mut words = words(expected_header).into_iter().peekable();
        if header.get("c").is_some() {
            assert_eq!(header["c"].as_str(), words.next().as_deref(), "{shown}");
        }
        for word in words {
            if let Some(absent) = word.strip_prefix('!') {
                assert!(header.get(absent).is_none(), "{absent} is present: {shown}");
                continue;
            }
            let (key, pattern) = word.split_once('=').unwrap_or_else(|| panic!("{word}? {shown}"));
            let value = match header.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => panic!("{key} is absent: {shown}"),
            };
            self.compare(key, &value, pattern, shown);
        }
        rest
    }

    fn compare(&mut self, key: &str, value: &str, pattern: &str, shown: &str) {
        if let Some(name) = pattern.strip_prefix('$') {
            let known = self.names.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            assert_eq!(value, known, "{key}: {shown}");
        } else if let Some(after) = pattern.strip_prefix("t+") {
            let at = CLOCK_START + duration(after).as_nanos() as u64;
            assert_eq!(value, format_timestamp(at).to_string(), "{key}: {shown}");
        } else if let Some(end) = pattern.strip_prefix('*') {
            assert!(value.ends_with(end), "{key}: {shown}");
        } else {
            assert_eq!(value, pattern, "{key}: {shown}");
        }
    }

    /// Everything sent before the answer to a flush was expected before.
    fn quiet(&mut self, client: &str, place: &str) {
        self.send(client, "flush cid=quiet? a=processed");
        self.expect(client, "ack cid=quiet? a=processed", &format!("{place} is not quiet"));
    }

    fn check_queue(&mut self, name: &str, counts: &[&str], place: &str) {
        self.turn_to(name);
        let queue = self.stage.queue(name.split('@').next().expect(place));
        for count in counts {
            let (key, expected) = count.split_once('=').expect(place);
            let expired = || queue.counters.expired.iter().find(|(reason, _)| reason.as_str() == key);
            let found = match key {
                "available" => queue.available.len() as u64,
                "leased" => queue.leased.len() as u64,
                "elsewhere" => queue.elsewhere.len() as u64,
                "acknowledged" => queue.counters.acknowledged,
                "expired_leases" => queue.counters.expired_leases,
                "cancels" => queue.counters.cancels,
                _ => expired().map_or(0, |(_, count)| *count),
            };
            assert_eq!(found.to_string(), expected, "{key}: {place}");
        }
    }
}

/// `p@A`.
fn side_of(name: &str) -> Option<Side> {
    name.split_once('@').map(|(_, side_name)| side(side_name))
}

fn side(name: &str) -> Side {
    match name {
        "A" => Side::A,
        "B" => Side::B,
        _ => panic!("no side of a pair: {name}"),
    }
}

fn direction(name: &str) -> Direction {
    match name {
        "A->B" => Direction::AToB,
        "B->A" => Direction::BToA,
        _ => panic!("no direction: {name}"),
    }
}

fn pair_change(event: &str, words: &[&str]) -> Option<PairChange> {
    Some(match *words {
        ["partition"] => PairChange::Partition,
        ["heal"] => PairChange::Heal,
        ["pause", link] => PairChange::Pause(direction(link)),
        ["resume", link] => PairChange::Resume(direction(link)),
        ["deliver", link, count] => PairChange::Deliver(direction(link), count.parse().unwrap()),
        ["downgrade", link] => PairChange::Downgrade(direction(link)),
        ["upgrade", link] => PairChange::Upgrade(direction(link)),
        ["lag", link, lag] => PairChange::Lag(direction(link), duration(lag)),
        ["kill", name] => PairChange::Kill { side: side(name), keep_log: true },
        ["kill", name, "and", "its", "log"] => PairChange::Kill { side: side(name), keep_log: false },
        ["stop", name] => PairChange::Stop(side(name)),
        ["restart", name] => PairChange::Restart { side: side(name), early: false },
        ["restart", name, "early"] => PairChange::Restart { side: side(name), early: true },
        ["proxied", "transfer", "of", queue] => PairChange::Proxied {
            side: side_of(queue)?,
            queue: queue.split('@').next()?.to_owned(),
            on: true,
        },
        ["race", order, topic, ..] => {
            let mut bodies = event.split(" | ").skip(1).map(str::to_owned);
            let order = match order {
                "a_first" => RaceOrder::AFirst,
                "b_first" => RaceOrder::BFirst,
                "each_own_first" => RaceOrder::EachOwnFirst,
                _ => panic!("no order: {order}"),
            };
            PairChange::Race { order, topic: topic.to_owned(), on_a: bodies.next()?, on_b: bodies.next()? }
        }
        _ => return None,
    })
}

/// `3..5`: both ends belong to it.
fn range(text: &str) -> std::ops::RangeInclusive<u64> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    first.parse().unwrap()..=last.parse().unwrap()
}

pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

/// Splits at spaces that lie outside of double quotes, and takes the quotes away.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
    }
}
