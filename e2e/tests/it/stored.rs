//! Rows of the database, held against the records of the topics that they come from.

use schema::{Timestamp, topic};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::{Database, OwnedRecord};

/// A table: the topic that fills it, what identifies a row beside the GPU (column, member of the record), and further
/// columns with the place of the same thing in a record.
struct Table {
    name: &'static str,
    topic: &'static topic::Topic,
    key: &'static [(&'static str, &'static str)],
    columns: &'static [(&'static str, &'static str)],
}

const WINDOW_COLUMNS: &[(&str, &str)] = &[
    ("revision", "/revision"),
    ("count", "/count"),
    ("first_timestamp", "/first_timestamp"),
    ("last_timestamp", "/last_timestamp"),
    ("gpu_temp_c_avg", "/metrics/gpu_temp_c/mean"),
    ("gpu_temp_c_p95", "/metrics/gpu_temp_c/p95"),
    ("power_usage_w_max", "/metrics/power_usage_w/max"),
    ("sm_clock_mhz_min", "/metrics/sm_clock_mhz/min"),
    ("metrics", "/metrics"),
    ("counters", "/counters"),
    ("throttle_reasons", "/throttle/reasons"),
    ("throttle_samples", "/throttle/samples"),
    ("throttle_concern_samples", "/throttle/concern_samples"),
    ("xids", "/xids"),
];

const TABLES: [Table; 5] = [
    Table {
        name: "gpu_metrics",
        topic: &topic::ENRICHED,
        key: &[("time", "/timestamp")],
        // And every metric: see `metric_columns`.
        columns: &[
            ("ingested_at", "/validation_timestamp"),
            ("quality_flags", "/quality_flags"),
            ("xid_counts", "/metrics/errors/xid_counts"),
        ],
    },
    Table {
        name: "gpu_metrics_1min",
        topic: &topic::ONE_MINUTE,
        key: &[("window_start", "/window_start")],
        columns: WINDOW_COLUMNS,
    },
    Table {
        name: "gpu_metrics_15min",
        topic: &topic::FIFTEEN_MINUTES,
        key: &[("window_start", "/window_start")],
        columns: WINDOW_COLUMNS,
    },
    Table {
        name: "alerts",
        topic: &topic::ALERTS,
        key: &[
            ("time", "/timestamp"),
            ("alert_id", "/alert_id"),
            ("state", "/state"),
        ],
        columns: &[
            ("severity", "/severity"),
            ("alert_type", "/alert_type"),
            ("rule_id", "/rule_id"),
            ("fingerprint", "/fingerprint"),
            ("first_seen", "/first_seen"),
            ("resolved_at", "/resolved_at"),
            ("count", "/count"),
            ("metric_name", "/metric_name"),
            ("current_value", "/current_value"),
            ("threshold", "/threshold"),
            ("action_code", "/action_code"),
            ("recommended_action", "/recommended_action"),
            ("message", "/message"),
            ("runbook", "/runbook"),
            ("context", "/context"),
        ],
    },
    Table {
        name: "health_scores",
        topic: &topic::HEALTH_SCORES,
        key: &[("time", "/timestamp")],
        columns: &[
            ("overall_score", "/overall_score"),
            ("memory_health", "/dimension_scores/memory_health"),
            ("thermal_health", "/dimension_scores/thermal_health"),
            ("performance_health", "/dimension_scores/performance_health"),
            ("power_health", "/dimension_scores/power_health"),
            ("reliability_health", "/dimension_scores/reliability_health"),
            ("health_grade", "/health_grade"),
            ("state", "/state"),
            ("confidence", "/confidence"),
            ("degradation_trend", "/degradation_trend"),
            ("contributing_factors", "/contributing_factors"),
            ("factors", "/factors"),
            ("scoring_version", "/scoring_version"),
        ],
    },
];

/// Where a metric of a reading is in its record.
fn metric_columns() -> Vec<(&'static str, String)> {
    schema::METRICS
        .iter()
        .map(|metric| {
            (
                metric.name,
                format!("/metrics/{}/{}", metric.group, metric.name),
            )
        })
        .collect()
}

/// One spelling for one value: instants are written in other ways by a database, numbers with or without a fraction, and
/// what a record leaves out is null or empty in a row.
fn plain(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "null".to_owned(),
        Value::Object(members) if members.is_empty() => "null".to_owned(),
        Value::String(text) => Timestamp::parse(&text.replace("+00:00", "Z"))
            .map_or_else(|_| text.clone(), |at| at.as_millis().to_string()),
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        Value::Array(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
        Value::Object(members) => format!(
            "{:?}",
            members
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect::<BTreeMap<_, _>>()
        ),
        other => other.to_string(),
    }
}

fn at(record: &Value, pointer: &str) -> String {
    record
        .pointer(pointer)
        .map_or_else(|| "null".to_owned(), plain)
}

/// The rows that `records` stand for, by their keys: of two records of one fact the higher revision, or the later one.
fn wanted(table: &Table, records: &[OwnedRecord]) -> BTreeMap<Vec<String>, Value> {
    let mut rows: BTreeMap<Vec<String>, Value> = BTreeMap::new();
    for record in records.iter().filter(|record| record.key.is_some()) {
        let json: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let gpu = json
            .pointer("/gpu_uuid")
            .or_else(|| json.pointer("/gpu/gpu_uuid"));
        let mut key = vec![gpu.unwrap().as_str().unwrap().to_owned()];
        key.extend(table.key.iter().map(|(_, member)| at(&json, member)));
        let revision = |json: &Value| json["revision"].as_u64().unwrap_or(0);
        if rows
            .get(&key)
            .is_none_or(|held| revision(held) <= revision(&json))
        {
            rows.insert(key, json);
        }
    }
    rows
}

/// Waits until every table has as many rows as its topic has facts, and compares each row with its record.
pub(crate) fn assert_rows_equal_records(
    database: &Database,
    patience: Duration,
    read: impl Fn(&str) -> Vec<OwnedRecord>,
) {
    let metrics = metric_columns();
    for table in TABLES {
        let wanted = wanted(&table, &read(table.topic.name));
        assert!(wanted.len() > 20, "{}: {} rows", table.name, wanted.len());
        let count = format!("SELECT count(*) FROM {}", table.name);
        let what = format!("{} rows of {}", wanted.len(), table.name);
        testbed::wait_until(patience, &what, || {
            database.sql(&count).trim() == wanted.len().to_string()
        });
        let rows = database.sql(&format!(
            "SET timezone = 'UTC'; SELECT json_build_array(gpu_uuid, to_jsonb(r)) FROM {} AS r JOIN gpus USING (gpu_id)",
            table.name
        ));
        let mut columns: Vec<(&str, &str)> = table.columns.to_vec();
        if table.name == "gpu_metrics" {
            columns.extend(
                metrics
                    .iter()
                    .map(|(column, member)| (*column, member.as_str())),
            );
        }
        let mut compared = 0;
        for line in rows.lines().filter(|line| line.starts_with('[')) {
            let (gpu, row): (String, Value) = serde_json::from_str(line).unwrap();
            let mut key = vec![gpu];
            key.extend(table.key.iter().map(|(column, _)| plain(&row[*column])));
            let record = wanted
                .get(&key)
                .unwrap_or_else(|| panic!("{} {key:?}: a row of no record", table.name));
            for (column, member) in &columns {
                let found = row
                    .get(*column)
                    .unwrap_or_else(|| panic!("{} has no column {column}", table.name));
                assert_eq!(
                    plain(found),
                    at(record, member),
                    "{} {key:?}: {column}",
                    table.name
                );
            }
            compared += 1;
        }
        assert_eq!(compared, wanted.len(), "{}", table.name);
    }
}
