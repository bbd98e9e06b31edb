//! The service's configuration: defaults, then a file, then the environment.

use crate::domain::target::{Defaults, Target, TargetLabels, from_config};
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, ServiceConfig, ShutdownConfig};
use serde::Deserialize;
use std::path::PathBuf;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[topics]`
    pub topics: TopicsConfig,
    /// Endpoints: `host:9400`, or `http://host:9400/metrics`.
    #[serde(deserialize_with = "chassis::comma_separated")]
    pub targets: Vec<String>,
    /// A file in the format of Prometheus's file-based service discovery; read again when it changes.
    pub targets_file: Option<PathBuf>,
    /// `[scrape]`
    pub scrape: ScrapeConfig,
    /// `[labels]`
    pub labels: LabelsConfig,
    /// `[shard]`
    pub shard: ShardConfig,
    /// `[buffer]`
    pub buffer: BufferConfig,
}

/// The topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Where records go.
    pub raw: String,
    /// How many partitions it must have: the order of a GPU's records hangs on it.
    pub raw_partitions: i32,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            raw: schema::topic::RAW.name.to_owned(),
            raw_partitions: schema::topic::RAW.partitions,
        }
    }
}

/// How endpoints are asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// Milliseconds between two scrapes of a target.
    pub interval_ms: u64,
    /// Milliseconds until a scrape is given up. Not longer than the interval.
    pub timeout_ms: u64,
    /// Scrapes under way at once, of targets that answered last time.
    pub concurrency: usize,
    /// Scrapes under way at once, of targets that did not. They never wait for each other: one that finds no place is
    /// skipped until its next turn.
    pub suspect_concurrency: usize,
    /// The longest answer in bytes.
    pub max_body_bytes: usize,
    /// Milliseconds between two looks at the targets file.
    pub targets_file_poll_ms: u64,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            interval_ms: 10_000,
            timeout_ms: 5_000,
            concurrency: 512,
            suspect_concurrency: 64,
            max_body_bytes: 16 * 1024 * 1024,
            targets_file_poll_ms: 5_000,
        }
    }
}

/// Where the targets stand, unless a target says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsConfig {
    /// Cluster.
    pub cluster: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Datacenter.
    pub datacenter: Option<String>,
}

/// Which part of the targets is this instance's.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShardConfig {
    /// This instance, from 0.
    pub index: u32,
    /// Instances.
    pub count: u32,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

/// What is kept while Kafka does not take records.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferConfig {
    /// The most records that wait.
    pub max_records: usize,
    /// The most bytes that wait.
    pub max_bytes: usize,
    /// The most records that were given to the Kafka client and are not acknowledged; they wait besides.
    pub max_in_flight: usize,
    /// Milliseconds without an acknowledgement, while records wait, until the service is unready.
    pub unready_after_ms: u64,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            max_records: 100_000,
            max_bytes: 256 * 1024 * 1024,
            max_in_flight: 10_000,
            unready_after_ms: 10_000,
        }
    }
}

impl Config {
    /// What a target has unless it says otherwise.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            interval_ms: self.scrape.interval_ms,
            timeout_ms: self.scrape.timeout_ms,
            labels: TargetLabels {
                cluster: self.labels.cluster.clone(),
                rack: self.labels.rack.clone(),
                datacenter: self.labels.datacenter.clone(),
                ..TargetLabels::default()
            },
        }
    }

    /// The targets that the configuration itself names.
    pub fn listed_targets(&self) -> Result<Vec<Target>, InvalidConfig> {
        let defaults = self.defaults();
        self.targets
            .iter()
            .map(|text| {
                from_config(text, &defaults).map_err(|reason| InvalidConfig::new("targets", reason))
            })
            .collect()
    }
}

impl ServiceConfig for Config {
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
        let invalid = |key: &str, reason: &str| Err(InvalidConfig::new(key, reason));
        self.kafka.validate("kafka")?;
        self.listed_targets()?;
        if self.targets.is_empty() && self.targets_file.is_none() {
            return invalid(
                "targets",
                "or targets_file must name the endpoints to scrape",
            );
        }
        for (key, value) in [
            ("scrape.interval_ms", self.scrape.interval_ms),
            ("scrape.timeout_ms", self.scrape.timeout_ms),
            (
                "scrape.targets_file_poll_ms",
                self.scrape.targets_file_poll_ms,
            ),
            ("scrape.concurrency", self.scrape.concurrency as u64),
            (
                "scrape.suspect_concurrency",
                self.scrape.suspect_concurrency as u64,
            ),
            ("scrape.max_body_bytes", self.scrape.max_body_bytes as u64),
            ("buffer.max_records", self.buffer.max_records as u64),
            ("buffer.max_bytes", self.buffer.max_bytes as u64),
            ("buffer.max_in_flight", self.buffer.max_in_flight as u64),
            ("buffer.unready_after_ms", self.buffer.unready_after_ms),
        ] {
            if value == 0 {
                return invalid(key, "must be above 0");
            }
        }
        if self.scrape.timeout_ms > self.scrape.interval_ms {
            return invalid("scrape.timeout_ms", "must not be above scrape.interval_ms");
        }
        if self.topics.raw_partitions < 1 {
            return invalid("topics.raw_partitions", "must be at least 1");
        }
        if self.shard.count == 0 {
            return invalid("shard.count", "must be at least 1");
        }
        if self.shard.index >= self.shard.count {
            return invalid("shard.index", "must be below shard.count");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        Config {
            targets: vec!["node:9400".to_owned()],
            ..Config::default()
        }
    }

    #[test]
    fn the_default_needs_only_targets() {
        assert_eq!(valid().validate(), Ok(()));
        assert_eq!(Config::default().validate().unwrap_err().key, "targets");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |change: fn(&mut Config)| {
            let mut config = valid();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(key(|c| c.targets = vec!["nowhere:x".to_owned()]), "targets");
        assert_eq!(key(|c| c.scrape.timeout_ms = 10_001), "scrape.timeout_ms");
        assert_eq!(key(|c| c.scrape.concurrency = 0), "scrape.concurrency");
        assert_eq!(key(|c| c.shard.index = 1), "shard.index");
        assert_eq!(key(|c| c.buffer.max_bytes = 0), "buffer.max_bytes");
        assert_eq!(
            key(|c| c.topics.raw_partitions = 0),
            "topics.raw_partitions"
        );
        assert_eq!(
            key(|c| c.kafka.bootstrap_servers = String::new()),
            "kafka.bootstrap_servers"
        );
    }
}
