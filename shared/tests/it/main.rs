//! The contract: payloads that were ever written still parse, and say what they said.
#![expect(
    clippy::unwrap_used,
    reason = "a payload that does not parse ends the test"
)]

use schema::{
    Alert, AlertState, Asset, AssetStatus, DeadLetter, EnrichedEvent, Grade, HealthScore,
    MetricEvent, OriginalEncoding, Tick, Timestamp, ValidatedEvent, WindowAggregate, WindowSize,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn payload(name: &str) -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(name),
    )
    .unwrap()
}

/// Every name and value of `part` stands in `whole`; numbers are compared as numbers, times as times.
fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                let found = whole.get(key).unwrap_or(&Value::Null);
                assert_contains(found, value, &format!("{path}.{key}"));
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (i, (whole, part)) in whole.iter().zip(part).enumerate() {
                assert_contains(whole, part, &format!("{path}[{i}]"));
            }
        }
        (Value::Number(whole), Value::Number(part)) => {
            assert_eq!(whole.as_f64(), part.as_f64(), "{path}");
        }
        (Value::String(whole), Value::String(part)) if whole != part => {
            let time = |text: &str| Timestamp::parse(text).ok();
            assert!(
                time(whole).is_some() && time(whole) == time(part),
                "{path}: {whole} is not {part}"
            );
        }
        _ => assert_eq!(whole, part, "{path}"),
    }
}

/// Reads `name` as a `T`, and proves that what `T` writes says nothing that the payload did not say.
macro_rules! reads {
    ($type:ty, $name:literal) => {{
        static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| payload($name));
        let read: $type = serde_json::from_str(&TEXT).unwrap();
        let said: Value = serde_json::from_str(&TEXT).unwrap();
        assert_contains(
            &said,
            &without_defaults(serde_json::to_value(&read).unwrap()),
            $name,
        );
        read
    }};
}

/// Drops what an older payload did not have to say: nulls, empty lists and `false`.
fn without_defaults(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| {
                    !value.is_null()
                        && *value != Value::Bool(false)
                        && *value != Value::Array(vec![])
                })
                .map(|(key, value)| (key, without_defaults(value)))
                .collect(),
        ),
        other => other,
    }
}

#[test]
fn every_payload_is_read_as_what_it_is() {
    let minimal = reads!(MetricEvent<'_>, "metric_event_1_0_minimal.json");
    assert!(!minimal.gpu.gpu_uuid.is_empty());
    let full = reads!(MetricEvent<'_>, "metric_event_1_0_full.json");
    assert_eq!(full.metrics.health.unwrap().gpu_temp_c, Some(65.0));
    let newer = reads!(MetricEvent<'_>, "metric_event_1_1_full.json");
    assert!(newer.collector.unwrap().sequence.is_some());
    let validated = reads!(ValidatedEvent<'_>, "validated_event_1_1.json");
    assert_eq!(validated.quality_flags[0], "late");
    let enriched = reads!(EnrichedEvent<'_>, "enriched_event_1_1.json");
    assert_eq!(enriched.asset_status, AssetStatus::Known);
    let tick = reads!(Tick, "tick_1_1.json");
    assert_eq!(
        tick.validation_timestamp.to_string(),
        "2026-02-11T10:30:00.000Z"
    );
    let window = reads!(WindowAggregate, "window_aggregate_1m.json");
    assert_eq!(
        (window.window, window.metrics["gpu_temp_c"].min),
        (WindowSize::OneMinute, -1.5)
    );
    let alert = reads!(Alert, "alert_brief.json");
    assert_eq!(
        (alert.state, alert.context.recent_values.len()),
        (AlertState::Firing, 4)
    );
    let score = reads!(HealthScore, "health_score_brief.json");
    assert_eq!(
        (score.overall_score, score.health_grade),
        (Some(87.0), Grade::Good)
    );
    let asset = reads!(Asset, "asset_1_1.json");
    assert!(!asset.gpu_uuid.is_empty());
    let letter = reads!(DeadLetter, "dead_letter_1_1.json");
    assert_eq!(
        (letter.original_encoding, letter.validation_errors.len()),
        (OriginalEncoding::Base64, 2)
    );
}

#[test]
fn no_payload_lies_about_unread() {
    let source =
        std::fs::read_to_string(file!().trim_start_matches("shared/")).unwrap_or_else(|_| {
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/main.rs"))
                .unwrap()
        });
    let names: BTreeSet<String> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    for name in names {
        assert!(
            source.contains(&format!("\"{name}\"")),
            "{name} is read by no test"
        );
    }
}
