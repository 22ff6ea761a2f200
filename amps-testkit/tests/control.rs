//! The control port, over real HTTP (server.md 8.5).

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use amps_testkit::{
    FakeServer, FakeServerBuilder, JournalMode, LinkState, Pair, QueueConfig, Side, SowConfig, StartError,
};
use serde_json::{Value, json};
use support::http::{self, Reply};
use support::raw_client::RawClient;

/// A server with a control port, and the way to it.
struct Controlled {
    server: FakeServer,
    control: SocketAddr,
}

impl Controlled {
    fn start(builder: FakeServerBuilder) -> Self {
        let server = builder.control("127.0.0.1:0").start().unwrap();
        let control = server.control_addr().unwrap();
        Self { server, control }
    }

    fn usual() -> Self {
        Self::start(
            FakeServer::builder()
                .virtual_clock()
                .journal(JournalMode::All)
                .sow(SowConfig::new("orders/eu").key("/id"))
                .queue(QueueConfig::new("work").lease(Duration::from_secs(30))),
        )
    }

    fn get(&self, path: &str) -> Value {
        let reply = http::request(self.control, "GET", path, None);
        assert_eq!(reply.status, 200, "GET {path}: {reply:?}");
        reply.body
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        http::request(self.control, method, path, Some(body))
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.send("POST", path, body);
        assert_eq!(reply.status, 200, "POST {path}: {reply:?}");
        reply.body
    }

    /// The sentence with which something is refused.
    fn refused(&self, status: u16, method: &str, path: &str, body: &Value) -> String {
        let reply = self.send(method, path, body);
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        reply.error().to_owned()
    }

    fn client(&self, name: &str) -> RawClient {
        RawClient::named(&self.server, name)
    }
}

fn subscribe(client: &mut RawClient, topic: &str) {
    let ack =
        client.ask(&format!(r#"{{"c":"subscribe","cid":"c","sub_id":"s","t":"{topic}","a":"processed"}}"#));
    assert!(ack.contains("success"), "{ack}");
}

#[test]
fn every_path_is_listed_with_an_example_and_answers() {
    let controlled = Controlled::usual();
    let paths = controlled.get("/");
    let paths = paths["paths"].as_array().unwrap();
    assert!(paths.len() > 25);
    for entry in paths {
        let (method, path) = (entry["method"].as_str().unwrap(), entry["path"].as_str().unwrap());
        assert!(!entry["about"].as_str().unwrap().is_empty());
        if path == "/stop" {
            continue;
        }
        let filled = path.replace("{topic}", "orders%2Feu").replace("{name}", "work").replace("{id}", "1");
        let filled = filled.replace("{client}", "nobody").replace("{user}", "somebody");
        let body = entry.get("body").cloned().unwrap_or_else(|| json!({}));
        let reply = controlled.send(method, &filled, &body);
        let missing = path.contains("{client}") || path.starts_with("/transport/");
        let unmet = path == "/verify";
        let expected = if missing {
            404
        } else if unmet {
            409
        } else {
            200
        };
        assert_eq!(reply.status, expected, "{method} {filled}: {reply:?}");
    }
}

#[test]
fn the_state_can_be_seen_as_a_whole_and_in_parts() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    subscribe(&mut client, "work");
    controlled.server.publish("work", "{\"n\":1}").unwrap();
    controlled.server.publish("orders/eu", "{\"id\":1}").unwrap();
    client.receive();

    let state = controlled.get("/state");
    assert_eq!(state, controlled.server.state().to_json());
    for part in ["connections", "topics", "log", "queues", "sequences", "links", "timers", "counters"] {
        assert_eq!(controlled.get(&format!("/state/{part}")), state[part], "{part}");
    }
    assert_eq!(controlled.get("/state/queues/work"), state["queues"][0]);
    assert_eq!(controlled.get("/state/queues/work")["leased"][0]["holder"], "app");
    assert_eq!(controlled.get("/state/sow/orders%2Feu"), state["records"]);
    let subscriptions = controlled.get("/state/subscriptions");
    assert_eq!((&subscriptions[0]["client"], &subscriptions[0]["id"]), (&json!("app"), &json!("s")));
    let next = controlled.get("/next_timer");
    assert_eq!(next, state["timers"][0]);
    assert_eq!(next["time"], "20260101T000030.000000Z");
    assert!(next["what"].as_str().unwrap().contains("held by app"), "{next}");
}

#[test]
fn the_journal_is_read_from_where_it_was_left() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    let journal = controlled.get("/journal");
    let entries = journal["entries"].as_array().unwrap();
    assert_eq!((&entries[0]["what"], &entries[0]["sequence"]), (&json!("accepted"), &json!(0)));
    assert_eq!(journal["next"].as_u64().unwrap(), entries.len() as u64);
    client.quiet();
    let since = controlled.get(&format!("/journal?since={}", journal["next"]));
    let since = since["entries"].as_array().unwrap();
    assert_eq!(since.len(), 2, "a flush and its ack: {since:?}");
    assert_eq!((&since[0]["what"], &since[0]["header"]["c"]), (&json!("received"), &json!("flush")));
}

#[test]
fn the_virtual_clock_is_moved_and_what_follows_has_happened() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    subscribe(&mut client, "work");
    controlled.server.publish("work", "1").unwrap();
    let first = client.receive();
    let now = controlled.post("/clock/advance", &json!({"by": "29999ms"}));
    assert_eq!(now, json!({"now": "20260101T000029.999000Z"}));
    client.quiet();
    controlled.post("/clock/set", &json!({"to": "20260101T000030Z"}));
    assert_ne!(client.receive(), first);
    let back = controlled.refused(409, "POST", "/clock/set", &json!({"to": "20260101T000000Z"}));
    assert!(back.contains("never goes back; POST /reset does"), "{back}");
    let missing = controlled.refused(400, "POST", "/clock/advance", &json!({}));
    assert_eq!(missing, "by: it is missing");

    let real = Controlled::start(FakeServer::builder());
    for (path, body) in [("advance", json!({"by": "1s"})), ("set", json!({"to": "20260101T000000Z"}))] {
        let real = real.refused(409, "POST", &format!("/clock/{path}"), &body);
        assert_eq!(real, "the clock is the real one; start the server with --virtual-clock");
    }
}

#[test]
fn faults_are_added_listed_and_removed() {
    let controlled = Controlled::usual();
    let swallow = json!({"when": {"inbound": {"command": "flush"}}, "count": "always", "then": "swallow"});
    let added = controlled.post("/faults", &swallow);
    assert!(added["about"].as_str().unwrap().starts_with("always, "), "{added}");
    let mut client = controlled.client("app");
    client.send(r#"{"c":"flush","cid":"1","a":"processed"}"#);
    controlled.post("/settle", &json!({}));
    let faults = controlled.get("/faults");
    assert_eq!((&faults[0]["fired"], &faults[0]["fault"]), (&json!(1), &swallow));
    let path = format!("/faults/{}", added["id"]);
    assert_eq!(controlled.send("DELETE", &path, &json!({})).status, 200);
    client.quiet();
    let gone = controlled.refused(404, "DELETE", &path, &json!({}));
    assert_eq!(gone, format!("there is no fault {}; GET /faults lists those that there are", added["id"]));
    controlled.refused(404, "DELETE", "/faults/first", &json!({}));
    let wrong =
        controlled.refused(400, "POST", "/faults", &json!({"wen": {"outbound": 1}, "then": "swallow"}));
    assert_eq!(wrong, "wen: there is no such key; the closest is \"when\"");
}

#[test]
fn messages_are_published_and_refusals_say_why() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    subscribe(&mut client, "T");
    let published =
        controlled.post("/publish", &json!({"topic": "T", "json": {"id": 1}, "correlation": "mark"}));
    assert!(published["bookmark"].as_str().unwrap().ends_with("|1|"), "{published}");
    let delivery = client.receive();
    assert!(delivery.contains(r#""x":"mark""#) && delivery.ends_with(r#"{"id":1}"#), "{delivery}");
    let named = json!({"topic": "T", "body": "text", "publisher": "other", "sequence": 7});
    controlled.post("/publish", &named);
    assert!(client.receive().ends_with("text"));
    assert_eq!(controlled.refused(409, "POST", "/publish", &named), "not published: duplicate");
    let both = json!({"topic": "T", "body": "text", "json": 1});
    assert_eq!(
        controlled.refused(400, "POST", "/publish", &both),
        "json: there is a body already; write one of them"
    );
    let nameless = controlled.refused(400, "POST", "/publish", &json!({"topic": "T", "sequence": 7}));
    assert_eq!(nameless, "sequence: it needs a publisher whose number it is");
    let own = controlled.refused(409, "POST", "/publish", &json!({"topic": "/AMPS/x"}));
    assert!(own.contains("a topic of the server's own"), "{own}");
}

#[test]
fn everything_can_be_seeded() {
    let controlled = Controlled::usual();
    let seeded = controlled.post(
        "/seed",
        &json!({
            "records": [{"topic": "orders/eu", "json": {"id": 1}, "time": "20251231T235900Z"}],
            "log": [
                {"topic": "T", "body": "1", "bookmark": "42|7|", "time": "20251231T235900Z"},
                {"topic": "T", "body": {"hex": "ff"}, "publisher": "app", "sequence": 3},
            ],
            "queue": [{"topic": "work", "body": "x"}],
            "sequences": {"app": 9},
        }),
    );
    assert_eq!(seeded["seeded"].as_array().unwrap().len(), 4);
    assert_eq!(seeded["seeded"][1]["bookmark"], "42|7|");
    let state = controlled.get("/state");
    assert_eq!(state["records"][0]["updated"], "20251231T235900.000000Z");
    assert_eq!(state["log"][1]["body"], json!({"hex": "ff"}));
    assert_eq!(state["queues"][0]["available"][0]["body"], "x");
    let app = state["sequences"].as_array().unwrap().iter().find(|known| known["client"] == "app").unwrap();
    assert_eq!(app["sequence"], 9);
    let wrong = |body: Value| controlled.refused(400, "POST", "/seed", &body);
    assert!(wrong(json!({"log": [{"topic": "T", "tme": 1}]})).contains("the closest is \"time\""));
    assert!(
        wrong(json!({"log": [{"topic": "T", "bookmark": "x"}]}))
            .starts_with("log.bookmark: expected a bookmark")
    );
    let early = json!({"log": [{"topic": "T", "time": "20200101T000000Z"}]});
    assert!(controlled.refused(409, "POST", "/seed", &early).contains("is not between"));
}

#[test]
fn what_is_expected_is_verified() {
    let controlled = Controlled::usual();
    let about =
        controlled.post("/expect", &json!({"frame": {"command": "publish", "topic": "T"}, "times": 2}));
    assert_eq!(about, json!({"about": "p with topic \"T\""}));
    controlled.post("/expect", &json!({"frame": {"command": "sow_delete"}, "never": true}));
    controlled.post("/expect", &json!({"frame": {"command": "flush"}, "at_least": 1}));
    let mut client = controlled.client("app");
    client.send(r#"{"c":"publish","t":"T"}1"#);
    client.quiet();
    let unmet = controlled.refused(409, "POST", "/verify", &json!({}));
    assert!(unmet.contains("expected 2, received 1: 1 short"), "{unmet}");
    client.send(r#"{"c":"publish","t":"T"}2"#);
    controlled.post("/verify", &json!({}));
    controlled.post("/expect", &json!({"nothing_else": true}));
    client.send(r#"{"c":"publish","t":"U"}3"#);
    let unmet = controlled.refused(409, "POST", "/verify", &json!({}));
    assert!(unmet.contains("nobody expected"), "{unmet}");

    let wrong = |body: Value| controlled.refused(400, "POST", "/expect", &body);
    assert_eq!(wrong(json!({"times": 1})), "frame: it is missing; {} is any frame");
    assert!(wrong(json!({"frame": {}, "times": 1, "never": true})).contains("exclude each other"));
    assert_eq!(
        wrong(json!({"frame": {"topik": "T"}})),
        "frame.topik: there is no such key; the closest is \"topic\""
    );
}

#[test]
fn settling_has_a_limit() {
    let controlled = Controlled::usual();
    controlled.post("/settle", &json!({"timeout": "1s"}));
    let long = controlled.refused(400, "POST", "/settle", &json!({"timeout": "61s"}));
    assert_eq!(long, "timeout: it is longer than 60s; ask again instead");
}

#[test]
fn clients_are_disconnected_by_name() {
    let controlled = Controlled::usual();
    for how in [json!({}), json!({"how": "reset"})] {
        let mut client = controlled.client("app one");
        controlled.post("/disconnect/app%20one", &how);
        client.rest();
    }
    let wrong = controlled.refused(400, "POST", "/disconnect/app", &json!({"how": "softly"}));
    assert_eq!(wrong, "how: there is no \"softly\"; write fin or reset");
    let _client = controlled.client("app");
    let nobody = controlled.refused(404, "POST", "/disconnect/ap", &json!({}));
    assert_eq!(nobody, "there is no client \"ap\"; the closest is \"app\"");
}

#[test]
fn connections_are_ended_by_number_and_all_at_once() {
    let controlled = Controlled::usual();
    let mut nameless = RawClient::connect(&controlled.server);
    let (mut first, mut second, mut third) =
        (controlled.client("app"), controlled.client("other"), controlled.client("third"));
    let ended = controlled.post("/disconnect", &json!({"connection": 0, "how": "reset"}));
    assert_eq!(ended, json!({"ended": 1}));
    nameless.rest();
    let index = controlled.get("/state/connections")[1]["index"].clone();
    assert_eq!(controlled.post("/disconnect", &json!({"connection": index})), json!({"ended": 1}));
    second.ends();
    first.quiet();
    let gone = controlled.refused(404, "POST", "/disconnect", &json!({"connection": index}));
    assert_eq!(
        gone,
        format!("there is no connection {index}; GET /state/connections lists those that there are")
    );
    let wrong = controlled.refused(400, "POST", "/disconnect", &json!({"conection": 1}));
    assert!(wrong.contains("the closest is \"connection\""), "{wrong}");
    assert_eq!(controlled.post("/disconnect", &json!({})), json!({"ended": 2}));
    first.ends();
    third.ends();
    assert_eq!(controlled.post("/disconnect", &json!({})), json!({"ended": 0}));
    controlled.client("app").quiet();
}

#[test]
fn transports_are_disabled_and_enabled() {
    let controlled = Controlled::usual();
    controlled.post("/transport/any-tcp/disable", &json!({}));
    assert!(TcpStream::connect(controlled.server.addr()).is_err());
    controlled.post("/transport/any-tcp/enable", &json!({}));
    controlled.client("app").quiet();
    for what in ["enable", "disable"] {
        let nothing = controlled.refused(404, "POST", &format!("/transport/any-tpc/{what}"), &json!({}));
        assert_eq!(nothing, "there is no transport \"any-tpc\"; the closest is \"any-tcp\"");
    }
}

#[test]
fn rights_are_given_and_taken() {
    let controlled = Controlled::start(FakeServer::builder().credentials("u", "secret"));
    let log_on = || {
        let mut client = RawClient::connect(&controlled.server);
        let logon = r#"{"c":"logon","cid":"1","client_name":"u","user_id":"u","pw":"secret","a":"processed","mt":"json"}"#;
        assert!(client.ask(logon).contains("success"));
        client
    };
    let mut client = log_on();
    let rights = json!({"entitlements": [{"kind": "logon"}, {"kind": "read", "topic": "T", "filter": "/a = 1", "select": "[-/b]"}, {"kind": "write", "topic": "T"}]});
    controlled.post("/entitlements/reset/u", &rights);
    client.rest();
    let mut client = log_on();
    subscribe(&mut client, "T");
    let refused = client.ask(r#"{"c":"subscribe","cid":"c","sub_id":"other","t":"U","a":"processed"}"#);
    assert!(refused.contains("not entitled"), "{refused}");
    let wrong = |right: Value| {
        controlled.refused(400, "POST", "/entitlements/reset/u", &json!({"entitlements": [right]}))
    };
    assert_eq!(
        wrong(json!({"kind": "reed", "topic": "T"})),
        "entitlements.kind: there is no \"reed\"; write logon, read or write"
    );
    assert!(wrong(json!({"kind": "read", "topic": "T", "filter": "/a &&"})).contains("\"T\""));
    // No password is ever shown.
    for path in ["/state", "/journal"] {
        assert!(!controlled.get(path).to_string().contains("secret"), "{path}");
    }
}

#[test]
fn what_clients_do_wrong_is_listed() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    client.ask(r#"{"c":"subscribe","cid":"c","sub_id":"s","t":"T","o":"frobnicate","a":"processed"}"#);
    let lint = controlled.get("/lint");
    assert_eq!((&lint[0]["client"], &lint[0]["violation"]), (&json!("app"), &json!(true)), "{lint}");
    assert!(lint[0]["text"].as_str().unwrap().contains("frobnicate"), "{lint}");
}

#[test]
fn messages_of_an_owner_that_is_gone_are_taken_over() {
    let builder = FakeServer::builder().virtual_clock().queue(QueueConfig::new("work"));
    let pair = Pair::start_with(builder.clone(), builder.control("127.0.0.1:0")).unwrap();
    pair.publish(Side::A, "work", "1").unwrap();
    pair.kill(Side::A, false);
    let b = pair.server(Side::B);
    let control = b.control_addr().unwrap();
    let mut client = RawClient::named(b, "app");
    subscribe(&mut client, "work");
    client.quiet();
    let post = |path: &str, body: Value| http::request(control, "POST", path, Some(&body));
    assert_eq!(post("/queue/work/proxied_transfer", json!({"on": true})).status, 200);
    assert!(client.receive().ends_with('1'));
    let nothing = post("/queue/wrok/proxied_transfer", json!({}));
    assert_eq!(
        (nothing.status, nothing.error()),
        (404, "there is no queue \"wrok\"; the closest is \"work\"")
    );
    let links = http::request(control, "GET", "/state/links", None).body;
    assert_eq!(
        (&links[0]["peer"], &links[0]["connected"], &links[0]["state"]),
        (&json!("A"), &json!(false), &json!("up"))
    );
    assert_eq!(b.links()[0].state, LinkState::Up);
}

#[test]
fn a_reset_by_http_is_a_reset() {
    let controlled = Controlled::usual();
    let fresh = controlled.get("/state");
    let mut client = controlled.client("app");
    controlled.post("/expect", &json!({"frame": {"command": "sow"}}));
    controlled.post("/publish", &json!({"topic": "work", "body": "1"}));
    controlled.post("/clock/advance", &json!({"by": "10s"}));
    assert_eq!(controlled.post("/reset", &json!({})), json!({"now": "20260101T000000.000000Z"}));
    client.rest();
    assert_eq!(controlled.get("/state"), fresh);
    controlled.post("/verify", &json!({}));
}

#[test]
fn stop_ends_what_waits_for_it() {
    let controlled = Controlled::usual();
    let mut client = controlled.client("app");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| controlled.server.wait_for_stop());
        controlled.post("/stop", &json!({}));
        waiting.join().unwrap();
    });
    client.rest();
    assert!(TcpStream::connect(controlled.server.addr()).is_err());
}

#[test]
fn what_there_is_not_is_told_what_there_is() {
    let controlled = Controlled::usual();
    assert_eq!(
        controlled.refused(404, "GET", "/stat", &json!({})),
        "there is no /stat; the closest is /state"
    );
    assert_eq!(
        controlled.refused(404, "GET", "/a/b/c/d/e", &json!({})),
        "there is no /a/b/c/d/e; GET / lists what there is"
    );
    let queue = controlled.refused(404, "GET", "/state/queues/wrk", &json!({}));
    assert_eq!(queue, "there is no queue \"wrk\"; the closest is \"work\"");
    let topic = controlled.refused(404, "GET", "/state/sow/nothing-like-it", &json!({}));
    assert_eq!(topic, "there is no topic with a state of the world \"nothing-like-it\"; there is orders/eu");
    let reply = controlled.send("DELETE", "/faults", &json!({}));
    assert_eq!((reply.status, reply.error()), (405, "/faults does not take DELETE; use GET, POST"));
    assert!(reply.head.contains("Allow: GET, POST"), "{}", reply.head);
    assert_eq!(
        controlled.refused(400, "GET", "/journal?sinse=1", &json!({})),
        "/journal takes no parameter \"sinse\"; leave it out"
    );
    assert_eq!(
        controlled.refused(400, "GET", "/journal?since=now", &json!({})),
        "since is \"now\"; write the sequence of an entry"
    );
    assert_eq!(
        controlled.refused(400, "POST", "/reset", &json!({"hard": true})),
        "there is nothing to say here; leave out the body {\"hard\":true}"
    );
}

#[test]
fn what_is_no_request_is_refused_with_a_sentence() {
    let controlled = Controlled::usual();
    let refused = |status: u16, request: &str, part: &str| {
        let reply = http::raw(controlled.control, request.as_bytes());
        assert_eq!(reply.status, status, "{request}: {reply:?}");
        assert!(reply.error().contains(part), "{request}: {reply:?}");
    };
    refused(400, "what is this?\r\n\r\n", "not a request of HTTP/1.1");
    refused(400, "POST /reset HTTP/1.1\r\nContent-Length: many\r\n\r\n", "write a number of bytes");
    refused(400, "POST /reset HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "with a Content-Length");
    refused(400, "POST /reset HTTP/1.1\r\nContent-Length: 3\r\n\r\n{x}", "the body is not JSON");
    refused(400, "POST /publish HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", "the body: expected an object");
    refused(400, "POST /reset HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]", "leave out the body []");
    refused(400, "GET /state/sow/%zz HTTP/1.1\r\n\r\n", "is no part of a path");
    refused(403, "POST /reset HTTP/1.1\r\nOrigin: http://example.com\r\n\r\n", "web pages may not");
    refused(413, "POST /publish HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "more than 1 MiB");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 << 20));
    refused(413, &long, "more than 1 MiB");
}

#[test]
fn a_client_that_waits_for_a_word_before_its_body_gets_it() {
    let controlled = Controlled::usual();
    let mut stream = TcpStream::connect(controlled.control).unwrap();
    let body = r#"{"topic":"T","body":"1"}"#;
    let head =
        format!("POST /publish HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut word = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    std::io::Read::read_exact(&mut stream, &mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(http::read(&mut stream).status, 200);
}

#[test]
fn a_request_may_come_in_single_bytes_and_break_off() {
    let controlled = Controlled::usual();
    let mut stream = TcpStream::connect(controlled.control).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /state/counters HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(http::read(&mut stream).status, 200);
    let mut stream = TcpStream::connect(controlled.control).unwrap();
    stream.write_all(b"POST /reset HTTP/1.1\r\nContent-Length: 10\r\n\r\n{").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        http::read(&mut stream).error(),
        "the request ended before it was whole; its Content-Length has to be that of the body"
    );
    // One that says nothing at all holds nobody up.
    drop(TcpStream::connect(controlled.control).unwrap());
    controlled.get("/state/counters");
}

#[test]
fn those_who_are_slow_hold_up_nobody_until_all_places_are_taken() {
    let controlled = Controlled::usual();
    let silent = || {
        let mut stream = TcpStream::connect(controlled.control).unwrap();
        stream.write_all(b"GET /sta").unwrap();
        stream
    };
    let mut inside: Vec<TcpStream> = (0..60).map(|_| silent()).collect();
    controlled.get("/state/counters");
    controlled.post("/publish", &json!({"topic": "T"}));
    let reply = loop {
        inside.push(silent());
        let reply = http::request(controlled.control, "GET", "/state/counters", None);
        if reply.status != 200 {
            break reply;
        }
        assert!(inside.len() < 96, "there is no limit");
    };
    assert_eq!((reply.status, reply.error().starts_with("64 requests are being served")), (503, true));
    assert!(reply.head.starts_with("HTTP/1.1 503 Service Unavailable"), "{}", reply.head);
    inside.clear();
    // Their threads see that they are gone, each in its time.
    while http::request(controlled.control, "GET", "/state/counters", None).status == 503 {}
    controlled.get("/state/counters");
}

#[test]
fn a_server_ends_while_many_hold_its_control_port() {
    let controlled = Controlled::usual();
    let mut silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(controlled.control).unwrap()).collect();
    silent.iter_mut().for_each(|stream| stream.write_all(b"GET /sta").unwrap());
    let control = controlled.control;
    drop(controlled);
    assert!(TcpStream::connect(control).is_err(), "the port is closed when the server is gone");
}

#[test]
fn the_control_port_is_there_when_asked_for_and_on_loopback_only() {
    let server = FakeServer::builder().start().unwrap();
    assert_eq!((server.control_addr(), server.control_uri()), (None, None));
    for (address, part) in
        [("0.0.0.0:0", "listens on loopback only; write 127.0.0.1:PORT"), ("here", "expected HOST:PORT")]
    {
        let error = FakeServer::builder().control(address).start().unwrap_err();
        assert!(matches!(error, StartError::Address { .. }) && error.to_string().contains(part), "{error}");
    }
    let first = Controlled::usual();
    let taken = FakeServer::builder().control(first.control.to_string()).start().unwrap_err();
    assert!(matches!(taken, StartError::Bind { .. }), "{taken}");
}
