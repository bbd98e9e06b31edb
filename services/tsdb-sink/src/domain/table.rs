//! The tables: one for each topic that is read.

use schema::{METRICS, WindowSize};
use std::borrow::Cow;

/// A table of facts, and the topic that fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `gpu_metrics`: every enriched reading.
    Readings,
    /// `gpu_metrics_1min`
    OneMinute,
    /// `gpu_metrics_15min`
    FifteenMinutes,
    /// `alerts`: every record of an alert.
    Alerts,
    /// `health_scores`
    Scores,
}

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlType {
    /// `timestamptz`
    Time,
    /// `int4`
    Int4,
    /// `int8`
    Int8,
    /// `float8`
    Float8,
    /// `bool`
    Bool,
    /// `text`
    Text,
    /// `text[]`
    TextArray,
    /// `int4[]`
    Int4Array,
    /// `jsonb`
    Jsonb,
}

impl SqlType {
    /// Its name in `pg_type`, which DDL understands too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "timestamptz",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float8 => "float8",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::TextArray => "_text",
            Self::Int4Array => "_int4",
            Self::Jsonb => "jsonb",
        }
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether it must have a value. Only such columns can't be added later.
    pub not_null: bool,
}

/// Which of a window's statistics is a column of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Smallest value.
    Min,
    /// Arithmetic mean.
    Avg,
    /// Largest value.
    Max,
    /// 95th percentile.
    P95,
}

impl Statistic {
    /// The suffix of its column.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Avg => "avg",
            Self::Max => "max",
            Self::P95 => "p95",
        }
    }
}

/// The gauges of a window that are asked for most: columns of their own beside the JSON that holds them all. Their order
/// is that of `decode`'s `Headlines`.
pub const HEADLINES: [(&str, &[Statistic]); 5] = {
    use Statistic::{Avg, Max, Min, P95};
    [
        ("gpu_temp_c", &[Avg, Max, P95]),
        ("memory_temp_c", &[Avg, Max, P95]),
        ("power_usage_w", &[Avg, Max, P95]),
        ("sm_active_pct", &[Avg, P95]),
        ("sm_clock_mhz", &[Min, Avg]),
    ]
};

impl Table {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Readings,
        Self::OneMinute,
        Self::FifteenMinutes,
        Self::Alerts,
        Self::Scores,
    ];

    /// Its place in [`Table::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readings => "gpu_metrics",
            Self::OneMinute => "gpu_metrics_1min",
            Self::FifteenMinutes => "gpu_metrics_15min",
            Self::Alerts => "alerts",
            Self::Scores => "health_scores",
        }
    }

    /// The size of its windows.
    pub const fn window(self) -> Option<WindowSize> {
        match self {
            Self::OneMinute => Some(WindowSize::OneMinute),
            Self::FifteenMinutes => Some(WindowSize::FifteenMinutes),
            Self::Readings | Self::Alerts | Self::Scores => None,
        }
    }

    /// The column that it is partitioned by: event time.
    pub const fn time_column(self) -> &'static str {
        match self {
            Self::OneMinute | Self::FifteenMinutes => "window_start",
            Self::Readings | Self::Alerts | Self::Scores => "time",
        }
    }

    /// The primary key: what makes a second row of the same fact, from a replay, replace the first.
    pub const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Readings | Self::Scores => &["gpu_id", "time"],
            Self::OneMinute | Self::FifteenMinutes => &["gpu_id", "window_start"],
            Self::Alerts => &["alert_id", "time", "state"],
        }
    }

    /// The column whose higher value wins over a lower one, where the key is the same.
    pub const fn revision(self) -> Option<&'static str> {
        match self {
            Self::OneMinute | Self::FifteenMinutes => Some("revision"),
            Self::Readings | Self::Alerts | Self::Scores => None,
        }
    }

    /// Indexes beside the primary key: suffix of the name, columns.
    pub const fn indexes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Readings | Self::OneMinute | Self::FifteenMinutes => &[],
            Self::Alerts => &[("time", "time DESC"), ("gpu", "gpu_id, time DESC")],
            Self::Scores => &[("time", "time DESC")],
        }
    }

    /// Days that one partition (or chunk) holds.
    pub const fn partition_days(self) -> i64 {
        match self {
            Self::Readings | Self::OneMinute | Self::Scores => 1,
            Self::FifteenMinutes | Self::Alerts => 7,
        }
    }

    /// Its columns, in the order in which `decode` writes them.
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Readings => readings(),
            Self::OneMinute | Self::FifteenMinutes => windows(),
            Self::Alerts => alerts(),
            Self::Scores => scores(),
        }
    }
}

fn required(name: &'static str, sql_type: SqlType) -> Column {
    Column {
        name: Cow::Borrowed(name),
        sql_type,
        not_null: true,
    }
}

fn optional(name: impl Into<Cow<'static, str>>, sql_type: SqlType) -> Column {
    Column {
        name: name.into(),
        sql_type,
        not_null: false,
    }
}

fn readings() -> Vec<Column> {
    use SqlType::{Bool, Float8, Int4, Jsonb, Text, TextArray, Time};
    let mut columns = vec![
        required("time", Time),
        required("gpu_id", Int4),
        optional("ingested_at", Time),
    ];
    columns.extend(METRICS.iter().map(|metric| optional(metric.name, Float8)));
    columns.extend([
        optional("bank_remap_avail", Jsonb),
        optional("xid_counts", Jsonb),
        optional("quality_flags", TextArray),
        optional("stale", Bool),
        optional("namespace", Text),
        optional("pod", Text),
        optional("job_id", Text),
    ]);
    columns
}

fn windows() -> Vec<Column> {
    use SqlType::{Float8, Int4, Int4Array, Int8, Jsonb, Time};
    let mut columns = vec![
        required("window_start", Time),
        required("gpu_id", Int4),
        required("revision", Int4),
        required("count", Int8),
        optional("first_timestamp", Time),
        optional("last_timestamp", Time),
    ];
    for (metric, statistics) in HEADLINES {
        columns.extend(
            statistics
                .iter()
                .map(|statistic| optional(format!("{metric}_{}", statistic.suffix()), Float8)),
        );
    }
    columns.extend([
        optional("metrics", Jsonb),
        optional("counters", Jsonb),
        optional("throttle_reasons", Int8),
        optional("throttle_samples", Int8),
        optional("throttle_concern_samples", Int8),
        optional("xids", Int4Array),
    ]);
    columns
}

fn alerts() -> Vec<Column> {
    use SqlType::{Float8, Int4, Int8, Jsonb, Text, Time};
    vec![
        required("time", Time),
        required("gpu_id", Int4),
        required("alert_id", Text),
        required("state", Text),
        required("severity", Text),
        required("alert_type", Text),
        required("rule_id", Text),
        optional("fingerprint", Text),
        optional("first_seen", Time),
        optional("resolved_at", Time),
        optional("count", Int8),
        optional("metric_name", Text),
        optional("current_value", Float8),
        optional("threshold", Float8),
        optional("xid", Int8),
        optional("action_code", Text),
        optional("recommended_action", Text),
        optional("message", Text),
        optional("runbook", Text),
        optional("context", Jsonb),
    ]
}

fn scores() -> Vec<Column> {
    use SqlType::{Float8, Int4, Jsonb, Text, TextArray, Time};
    vec![
        required("time", Time),
        required("gpu_id", Int4),
        optional("overall_score", Float8),
        optional("memory_health", Float8),
        optional("thermal_health", Float8),
        optional("performance_health", Float8),
        optional("power_health", Float8),
        optional("reliability_health", Float8),
        required("health_grade", Text),
        required("state", Text),
        optional("confidence", Float8),
        optional("degradation_trend", Float8),
        optional("contributing_factors", TextArray),
        optional("factors", Jsonb),
        optional("scoring_version", Text),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_table_has_its_key_time_and_revision_among_columns_that_are_each_named_once() {
        for table in Table::ALL {
            assert_eq!(Table::ALL[table.index()], table);
            let columns = table.columns();
            let names: BTreeSet<&str> = columns.iter().map(|c| c.name.as_ref()).collect();
            assert_eq!(names.len(), columns.len(), "{table:?}");
            let mut needed = table.key().to_vec();
            needed.extend(table.revision());
            needed.extend([table.time_column(), "gpu_id"]);
            for name in needed {
                let column = columns.iter().find(|column| column.name == name).unwrap();
                assert!(column.not_null, "{table:?} {name}");
            }
            // A unique index of a partitioned table must hold the column that it is partitioned by.
            assert!(table.key().contains(&table.time_column()));
        }
    }

    #[test]
    fn every_metric_of_the_schema_is_a_column_and_every_headline_is_a_gauge() {
        let columns = Table::Readings.columns();
        for metric in METRICS {
            let column = columns.iter().find(|column| column.name == metric.name);
            assert_eq!(column.unwrap().sql_type, SqlType::Float8);
        }
        for (name, _) in HEADLINES {
            let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
            assert_eq!(metric.kind, schema::MetricKind::Gauge);
        }
    }
}
