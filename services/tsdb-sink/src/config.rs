//! The service's configuration.

use crate::domain::table::Table;
use chassis::kafka::Secret;
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// Everything that can be set. Environment variables begin with `TSDB_SINK__`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Endpoints.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// Drain.
    pub shutdown: ShutdownConfig,
    /// Clients.
    pub kafka: KafkaConfig,
    /// Where rows go.
    pub database: DatabaseConfig,
    /// Topic names.
    pub topics: Topics,
    /// How records become transactions.
    pub sink: SinkConfig,
    /// How long rows are kept.
    pub retention: RetentionConfig,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// Milliseconds that one statement may take.
    pub statement_timeout_ms: u64,
    /// Milliseconds that a statement waits for a lock.
    pub lock_timeout_ms: u64,
    /// Days after which TimescaleDB compresses a chunk; 0 turns it off. Needs its Community licence.
    pub compress_after_days: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("postgres://postgres@127.0.0.1:5432/gpu_health"),
            statement_timeout_ms: 60_000,
            lock_timeout_ms: 5_000,
            compress_after_days: 2,
        }
    }
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Read into `gpu_metrics`.
    pub enriched: String,
    /// Read into `gpu_metrics_1min`.
    pub one_minute: String,
    /// Read into `gpu_metrics_15min`.
    pub fifteen_minutes: String,
    /// Read into `alerts`.
    pub alerts: String,
    /// Read into `health_scores`.
    pub health_scores: String,
    /// Written: what can't be stored.
    pub invalid: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            enriched: topic::ENRICHED.name.to_owned(),
            one_minute: topic::ONE_MINUTE.name.to_owned(),
            fifteen_minutes: topic::FIFTEEN_MINUTES.name.to_owned(),
            alerts: topic::ALERTS.name.to_owned(),
            health_scores: topic::HEALTH_SCORES.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
        }
    }
}

impl Topics {
    /// The topic that fills `table`.
    pub fn of(&self, table: Table) -> &str {
        match table {
            Table::Readings => &self.enriched,
            Table::OneMinute => &self.one_minute,
            Table::FifteenMinutes => &self.fifteen_minutes,
            Table::Alerts => &self.alerts,
            Table::Scores => &self.health_scores,
        }
    }

    /// The table that `topic` fills.
    pub fn table(&self, topic: &str) -> Option<Table> {
        Table::ALL
            .into_iter()
            .find(|table| self.of(*table) == topic)
    }
}

/// `[sink]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Consumers, each with a thread and a database connection of its own.
    pub writers: usize,
    /// Records in one transaction at most.
    pub max_records: usize,
    /// KiB in one transaction, about.
    pub max_kib: usize,
    /// Milliseconds until a transaction begins at the latest.
    pub max_wait_ms: u64,
    /// Milliseconds until it begins when nothing is left to read: a trickle shall not make a transaction a row.
    pub min_wait_ms: u64,
    /// KiB of fetched records that a writer holds ready.
    pub fetch_queue_kib: usize,
    /// What to do when retention removed records from a topic before they were stored.
    pub on_lost_input: LostInput,
}

/// What to do when the stored offset is below the log's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostInput {
    /// Leave the partition alone, be unready, and say how much is lost.
    Stop,
    /// Go on with the oldest record there is.
    Earliest,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            writers: 2,
            max_records: 10_000,
            max_kib: 8_192,
            max_wait_ms: 500,
            min_wait_ms: 100,
            fetch_queue_kib: 4_096,
            on_lost_input: LostInput::Stop,
        }
    }
}

impl SinkConfig {
    pub(crate) const fn max_bytes(&self) -> usize {
        self.max_kib * 1_024
    }

    pub(crate) const fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms)
    }

    pub(crate) const fn min_wait(&self) -> Duration {
        Duration::from_millis(self.min_wait_ms)
    }
}

/// `[retention]`: days of event time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Of `gpu_metrics`.
    pub readings_days: u32,
    /// Of `gpu_metrics_1min`.
    pub one_minute_days: u32,
    /// Of `gpu_metrics_15min`.
    pub fifteen_minutes_days: u32,
    /// Of `alerts`.
    pub alerts_days: u32,
    /// Of `health_scores`.
    pub health_scores_days: u32,
    /// Milliseconds between two looks at what is too old and what is needed next.
    pub check_interval_ms: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            readings_days: 7,
            one_minute_days: 30,
            fifteen_minutes_days: 90,
            alerts_days: 365,
            health_scores_days: 30,
            check_interval_ms: 600_000,
        }
    }
}

impl RetentionConfig {
    /// Days that rows of `table` are kept.
    pub const fn days(&self, table: Table) -> u32 {
        match table {
            Table::Readings => self.readings_days,
            Table::OneMinute => self.one_minute_days,
            Table::FifteenMinutes => self.fifteen_minutes_days,
            Table::Alerts => self.alerts_days,
            Table::Scores => self.health_scores_days,
        }
    }

    pub(crate) const fn check_interval(&self) -> Duration {
        Duration::from_millis(self.check_interval_ms)
    }
}

impl chassis::ServiceConfig for Config {
    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn shutdown(&self) -> &ShutdownConfig {
        &self.shutdown
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        self.kafka.validate("kafka")?;
        // The parser's message may hold the URL, and with it the password.
        if PgConnectOptions::from_str(self.database.url.expose()).is_err() {
            return Err(InvalidConfig::new(
                "database.url",
                "must be like postgres://user:password@host:port/database",
            ));
        }
        let within = |key: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(InvalidConfig::new(
                    key,
                    format!("must be {least} to {most}"),
                ))
            }
        };
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let (database, sink, retention) = (&self.database, &self.sink, &self.retention);
        within(
            "database.statement_timeout_ms",
            database.statement_timeout_ms,
            1_000,
            600_000,
        )?;
        within(
            "database.lock_timeout_ms",
            database.lock_timeout_ms,
            100,
            600_000,
        )?;
        within("sink.writers", size(sink.writers), 1, 64)?;
        within("sink.max_records", size(sink.max_records), 1, 1_000_000)?;
        within("sink.max_kib", size(sink.max_kib), 64, 262_144)?;
        within("sink.max_wait_ms", sink.max_wait_ms, 1, 60_000)?;
        within("sink.min_wait_ms", sink.min_wait_ms, 0, sink.max_wait_ms)?;
        within(
            "sink.fetch_queue_kib",
            size(sink.fetch_queue_kib),
            256,
            1_048_576,
        )?;
        for (key, days) in [
            ("readings_days", retention.readings_days),
            ("one_minute_days", retention.one_minute_days),
            ("fifteen_minutes_days", retention.fifteen_minutes_days),
            ("alerts_days", retention.alerts_days),
            ("health_scores_days", retention.health_scores_days),
        ] {
            within(&format!("retention.{key}"), days.into(), 1, MAX_DAYS)?;
        }
        within(
            "retention.check_interval_ms",
            retention.check_interval_ms,
            100,
            86_400_000,
        )?;
        let topics = &self.topics;
        let mut names = BTreeSet::new();
        for (key, name) in [
            ("enriched", &topics.enriched),
            ("one_minute", &topics.one_minute),
            ("fifteen_minutes", &topics.fifteen_minutes),
            ("alerts", &topics.alerts),
            ("health_scores", &topics.health_scores),
            ("invalid", &topics.invalid),
        ] {
            if name.trim().is_empty() || !names.insert(name) {
                let key = format!("topics.{key}");
                return Err(InvalidConfig::new(key, "must name a topic of its own"));
            }
        }
        Ok(())
    }
}

/// A hundred years: beyond it arithmetic on times would need care for nobody's sake.
const MAX_DAYS: u64 = 36_500;

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::ServiceConfig;

    #[test]
    fn defaults_are_valid_and_what_is_not_is_named() {
        Config::default().validate().unwrap();
        let key = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(
            key(|c| c.database.url = Secret::new("mysql//x")),
            "database.url"
        );
        assert_eq!(key(|c| c.sink.writers = 0), "sink.writers");
        assert_eq!(key(|c| c.sink.min_wait_ms = 501), "sink.min_wait_ms");
        assert_eq!(
            key(|c| c.retention.alerts_days = 0),
            "retention.alerts_days"
        );
        assert_eq!(key(|c| c.topics.alerts.clear()), "topics.alerts");
        assert_eq!(
            key(|c| c.topics.invalid = c.topics.alerts.clone()),
            "topics.invalid"
        );
        assert_eq!(
            key(|c| c.kafka.bootstrap_servers.clear()),
            "kafka.bootstrap_servers"
        );
    }

    #[test]
    fn a_database_password_is_neither_shown_nor_told() {
        let mut config = Config::default();
        config.database.url = Secret::new("postgres://u:hunter2@h:port/d");
        let told = format!("{config:?} {}", config.validate().unwrap_err());
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn each_topic_fills_one_table() {
        let topics = Topics::default();
        for table in Table::ALL {
            assert_eq!(topics.table(topics.of(table)), Some(table));
        }
        assert_eq!(topics.table(&topics.invalid), None);
    }
}
