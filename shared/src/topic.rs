//! The topic catalogue: every topic of the pipeline, declared once.
//!
//! The local stack, the tests and the Kubernetes manifests are rendered from it. Every topic uses log-append time: with
//! create time, retention would delete what a replay of old data has just written.

const DAY_MS: i64 = 86_400_000;

/// One topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// Partitions. Fixed: state and order are tied to it, so that growing means a new generation of topics.
    pub partitions: i32,
    /// How long records are kept; none means for ever.
    pub retention_ms: Option<i64>,
    /// Compression on the broker.
    pub compression: Compression,
    /// What happens to old records.
    pub cleanup: Cleanup,
    /// What the key is.
    pub key: &'static str,
    /// What the value is.
    pub value: &'static str,
    /// The service that writes it.
    pub writer: &'static str,
    /// The services that read it.
    pub readers: &'static [&'static str],
}

/// `compression.type` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// Whatever the producer chose.
    Producer,
}

/// `cleanup.policy` of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Old segments go.
    Delete,
    /// The last record of each key stays.
    Compact,
}

impl Topic {
    /// Replicas in production.
    pub const REPLICATION_FACTOR: i32 = 3;
    /// Replicas that must have a record before it is acknowledged, in production.
    pub const MIN_INSYNC_REPLICAS: i32 = 2;

    /// The topic's settings as Kafka names them, but for the number of replicas and `min.insync.replicas`.
    pub fn config(&self) -> Vec<(&'static str, String)> {
        let mut config = vec![
            (
                "cleanup.policy",
                match self.cleanup {
                    Cleanup::Delete => "delete",
                    Cleanup::Compact => "compact",
                }
                .to_owned(),
            ),
            (
                "compression.type",
                match self.compression {
                    Compression::Snappy => "snappy",
                    Compression::Lz4 => "lz4",
                    Compression::Producer => "producer",
                }
                .to_owned(),
            ),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("retention.ms", self.retention_ms.unwrap_or(-1).to_string()),
        ];
        match self.cleanup {
            Cleanup::Delete => config.push(("segment.ms", DAY_MS.to_string())),
            // The active segment is never compacted: keep it short, or a restore reads many times the live state.
            Cleanup::Compact => config.extend([
                ("max.compaction.lag.ms", "600000".to_owned()),
                ("min.cleanable.dirty.ratio", "0.1".to_owned()),
                ("segment.bytes", (64 * 1024 * 1024).to_string()),
                ("segment.ms", "60000".to_owned()),
            ]),
        }
        config.sort_unstable();
        config
    }
}

macro_rules! catalogue {
    ($( $(#[$doc:meta])* $constant:ident = $name:literal { partitions: $partitions:literal, days: $days:expr, compression: $compression:ident, cleanup: $cleanup:ident, key: $key:literal, value: $value:literal, writer: $writer:literal, readers: $readers:expr } )*) => {
        $(
            $(#[$doc])*
            pub const $constant: Topic = Topic {
                name: $name,
                partitions: $partitions,
                retention_ms: match $days { Some(days) => { let days: i64 = days; Some(days * DAY_MS) } None => None },
                compression: Compression::$compression,
                cleanup: Cleanup::$cleanup,
                key: $key,
                value: $value,
                writer: $writer,
                readers: &$readers,
            };
        )*

        /// Every topic that the services share; their changelogs are in [`CHANGELOGS`].
        pub const CATALOGUE: &[Topic] = &[$($constant),*];
    };
}

catalogue! {
    /// Raw telemetry.
    RAW = "gpu-metrics-raw" { partitions: 32, days: Some(7), compression: Snappy, cleanup: Delete, key: "GPU UUID", value: "MetricEvent", writer: "collector", readers: ["validator"] }
    /// Valid telemetry, and ticks.
    VALIDATED = "gpu-metrics-validated" { partitions: 32, days: Some(7), compression: Snappy, cleanup: Delete, key: "GPU UUID, null for a tick", value: "ValidatedEvent or Tick", writer: "validator", readers: ["enricher"] }
    /// Telemetry joined with assets, and ticks.
    ENRICHED = "gpu-metrics-enriched" { partitions: 32, days: Some(7), compression: Snappy, cleanup: Delete, key: "GPU UUID, null for a tick", value: "EnrichedEvent or Tick", writer: "enricher", readers: ["aggregator", "anomaly-detector", "health-scorer", "tsdb-sink"] }
    /// One-minute windows.
    ONE_MINUTE = "gpu-metrics-1min" { partitions: 16, days: Some(30), compression: Lz4, cleanup: Delete, key: "GPU UUID", value: "WindowAggregate", writer: "aggregator", readers: ["tsdb-sink"] }
    /// Fifteen-minute windows.
    FIFTEEN_MINUTES = "gpu-metrics-15min" { partitions: 8, days: Some(90), compression: Lz4, cleanup: Delete, key: "GPU UUID", value: "WindowAggregate", writer: "aggregator", readers: ["tsdb-sink"] }
    /// Dead letters of every stage.
    INVALID = "gpu-metrics-invalid" { partitions: 8, days: Some(7), compression: Snappy, cleanup: Delete, key: "the original's key", value: "DeadLetter", writer: "validator and the later stages", readers: [] }
    /// Alerts.
    ALERTS = "gpu-alerts" { partitions: 8, days: Some(90), compression: Snappy, cleanup: Delete, key: "GPU UUID", value: "Alert", writer: "anomaly-detector", readers: ["tsdb-sink"] }
    /// Critical alerts once more.
    CRITICAL = "gpu-critical" { partitions: 4, days: Some(365), compression: Snappy, cleanup: Delete, key: "GPU UUID", value: "Alert", writer: "anomaly-detector", readers: [] }
    /// Health scores.
    HEALTH_SCORES = "gpu-health-scores" { partitions: 16, days: Some(30), compression: Snappy, cleanup: Delete, key: "GPU UUID", value: "HealthScore", writer: "health-scorer", readers: ["tsdb-sink"] }
    /// Failure predictions; a later service writes them.
    FAILURE_PREDICTIONS = "gpu-failure-predictions" { partitions: 8, days: Some(90), compression: Snappy, cleanup: Delete, key: "GPU UUID", value: "reserved", writer: "reserved", readers: [] }
    /// Assets.
    ASSETS = "gpu-assets" { partitions: 16, days: None, compression: Snappy, cleanup: Compact, key: "GPU UUID", value: "Asset, null to delete", writer: "asset-lookup", readers: ["enricher"] }
    /// External happenings (maintenance, workloads); a later service writes them.
    EVENTS = "gpu-events" { partitions: 16, days: Some(30), compression: Snappy, cleanup: Delete, key: "GPU UUID or hostname", value: "reserved", writer: "reserved", readers: [] }
}

macro_rules! changelog {
    ($name:literal of $service:literal, $partitions:expr) => {
        Topic {
            name: $name,
            partitions: $partitions,
            retention_ms: None,
            compression: Compression::Producer,
            cleanup: Cleanup::Compact,
            key: "the service's own",
            value: "the service's own",
            writer: $service,
            readers: &[$service],
        }
    };
}

/// The validator's state: the last record of each GPU. As many partitions as its input, like every changelog.
pub const VALIDATOR_CHANGELOG: Topic =
    changelog!("validator-changelog" of "validator", RAW.partitions);
/// The aggregator's state: open windows.
pub const AGGREGATOR_CHANGELOG: Topic =
    changelog!("aggregator-changelog" of "aggregator", ENRICHED.partitions);
/// The anomaly-detector's state: detectors and alerts of each GPU.
pub const ANOMALY_DETECTOR_CHANGELOG: Topic =
    changelog!("anomaly-detector-changelog" of "anomaly-detector", ENRICHED.partitions);
/// The health-scorer's state: the ledger of each GPU.
pub const HEALTH_SCORER_CHANGELOG: Topic =
    changelog!("health-scorer-changelog" of "health-scorer", ENRICHED.partitions);
/// The auditor's state: one record, and one partition for it.
pub const AUDITOR_CHANGELOG: Topic = changelog!("auditor-changelog" of "auditor", 1);

/// The compacted topics that hold the services' state.
pub const CHANGELOGS: &[Topic] = &[
    VALIDATOR_CHANGELOG,
    AGGREGATOR_CHANGELOG,
    ANOMALY_DETECTOR_CHANGELOG,
    HEALTH_SCORER_CHANGELOG,
    AUDITOR_CHANGELOG,
];

/// The header of a raw record that was copied for a replay: the original's append time, milliseconds since the epoch as
/// decimal text. Where it is present it takes the place of the copy's own append time.
pub const ORIGINAL_APPEND_TIME: &str = "original-append-time";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_the_briefs() {
        let rows: Vec<_> = CATALOGUE
            .iter()
            .map(|t| (t.name, t.partitions, t.retention_ms.map(|ms| ms / DAY_MS)))
            .collect();
        assert_eq!(
            rows,
            [
                ("gpu-metrics-raw", 32, Some(7)),
                ("gpu-metrics-validated", 32, Some(7)),
                ("gpu-metrics-enriched", 32, Some(7)),
                ("gpu-metrics-1min", 16, Some(30)),
                ("gpu-metrics-15min", 8, Some(90)),
                ("gpu-metrics-invalid", 8, Some(7)),
                ("gpu-alerts", 8, Some(90)),
                ("gpu-critical", 4, Some(365)),
                ("gpu-health-scores", 16, Some(30)),
                ("gpu-failure-predictions", 8, Some(90)),
                ("gpu-assets", 16, None),
                ("gpu-events", 16, Some(30)),
            ]
        );
    }

    #[test]
    fn partition_counts_divide_those_upstream() {
        for topic in CATALOGUE.iter().chain(CHANGELOGS) {
            assert_eq!(RAW.partitions % topic.partitions, 0, "{}", topic.name);
        }
    }
}
