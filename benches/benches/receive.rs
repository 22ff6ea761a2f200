//! Receive benchmarks, for people: `cargo bench -p benches --bench receive`.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use benches::receive::{Conflating, Floor, Handler, Routed, Stream};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const MESSAGES: usize = 100_000;

fn receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("receive, 128-byte body");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(20);
    let (mut floor, mut handler, mut stream) = (Floor::new(), Handler::new(), Stream::new());
    let rounds = |iters: u64, run: &mut dyn FnMut() -> Duration| (0..iters).map(|_| run()).sum();
    group
        .bench_function("floor a: cut frames", |b| b.iter_custom(|n| rounds(n, &mut || floor.cut(MESSAGES))));
    group.bench_function("floor b: cut, decode, call", |b| {
        b.iter_custom(|n| rounds(n, &mut || floor.decode(MESSAGES)));
    });
    group.bench_function("handler", |b| b.iter_custom(|n| rounds(n, &mut || handler.run(MESSAGES))));
    group.bench_function("iterator", |b| b.iter_custom(|n| rounds(n, &mut || stream.run(MESSAGES))));
    for (subscriptions, targets) in [(1, 1), (10_000, 1), (10_000, 100), (10_000, 1000)] {
        let mut routed = Routed::new(subscriptions, targets);
        group.bench_function(format!("{targets} handlers of {subscriptions}"), |b| {
            b.iter_custom(|n| rounds(n, &mut || routed.run(MESSAGES)));
        });
    }
    let mut conflating = Conflating::new();
    group.bench_function("conflating iterator", |b| {
        b.iter_custom(|n| rounds(n, &mut || conflating.run(MESSAGES)));
    });
    group.finish();
}

criterion_group!(all, receive);
criterion_main!(all);
