//! Records of a fleet, whose event time is about now: older ones would be dropped by retention.

use crate::service::PARTITIONS;
use schema::{EnrichedEvent, METRICS, Timestamp, partition_for};
use std::time::{SystemTime, UNIX_EPOCH};
use testbed::NewRecord;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/testdata/");
const GOLDEN_UUID: &str = "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11";

pub(crate) fn golden(name: &str) -> String {
    std::fs::read_to_string(format!("{TESTDATA}{name}")).unwrap()
}

pub(crate) fn uuid(gpu: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-{gpu:012x}")
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// The value of a reading, with every metric but one.
pub(crate) fn reading_value(uuid: &str, at_ms: i64, temperature: f64) -> String {
    let mut event: EnrichedEvent<'_> = EnrichedEvent {
        timestamp: Timestamp::from_millis(at_ms),
        validation_timestamp: Timestamp::from_millis(at_ms + 333),
        ..EnrichedEvent::default()
    };
    event.gpu.gpu_uuid = uuid.into();
    event.gpu.device_index = Some(3);
    for (index, metric) in METRICS.iter().enumerate() {
        assert!(event.metrics.set(metric.name, Some(value_of(index))));
    }
    assert!(event.metrics.set("gpu_temp_c", Some(temperature)));
    // What no column of the type can tell from zero or from a missing row.
    assert!(event.metrics.set("memory_temp_c", None));
    serde_json::to_string(&event).unwrap()
}

/// A value that differs from metric to metric, and that a `float4` would not hold.
pub(crate) fn value_of(index: usize) -> f64 {
    0.1 + f64::from(u32::try_from(index).unwrap()) * 1_000_000.5
}

/// The `sequence`th reading of a GPU, a second after the one before.
pub(crate) fn reading(gpu: usize, sequence: usize, base_ms: i64) -> NewRecord {
    let uuid = uuid(gpu);
    let at = base_ms + i64::try_from(sequence).unwrap() * 1_000;
    let value = format!(
        r#"{{"timestamp":"{}","gpu":{{"gpu_uuid":"{uuid}"}},"host":{{"hostname":"node-{}"}},"metrics":{{"health":{{"gpu_temp_c":{sequence}.5}}}},"validation_timestamp":"{}","validation_version":"1.0","asset_status":"unknown"}}"#,
        Timestamp::from_millis(at),
        gpu % 7,
        Timestamp::from_millis(at + 100),
    );
    let partition = partition_for(uuid.as_bytes(), PARTITIONS);
    NewRecord::new(uuid, value).partition(partition)
}

pub(crate) fn tick(partition: i32, at_ms: i64) -> NewRecord {
    let tick = schema::Tick::at(Timestamp::from_millis(at_ms));
    NewRecord::keyless(serde_json::to_string(&tick).unwrap()).partition(partition)
}

/// A golden record of another topic, for this GPU and at this time.
pub(crate) fn of_golden(name: &str, uuid: &str, at_ms: i64) -> String {
    let at = Timestamp::from_millis(at_ms).to_string();
    golden(name)
        .replace(GOLDEN_UUID, uuid)
        .replace("2026-02-11T10:30:00.123Z", &at)
        .replace("2026-02-11T10:30:00.000Z", &at)
}

pub(crate) fn alert_value(uuid: &str, at_ms: i64) -> String {
    of_golden("alert_brief.json", uuid, at_ms)
        .replace("5f0c1c6e", &format!("{:08x}", at_ms % 0xffff_ffff))
}

pub(crate) fn score_value(uuid: &str, at_ms: i64) -> String {
    of_golden("health_score_brief.json", uuid, at_ms)
}

pub(crate) fn window_value(
    uuid: &str,
    start_ms: i64,
    minutes: u8,
    revision: u32,
    count: u32,
) -> String {
    of_golden("window_aggregate_1m.json", uuid, start_ms)
        .replace(r#""window":"1m""#, &format!(r#""window":"{minutes}m""#))
        .replace(
            r#""revision":0,"count":6"#,
            &format!(r#""revision":{revision},"count":{count}"#),
        )
}
