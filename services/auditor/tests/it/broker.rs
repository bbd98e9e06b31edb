//! A stage that makes mistakes, played by a transactional producer, and what the auditor says of it.

use crate::service::{DEADLINE, Service, Topics};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use testbed::NewRecord;

const WAIT: Duration = Duration::from_secs(20);

/// Stands in for a stage: writes what it is told, and commits its position, in transactions.
struct Played {
    producer: BaseProducer,
    /// Its place in the group: nothing is read with it.
    consumer: BaseConsumer,
    input: String,
}

impl Played {
    fn new(kafka: &str, topics: &Topics, stage: &str, input: &str) -> Self {
        let group = topics.group(stage);
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", kafka);
        let consumer = client.clone().set("group.id", &group).create().unwrap();
        let producer: BaseProducer = client.set("transactional.id", &group).create().unwrap();
        producer.init_transactions(WAIT).unwrap();
        Self {
            producer,
            consumer,
            input: topics.of(input).to_owned(),
        }
    }

    fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    /// An output, with the key and the source that it names.
    fn emit(&self, topic: &str, key: Option<&str>, source: Option<i64>) {
        let mut record = BaseRecord::<str, str>::to(topic).partition(0).payload("{}");
        record.key = key;
        let named = source.map(|offset| format!("{}/0/{offset}", self.input));
        if let Some(named) = &named {
            record = record.headers(OwnedHeaders::new().insert(Header {
                key: "source",
                value: Some(named),
            }));
        }
        self.producer
            .send(record)
            .map_err(|(error, _)| error)
            .unwrap();
    }

    /// Commits the outputs and the position.
    fn commit(&self, position: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(&self.input, 0, Offset::Offset(position))
            .unwrap();
        let group = self.consumer.group_metadata().unwrap();
        self.producer
            .send_offsets_to_transaction(&offsets, &group, WAIT)
            .unwrap();
        self.producer.commit_transaction(WAIT).unwrap();
    }

    fn abort(&self) {
        self.producer.flush(WAIT).unwrap();
        self.producer.abort_transaction(WAIT).unwrap();
    }
}

fn raw(kafka: &str, topics: &Topics, count: usize) {
    let record = || NewRecord::new("GPU-1", "{}").partition(0);
    testbed::produce(kafka, topics.of("raw"), (0..count).map(|_| record()));
}

#[test]
fn a_loss_a_double_and_a_phantom_are_found_and_a_tick_and_an_abort_are_none() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let (validated, invalid) = (topics.of("validated"), topics.of("invalid"));
    raw(&kafka, &topics, 20);
    let validator = Played::new(&kafka, &topics, "validator", "raw");
    let service = Service::start(&kafka, &topics, &[]);

    // Four are valid, one becomes a dead letter; the tick comes of none of them.
    validator.begin();
    for offset in 0..4 {
        validator.emit(validated, Some("GPU-1"), Some(offset));
    }
    validator.emit(invalid, Some("GPU-1"), Some(4));
    validator.emit(validated, None, None);
    validator.commit(5);
    service.wait_for("validator", [5, 0, 0, 0, 0]);

    // What is aborted has no outcome, and gets one later.
    validator.begin();
    for offset in 5..8 {
        validator.emit(validated, Some("GPU-1"), Some(offset));
    }
    validator.abort();
    validator.begin();
    for offset in [5, 7, 7, 8] {
        validator.emit(validated, Some("GPU-1"), Some(offset));
    }
    // The raw record 30 has not come yet.
    validator.emit(invalid, Some("GPU-1"), Some(30));
    validator.commit(9);
    service.wait_for("validator", [8, 1, 1, 0, 0]);
    let named = |what: &str, offsets: &str| {
        let log = service.log();
        let found = log.lines().any(|line| {
            line.contains(what)
                && line.contains("topic=")
                && line.contains(&format!("offsets={offsets} "))
        });
        assert!(found, "{what} {offsets}: {log}");
    };
    named("lost", "6");
    named("doubled", "7");

    // Once more what was done with long ago.
    validator.begin();
    for offset in [0, 9, 10] {
        validator.emit(validated, Some("GPU-1"), Some(offset));
    }
    validator.commit(11);
    service.wait_for("validator", [10, 1, 2, 0, 0]);
    named("doubled", "0");

    // Everything else; what was made of 30 before is its one outcome.
    raw(&kafka, &topics, 15);
    validator.begin();
    for offset in (11..30).chain(31..35) {
        validator.emit(validated, Some("GPU-1"), Some(offset));
    }
    validator.commit(35);
    service.wait_for("validator", [34, 1, 2, 0, 0]);

    // What the enricher reads has gaps: validated holds 0-4 (a tick is 4) and a marker, 6-8 aborted and a marker, 10-13 and
    // a marker, 15-17 and a marker, 19-41 and a marker. It loses 13 and 15 to 17, and makes something of a marker.
    let enricher = Played::new(&kafka, &topics, "enricher", "validated");
    enricher.begin();
    for offset in (0..5).chain(10..13).chain(19..43) {
        enricher.emit(topics.of("enriched"), Some("GPU-1"), Some(offset));
    }
    enricher.commit(43);
    service.wait_for("enricher", [31, 4, 0, 1, 0]);
    named("phantom", "42");
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_kill_in_the_middle_changes_no_count() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let validated = topics.of("validated");
    raw(&kafka, &topics, 2_000);
    let validator = Played::new(&kafka, &topics, "validator", "raw");
    let mut service = Service::start(&kafka, &topics, &[]);
    let (mut lost, mut doubled) = (0, 0);
    for round in 0..20_i64 {
        validator.begin();
        for offset in round * 100..(round + 1) * 100 {
            match offset % 50 {
                7 if round % 2 == 0 => lost += 1,
                9 => {
                    doubled += 1;
                    validator.emit(validated, Some("GPU-1"), Some(offset));
                    validator.emit(validated, Some("GPU-1"), Some(offset));
                }
                _ => validator.emit(validated, Some("GPU-1"), Some(offset)),
            }
        }
        validator.commit((round + 1) * 100);
        if round % 7 == 3 {
            if round > 3 {
                // In the second half of them it has judged much, and there is a snapshot of it.
                testbed::wait_until(DEADLINE, "some verdicts", || {
                    service.account("validator")[0] > 300
                });
                std::thread::sleep(Duration::from_millis(500));
            }
            service.kill();
            service = Service::start(&kafka, &topics, &[]);
        }
    }
    // The mistakes of the test are those it thinks it made.
    assert_eq!((lost, doubled), (20, 40));
    service.wait_for("validator", [1_980, 20, 40, 0, 0]);
    service.kill();
    let service = Service::start(&kafka, &topics, &[]);
    service.wait_for("validator", [1_980, 20, 40, 0, 0]);
    // Also of a double that comes of what was judged before the kill.
    validator.begin();
    validator.emit(validated, Some("GPU-1"), Some(5));
    validator.commit(2_000);
    service.wait_for("validator", [1_980, 20, 41, 0, 0]);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("going on where the last snapshot was taken"),
        "{log}"
    );
}

#[test]
fn an_open_transaction_holds_the_verdict_back_and_is_no_loss() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    raw(&kafka, &topics, 10);
    let validator = Played::new(&kafka, &topics, "validator", "raw");
    let other = Played::new(&kafka, &topics, "other", "raw");
    let service = Service::start(&kafka, &topics, &[]);
    // Somebody else's transaction lies before what the validator writes: readers of committed records stop there.
    other.begin();
    other.emit(topics.of("validated"), Some("GPU-1"), None);
    other.producer.flush(WAIT).unwrap();
    validator.begin();
    for offset in 0..10 {
        validator.emit(topics.of("validated"), Some("GPU-1"), Some(offset));
    }
    validator.commit(10);
    testbed::wait_until(DEADLINE, "raw to be read", || {
        service.metric("auditor_pending_records{stage=\"validator\"}") == 10
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(service.account("validator"), [0; 5]);
    other.abort();
    service.wait_for("validator", [10, 0, 0, 0, 0]);
}

#[test]
fn a_window_that_comes_twice_and_a_reading_folded_again_are_doubles_also_across_a_kill() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    testbed::produce(
        &kafka,
        topics.of("enriched"),
        (0..10).map(|_| NewRecord::new("GPU-1", "{}").partition(0)),
    );
    let window = |minute: u32| {
        format!(
            r#"{{"gpu_uuid":"GPU-1","window":"1m","window_start":"2026-02-11T10:{minute}:00.000Z","revision":0,"count":6}}"#
        )
    };
    let one_minute = topics.of("one_minute");
    testbed::produce(
        &kafka,
        one_minute,
        [topics.out_of("enriched", 3, &window(30))],
    );
    let aggregator = Played::new(&kafka, &topics, "aggregator", "enriched");
    aggregator.begin();
    aggregator.commit(6);
    let mut service = Service::start(&kafka, &topics, &[]);
    service.wait_for("aggregator", [6, 0, 0, 0, 0]);
    // The snapshot after it.
    std::thread::sleep(Duration::from_secs(1));
    service.kill();
    let service = Service::start(&kafka, &topics, &[]);
    testbed::produce(
        &kafka,
        one_minute,
        [topics.out_of("enriched", 7, &window(31))],
    );
    aggregator.begin();
    aggregator.commit(10);
    service.wait_for("aggregator", [10, 0, 0, 0, 0]);
    // The first window once more, of another reading; and another window of a reading that was done with.
    let again = [
        topics.out_of("enriched", 9, &window(30)),
        topics.out_of("enriched", 2, &window(32)),
    ];
    testbed::produce(&kafka, one_minute, again);
    service.wait_for("aggregator", [10, 0, 2, 0, 0]);
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let kafka = testbed::kafka();
    let topics = Topics::create();
    let wrong = [("AUDITOR__SINK__SAMPLE_EVERY", "0")];
    let (code, log) = Service::start(&kafka, &topics, &wrong).wait();
    assert_eq!((code, log.lines().count()), (64, 1), "{log}");
    assert!(log.contains("sink.sample_every"), "{log}");
}
