//! How long a client with 1,000 subscriptions takes to recover: `cargo bench -p benches --bench recovery`.
//! Measured from the connection to the last subscription; the wait before the attempt is not counted.

use std::time::Duration;

use benches::recovery::Recovery;

const SUBSCRIPTIONS: usize = 1_000;
const ROUNDS: usize = 15;

/// Of the slow link, in each direction.
const DELAY: Duration = Duration::from_millis(20);

fn main() {
    println!(
        "recovery of {SUBSCRIPTIONS} subscriptions, median of {ROUNDS} rounds, minimum and maximum in brackets"
    );
    let local = Recovery::new(SUBSCRIPTIONS, false);
    let [least, middle, most] = rounds(&local);
    println!("  a local server                   {middle:>7.1?} [{least:.1?} {most:.1?}], wanted 250 ms");
    // Placed while the link is fast.
    let far = Recovery::new(SUBSCRIPTIONS, true);
    let [least, middle, most] = rounds(&far);
    println!("  by a link without a delay        {middle:>7.1?} [{least:.1?} {most:.1?}]");
    far.set_delay(DELAY);
    let [least, middle, most] = rounds(&far);
    let trips = |time: Duration| time.as_secs_f64() / (2.0 * DELAY.as_secs_f64());
    println!(
        "  {DELAY:?} in each direction       {middle:>7.1?} [{least:.1?} {most:.1?}]: {:.1} round trips [{:.1} {:.1}]",
        trips(middle),
        trips(least),
        trips(most)
    );
}

/// The least, the middle and the longest.
fn rounds(recovery: &Recovery) -> [Duration; 3] {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| recovery.run()).collect();
    times.sort_unstable();
    [times[0], times[ROUNDS / 2], times[ROUNDS - 1]]
}
