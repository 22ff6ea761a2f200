//! Publish benchmarks, for people: `cargo bench -p benches --bench publish`.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use benches::publish::{Floor, Publisher};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const MESSAGES: usize = 64_000;

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish, 128-byte body");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(20);
    let (mut floor, mut publisher) = (Floor::new(), Publisher::new());
    let rounds = |iters: u64, run: &mut dyn FnMut() -> Duration| (0..iters).map(|_| run()).sum();
    for per_write in [1, 16, 400] {
        group.bench_function(format!("floor: {per_write} a write"), |b| {
            b.iter_custom(|n| rounds(n, &mut || floor.run(MESSAGES, per_write)));
        });
    }
    group.bench_function("burst", |b| b.iter_custom(|n| rounds(n, &mut || publisher.burst(MESSAGES))));
    group.finish();
}

criterion_group!(all, publish);
criterion_main!(all);
