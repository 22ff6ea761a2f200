//! The rows of the table: what was promised, and what it is measured against.

use std::process::Command;

use benches::Flood;
use benches::connect::Door;
use benches::content;
use benches::report::{Better, ROUNDS, Report, Wanted, rates, rounds};
use benches::round_trip::{self, Place, percentile};
use benches::system::{on_processor, open_many, processors};
use benches::{publish as publishing, queue as queues, receive as receiving};

const RATE: (&str, Better) = ("M/s", Better::Higher);
const TIME: (&str, Better) = ("us", Better::Lower);

const RECEIVED: usize = 1_000_000;
const PUBLISHED: usize = 256_000;
const ROUND_TRIPS: usize = 4000;

fn ratio(ratio: f64) -> Wanted {
    Wanted { ratio: Some(ratio), value: None }
}

fn value(value: f64) -> Wanted {
    Wanted { ratio: None, value: Some(value) }
}

pub(crate) fn receive(report: &mut Report) {
    report.group("Receiving, 128 bytes and a full header");
    let (mut cut, mut decode) = (receiving::Floor::new(), receiving::Floor::new());
    let mut events = receiving::Floor::new();
    let (mut hand, mut handler) = (receiving::Handoff::new(), receiving::Handler::new());
    let (mut stream, mut futures) = (receiving::Stream::new(), receiving::Futures::new());
    let taken = rounds(&mut [
        &mut || cut.cut(RECEIVED),
        &mut || decode.decode(RECEIVED),
        &mut || events.decode_by_events(RECEIVED),
        &mut || handler.run(RECEIVED),
        &mut || hand.run(RECEIVED),
        &mut || stream.run(RECEIVED),
        &mut || futures.run(RECEIVED),
    ]);
    let [cut, decode, events, handler, hand, stream, futures] = taken.map(|taken| rates(RECEIVED, &taken));
    report.row("floor (a): read and cut frames", RATE, &cut, None, Wanted::default());
    report.row("floor (b): read, decode, call", RATE, &decode, None, Wanted::default());
    report.row("as (b), by events, and copied once more", RATE, &events, None, Wanted::default());
    report.row("floor (c): read, decode, hand over a block", RATE, &hand, None, Wanted::default());
    report.row("handler", RATE, &handler, Some(("floor (b)", &decode)), ratio(0.85));
    let floor = ("(b) by events, copied once more", &*events);
    report.row(
        "the same, against what an event loop has to do",
        RATE,
        &handler,
        Some(floor),
        Wanted::default(),
    );
    report.row("iterator on another thread", RATE, &stream, Some(("floor (c)", &hand)), ratio(0.85));
    report.row("stream on a plain executor", RATE, &futures, Some(("floor (c)", &hand)), ratio(0.75));

    report.group("Receiving, other messages");
    let large = RECEIVED / 2;
    let mut floor = receiving::Floor::of(Flood::of_size(0, 1024, 1000), 0);
    let mut handler = receiving::Handler::of(Flood::of_size(2, 1024, 1000));
    let [floor, handler] = rounds(&mut [&mut || floor.decode(large), &mut || handler.run(large)]);
    let (floor, handler) = (rates(large, &floor), rates(large, &handler));
    report.row("handler, 1 KiB", RATE, &handler, Some(("read, decode, call", &floor)), ratio(0.75));
    let mut floor = receiving::Floor::of(Flood::of(0, content::records(), content::CHUNK), 0);
    let mut records = receiving::Records::new();
    let [floor, records] = rounds(&mut [&mut || floor.records(RECEIVED), &mut || records.run(RECEIVED)]);
    let (floor, records) = (rates(RECEIVED, &floor), rates(RECEIVED, &records));
    let floor = ("read, decode, call", &*floor);
    report.row("records of a query, batches of 100", RATE, &records, Some(floor), value(8.0));
}

pub(crate) fn publish(report: &mut Report) {
    report.group("Publishing, 128 bytes");
    let mut sixteen = publishing::Floor::new();
    let mut many = publishing::Floor::new();
    let mut publisher = publishing::Publisher::new();
    let mut crowded = publishing::Publisher::new();
    let mut shares = Vec::new();
    let taken = rounds(&mut [
        &mut || sixteen.run(PUBLISHED, 16),
        &mut || many.run(PUBLISHED, 400),
        &mut || publisher.burst(PUBLISHED),
        &mut || {
            let (took, share) = crowded.burst_of(4, 4 * PUBLISHED);
            shares.push(share);
            took
        },
    ]);
    let [sixteen, many, one, four] = taken;
    let [sixteen, many, one] = [sixteen, many, one].map(|taken| rates(PUBLISHED, &taken));
    let four = rates(4 * PUBLISHED, &four);
    report.row("floor: one write for 64 KiB", RATE, &many, None, Wanted::default());
    report.row("bursts, one thread", RATE, &one, Some(("one write for 16 frames", &sixteen)), value(6.0));
    report.row("bursts, four threads on one client", RATE, &four, Some(("one thread", &one)), ratio(0.6));
    let shares = &shares[1..];
    let share = ("of its share", Better::Higher);
    report.row("the slowest of four when the first is done", share, shares, None, value(0.5));
    let mut last = Vec::new();
    for _ in 0..ROUNDS {
        last.push(percentile(&publisher.last_of_bursts(2000, 64), 99.0));
    }
    report.row("the last of a burst of 64 has arrived, p99", TIME, &last, None, value(100.0));
    let mut floor = publishing::Floor::new();
    let publisher = publishing::Publisher::new();
    let taken: Vec<_> = (0..ROUNDS)
        .map(|_| publishing::calls(&mut floor, &publisher, 4001).map(|t| t.as_secs_f64() * 1e9))
        .collect();
    let (bare, ours): (Vec<f64>, Vec<f64>) = taken.iter().map(|[bare, ours]| (*bare, *ours)).unzip();
    let time = ("ns", Better::Lower);
    report.row("a publish alone, the call", time, &ours, Some(("one write", &bare)), Wanted::default());
    let more: Vec<f64> = ours.iter().zip(&bare).map(|(ours, bare)| ours - bare).collect();
    report.row("a publish alone, beyond one write", time, &more, None, value(300.0));
}

pub(crate) fn queue(report: &mut Report) {
    report.group("A consumer of a queue, acknowledging by itself");
    let mut row = |name: &str, (backlog, batch): (usize, usize), one_processor: bool, wanted: f64| {
        let make = || (queues::Floor::new(backlog, batch), queues::Consumer::new(backlog, batch));
        let measure = |(mut floor, mut consumer): (queues::Floor, queues::Consumer)| {
            let messages = 2640 * 100;
            rounds(&mut [&mut || floor.run(messages), &mut || consumer.run(messages)])
                .map(|taken| rates(messages, &taken))
        };
        let [floor, ours] = if one_processor { on_processor(0, || measure(make())) } else { measure(make()) };
        report.row(name, RATE, &ours, Some(("cut frames, send the same", &floor)), value(wanted));
    };
    row("backlog 1000, batches of 100", (1000, 100), false, 3.5);
    row("backlog 100, batches of 33", (100, 33), false, 1.2);
    row("the same on one processor", (100, 33), true, 2.0);
}

pub(crate) fn round_trips(report: &mut Report) {
    report.group("Round trips: publish to the own handler, 200 bytes");
    let processors = processors();
    let (ours, theirs) = (processors[0], processors[processors.len() - 1]);
    let places = [
        ("one processor", Place { ours, theirs: ours, spins: false }, (1.25, Some(1.6))),
        ("two processors", Place { ours, theirs, spins: false }, (1.05, None)),
        ("two processors, nobody sleeps", Place { ours, theirs, spins: true }, (1.3, None)),
    ];
    // Where there is one, nothing can be said of two.
    let possible = if ours == theirs { 1 } else { places.len() };
    for (name, place, (middle, end)) in places.into_iter().take(possible) {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(round_trip::bare(place, ROUND_TRIPS));
            ours.push(round_trip::ours(place, ROUND_TRIPS));
        }
        let at = |all: &[Vec<std::time::Duration>], percent: f64| -> Vec<f64> {
            all.iter().map(|sorted| percentile(sorted, percent)).collect()
        };
        for (percent, wanted) in [(50.0, Some(middle)), (99.0, end)] {
            let (ours, bare) = (at(&ours, percent), at(&bare, percent));
            let wanted = Wanted { ratio: wanted, value: None };
            report.row(&format!("{name}, p{percent}"), TIME, &ours, Some(("bare sockets", &bare)), wanted);
        }
        for (who, all) in [("our client", &ours), ("bare sockets", &bare)] {
            let points = [50.0, 90.0, 99.0, 99.9].map(|percent| {
                let mut values = at(all, percent);
                values.sort_by(f64::total_cmp);
                (100.0 / (100.0 - percent), values[values.len() / 2])
            });
            let axes = ("one round trip in", "us");
            report.series("latency of round trips", &format!("{who}, {name}"), axes, &points, false);
        }
    }
}

/// What a process of its own says of so many clients.
fn crowd(clients: usize) -> [f64; 3] {
    let program = Command::new(env!("CARGO_BIN_EXE_client")).args(["crowd", &clients.to_string()]).output();
    let output = program.expect("the program `client`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().expect("three numbers")
}

pub(crate) fn connections(report: &mut Report) {
    report.group("Connections");
    let mib = ("MiB", Better::Lower);
    let taken: Vec<[f64; 3]> = (0..3).map(|_| crowd(1000)).collect();
    let memory: Vec<f64> = taken.iter().map(|taken| taken[0] / 1024.0).collect();
    report.row("1,000 clients on one thread, in all", mib, &memory, None, value(20.0));
    let share: Vec<f64> = taken.iter().map(|taken| taken[2]).collect();
    let percent = ("% of a CPU", Better::Lower);
    report.row("the same, one message a second each", percent, &share, None, value(2.0));
    // Sockets, and some files.
    let limit = open_many().saturating_sub(100);
    let sizes = [1, 10, 100, 1000, 10_000];
    if let Some(left_out) = sizes.into_iter().find(|clients| *clients as u64 > limit) {
        println!("  from {left_out} clients on it is left out: the system allows {limit} sockets");
    }
    let sizes = sizes.into_iter().filter(|clients| *clients as u64 <= limit);
    let middle = |clients| {
        let taken: Vec<[f64; 3]> = (0..3).map(|_| crowd(clients)).collect();
        [0, 1, 2].map(|what| {
            let mut values: Vec<f64> = taken.iter().map(|taken| taken[what]).collect();
            values.sort_by(f64::total_cmp);
            values[1]
        })
    };
    let taken: Vec<(f64, [f64; 3])> = sizes.map(|clients| (clients as f64, middle(clients))).collect();
    let points = |what: fn(f64, &[f64; 3]) -> f64| -> Vec<(f64, f64)> {
        taken.iter().map(|(clients, taken)| (*clients, what(*clients, taken))).collect()
    };
    let memory = points(|clients, [_, each, _]| clients * each / 1024.0);
    let plot = "memory against connections";
    report.series(plot, "clients on one thread", ("connections", "MiB for the clients"), &memory, true);
    let share = points(|_, [_, _, share]| *share);
    let plot = "processor against connections";
    report.series(plot, "one message a second each", ("connections", "% of a CPU"), &share, true);
    let door = Door::new();
    let taken = rounds(&mut [&mut || door.bare(101), &mut || door.ours(101), &mut || door.on_a_loop(101)]);
    let micros =
        |times: &[std::time::Duration]| times.iter().map(|t| t.as_secs_f64() * 1e6).collect::<Vec<_>>();
    let [bare, ours, running] = taken.map(|taken| micros(&taken));
    let floor = Some(("the same with a bare socket", &*bare));
    report.row("connect, log on, subscribe", TIME, &ours, floor, ratio(1.5));
    report.row("the same, on a loop that runs already", TIME, &running, floor, Wanted::default());
}
