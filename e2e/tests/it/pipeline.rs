//! A known input through the whole fleet, with kill -9 of every service on the way: each raw record comes out exactly
//! once, and every output equals an independent computation.

use crate::stored;
use aggregator::oracle;
use chassis::Stage;
use chassis::testing::{Input, StageDriver};
use e2e::{Fleet, binary, http_get, http_post};
use fleet_sim::{FaultPlan, Fleet as Simulation, FleetConfig};
use schema::{DeadLetter, OriginalEncoding, Timestamp, WindowAggregate, WindowSize, topic};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use testbed::{Broker, NewRecord, OwnedRecord};

const GPUS: u32 = 64;
const SEED: u64 = 20_261_121;
/// Forty minutes of event time: two 15-minute windows and what follows.
const MINUTES: u64 = 40;
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

/// Every fault that the simulator knows, bad input included.
fn simulation() -> Simulation {
    let config = FleetConfig {
        seed: SEED,
        gpus: GPUS,
        duration_ms: Some(MINUTES * 60_000),
        faults: FaultPlan::demo(GPUS),
        ..FleetConfig::default()
    };
    Simulation::new(config).unwrap()
}

/// Writes the whole input to the raw topic, as if it had been appended when it was measured. The values, sorted.
fn fill(kafka: &str) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut values = Vec::new();
    let mut push = |record: fleet_sim::Record<'_>| {
        values.push(record.value.to_vec());
        records.push(
            NewRecord::new(record.key, record.value)
                .partition(schema::partition_for(record.key, topic::RAW.partitions))
                .header(
                    topic::ORIGINAL_APPEND_TIME,
                    record.append_time.as_millis().to_string(),
                ),
        );
    };
    let mut simulation = simulation();
    simulation.run(&mut push);
    simulation.finish(&mut push);
    testbed::produce(kafka, topic::RAW.name, records);
    values.sort();
    values
}

fn read(kafka: &str, topic: &str) -> Vec<OwnedRecord> {
    testbed::consume_committed(kafka, topic, 0, PATIENCE)
}

/// Records with a key: all but ticks.
fn keyed(records: &[OwnedRecord]) -> impl Iterator<Item = &OwnedRecord> {
    records.iter().filter(|record| record.key.is_some())
}

/// What the validator made of each raw record: the value that it let through, or the original of its dead letter.
fn outcomes(validated: &[OwnedRecord], invalid: &[OwnedRecord]) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = keyed(validated)
        .map(|record| {
            let value = record.value.as_deref().unwrap();
            let text = std::str::from_utf8(value).unwrap();
            let at = text.rfind(",\"validation_timestamp\":").unwrap();
            let mut original = value[..at].to_vec();
            original.push(b'}');
            original
        })
        .collect();
    for record in invalid {
        let letter: DeadLetter = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        if letter.source.topic == topic::RAW.name {
            assert!(!letter.original_truncated);
            values.push(match letter.original_encoding {
                OriginalEncoding::Utf8 => letter.original.into_bytes(),
                OriginalEncoding::Base64 => decode_base64(&letter.original),
            });
        }
    }
    values.sort();
    values
}

/// Every outcome is a raw record's bytes. The one thing that the validator writes anew is a blank sentinel, as null, and
/// then the record says so; those are matched by who took them when.
fn assert_same_records(raw: &[Vec<u8>], outcomes: &[Vec<u8>]) {
    let count = |values: &[Vec<u8>]| {
        values
            .iter()
            .fold(BTreeMap::<Vec<u8>, i64>::new(), |mut counts, value| {
                *counts.entry(value.clone()).or_default() += 1;
                counts
            })
    };
    let (raw, outcomes) = (count(raw), count(outcomes));
    let only_in = |these: &BTreeMap<Vec<u8>, i64>, those: &BTreeMap<Vec<u8>, i64>| {
        let mut ids = Vec::new();
        for (value, n) in these {
            for _ in those.get(value).copied().unwrap_or(0)..*n {
                let text = String::from_utf8_lossy(value).into_owned();
                let json: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                ids.push((
                    json["gpu"]["gpu_uuid"].to_string(),
                    json["collector"].to_string(),
                    json["timestamp"].to_string(),
                ));
            }
        }
        ids.sort();
        ids
    };
    let rewritten = only_in(&outcomes, &raw);
    assert_eq!(rewritten, only_in(&raw, &outcomes));
    for value in raw.keys().filter(|value| !outcomes.contains_key(*value)) {
        let text = String::from_utf8_lossy(value);
        assert!(
            text.contains("9223372036854775")
                || text.contains("21474836")
                || text.contains("14073748835532")
                || text.contains("<<<"),
            "{text}"
        );
    }
    assert!(!rewritten.is_empty(), "the input held blank sentinels");
}

fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 6 | u32::from(digit(*byte)));
        let bytes = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[1..chunk.len()]);
    }
    out
}

/// The values that each key gets on each output topic, in order, when `stage` processes `inputs` undisturbed.
fn expected<S: Stage>(
    stage: S,
    inputs: &[OwnedRecord],
    outputs: &[&topic::Topic],
) -> BTreeMap<(String, Vec<u8>), Vec<Vec<u8>>> {
    let partitions: Vec<i32> = outputs.iter().map(|topic| topic.partitions).collect();
    let mut driver = StageDriver::new(stage, topic::ENRICHED.name, &partitions);
    let inputs: Vec<Input> = inputs
        .iter()
        .map(|record| Input {
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: Vec::new(),
        })
        .collect();
    let mut by_key = BTreeMap::new();
    for emitted in driver.run(&inputs) {
        let name = outputs[emitted.output].name.to_owned();
        by_key
            .entry((name, emitted.key.unwrap_or_default()))
            .or_insert_with(Vec::new)
            .push(emitted.value.unwrap());
    }
    by_key
}

/// Waits until the topics hold what is expected, and compares. After the input's last record ticks go on for ever and may
/// add to it, so the expected values of a key must be the first ones.
fn assert_outputs(
    kafka: &str,
    service: &str,
    expected: &BTreeMap<(String, Vec<u8>), Vec<Vec<u8>>>,
    outputs: &[&topic::Topic],
) {
    let want: BTreeMap<&str, usize> = outputs
        .iter()
        .map(|topic| {
            let n = expected
                .iter()
                .filter(|((name, _), _)| name == topic.name)
                .map(|(_, values)| values.len())
                .sum();
            (topic.name, n)
        })
        .collect();
    for topic in outputs {
        let records = testbed::consume_committed(kafka, topic.name, want[topic.name], PATIENCE);
        let mut actual: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for record in records {
            actual
                .entry(record.key.unwrap_or_default())
                .or_default()
                .push(record.value.unwrap());
        }
        for ((name, key), values) in expected.iter().filter(|((name, _), _)| name == topic.name) {
            let found = actual.get(key).map(Vec::as_slice).unwrap_or_default();
            let key = String::from_utf8_lossy(key);
            for (i, value) in values.iter().enumerate() {
                let found = found
                    .get(i)
                    .map(|value| String::from_utf8_lossy(value))
                    .unwrap_or_default();
                assert_eq!(
                    found,
                    String::from_utf8_lossy(value),
                    "{service}: {name} {key}, value {i}"
                );
            }
        }
    }
}

/// The last revision of every window equals a naive computation over the enriched records.
fn assert_windows_equal_the_oracle(
    kafka: &str,
    enriched: &[OwnedRecord],
    windows: &aggregator::Windows,
) {
    let records: Vec<oracle::Record<'_>> = enriched
        .iter()
        .map(|record| oracle::Record {
            partition: record.partition,
            offset: record.offset,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        })
        .collect();
    let outcome = oracle::aggregate(&records, windows);
    let naive = outcome.latest();
    let mut actual: BTreeMap<(String, WindowSize, Timestamp), WindowAggregate> = BTreeMap::new();
    for topic in [topic::ONE_MINUTE, topic::FIFTEEN_MINUTES] {
        for record in read(kafka, topic.name) {
            let window: WindowAggregate =
                serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let id = (window.gpu_uuid.clone(), window.window, window.window_start);
            let newest = actual
                .get(&id)
                .is_none_or(|held| held.revision < window.revision);
            if newest {
                actual.insert(id, window);
            }
        }
    }
    assert!(naive.len() > 1_000, "{} windows", naive.len());
    for (id, window) in &naive {
        assert_eq!(actual.get(id), Some(window), "{id:?}");
    }
}

fn import_assets(port: u16) -> usize {
    let output = Command::new(binary("fleet-sim"))
        .args([
            "assets",
            "--gpus",
            &GPUS.to_string(),
            "--seed",
            &SEED.to_string(),
            "--missing",
            "0.2",
            "--format",
            "csv",
        ])
        .output()
        .unwrap();
    assert!(output.status.success());
    let (status, body) = http_post(port, "/api/v1/assets/import", "text/csv", &output.stdout);
    assert_eq!(status, 200, "{body}");
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .count()
        - 1
}

/// Every raw record exactly once, as a valid record or as a dead letter. The validated records.
fn assert_every_raw_record_has_one_outcome(
    kafka: &str,
    fleet: &Fleet,
    raw: &[Vec<u8>],
) -> Vec<OwnedRecord> {
    let n = raw.len();
    testbed::wait_until(PATIENCE, "every raw record to have an outcome", || {
        let validated = read(kafka, topic::VALIDATED.name);
        let invalid = read(kafka, topic::INVALID.name);
        outcomes(&validated, &invalid).len() >= n
    });
    let validated = read(kafka, topic::VALIDATED.name);
    let invalid = read(kafka, topic::INVALID.name);
    let outcomes = outcomes(&validated, &invalid);
    assert_eq!(outcomes.len(), n, "\n{}", fleet.logs());
    assert_same_records(raw, &outcomes);
    assert!(!invalid.is_empty(), "the input held bad records");
    validated
}

/// Each valid record exactly once as an enriched one, its bytes kept. The enriched records.
fn assert_every_valid_record_is_enriched_once(
    kafka: &str,
    validated: &[OwnedRecord],
) -> Vec<OwnedRecord> {
    let valid = keyed(validated).count();
    testbed::wait_until(PATIENCE, "every valid record to be enriched", || {
        keyed(&read(kafka, topic::ENRICHED.name)).count() >= valid
    });
    let enriched = read(kafka, topic::ENRICHED.name);
    assert_eq!(keyed(&enriched).count(), valid);
    let bytes = |records: &[OwnedRecord]| {
        let mut values: Vec<Vec<u8>> = keyed(records)
            .map(|record| record.value.clone().unwrap())
            .collect();
        values.sort();
        values
    };
    for (before, after) in bytes(validated).iter().zip(bytes(&enriched)) {
        assert!(
            after.starts_with(&before[..before.len() - 1]),
            "the enricher changed a record's bytes"
        );
    }
    let known = keyed(&enriched)
        .filter(|record| record.text().contains("\"asset_status\":\"known\""))
        .count();
    assert!(
        known > 0 && known < valid,
        "some GPUs are known and some are not: {known} of {valid}"
    );
    enriched
}

/// Windows, alerts and scores are what the same stages make of the same records when nobody strikes them.
fn assert_stages_say_what_they_say_undisturbed(kafka: &str, enriched: &[OwnedRecord]) {
    let config = aggregator::config::Config::default();
    let windows = config.windows.windows();
    let outputs = [&topic::ONE_MINUTE, &topic::FIFTEEN_MINUTES, &topic::INVALID];
    let folded = expected(
        aggregator::stage::Aggregator::new(windows),
        enriched,
        &outputs,
    );
    assert_outputs(kafka, "aggregator", &folded, &outputs[..2]);
    assert_windows_equal_the_oracle(kafka, enriched, &windows);

    let config = anomaly_detector::Config::default();
    let detector =
        anomaly_detector::domain::detector::Detector::new(config.limits(), &config.runbook.base);
    let outputs = [&topic::ALERTS, &topic::CRITICAL, &topic::INVALID];
    let stage = anomaly_detector::stage::AnomalyDetector::new(Arc::new(detector));
    let alerts = expected(stage, enriched, &outputs);
    assert!(alerts.len() > 5, "the faults were found");
    assert_outputs(kafka, "anomaly-detector", &alerts, &outputs[..2]);

    let rules = health_scorer::Config::default().rules().unwrap();
    let outputs = [&topic::HEALTH_SCORES, &topic::INVALID];
    let scores = expected(
        health_scorer::stage::Scorer::new(Arc::new(rules)),
        enriched,
        &outputs,
    );
    assert_outputs(kafka, "health-scorer", &scores, &outputs[..1]);
}

/// Small transactions, so that there is something open to strike at.
const SMALL: [(&str, &str); 1] = [("PIPELINE__MAX_TRANSACTION_RECORDS", "200")];

#[test]
fn every_raw_record_has_one_outcome_and_every_output_equals_an_independent_computation() {
    let broker = Broker::start();
    let kafka = broker.bootstrap();
    let assets_database = testbed::database("assets");
    let mut fleet = Fleet::new(kafka);

    fleet.start("asset-lookup", &[("DATABASE__URL", assets_database.url())]);
    fleet.wait_ready("asset-lookup");
    let assets = import_assets(fleet.port("asset-lookup"));
    // What was accepted is published, whatever happens then; some of it twice perhaps.
    fleet.kill_and_restart("asset-lookup");
    testbed::wait_until(PATIENCE, "every asset to be published", || {
        let records = read(kafka, topic::ASSETS.name);
        let keys: BTreeSet<_> = records.into_iter().map(|record| record.key).collect();
        keys.len() == assets
    });
    let raw = fill(kafka);
    let rows_database = testbed::database("rows");
    let sink_settings = [
        ("DATABASE__URL", rows_database.url()),
        // Small transactions, so that there is something open to strike at.
        ("SINK__MAX_RECORDS", "200"),
        // The simulated fleet lives at a time of its own.
        ("RETENTION__READINGS_DAYS", "36500"),
        ("RETENTION__ONE_MINUTE_DAYS", "36500"),
        ("RETENTION__FIFTEEN_MINUTES_DAYS", "36500"),
        ("RETENTION__ALERTS_DAYS", "36500"),
        ("RETENTION__HEALTH_SCORES_DAYS", "36500"),
    ];
    fleet.start("tsdb-sink", &sink_settings);

    let stages = [
        "validator",
        "enricher",
        "aggregator",
        "anomaly-detector",
        "health-scorer",
    ];
    for service in stages {
        fleet.start(service, &SMALL);
    }
    // Each is struck while it works, and comes back.
    for service in stages {
        testbed::wait_until(PATIENCE, &format!("{service} to have begun"), || {
            fleet.metric(service, "chassis_records_consumed_total") >= 500.0
        });
        fleet.kill_and_restart(service);
    }
    testbed::wait_until(PATIENCE, "tsdb-sink to have begun", || {
        fleet.metric("tsdb-sink", "tsdb_sink_records_total") >= 500.0
    });
    fleet.kill_and_restart("tsdb-sink");

    let validated = assert_every_raw_record_has_one_outcome(kafka, &fleet, &raw);
    let enriched = assert_every_valid_record_is_enriched_once(kafka, &validated);
    assert_stages_say_what_they_say_undisturbed(kafka, &enriched);

    for service in stages {
        assert_eq!(
            http_get(fleet.port(service), "/healthz").0,
            200,
            "{service}"
        );
        assert_eq!(fleet.stop(service), Some(0), "{service}");
    }

    // Nothing more is written: each row is its record, and each record has its row.
    stored::assert_rows_equal_records(&rows_database, PATIENCE, |topic| read(kafka, topic));
    assert_eq!(fleet.stop("tsdb-sink"), Some(0));
}
