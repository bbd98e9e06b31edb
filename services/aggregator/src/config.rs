//! The service's configuration: defaults, then a file, then the environment.

use crate::domain::window::Windows;
use chassis::eos::Topology;
use chassis::{
    HttpConfig, InvalidConfig, KafkaConfig, LogConfig, PipelineConfig, ServiceConfig,
    ShutdownConfig,
};
use schema::topic;
use serde::Deserialize;

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
    /// `[pipeline]`
    pub pipeline: PipelineConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[topics]`
    pub topics: TopicsConfig,
    /// `[windows]`
    pub windows: WindowsConfig,
}

/// Topic names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Enriched readings and ticks are read from here.
    pub enriched: String,
    /// One-minute windows go here.
    pub one_minute: String,
    /// Fifteen-minute windows go here.
    pub fifteen_minutes: String,
    /// Dead letters go here.
    pub invalid: String,
    /// State.
    pub changelog: String,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            enriched: topic::ENRICHED.name.to_owned(),
            one_minute: topic::ONE_MINUTE.name.to_owned(),
            fifteen_minutes: topic::FIFTEEN_MINUTES.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
            changelog: topic::AGGREGATOR_CHANGELOG.name.to_owned(),
        }
    }
}

/// How windows close. See [`Windows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowsConfig {
    /// A window closes when stream time is this far past its end.
    pub grace_ms: i64,
    /// A closed window is corrected by late records for this long after it closed.
    pub correction_horizon_ms: i64,
    /// A reading further back than this, by event time, is no predecessor.
    pub forget_after_ms: i64,
}

impl Default for WindowsConfig {
    fn default() -> Self {
        let Windows {
            grace_ms,
            correction_horizon_ms,
            forget_after_ms,
        } = Windows::default();
        Self {
            grace_ms,
            correction_horizon_ms,
            forget_after_ms,
        }
    }
}

impl WindowsConfig {
    /// What it says.
    pub const fn windows(&self) -> Windows {
        Windows {
            grace_ms: self.grace_ms,
            correction_horizon_ms: self.correction_horizon_ms,
            forget_after_ms: self.forget_after_ms,
        }
    }
}

impl Config {
    /// The topics that it names, in the order of [`crate::stage`]'s outputs.
    pub fn topology(&self) -> Topology {
        let topics = self.topics.clone();
        Topology {
            input: topics.enriched,
            outputs: vec![topics.one_minute, topics.fifteen_minutes, topics.invalid],
            changelog: Some(topics.changelog),
            table: None,
        }
    }
}

/// A day: readings are kept in memory for as long as they can be corrected.
const LONGEST_WAIT_MS: i64 = 86_400_000;
/// A year.
const LONGEST_MEMORY_MS: i64 = 31_536_000_000;

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
        self.kafka.validate("kafka")?;
        self.pipeline.validate("pipeline")?;
        let topics = &self.topics;
        for (key, name) in [
            ("topics.enriched", &topics.enriched),
            ("topics.one_minute", &topics.one_minute),
            ("topics.fifteen_minutes", &topics.fifteen_minutes),
            ("topics.invalid", &topics.invalid),
            ("topics.changelog", &topics.changelog),
        ] {
            if name.is_empty() {
                return Err(InvalidConfig::new(key, "must name a topic"));
            }
        }
        let windows = &self.windows;
        for (key, value, least, most) in [
            ("windows.grace_ms", windows.grace_ms, 0, LONGEST_WAIT_MS),
            (
                "windows.correction_horizon_ms",
                windows.correction_horizon_ms,
                0,
                LONGEST_WAIT_MS,
            ),
            (
                "windows.forget_after_ms",
                windows.forget_after_ms,
                1,
                LONGEST_MEMORY_MS,
            ),
        ] {
            if !(least..=most).contains(&value) {
                return Err(InvalidConfig::new(
                    key,
                    format!("must be {least} to {most}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_defaults_are_valid_and_are_the_catalogues_topics() {
        let config = config(json!({}));
        config.validate().unwrap();
        assert_eq!(config.windows.windows(), Windows::default());
        let topology = config.topology();
        assert_eq!(topology.input, "gpu-metrics-enriched");
        assert_eq!(
            topology.outputs,
            [
                "gpu-metrics-1min",
                "gpu-metrics-15min",
                "gpu-metrics-invalid"
            ]
        );
        assert_eq!(topology.changelog.as_deref(), Some("aggregator-changelog"));
    }

    #[test]
    fn what_will_not_do_is_named_by_its_key() {
        for (value, key) in [
            (json!({"windows": {"grace_ms": -1}}), "windows.grace_ms"),
            (
                json!({"windows": {"correction_horizon_ms": 86_400_001}}),
                "windows.correction_horizon_ms",
            ),
            (
                json!({"windows": {"forget_after_ms": 0}}),
                "windows.forget_after_ms",
            ),
            (json!({"topics": {"enriched": ""}}), "topics.enriched"),
            (json!({"topics": {"changelog": ""}}), "topics.changelog"),
        ] {
            let invalid = config(value).validate().unwrap_err();
            assert_eq!(invalid.key, key, "{invalid}");
            assert_eq!(invalid.to_string().lines().count(), 1);
        }
        assert!(serde_json::from_value::<Config>(json!({"windows": {"grace": 1}})).is_err());
    }
}
