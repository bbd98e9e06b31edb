//! Records on a real broker.

use crate::command::{Running, fleet_sim};
use fleet_sim::{FaultPlan, Fleet, FleetConfig};
use schema::{MetricEvent, Timestamp};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testbed::{consume_committed, topic, wait_until};

/// Key, value and append time of a record.
type Sent = (Vec<u8>, Vec<u8>, String);

const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn a_simulated_past_is_in_kafka_as_the_library_makes_it_with_its_append_times() {
    let raw = topic("raw", 32);
    let start = "2026-02-11T10:30:00.000Z";
    let output = fleet_sim(&[
        "kafka",
        "--bootstrap-servers",
        &testbed::kafka(),
        "--topic",
        &raw,
        "--gpus",
        "64",
        "--duration",
        "3m",
        "--faults",
        "default",
        "--event-time",
        start,
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut expected: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
    let mut count = 0;
    Fleet::new(FleetConfig {
        gpus: 64,
        start: Timestamp::parse(start).unwrap(),
        duration_ms: Some(180_000),
        faults: FaultPlan::demo(64),
        ..FleetConfig::default()
    })
    .unwrap()
    .run(|record| {
        count += 1;
        expected
            .entry(schema::partition_for(record.key, 32))
            .or_default()
            .push((
                record.key.to_vec(),
                record.value.to_vec(),
                record.append_time.as_millis().to_string(),
            ));
    });
    let mut found: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
    for record in consume_committed(&testbed::kafka(), &raw, count, DEADLINE) {
        let header = record.header(schema::topic::ORIGINAL_APPEND_TIME).unwrap();
        let header = String::from_utf8(header.to_vec()).unwrap();
        found.entry(record.partition).or_default().push((
            record.key.unwrap(),
            record.value.unwrap_or_default(),
            header,
        ));
    }
    assert!(
        found == expected,
        "the same records in the same order of each partition"
    );
}

#[test]
fn live_records_carry_the_clocks_time_no_header_and_the_rate_is_kept() {
    let raw = topic("raw", 32);
    let began = SystemTime::now();
    let output = fleet_sim(&[
        "kafka",
        "--bootstrap-servers",
        &testbed::kafka(),
        "--topic",
        &raw,
        "--gpus",
        "64",
        "--rate",
        "400",
        "--records",
        "1200",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let took = began.elapsed().unwrap();
    assert!(
        (2.5..6.0).contains(&took.as_secs_f64()),
        "1,200 records at 400 a second took {took:?}"
    );
    let began_ms = i64::try_from(began.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let records = consume_committed(&testbed::kafka(), &raw, 1_200, DEADLINE);
    assert_eq!(records.len(), 1_200);
    for record in &records {
        assert_eq!(record.header(schema::topic::ORIGINAL_APPEND_TIME), None);
        let event: MetricEvent<'_> =
            serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let age = record.timestamp - event.timestamp.as_millis();
        // The start is cut to the second.
        assert!(
            (-1_000..3_000).contains(&age),
            "appended {age} ms after its event time"
        );
        assert!(event.timestamp.as_millis() > began_ms - 1_500);
    }
}

#[test]
fn a_live_fleet_ends_in_order_when_told_to() {
    let raw = topic("raw", 32);
    let bootstrap = testbed::kafka();
    let mut running = Running::start(&[
        "kafka",
        "--bootstrap-servers",
        &bootstrap,
        "--topic",
        &raw,
        "--gpus",
        "16",
        "--interval",
        "500ms",
    ]);
    wait_until(DEADLINE, "two rounds", || {
        consume_committed(&bootstrap, &raw, 0, DEADLINE).len() >= 32
    });
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn without_a_topic_it_says_so_and_ends_with_69() {
    let output = fleet_sim(&[
        "kafka",
        "--bootstrap-servers",
        "127.0.0.1:1",
        "--topic",
        "none",
        "--records",
        "1",
        "--topic-timeout",
        "1s",
    ]);
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("topic none"));
}
