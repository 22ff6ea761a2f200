//! What the client tells `tracing`: recorded whole, and searched for what must not be in it.
#![cfg(feature = "tracing")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use amps_client::{Client, CommandKind, ErrorKind, MemoryPublishStore, Reconnect, SowDelete};
use common::{PATIENCE, Peer, until};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const PASSWORD: &str = "s3cret-of-ann";
const BODY: &str = "the-body-of-a-message";

/// A span or an event.
#[derive(Clone, Debug, Default)]
struct Told {
    name: String,
    fields: BTreeMap<String, String>,
    /// The span that it belongs to.
    parent: Option<u64>,
    /// How many hold the span.
    held: usize,
    closed: bool,
}

impl Told {
    fn is(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|own| own == value)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().into(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

#[derive(Default)]
struct Recorder {
    last: AtomicU64,
    spans: Mutex<BTreeMap<u64, Told>>,
    events: Mutex<Vec<Told>>,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Records everything of every target, on whatever thread.
struct Everything;

fn recorder() -> &'static Recorder {
    RECORDER.get_or_init(|| {
        tracing::subscriber::set_global_default(Everything).unwrap();
        Recorder::default()
    })
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let Some(recorder) = RECORDER.get() else { return Id::from_u64(u64::MAX) };
        let number = recorder.last.fetch_add(1, Ordering::SeqCst) + 1;
        let mut told = Told { name: span.metadata().name().into(), held: 1, ..Told::default() };
        span.record(&mut told);
        recorder.spans.lock().unwrap().insert(number, told);
        Id::from_u64(number)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        change(span, |told| values.record(told));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(recorder) = RECORDER.get() else { return };
        let mut told = Told {
            name: event.metadata().level().to_string(),
            parent: event.parent().map(Id::into_u64),
            ..Told::default()
        };
        event.record(&mut told);
        recorder.events.lock().unwrap().push(told);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        change(id, |told| told.held += 1);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut closed = false;
        change(&id, |told| {
            told.held -= 1;
            told.closed = told.held == 0;
            closed = told.closed;
        });
        closed
    }
}

fn change(span: &Id, change: impl FnOnce(&mut Told)) {
    let Some(recorder) = RECORDER.get() else { return };
    if let Some(told) = recorder.spans.lock().unwrap().get_mut(&span.into_u64()) {
        change(told);
    }
}

/// The spans and events of one client.
fn of(client: &str) -> (Vec<(u64, Told)>, Vec<Told>) {
    let recorder = recorder();
    let spans = recorder.spans.lock().unwrap();
    let spans = spans.iter().filter(|(_, told)| told.is("client", client));
    let spans = spans.map(|(number, told)| (*number, told.clone())).collect();
    let events = recorder.events.lock().unwrap();
    (spans, events.iter().filter(|told| told.is("client", client)).cloned().collect())
}

fn event(client: &str, field: &str, value: &str) -> Told {
    let find = || of(client).1.into_iter().find(|told| told.is(field, value));
    until(&format!("an event with {field}={value}"), || find().is_some());
    find().unwrap()
}

/// Nobody finds in a log what only the application may know.
fn holds_no_secret() {
    let recorder = recorder();
    let all = format!("{:?}{:?}", recorder.spans.lock().unwrap(), recorder.events.lock().unwrap());
    assert!(!all.contains(PASSWORD), "a password was logged");
    assert!(!all.contains(BODY), "the body of a message was logged");
}

#[test]
fn commands_and_publishes_have_spans_that_say_how_they_ended() {
    recorder();
    let server =
        common::fake_server().sow(amps_testkit::SowConfig::new("orders").key("/id")).start().unwrap();
    let client = common::client("commands").server(common::uri(&server)).connect().unwrap();
    client.publish("orders", format!(r#"{{"id":1,"text":"{BODY}"}}"#)).unwrap();
    client.flush(PATIENCE).unwrap();
    let subscription = client.subscribe("orders").start().unwrap();
    client.subscribe("orders").filter("/id <").start().unwrap_err();
    client.sow_delete(&SowDelete::by_filter("orders", "1=1")).unwrap();
    common::executor::block_on(client.flush_future(PATIENCE)).unwrap();
    common::executor::block_on(client.sow("orders").start_future()).unwrap();
    drop(subscription);
    client.close().unwrap();
    let (spans, _) = of("commands");
    let command = |name: &str, outcome: &str| {
        let is = |told: &Told| told.is("command", name) && told.is("outcome", outcome) && told.closed;
        spans.iter().filter(|(_, told)| told.name == "command" && is(told)).count()
    };
    assert_eq!(command("connect", "ok"), 1);
    assert_eq!(command("flush", "ok"), 2);
    assert_eq!(command("subscribe", "ok"), 1);
    assert_eq!(command("subscribe", "BadFilter"), 1);
    assert_eq!(command("sow", "ok"), 1);
    assert_eq!(command("sow_delete", "ok"), 1);
    assert_eq!(command("close", "ok"), 1);
    let publish = spans.iter().find(|(_, told)| told.name == "publish").unwrap();
    assert!(publish.1.is("topic", "orders"));
    assert!(spans.iter().filter(|(_, told)| told.name == "command").all(|(_, told)| told.closed));
    holds_no_secret();
}

#[test]
fn a_connection_is_a_span_and_its_states_are_events_in_it() {
    recorder();
    let server = common::fake_server().start().unwrap();
    let uri = common::uri(&server).replace("://", &format!("://ann:{PASSWORD}@"));
    let builder = common::client("states").server(uri).reconnect(Reconnect::new());
    let client = builder.connect().unwrap();
    event("states", "state", "Resubscribed");
    server.drop_connection("states", amps_testkit::Drop::Reset);
    event("states", "reconnect", "true");
    client.close().unwrap();
    event("states", "state", "Shutdown");
    let (spans, events) = of("states");
    let connections: Vec<_> = spans.iter().filter(|(_, told)| told.name == "connection").collect();
    assert_eq!(connections.len(), 2, "one before, one after the loss");
    for (number, connection) in connections {
        assert!(connection.fields["server"].contains("://"), "{connection:?}");
        assert!(!connection.fields["server"].contains("ann"), "{connection:?}");
        let inside = events.iter().filter(|told| told.parent == Some(*number));
        let states: Vec<_> = inside.filter_map(|told| told.fields.get("state")).collect();
        assert_eq!(states.first().map(|s| s.as_str()), Some("Connected"));
        assert_eq!(states.last().map(|s| s.as_str()), Some("Disconnected"));
        until("the end of the span", || of("states").0.iter().any(|(n, told)| n == number && told.closed));
    }
    let lost = events.iter().find(|told| told.is("kind", "Disconnected")).unwrap();
    assert_eq!(lost.name, "WARN");
    assert!(lost.fields.contains_key("error"));
    holds_no_secret();
}

#[test]
fn refused_logons_and_handlers_that_fail_show_nothing_of_what_they_know() {
    recorder();
    let peer = Peer::new();
    let uri = peer.uri().replace("://", &format!("://ann:{PASSWORD}@"));
    let builder = common::client("refused").server(uri);
    let connecting = common::aside(move || builder.connect().map(drop));
    let mut line = peer.accept();
    let logon = line.expect(CommandKind::Logon);
    line.refuse(&logon, "auth failure");
    assert_eq!(connecting.join().unwrap().unwrap_err().kind(), ErrorKind::Authentication);
    let (spans, _) = of("refused");
    assert!(spans.iter().any(|(_, told)| told.is("outcome", "Authentication")), "{spans:?}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = Client::builder("nobody").server(format!("tcp://ann:{PASSWORD}@{nobody}/amps/json"));
    assert_eq!(builder.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let server = common::fake_server().start().unwrap();
    let client = common::client("fails").server(common::uri(&server)).connect().unwrap();
    let fails = |message: &amps_client::Message<&[u8]>| Err(format!("no: {}", message.data_str()?).into());
    client.subscribe("t").on_message(fails).unwrap();
    client.publish("t", BODY).unwrap();
    let failed = event("fails", "kind", "MessageHandler");
    assert!(!failed.fields.contains_key("error"), "{failed:?}");
    holds_no_secret();
}

#[test]
fn overrun_leases_are_events_without_any_listener() {
    recorder();
    let peer = Peer::new();
    let (client, mut line) = peer.connect(peer.client("late"));
    let (mut work, command) =
        common::placed(&mut line, move || client.subscribe("work").auto_ack(false).start().unwrap());
    let sid = common::sid(&command);
    line.send(&format!(
        r#"{{"c":"p","bm":"7|1|","t":"work","sids":"{sid}","lp":"20200101T000000.000000Z","l":1}}x"#
    ));
    work.next().unwrap().unwrap().ack();
    let late = event("late", "bookmark", "7|1|");
    assert_eq!(late.name, "WARN");
    assert!(late.is("subscription", &sid) && late.is("topic", "work") && late.fields.contains_key("late"));
    holds_no_secret();
}

#[test]
fn slow_consumers_and_refused_writes_are_events() {
    recorder();
    let peer = Peer::new();
    let builder = common::client("warns").server(peer.uri()).publish_store(MemoryPublishStore::new());
    let connecting = common::aside(move || builder.connect().unwrap());
    let mut line = peer.accept_logon();
    let client: Client = connecting.join().unwrap();
    client.publish("orders", BODY).unwrap();
    let number = line.expect(CommandKind::Publish).sequence().unwrap();
    line.send(&format!(
        r#"{{"c":"ack","a":"persisted","s":{number},"status":"failure","reason":"not entitled"}}"#
    ));
    let refused = event("warns", "reason", "not entitled");
    assert!(refused.is("topic", "orders"), "{refused:?}");
    assert!(
        refused.is("sequence", &format!("Some({number})")) || refused.is("sequence", &number.to_string())
    );
    let (stream, subscribe) = common::placed(&mut line, {
        let client = client.clone();
        move || client.subscribe("t").max_depth(1).start().unwrap()
    });
    let sid = common::sid(&subscribe);
    line.send_all(&[common::plain(&sid, "t", BODY), common::plain(&sid, "t", BODY)]);
    let slow = event("warns", "subscription", &sid);
    assert_eq!(slow.name, "WARN");
    assert!(slow.fields.contains_key("depth"));
    drop(stream);
    holds_no_secret();
}
