//! The service's configuration.

use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, PipelineConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;

/// Everything that can be set. Environment variables begin with `ENRICHER__`.
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
    /// The loop.
    pub pipeline: PipelineConfig,
    /// Topic names.
    pub topics: Topics,
    /// Limits.
    pub limits: Limits,
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Read.
    pub validated: String,
    /// Looked up.
    pub assets: String,
    /// Written.
    pub enriched: String,
    /// Written: dead letters.
    pub invalid: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            validated: topic::VALIDATED.name.to_owned(),
            assets: topic::ASSETS.name.to_owned(),
            enriched: topic::ENRICHED.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most bytes of key and value together that may be written; a record that would grow past it becomes a dead
    /// letter. Not above the producer's `message.max.bytes`.
    pub max_record_bytes: usize,
}

/// librdkafka's default `message.max.bytes`.
const DEFAULT_MAX_RECORD_BYTES: usize = 1_000_000;
/// A dead letter holds up to 512 KiB of original as base64; below this it might not fit itself.
const LEAST_MAX_RECORD_BYTES: usize = 800_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
        }
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
        self.pipeline.validate("pipeline")?;
        let Topics {
            validated,
            assets,
            enriched,
            invalid,
        } = &self.topics;
        for (key, name) in [
            ("topics.validated", validated),
            ("topics.assets", assets),
            ("topics.enriched", enriched),
            ("topics.invalid", invalid),
        ] {
            if name.trim().is_empty() {
                return Err(InvalidConfig::new(key, "must name a topic"));
            }
        }
        if enriched == validated {
            return Err(InvalidConfig::new(
                "topics.enriched",
                "must differ from topics.validated, or the service reads what it writes",
            ));
        }
        if self.limits.max_record_bytes < LEAST_MAX_RECORD_BYTES {
            return Err(InvalidConfig::new(
                "limits.max_record_bytes",
                format!("must be at least {LEAST_MAX_RECORD_BYTES}, so that a dead letter fits"),
            ));
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
        assert_eq!(key(|c| c.topics.assets.clear()), "topics.assets");
        assert_eq!(
            key(|c| c.topics.enriched = c.topics.validated.clone()),
            "topics.enriched"
        );
        assert_eq!(
            key(|c| c.limits.max_record_bytes = 1),
            "limits.max_record_bytes"
        );
        assert_eq!(key(|c| c.pipeline.workers = 0), "pipeline.workers");
    }
}
