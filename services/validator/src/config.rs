//! The service's configuration: defaults, then a file, then the environment.

mod pipeline;

use crate::domain::limits::{
    self, CLOCK_HEADROOM, Limits, MODELS, Model, POWER_HEADROOM, Range, Ranges,
};
use chassis::eos::Topology;
use chassis::{
    HttpConfig, InvalidConfig, KafkaConfig, LogConfig, PipelineConfig, ServiceConfig,
    ShutdownConfig,
};
use schema::{metric_index, topic};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Everything that can be configured.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[http]`
    pub http: HttpConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[pipeline]`
    #[serde(deserialize_with = "pipeline::deserialize")]
    pub pipeline: PipelineConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[topics]`
    pub topics: TopicsConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[models.ID]`: added to the models that are built in.
    pub models: BTreeMap<String, ModelConfig>,
    /// `[duplicates]`
    pub duplicates: DuplicatesConfig,
    /// `[ticks]`
    pub ticks: TicksConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            log: LogConfig::default(),
            kafka: KafkaConfig::default(),
            pipeline: pipeline::default(),
            shutdown: ShutdownConfig::default(),
            topics: TopicsConfig::default(),
            limits: LimitsConfig::default(),
            models: BTreeMap::new(),
            duplicates: DuplicatesConfig::default(),
            ticks: TicksConfig::default(),
        }
    }
}

/// Topic names.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Raw records are read from here.
    pub raw: String,
    /// Valid ones go here.
    pub validated: String,
    /// Dead letters go here.
    pub invalid: String,
    /// State.
    pub changelog: String,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            raw: topic::RAW.name.to_owned(),
            validated: topic::VALIDATED.name.to_owned(),
            invalid: topic::INVALID.name.to_owned(),
            changelog: topic::VALIDATOR_CHANGELOG.name.to_owned(),
        }
    }
}

/// What a record must keep to.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The longest value that is looked into, in bytes.
    pub record_max_bytes: usize,
    /// Event time may be this far behind ingest time.
    pub too_old_after_ms: i64,
    /// Event time may be this far ahead of ingest time.
    pub future_tolerance_ms: i64,
    /// Event time further behind ingest time than this is late.
    pub late_after_ms: i64,
    /// Possible values, by metric; a record with another is invalid.
    pub ranges: BTreeMap<String, MinMax>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            record_max_bytes: 262_144,
            too_old_after_ms: 3_600_000,
            future_tolerance_ms: 300_000,
            late_after_ms: 60_000,
            ranges: BTreeMap::new(),
        }
    }
}

/// What is known of a model.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The words that `gpu.name` must have, in any order and case. May be left out for a model that is built in.
    #[serde(deserialize_with = "chassis::comma_separated")]
    pub words: Vec<String>,
    /// Expected values, by metric; a record with another gets the flag `out_of_range`.
    pub ranges: BTreeMap<String, MinMax>,
}

/// How repeats are told.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DuplicatesConfig {
    /// A GPU that is silent for this long, by stream time, is forgotten.
    pub forget_after_ms: i64,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        Self {
            forget_after_ms: 86_400_000,
        }
    }
}

/// How time goes on where no valid record comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicksConfig {
    /// How far a tick stays behind the clock, so that a record on its way is not overtaken.
    pub margin_ms: i64,
}

impl Default for TicksConfig {
    fn default() -> Self {
        Self { margin_ms: 5_000 }
    }
}

/// The least and the greatest value: `[0, 2000]`, or `"0..2000"` as the environment gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinMax(pub Range);

impl<'de> Deserialize<'de> for MinMax {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounds;

        impl<'de> Visitor<'de> for Bounds {
            type Value = MinMax;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[min, max] or \"min..max\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MinMax, E> {
                text.split_once("..")
                    .and_then(|(min, max)| {
                        Some(MinMax((min.trim().parse().ok()?, max.trim().parse().ok()?)))
                    })
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MinMax, A::Error> {
                let mut next = |place| {
                    seq.next_element::<f64>()?
                        .ok_or_else(|| de::Error::invalid_length(place, &"[min, max]"))
                };
                let bounds = MinMax((next(0)?, next(1)?));
                match seq.next_element::<f64>()? {
                    None => Ok(bounds),
                    Some(_) => Err(de::Error::invalid_length(3, &"[min, max]")),
                }
            }
        }

        deserializer.deserialize_any(Bounds)
    }
}

/// The most that `limits.record_max_bytes` can be: what is added must still fit into a record of 1,000,000 bytes, the
/// producer's `message.max.bytes`.
const RECORD_MAX_BYTES: usize = 950_000;

impl Config {
    /// The limits that it sets; an error names the key.
    pub fn limits(&self) -> Result<Limits, InvalidConfig> {
        let mut general = limits::general_ranges();
        set_ranges(&mut general, &self.limits.ranges, "limits.ranges", None)?;
        let limits = Limits {
            record_max_bytes: self.limits.record_max_bytes,
            too_old_after_ms: self.limits.too_old_after_ms,
            future_tolerance_ms: self.limits.future_tolerance_ms,
            late_after_ms: self.limits.late_after_ms,
            general,
            models: self.models(&general)?,
        };
        Ok(limits)
    }

    /// The topics that it names.
    pub fn topology(&self) -> Topology {
        Topology {
            input: self.topics.raw.clone(),
            outputs: vec![self.topics.validated.clone(), self.topics.invalid.clone()],
            changelog: Some(self.topics.changelog.clone()),
            table: None,
        }
    }

    fn models(&self, general: &Ranges) -> Result<Vec<Model>, InvalidConfig> {
        let mut models = BTreeMap::new();
        for (id, words, power_w, clock_mhz) in MODELS {
            let mut ranges = *general;
            for (name, max) in [
                ("power_usage_w", power_w * POWER_HEADROOM),
                ("sm_clock_mhz", clock_mhz * CLOCK_HEADROOM),
            ] {
                if let Some(index) = metric_index(name) {
                    ranges[index] = limits::within((0.0, max), general[index]);
                }
            }
            models.insert(
                id.to_owned(),
                Model {
                    id: id.to_owned(),
                    words: words.iter().map(|word| (*word).to_owned()).collect(),
                    ranges,
                },
            );
        }
        for (id, config) in &self.models {
            let key = format!("models.{id}");
            let model = models.entry(id.clone()).or_insert_with(|| Model {
                id: id.clone(),
                words: Vec::new(),
                ranges: *general,
            });
            if !config.words.is_empty() {
                model.words = config
                    .words
                    .iter()
                    .map(|word| word.to_ascii_uppercase())
                    .collect();
            }
            check_words(&model.words, &key)?;
            set_ranges(
                &mut model.ranges,
                &config.ranges,
                &format!("{key}.ranges"),
                Some(general),
            )?;
        }
        Ok(models.into_values().collect())
    }
}

fn check_words(words: &[String], key: &str) -> Result<(), InvalidConfig> {
    if words.is_empty() {
        return Err(InvalidConfig::new(
            format!("{key}.words"),
            "must name at least one word of gpu.name, since this model is not built in",
        ));
    }
    for word in words {
        if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidConfig::new(
                format!("{key}.words"),
                format!("\"{word}\" must be letters and digits only"),
            ));
        }
    }
    Ok(())
}

fn set_ranges(
    ranges: &mut Ranges,
    configured: &BTreeMap<String, MinMax>,
    section: &str,
    bounds: Option<&Ranges>,
) -> Result<(), InvalidConfig> {
    for (name, MinMax((min, max))) in configured {
        let invalid = |reason: String| Err(InvalidConfig::new(format!("{section}.{name}"), reason));
        let Some(index) = metric_index(name) else {
            return invalid("no such metric".to_owned());
        };
        if !(min.is_finite() && max.is_finite() && min < max) {
            return invalid(format!("{min}..{max}: min must be below max"));
        }
        if let Some(bounds) = bounds {
            let (low, high) = bounds[index];
            if *min < low || *max > high {
                return invalid(format!(
                    "{min}..{max} must lie within {low}..{high}, the range of limits.ranges.{name}"
                ));
            }
        }
        ranges[index] = (*min, *max);
    }
    Ok(())
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
        self.kafka.validate("kafka")?;
        self.pipeline.validate("pipeline")?;
        let invalid = |key: &str, reason: String| Err(InvalidConfig::new(key, reason));
        let topics = &self.topics;
        for (key, name) in [
            ("topics.raw", &topics.raw),
            ("topics.validated", &topics.validated),
            ("topics.invalid", &topics.invalid),
            ("topics.changelog", &topics.changelog),
        ] {
            if name.is_empty() {
                return invalid(key, "must name a topic".to_owned());
            }
        }
        let limits = &self.limits;
        if !(1..=RECORD_MAX_BYTES).contains(&limits.record_max_bytes) {
            return invalid(
                "limits.record_max_bytes",
                format!("must be 1 to {RECORD_MAX_BYTES}"),
            );
        }
        for (key, value) in [
            ("limits.too_old_after_ms", limits.too_old_after_ms),
            ("limits.future_tolerance_ms", limits.future_tolerance_ms),
            ("limits.late_after_ms", limits.late_after_ms),
            (
                "duplicates.forget_after_ms",
                self.duplicates.forget_after_ms,
            ),
            ("ticks.margin_ms", self.ticks.margin_ms),
        ] {
            if !(1..=MAX_DURATION_MS).contains(&value) {
                return invalid(key, format!("must be 1 to {MAX_DURATION_MS}"));
            }
        }
        if limits.late_after_ms > limits.too_old_after_ms {
            return invalid(
                "limits.late_after_ms",
                "must be at most limits.too_old_after_ms".to_owned(),
            );
        }
        if self.duplicates.forget_after_ms < limits.too_old_after_ms {
            return invalid(
                "duplicates.forget_after_ms",
                "must be at least limits.too_old_after_ms, or old repeats would pass".to_owned(),
            );
        }
        self.limits().map(drop)
    }
}

/// A year.
const MAX_DURATION_MS: i64 = 31_536_000_000;

#[cfg(test)]
mod tests;
