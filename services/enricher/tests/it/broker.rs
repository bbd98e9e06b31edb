//! The join as its readers see it.

use crate::service::{DEADLINE, PARTITIONS, Service, TABLE_PARTITIONS, Topics};
use schema::{Asset, AssetStatus, DeadLetter, EnrichedEvent, Tick, Timestamp, partition_for};
use std::collections::BTreeMap;
use testbed::{NewRecord, OwnedRecord};

fn gpu(number: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012}")
}

fn asset(number: u32, rack: &str) -> NewRecord {
    let asset = Asset {
        gpu_uuid: gpu(number),
        model: "NVIDIA H100 80GB HBM3".to_owned(),
        rack_id: Some(rack.to_owned()),
        priority: 5,
        ..Asset::default()
    };
    NewRecord::new(gpu(number), serde_json::to_vec(&asset).unwrap())
        .partition(partition_for(gpu(number).as_bytes(), TABLE_PARTITIONS))
}

fn reading(number: u32, sequence: u32) -> NewRecord {
    let value = format!(
        r#"{{"timestamp":"2026-02-11T10:30:00.000Z","gpu":{{"gpu_uuid":"{}"}},"metrics":{{}},"collector":{{"sequence":{sequence}}},"validation_timestamp":"2026-02-11T10:30:00.100Z","validation_version":"1","quality_flags":[]}}"#,
        gpu(number)
    );
    NewRecord::new(gpu(number), value).partition(partition_for(gpu(number).as_bytes(), PARTITIONS))
}

/// The racks of each GPU's readings in order, `-` where it was unknown, each with its sequence number.
fn racks(records: &[OwnedRecord]) -> BTreeMap<String, Vec<String>> {
    let mut racks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.key.is_some()) {
        let key = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap();
        assert_eq!(record.partition, partition_for(key.as_bytes(), PARTITIONS));
        let event: EnrichedEvent<'_> = serde_json::from_str(record.text()).unwrap();
        assert_eq!(event.gpu.gpu_uuid, key);
        let rack = match (event.asset_status, &event.asset) {
            (AssetStatus::Known, Some(asset)) => asset.rack_id.as_ref().unwrap().to_string(),
            (AssetStatus::Unknown, None) => "-".to_owned(),
            other => panic!("{other:?}"),
        };
        let sequence = event.collector.unwrap().sequence.unwrap();
        racks
            .entry(key.to_owned())
            .or_default()
            .push(format!("{sequence} {rack}"));
    }
    racks
}

#[test]
fn a_table_that_is_there_first_is_read_first_and_its_changes_are_followed_also_across_a_kill() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let gpus = 40;
    // A GPU's partition of the table is that of its readings modulo the table's number: 0 to 29 are known.
    testbed::produce(&kafka, &topics.assets, (0..30).map(|n| asset(n, "old")));
    testbed::produce(&kafka, &topics.assets, (0..30).map(|n| asset(n, "a")));
    testbed::produce(&kafka, &topics.validated, (0..gpus).map(|n| reading(n, 1)));
    let mut service = Service::start(&kafka, &topics, &[]);
    let first = testbed::consume_committed(&kafka, &topics.enriched, 40, DEADLINE);
    assert_eq!(first.len(), 40);

    // One moves, one goes, one comes.
    let seen = service.metric("enricher_table_records_total{outcome=\"set\"}");
    testbed::produce(
        &kafka,
        &topics.assets,
        [
            asset(0, "b"),
            NewRecord::tombstone(gpu(1)).partition(partition_for(gpu(1).as_bytes(), 2)),
            asset(30, "b"),
        ],
    );
    testbed::wait_until(DEADLINE, "the changes are in the table", || {
        service.metric("enricher_table_records_total{outcome=\"set\"}") >= seen + 2.0
            && service.metric("enricher_table_records_total{outcome=\"deleted\"}") >= 1.0
    });
    testbed::produce(&kafka, &topics.validated, (0..gpus).map(|n| reading(n, 2)));
    testbed::consume_committed(&kafka, &topics.enriched, 80, DEADLINE);

    service.kill();
    testbed::produce(&kafka, &topics.assets, [asset(2, "c")]);
    testbed::produce(&kafka, &topics.validated, (0..gpus).map(|n| reading(n, 3)));
    let service = Service::start(&kafka, &topics, &[("ENRICHER__PIPELINE__WORKERS", "2")]);
    let all = testbed::consume_committed(&kafka, &topics.enriched, 120, DEADLINE);
    assert_eq!(all.len(), 120);

    let expected = (0..gpus).map(|n| {
        let usual = if n < 30 { "a" } else { "-" };
        let racks = match n {
            0 => ["a", "b", "b"],
            1 => ["a", "-", "-"],
            2 => ["a", "a", "c"],
            30 => ["-", "b", "b"],
            _ => [usual; 3],
        };
        let numbered = racks.iter().zip(1..).map(|(rack, i)| format!("{i} {rack}"));
        (gpu(n), numbered.collect())
    });
    assert_eq!(racks(&all), expected.collect());
    assert!((service.metric("enricher_assets") - 30.0).abs() < f64::EPSILON);

    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn ticks_are_passed_on_and_what_is_no_record_becomes_a_dead_letter() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let tick = serde_json::to_vec(&Tick::at(Timestamp::from_millis(1_770_805_800_000))).unwrap();
    testbed::produce(
        &kafka,
        &topics.validated,
        [
            NewRecord::keyless(tick.clone()).partition(3),
            NewRecord::new("GPU-1", "[no object").partition(3),
            NewRecord::tombstone("GPU-1").partition(3),
            NewRecord::keyless("{}").partition(3),
            reading(7, 1).partition(3),
        ],
    );
    let service = Service::start(&kafka, &topics, &[]);
    let enriched = testbed::consume_committed(&kafka, &topics.enriched, 2, DEADLINE);
    assert_eq!(enriched.len(), 2);
    assert_eq!((&enriched[0].key, enriched[0].partition), (&None, 3));
    assert_eq!(enriched[0].value, Some(tick));
    assert_eq!(enriched[1].key.as_deref(), Some(gpu(7).as_bytes()));
    let letters = testbed::consume_committed(&kafka, &topics.invalid, 3, DEADLINE);
    let told: Vec<_> = letters
        .iter()
        .map(|record| {
            let letter: DeadLetter = serde_json::from_str(record.text()).unwrap();
            assert_eq!(letter.source.topic, topics.validated);
            assert!(letter.timestamp.as_millis() > 1_770_805_800_000);
            (
                record.partition,
                letter.source.offset,
                letter.validation_errors[0].code.clone(),
                letter.original,
            )
        })
        .collect();
    let row =
        |offset, code: &str, original: &str| (1, offset, code.to_owned(), original.to_owned());
    assert_eq!(
        told,
        [
            row(1, "not_an_object", "[no object"),
            row(2, "no_value", ""),
            row(3, "not_a_tick", "{}"),
        ]
    );
    service.wait_ready();
    let counted = |series: &str| service.metric(series);
    assert!((counted("enricher_records_total{asset=\"unknown\"}") - 1.0).abs() < f64::EPSILON);
    assert!((counted("enricher_ticks_total") - 1.0).abs() < f64::EPSILON);
    assert!(
        (counted("enricher_dead_letters_total{reason=\"no_value\"}") - 1.0).abs() < f64::EPSILON
    );
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let topics = Topics {
        validated: testbed::unique("validated"),
        assets: String::new(),
        enriched: "x".to_owned(),
        invalid: "y".to_owned(),
    };
    let (code, log) = Service::start("127.0.0.1:1", &topics, &[]).wait();
    assert_eq!((code, log.lines().count()), (64, 1), "{log}");
    assert!(log.contains("topics.assets"), "{log}");
}
