//! A known input through the whole fleet, with kill -9 of every service on the way: each raw record comes out exactly
//! once, and every output equals an independent computation.

use aggregator::oracle;
use e2e::conservation::{self, ENRICHMENT, VALIDATION, conserve};
use e2e::undisturbed::{self, Extent, Values};
use e2e::{Fleet, binary, http_get, http_post, stored};
use fleet_sim::{FaultPlan, Fleet as Simulation, FleetConfig};
use schema::{Timestamp, WindowAggregate, WindowSize, topic};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
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

/// Writes the whole input to the raw topic, as if it had been appended when it was measured, and reads it.
fn fill(kafka: &str) -> Vec<OwnedRecord> {
    let mut records = Vec::new();
    let mut push = |record: fleet_sim::Record<'_>| {
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
    let sent = records.len();
    testbed::produce(kafka, topic::RAW.name, records);
    testbed::consume_committed(kafka, topic::RAW.name, sent, PATIENCE)
}

fn read(kafka: &str, topic: &str) -> Vec<OwnedRecord> {
    testbed::consume_committed(kafka, topic, 0, PATIENCE)
}

/// Records with a key: all but ticks.
fn keyed(records: &[OwnedRecord]) -> impl Iterator<Item = &OwnedRecord> {
    records.iter().filter(|record| record.key.is_some())
}

/// Waits until the topics hold what is expected, and compares. After the input's last record ticks go on for ever and may
/// add to it, so the expected values of a key must be the first ones.
fn assert_outputs(
    kafka: &str,
    service: &str,
    expected: &Values,
    outputs: &[&'static topic::Topic],
) {
    for topic in outputs {
        let mut expected = expected.clone();
        expected.retain(|(name, ..), _| *name == topic.name);
        let want = expected.values().map(Vec::len).sum();
        let records = testbed::consume_committed(kafka, topic.name, want, PATIENCE);
        let actual = undisturbed::values_of(topic, service, &records);
        let differences = undisturbed::differences(&expected, &actual, Extent::Beginning);
        assert_eq!(differences, [], "{service}");
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
    raw: &[OwnedRecord],
) -> Vec<OwnedRecord> {
    let letters = || {
        let mut letters = conservation::letters(&read(kafka, topic::INVALID.name));
        letters.retain(|letter| letter.service == "validator");
        letters
    };
    testbed::wait_until(PATIENCE, "every raw record to have an outcome", || {
        keyed(&read(kafka, topic::VALIDATED.name)).count() + letters().len() >= raw.len()
    });
    let validated = read(kafka, topic::VALIDATED.name);
    let passed: Vec<_> = keyed(&validated).cloned().collect();
    let tally = conserve(&VALIDATION, raw, &passed, &letters());
    assert_eq!(tally.findings, [], "\n{}", fleet.logs());
    assert_eq!(tally.passed + tally.dead_letters, raw.len());
    assert!(tally.dead_letters > 0, "the input held bad records");
    assert!(tally.rewritten > 0, "the input held blank sentinels");
    validated
}

/// Each valid record and each tick exactly once as an enriched one, its bytes kept. The enriched records.
fn assert_every_valid_record_is_enriched_once(
    kafka: &str,
    validated: &[OwnedRecord],
) -> Vec<OwnedRecord> {
    let valid = keyed(validated).count();
    testbed::wait_until(PATIENCE, "every valid record to be enriched", || {
        keyed(&read(kafka, topic::ENRICHED.name)).count() >= valid
    });
    let enriched = read(kafka, topic::ENRICHED.name);
    let letters = conservation::letters(&read(kafka, topic::INVALID.name));
    // Ticks go on: those after the last record may or may not be through.
    let records = |records: &[OwnedRecord]| keyed(records).cloned().collect::<Vec<_>>();
    let tally = conserve(
        &ENRICHMENT,
        &records(validated),
        &records(&enriched),
        &letters,
    );
    assert_eq!(tally.findings, []);
    assert_eq!(tally.passed, valid);
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
    let mut replay = undisturbed::aggregator(windows);
    replay.feed(enriched);
    let outputs = [&topic::ONE_MINUTE, &topic::FIFTEEN_MINUTES];
    assert_outputs(kafka, "aggregator", &replay.values(), &outputs);
    assert_windows_equal_the_oracle(kafka, enriched, &windows);

    let mut replay = undisturbed::anomaly_detector();
    replay.feed(enriched);
    let alerts = replay.values();
    assert!(alerts.len() > 5, "the faults were found");
    let outputs = [&topic::ALERTS, &topic::CRITICAL];
    assert_outputs(kafka, "anomaly-detector", &alerts, &outputs);

    let mut replay = undisturbed::health_scorer();
    replay.feed(enriched);
    let outputs = [&topic::HEALTH_SCORES];
    assert_outputs(kafka, "health-scorer", &replay.values(), &outputs);
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
    let in_memory: BTreeMap<&str, Vec<OwnedRecord>> = stored::TOPICS
        .iter()
        .map(|topic| (topic.name, read(kafka, topic.name)))
        .collect();
    let partition = |topic: &topic::Topic, partition: i32| {
        let mut records = in_memory[topic.name].clone();
        records.retain(|record| record.partition == partition);
        records
    };
    for (table, rows) in stored::expected_rows(&partition) {
        assert!(rows > 20, "{table}: {rows} rows");
        let count = format!("SELECT count(*) FROM {table}");
        testbed::wait_until(PATIENCE, &format!("{rows} rows of {table}"), || {
            rows_database.sql(&count).trim() == rows.to_string()
        });
    }
    let stored = stored::compare(&|sql| rows_database.sql(sql), &partition, &|_| true);
    assert!(
        stored.differences.is_empty(),
        "{}",
        stored.differences.join("\n")
    );
    assert_eq!(stored.whole, stored.rows.values().sum::<usize>());
    assert_eq!(fleet.stop("tsdb-sink"), Some(0));
}
