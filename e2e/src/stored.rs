//! Rows of the database, held against the records of the topics that they come from.

use schema::Timestamp;
use schema::topic::{self, Topic};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use testbed::OwnedRecord;

/// A table: the topic that fills it, what identifies a row beside the GPU (column, member of the record), and further
/// columns with the place of the same thing in a record.
struct Table {
    name: &'static str,
    topic: &'static Topic,
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

/// The topics that fill the tables.
pub const TOPICS: [&Topic; 5] = [
    &topic::ENRICHED,
    &topic::ONE_MINUTE,
    &topic::FIFTEEN_MINUTES,
    &topic::ALERTS,
    &topic::HEALTH_SCORES,
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

/// The rows that a topic's records stand for, by their keys: of two records of one fact the higher revision, or the later
/// one. Only what `whole` names by its GPU keeps its record.
struct Wanted<'a> {
    table: &'a Table,
    rows: BTreeMap<Vec<String>, (u64, Option<Value>)>,
}

impl Wanted<'_> {
    fn take(&mut self, record: &OwnedRecord, whole: &dyn Fn(&str) -> bool) {
        if record.key.is_none() {
            return;
        }
        // What is no record became a dead letter.
        let Ok(json) = serde_json::from_slice::<Value>(record.value.as_deref().unwrap_or_default())
        else {
            return;
        };
        let gpu = json
            .pointer("/gpu_uuid")
            .or_else(|| json.pointer("/gpu/gpu_uuid"));
        let Some(gpu) = gpu.and_then(Value::as_str) else {
            return;
        };
        let mut key = vec![gpu.to_owned()];
        key.extend(self.table.key.iter().map(|(_, member)| at(&json, member)));
        let revision = json["revision"].as_u64().unwrap_or(0);
        let kept = whole(gpu).then_some(json);
        match self.rows.get_mut(&key) {
            Some(held) if held.0 > revision => {}
            Some(held) => *held = (revision, kept),
            None => drop(self.rows.insert(key, (revision, kept))),
        }
    }
}

/// What is stored, and what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows found, by table.
    pub rows: BTreeMap<&'static str, usize>,
    /// Rows of which every column was compared.
    pub whole: usize,
    /// A line a row that has no record, a record that has no row, or a column that is not its record's.
    pub differences: Vec<String>,
}

/// How many rows each table should have, from its topic's records.
pub fn expected_rows(read: &dyn Fn(&Topic, i32) -> Vec<OwnedRecord>) -> Vec<(&'static str, usize)> {
    TABLES
        .iter()
        .map(|table| (table.name, wanted(table, read, &|_| false).rows.len()))
        .collect()
}

/// Holds every table against its topic. All keys are compared; all columns where `whole` names the GPU. `sql` runs a query
/// in a psql that prints rows alone; `read` reads a partition.
pub fn compare(
    sql: &dyn Fn(&str) -> String,
    read: &dyn Fn(&Topic, i32) -> Vec<OwnedRecord>,
    whole: &dyn Fn(&str) -> bool,
) -> Comparison {
    let mut comparison = Comparison::default();
    for table in &TABLES {
        let wanted = wanted(table, read, whole);
        let rows = compare_keys(table, &wanted, sql, &mut comparison.differences);
        comparison.rows.insert(table.name, rows);
        let gpus: BTreeSet<&str> = wanted
            .rows
            .iter()
            .filter(|(_, (_, json))| json.is_some())
            .map(|(key, _)| key[0].as_str())
            .collect();
        let gpus: Vec<&str> = gpus.into_iter().collect();
        for some in gpus.chunks(GPUS_AT_A_TIME) {
            comparison.whole +=
                compare_columns(table, &wanted, some, sql, &mut comparison.differences);
        }
    }
    comparison
}

/// Whole rows are large: as many as a psql's output may hold.
const GPUS_AT_A_TIME: usize = 64;

fn wanted<'a>(
    table: &'a Table,
    read: &dyn Fn(&Topic, i32) -> Vec<OwnedRecord>,
    whole: &dyn Fn(&str) -> bool,
) -> Wanted<'a> {
    let mut wanted = Wanted {
        table,
        rows: BTreeMap::new(),
    };
    for partition in 0..table.topic.partitions {
        for record in read(table.topic, partition) {
            wanted.take(&record, whole);
        }
    }
    wanted
}

/// Compares the keys, and returns the number of rows.
fn compare_keys(
    table: &Table,
    wanted: &Wanted<'_>,
    sql: &dyn Fn(&str) -> String,
    differences: &mut Vec<String>,
) -> usize {
    let columns: Vec<&str> = table.key.iter().map(|(column, _)| *column).collect();
    let rows = sql(&format!(
        "SET timezone = 'UTC'; SELECT json_build_array(gpu_uuid, json_build_array({})) FROM {} JOIN gpus USING (gpu_id)",
        columns.join(", "),
        table.name
    ));
    let mut found = 0;
    let mut seen = BTreeSet::new();
    for line in rows.lines().filter(|line| line.starts_with('[')) {
        let (gpu, values): (String, Vec<Value>) = serde_json::from_str(line).unwrap();
        let mut key = vec![gpu];
        key.extend(values.iter().map(plain));
        found += 1;
        if !wanted.rows.contains_key(&key) {
            differences.push(format!("{} {key:?}: a row of no record", table.name));
        }
        seen.insert(key);
    }
    for key in wanted.rows.keys().filter(|key| !seen.contains(*key)) {
        differences.push(format!("{} {key:?}: a record without a row", table.name));
    }
    found
}

/// Compares whole rows of these GPUs, and returns how many.
fn compare_columns(
    table: &Table,
    wanted: &Wanted<'_>,
    gpus: &[&str],
    sql: &dyn Fn(&str) -> String,
    differences: &mut Vec<String>,
) -> usize {
    let metrics = metric_columns();
    let mut columns: Vec<(&str, &str)> = table.columns.to_vec();
    if table.name == "gpu_metrics" {
        columns.extend(
            metrics
                .iter()
                .map(|(column, member)| (*column, member.as_str())),
        );
    }
    let names: Vec<String> = gpus
        .iter()
        .map(|gpu| format!("'{}'", gpu.replace('\'', "''")))
        .collect();
    let rows = sql(&format!(
        "SET timezone = 'UTC'; SELECT json_build_array(gpu_uuid, to_jsonb(r)) FROM {} AS r JOIN gpus USING (gpu_id) \
         WHERE gpu_uuid IN ({})",
        table.name,
        names.join(",")
    ));
    let mut compared = 0;
    for line in rows.lines().filter(|line| line.starts_with('[')) {
        let (gpu, row): (String, Value) = serde_json::from_str(line).unwrap();
        let mut key = vec![gpu];
        key.extend(table.key.iter().map(|(column, _)| plain(&row[*column])));
        // A row of no record was told of by its key.
        let Some((_, Some(record))) = wanted.rows.get(&key) else {
            continue;
        };
        for (column, member) in &columns {
            let found = row.get(*column).map(plain);
            let expected = at(record, member);
            if found.as_deref() != Some(&*expected) {
                differences.push(format!(
                    "{} {key:?}: {column} is {}, the record has {expected}",
                    table.name,
                    found.as_deref().unwrap_or("no column")
                ));
            }
        }
        compared += 1;
    }
    compared
}
