//! The service's configuration.

use crate::domain::limits::{
    Absence, Alerts, Ecc, Limits, Load, Nvlink, Pcie, Prediction, Thermal, Throttling, Xid,
};
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, PipelineConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;

/// Everything that can be set. Environment variables begin with `ANOMALY_DETECTOR__`.
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
    /// The runbook.
    pub runbook: Runbook,
    /// Noise.
    pub alerts: Alerts,
    /// Silent GPUs.
    pub absence: Absence,
    /// When a GPU is busy.
    pub load: Load,
    /// Memory errors.
    pub ecc: Ecc,
    /// Temperatures.
    pub thermal: Thermal,
    /// Clocks held down.
    pub throttling: Throttling,
    /// The link to the host.
    pub pcie: Pcie,
    /// Links between GPUs.
    pub nvlink: Nvlink,
    /// Faults that the driver names.
    pub xid: Xid,
    /// Lead indicators.
    pub prediction: Prediction,
}

impl Config {
    /// The thresholds, as the rules take them.
    pub fn limits(&self) -> Limits {
        Limits {
            alerts: self.alerts.clone(),
            absence: self.absence.clone(),
            load: self.load.clone(),
            ecc: self.ecc.clone(),
            thermal: self.thermal.clone(),
            throttling: self.throttling.clone(),
            pcie: self.pcie.clone(),
            nvlink: self.nvlink.clone(),
            xid: self.xid.clone(),
            prediction: self.prediction.clone(),
        }
    }
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Read.
    pub enriched: String,
    /// Written.
    pub alerts: String,
    /// Written: critical alerts once more.
    pub critical: String,
    /// Written: dead letters.
    pub invalid: String,
    /// State.
    pub changelog: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            enriched: topic::ENRICHED.name.to_owned(),
            alerts: topic::ALERTS.name.to_owned(),
            critical: topic::CRITICAL.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
            changelog: topic::ANOMALY_DETECTOR_CHANGELOG.name.to_owned(),
        }
    }
}

/// `[runbook]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runbook {
    /// Where the pages are: an alert's `runbook` is this, a slash, and the rule's name with `.md`.
    pub base: String,
}

impl Default for Runbook {
    fn default() -> Self {
        Self {
            base: "docs/runbook".to_owned(),
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
            enriched,
            alerts,
            critical,
            invalid,
            changelog,
        } = &self.topics;
        let topics = [
            ("topics.enriched", enriched),
            ("topics.alerts", alerts),
            ("topics.critical", critical),
            ("topics.invalid", invalid),
            ("topics.changelog", changelog),
        ];
        for (at, (key, name)) in topics.iter().enumerate() {
            if name.trim().is_empty() {
                return Err(InvalidConfig::new(*key, "must name a topic"));
            }
            if let Some((other, _)) = topics[..at].iter().find(|(_, before)| before == name) {
                return Err(InvalidConfig::new(
                    *key,
                    format!("must differ from {other}"),
                ));
            }
        }
        self.limits()
            .validate()
            .map_err(|invalid| InvalidConfig::new(invalid.key, invalid.reason))
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
        assert_eq!(key(|c| c.topics.critical.clear()), "topics.critical");
        assert_eq!(
            key(|c| c.topics.critical = c.topics.alerts.clone()),
            "topics.critical"
        );
        assert_eq!(key(|c| c.thermal.spike_z = 0.0), "thermal.spike_z");
        assert_eq!(key(|c| c.pipeline.workers = 0), "pipeline.workers");
    }

    #[test]
    fn every_threshold_can_be_set_at_the_path_that_the_manual_gives() {
        for key in Limits::keys() {
            let (section, name) = key.path.split_once('.').unwrap();
            let json = format!(r#"{{"{section}":{{"{name}":{}}}}}"#, key.default);
            let config: Config = serde_json::from_str(&json).unwrap();
            assert_eq!(config.limits(), Limits::default(), "{}", key.path);
        }
        assert!(serde_json::from_str::<Config>(r#"{"thermal":{"margin":1}}"#).is_err());
    }
}
