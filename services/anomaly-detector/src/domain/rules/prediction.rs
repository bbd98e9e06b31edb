//! Lead indicators of failure. They are counted, not modelled: no probability is claimed.
//!
//! What the studies support: growth of uncorrectable row remaps, banks that run out of spare rows, and faults of the same
//! GPU before. What they don't: corrected errors (29 GPUs of two large fleets had both kinds, arXiv 2508.03513), so that
//! those take no part here.

use super::super::action::Action;
use super::super::counter::{Counter, Origin};
use super::super::finding::{Detail, Finding, Series, Signal};
use super::super::limits::{Prediction, ms};
use super::super::number::period;
use super::super::reading::Memory;
use super::super::rule::{Rule, RuleDef};
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `failure_prediction`
pub const FAILURE_PREDICTION: RuleDef = RuleDef {
    rule: Rule::FailurePrediction,
    id: "failure_prediction",
    alert_type: "failure_prediction",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "2 new uncorrectable row remaps within 28 d, or 1 while a bank is low on spare rows (field 388)",
    clears: "no such remap within 28 d, for 24 h",
    source: "Delta (arXiv 2503.11901): half of the remaps do not end it",
    words: "schedule maintenance: move long jobs elsewhere, run the field diagnostic",
    action: Action::RunFieldDiag,
    urgent_action: Action::RunFieldDiag,
    message: |finding| {
        let also = match finding.detail {
            Detail::Number(low) if low > 0.0 => ", and memory banks are low on spare rows",
            _ => "",
        };
        format!(
            "{} new uncorrectable row remaps lately{also}: such memory tends to fail",
            finding.shown()
        )
    },
};

/// `lemon_gpu`
pub const LEMON_GPU: RuleDef = RuleDef {
    rule: Rule::LemonGpu,
    id: "lemon_gpu",
    alert_type: "failure_prediction",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "3 repair-class incidents within 28 d (alerts less than 6 h apart are one)",
    clears: "fewer within 28 d, for 24 h",
    source: "Meta RSC (arXiv 2410.21680): lemon nodes by 28 days",
    words: "keep it out of large jobs; have it replaced",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |finding| {
        format!(
            "{} incidents that needed a repair lately, limit {}",
            finding.shown(),
            finding.limit()
        )
    },
};

const DAY_MS: i64 = 86_400_000;

/// What is kept of a GPU's lead indicators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionState {
    remaps: Counter,
    /// New uncorrectable remaps by day since the epoch.
    remaps_by_day: Vec<(u32, u32)>,
    /// Seconds since the epoch at which the latest incidents of the repair class began.
    incidents_s: Vec<u32>,
    /// Seconds since the epoch of the last repair-class alert, which may belong to the last incident.
    last_alert_s: u32,
}

impl PredictionState {
    /// Takes in a reading.
    pub fn observe(&mut self, memory: &Memory, limits: &Prediction, now_ms: i64) -> Finding {
        let today = period(now_ms, DAY_MS);
        self.remaps_by_day
            .retain(|(day, _)| day + limits.window_days > today);
        let increment = self
            .remaps
            .advance(memory.row_remap_uncorrectable, Origin::Lifetime);
        if let Some(new) = increment.map(|increment| increment.amount)
            && new > 0
        {
            let new = u32::try_from(new).unwrap_or(u32::MAX);
            match self.remaps_by_day.last_mut() {
                Some((day, count)) if *day == today => *count = count.saturating_add(new),
                _ => self.remaps_by_day.push((today, new)),
            }
        }
        let lately: u64 = self
            .remaps_by_day
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum();
        let low = memory.bank_remap_avail.low.unwrap_or(0);
        let limit = if low > 0 {
            1
        } else {
            u64::from(limits.remap_rows)
        };
        let signal = if lately >= limit {
            Signal::Raise
        } else {
            Signal::Clear
        };
        Finding::new(Rule::FailurePrediction, signal, "row_remap_uncorrectable")
            .against(lately as f64, limit as f64)
            .detail(Detail::Number(low as f64))
    }

    /// An alert of the repair class began.
    pub fn note_repair(&mut self, limits: &Prediction, now_ms: i64) {
        let second = period(now_ms, 1_000);
        let belongs_to_last = !self.incidents_s.is_empty()
            && i64::from(second.saturating_sub(self.last_alert_s)) * 1_000
                < ms(limits.same_incident_s);
        self.last_alert_s = second.max(self.last_alert_s);
        if belongs_to_last {
            return;
        }
        self.incidents_s.push(second);
        if self.incidents_s.len() > limits.lemon_incidents as usize {
            self.incidents_s.remove(0);
        }
    }

    /// Whether the GPU is a lemon.
    pub fn lemon(&mut self, limits: &Prediction, now_ms: i64) -> Finding {
        let window_s = limits.window_days.saturating_mul(86_400);
        let oldest_s = period(now_ms, 1_000).saturating_sub(window_s);
        self.incidents_s.retain(|at_s| *at_s > oldest_s);
        let count = self.incidents_s.len();
        let signal = if count >= limits.lemon_incidents as usize {
            Signal::Raise
        } else {
            Signal::Clear
        };
        Finding::new(Rule::LemonGpu, signal, "repair_incidents")
            .against(count as f64, f64::from(limits.lemon_incidents))
            .series(Series::Current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_770_805_800_000;

    #[test]
    fn alerts_of_one_fault_are_one_incident_and_three_make_a_lemon() {
        let (mut state, limits) = (PredictionState::default(), Prediction::default());
        let hour = 3_600_000;
        let mut signal_after = |at_ms: i64| {
            state.note_repair(&limits, START_MS + at_ms);
            state.lemon(&limits, START_MS + at_ms).signal
        };
        assert_eq!(signal_after(0), Signal::Clear);
        assert_eq!(signal_after(hour), Signal::Clear, "the same fault");
        assert_eq!(
            signal_after(6 * hour),
            Signal::Clear,
            "still: 5 h after its last alert"
        );
        assert_eq!(signal_after(13 * hour), Signal::Clear, "the second");
        assert_eq!(signal_after(27 * 24 * hour), Signal::Raise, "the third");
        let later = state.lemon(&limits, START_MS + 29 * 24 * hour);
        assert_eq!(later.signal, Signal::Clear, "the first is too long ago");
    }

    #[test]
    fn growth_of_remaps_counts_not_their_number() {
        let (mut state, limits) = (PredictionState::default(), Prediction::default());
        let mut signal = |day: i64, rows, low| {
            let mut memory = Memory {
                row_remap_uncorrectable: Some(rows),
                ..Memory::default()
            };
            memory.bank_remap_avail.low = low;
            state
                .observe(&memory, &limits, START_MS + day * DAY_MS)
                .signal
        };
        assert_eq!(signal(0, 40, None), Signal::Clear);
        assert_eq!(signal(1, 41, Some(0)), Signal::Clear);
        assert_eq!(
            signal(2, 41, Some(1)),
            Signal::Raise,
            "one, and a bank is low"
        );
        assert_eq!(signal(20, 42, Some(0)), Signal::Raise, "two");
        assert_eq!(
            signal(29, 42, Some(0)),
            Signal::Clear,
            "the first is too long ago"
        );
    }
}
