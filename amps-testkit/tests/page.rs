//! The page of the control port, as a program sees it (server.md 8.5): what a browser is told, who may ask, and what
//! is in it. What it does in a browser is in `page_in_browser.rs`.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use amps_testkit::{
    Action, FakeServer, FakeServerBuilder, Fault, JournalMode, QueueConfig, Semantics, SowConfig, Trigger,
};
use serde_json::{Value, json};
use support::http;
use support::raw_client::RawClient;

/// What hostile names are made of.
const SCRIPT: &str = "</script><img src=x onerror=pwned=1>";

fn start(builder: FakeServerBuilder) -> (FakeServer, SocketAddr) {
    let server = builder.control("127.0.0.1:0").start().unwrap();
    let control = server.control_addr().unwrap();
    (server, control)
}

fn usual() -> (FakeServer, SocketAddr) {
    start(
        FakeServer::builder()
            .virtual_clock()
            .journal(JournalMode::All)
            .sow(SowConfig::new("orders").key("/id"))
            .queue(QueueConfig::new("work").lease(Duration::from_secs(30)).max_backlog(2)),
    )
}

fn overview(control: SocketAddr) -> Value {
    let reply = http::request(control, "GET", "/overview", None);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// A request with these lines of a header, and what became of it: the status, and all of the answer.
fn ask(control: SocketAddr, request: &str, fields: &[&str]) -> (u16, String) {
    let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let (head, body) = http::text(control, format!("{request} HTTP/1.1\r\n{lines}\r\n").as_bytes());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), format!("{head}\r\n\r\n{body}"))
}

/// What browsers accept.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn subscribe(client: &mut RawClient, topic: &str, more: &str) {
    let topic = json!(topic);
    let ack = client
        .ask(&format!(r#"{{"c":"subscribe","cid":"c","sub_id":"s","t":{topic},"a":"processed"{more}}}"#));
    assert!(ack.contains("success"), "{ack}");
}

#[test]
fn a_browser_gets_a_page_and_a_program_the_paths() {
    let (_server, control) = usual();
    let host = format!("Host: {control}");
    let (status, page) = ask(control, "GET /", &[&host, BROWSER]);
    assert_eq!(status, 200, "{page}");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>\n"), "{body}");
    for accept in ["Accept: */*", "Accept: application/json", "X-Accept: text/html"] {
        let (status, list) = ask(control, "GET /", &[&host, accept]);
        assert!(status == 200 && list.contains("\r\nContent-Type: application/json\r\n"), "{list}");
        assert!(list.contains("\"paths\""), "{list}");
    }
}

#[test]
fn the_page_may_run_its_own_script_and_ask_its_own_server_and_nothing_else() {
    let (_server, control) = usual();
    let (_, page) = ask(control, "GET /", &[BROWSER]);
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    let policy = head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).unwrap();
    for part in ["default-src 'none';", "connect-src 'self';", "frame-ancestors 'none';", "base-uri 'none';"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(policy.contains("script-src 'sha256-") && policy.contains("style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert!(!body.contains("//127.") && !body.contains("http:") && !body.contains("https:"), "{body}");
    assert!(!body.contains(" src="), "nothing is loaded from elsewhere");
    for field in [
        "X-Frame-Options: DENY",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Cross-Origin-Resource-Policy: same-origin",
        "Vary: Accept",
    ] {
        assert!(head.contains(field), "{head}");
    }
    let (_, list) = ask(control, "GET /overview", &[BROWSER]);
    assert!(list.contains("nosniff") && list.contains("Content-Type: application/json"), "{list}");
}

#[test]
fn head_says_what_get_would_say_and_sends_nothing_of_it() {
    let (_server, control) = usual();
    for (path, accept) in [("/", BROWSER), ("/", "Accept: */*"), ("/faults", "Accept: */*")] {
        let (_, whole) = ask(control, &format!("GET {path}"), &[accept]);
        let (status, head) = ask(control, &format!("HEAD {path}"), &[accept]);
        assert_eq!(status, 200);
        let before = whole.split_once("\r\n\r\n").unwrap().0;
        assert_eq!(head, format!("{before}\r\n\r\n"));
    }
    assert_eq!(ask(control, "HEAD /reset", &[]).0, 405);
}

#[test]
fn only_names_of_this_machine_are_a_host() {
    let (_server, control) = usual();
    let port = control.port();
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "[::1]".to_owned(), "127.0.0.1".to_owned()]
    {
        assert_eq!(ask(control, "GET /overview", &[&format!("Host: {host}")]).0, 200, "{host}");
    }
    for host in [format!("evil.example:{port}"), "localhost.evil.example".to_owned(), String::new()] {
        for request in ["GET /", "GET /overview", "POST /reset"] {
            let (status, answer) = ask(control, request, &[&format!("Host: {host}"), BROWSER]);
            assert_eq!(status, 403, "{host} {answer}");
            assert!(answer.contains("use localhost or the address"), "{answer}");
        }
    }
    let twice = ask(control, "GET /", &[&format!("Host: {control}"), "Host: localhost"]);
    assert_eq!(twice.0, 403, "{}", twice.1);
    assert_eq!(ask(control, "GET /overview", &[]).0, 200, "a program may leave it out");
}

#[test]
fn other_pages_are_refused_and_change_nothing() {
    let (server, control) = usual();
    let mut client = RawClient::named(&server, "app");
    let host = format!("Host: {control}");
    let foreign = [
        vec!["Origin: http://evil.example"],
        vec!["Origin: null"],
        vec!["Origin: http://127.0.0.1:1"],
        vec!["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
        vec!["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"],
        vec!["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
    ];
    for fields in foreign {
        let fields: Vec<&str> =
            [&[&*host, "Content-Type: text/plain", "Content-Length: 0"][..], &fields].concat();
        for path in ["/disconnect", "/disconnect/app", "/reset", "/stop"] {
            let (status, answer) = ask(control, &format!("POST {path}"), &fields);
            assert_eq!(status, 403, "{answer}");
            assert!(answer.contains("web pages may not use the control port"), "{answer}");
            assert!(!answer.contains("Access-Control"), "{answer}");
        }
    }
    let preflight = ask(
        control,
        "OPTIONS /reset",
        &[&host, "Origin: http://evil.example", "Access-Control-Request-Method: POST"],
    );
    assert_eq!(preflight.0, 403, "{}", preflight.1);
    client.quiet();
    // A link to the page is followed; the page itself may do everything.
    let link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(ask(control, "GET /", &[&[&*host, BROWSER][..], &link].concat()).0, 200);
    let own = format!("Origin: http://{control}");
    assert_eq!(ask(control, "POST /disconnect", &[&host, &own, "Sec-Fetch-Site: same-origin"]).0, 200);
    client.rest();
}

#[test]
fn the_overview_has_a_few_of_everything() {
    let (server, control) = usual();
    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "work", r#","f":"/n > 0","o":"max_backlog=2""#);
    for n in 1..=5 {
        server.publish("work", format!("{{\"n\":{n}}}")).unwrap();
    }
    server.publish("orders", "{\"id\":1}").unwrap();
    let fault = Fault::when(Trigger::Logon).then(Action::Swallow);
    server.add_fault(fault).unwrap();
    let all = overview(control);
    assert_eq!((&all["now"], &all["virtual_clock"]), (&json!("20260101T000000.000000Z"), &json!(true)));
    assert_eq!(all["next"]["in"], "30s");
    assert!(all["next"]["what"].as_str().unwrap().contains("held by app"), "{all}");
    let connection = &all["connections"]["shown"][0];
    assert_eq!((&connection["client"], &connection["index"]), (&json!("app"), &json!(0)));
    assert_eq!(connection["peer"], client.0.local_addr().unwrap().to_string());
    assert_eq!(connection["since"], "20260101T000000.000000Z");
    assert_eq!(
        (&connection["received"], &connection["sent"]),
        (&json!(2), &json!(4)),
        "two acks, two messages"
    );
    let state = http::request(control, "GET", "/state/connections", None).body;
    for member in ["index", "client", "peer", "since", "received", "sent", "pending_bytes"] {
        assert_eq!(state[0][member], connection[member], "{member}");
    }
    let subscription = &all["subscriptions"]["shown"][0];
    assert_eq!((&subscription["topic"], &subscription["filter"]), (&json!("work"), &json!("/n > 0")));
    assert_eq!((&subscription["leased"], &subscription["backlog"]), (&json!(2), &json!(2)));
    let queue = &all["queues"]["shown"][0];
    assert_eq!((&queue["depth"], &queue["waiting"], &queue["leased"]), (&json!(5), &json!(3), &json!(2)));
    assert_eq!(queue["backlog"], json!({"used": 2, "granted": 2}));
    let lease = &queue["leases"]["shown"][1];
    assert_eq!((&lease["holder"], &lease["until"]), (&json!("app"), &json!("20260101T000030.000000Z")));
    assert_eq!(lease["body"], json!({"text": "{\"n\":2}", "bytes": 7}));
    let topics = &all["topics"];
    assert_eq!((&topics["records"], &topics["shown"][0]["records"]), (&json!(1), &json!(1)));
    assert_eq!((&all["log"]["total"], &all["log"]["shown"][0]["topic"]), (&json!(6), &json!("orders")));
    assert_eq!((&all["faults"]["shown"][0]["armed"], &all["faults"]["total"]), (&json!(true), &json!(1)));
    assert_eq!(all["listeners"][0]["open"], true);
    let newest = &all["journal"]["shown"][0];
    assert_eq!((&newest["what"], &newest["client"]), (&json!("sent"), &json!("app")));
    assert!(newest["text"].as_str().unwrap().starts_with("p topic=work"), "{newest}");

    server.advance(Duration::from_secs(31));
    server.disable_transport("any-tcp");
    let all = overview(control);
    assert_eq!((&all["connections"]["total"], &all["listeners"][0]["open"]), (&json!(0), &json!(false)));
    assert_eq!(all["queues"]["shown"][0]["expired_leases"], 2);
}

#[test]
fn what_a_lease_without_an_end_and_an_at_most_once_queue_hold_is_told() {
    let endless = QueueConfig::new("endless").max_backlog(2);
    let once = QueueConfig::new("once").semantics(Semantics::AtMostOnce);
    let (server, control) = start(FakeServer::builder().virtual_clock().queue(endless).queue(once));
    let mut client = RawClient::named(&server, "app");
    subscribe(&mut client, "endless", r#","o":"max_backlog=2""#);
    server.publish("endless", "1").unwrap();
    server.publish("once", "1").unwrap();
    let queues = overview(control)["queues"]["shown"].clone();
    assert_eq!((&queues[0]["leases"]["shown"][0]["until"], &queues[0]["leased"]), (&Value::Null, &json!(1)));
    assert_eq!((&queues[1]["depth"], &queues[1]["leases"]["total"]), (&json!(1), &json!(0)));
    assert_eq!(overview(control)["next"], Value::Null);
}

#[test]
fn however_much_there_is_the_overview_is_short() {
    let mut builder = FakeServer::builder().virtual_clock().journal(JournalMode::All);
    for number in 0..300 {
        builder = builder.sow(SowConfig::new(format!("topic-{number}")).key("/id"));
    }
    for number in 0..60 {
        let queue = QueueConfig::new(format!("queue-{number}")).max_backlog(100);
        builder = builder.queue(queue.underlying("work"));
    }
    let (server, control) = start(builder);
    let long = "n".repeat(10_000);
    let mut clients: Vec<RawClient> = (0..120).map(|_| RawClient::connect(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.log_on(&format!("{number}{long}"));
    }
    for number in 0..150 {
        let topic = format!("queue-{}", number % 60);
        let subscribe = format!(
            r#"{{"c":"subscribe","cid":"c","sub_id":"{number}{long}","t":"{topic}","o":"max_backlog=100","f":"/a = '{long}' OR 1 = 1","a":"processed"}}"#
        );
        assert!(clients[0].ask(&subscribe).contains("success"));
    }
    let body = format!("{{\"id\":\"{}\"}}", "b".repeat(100_000));
    for _ in 0..40 {
        server.publish("work", &body).unwrap();
        server.publish("topic-7", &body).unwrap();
    }
    for _ in 0..80 {
        let fault = Fault::when(Trigger::Logon).on_client(&long).then(Action::Fail(long.clone()));
        server.add_fault(fault).unwrap();
    }
    let all = overview(control);
    let part =
        |name: &str| (all[name]["shown"].as_array().unwrap().len(), all[name]["total"].as_u64().unwrap());
    assert_eq!(part("connections"), (100, 120));
    assert_eq!(part("subscriptions"), (100, 150));
    assert_eq!(part("topics"), (100, 300));
    assert_eq!(part("queues"), (50, 60));
    assert_eq!(part("log"), (20, 80));
    assert_eq!(part("faults"), (50, 80));
    assert_eq!(part("journal").0, 20);
    let leases = &all["queues"]["shown"][0]["leases"];
    assert_eq!((leases["shown"].as_array().unwrap().len(), &leases["total"]), (10, &json!(40)));
    assert_eq!(leases["shown"][0]["body"]["bytes"], body.len());
    let queues = all["queues"]["shown"].as_array().unwrap();
    let leases: usize = queues.iter().map(|queue| queue["leases"]["shown"].as_array().unwrap().len()).sum();
    assert_eq!(leases, 100);
    assert!(all.to_string().len() < 256 * 1024, "{}", all.to_string().len());
}

#[test]
fn what_hostile_clients_say_is_json_and_never_in_the_page() {
    let (server, control) = usual();
    let mut client = RawClient::connect(&server);
    let name = json!(SCRIPT);
    let logon = format!(
        r#"{{"c":"logon","cid":"1","client_name":{name},"user_id":{name},"pw":"geheim","mt":"json","a":"processed"}}"#
    );
    assert!(client.ask(&logon).contains("success"));
    subscribe(&mut client, SCRIPT, "");
    server.publish(SCRIPT, SCRIPT).unwrap();
    client.receive();
    let (_, answer) = ask(control, "GET /overview", &[BROWSER]);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/json") && head.contains("nosniff"), "{head}");
    let all: Value = serde_json::from_str(body).unwrap();
    assert_eq!(all["connections"]["shown"][0]["client"], SCRIPT);
    assert_eq!(all["subscriptions"]["shown"][0]["topic"], SCRIPT);
    assert_eq!(all["log"]["shown"][0]["topic"], SCRIPT);
    assert_eq!(all["log"]["shown"][0]["body"]["text"], SCRIPT);
    assert!(!body.contains("geheim"), "{body}");
    let (_, page) = ask(control, "GET /", &[BROWSER]);
    assert!(!page.contains("pwned"), "there are no data in the page");
}

#[test]
fn a_server_without_log_and_journal_says_so() {
    let config = FakeServer::builder().journal(JournalMode::Off).no_txlog();
    let (_server, control) = start(config);
    let all = overview(control);
    assert_eq!((&all["log"], &all["virtual_clock"]), (&Value::Null, &json!(false)));
    assert_eq!(all["journal"], json!({"total": 0, "shown": []}));
}
