//! The simulator on a fixed list of seeds, and the simulator's own tests: the same seed does the
//! same, and a defect planted in the network is found.

use ringmq_sim::{Report, RunSettings, Sabotage, run};
use std::ops::Range;

/// Besides every seed below `SEEDS`: those that once found a bug of the broker. What a seed stands
/// for has grown since, so a seed shows its bug only at the commit before the one that mended it.
const FOUND_BUGS: [u64; 12] = [
    // A replay sent an older retained message after a newer live one (mended by 366c104).
    712, // A message that expired in a full queue was not counted as dropped (129a4d3).
    718,
    // On the first list, of 2026-11-22 (bee9ec5); the history does not say what it found.
    1395,
    // After a crash a packet identifier was given again while an exchange still had it (7129cc3).
    3776,
    // A crash in the middle of a run, too: an identifier given twice, a wrong order or a retained
    // message lost across a rewrite; the history does not say which (7129cc3).
    6434,
    // SUBACK left before other workers knew of interest that another subscriber had just told, so
    // messages were missed (d78f5a4).
    9362, // These three as 1395.
    18_742, 23_416, 27_751,
    // A connection that moved to its session's worker left the end of its input behind, and stayed
    // open (1de80d9).
    26_715, // As 1395.
    64,
    // A QoS 2 message for a session that no longer outlived its connection was sent before an
    // earlier one that still waited for the disk.
    16_283,
];
const SEEDS: u64 = 2000;
const THREADS: u64 = 4;

/// Runs seeds on several threads; their reports, in order of thread.
fn run_all(seeds: Vec<u64>, settings: RunSettings) -> Vec<Result<Report, String>> {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let seeds = seeds.clone();
            std::thread::spawn(move || {
                let mine = seeds.into_iter().filter(|seed| seed % THREADS == thread);
                mine.map(|seed| run(seed, settings).map_err(|failure| failure.to_string()))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn the_invariants_hold_for_the_fixed_seeds() {
    let seeds = (0..SEEDS).chain(FOUND_BUGS).collect();
    let results = run_all(seeds, RunSettings::default());
    let failures: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    if let Some(first) = failures.first() {
        panic!("{} seeds failed, the first of them:\n{first}", failures.len());
    }
    let reports = || results.iter().flatten();
    for workers in 1..=4 {
        assert!(reports().any(|report| report.workers == workers), "never {workers} workers");
    }
    assert!(reports().any(|report| report.dropped > 0), "no queue was ever full");
    let durable = reports().filter(|report| report.commits > 0).count() as u64;
    assert!(durable > SEEDS / 5, "only {durable} runs had a journal");
    let denied = reports().filter(|report| report.denied > 0).count() as u64;
    assert!(denied > SEEDS / 4, "rights mattered in {denied} runs only");
    assert!(reports().map(|report| report.deliveries).sum::<u64>() > 100 * SEEDS);
}

/// I22
#[test]
fn the_same_seed_does_the_same() {
    for seed in 0..30 {
        let first = run(seed, RunSettings::default()).unwrap();
        assert_eq!(first, run(seed, RunSettings::default()).unwrap(), "seed {seed}");
        let other = run(seed + 1000, RunSettings::default()).unwrap();
        assert_ne!(first.hash, other.hash);
    }
}

/// The invariants that fail when the network does harm, seed by seed.
fn found(seeds: Range<u64>, sabotage: Sabotage) -> Vec<String> {
    let settings = RunSettings { sabotage: Some(sabotage), ..RunSettings::default() };
    let results = run_all(seeds.collect(), settings);
    results.into_iter().filter_map(Result::err).collect()
}

/// The second line of a failure begins with the invariant's name.
fn names(failures: &[String], invariants: &[&str]) -> bool {
    failures.iter().all(|failure| {
        let violation = failure.lines().nth(1).unwrap();
        invariants.iter().any(|name| violation.starts_with(&format!("{name}:")))
    })
}

#[test]
fn a_delivery_that_comes_twice_is_found() {
    let failures = found(0..20, Sabotage::Duplicate);
    assert!(failures.len() > 15, "only {}", failures.len());
    assert!(names(&failures, &["I2", "I8", "I9", "I12"]), "{failures:#?}");
}

#[test]
fn a_lost_delivery_is_found() {
    // A crash before the end brings some of it back.
    let failures = found(0..90, Sabotage::Lose);
    assert!(failures.len() > 10, "only {}", failures.len());
    assert!(failures.iter().any(|failure| failure.contains("\nI1: missing")), "{failures:#?}");
}

#[test]
fn two_deliveries_that_change_places_are_found() {
    let failures = found(0..60, Sabotage::Swap);
    assert!(failures.len() > 5, "only {}", failures.len());
    assert!(failures.iter().any(|failure| failure.contains("\nI3: ")), "{failures:#?}");
}

#[test]
fn an_altered_payload_is_found() {
    let failures = found(0..20, Sabotage::Alter);
    assert!(failures.len() > 15, "only {}", failures.len());
    assert!(names(&failures, &["I4"]), "{failures:#?}");
}

/// I5
#[test]
fn a_worker_that_goes_on_with_old_rules_is_found() {
    let failures = found(0..160, Sabotage::KeepRules);
    assert!(failures.len() > 20, "only {}", failures.len());
    assert!(failures.iter().any(|failure| failure.contains("\nI5: ")), "{failures:#?}");
}

/// I5
#[test]
fn denials_that_are_forgotten_are_found() {
    let failures = found(0..140, Sabotage::ForgetDenials);
    assert!(failures.len() > 10, "only {}", failures.len());
    assert!(failures.iter().any(|failure| failure.contains("\nI5: ")), "{failures:#?}");
}

/// I5
#[test]
fn a_verdict_for_another_link_is_found() {
    let failures = found(0..700, Sabotage::MistakeLink);
    assert!(failures.len() > 2, "only {}", failures.len());
    assert!(names(&failures, &["I5"]), "{failures:#?}");
}
