//! The table and the line at the end.

use std::time::Duration;

use crate::ledger::Ledger;
use crate::worker::Row;

/// Prints what happened, `took` being the time of the work itself; `true` if nothing was lost and every fault was really met.
pub(crate) fn print(rows: &[Row], ledger: &Ledger, took: Duration) -> bool {
    println!("origins with the longest delays");
    for (origin, delays) in ledger.worst_origins(5) {
        let mean = delays.minutes as f64 / delays.flights as f64;
        println!(
            "  {origin:<4} {:>5} flights {mean:>6.1} min on average, {:>4} min at most",
            delays.flights, delays.longest
        );
    }
    println!();
    println!(
        "{:<16} {:<10} {:>9} {:>9} {:>9} {:>11} {:>10}",
        "worker", "role", "processed", "acked", "cancelled", "redelivered", "reconnects"
    );
    for row in rows {
        println!(
            "{:<16} {:<10} {:>9} {:>9} {:>9} {:>11} {:>10}",
            row.name,
            format!("{:?}", row.role).to_lowercase(),
            row.processed,
            row.acknowledged,
            row.cancelled,
            row.redelivered,
            row.reconnects
        );
    }
    println!();
    let (lost, unearned) = (ledger.lost(), ledger.unearned());
    let rate = ledger.processed() as f64 / took.as_secs_f64();
    println!(
        "published {}, processed {}, lost {lost}, acknowledged without being processed {unearned}, \
         {rate:.0} messages/s",
        ledger.published_count(),
        ledger.processed(),
    );

    let reconnects: u64 = rows.iter().map(|row| row.reconnects).sum();
    let cancelled: u64 = rows.iter().map(|row| row.cancelled).sum();
    let mut good = lost == 0 && unearned == 0 && ledger.processed() == ledger.len();
    for (happened, what) in [
        (reconnects >= 2, "fewer than two reconnects"),
        (ledger.expired_leases() >= 1, "no lease expired"),
        (cancelled >= 1, "no message was cancelled"),
    ] {
        if !happened {
            eprintln!("queue_worker: the run proves less than it should: {what}");
            good = false;
        }
    }
    good
}
