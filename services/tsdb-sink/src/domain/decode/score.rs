//! A health score (`gpu-health-scores`) as a row of `health_scores`.

use super::{check_uuid, not_readable};
use crate::domain::batch::{Batch, Way};
use crate::domain::letter::Unstorable;
use crate::domain::table::Table;
use schema::{DimensionScores, Text, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is stored of a `HealthScore`. Words of closed lists are taken as text: a word that a later version adds is
/// stored, not refused.
#[derive(Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "`overall_score` is a name on the wire"
)]
struct Score<'a> {
    #[serde(borrow)]
    gpu_uuid: Text<'a>,
    timestamp: Timestamp,
    overall_score: Option<f64>,
    dimension_scores: DimensionScores,
    #[serde(borrow)]
    health_grade: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    degradation_trend: Option<f64>,
    confidence: f64,
    #[serde(borrow)]
    contributing_factors: Vec<Text<'a>>,
    #[serde(borrow)]
    factors: &'a RawValue,
    #[serde(borrow)]
    scoring_version: Text<'a>,
}

pub(super) fn decode(
    value: &[u8],
    origin: (usize, i64),
    batch: &mut Batch,
) -> Result<(), Unstorable> {
    let score: Score<'_> = serde_json::from_slice(value).map_err(|error| not_readable(&error))?;
    check_uuid(&score.gpu_uuid)?;
    let gpu = batch.gpu(&score.gpu_uuid);
    let dimensions = score.dimension_scores;
    batch.add(
        // Two scores of one instant of stream time are possible; the last holds.
        (Table::Scores, Way::Merge),
        origin,
        (score.timestamp, gpu),
        |fields| {
            fields.float8(score.overall_score);
            fields.float8(dimensions.memory_health);
            fields.float8(dimensions.thermal_health);
            fields.float8(dimensions.performance_health);
            fields.float8(dimensions.power_health);
            fields.float8(dimensions.reliability_health);
            fields.text("health_grade", Some(&score.health_grade))?;
            fields.text("state", Some(&score.state))?;
            fields.float8(Some(score.confidence));
            fields.float8(score.degradation_trend);
            fields.text_array("contributing_factors", &score.contributing_factors)?;
            fields.jsonb("factors", Some(score.factors.get()))?;
            fields.text("scoring_version", Some(&score.scoring_version))
        },
    )?;
    Ok(())
}
