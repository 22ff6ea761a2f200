//! What a client counts, as text that Prometheus reads: `cargo run -p amps-client --example prometheus`.
//!
//! An application answers requests for `/metrics` with what `metrics` returns. Here a server is embedded, a queue is
//! drained, and the text is printed once. What is counted is `Client::stats`; what stands at a moment, such as the
//! depth of a stream, is asked of the stream, and of the publish store.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use amps_client::{Client, MemoryPublishStore, Subscription};
use amps_testkit::{FakeServer, QueueConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let server =
        FakeServer::builder().queue(QueueConfig::new("work").max_backlog(100)).txlog("work").start()?;
    let client = Client::builder("order-worker-1")
        .server(server.uri("json"))
        .publish_store(MemoryPublishStore::new())
        .ack_batch_size(10)
        .connect()?;
    for id in 0..100 {
        client.publish("work", format!("{{\"id\":{id}}}"))?;
    }
    client.flush(Duration::from_secs(10))?;
    let mut work = client.subscribe("work").max_backlog(30).start()?;
    for _ in 0..60 {
        let message = work.next().ok_or("the stream has ended")??;
        message.ack();
    }
    client.flush(Duration::from_secs(10))?;

    let text = metrics(&client, &[("work", &work)]);
    print!("{text}");
    for line in [
        "amps_published_total{client=\"order-worker-1\"} 100",
        "amps_acknowledged_total{client=\"order-worker-1\"} 60",
        "amps_connected{client=\"order-worker-1\"} 1",
        "amps_publish_store_messages{client=\"order-worker-1\"} 0",
    ] {
        assert!(text.lines().any(|own| own == line), "there is no line {line}");
    }
    drop(work);
    client.close()?;
    Ok(())
}

/// Everything about a client and its streams in the text format of Prometheus.
fn metrics(client: &Client, streams: &[(&str, &Subscription)]) -> String {
    let (mut text, stats) = (String::new(), client.stats());
    let label = format!("client=\"{}\"", escaped(client.name()));
    let mut add = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "# HELP amps_{name} {help}\n# TYPE amps_{name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "amps_{name}{{{labels}}} {value}");
        }
    };
    let one = |value: f64| [(label.clone(), value)];
    for (name, help, value) in [
        ("published_total", "Messages published.", stats.published),
        ("delivered_total", "Messages delivered to subscriptions.", stats.delivered),
        ("acknowledged_total", "Messages acknowledged.", stats.acknowledged),
        ("returned_total", "Messages returned to their queue or expired.", stats.returned),
        ("stale_acks_total", "Acknowledgements after the end of their lease.", stats.stale_acks),
        ("ack_frames_total", "Frames of acknowledgements written.", stats.ack_frames),
        ("logons_total", "Connections that reached the logon.", stats.logons),
        ("unwritten_bytes_lost_total", "Bytes lost with a connection.", stats.unwritten_bytes_lost),
    ] {
        add(name, "counter", help, &one(value as f64));
    }
    let held = stats.longest_hold.as_secs_f64();
    add("longest_hold_seconds", "gauge", "The longest that handlers have held the event loop.", &one(held));
    add(
        "connected",
        "gauge",
        "Whether commands can be sent.",
        &one(f64::from(u8::from(client.is_connected()))),
    );
    if let Some(store) = client.publish_store() {
        add("publish_store_messages", "gauge", "Messages not persisted yet.", &one(store.unpersisted as f64));
    }
    let of = |value: fn(&Subscription) -> f64| -> Vec<(String, f64)> {
        let each = streams
            .iter()
            .map(|(name, stream)| (format!("{label},stream=\"{}\"", escaped(name)), value(stream)));
        each.collect()
    };
    add("stream_depth", "gauge", "Messages received and not read.", &of(|stream| stream.depth() as f64));
    let age = |stream: &Subscription| stream.oldest_age().unwrap_or_default().as_secs_f64();
    add("stream_oldest_age_seconds", "gauge", "How long the oldest unread message has waited.", &of(age));
    text
}

/// A label's value may hold anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
