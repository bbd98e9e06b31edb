//! Half an hour of two GPUs of one host, in one partition, and what must be told of it.
//!
//! GPU a has a double-bit error, then vanishes for a while, then for good; b has a row remap pending and is throttled by
//! heat. At the end only ticks come, and then both are back. One record on the way can't be read.

use crate::service::PARTITIONS;
use anomaly_detector::domain::detector::Detector;
use anomaly_detector::domain::limits::Limits;
use anomaly_detector::stage::{ALERTS, AnomalyDetector, CRITICAL, INVALID};
use chassis::testing::{Emitted, Input, StageDriver, values_of};
use schema::AlertState::{Firing, Resolved};
use schema::Severity::{Critical, Warning};
use schema::{Alert, AlertState, Severity, Tick, Timestamp};
use serde_json::json;
use std::sync::Arc;
use testbed::NewRecord;

/// 2026-02-11T10:30:00Z
const START_MS: i64 = 1_770_805_800_000;
/// From an interval's reading to the broker.
const INGEST_DELAY_MS: i64 = 400;
/// The partition that all of it stands in.
pub(crate) const PARTITION: i32 = 3;
pub(crate) const A: &str = "GPU-00000000-0000-4000-8000-00000000000a";
pub(crate) const B: &str = "GPU-00000000-0000-4000-8000-00000000000b";
const BROKEN: &str = r#"{"timestamp":"2026-02-11T10:35:00Z","metrics":"none"}"#;

/// A record: its key, none for a tick, and its value.
pub(crate) type KeyAndValue = (Option<String>, String);

/// What must be told: which second, rule, GPU, severity and state.
pub(crate) type Told = (i64, String, String, Severity, AlertState);

struct Teller(Vec<KeyAndValue>);

impl Teller {
    fn reading(&mut self, at_s: i64, gpu: &str, metrics: &serde_json::Value) {
        let event_ms = START_MS + at_s * 1_000;
        let written = |ms| Timestamp::from_millis(ms).to_string();
        let value = json!({
            "timestamp": written(event_ms),
            "gpu": {"gpu_uuid": gpu, "name": "NVIDIA H100 80GB HBM3"},
            "host": {"hostname": "gpu-node-042"},
            "metrics": metrics,
            "validation_timestamp": written(event_ms + INGEST_DELAY_MS),
        });
        self.0.push((Some(gpu.to_owned()), value.to_string()));
    }

    fn tick(&mut self, at_s: i64) {
        let time = Timestamp::from_millis(START_MS + at_s * 1_000);
        let tick = serde_json::to_string(&Tick::at(time)).unwrap();
        self.0.push((None, tick));
    }
}

/// The records, in order.
pub(crate) fn records() -> Vec<KeyAndValue> {
    let mut teller = Teller(Vec::new());
    for at_s in (0..2_200).step_by(10) {
        let a_is_there = !(210..600).contains(&at_s) && !(1_310..1_500).contains(&at_s);
        let b_is_there = !(1_330..1_500).contains(&at_s);
        if a_is_there {
            let errors = i64::from(at_s >= 60);
            let a = json!({
                "memory": {"ecc_dbe_volatile": errors},
                "errors": {"last_xid": errors * 48},
            });
            teller.reading(at_s, A, &a);
        }
        if b_is_there {
            let throttled = if (60..120).contains(&at_s) { 0x48 } else { 0 };
            let b = json!({
                "health": {"throttle_reasons": throttled},
                "memory": {"row_remap_pending": i64::from((120..180).contains(&at_s))},
            });
            teller.reading(at_s + 1, B, &b);
        } else {
            for second in 1..10 {
                teller.tick(at_s + second);
            }
        }
        if at_s == 300 {
            teller.0.push((Some(A.to_owned()), BROKEN.to_owned()));
        }
    }
    teller.0
}

/// What must be told, by hand.
pub(crate) fn told() -> Vec<Told> {
    let row = |at_s, rule: &str, gpu: &str, severity, state| {
        (at_s, rule.to_owned(), gpu.to_owned(), severity, state)
    };
    vec![
        row(60, "ecc_dbe", A, Critical, Firing),
        // The second reading that shows it: 20 s are more than 5 % of 5 min.
        row(71, "thermal_throttle", B, Warning, Firing),
        row(121, "row_remap_pending", B, Warning, Firing),
        row(181, "row_remap_pending", B, Warning, Resolved),
        // Silent since 200 s while b reports; b's reading at 231 s is the first after 30 s.
        row(231, "gpu_lost", A, Critical, Firing),
        // Back at 600 s, for 5 min.
        row(900, "gpu_lost", A, Critical, Resolved),
        // Clean since 121 s, for 15 min.
        row(1_021, "thermal_throttle", B, Warning, Resolved),
        // Silent since 1,300 s. b has reported until 1,321 s; no reading but a tick tells the time.
        row(1_331, "gpu_lost", A, Critical, Firing),
        row(1_352, "telemetry_gap", B, Warning, Firing),
        row(1_501, "telemetry_gap", B, Warning, Resolved),
        row(1_800, "gpu_lost", A, Critical, Resolved),
    ]
}

/// What an alert says, in short.
pub(crate) fn in_short(alert: &Alert) -> Told {
    (
        (alert.timestamp.as_millis() - START_MS).div_euclid(1_000),
        alert.rule_id.clone(),
        alert.gpu_uuid.clone(),
        alert.severity,
        alert.state,
    )
}

/// The record for the broker.
pub(crate) fn to_produce((key, value): KeyAndValue) -> NewRecord {
    let record = match key {
        Some(key) => NewRecord::new(key, value),
        None => NewRecord::keyless(value),
    };
    record.partition(PARTITION)
}

/// Alerts, critical alerts and dead letters that the stage writes when nothing disturbs it, as JSON.
pub(crate) struct Undisturbed {
    pub(crate) alerts: Vec<String>,
    pub(crate) critical: Vec<String>,
    pub(crate) letters: Vec<String>,
}

impl Undisturbed {
    pub(crate) fn of(topic: &str) -> Self {
        let inputs: Vec<_> = (0..)
            .zip(records())
            .map(|(offset, (key, value))| Input {
                partition: PARTITION,
                offset,
                timestamp_ms: START_MS,
                key: key.map(String::into_bytes),
                value: Some(value.into_bytes()),
                headers: Vec::new(),
            })
            .collect();
        let detector = Detector::new(Limits::default(), "docs/runbook");
        let stage = AnomalyDetector::new(Arc::new(detector));
        let emitted = StageDriver::new(stage, topic, &[PARTITIONS; 3]).run(&inputs);
        let texts = |output| values(&emitted, output);
        Self {
            alerts: texts(ALERTS),
            critical: texts(CRITICAL),
            letters: texts(INVALID),
        }
    }
}

fn values(emitted: &[Emitted], output: chassis::Output) -> Vec<String> {
    values_of(emitted, output)
        .into_iter()
        .map(|value| String::from_utf8(value.to_vec()).unwrap())
        .collect()
}

#[test]
fn the_story_is_told_as_by_hand() {
    let undisturbed = Undisturbed::of("gpu-metrics-enriched");
    let alerts: Vec<Alert> = undisturbed
        .alerts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(alerts.iter().map(in_short).collect::<Vec<_>>(), told());
    assert_eq!(undisturbed.letters.len(), 1);
    let critical: Vec<_> = undisturbed
        .alerts
        .iter()
        .zip(&alerts)
        .filter(|(_, alert)| alert.severity == Critical)
        .map(|(text, _)| text.clone())
        .collect();
    assert_eq!(undisturbed.critical, critical);
}
