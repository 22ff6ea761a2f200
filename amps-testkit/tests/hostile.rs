//! Whatever 50 clients send, commands that make sense in no order or bytes that are none, the
//! engine goes on, keeps its books, and does nothing for ever.
//!
//! Longer: `AMPS_FUZZ_SEED=1 AMPS_FUZZ_INPUTS=1000000 cargo test --release -p amps-testkit --test hostile`.

mod support;

use std::io::Write;
use std::time::Duration;

use amps_testkit::sim::Rng;
use amps_testkit::{
    ActionConfig, ConflatedTopicConfig, FakeServer, FakeServerBuilder, Join, JoinField, QueueConfig,
    Schedule, SowConfig, SowExpiration, SowHistory, ViewConfig, ViewSource,
};
use serde_json::{Value, json};
use support::in_process::InProcess;
use support::raw_client::RawClient;
use support::stage::Stage;

const CLIENTS: usize = 50;

const TOPICS: &[&str] = &[
    "orders",
    "sessions",
    "chosen",
    "past",
    "fx/eur",
    "fx/usd",
    "totals",
    "joined",
    "slow",
    "work",
    "jobs",
    "once",
    "first",
    "plain",
    "^o.*",
    ".*",
    "fx/.*",
    "(",
    "",
    "/AMPS/ClientStatus",
    "/AMPS/devnull",
    "nowhere",
];

const FILTERS: &[&str] = &[
    "/id = 1",
    "/id > 2 AND /s = 'a'",
    "/s LIKE '^a'",
    "/s IN ('a', 'b')",
    "/n IS NULL",
    "/id = ",
    "UNIX_TIMESTAMP() > 0",
    "/legs/px > 3",
    "NOT /id = 1",
    "LENGTH(/s) > 1",
    "(",
    "/n BETWEEN 1 AND 5 OR BOOKMARK() IS NULL",
    "1 = 1",
    "1 = 0",
];

const OPTIONS: &[&str] = &[
    "oof",
    "replace",
    "timestamp",
    "bookmark",
    "no_empties",
    "send_keys",
    "no_sowkey",
    "top_n=2",
    "skip_n=1",
    "live",
    "fully_durable",
    "pause",
    "resume",
    "rate=10",
    "rate_max_gap=1s",
    "conflation=1s",
    "conflation=auto",
    "conflation_key=[/id]",
    "select=[-/,+/id]",
    "projection=[/s AS /s,COUNT(/id) AS /n]",
    "grouping=[/s]",
    "bookmark_not_found=epoch",
    "bookmark_not_found=fail",
    "max_backlog=3",
    "max_backlog=0",
    "cancel",
    "expire",
    "lease_extension=5s",
    "non_regex_topic",
    "no_such_option",
    "conflation=",
    "top_n=x",
    "start,5",
    "beat",
];

const BODIES: &[&str] = &[
    r#"{"id":1,"s":"a","n":1}"#,
    r#"{"id":2,"s":"b","n":2}"#,
    r#"{"id":3,"s":"a","legs":[{"px":1},{"px":5}]}"#,
    r#"{"id":4}"#,
    r#"{"s":null}"#,
    r#"{"id":"5","n":-1e300}"#,
    "[]",
    "not json",
    "",
    r#"{"id":1"#,
    r#"{"id":9,"id":8}"#,
];

const BOOKMARKS: &[&str] =
    &["0", "0|1|", "1|1|", "20260101T000001", "99999999T000000", "[0:0|1|)", "(1|1|,2|2|:0|1|]", "x"];

fn server() -> FakeServerBuilder {
    let life = SowExpiration::After(Duration::from_secs(20));
    let history = SowHistory { window: Duration::from_secs(60), granularity: Duration::from_secs(2) };
    let totals = ViewConfig::new("totals", ViewSource::Topic("orders".into()))
        .group_by("/s")
        .field("/s AS /s")
        .field("SUM(/n) AS /n");
    let join = Join { left: JoinField::new("orders", "/s"), right: JoinField::new("sessions", "/s") };
    let joined = ViewConfig::new("joined", ViewSource::Joins(vec![join]))
        .group_by("[orders]./id")
        .field("[orders]./id AS /id")
        .field("[sessions]./n AS /n");
    FakeServer::builder()
        .sow(SowConfig::new("orders").key("/id").enrich("/n + 1 AS /more"))
        .sow(SowConfig::new("sessions").key("/id").expiration(life))
        .sow(SowConfig::new("chosen"))
        .sow(SowConfig::new("past").key("/id").history(history))
        .sow(SowConfig::new("fx").pattern("^fx/").key("/id"))
        .view(totals)
        .view(joined)
        .conflated_topic(ConflatedTopicConfig::new("slow", "orders").interval(Duration::from_secs(1)))
        .queue(
            QueueConfig::new("work")
                .underlying("jobs")
                .lease(Duration::from_secs(5))
                .max_backlog(5)
                .max_deliveries(3),
        )
        .queue(QueueConfig::new("once").underlying("plain").max_cancels(2).dead_letter("dead"))
        .queue(QueueConfig::new("first").underlying("orders").priority("/n"))
        .action(ActionConfig::on_published("dead").publish("nowhere", "{{AMPS_DATA}}"))
        .action(
            ActionConfig::scheduled(Schedule::Every(Duration::from_secs(30)))
                .delete_records("chosen", "1 = 1"),
        )
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[usize::try_from(rng.below(from.len() as u64)).unwrap()]
}

/// A command as a client with a bug might send it; most of the time as one without.
fn command(rng: &mut Rng) -> Vec<u8> {
    let kinds: &[&str] = &[
        "p",
        "p",
        "p",
        "publish",
        "delta_publish",
        "subscribe",
        "subscribe",
        "delta_subscribe",
        "sow",
        "sow_and_subscribe",
        "sow_and_delta_subscribe",
        "sow_delete",
        "sow_delete",
        "unsubscribe",
        "flush",
        "heartbeat",
    ];
    let kind = pick(rng, kinds);
    let id = rng.below(6);
    let mut header = json!({"c": kind, "cid": format!("c{id}"), "a": "processed"});
    let mut maybe = |percent: u64, name: &str, value: Value, rng: &mut Rng| {
        if rng.chance(percent) {
            header[name] = value;
        }
    };
    let often = if matches!(kind, "unsubscribe" | "flush" | "heartbeat") { 5 } else { 97 };
    let topics = if rng.chance(70) { &TOPICS[..14] } else { TOPICS };
    let topic = pick(rng, topics);
    maybe(often, "t", json!(topic), rng);
    let subscribes = kind.contains("subscribe");
    maybe(if subscribes { 80 } else { 3 }, "sub_id", json!(format!("s{id}")), rng);
    let filter = pick(rng, FILTERS);
    maybe(if kind.starts_with("sow") { 40 } else { 10 }, "f", json!(filter), rng);
    let mut options = Vec::new();
    while rng.chance(25) {
        options.push(pick(rng, OPTIONS));
    }
    maybe(if kind == "heartbeat" { 10 } else { 90 }, "o", json!(options.join(",")), rng);
    let bookmark = pick(rng, BOOKMARKS);
    maybe(if kind == "subscribe" || kind == "sow_delete" { 20 } else { 2 }, "bm", json!(bookmark), rng);
    let key = rng.below(4).to_string();
    maybe(if topic == "chosen" { 90 } else { 3 }, "k", json!(key), rng);
    maybe(10, "s", json!(rng.below(1000)), rng);
    maybe(5, "e", json!(rng.below(10)), rng);
    maybe(5, "x", json!("abc="), rng);
    maybe(if kind == "sow_delete" { 15 } else { 2 }, "sow_keys", json!("1,2,3"), rng);
    maybe(5, "orderby", json!(pick(rng, &["/id ASC", "/n DESC, /id", "id", ""])), rng);
    maybe(5, "bs", json!(rng.below(20)), rng);
    maybe(
        10,
        "a",
        json!(pick(rng, &["processed,completed,stats", "persisted,processed", "received,processed"])),
        rng,
    );
    let has_body =
        matches!(kind, "p" | "publish" | "delta_publish") || (kind == "sow_delete" && rng.chance(20));
    let bodies = if rng.chance(80) { &BODIES[..4] } else { BODIES };
    let body = if has_body { pick(rng, bodies) } else { "" };
    frame(&header.to_string(), body.as_bytes())
}

fn frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((header.len() + body.len()) as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A connection that may be gone: then there is a new one in its place.
struct Clients {
    conns: [usize; CLIENTS],
    opened: usize,
}

impl Clients {
    fn open(&mut self, stage: &mut InProcess, place: usize) {
        stage.connect();
        self.conns[place] = self.opened;
        self.opened += 1;
        let logon = format!(r#"{{"c":"logon","mt":"json","client_name":"c{place}"}}"#);
        stage.send(self.conns[place], &frame(&logon, b""), 1);
    }
}

/// Runs so many inputs; returns how many commands were sent, and how many of them succeeded.
fn run(seed: u64, inputs: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let mut stage = InProcess::start(server(), None);
    let mut clients = Clients { conns: [0; CLIENTS], opened: 0 };
    for place in 0..CLIENTS {
        clients.open(&mut stage, place);
    }
    let (mut sent, mut succeeded) = (0, 0);
    for _ in 0..inputs {
        let place = usize::try_from(rng.below(CLIENTS as u64)).unwrap();
        if stage.is_closed(clients.conns[place]) {
            clients.open(&mut stage, place);
        }
        let conn = clients.conns[place];
        match rng.below(100) {
            0..=89 => {
                sent += 1;
                stage.send(conn, &command(&mut rng), 1);
            }
            90..=94 => {
                let mut bytes = command(&mut rng);
                for _ in 0..=rng.below(4) {
                    let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                    bytes[at] = rng.below(256) as u8;
                }
                stage.send(conn, &bytes, 1);
            }
            95..=97 => stage.advance(Duration::from_millis(rng.below(4_000))),
            98 => {
                stage.disconnect(conn);
                clients.open(&mut stage, place);
            }
            _ => {
                let count = rng.below(64);
                let bytes: Vec<u8> = (0..count).map(|_| rng.below(256) as u8).collect();
                stage.send(conn, &bytes, 1);
            }
        }
        while let Some(frame) = stage.poll(conn) {
            let ack = frame.starts_with(b"{\"c\":\"ack\"") && contains(&frame, b"\"a\":\"processed\"");
            succeeded += u64::from(ack && contains(&frame, b"\"status\":\"success\""));
        }
    }
    // Nothing goes on for ever: what is left ends by itself.
    stage.advance(Duration::from_secs(3600));
    for conn in clients.conns {
        if !stage.is_closed(conn) {
            stage.disconnect(conn);
        }
    }
    assert_eq!(stage.engine().connections().len(), 0);
    (sent, succeeded)
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

#[test]
fn no_sequence_of_commands_confuses_the_engine() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("AMPS_FUZZ_SEED", 0);
    let inputs = number("AMPS_FUZZ_INPUTS", 6_000);
    for seed in first..first + 4 {
        let (sent, succeeded) = run(seed, inputs / 4);
        println!("seed {seed}: {succeeded} of {sent} commands succeeded");
        assert!(succeeded * 100 >= sent * 30, "seed {seed}: only {succeeded} of {sent} commands made sense");
    }
}

#[test]
fn clients_that_send_anything_hold_up_nobody() {
    let server = server().start().unwrap();
    let mut rng = Rng::new(7);
    let mut strangers: Vec<RawClient> = (0..CLIENTS).map(|_| RawClient::connect(&server)).collect();
    for round in 0..20 {
        for stranger in &mut strangers {
            let mut bytes = match round {
                0 => frame(r#"{"c":"logon","mt":"json"}"#, b""),
                _ => command(&mut rng),
            };
            if rng.chance(5) {
                bytes = (0..200).map(|_| rng.below(256) as u8).collect();
            }
            // Whoever was thrown out stays out.
            let _ = stranger.0.write_all(&bytes);
        }
    }
    let mut guest = RawClient::named(&server, "guest");
    guest.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"mine","a":"processed"}"#);
    let echo = guest.ask(r#"{"c":"p","t":"mine"}{"n":1}"#);
    assert!(echo.ends_with(r#"{"n":1}"#), "{echo}");
}
