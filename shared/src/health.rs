//! A GPU's health score (`gpu-health-scores`).

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How healthy one GPU is, from 0 to 100, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthScore {
    /// The GPU: the key.
    pub gpu_uuid: String,
    /// Stream time of the judgement.
    pub timestamp: Timestamp,
    /// 0 to 100; null when too little is known (`health_grade` is then `unknown`).
    pub overall_score: Option<f64>,
    /// The five dimensions, 0 to 100; null where nothing is known about one.
    pub dimension_scores: DimensionScores,
    /// The score in a word.
    pub health_grade: Grade,
    /// What should happen with the GPU; follows from facts, not from the number.
    pub state: HealthState,
    /// Points a day over the last 7 days (Theil-Sen); null with less than 24 h of history.
    pub degradation_trend: Option<f64>,
    /// 0 to 1: how much of what the score needs was known.
    pub confidence: f64,
    /// The largest first; names only, as the brief has it.
    pub contributing_factors: Vec<String>,
    /// The same with their evidence.
    pub factors: Vec<Factor>,
    /// The version of the scoring rules.
    pub scoring_version: String,
}

/// The five dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DimensionScores {
    /// ECC, row remapping, page retirement.
    pub memory_health: Option<f64>,
    /// Temperatures against the device's own limits.
    pub thermal_health: Option<f64>,
    /// Clocks, PCIe, throughput.
    pub performance_health: Option<f64>,
    /// Power draw, brakes and limits.
    pub power_health: Option<f64>,
    /// Xids, links, absence, repeats.
    pub reliability_health: Option<f64>,
}

/// One reason why the score is not 100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    /// Its name (`row_remap_pending`).
    pub name: String,
    /// The dimension it takes points from (`memory_health`).
    pub dimension: String,
    /// Points taken now, after decay.
    pub points: f64,
    /// The most that the overall score may be while this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<f64>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// A sentence for a person.
    pub evidence: String,
}

/// The score in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// 90 and more.
    Excellent,
    /// 80 and more.
    Good,
    /// 70 and more.
    Fair,
    /// 60 and more.
    Degraded,
    /// 50 and more.
    Poor,
    /// Less than 50.
    Critical,
    /// Confidence below one half.
    Unknown,
}

/// What should happen with the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing.
    Ok,
    /// Watch it.
    Degraded,
    /// Take work off it, then reset or repair.
    Drain,
    /// NVIDIA's conditions for a replacement hold.
    RmaCandidate,
    /// It no longer reports.
    Lost,
    /// Too little is known.
    Unknown,
}
