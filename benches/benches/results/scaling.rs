//! How cost grows: with payload, subscriptions, keys, open bookmarks, pending publishes.

use std::time::{Duration, Instant};

use amps_client::bookmarks::MessageId;
use amps_client::{BookmarkStore, MemoryBookmarkStore, MemoryPublishStore, Progress, PublishStore};
use benches::report::{ROUNDS, Report};
use benches::{Flood, receive};

/// The median of some runs, after one that only warms up.
fn median(mut run: impl FnMut() -> Duration) -> f64 {
    run();
    let mut taken: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect();
    taken.sort_unstable();
    taken[ROUNDS / 2].as_secs_f64()
}

pub(crate) fn all(report: &mut Report) {
    report.group("Scaling");
    payload(report);
    subscriptions(report);
    keys(report);
    bookmarks(report);
    pending(report);
}

fn payload(report: &mut Report) {
    let plot = "throughput against payload";
    let (mut ours, mut floor, mut cost, mut least) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for power in [6, 8, 10, 12, 14, 16, 18, 20, 22, 24] {
        let size = 1_usize << power;
        let messages = ((64 << 20) / size).clamp(16, 200_000);
        let chunk = messages.min(1000);
        let messages = messages / chunk * chunk;
        let mut handler = receive::Handler::of(Flood::of_size(2, size, chunk));
        let mut bare = receive::Floor::of(Flood::of_size(0, size, chunk), size);
        let (handler, bare) = (median(|| handler.run(messages)), median(|| bare.decode(messages)));
        let rate = |took: f64| (messages * size) as f64 / took / 1e6;
        ours.push((size as f64, rate(handler)));
        floor.push((size as f64, rate(bare)));
        cost.push((size as f64, handler / messages as f64 * 1e6));
        least.push((size as f64, bare / messages as f64 * 1e6));
    }
    report.series(plot, "a handler", ("payload, bytes", "MB/s"), &ours, false);
    report.series(plot, "read, decode, call", ("payload, bytes", "MB/s"), &floor, false);
    let axes = ("payload, bytes", "us per message");
    let plot = "cost of a message against payload";
    report.series(plot, "a handler", axes, &cost, true);
    report.series(plot, "read, decode, call", axes, &least, true);
}

fn subscriptions(report: &mut Report) {
    const MESSAGES: usize = 100_000;
    for (name, most) in [("messages for one of them", 1), ("messages for up to 1,000 in turn", 1000)] {
        let points = [1, 10, 100, 1000, 10_000, 100_000].map(|count| {
            let mut routed = receive::Routed::new(count, most);
            (count as f64, median(|| routed.run(MESSAGES)) / MESSAGES as f64 * 1e9)
        });
        let axes = ("subscriptions", "ns per message");
        report.series("cost of a message against subscriptions", name, axes, &points, true);
    }
}

fn keys(report: &mut Report) {
    const MESSAGES: usize = 200_000;
    let points = [1, 10, 100, 1000, 10_000, 100_000].map(|keys: usize| {
        let mut conflating = receive::Conflating::of(Flood::of_keys(keys));
        let chunk = keys.max(1000);
        let messages = MESSAGES / chunk * chunk;
        (keys as f64, median(|| conflating.run(messages)) / messages as f64 * 1e9)
    });
    let axes = ("keys", "ns per message");
    report.series(
        "cost of a message against keys",
        "a conflating stream, each counted by a listener",
        axes,
        &points,
        true,
    );
}

fn bookmarks(report: &mut Report) {
    let axes = ("open messages", "ns per message");
    for (name, oldest) in [("the oldest goes", true), ("the one that came goes", false)] {
        let points = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000].map(|open: u64| {
            let store = MemoryBookmarkStore::new();
            store.attach("bench").expect("a client");
            let id = |sequence| MessageId { publisher: 7, sequence };
            for number in 1..=open {
                store.arrived("sub", id(number)).expect("a message");
            }
            let mut last = open;
            // One comes and one goes: as many stay open.
            let run = || {
                let began = Instant::now();
                for _ in 0..10_000 {
                    last += 1;
                    store.arrived("sub", id(last)).expect("a message");
                    let gone = if oldest { last - open } else { last };
                    store.discard("sub", id(gone)).expect("a discard");
                }
                began.elapsed()
            };
            (open as f64, median(run) / 10_000.0 * 1e9)
        });
        let plot = "cost of a message against open bookmarks";
        report.series(plot, &format!("a store in memory, {name}"), axes, &points, true);
    }
}

fn pending(report: &mut Report) {
    let frame = [b'x'; 128];
    let points = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000].map(|pending: u64| {
        let mut store = MemoryPublishStore::new();
        store.attach("bench", Progress::new(|| {})).expect("a client");
        let mut number = 0;
        for _ in 0..pending {
            number += 1;
            store.append(number, &frame).expect("room");
        }
        let run = || {
            let began = Instant::now();
            for _ in 0..10_000 {
                number += 1;
                store.append(number, &frame).expect("room");
                store.discard_up_to(number - pending).expect("a number");
            }
            began.elapsed()
        };
        (pending as f64, median(run) / 10_000.0 * 1e9)
    });
    let axes = ("pending publishes", "ns per publish");
    report.series(
        "cost of a publish against those pending",
        "a store in memory, kept and forgotten",
        axes,
        &points,
        true,
    );
}
