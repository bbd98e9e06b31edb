//! The service's configuration.

use crate::domain::audit::{Limits, Start};
use crate::domain::pipeline::{STAGES, TOPICS};
use chassis::kafka::Secret;
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// Everything that can be set. Environment variables begin with `AUDITOR__`.
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
    /// Where the sink's tables are.
    pub database: DatabaseConfig,
    /// Topic names.
    pub topics: Topics,
    /// The stages' consumer groups.
    pub groups: Groups,
    /// How topics are audited.
    pub audit: AuditConfig,
    /// How the sink's tables are audited.
    pub sink: SinkConfig,
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`; without it the tables are not audited.
    pub url: Option<Secret>,
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// What the validator reads.
    pub raw: String,
    /// What the enricher reads.
    pub validated: String,
    /// What the folding stages and the sink read.
    pub enriched: String,
    /// Dead letters.
    pub invalid: String,
    /// One-minute windows.
    pub one_minute: String,
    /// Fifteen-minute windows.
    pub fifteen_minutes: String,
    /// Alerts.
    pub alerts: String,
    /// Critical alerts.
    pub critical: String,
    /// Health scores.
    pub health_scores: String,
    /// Written: this service's state.
    pub changelog: String,
}

impl Default for Topics {
    fn default() -> Self {
        let name = |topic: topic::Topic| topic.name.to_owned();
        Self {
            raw: name(topic::RAW),
            validated: name(topic::VALIDATED),
            enriched: name(topic::ENRICHED),
            invalid: name(topic::INVALID),
            one_minute: name(topic::ONE_MINUTE),
            fifteen_minutes: name(topic::FIFTEEN_MINUTES),
            alerts: name(topic::ALERTS),
            critical: name(topic::CRITICAL),
            health_scores: name(topic::HEALTH_SCORES),
            changelog: name(topic::AUDITOR_CHANGELOG),
        }
    }
}

impl Topics {
    /// The audited topics, in the order of [`crate::domain::pipeline`].
    pub fn audited(&self) -> [&str; TOPICS] {
        [
            &self.raw,
            &self.validated,
            &self.enriched,
            &self.invalid,
            &self.one_minute,
            &self.fifteen_minutes,
            &self.alerts,
            &self.critical,
            &self.health_scores,
        ]
    }
}

/// `[groups]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    /// The validator's.
    pub validator: String,
    /// The enricher's.
    pub enricher: String,
    /// The aggregator's.
    pub aggregator: String,
    /// The anomaly-detector's.
    pub anomaly_detector: String,
    /// The health-scorer's.
    pub health_scorer: String,
}

impl Default for Groups {
    fn default() -> Self {
        let [
            validator,
            enricher,
            aggregator,
            anomaly_detector,
            health_scorer,
        ] = STAGES.map(|stage| stage.name.to_owned());
        Self {
            validator,
            enricher,
            aggregator,
            anomaly_detector,
            health_scorer,
        }
    }
}

impl Groups {
    /// By stage, in the order of [`STAGES`].
    pub fn by_stage(&self) -> [&str; STAGES.len()] {
        [
            &self.validator,
            &self.enricher,
            &self.aggregator,
            &self.anomaly_detector,
            &self.health_scorer,
        ]
    }
}

/// `[audit]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Where an audit without a past begins.
    pub start: StartAt,
    /// Milliseconds between two surveys.
    pub survey_interval_ms: u64,
    /// Milliseconds between two snapshots of the audit's state.
    pub snapshot_interval_ms: u64,
    /// Offsets of a partition that may wait for a stage; two bits each.
    pub max_pending_offsets: i64,
    /// Milliseconds for which a window, alert or score is remembered, to know it again.
    pub identity_horizon_ms: i64,
    /// KiB of fetched records that are held ready.
    pub fetch_queue_kib: usize,
    /// Findings that are logged in a minute; all are counted.
    pub max_findings_a_minute: u32,
}

/// Where an audit without a past begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// With what each stage does next.
    Committed,
    /// With the oldest records.
    Earliest,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            start: StartAt::Committed,
            survey_interval_ms: 1_000,
            snapshot_interval_ms: 5_000,
            max_pending_offsets: 4_194_304,
            identity_horizon_ms: 1_800_000,
            fetch_queue_kib: 16_384,
            max_findings_a_minute: 60,
        }
    }
}

impl AuditConfig {
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            pending: self.max_pending_offsets,
            identities_ms: self.identity_horizon_ms,
        }
    }

    pub(crate) const fn start(&self) -> Start {
        match self.start {
            StartAt::Committed => Start::Committed,
            StartAt::Earliest => Start::Earliest,
        }
    }
}

/// `[sink]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Milliseconds between two looks at the tables.
    pub interval_ms: u64,
    /// One record in so many is looked for in the tables, by its offset.
    pub sample_every: u32,
    /// Samples that may wait for the sink.
    pub max_samples: usize,
    /// Milliseconds of event time before now beyond which a record is not looked for: its row may have been dropped.
    pub max_age_ms: i64,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            interval_ms: 30_000,
            sample_every: 100,
            max_samples: 50_000,
            max_age_ms: 86_400_000,
        }
    }
}

impl SinkConfig {
    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

/// The keys of the audited topics, in their order.
const KEYS: [&str; TOPICS] = [
    "raw",
    "validated",
    "enriched",
    "invalid",
    "one_minute",
    "fifteen_minutes",
    "alerts",
    "critical",
    "health_scores",
];

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
        if let Some(url) = &self.database.url
            && PgConnectOptions::from_str(url.expose()).is_err()
        {
            return Err(InvalidConfig::new(
                "database.url",
                "must be like postgres://user:password@host:port/database",
            ));
        }
        let (audit, sink) = (&self.audit, &self.sink);
        let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        for (key, value, least, most) in [
            (
                "audit.survey_interval_ms",
                time(audit.survey_interval_ms),
                10,
                60_000,
            ),
            (
                "audit.snapshot_interval_ms",
                time(audit.snapshot_interval_ms),
                100,
                600_000,
            ),
            (
                "audit.max_pending_offsets",
                audit.max_pending_offsets,
                1_024,
                1 << 32,
            ),
            (
                "audit.identity_horizon_ms",
                audit.identity_horizon_ms,
                1_000,
                86_400_000,
            ),
            (
                "audit.fetch_queue_kib",
                size(audit.fetch_queue_kib),
                256,
                1_048_576,
            ),
            (
                "audit.max_findings_a_minute",
                audit.max_findings_a_minute.into(),
                1,
                100_000,
            ),
            ("sink.interval_ms", time(sink.interval_ms), 100, 3_600_000),
            ("sink.sample_every", sink.sample_every.into(), 1, 1_000_000),
            ("sink.max_samples", size(sink.max_samples), 100, 10_000_000),
            (
                "sink.max_age_ms",
                sink.max_age_ms,
                60_000,
                3_155_760_000_000,
            ),
        ] {
            if !(least..=most).contains(&value) {
                let reason = format!("must be {least} to {most}");
                return Err(InvalidConfig::new(key, reason));
            }
        }
        let groups = STAGES.iter().zip(self.groups.by_stage());
        if let Some((stage, _)) = groups
            .into_iter()
            .find(|(_, group)| group.trim().is_empty())
        {
            let key = format!("groups.{}", stage.name.replace('-', "_"));
            return Err(InvalidConfig::new(key, "must name a consumer group"));
        }
        let mut names = BTreeSet::new();
        let audited = KEYS.into_iter().zip(self.topics.audited());
        for (key, name) in audited.chain([("changelog", self.topics.changelog.as_str())]) {
            if name.trim().is_empty() || !names.insert(name) {
                let key = format!("topics.{key}");
                return Err(InvalidConfig::new(key, "must name a topic of its own"));
            }
        }
        Ok(())
    }
}

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
            key(|c| c.database.url = Some(Secret::new("mysql//x"))),
            "database.url"
        );
        assert_eq!(
            key(|c| c.audit.max_pending_offsets = 1),
            "audit.max_pending_offsets"
        );
        assert_eq!(key(|c| c.sink.sample_every = 0), "sink.sample_every");
        assert_eq!(
            key(|c| c.groups.anomaly_detector.clear()),
            "groups.anomaly_detector"
        );
        assert_eq!(key(|c| c.topics.alerts.clear()), "topics.alerts");
        assert_eq!(
            key(|c| c.topics.changelog = c.topics.raw.clone()),
            "topics.changelog"
        );
    }

    #[test]
    fn topics_are_in_the_pipelines_order() {
        use crate::domain::pipeline;
        let topics = Topics::default();
        let audited = topics.audited();
        assert_eq!(audited[pipeline::RAW], topic::RAW.name);
        assert_eq!(audited[pipeline::INVALID], topic::INVALID.name);
        assert_eq!(audited[pipeline::ONE_MINUTE], topic::ONE_MINUTE.name);
        assert_eq!(audited[pipeline::HEALTH_SCORES], topic::HEALTH_SCORES.name);
        for stage in STAGES {
            for topic in topic::CATALOGUE {
                let reads = topic.name == audited[stage.input];
                assert!(
                    !reads || topic.readers.contains(&stage.name),
                    "{}",
                    stage.name
                );
            }
        }
    }
}
