//! State in rolling snapshots: what the changelog lacks comes back by replaying the input, muted.

use crate::support::{Counter, Topics, assert_exactly_once, produce};
use std::time::Duration;

const KEYS: u32 = 40;
/// Snapshots are rare enough that a crash finds the changelog far behind.
const ROLLING: [(&str, &str); 3] = [
    ("COUNTER__PIPELINE__STATE", "rolling"),
    ("COUNTER__PIPELINE__SNAPSHOT_INTERVAL_MS", "2000"),
    ("COUNTER__COUNTER__WORK_US", "200"),
];

fn total(counter: &Counter, metric: &str) -> u64 {
    let (_, metrics) = counter.get("/metrics");
    metrics
        .lines()
        .filter(|line| {
            line.strip_prefix(metric)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn wait_consumed(counter: &Counter, n: u64) {
    testbed::wait_until(Duration::from_mins(1), "records to be consumed", || {
        total(counter, "chassis_records_consumed_total") >= n
    });
}

fn wait_replayed(counter: &Counter) {
    testbed::wait_until(Duration::from_mins(1), "records to be replayed", || {
        total(counter, "chassis_replayed_records_total") > 0
    });
}

#[test]
fn after_a_crash_the_input_since_the_last_snapshot_is_replayed_without_outputs() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let mut first = Counter::start(&kafka, &topics, "a", &ROLLING);
    wait_consumed(&first, 4_000);
    // Far fewer than one a record, which is what each commit would write at most.
    let written = total(&first, "chassis_changelog_records_total");
    assert!(written < 1_000, "{written}");
    first.kill();
    let mut second = Counter::start(&kafka, &topics, "b", &ROLLING);
    wait_replayed(&second);
    wait_consumed(&second, 2_000);
    // Also when it strikes somebody who has replayed himself.
    second.kill();
    let _third = Counter::start(&kafka, &topics, "a", &ROLLING);
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
}

#[test]
fn an_orderly_stop_leaves_nothing_to_replay() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 10_000);
    let first = Counter::start(&kafka, &topics, "a", &ROLLING);
    wait_consumed(&first, 3_000);
    first.signal("TERM");
    assert_eq!(first.wait(Duration::from_secs(20)).0, 0);
    let second = Counter::start(&kafka, &topics, "b", &ROLLING);
    assert_exactly_once(&kafka, &topics, KEYS, 10_000);
    assert_eq!(total(&second, "chassis_replayed_records_total"), 0);
}

#[test]
fn a_rebalance_in_order_leaves_nothing_to_replay_and_loses_nothing() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 20_000);
    let first = Counter::start(&kafka, &topics, "a", &ROLLING);
    wait_consumed(&first, 1_000);
    let second = Counter::start(&kafka, &topics, "b", &ROLLING);
    second.wait_ready();
    wait_consumed(&second, 1_000);
    assert_eq!(total(&second, "chassis_replayed_records_total"), 0);
    assert_exactly_once(&kafka, &topics, KEYS, 20_000);
}

#[test]
fn what_one_mode_has_committed_the_other_reads() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 20_000);
    let slow = [("COUNTER__COUNTER__WORK_US", "200")];
    let mut every_commit = Counter::start(&kafka, &topics, "a", &slow);
    wait_consumed(&every_commit, 2_000);
    every_commit.kill();
    let mut rolling = Counter::start(&kafka, &topics, "a", &ROLLING);
    wait_consumed(&rolling, 3_000);
    rolling.kill();
    let again = Counter::start(&kafka, &topics, "a", &slow);
    wait_replayed(&again);
    assert_exactly_once(&kafka, &topics, KEYS, 20_000);
}

#[test]
fn a_zombie_that_gathered_changes_harms_nobody() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let zombie = Counter::start(&kafka, &topics, "a", &ROLLING);
    wait_consumed(&zombie, 2_000);
    zombie.signal("STOP");
    let second = Counter::start(&kafka, &topics, "b", &ROLLING);
    wait_consumed(&second, 3_000);
    zombie.signal("CONT");
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
}
