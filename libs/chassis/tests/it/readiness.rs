//! `/readyz`: what a rolling update waits for.

use crate::support::{Counter, PARTITIONS, Topics, produce};
use std::time::Duration;

/// Partitions assigned to each worker.
fn assigned(counter: &Counter) -> Vec<u32> {
    let (_, metrics) = counter.get("/metrics");
    let mut assigned: Vec<u32> = metrics
        .lines()
        .filter(|line| line.starts_with("chassis_assigned_partitions{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    assigned.sort_unstable();
    assigned
}

#[test]
fn nobody_is_ready_before_the_group_has_given_a_share_and_its_state_is_there() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, 40, 4_000);
    let mut first = Counter::start(&kafka, &topics, "a", &[]);
    testbed::consume_committed(&kafka, &topics.output, 4_000, Duration::from_mins(1));
    // The group waits for it until its session is over, and gives nobody a share.
    first.kill();

    let second = Counter::start(&kafka, &topics, "b", &[]);
    second.wait_ready();
    assert_eq!(assigned(&second), [4], "{}", second.log());
    let (_, metrics) = second.get("/metrics");
    assert!(
        metrics.contains("chassis_restore_records_total 40"),
        "{metrics}"
    );
}

#[test]
fn more_workers_than_partitions_are_standbys_and_ready() {
    let kafka = testbed::kafka();
    let workers = (PARTITIONS + 1).to_string();
    for protocol in ["classic", "consumer"] {
        let topics = Topics::create(&kafka);
        let counter = Counter::start(
            &kafka,
            &topics,
            "a",
            &[
                ("COUNTER__PIPELINE__WORKERS", &workers),
                ("COUNTER__KAFKA__GROUP_PROTOCOL", protocol),
            ],
        );
        counter.wait_ready();
        assert_eq!(assigned(&counter), [0, 1, 1, 1, 1], "{protocol}");
    }
}
