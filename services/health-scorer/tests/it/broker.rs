//! The process against the real broker.

use crate::golden;
use crate::service::{DEADLINE, OUTPUT_PARTITIONS, Service, Topics};
use schema::DeadLetter;
use testbed::{NewRecord, OwnedRecord};

fn record((key, value): (Option<String>, String)) -> NewRecord {
    let record = match key {
        Some(key) => NewRecord::new(key, value),
        None => NewRecord::keyless(value),
    };
    record.partition(golden::PARTITION)
}

fn texts(records: &[OwnedRecord]) -> Vec<&str> {
    records.iter().map(OwnedRecord::text).collect()
}

/// The golden file's records give the golden file's scores, byte for byte, also when the process is killed on the way.
#[test]
fn scores_are_the_golden_ones_also_across_a_kill() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let mut records = golden::records();
    let rest = records.split_off(records.len() / 3);
    let expected = golden::expected();

    testbed::produce(&kafka, &topics.enriched, records.into_iter().map(record));
    let mut service = Service::start(&kafka, &topics, &[]);
    let early = testbed::consume_committed(&kafka, &topics.scores, 1, DEADLINE);
    assert!(!early.is_empty());
    service.kill();

    // Several small transactions, and a kill in the midst of them.
    let small = &[("HEALTH_SCORER__PIPELINE__MAX_TRANSACTION_RECORDS", "7")];
    let mut service = Service::start(&kafka, &topics, small);
    testbed::produce(&kafka, &topics.enriched, rest.into_iter().map(record));
    let before_kill = early.len() + 2;
    testbed::consume_committed(
        &kafka,
        &topics.scores,
        before_kill.min(expected.len()),
        DEADLINE,
    );
    service.kill();

    let service = Service::start(&kafka, &topics, &[]);
    let scores = testbed::consume_committed(&kafka, &topics.scores, expected.len(), DEADLINE);
    testbed::wait_until(DEADLINE, "all records are read", || {
        let series = "chassis_consumer_lag_records";
        let (_, text) = service.get("/metrics");
        let mut lags = text
            .lines()
            .filter(|line| line.starts_with(series))
            .peekable();
        lags.peek().is_some() && lags.all(|line| line.ends_with(" 0"))
    });
    let after = testbed::consume_committed(&kafka, &topics.scores, expected.len(), DEADLINE);
    assert_eq!(texts(&after), expected);
    assert!(scores.len() >= expected.len());
    for score in &after {
        assert_eq!(score.partition, golden::PARTITION % OUTPUT_PARTITIONS);
        let value: schema::HealthScore = serde_json::from_str(score.text()).unwrap();
        assert_eq!(score.key.as_deref(), Some(value.gpu_uuid.as_bytes()));
    }
    let letters = testbed::consume_committed(&kafka, &topics.invalid, 1, DEADLINE);
    assert_eq!(letters.len(), 1);
    let letter: DeadLetter = serde_json::from_str(letters[0].text()).unwrap();
    assert_eq!(letter.validation_errors[0].code, "not_a_reading");
    assert_eq!(letter.source.topic, topics.enriched);

    // A partition's gauges are counted with its first record after a start; this one makes nothing due.
    let last = golden::records().pop().unwrap();
    testbed::produce(&kafka, &topics.enriched, [record(last)]);
    testbed::wait_until(DEADLINE, "the gauges show the three GPUs", || {
        service.metric("health_scorer_gpus{grade=\"critical\"}") == Some(3.0)
            && service.metric("health_scorer_gpus_in_state{state=\"lost\"}") == Some(3.0)
    });
    assert_eq!(
        service.metric("chassis_state_entries{worker=\"0\"}"),
        Some(3.0)
    );
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let topics = Topics {
        enriched: testbed::unique("enriched"),
        scores: "scores".to_owned(),
        invalid: "invalid".to_owned(),
        changelog: "changelog".to_owned(),
    };
    let cases = [
        (
            "HEALTH_SCORER__WEIGHTS__MEMORY",
            "0.9",
            "weights: must sum to 1",
        ),
        (
            "HEALTH_SCORER__FACTORS__PCIE_WIDTH__CAP",
            "101",
            "factors.pcie_width.cap",
        ),
        (
            "HEALTH_SCORER__LIMITS__ABSENCE__INTERVALS",
            "1",
            "limits.absence.intervals",
        ),
        ("HEALTH_SCORER__SCORING__PROFILE", "best", "profile"),
    ];
    for (variable, value, needle) in cases {
        let service = Service::start("127.0.0.1:1", &topics, &[(variable, value)]);
        let (code, log) = service.wait();
        assert_eq!((code, log.lines().count()), (64, 1), "{log}");
        assert!(log.contains(needle), "{log}");
    }
}
