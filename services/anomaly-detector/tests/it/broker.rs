//! The process against the real broker.

use crate::service::{DEADLINE, OUTPUT_PARTITIONS, Service, Topics};
use crate::story::{self, Undisturbed};
use schema::{Alert, DeadLetter};
use std::collections::BTreeSet;
use testbed::OwnedRecord;

fn texts(records: &[OwnedRecord]) -> Vec<&str> {
    records.iter().map(OwnedRecord::text).collect()
}

/// The story's records give the story's alerts, byte for byte and each once, also when the process is killed on the way.
#[test]
fn alerts_are_written_exactly_once_also_across_kills() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let expected = Undisturbed::of(&topics.enriched);
    let mut records = story::records();
    let rest = records.split_off(records.len() / 4);
    let read = |topic: &str, count| testbed::consume_committed(&kafka, topic, count, DEADLINE);

    let produce = |records: Vec<_>| {
        let records = records.into_iter().map(story::to_produce);
        testbed::produce(&kafka, &topics.enriched, records)
    };
    produce(records);
    let mut service = Service::start(&kafka, &topics, &[]);
    let early = read(&topics.alerts, 4).len();
    service.kill();

    // Many small transactions, and a kill in the midst of them.
    let small = &[("ANOMALY_DETECTOR__PIPELINE__MAX_TRANSACTION_RECORDS", "5")];
    let mut service = Service::start(&kafka, &topics, small);
    produce(rest);
    read(&topics.alerts, early + 1);
    service.kill();

    let service = Service::start(&kafka, &topics, &[]);
    read(&topics.alerts, expected.alerts.len());
    testbed::wait_until(DEADLINE, "all records are read", || service.has_caught_up());

    let alerts = read(&topics.alerts, expected.alerts.len());
    assert_eq!(texts(&alerts), expected.alerts);
    let parsed: Vec<Alert> = alerts
        .iter()
        .map(|record| serde_json::from_str(record.text()).unwrap())
        .collect();
    let in_short: Vec<_> = parsed.iter().map(story::in_short).collect();
    assert_eq!(in_short, story::told());
    let mut seen = BTreeSet::new();
    for (record, alert) in alerts.iter().zip(&parsed) {
        assert_eq!(record.key.as_deref(), Some(alert.gpu_uuid.as_bytes()));
        assert_eq!(record.partition, story::PARTITION % OUTPUT_PARTITIONS);
        let is_firing = alert.resolved_at.is_none();
        assert!(seen.insert((&alert.alert_id, is_firing)), "{alert:?}");
        // An alert that ends has begun, under the same id.
        assert!(seen.contains(&(&alert.alert_id, true)), "{alert:?}");
    }

    let critical = read(&topics.critical, expected.critical.len());
    assert_eq!(texts(&critical), expected.critical);
    for record in &critical {
        assert_eq!(record.partition, story::PARTITION % OUTPUT_PARTITIONS);
    }

    let letters = read(&topics.invalid, 1);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].key.as_deref(), Some(story::A.as_bytes()));
    let letter: DeadLetter = serde_json::from_str(letters[0].text()).unwrap();
    let undisturbed: DeadLetter = serde_json::from_str(&expected.letters[0]).unwrap();
    assert_eq!(letter.validation_errors[0].code, "not_a_reading");
    assert_eq!(
        (&letter.source, &letter.original),
        (&undisturbed.source, &undisturbed.original)
    );

    // Gauges are counted with a partition's first record after a start; this reading changes nothing.
    let last = story::records().pop().unwrap();
    testbed::produce(&kafka, &topics.enriched, [story::to_produce(last)]);
    testbed::wait_until(DEADLINE, "the gauges show what fires", || {
        service.metric("anomaly_detector_gpus") == Some(2.0)
            && service.metric("anomaly_detector_firing{rule=\"ecc_dbe\"}") == Some(1.0)
            && service.metric("anomaly_detector_firing{rule=\"gpu_lost\"}") == Some(0.0)
    });
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert_eq!(read(&topics.alerts, 1).len(), expected.alerts.len());
}

fn said(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.starts_with("anomaly-detector: "))
        .collect()
}

#[test]
fn a_missing_topic_and_a_wrong_partition_count_end_in_one_clear_line() {
    let (kafka, mut topics) = (testbed::kafka(), Topics::create());
    let critical = std::mem::replace(&mut topics.critical, testbed::unique("absent"));
    let (code, log) = Service::start(&kafka, &topics, &[]).wait();
    assert_eq!(code, 69, "{log}");
    let lines = said(&log);
    assert!(
        lines.len() == 1 && lines[0].contains(&topics.critical),
        "{log}"
    );

    topics.critical = critical;
    topics.alerts = testbed::topic("alerts", 3);
    let (code, log) = Service::start(&kafka, &topics, &[]).wait();
    assert_eq!(code, 65, "{log}");
    let lines = said(&log);
    assert!(
        lines.len() == 1 && lines[0].contains(&topics.alerts),
        "{log}"
    );
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let topics = Topics {
        enriched: testbed::unique("enriched"),
        alerts: "alerts".to_owned(),
        critical: "critical".to_owned(),
        invalid: "invalid".to_owned(),
        changelog: "changelog".to_owned(),
    };
    for (variable, value, needle) in [
        (
            "ANOMALY_DETECTOR__THERMAL__SPIKE_Z",
            "0",
            "thermal.spike_z: must be 1 to 100",
        ),
        (
            "ANOMALY_DETECTOR__TOPICS__CRITICAL",
            "alerts",
            "topics.critical: must differ from topics.alerts",
        ),
        (
            "ANOMALY_DETECTOR__ECC__STORM_PER_HOUR",
            "many",
            "ecc.storm_per_hour",
        ),
    ] {
        let service = Service::start("127.0.0.1:1", &topics, &[(variable, value)]);
        let (code, log) = service.wait();
        assert_eq!((code, log.lines().count()), (64, 1), "{log}");
        assert!(log.contains(needle), "{log}");
    }
}
