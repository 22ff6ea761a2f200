//! What the fake server carries over loopback: `cargo bench -p benches --bench server`.

use std::time::Duration;

use benches::server;

/// A case: its name, how many messages, and what takes that long for them.
type Case = (&'static str, u64, fn(u64) -> Duration);

const RATES: [Case; 5] = [
    ("one to one", 2_000_000, server::plain),
    ("one to one, SOW and log", 1_000_000, server::kept),
    ("1,000 filters, one value each", 500_000, server::many_values),
    ("1,000 filters, a range each", 50_000, server::many_ranges),
    ("queue, 4 consumers, acked", 500_000, server::queue),
];

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let case = |name: &str, measured: &dyn Fn() -> String| {
        if wanted(name) {
            println!("{name:<30} {}", measured());
        }
    };
    for (name, count, run) in RATES {
        case(name, &|| {
            let [least, middle, most] = sorted(|| count as f64 / run(count).as_secs_f64(), f64::total_cmp);
            format!("{middle:>12.0} /s (of three runs: {least:.0} to {most:.0})")
        });
    }
    case("start to first answer", &|| {
        let times: [Duration; 20] = sorted(server::start, Duration::cmp);
        format!("{:>12.1?} (of 20: up to {:.1?})", times[10], times[19])
    });
    case("1,000 idle connections", &|| {
        let (memory, threads) = server::idle(1000);
        format!("{:>8.1} MiB, {threads} threads more", mebibytes(memory))
    });
    case("table of 1,000,000 records", &|| {
        let (memory, query) = server::big_table(1_000_000);
        format!("{:>8.1} MiB, equality query {query:.1?}", mebibytes(memory))
    });
}

/// The results of `N` runs, in order.
fn sorted<T, const N: usize>(
    mut run: impl FnMut() -> T,
    order: impl FnMut(&T, &T) -> std::cmp::Ordering,
) -> [T; N] {
    let mut results = std::array::from_fn(|_| run());
    results.sort_by(order);
    results
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
