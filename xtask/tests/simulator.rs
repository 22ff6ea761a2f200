//! The simulator: it passes, it repeats itself to the byte, and it finds what is planted.

use xtask::sim::{Bugs, Campaign, Planted, Play, play_seed, run_seed};

#[test]
fn a_few_hundred_seeds_break_no_promise_and_reach_every_fault_and_state() {
    let summary = Campaign { seeds: 250, ..Campaign::default() }.run().unwrap();
    if let Some(failure) = summary.failure {
        panic!("seed {}: {}\n{}", failure.seed, failure.violation.unwrap(), failure.trace.join("\n"));
    }
    assert_eq!(summary.runs, 250);
    assert_eq!(summary.coverage.hole(Play::Workers.faults()), None);
}

#[test]
fn a_seed_replays_to_the_byte_traced_or_not() {
    for seed in [0, 7, 42, 1234] {
        let first = run_seed(seed, Bugs::default(), false).unwrap();
        let again = run_seed(seed, Bugs::default(), true).unwrap();
        assert_eq!(first.digest, again.digest, "seed {seed}");
        assert_eq!(first.coverage, again.coverage, "seed {seed}");
        assert!(!again.trace.is_empty());
    }
    let (one, other) = (run_seed(1, Bugs::default(), false), run_seed(2, Bugs::default(), false));
    assert_ne!(one.unwrap().digest, other.unwrap().digest);
}

fn found(bugs: Bugs) -> String {
    let campaign = Campaign { seeds: 1000, bugs, ..Campaign::default() };
    let failure = campaign.run().unwrap().failure.expect("the planted bug to be found");
    failure.violation.unwrap().promise.to_owned()
}

#[test]
fn an_acknowledgement_that_survives_a_reconnect_is_found() {
    let promise = found(Bugs { ack_survives_reconnect: true, ..Bugs::default() });
    assert!(promise.starts_with("P1") || promise.starts_with("P3"), "{promise}");
}

#[test]
fn a_timer_that_restarts_on_each_acknowledgement_is_found() {
    let promise = found(Bugs { ack_timer_restarts: true, ..Bugs::default() });
    assert!(promise.starts_with("P2"), "{promise}");
}

#[test]
fn a_batch_above_the_granted_backlog_is_found() {
    let promise = found(Bugs { batch_above_backlog: true, ..Bugs::default() });
    assert!(promise.starts_with("P3"), "{promise}");
}

fn programs(seeds: u64, bugs: Bugs) -> Campaign {
    Campaign { seeds, bugs, play: Play::Programs, ..Campaign::default() }
}

#[test]
fn random_programs_break_no_promise() {
    let summary = programs(200, Bugs::default()).run().unwrap();
    if let Some(failure) = summary.failure {
        panic!("seed {}: {}\n{}", failure.seed, failure.violation.unwrap(), failure.trace.join("\n"));
    }
    assert!(summary.coverage.recoveries > 1000, "{}", summary.coverage);
}

#[test]
fn a_program_replays_to_the_byte_traced_or_not() {
    for seed in [0, 7, 42] {
        let first = play_seed(Play::Programs, seed, Bugs::default(), false).unwrap();
        let again = play_seed(Play::Programs, seed, Bugs::default(), true).unwrap();
        assert_eq!((first.digest, first.coverage), (again.digest, again.coverage), "seed {seed}");
    }
}

#[test]
fn a_replacement_that_is_forgotten_is_found() {
    let bugs = Bugs { replacement_forgotten: true, ..Bugs::default() };
    let failure = programs(200, bugs).run().unwrap().failure.expect("the planted bug to be found");
    assert_eq!(failure.violation.unwrap().promise, "P8");
}

#[test]
fn a_command_that_never_ends_is_found() {
    let bugs = Bugs { waiter_forgotten: true, ..Bugs::default() };
    let failure = programs(200, bugs).run().unwrap().failure.expect("the planted bug to be found");
    assert_eq!(failure.violation.unwrap().promise, "P7");
}

fn durable(seeds: u64, bugs: Bugs) -> Campaign {
    Campaign { seeds, bugs, play: Play::Durable, ..Campaign::default() }
}

#[test]
fn stores_break_no_promise_whoever_dies() {
    let summary = durable(700, Bugs::default()).run().unwrap();
    if let Some(failure) = summary.failure {
        panic!("seed {}: {}\n{}", failure.seed, failure.violation.unwrap(), failure.trace.join("\n"));
    }
    assert_eq!(summary.coverage.hole(Play::Durable.faults()), None);
    let coverage = summary.coverage;
    assert!(coverage.shared_queues >= 100, "queues on pairs: {coverage}");
    assert!(coverage.failovers >= 10, "workers that left leases behind: {coverage}");
}

#[test]
fn a_run_with_stores_replays_to_the_byte_traced_or_not() {
    for seed in [0, 7, 42, 1234] {
        let first = play_seed(Play::Durable, seed, Bugs::default(), false).unwrap();
        let again = play_seed(Play::Durable, seed, Bugs::default(), true).unwrap();
        assert_eq!((first.digest, first.coverage), (again.digest, again.coverage), "seed {seed}");
    }
}

/// What is said of the mistake, and where else it would have to be looked for.
fn promise_broken_by(name: &str) -> String {
    let planted = Planted::named(name).unwrap();
    let mut bugs = Bugs::default();
    (planted.plant)(&mut bugs);
    let campaign = Campaign { seeds: 1000, bugs, play: planted.play, ..Campaign::default() };
    let failure = campaign.run().unwrap().failure.expect("the planted bug to be found");
    failure.violation.unwrap().promise.to_owned()
}

#[test]
fn each_mistake_about_publishes_is_found() {
    for name in [
        "store-forgets-while-offline",
        "replay-off-by-one",
        "unacknowledged-not-resent",
        "new-overtakes-replay",
        "blocks-ignored",
        "leaves-before-commit",
        "stored-too-early",
    ] {
        assert_eq!(promise_broken_by(name), "P5", "{name}");
    }
    for name in ["discards-one-too-many", "refused-not-removed", "wait-ends-at-reconnect"] {
        let promise = promise_broken_by(name);
        assert!(["P5", "P7", "P9", "P10"].contains(&&*promise), "{name}: {promise}");
    }
}

#[test]
fn each_mistake_about_replays_is_found() {
    for name in ["not-found-left-out", "discard-counts-as-prefix", "delivered-again"] {
        assert_eq!(promise_broken_by(name), "P6", "{name}");
    }
    assert_eq!(promise_broken_by("resubscribes-in-reverse"), "P8");
}

#[test]
fn each_mistake_about_queues_on_servers_that_fail_is_found() {
    assert_eq!(promise_broken_by("acks-left-out-of-replay"), "P5");
    assert_eq!(promise_broken_by("stale-acks-stored"), "P1");
}
