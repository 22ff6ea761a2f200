//! What the fake server carries over loopback: `cargo bench -p benches --bench server`.

use std::time::Duration;

use benches::server;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let rate = |name: &str, count: u64, run: fn(u64) -> Duration| {
        if wanted(name) {
            let mut rates: Vec<f64> = (0..3).map(|_| count as f64 / run(count).as_secs_f64()).collect();
            rates.sort_by(f64::total_cmp);
            println!("{name:<30} {:>12.0} /s (of three runs: {:.0} to {:.0})", rates[1], rates[0], rates[2]);
        }
    };
    rate("one to one", 2_000_000, server::plain);
    rate("one to one, SOW and log", 1_000_000, server::kept);
    rate("1,000 filters, one value each", 500_000, server::many_values);
    rate("1,000 filters, a range each", 50_000, server::many_ranges);
    rate("queue, 4 consumers, acked", 500_000, server::queue);
    if wanted("start") {
        let mut times: Vec<Duration> = (0..20).map(|_| server::start()).collect();
        times.sort();
        println!("{:<30} {:>12.1?} (of 20: up to {:.1?})", "start to first answer", times[10], times[19]);
    }
    if wanted("idle") {
        let (memory, threads) = server::idle(1000);
        println!(
            "{:<30} {:>8.1} MiB, {threads} threads more",
            "1,000 idle connections",
            memory as f64 / 1048576.0
        );
    }
    if wanted("table") {
        let (memory, query) = server::big_table(1_000_000);
        println!(
            "{:<30} {:>8.1} MiB, equality query {query:.1?}",
            "1,000,000 records",
            memory as f64 / 1048576.0
        );
    }
}
