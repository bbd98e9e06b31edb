//! The service's configuration.

use crate::domain::dimension::{Profile, Weights};
use crate::domain::factor::Factor;
use crate::domain::limits::Limits;
use crate::domain::rules::Rules;
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, PipelineConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Everything that can be set. Environment variables begin with `HEALTH_SCORER__`.
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
    /// Which set of weights.
    pub scoring: Scoring,
    /// Weights of our own.
    pub weights: WeightsConfig,
    /// What factors cost, by name.
    pub factors: BTreeMap<String, FactorConfig>,
    /// Thresholds.
    pub limits: Limits,
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Read.
    pub enriched: String,
    /// Written.
    pub health_scores: String,
    /// Written: dead letters.
    pub invalid: String,
    /// State.
    pub changelog: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            enriched: topic::ENRICHED.name.to_owned(),
            health_scores: topic::HEALTH_SCORES.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
            changelog: topic::HEALTH_SCORER_CHANGELOG.name.to_owned(),
        }
    }
}

/// `[scoring]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scoring {
    /// The weights that hold where `[weights]` says nothing.
    pub profile: Profile,
}

/// `[weights]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeightsConfig {
    /// ECC, row remapping, page retirement.
    pub memory: Option<f64>,
    /// Temperatures.
    pub thermal: Option<f64>,
    /// Clocks, PCIe.
    pub performance: Option<f64>,
    /// Power.
    pub power: Option<f64>,
    /// Xids, links, absence.
    pub reliability: Option<f64>,
}

/// `[factors.NAME]`: what differs from the table of factors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorConfig {
    /// Points for each occurrence, or while it holds.
    pub points: Option<f64>,
    /// Points for each unit of its value; only for a factor that has a slope.
    pub slope: Option<f64>,
    /// The most points.
    pub max_points: Option<f64>,
    /// Days; only for a factor that decays.
    pub half_life_days: Option<f64>,
    /// The most that the overall score may be while it holds, 100 for no cap; only for a factor that has one.
    pub cap: Option<f64>,
}

/// How far the sum of the weights may be from 1.
const WEIGHTS_TOLERANCE: f64 = 0.001;
const MAX_SLOPE: f64 = 10_000.0;
const HALF_LIFE_DAYS: (f64, f64) = (0.01, 3_650.0);

impl Config {
    /// What scores are computed by.
    pub fn rules(&self) -> Result<Rules, InvalidConfig> {
        let limits = self.limits.clone();
        limits
            .validate()
            .map_err(|bad| InvalidConfig::new(format!("limits.{}", bad.key), bad.reason))?;
        let mut rules = Rules::default();
        rules.weights = self.weights()?;
        rules.limits = limits;
        for (name, change) in &self.factors {
            let path = format!("factors.{name}");
            let factor = Factor::named(name)
                .ok_or_else(|| InvalidConfig::new(&path, "there is no factor with this name"))?;
            let rule = rules.of_mut(factor);
            within(&path, "points", change.points, (0.0, 100.0))?;
            within(&path, "max_points", change.max_points, (0.0, 100.0))?;
            within(&path, "slope", change.slope, (0.0, MAX_SLOPE))?;
            within(
                &path,
                "half_life_days",
                change.half_life_days,
                HALF_LIFE_DAYS,
            )?;
            within(&path, "cap", change.cap, (0.0, 100.0))?;
            rule.points = change.points.unwrap_or(rule.points);
            rule.max_points = change.max_points.unwrap_or(rule.max_points);
            replace(&path, "slope", &mut rule.slope, change.slope)?;
            replace(
                &path,
                "half_life_days",
                &mut rule.half_life_days,
                change.half_life_days,
            )?;
            replace(&path, "cap", &mut rule.cap, change.cap)?;
            if rule.points > rule.max_points {
                let reason = format!("must be at most max_points, which is {}", rule.max_points);
                return Err(InvalidConfig::new(format!("{path}.points"), reason));
            }
        }
        Ok(rules)
    }

    fn weights(&self) -> Result<Weights, InvalidConfig> {
        let own = &self.weights;
        let own = [
            ("memory", own.memory),
            ("thermal", own.thermal),
            ("performance", own.performance),
            ("power", own.power),
            ("reliability", own.reliability),
        ];
        let mut weights = self.scoring.profile.weights();
        for (weight, (name, own)) in weights.iter_mut().zip(own) {
            within("weights", name, own, (0.0, 1.0))?;
            *weight = own.unwrap_or(*weight);
        }
        let sum: f64 = weights.iter().sum();
        if (sum - 1.0).abs() > WEIGHTS_TOLERANCE {
            let reason = format!("must sum to 1, and sum to {sum:.3} with those of the profile");
            return Err(InvalidConfig::new("weights", reason));
        }
        Ok(weights)
    }
}

fn within(
    path: &str,
    key: &str,
    value: Option<f64>,
    range: (f64, f64),
) -> Result<(), InvalidConfig> {
    match value.filter(|value| !(range.0..=range.1).contains(value)) {
        None => Ok(()),
        Some(value) => {
            let reason = format!("must be {} to {}, is {value}", range.0, range.1);
            Err(InvalidConfig::new(format!("{path}.{key}"), reason))
        }
    }
}

fn replace(
    path: &str,
    key: &str,
    rule: &mut Option<f64>,
    own: Option<f64>,
) -> Result<(), InvalidConfig> {
    if own.is_some() && rule.is_none() {
        let reason = "this factor has none that could be changed";
        return Err(InvalidConfig::new(format!("{path}.{key}"), reason));
    }
    *rule = own.or(*rule);
    Ok(())
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
        let topics = &self.topics;
        let written = [
            ("topics.health_scores", &topics.health_scores),
            ("topics.invalid", &topics.invalid),
            ("topics.changelog", &topics.changelog),
        ];
        if topics.enriched.trim().is_empty() {
            return Err(InvalidConfig::new("topics.enriched", "must name a topic"));
        }
        for (key, name) in written {
            if name.trim().is_empty() {
                return Err(InvalidConfig::new(key, "must name a topic"));
            }
            if *name == topics.enriched {
                let reason =
                    "must differ from topics.enriched, or the service reads what it writes";
                return Err(InvalidConfig::new(key, reason));
            }
        }
        self.rules().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::ServiceConfig;

    #[test]
    fn defaults_are_the_rules_defaults() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.rules().unwrap(), Rules::default());
    }

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_profile_can_be_chosen_and_single_numbers_changed() {
        let rules = config(
            r#"{"scoring":{"profile":"evidence"},"factors":{"pcie_width":{"cap":100,"points":5},"double_bit_ecc":{"half_life_days":28}},"limits":{"thermal":{"margin_c":6}}}"#,
        )
        .rules()
        .unwrap();
        assert_eq!(
            format!("{:?}", rules.weights),
            "[0.35, 0.1, 0.15, 0.1, 0.3]"
        );
        assert_eq!(rules.of(Factor::PcieWidth).cap, Some(100.0));
        assert!((rules.of(Factor::PcieWidth).points - 5.0).abs() < f64::EPSILON);
        assert_eq!(rules.of(Factor::DoubleBitEcc).half_life_days, Some(28.0));
        assert!((rules.limits.thermal.margin_c - 6.0).abs() < f64::EPSILON);
        let shifted = config(r#"{"weights":{"memory":0.35,"thermal":0.2}}"#);
        let shifted = shifted.rules().unwrap().weights;
        assert_eq!(format!("{shifted:?}"), "[0.35, 0.2, 0.2, 0.15, 0.1]");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#"{"weights":{"memory":0.5}}"#, "weights"),
            (r#"{"weights":{"memory":0.302}}"#, "weights"),
            (r#"{"weights":{"power":-0.1}}"#, "weights.power"),
            (
                r#"{"factors":{"power_cv":{"points":1}}}"#,
                "factors.power_cv",
            ),
            (
                r#"{"factors":{"pcie_width":{"points":101}}}"#,
                "factors.pcie_width.points",
            ),
            (
                r#"{"factors":{"pcie_width":{"max_points":1}}}"#,
                "factors.pcie_width.points",
            ),
            (
                r#"{"factors":{"pcie_width":{"half_life_days":1}}}"#,
                "factors.pcie_width.half_life_days",
            ),
            (
                r#"{"factors":{"contained_ecc":{"half_life_days":0}}}"#,
                "factors.contained_ecc.half_life_days",
            ),
            (
                r#"{"factors":{"contained_ecc":{"cap":50}}}"#,
                "factors.contained_ecc.cap",
            ),
            (
                r#"{"factors":{"contained_ecc":{"slope":1}}}"#,
                "factors.contained_ecc.slope",
            ),
            (
                r#"{"limits":{"absence":{"intervals":1}}}"#,
                "limits.absence.intervals",
            ),
            (
                r#"{"limits":{"publish":{"change_points":0}}}"#,
                "limits.publish.change_points",
            ),
            (r#"{"topics":{"enriched":" "}}"#, "topics.enriched"),
            (
                r#"{"topics":{"invalid":"gpu-metrics-enriched"}}"#,
                "topics.invalid",
            ),
            (r#"{"pipeline":{"workers":0}}"#, "pipeline.workers"),
        ];
        for (json, key) in cases {
            assert_eq!(config(json).validate().unwrap_err().key, key, "{json}");
        }
        for unknown in [
            r#"{"limit":{}}"#,
            r#"{"limits":{"thermal":{"margin":1}}}"#,
            r#"{"scoring":{"profile":"best"}}"#,
        ] {
            assert!(
                serde_json::from_str::<Config>(unknown).is_err(),
                "{unknown}"
            );
        }
    }
}
