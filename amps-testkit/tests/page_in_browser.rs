//! The page of the control port in a browser, with the program that serves it. Without Chromium nothing is tested
//! here, and each test says so; `cargo xtask ci` does too.
#![cfg(unix)]

#[path = "support/browser.rs"]
mod browser;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use browser::Browser;
use serde_json::{Value, json};
use support::http::request;
use support::raw_client::RawClient;

/// One browser at a time: each has a handful of processes.
static ALONE: Mutex<()> = Mutex::new(());

/// A browser, if there is one.
fn browser() -> Option<(Browser, MutexGuard<'static, ()>)> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let browser = Browser::start();
    if browser.is_none() {
        eprintln!("skipped, because no Chromium is installed");
    }
    Some((browser?, alone))
}

/// The program. It ends with the test, however that ends.
struct Process {
    child: Child,
    amps: SocketAddr,
    control: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(options: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", options, "").expect("it starts on a free port")
    }

    /// `None` if the port of the control port is taken. What is no empty text is a configuration.
    fn start_on(control: &str, options: &[&str], config: &str) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amps-testkit"));
        command.args(["serve", "--control", control]).args(options);
        match config {
            "" => command.args(["--listen", "127.0.0.1:0"]),
            _ => command.args(["--free-ports", "-"]),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (Some(amps), Some(control)) = (lines.next(), lines.next()) else {
            let _ = child.wait();
            return None;
        };
        let amps = amps.split('/').nth(2).unwrap().parse().unwrap();
        let control = control.strip_prefix("ready control http://").unwrap().parse().unwrap();
        Some(Self { child, amps, control })
    }

    fn page(&self) -> String {
        format!("http://{}/", self.control)
    }

    fn post(&self, path: &str, body: &Value) {
        let reply = request(self.control, "POST", path, Some(body));
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    fn publish(&self, topic: &str, count: usize) {
        for number in 1..=count {
            self.post("/publish", &json!({"topic": topic, "json": {"job": number}}));
        }
    }

    fn client(&self, name: &str) -> RawClient {
        let mut client = RawClient::connect_to(self.amps);
        let ack = client.log_on(name);
        assert!(ack.contains("success"), "{ack}");
        client
    }

    /// A client that takes what is in a queue, so many at a time.
    fn consumer(&self, name: &str, queue: &str, backlog: usize) -> RawClient {
        let mut client = self.client(name);
        let ack = client.ask(&format!(
            r#"{{"c":"subscribe","cid":"c","sub_id":"s","t":"{queue}","o":"max_backlog={backlog}","a":"processed"}}"#
        ));
        assert!(ack.contains("success"), "{ack}");
        client
    }
}

/// The bookmark of a delivery.
fn bookmark(delivery: &str) -> String {
    let mut frames = serde_json::Deserializer::from_str(delivery).into_iter::<Value>();
    let header = frames.next().unwrap().unwrap();
    header["bm"].as_str().unwrap_or_else(|| panic!("{delivery}")).to_owned()
}

fn acknowledge(client: &mut RawClient, topic: &str, delivery: &str) {
    client.send(&format!(r#"{{"c":"sow_delete","t":"{topic}","bm":"{}"}}"#, bookmark(delivery)));
}

/// The cell of a section's table, both counted from 1.
fn cell(section: &str, row: usize, column: usize) -> String {
    format!("#{section} tbody tr:nth-child({row}) td:nth-child({column})")
}

#[test]
fn a_queue_is_seen_to_drain() {
    let Some((mut browser, _alone)) = browser() else { return };
    let server =
        Process::start(&["--queue", "work", "--lease", "30", "--max-backlog", "2", "--virtual-clock"]);
    browser.open(&server.page());
    browser.wait_for_text("#state", "Live");
    let nobody = format!("No client is connected; connect one to tcp://{}/amps/json.", server.amps);
    browser.wait_for_text("#connections .empty", &nobody);
    server.publish("work", 7);
    browser.wait_for_text(&cell("queues", 1, 1), "work");
    let depth = cell("queues", 1, 2);
    browser.wait_for_text(&depth, "7");
    // The same elements stay, whatever becomes of the numbers in them.
    browser.value(&format!("window.kept = document.querySelector('{depth}')"));

    let mut worker = server.consumer("worker", "work", 2);
    browser.wait_for_text(&cell("queues", 1, 4), "2");
    browser.wait_for_text(&cell("queues", 1, 8), "2 / 2");
    browser.wait_for_text(&cell("leases", 2, 2), "worker");
    browser.wait_for_text(&cell("leases", 2, 4), "00:00:30.000");
    browser.wait_for_text(&cell("leases", 2, 8), "{\"job\":2}");
    browser.wait_for_text(&cell("subscriptions", 1, 6), "2 / 2");
    for left in (0..7).rev() {
        let delivery = worker.receive();
        acknowledge(&mut worker, "work", &delivery);
        browser.wait_for_text(&depth, &left.to_string());
    }
    browser.wait_for_text(&cell("queues", 1, 10), "7");
    browser.wait_for_text("#leases .empty", "No message is leased.");
    browser.wait_for_text("#acknowledged", "7");
    assert_eq!(browser.value("kept.isConnected && kept.textContent"), "0");
    assert_eq!(browser.complaints(), &[] as &[String]);
}

#[test]
fn a_button_cuts_a_client() {
    let Some((mut browser, _alone)) = browser() else { return };
    let server = Process::start(&[]);
    let (mut first, mut second) = (server.client("first"), server.client("second"));
    browser.open(&server.page());
    browser.wait_for_text("#connections .count", "2");
    browser.wait_for_text("#clock", "real clock, UTC");
    assert_eq!(browser.value("document.getElementById('virtual').hidden"), true);
    browser.click("[aria-label='Cut first']");
    first.ends();
    browser.wait_for_text("#connections .count", "1");
    browser.wait_for_text(&cell("connections", 1, 2), "second");
    browser.wait_for_text("#said", "Cut first.");
    second.quiet();

    // The focus stays on a button while what is around it changes.
    browser.value("document.querySelector(\"[aria-label='Stall second']\").focus()");
    let mut third = server.client("third");
    browser.wait_for_text("#connections .count", "2");
    assert_eq!(browser.value("document.activeElement.getAttribute('aria-label')"), "Stall second");
    browser.click("[aria-label='Stall second']");
    browser.wait_for_text("#faults .count", "1");
    second.send(r#"{"c":"flush","cid":"held","a":"processed"}"#);
    browser.wait_for(&format!("document.querySelector('{}').textContent !== '0'", cell("connections", 1, 9)));
    browser.click("[aria-label='Remove fault 1']");
    assert!(second.receive().contains("held"));
    browser.wait_for_text("#faults .empty", "No fault is armed.");

    browser.click("#refuse");
    browser.wait_for_text(&cell("faults", 1, 3), "armed");
    let refused = RawClient::connect_to(server.amps).log_on("fourth");
    assert!(refused.contains("refused by a fault"), "{refused}");
    browser.wait_for_text(&cell("faults", 1, 3), "spent");
    browser
        .value("document.getElementById('fault').value = '{\"when\": \"on_logom\", \"then\": \"swallow\"}'");
    browser.click("#add");
    browser.wait_for_text("#said", "when: there is no \"on_logom\"; the closest is \"on_logon\"");

    browser.click("#cut-all");
    second.ends();
    third.ends();
    browser.wait_for_text("#connections .count", "0");
    browser.click("[aria-label='Close any-tcp']");
    browser.wait_for_text(&cell("listeners", 1, 3), "closed");
    browser.click("[aria-label='Open any-tcp']");
    browser.wait_for_text(&cell("listeners", 1, 3), "open");
    server.client("fifth").quiet();
    assert_eq!(browser.complaints(), &[] as &[String]);
}

#[test]
fn the_clocks_buttons_let_a_lease_end() {
    let Some((mut browser, _alone)) = browser() else { return };
    let server = Process::start(&["--queue", "work", "--lease", "30", "--virtual-clock"]);
    let mut worker = server.consumer("worker", "work", 1);
    server.publish("work", 1);
    let first = worker.receive();
    browser.open(&server.page());
    browser.wait_for_text("#now", "2026-01-01 00:00:00.000");
    browser.wait_for_text(&cell("leases", 1, 5), "30.0 s");
    browser.wait_for("document.getElementById('next').textContent.includes('held by worker, ends')");
    browser.press_enter_on("#ten");
    browser.wait_for_text("#now", "2026-01-01 00:00:10.000");
    browser.click("#second");
    browser.wait_for_text(&cell("leases", 1, 5), "19.0 s");
    browser.value("document.getElementById('amount').value = 'ten'");
    browser.click("#advance");
    browser.wait_for("document.getElementById('said').textContent.startsWith('by: expected a span such as')");
    browser.value("document.getElementById('amount').value = '18s'");
    browser.press_enter_on("#amount");
    browser.wait_for_text("#now", "2026-01-01 00:00:29.000");
    browser.wait_for_text("#expired_leases", "0");
    browser.click("#tonext");
    browser.wait_for_text("#now", "2026-01-01 00:00:30.000");
    browser.wait_for_text("#expired_leases", "1");
    assert_eq!(bookmark(&worker.receive()), bookmark(&first), "it is delivered again");
    browser.wait_for_text(&cell("leases", 1, 6), "2");
    assert_eq!(browser.complaints(), &[] as &[String]);
}

/// A server that believes what clients say of their users.
const BELIEVES: &str = "<AMPSConfig><Name>believes</Name>
    <Transports><Transport><Name>any-tcp</Name><Type>tcp</Type><InetAddr>127.0.0.1:0</InetAddr>
    <Protocol>amps</Protocol></Transport></Transports>
    <Authentication><Module>amps-default-authentication-module</Module>
    <Options><RequireUsername>true</RequireUsername><AllowSpoofing>true</AllowSpoofing></Options></Authentication>
    <TransactionLog><JournalDirectory>journal</JournalDirectory>
    <Topic><Name>.*</Name><MessageType>json</MessageType></Topic></TransactionLog></AMPSConfig>";

#[test]
fn what_hostile_clients_are_called_is_text() {
    let Some((mut browser, _alone)) = browser() else { return };
    let server = Process::start_on("127.0.0.1:0", &[], BELIEVES).unwrap();
    let markup = |what: &str| {
        format!("</td></script><img src=x onerror=\"window.{what}=1\"><script>{what}=1</script>")
    };
    let (name, user, topic, body) = (markup("name"), markup("user"), markup("topic"), markup("body"));
    let mut client = RawClient::connect_to(server.amps);
    let ack = client.ask(
        &json!({"c": "logon", "cid": "1", "client_name": name, "user_id": user, "mt": "json", "a": "processed"})
            .to_string(),
    );
    assert!(ack.contains("success"), "{ack}");
    let id = markup("id");
    let subscribe = json!({"c": "subscribe", "cid": "c", "sub_id": id, "t": topic, "a": "processed"});
    assert!(client.ask(&subscribe.to_string()).contains("success"));
    server.post("/publish", &json!({"topic": topic, "body": body}));
    let fault = json!({"when": "on_logon", "scope": {"client": markup("fault")}, "then": "swallow"});
    server.post("/faults", &fault);

    browser.open(&server.page());
    browser.wait_for_text(&cell("connections", 1, 2), &name);
    browser.wait_for_text(&cell("connections", 1, 3), &user);
    browser.wait_for_text(&cell("subscriptions", 1, 2), &id);
    browser.wait_for_text(&cell("subscriptions", 1, 3), &topic);
    browser.wait_for_text(&cell("log", 1, 3), &topic);
    browser.wait_for_text(&cell("log", 1, 6), &body);
    browser.wait_for(&format!(
        "document.querySelector('{}').textContent.includes('<img')",
        cell("faults", 1, 2)
    ));
    browser.wait_for("document.getElementById('journal').textContent.includes('<img')");
    browser.wait_for_text("#instance", "believes");
    let made = browser.value(
        "[document.images.length, document.scripts.length, \
         ['name', 'user', 'topic', 'body', 'id', 'fault'].filter(what => window[what] === 1).length].join()",
    );
    assert_eq!(made, "0,1,0");
    // Even if it were written as HTML, the browser would refuse it.
    let refused =
        "(() => { try { document.body.innerHTML = '<img>'; return false; } catch { return true; } })()";
    assert_eq!(browser.value(refused), true);
    // However wide the words are, nothing is wider than the window.
    for width in [360, 800, 1280] {
        browser.resize(width);
        let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
        assert_eq!(browser.value(fits), true, "{width}");
    }
    browser.click("#connections tbody button");
    client.rest();
    browser.wait_for_text("#said", &format!("Cut {name}."));
}

#[test]
fn the_page_says_that_a_server_is_gone_and_goes_on_when_it_is_back() {
    let Some((mut browser, _alone)) = browser() else { return };
    let server = Process::start(&["--queue", "work"]);
    let control = server.control.to_string();
    browser.open(&server.page());
    browser.wait_for_text("#state", "Live");
    drop(server);
    browser.wait_for("document.getElementById('state').textContent.startsWith('The server is gone')");
    browser.click("#refuse");
    browser.wait_for_text("#said", "The server did not answer.");
    // Somebody else may have the port for a moment.
    let server = loop {
        if let Some(server) = Process::start_on(&control, &["--queue", "other"], "") {
            break server;
        }
    };
    browser.wait_for_text("#state", "Live");
    browser.wait_for_text(&cell("queues", 1, 1), "other");

    // While nobody looks it asks for nothing.
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {hidden}}}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    browser.value(&hide(true));
    browser.wait_for("document.body.dataset.state === 'paused'");
    server.publish("other", 3);
    assert_eq!(
        browser.value(&format!("document.querySelector('{}').textContent", cell("queues", 1, 2))),
        "0"
    );
    browser.value(&hide(false));
    browser.wait_for_text(&cell("queues", 1, 2), "3");
    browser.wait_for_text("#state", "Live");
    assert_eq!(browser.complaints(), &[] as &[String]);
}

#[test]
fn no_process_of_a_browser_outlives_it() {
    let Some((browser, _alone)) = browser() else { return };
    assert!(browser.lives());
    assert!(browser.ends(), "a process of the browser is left");
}
