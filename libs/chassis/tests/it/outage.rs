//! The broker away, and the network in between misbehaving.

use crate::support::{Counter, Topics, assert_exactly_once, produce};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::Duration;
use testbed::{Broker, api};

/// For what takes a moment.
const WAIT: Duration = Duration::from_secs(30);
const KEYS: u32 = 40;

#[test]
fn a_broker_that_is_killed_and_comes_back_is_waited_for() {
    let broker = Broker::start();
    let kafka = broker.bootstrap().to_owned();
    let topics = Topics::create(&kafka);
    let counter = Counter::start(&kafka, &topics, "a", &[]);
    counter.wait_ready();
    produce(&kafka, &topics.input, KEYS, 2_000);
    testbed::consume_committed(&kafka, &topics.output, 2_000, Duration::from_secs(30));
    broker.kill();
    testbed::wait_until(Duration::from_secs(40), "the service to be unready", || {
        counter.get("/readyz").0 == 503
    });
    assert_eq!(
        counter.get("/healthz").0,
        200,
        "a broker's outage is no reason to restart"
    );
    broker.restart();
    testbed::wait_until(Duration::from_mins(1), "the service to be ready", || {
        counter.get("/readyz").0 == 200
    });
    produce(&kafka, &topics.input, KEYS, 2_000);
    assert_exactly_once(&kafka, &topics, KEYS, 4_000);
    assert_eq!(
        counter.log().matches("Kafka is away").count(),
        1,
        "said once"
    );
}

#[test]
fn a_transaction_call_that_hangs_ends_at_its_deadline_and_nothing_is_lost() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topics = Topics::create(&broker.internal());
    produce(&broker.internal(), &topics.input, KEYS, 5_000);
    let counter = Counter::start(
        broker.bootstrap(),
        &topics,
        "a",
        &[
            ("COUNTER__COUNTER__WORK_US", "200"),
            ("COUNTER__KAFKA__SOCKET_TIMEOUT_MS", "2000"),
        ],
    );
    counter.wait_ready();
    proxy.pause();
    // Longer than every timeout of a call, shorter than the session.
    std::thread::sleep(Duration::from_secs(4));
    proxy.resume();
    assert_exactly_once(&broker.internal(), &topics, KEYS, 5_000);
}

#[test]
fn a_late_end_of_transaction_does_not_tear_the_next_one() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topics = Topics::create(&broker.internal());
    produce(&broker.internal(), &topics.input, KEYS, 20_000);
    let counter = Counter::start(
        broker.bootstrap(),
        &topics,
        "a",
        &[
            ("COUNTER__COUNTER__WORK_US", "200"),
            ("COUNTER__KAFKA__SOCKET_TIMEOUT_MS", "2000"),
        ],
    );
    counter.wait_ready();
    for _ in 0..3 {
        // The first copy of the request is held; librdkafka times out, sends a second one, which succeeds, and the call
        // returns as if nothing had been. Then the first copy arrives in the middle of a later transaction.
        let hold = proxy.hold_next(api::END_TXN);
        hold.wait_until_caught(Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(3_500));
        hold.release();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_exactly_once(&broker.internal(), &topics, KEYS, 20_000);
    let (_, metrics) = counter.get("/metrics");
    let rebuilds = metrics
        .lines()
        .find(|line| line.starts_with("chassis_producer_rebuilds_total"));
    assert!(
        rebuilds.is_some_and(|line| !line.ends_with(" 0")),
        "the shield was up: {rebuilds:?}"
    );
}

// A coordinator that has lost an offset can't be had at will. Who asks it can't tell it from an offset that somebody else
// has set back, which a group without members allows.
#[test]
fn an_offset_older_than_one_that_was_confirmed_is_not_believed() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, KEYS, 2_000);
    let counter = Counter::start(
        &kafka,
        &topics,
        "a",
        &[("COUNTER__PIPELINE__RESTORE_DEADLINE_MS", "3000")],
    );
    assert_exactly_once(&kafka, &topics, KEYS, 2_000);
    counter.signal("STOP");
    let other: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka)
        .set("group.id", format!("group-{}", topics.input))
        .create()
        .unwrap();
    let mut back = TopicPartitionList::new();
    back.add_partition_offset(&topics.input, 0, Offset::Offset(1))
        .unwrap();
    testbed::wait_until(Duration::from_secs(30), "its session to be over", || {
        other.commit(&back, CommitMode::Sync).is_ok()
    });
    counter.signal("CONT");
    let (code, log) = counter.wait(Duration::from_mins(1));
    assert_eq!(code, 75, "{log}");
    assert!(
        log.contains("a committed offset that is out of date"),
        "{log}"
    );
    assert!(log.contains("1 without the group's offset"), "{log}");
    assert_exactly_once(&kafka, &topics, KEYS, 2_000);
}

#[test]
fn a_restore_that_somebody_holds_back_ends_at_its_deadline_and_says_where_to_look() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    let stranger: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka)
        .set("transactional.id", testbed::unique("stranger"))
        .create()
        .unwrap();
    stranger.init_transactions(WAIT).unwrap();
    stranger.begin_transaction().unwrap();
    stranger
        .send(
            BaseRecord::<str, [u8]>::to(&topics.changelog)
                .partition(2)
                .key("key"),
        )
        .map_err(|(error, _)| error)
        .unwrap();
    stranger.flush(WAIT).unwrap();

    let deadline = [("COUNTER__PIPELINE__RESTORE_DEADLINE_MS", "3000")];
    let counter = Counter::start(&kafka, &topics, "a", &deadline);
    testbed::wait_until(WAIT, "it to say what it waits for", || {
        counter
            .get("/readyz")
            .1
            .contains("1 waiting for a transaction that somebody left open")
    });
    let (code, log) = counter.wait(WAIT);
    assert_eq!(code, 75, "{log}");
    assert!(
        log.contains("state of partition 2 was not restored within"),
        "{log}"
    );
    assert!(
        log.contains("1 waiting for a transaction that somebody left open (kafka-transactions.sh find-hanging)"),
        "{log}"
    );

    stranger.abort_transaction(WAIT).unwrap();
    Counter::start(&kafka, &topics, "a", &deadline).wait_ready();
}
