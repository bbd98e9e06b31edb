use super::super::column::COLUMNS;
use super::*;
use schema::EnrichedEvent;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn sound() -> Value {
    json!({
        "timestamp": "2026-02-11T10:30:00.123Z",
        "gpu": {"gpu_uuid": "GPU-1"},
        "metrics": {"health": {"gpu_temp_c": 65.0}},
        "validation_timestamp": "2026-02-11T10:30:00.456Z",
        "validation_version": "1",
        "quality_flags": [],
        "asset_status": "unknown",
    })
}

/// The record's readings by both ways, which must agree; its numbers by name.
fn both(value: &Value) -> Result<(Reading<'static>, BTreeMap<&'static str, f64>), String> {
    let text = value.to_string().leak();
    let (mut fast, mut general) = (Row::EMPTY, Row::EMPTY);
    let parsed = parse(text.as_bytes(), &mut fast).map_err(|error| error.to_string());
    let read = read(text.as_bytes(), &mut general).map_err(|error| error.to_string());
    assert_eq!(parsed, read);
    let reading = parsed?;
    let named = |row: &Row| -> BTreeMap<&'static str, f64> {
        (0..COLUMNS.len())
            .filter(|column| row.mask >> column & 1 == 1)
            .map(|column| (COLUMNS[column], row.values[column]))
            .collect()
    };
    assert_eq!(named(&fast), named(&general));
    Ok((reading, named(&fast)))
}

/// Why the record is refused.
fn refusal(value: &Value) -> String {
    both(value).unwrap_err()
}

fn with(path: &str, member: Value) -> Value {
    let mut value = sound();
    let (at, name) = path.rsplit_once('/').unwrap();
    value.pointer_mut(at).unwrap()[name] = member;
    value
}

fn without(name: &str) -> Value {
    let mut value = sound();
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

#[test]
fn every_metric_of_the_schema_gets_into_its_column() {
    let mut metrics = json!({});
    for (at, metric) in METRICS.iter().enumerate() {
        metrics[metric.group][metric.name] = json!(at as f64 + 0.5);
    }
    metrics["memory"]["bank_remap_avail"] = json!({"max": 640, "none": 3, "new": 1});
    let value = with("/metrics", metrics);
    let text = value.to_string();
    let event: EnrichedEvent<'_> = serde_json::from_str(&text).unwrap();
    let mut expected = BTreeMap::from([("bank_remap_max", 640.0), ("bank_remap_none", 3.0)]);
    event.metrics.for_each(|at, value| {
        expected.insert(METRICS[at].name, value);
    });
    // A code is no level.
    assert!(expected.remove("recovery_action").is_some());
    let (reading, found) = both(&value).unwrap();
    assert_eq!(found, expected);
    assert_eq!(found.len(), METRIC_COUNT - 1 + 2);
    assert_eq!(reading.time, event.timestamp.as_millis());
    assert_eq!(reading.ingest, event.validation_timestamp.as_millis());
    assert_eq!(reading.gpu_uuid, "GPU-1");
}

#[test]
fn a_null_is_no_number_and_an_unknown_name_is_passed_over() {
    let (_, found) = both(&with(
        "/metrics",
        json!({
            "health": {"gpu_temp_c": null, "throttle_reasons_decoded": ["x"], "new": {"a": [null, "b"]}},
            "power": null,
            "new_group": [1, 2],
            "memory": {"bank_remap_avail": null, "ecc_dbe_volatile": 2},
            "errors": {"xid_counts": null, "recovery_action": "none"},
        }),
    ))
    .unwrap();
    assert_eq!(found, BTreeMap::from([("ecc_dbe_volatile", 2.0)]));
}

#[test]
fn the_model_is_the_readings_and_the_place_is_the_assets_where_both_have_one() {
    let labels = |gpu: Value, host: Value, asset: Value| {
        let mut value = with("/gpu/name", gpu);
        value["host"] = host;
        value["asset"] = asset;
        let (reading, _) = both(&value).unwrap();
        let LabelsView {
            model,
            hostname,
            rack,
            cluster,
        } = reading.labels;
        [model, hostname, rack, cluster].map(|label| label.map(|text| text.as_str().to_owned()))
    };
    let host = json!({"hostname": "h", "rack": "host's", "cluster": "host's"});
    let asset = json!({"model": "asset's", "rack_id": "asset's", "cluster_id": "asset's"});
    let some = |texts: [&str; 4]| texts.map(|text| Some(text.to_owned()));
    assert_eq!(
        labels(json!("reading's"), host.clone(), asset.clone()),
        some(["reading's", "h", "asset's", "asset's"])
    );
    assert_eq!(
        labels(json!(null), host, asset),
        some(["asset's", "h", "asset's", "asset's"])
    );
    let part = json!({"hostname": "h", "rack": "host's", "cluster": "host's"});
    assert_eq!(
        labels(json!("reading's"), part, json!({"rack_id": null})),
        some(["reading's", "h", "host's", "host's"])
    );
    assert_eq!(
        labels(json!("with \"quotes\""), json!(null), json!(null)),
        [Some("with \"quotes\"".to_owned()), None, None, None]
    );
}

#[test]
fn xids_are_plain_decimal_numbers_above_zero() {
    let (reading, _) = both(&with(
        "/metrics",
        json!({"errors": {"xid_counts": {
            "79": 2, "31": 1.0, "079": 9, "0": 9, "": 9, "-1": 9, "+1": 9, "none": 9, "4294967296": 9, "48": null
        }}}),
    ))
    .unwrap();
    assert_eq!(reading.xid_counts, [(31, 1.0), (79, 2.0)]);
    let codes = [79.0, 0.0, -0.0, -1.0, 1.5, 4e9, 5e9, f64::NAN].map(xid_of);
    assert_eq!(
        codes,
        [
            Some(79),
            None,
            None,
            None,
            None,
            Some(4_000_000_000),
            None,
            None
        ]
    );
}

#[test]
fn what_is_no_reading_is_refused_with_the_reason() {
    for (value, reason) in [
        (without("timestamp"), "missing field `timestamp`"),
        (
            without("validation_timestamp"),
            "missing field `validation_timestamp`",
        ),
        (without("gpu"), "missing field `gpu`"),
        (without("metrics"), "missing field `metrics`"),
        (with("/gpu", json!({})), "missing field `gpu_uuid`"),
        (
            with("/gpu/gpu_uuid", json!(null)),
            "invalid type: null, expected a string",
        ),
        (
            with("/metrics/health/gpu_temp_c", json!("hot")),
            "invalid type: string \"hot\", expected a number or null",
        ),
        (
            with("/metrics/health", json!([])),
            "invalid type: sequence, expected the metrics of health",
        ),
        (
            with("/metrics", json!(null)),
            "invalid type: null, expected metrics by group",
        ),
        (
            with("/timestamp", json!(1_770_805_800)),
            "invalid type: integer `1770805800`, expected an RFC 3339 timestamp",
        ),
        (
            with("/timestamp", json!("1969-12-31T23:59:59.999Z")),
            "event time 1969-12-31T23:59:59.999Z is outside 1970 to 9999",
        ),
        (
            with("/timestamp", json!("9999-12-29T00:00:00.000Z")),
            "event time 9999-12-29T00:00:00.000Z is outside 1970 to 9999",
        ),
        (
            json!([]),
            "invalid type: sequence, expected an enriched reading",
        ),
    ] {
        let refusal = refusal(&value);
        assert!(refusal.starts_with(reason), "{refusal}, not {reason}");
    }
    let mut row = Row::EMPTY;
    let not_text = parse(b"{\"a\":\"\xff\"}", &mut row).unwrap_err();
    assert!(matches!(not_text, Unreadable::NotUtf8(_)), "{not_text}");
    let cut = parse(b"{\"timestamp\":", &mut row).unwrap_err();
    assert!(matches!(cut, Unreadable::Malformed(_)), "{cut}");
}

#[test]
fn times_in_every_form_of_rfc_3339_are_read() {
    for (text, millis) in [
        ("2026-02-11T10:30:00.123Z", 1_770_805_800_123),
        ("2026-02-11T10:30:00Z", 1_770_805_800_000),
        ("2026-02-11T11:30:00.123456+01:00", 1_770_805_800_123),
    ] {
        let (reading, _) = both(&with("/timestamp", json!(text))).unwrap();
        assert_eq!(reading.time, millis, "{text}");
    }
}
