//! Replay and what follows it are what was published: every message that matches, once, in the
//! order of the log, however slow the consumer and whatever happens meanwhile.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use amps_protocol::{Bookmark, CommandKind, Message};
use amps_testkit::{FakeServer, FakeServerBuilder, JournalMode, Switches};
use proptest::prelude::*;
use support::in_process::InProcess;
use support::stage::Stage;

/// The first part of the publisher's bookmarks.
const PUBLISHER: u64 = 7;

fn server() -> FakeServerBuilder {
    let mut switches = Switches::default();
    switches.bookmark_hash.insert("P".to_owned(), PUBLISHER);
    FakeServer::builder().txlog("^[TV]$").switches(switches)
}

fn frame(header: &str, body: &str) -> Vec<u8> {
    let length = (header.len() + body.len()) as u32;
    [&length.to_be_bytes()[..], header.as_bytes(), body.as_bytes()].concat()
}

fn logon(name: &str) -> Vec<u8> {
    frame(&format!(r#"{{"c":"logon","mt":"json","client_name":"{name}"}}"#), "")
}

fn publish(sequence: u64, topic: &str, body: &str) -> Vec<u8> {
    frame(&format!(r#"{{"c":"p","s":{sequence},"t":"{topic}"}}"#), body)
}

// --- Against a recomputation -----------------------------------------------------------------

/// How a bookmark names a place.
#[derive(Clone, Copy, Debug)]
enum Spot {
    Epoch,
    Now,
    /// The n-th message of those published at the end of the test, so perhaps still to come.
    Message(usize),
    /// So many milliseconds after the start.
    Time(u64),
}

#[derive(Clone, Debug)]
enum From {
    /// The earliest of these.
    List(Vec<Spot>),
    Range {
        start: Spot,
        open: bool,
        end: Spot,
        closed: bool,
    },
}

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        topic: usize,
        kind: u8,
        large: bool,
    },
    Advance {
        millis: u64,
    },
    Subscribe {
        client: usize,
        topic: usize,
        kind: Option<u8>,
        from: From,
        rate: Option<&'static str>,
        top_n: Option<u64>,
    },
    Pause {
        client: usize,
        nth: usize,
    },
    /// Of one client, all of its subscriptions together.
    Resume {
        client: usize,
    },
    /// A client receives so many frames, and the server notices.
    Drain {
        client: usize,
        frames: usize,
    },
}

const PUBLISHED: [&str; 3] = ["T", "U", "V"];
const SUBSCRIBED: [&str; 3] = ["T", ".", "^(T|V)$"];
const CLIENTS: usize = 2;

fn spot() -> impl Strategy<Value = Spot> {
    prop_oneof![
        2 => Just(Spot::Epoch),
        1 => Just(Spot::Now),
        3 => (0usize..40).prop_map(Spot::Message),
        2 => (0u64..400).prop_map(Spot::Time),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = 0..CLIENTS;
    let from =
        prop_oneof![
            prop::collection::vec(spot(), 1..3).prop_map(From::List),
            (spot(), any::<bool>(), spot(), any::<bool>())
                .prop_map(|(start, open, end, closed)| From::Range { start, open, end, closed }),
        ];
    let subscribe = (
        client.clone(),
        0usize..3,
        prop::option::of(0u8..3),
        from,
        prop::option::of(prop::sample::select(vec!["100", "64KB", "2X", ".5X"])),
        prop::option::weighted(0.2, 0u64..6),
    );
    prop_oneof![
        8 => (0usize..3, 0u8..3, any::<bool>())
            .prop_map(|(topic, kind, large)| Operation::Publish { topic, kind, large }),
        2 => (0u64..50).prop_map(|millis| Operation::Advance { millis }),
        3 => subscribe.prop_map(|(client, topic, kind, from, rate, top_n)| Operation::Subscribe {
            client, topic, kind, from, rate, top_n
        }),
        1 => (client.clone(), 0usize..8).prop_map(|(client, nth)| Operation::Pause { client, nth }),
        1 => client.clone().prop_map(|client| Operation::Resume { client }),
        3 => (client, 1usize..6).prop_map(|(client, frames)| Operation::Drain { client, frames }),
    ]
}

struct Published {
    topic: &'static str,
    kind: u8,
    at: u64,
}

/// A subscription as the recomputation sees it.
struct Expected {
    client: usize,
    id: String,
    topic: usize,
    kind: Option<u8>,
    from: From,
    top_n: Option<u64>,
    /// Messages published before it, and the time then.
    before: usize,
    at: u64,
}

struct Play {
    stage: InProcess,
    published: Vec<Published>,
    expected: Vec<Expected>,
    received: BTreeMap<(usize, String), Vec<u64>>,
    millis: u64,
}

impl Play {
    /// Connection 0 publishes, the others subscribe.
    fn start() -> Self {
        let mut stage = InProcess::start(server(), None);
        stage.be_slow();
        for connection in 0..=CLIENTS {
            stage.connect();
            let name = if connection == 0 { "P".to_owned() } else { format!("c{connection}") };
            stage.send(connection, &logon(&name), 1);
        }
        Self { stage, published: Vec::new(), expected: Vec::new(), received: BTreeMap::new(), millis: 0 }
    }

    fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Publish { topic, kind, large } => {
                let topic = PUBLISHED[*topic];
                self.published.push(Published { topic, kind: *kind, at: self.millis });
                let filler = "x".repeat(if *large { 50_000 } else { 0 });
                let sequence = self.published.len() as u64;
                let body = format!(r#"{{"kind":{kind},"filler":"{filler}"}}"#);
                self.stage.send(0, &publish(sequence, topic, &body), 1);
            }
            Operation::Advance { millis } => {
                self.millis += millis;
                self.stage.advance(Duration::from_millis(*millis));
            }
            Operation::Subscribe { client, topic, kind, from, rate, top_n } => {
                let is_now = |spot: &Spot| matches!(spot, Spot::Now);
                let now_only = matches!(from, From::List(list) if list.iter().all(is_now));
                let top_n = top_n.filter(|_| !now_only);
                let id = format!("s{}", self.expected.len());
                let mut header = format!(
                    r#"{{"c":"subscribe","sub_id":"{id}","t":"{}","bm":"{}""#,
                    SUBSCRIBED[*topic],
                    written(from, self.stage.now().as_unix_nanos() - self.millis * 1_000_000)
                );
                if let Some(kind) = kind {
                    header += &format!(r#","f":"/kind = {kind}""#);
                }
                if let Some(top_n) = top_n {
                    header += &format!(r#","top_n":{top_n}"#);
                }
                if let Some(rate) = rate {
                    header += &format!(r#","o":"rate={rate},rate_max_gap=30ms""#);
                }
                header.push('}');
                self.expected.push(Expected {
                    client: *client,
                    id,
                    topic: *topic,
                    kind: *kind,
                    from: from.clone(),
                    top_n,
                    before: self.published.len(),
                    at: self.millis,
                });
                self.stage.send(client + 1, &frame(&header, ""), 1);
            }
            Operation::Pause { client, nth } => {
                let Some(id) = self.ids(*client).into_iter().nth(*nth) else { return };
                self.control(*client, &id, "pause");
            }
            Operation::Resume { client } => {
                let ids = self.ids(*client).join(",");
                if !ids.is_empty() {
                    self.control(*client, &ids, "resume");
                }
            }
            Operation::Drain { client, frames } => {
                self.receive(*client, *frames);
                self.stage.continue_replays();
            }
        }
    }

    fn ids(&self, client: usize) -> Vec<String> {
        self.expected.iter().filter(|sub| sub.client == client).map(|sub| sub.id.clone()).collect()
    }

    fn control(&mut self, client: usize, ids: &str, what: &str) {
        let header = format!(r#"{{"c":"subscribe","sub_id":"{ids}","t":"T","o":"{what}"}}"#);
        self.stage.send(client + 1, &frame(&header, ""), 1);
    }

    /// Receives at most so many frames; returns how many there were.
    fn receive(&mut self, client: usize, frames: usize) -> usize {
        let mut count = 0;
        while let Some(bytes) = (count < frames).then(|| self.stage.poll(client + 1)).flatten() {
            count += 1;
            let message = Message::decode(bytes).unwrap();
            assert_eq!(message.command(), CommandKind::Publish);
            let bookmark = Bookmark::from(message.bookmark().unwrap()).message_id().unwrap();
            assert_eq!(bookmark.publisher, PUBLISHER);
            for id in message.ids() {
                let received = self.received.entry((client, id.to_string())).or_default();
                received.push(bookmark.sequence);
            }
        }
        count
    }

    /// Resumes everything, and lets clients and clock go on until nothing moves.
    fn finish(&mut self) {
        for client in 0..CLIENTS {
            self.perform(&Operation::Resume { client });
        }
        let mut quiet = 0;
        while quiet < 3 {
            let moved: usize = (0..CLIENTS).map(|client| self.receive(client, usize::MAX)).sum();
            self.stage.continue_replays();
            self.perform(&Operation::Advance { millis: 1000 });
            quiet = if moved == 0 { quiet + 1 } else { 0 };
        }
    }

    fn check(&self) {
        for sub in &self.expected {
            let expected = self.recompute(sub);
            let none = Vec::new();
            let received = self.received.get(&(sub.client, sub.id.clone())).unwrap_or(&none);
            assert_eq!(received, &expected, "{} of {:?}", sub.id, sub.from);
        }
    }

    /// The sequence numbers that a subscription must get, from the list of what was published.
    fn recompute(&self, sub: &Expected) -> Vec<u64> {
        let in_topic = |topic: &str| match SUBSCRIBED[sub.topic] {
            "T" => topic == "T",
            // U is not logged.
            _ => topic != "U",
        };
        let wanted = |index: &usize| {
            let message = &self.published[*index];
            in_topic(message.topic) && sub.kind.is_none_or(|kind| kind == message.kind)
        };
        let (start, end) = self.bounds(sub);
        let limit = sub.top_n.map_or(usize::MAX, |n| n as usize);
        (start..end.max(start)).filter(wanted).take(limit).map(|index| index as u64 + 1).collect()
    }

    /// Indices of the first message and behind the last one that may be delivered. All that
    /// is not logged is in the list too, and is nowhere.
    fn bounds(&self, sub: &Expected) -> (usize, usize) {
        let logged = |index: usize| self.published.get(index).is_some_and(|message| message.topic != "U");
        let known = |index: usize| index < sub.before && logged(index);
        let first_at = |millis: u64| self.published.iter().take_while(|m| m.at < millis).count();
        // A time that is still to come does not let in what is published before it.
        let at =
            |millis: u64| if millis > sub.at { first_at(millis) } else { first_at(millis).min(sub.before) };
        let last = || (0..sub.before).rev().find(|&index| logged(index)).unwrap_or(sub.before);
        match &sub.from {
            From::List(spots) => {
                // The position in the log comes first, as it was when the command came.
                let place = |spot: &Spot| match *spot {
                    Spot::Epoch => Some((0, 0)),
                    Spot::Now => Some((sub.before, 0)),
                    Spot::Message(index) => known(index).then_some((index + 1, 0)),
                    Spot::Time(millis) => Some((at(millis).min(sub.before), millis)),
                };
                let positions = spots.iter().filter_map(place).map(|(position, millis)| {
                    // Between two logged messages lies one place, however many others are there.
                    let next = (position..sub.before).find(|&index| logged(index)).unwrap_or(sub.before);
                    (next, millis)
                });
                let (position, millis) = positions.min().unwrap_or((sub.before, 0));
                (position.max(first_at(millis)), self.published.len())
            }
            From::Range { start, open, end, closed } => {
                let exclusive = u64::from(*open);
                let start = match *start {
                    Spot::Epoch => 0,
                    Spot::Now if *open => sub.before,
                    Spot::Now => last(),
                    Spot::Message(index) if known(index) => index + usize::from(*open),
                    Spot::Message(_) => sub.before,
                    Spot::Time(millis) => at(millis + exclusive),
                };
                let inclusive = u64::from(*closed);
                let end = match *end {
                    Spot::Epoch => 0,
                    Spot::Now if *closed => sub.before,
                    Spot::Now => last(),
                    Spot::Message(index) if logged(index) => index + usize::from(*closed),
                    Spot::Message(_) => self.published.len(),
                    Spot::Time(millis) => first_at(millis + inclusive),
                };
                (start, end)
            }
        }
    }
}

/// A bookmark as it goes over the wire.
fn written(from: &From, start_nanos: u64) -> String {
    let spot = |spot: &Spot| match *spot {
        Spot::Epoch => "0".to_owned(),
        Spot::Now => "0|1|".to_owned(),
        Spot::Message(index) => format!("{PUBLISHER}|{}|", index + 1),
        Spot::Time(millis) => Bookmark::at(start_nanos + millis * 1_000_000).to_string(),
    };
    match from {
        From::List(spots) => spots.iter().map(spot).collect::<Vec<_>>().join(","),
        From::Range { start, open, end, closed } => {
            let (open, close) = (if *open { '(' } else { '[' }, if *closed { ']' } else { ')' });
            format!("{open}{}:{}{close}", spot(start), spot(end))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn replay_and_live_messages_are_what_was_published(
        operations in prop::collection::vec(operation(), 1..80),
    ) {
        let mut play = Play::start();
        for operation in &operations {
            play.perform(operation);
        }
        play.finish();
        play.check();
    }
}

// --- Much at a time --------------------------------------------------------------------------

const MESSAGES: u64 = 100_000;

/// Publishes these numbers, a thousand in one write.
fn publish_all(numbers: impl Iterator<Item = u64>, mut write: impl FnMut(&[u8], usize)) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for n in numbers {
        bytes.extend(publish(n, "T", &n.to_string()));
        count += 1;
        if count == 1000 {
            write(&bytes, count);
            (bytes, count) = (Vec::new(), 0);
        }
    }
    write(&bytes, count);
}

#[test]
fn a_long_replay_holds_nobody_up_and_waits_for_its_consumer() {
    let mut stage = InProcess::quiet(server());
    stage.be_slow();
    for (connection, name) in ["P", "slow", "other"].iter().enumerate() {
        stage.connect();
        stage.send(connection, &logon(name), 1);
    }
    publish_all(1..=MESSAGES, |bytes, count| stage.send(0, bytes, count));
    stage.send(1, &frame(r#"{"c":"subscribe","sub_id":"s","t":"T","bm":"0"}"#, ""), 1);
    let most = 512 * 1024;
    assert!((1..most).contains(&stage.waiting(1)), "{} bytes wait", stage.waiting(1));
    // Whoever comes meanwhile is served at once, and what is published is not held in memory
    // for the slow one.
    stage.send(2, &frame(r#"{"c":"subscribe","cid":"1","sub_id":"o","t":"T","a":"processed"}"#, ""), 1);
    assert!(stage.poll(2).is_some());
    stage.send(0, &publish(MESSAGES + 1, "T", "last"), 1);
    let live = Message::decode(stage.poll(2).unwrap()).unwrap();
    assert_eq!(live.data(), b"last");
    let mut next = 1;
    while next <= MESSAGES + 1 {
        assert!(stage.waiting(1) < most, "{} bytes wait", stage.waiting(1));
        while let Some(bytes) = stage.poll(1) {
            let message = Message::decode(bytes).unwrap();
            let bookmark = Bookmark::from(message.bookmark().unwrap()).message_id().unwrap();
            assert_eq!(bookmark.sequence, next);
            next += 1;
        }
        stage.continue_replays();
    }
    assert_eq!(stage.engine().replay_deadline(), None);
}

/// AC-TXL-09.
#[test]
fn a_publisher_at_full_speed_leaves_no_gap_and_no_duplicate() {
    for virtual_clock in [false, true] {
        let server = server().journal(JournalMode::Off);
        let server = if virtual_clock { server.virtual_clock() } else { server }.start().unwrap();
        let mut publisher = TcpStream::connect(server.addr()).unwrap();
        publisher.write_all(&logon("P")).unwrap();
        publish_all(1..=MESSAGES / 4, |bytes, _| publisher.write_all(bytes).unwrap());
        // The rest comes while the first quarter is replayed.
        let (begin, begins) = std::sync::mpsc::channel::<()>();
        let publishing = std::thread::spawn(move || {
            begins.recv().unwrap();
            publish_all(MESSAGES / 4 + 1..=MESSAGES, |bytes, _| publisher.write_all(bytes).unwrap());
            publisher
        });
        let mut consumer = TcpStream::connect(server.addr()).unwrap();
        consumer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        consumer.write_all(&logon("c")).unwrap();
        let subscribe = r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","bm":"0","a":"completed"}"#;
        consumer.write_all(&frame(subscribe, "")).unwrap();
        let mut consumer = std::io::BufReader::new(consumer);
        let (mut next, mut completed) = (1, 0);
        while next <= MESSAGES {
            let mut prefix = [0; 4];
            consumer.read_exact(&mut prefix).unwrap();
            let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
            consumer.read_exact(&mut bytes).unwrap();
            let message = Message::decode(bytes).unwrap();
            if message.command() == CommandKind::Ack {
                completed += 1;
                let reached = message.bookmark().map(|bm| Bookmark::from(bm).message_id().unwrap().sequence);
                assert_eq!(reached.unwrap_or(0), next - 1, "completed comes at the cut-over");
                assert!(next - 1 <= MESSAGES / 4);
                continue;
            }
            if next == 1 {
                begin.send(()).unwrap();
            }
            assert_eq!(message.data(), next.to_string().as_bytes());
            next += 1;
        }
        assert_eq!(completed, 1);
        publishing.join().unwrap();
        assert_eq!(server.logged_messages().len() as u64, MESSAGES);
    }
}
