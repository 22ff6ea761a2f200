//! Measurements side by side: round by round in turn, as ratios with their spread, because machines differ
//! and drift.

use std::time::Duration;

/// A name, and how long it takes this time.
pub type Measurement<'a> = (&'a str, &'a mut dyn FnMut() -> Duration);

/// Runs all in turn, `rounds` times, each for so many messages, and prints each against the first.
pub fn compare(title: &str, messages: usize, rounds: usize, all: &mut [Measurement<'_>]) {
    for (_, run) in all.iter_mut() {
        run();
    }
    let rounds: Vec<Vec<f64>> = (0..rounds)
        .map(|_| all.iter_mut().map(|(_, run)| messages as f64 / run().as_secs_f64() / 1e6).collect())
        .collect();
    println!("\n{title}");
    for (i, (name, _)) in all.iter().enumerate() {
        let (low, middle, high) = spread(rounds.iter().map(|round| round[i]).collect());
        let (worst, ratio, best) = spread(rounds.iter().map(|round| round[i] / round[0]).collect());
        println!(
            "  {name:<30} {middle:>6.2} M/s [{low:.2} {high:.2}]   {:>4.0}% of the floor [{:.0} {:.0}]",
            ratio * 100.0,
            worst * 100.0,
            best * 100.0
        );
    }
}

/// Minimum, median and maximum.
pub fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
