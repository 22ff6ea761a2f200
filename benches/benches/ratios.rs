//! What `results` leaves out: decoding and encoding in memory beside a scanner, and publishing with stores beside
//! publishing without, as ratios with their spread. `cargo bench -p benches --bench ratios`.

use std::time::{Duration, Instant};

use amps_client::{FilePublishStore, MemoryPublishStore, SyncPolicy};
use benches::codec::{CASES, Case};
use benches::publish;
use benches::ratio::{compare, spread};

const ROUNDS: usize = 15;
const PUBLISHED: usize = 64_000;
const CODED: usize = 100_000;

fn main() {
    println!("median of {ROUNDS} rounds, minimum and maximum in brackets");
    codec();
    stores();
}

/// Publishing with a publish store, against publishing without.
fn stores() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, policy: SyncPolicy| {
        FilePublishStore::builder(directory.path().join(name)).sync(policy).open().expect("a store")
    };
    let mut none = publish::Confirmed::new(|builder| builder);
    let mut memory = publish::Confirmed::new(|builder| builder.publish_store(MemoryPublishStore::new()));
    let interval = file("interval", SyncPolicy::Interval(Duration::from_millis(10)));
    let mut interval = publish::Confirmed::new(|builder| builder.publish_store(interval));
    let never = file("never", SyncPolicy::Never);
    let mut never = publish::Confirmed::new(|builder| builder.publish_store(never));
    compare(
        "publish in bursts to a server that confirms",
        PUBLISHED,
        ROUNDS,
        &mut [
            ("without a store", &mut || none.burst(PUBLISHED)),
            ("a store in memory", &mut || memory.burst(PUBLISHED)),
            ("a file, forced every 10 ms", &mut || interval.burst(PUBLISHED)),
            ("a file, never forced", &mut || never.burst(PUBLISHED)),
        ],
    );
}

/// Decoding and encoding in memory: nanoseconds each, and decoding as a multiple of what the
/// hand-written scanner takes.
fn codec() {
    let once = |case: &Case| {
        let began = Instant::now();
        (case.run)(CODED);
        began.elapsed().as_secs_f64() * 1e9 / (CODED * case.units) as f64
    };
    let rounds: Vec<Vec<f64>> = (0..=ROUNDS).map(|_| CASES.iter().map(once).collect()).collect();
    println!("\ndecode and encode, ns");
    let place = |name: &str| CASES.iter().position(|case| case.name == name);
    for (i, case) in CASES.iter().enumerate() {
        // The first round only warms up.
        let column = |i: usize| rounds[1..].iter().map(move |round| round[i]);
        let (least, median, most) = spread(column(i).collect());
        print!("  {:<28} {median:6.1} [{least:.1}, {most:.1}]", case.name);
        if let Some(scan) = case.name.strip_prefix("decode ").and_then(|what| place(&format!("scan {what}")))
        {
            let ratio = column(i).zip(column(scan)).map(|(ours, yardstick)| ours / yardstick).collect();
            let (least, median, most) = spread(ratio);
            print!("   {median:.2} x the scanner [{least:.2}, {most:.2}]");
        }
        println!();
    }
}
