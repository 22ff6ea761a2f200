//! What subscribers get while somebody publishes as fast as the server takes it, and what the publisher of
//! a thousand messages is told.

mod support;

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::Duration;

use amps_protocol::{AckType, CommandKind, Message};
use amps_testkit::{FakeServer, FakeServerBuilder};
use serde_json::{Value, json};
use support::in_process::InProcess;
use support::raw_client::{RawClient, framed};
use support::stage::Stage;

/// How often a test puts the question to the race.
const ROUNDS: u64 = 200;

/// Lets a reader do its work while a writer publishes `{"r":"A","n":0}`, `{"r":"B","n":1}`, `{"r":"A","n":2}` and
/// so on, a hundred between two flushes, so that what waits in sockets is short.
fn while_published(read: impl FnOnce(&mut RawClient)) {
    let server = FakeServer::builder().no_txlog().start().unwrap();
    let done = AtomicBool::new(false);
    let mut reader = RawClient::named(&server, "reader");
    scope(|scope| {
        scope.spawn(|| {
            let mut writer = RawClient::named(&server, "writer");
            let mut n: u64 = 0;
            while !done.load(Ordering::Relaxed) {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    let body = json!({"r": if n % 2 == 0 { "A" } else { "B" }, "n": n});
                    bytes.extend(framed(&format!(r#"{{"c":"p","t":"T"}}{body}"#)));
                    n += 1;
                }
                writer.0.write_all(&bytes).unwrap();
                writer.ask(r#"{"c":"flush","cid":"f","a":"processed"}"#);
            }
        });
        // Also when it fails, or else the writer would go on.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&mut reader)));
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
}

/// Hands deliveries on (their subscription and body) up to the ack of a command, or as long as wanted.
fn deliveries(
    reader: &mut RawClient,
    command: Option<&str>,
    mut take: impl FnMut(&str, &Value) -> ControlFlow<()>,
) {
    loop {
        let frame = reader.receive();
        let message = Message::decode(frame.as_bytes()).unwrap();
        if message.command() == CommandKind::Ack {
            assert_eq!(message.command_id().map(ToString::to_string).as_deref(), command, "{frame}");
            assert!(frame.contains("success"), "{frame}");
            return;
        }
        let sub_id = message.sub_ids().map(ToString::to_string).unwrap_or_default();
        if take(&sub_id, &serde_json::from_slice(message.data()).unwrap()).is_break() {
            return;
        }
    }
}

/// Waits for so many deliveries of a subscription, and for none of another.
fn take(reader: &mut RawClient, count: u64, of: &str) {
    let mut left = count;
    deliveries(reader, None, |sub_id, _| {
        assert_eq!(sub_id, of, "a message of a subscription that had ended");
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// AC-PUB-09
#[test]
fn nothing_of_a_subscription_comes_behind_the_ack_of_its_end() {
    while_published(|reader| {
        for round in 0..ROUNDS {
            let id = format!("s{round}");
            // Messages of this subscription are all that can come: those before it have ended.
            reader.send(&json!({"c": "subscribe", "sub_id": id, "t": "T"}).to_string());
            take(reader, 1 + round % 7, &id);
            reader.send(&json!({"c": "unsubscribe", "cid": id, "sub_id": id, "a": "processed"}).to_string());
            deliveries(reader, Some(&id), |sub_id, _| {
                assert_eq!(sub_id, id);
                ControlFlow::Continue(())
            });
        }
        reader.quiet();
    });
}

/// AC-PUB-10: what went through the old filter and what goes through the new one meet without a gap and without
/// an overlap.
#[test]
fn a_filter_is_replaced_between_two_messages() {
    while_published(|reader| {
        let filter = |round: u64| if round % 2 == 0 { "A" } else { "B" };
        let subscribe = |round: u64| {
            let options = if round == 0 { "" } else { "replace" };
            let expression = format!("/r = '{}'", filter(round));
            json!({"c": "subscribe", "cid": round.to_string(), "sub_id": "s", "t": "T", "f": expression,
                "o": options, "a": "processed"})
            .to_string()
        };
        reader.send(&subscribe(0));
        deliveries(reader, Some("0"), |_, body| panic!("{body} came before the ack"));
        let mut last: Option<u64> = None;
        for round in 0..ROUNDS {
            let (mut seen, mut first) = (0, true);
            // The first of a filter follows the last of the other, past at most one of the other's.
            let mut follow = |body: &Value, first: bool| {
                assert_eq!(body["r"], filter(round), "it does not match: {body} behind {last:?}");
                let n = body["n"].as_u64().unwrap();
                if let Some(last) = last.replace(n) {
                    let steps: &[u64] = if first && round > 0 { &[1, 3] } else { &[2] };
                    assert!(steps.contains(&(n - last)), "{n} behind {last}");
                }
            };
            deliveries(reader, None, |_, body| {
                follow(body, std::mem::take(&mut first));
                seen += 1;
                if seen > round % 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let next = (round + 1).to_string();
            reader.send(&subscribe(round + 1));
            deliveries(reader, Some(&next), |_, body| {
                follow(body, false);
                ControlFlow::Continue(())
            });
        }
    });
}

/// AC-PUB-11
#[test]
fn a_thousand_publishes_have_two_persisted_acks() {
    let builder: FakeServerBuilder = FakeServer::builder().ack_conflation(Duration::from_millis(100));
    let mut stage = InProcess::start(builder, None);
    stage.connect();
    let send = |stage: &mut InProcess, frame: &str| stage.send(0, &framed(frame), 1);
    send(&mut stage, r#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#);
    assert!(stage.poll(0).is_some());
    for sequence in 1..=1000 {
        send(
            &mut stage,
            &format!(r#"{{"c":"publish","cid":"{sequence}","t":"T","s":{sequence},"a":"persisted"}}{{}}"#),
        );
        stage.advance(Duration::from_micros(50));
    }
    stage.advance(Duration::from_secs(1));
    let acks: Vec<Vec<u8>> = std::iter::from_fn(|| stage.poll(0)).collect();
    assert!((1..=2).contains(&acks.len()), "{} acks", acks.len());
    for ack in &acks {
        let ack = Message::decode(&ack[..]).unwrap();
        assert!(ack.is_ack(AckType::Persisted) && ack.command_id().is_none());
    }
    let last = String::from_utf8_lossy(acks.last().unwrap()).into_owned();
    assert!(last.contains(r#""s":1000"#), "{last}");
}
