//! Crashes and rebalances.

use crate::support::{Counter, PARTITIONS, Topics, assert_exactly_once, produce};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};
use std::time::Duration;

const KEYS: u32 = 40;

/// Slow enough that a strike lands in mid-transaction.
const SLOW: [(&str, &str); 1] = [("COUNTER__COUNTER__WORK_US", "200")];

fn consumed(counter: &Counter) -> u64 {
    let (_, metrics) = counter.get("/metrics");
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("chassis_records_consumed_total{"))
        .and_then(|line| line.rsplit(' ').next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn wait_consumed(counter: &Counter, n: u64) {
    testbed::wait_until(Duration::from_mins(1), "records to be consumed", || {
        consumed(counter) >= n
    });
}

#[test]
fn every_record_is_counted_once() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 5_000);
    let counter = Counter::start(&kafka, &topics, "a", &[]);
    assert_exactly_once(&kafka, &topics, KEYS, 5_000);
    counter.signal("TERM");
    let (code, log) = counter.wait(Duration::from_secs(20));
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_drained_input_is_committed_at_once_and_a_restart_goes_on_counting() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    let counter = Counter::start(
        &kafka,
        &topics,
        "a",
        &[("COUNTER__PIPELINE__COMMIT_INTERVAL_MS", "5000")],
    );
    counter.wait_ready();
    produce(&kafka, &topics.input, KEYS, 100);
    // Far below the commit interval: the input is drained, so nothing is worth waiting for.
    testbed::consume_committed(&kafka, &topics.output, 100, Duration::from_secs(4));
    counter.signal("TERM");
    assert_eq!(counter.wait(Duration::from_secs(20)).0, 0);
    let _counter = Counter::start(&kafka, &topics, "a", &[]);
    produce(&kafka, &topics.input, KEYS, 100);
    assert_exactly_once(&kafka, &topics, KEYS, 200);
}

#[test]
fn state_is_restored_after_kill_9_with_an_open_transaction_before_committed_records() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 20_000);
    let mut first = Counter::start(&kafka, &topics, "a", &SLOW);
    wait_consumed(&first, 2_000);
    first.kill();
    // Another instance: its transactional id does not abort what the first left open. It must wait for that, not read
    // past it.
    let second = Counter::start(&kafka, &topics, "b", &[]);
    assert_exactly_once(&kafka, &topics, KEYS, 20_000);
    drop(second);
}

#[test]
fn a_successor_with_the_same_instance_id_aborts_what_was_left_open_at_once() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 10_000);
    let long = [
        ("COUNTER__COUNTER__WORK_US", "200"),
        ("COUNTER__PIPELINE__TRANSACTION_TIMEOUT_MS", "60000"),
    ];
    let mut first = Counter::start(&kafka, &topics, "a", &long);
    wait_consumed(&first, 1_000);
    first.kill();
    let _second = Counter::start(&kafka, &topics, "a", &long[1..]);
    // With the transaction's own timeout of 60 s in the way, this deadline could not be met.
    let deadline = Duration::from_secs(40);
    testbed::consume_committed(&kafka, &topics.output, 10_000, deadline);
    assert_exactly_once(&kafka, &topics, KEYS, 10_000);
}

#[test]
fn a_new_owner_aborts_what_a_dead_member_left_open_without_waiting_for_its_timeout() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let long = [
        ("COUNTER__COUNTER__WORK_US", "200"),
        ("COUNTER__PIPELINE__TRANSACTION_TIMEOUT_MS", "120000"),
        // So that it dies with a transaction open.
        ("COUNTER__PIPELINE__COMMIT_INTERVAL_MS", "1000"),
    ];
    let mut dead = Counter::start(&kafka, &topics, "a", &long);
    wait_consumed(&dead, 1_000);
    let heir = Counter::start(&kafka, &topics, "b", &long);
    wait_consumed(&heir, 1_000);
    dead.kill();
    testbed::wait_until(Duration::from_secs(30), "the dead to be fenced", || {
        heir.log().contains("its member is gone")
    });
    // With the transaction's own timeout of 120 s in the way, this deadline could not be met.
    let deadline = Duration::from_mins(1);
    testbed::consume_committed(&kafka, &topics.output, 30_000, deadline);
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
}

/// What the group's committed offsets say of their committers.
fn committers(kafka: &str, topics: &Topics) -> Vec<String> {
    let group: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", format!("group-{}", topics.input))
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(&topics.input, 0, PARTITIONS - 1);
    let committed = group
        .committed_offsets(partitions, Duration::from_secs(10))
        .unwrap();
    let elements = committed.elements();
    elements
        .iter()
        .map(|element| element.metadata().to_owned())
        .collect()
}

#[test]
fn a_member_that_leaves_in_order_signs_off_so_that_nobody_fences_its_successor() {
    let kafka = testbed::kafka();
    for state in ["every_commit", "rolling"] {
        let topics = Topics::create(&kafka);
        produce(&kafka, &topics.input, KEYS, 1_000);
        let mode = [("COUNTER__PIPELINE__STATE", state)];
        let counter = Counter::start(&kafka, &topics, "a", &mode);
        wait_consumed(&counter, 1_000);
        for committer in committers(&kafka, &topics) {
            assert!(committer.contains("-a-0\t"), "{state}: {committer}");
        }
        counter.signal("TERM");
        assert_eq!(counter.wait(Duration::from_secs(20)).0, 0);
        assert_eq!(committers(&kafka, &topics), [""; 4], "{state}");
        // One that has committed nothing leaves what it found.
        let idle = Counter::start(&kafka, &topics, "b", &mode);
        idle.wait_ready();
        idle.signal("TERM");
        assert_eq!(idle.wait(Duration::from_secs(20)).0, 0);
        assert_exactly_once(&kafka, &topics, KEYS, 1_000);
    }
}

#[test]
fn a_static_member_that_is_told_to_stop_does_so_each_time() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    let member = [("COUNTER__KAFKA__MEMBERSHIP", "static")];
    for round in 1..=15 {
        let counter = Counter::start(&kafka, &topics, "a", &member);
        produce(&kafka, &topics.input, KEYS, 100);
        wait_consumed(&counter, 100);
        counter.signal("TERM");
        let (code, log) = counter.wait(Duration::from_secs(25));
        assert_eq!(code, 0, "round {round}\n{log}");
    }
    assert_exactly_once(&kafka, &topics, KEYS, 1_500);
}

#[test]
fn a_rebalance_between_two_members_moves_partitions_without_loss_or_repeat() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let first = Counter::start(&kafka, &topics, "a", &SLOW);
    wait_consumed(&first, 1_000);
    let second = Counter::start(&kafka, &topics, "b", &SLOW);
    second.wait_ready();
    wait_consumed(&second, 1_000);
    first.signal("TERM");
    assert_eq!(first.wait(Duration::from_secs(20)).0, 0);
    let _third = Counter::start(&kafka, &topics, "c", &[]);
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
    drop(second);
}

#[test]
fn a_zombie_that_wakes_after_its_partitions_were_given_away_commits_nothing() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let zombie = Counter::start(&kafka, &topics, "a", &SLOW);
    wait_consumed(&zombie, 1_000);
    zombie.signal("STOP");
    // Takes over once the zombie's session (6 s) is over, and has counted on by the time the zombie wakes, polls, and
    // finds its transaction still open.
    let second = Counter::start(&kafka, &topics, "b", &SLOW);
    wait_consumed(&second, 3_000);
    zombie.signal("CONT");
    testbed::wait_until(Duration::from_secs(30), "the zombie to be told", || {
        zombie.log().contains("revoked")
    });
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
    drop(second);
}

#[test]
fn two_instances_with_one_name_fence_each_other_until_one_stops_and_says_why() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    let mut produced = 4_000;
    produce(&kafka, &topics.input, KEYS, produced);
    let first = Counter::start(&kafka, &topics, "twin", &SLOW);
    wait_consumed(&first, 1_000);
    let second = Counter::start(&kafka, &topics, "twin", &SLOW);
    // Twins without work don't meet in a transaction: there must be work until one gives up, however slow the machine.
    testbed::wait_until(Duration::from_mins(2), "one to give up", || {
        produce(&kafka, &topics.input, KEYS, 400);
        produced += 400;
        [&first, &second].iter().any(|counter| {
            counter
                .log()
                .contains("another instance runs with the same kafka.instance_id")
        })
    });
    assert_exactly_once(&kafka, &topics, KEYS, produced);
}

#[test]
fn the_consumer_protocol_hands_over_and_takes_over_without_loss_or_repeat() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 30_000);
    let consumer = [
        ("COUNTER__COUNTER__WORK_US", "200"),
        ("COUNTER__KAFKA__GROUP_PROTOCOL", "consumer"),
    ];
    let first = Counter::start(&kafka, &topics, "a", &consumer);
    wait_consumed(&first, 1_000);
    let mut second = Counter::start(&kafka, &topics, "b", &consumer);
    second.wait_ready();
    wait_consumed(&second, 1_000);
    first.signal("TERM");
    assert_eq!(first.wait(Duration::from_secs(20)).0, 0);
    let third = Counter::start(&kafka, &topics, "c", &consumer);
    wait_consumed(&third, 1_000);
    second.kill();
    assert_exactly_once(&kafka, &topics, KEYS, 30_000);
    drop(third);
}
