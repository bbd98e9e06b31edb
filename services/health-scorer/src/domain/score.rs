//! The score of a GPU: a pure function of what is remembered of it, the time, and the rules.
//!
//! Each dimension begins at 100 and loses what its factors take. The overall score is the weighted mean of the dimensions
//! that something is known about, and never above the lowest cap in force. What needs other GPUs of the same model
//! (clock deficit, temperature against peers) or four weeks of history (drift, performance per watt) is not here yet: its
//! place is a function beside those of [`thermal`] and [`performance`], with its statistics as one more argument.

mod memory;
mod performance;
mod power;
mod reliability;
mod thermal;

use super::SCORING_VERSION;
use super::clock::Clock;
use super::dimension::Dimension;
use super::factor::Factor;
use super::finding::Finding;
use super::grade::{CRITICAL_BELOW, grade};
use super::number::rounded;
use super::quarter::{Minute, Quarter};
use super::rules::Rules;
use super::state::GpuState;
use schema::{DimensionScores, Grade, HealthScore, HealthState};

/// What a score is before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The dimensions in the order of [`Dimension::ALL`]; none where nothing is known.
    pub dimensions: [Option<f64>; 5],
    /// 0 to 100, in hundredths; none when too little is known.
    pub overall: Option<f64>,
    /// The score in a word.
    pub grade: Grade,
    /// What should happen with the GPU.
    pub state: HealthState,
    /// 0 to 1.
    pub confidence: f64,
    /// Every factor at work, the one that takes most first.
    pub findings: Vec<Finding>,
}

/// The score of the GPU `gpu_uuid`, of which `state` is remembered, at `now`.
pub fn score(gpu_uuid: &str, state: &GpuState, now: Clock, rules: &Rules) -> HealthScore {
    assess(state, now, rules).render(gpu_uuid, state, now, rules)
}

/// The same as numbers.
pub fn assess(state: &GpuState, now: Clock, rules: &Rules) -> Assessment {
    let view = View {
        state,
        now_ms: now.stream_ms,
        now,
        minutes: state.quarter.live(now.watched_ms),
        rules,
    };
    let mut findings = Vec::new();
    memory::find(&view, &mut findings);
    thermal::find(&view, &mut findings);
    performance::find(&view, &mut findings);
    power::find(&view, &mut findings);
    reliability::find(&view, &mut findings);

    let known = view
        .minutes
        .iter()
        .fold(0, |known, minute| known | minute.known);
    let dimensions = Dimension::ALL.map(|dimension| {
        let taken: f64 = findings
            .iter()
            .filter(|f| f.factor.spec().dimension == dimension)
            .map(|f| f.points)
            .sum();
        (known & dimension.bit() != 0).then(|| (100.0 - taken).clamp(0.0, 100.0))
    });
    let weight = weight_known(&dimensions, rules);
    let mean = weighted_mean(&dimensions, rules);
    let cap = findings
        .iter()
        .filter_map(|f| f.cap(rules))
        .min_by(f64::total_cmp);
    let confidence = confidence(&view, weight, &findings);
    // A cap is a fact that stands whatever else is unknown, and below 50 every grade there is is critical.
    let is_decided = cap.is_some_and(|cap| cap < CRITICAL_BELOW);
    let overall = (confidence >= rules.limits.confidence.least || is_decided)
        .then(|| mean.unwrap_or(100.0).min(cap.unwrap_or(100.0)))
        .map(|points| rounded(points, 2));
    sort(&mut findings, weight, rules);
    let before = state.published.map(|published| published.grade);
    Assessment {
        dimensions,
        overall,
        grade: grade(
            overall,
            before,
            rules.limits.publish.grade_hysteresis_points,
        ),
        state: health_state(&findings, confidence, rules),
        confidence,
        findings,
    }
}

impl Assessment {
    /// As it is written.
    pub fn render(
        &self,
        gpu_uuid: &str,
        state: &GpuState,
        now: Clock,
        rules: &Rules,
    ) -> HealthScore {
        let dimension = |dimension: Dimension| {
            self.dimensions[dimension.index()].map(|points| rounded(points, 2))
        };
        HealthScore {
            gpu_uuid: gpu_uuid.to_owned(),
            timestamp: now.stream_time(),
            overall_score: self.overall,
            dimension_scores: DimensionScores {
                memory_health: dimension(Dimension::Memory),
                thermal_health: dimension(Dimension::Thermal),
                performance_health: dimension(Dimension::Performance),
                power_health: dimension(Dimension::Power),
                reliability_health: dimension(Dimension::Reliability),
            },
            health_grade: self.grade,
            state: self.state,
            degradation_trend: state.history.trend().map(|points| rounded(points, 3)),
            confidence: self.confidence,
            contributing_factors: self
                .findings
                .iter()
                .map(|f| f.factor.spec().name.to_owned())
                .collect(),
            factors: self.findings.iter().map(|f| f.render(rules)).collect(),
            scoring_version: SCORING_VERSION.to_owned(),
        }
    }
}

/// What a dimension's factors are found from.
struct View<'a> {
    state: &'a GpuState,
    /// Stream time.
    now_ms: i64,
    now: Clock,
    /// The last fifteen watched minutes.
    minutes: &'a [Minute],
    rules: &'a Rules,
}

impl View<'_> {
    /// Event time of the last reading that was applied: when a level was last seen.
    fn last_reading_ms(&self) -> i64 {
        self.state.last_event_ms.unwrap_or(self.now_ms)
    }

    /// A factor that holds or does not, with its points.
    fn held(&self, factor: Factor, last_seen_ms: i64) -> Finding {
        Finding::new(factor, self.rules.of(factor).points, last_seen_ms).holding(true)
    }

    /// A factor of the ledger: its decayed points, the number of its occurrences, the Xid of the last.
    fn occurred(&self, factor: Factor) -> Option<Finding> {
        let last = self.state.ledger.last(factor)?;
        let rule = self.rules.of(factor);
        let points = self.state.ledger.points(factor, rule, self.now_ms);
        let count = self.state.ledger.of(factor).count();
        let finding = Finding::new(factor, points, last.last_ms());
        Some(finding.seen(count as f64, None).xid(last.xid))
    }
}

fn weight_known(dimensions: &[Option<f64>; 5], rules: &Rules) -> f64 {
    let known = dimensions.iter().zip(rules.weights);
    known
        .filter(|(points, _)| points.is_some())
        .map(|(_, weight)| weight)
        .sum()
}

/// The mean over what is known: an unknown dimension is neither 0 nor 100, it has no say.
fn weighted_mean(dimensions: &[Option<f64>; 5], rules: &Rules) -> Option<f64> {
    let weight = weight_known(dimensions, rules);
    let known = dimensions.iter().zip(rules.weights);
    let sum: f64 = known
        .filter_map(|(points, weight)| points.map(|points| points * weight))
        .sum();
    (weight > 0.0).then(|| sum / weight)
}

/// The weight of what is known, times the share of the readings that there should be in fifteen minutes: since the
/// first one, or the first one after a silence, so that what a GPU says now is not doubted for what it did not say then.
fn confidence(view: &View<'_>, weight: f64, findings: &[Finding]) -> f64 {
    let samples: u32 = view.minutes.iter().map(|m| u32::from(m.samples)).sum();
    let begins_ms = Quarter::begins_ms(view.now.watched_ms).max(view.state.present_since_ms);
    let watched_ms = view.now.watched_ms - begins_ms;
    let limits = &view.rules.limits;
    let expected = watched_ms / view.state.interval_ms(limits).max(1);
    let share = (f64::from(samples) / expected.max(1) as f64).min(1.0);
    let diverges = findings
        .iter()
        .any(|f| f.factor == Factor::ProfilingDivergence);
    let doubt = if diverges {
        limits.confidence.divergence
    } else {
        0.0
    };
    rounded((weight * share - doubt).clamp(0.0, 1.0), 2)
}

/// The worst that any factor asks for. With too little known nothing says that it is well.
fn health_state(findings: &[Finding], confidence: f64, rules: &Rules) -> HealthState {
    const WORST_FIRST: [HealthState; 4] = [
        HealthState::Lost,
        HealthState::RmaCandidate,
        HealthState::Drain,
        HealthState::Degraded,
    ];
    let asked = WORST_FIRST
        .into_iter()
        .find(|state| findings.iter().any(|f| f.state(rules) == *state));
    asked.unwrap_or(if confidence < rules.limits.confidence.least {
        HealthState::Unknown
    } else {
        HealthState::Ok
    })
}

/// By what each takes from the overall score, through its dimension or by its cap.
fn sort(findings: &mut [Finding], weight_known: f64, rules: &Rules) {
    let effect = |finding: &Finding| {
        let weight = rules.weights[finding.factor.spec().dimension.index()];
        let by_points = finding.points * weight / weight_known.max(weight);
        let by_cap = finding.cap(rules).map_or(0.0, |cap| 100.0 - cap);
        by_points.max(by_cap)
    };
    findings.sort_by(|a, b| {
        effect(b)
            .total_cmp(&effect(a))
            .then(b.points.total_cmp(&a.points))
            .then(a.factor.cmp(&b.factor))
    });
}

#[cfg(test)]
mod tests;
