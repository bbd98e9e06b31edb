//! Links and clocks under load.
//!
//! The place for what needs other GPUs or weeks: the clock deficit against the model's median, and work per watt against
//! the GPU's own baseline.

use super::View;
use crate::domain::factor::Factor;
use crate::domain::finding::Finding;
use crate::domain::hour::share;
use crate::domain::limits::seconds_ms;
use crate::domain::number::rounded;

pub(super) fn find(view: &View<'_>, findings: &mut Vec<Finding>) {
    let limits = &view.rules.limits.performance;
    let levels = &view.state.levels;
    let hold_ms = seconds_ms(limits.link_hold_s);
    let links = [
        (view.state.narrow, levels.lanes, Factor::PcieWidth),
        (view.state.slow, levels.generation, Factor::PcieGeneration),
    ];
    for (streak, link, factor) in links {
        if let (Some(last_ms), Some((now, most))) = (streak.held(hold_ms), link) {
            let finding = view.held(factor, last_ms);
            findings.push(finding.seen(f64::from(now), Some(f64::from(most))));
        }
    }
    if let Some(last_ms) = view
        .state
        .divergence
        .held(seconds_ms(limits.divergence_hold_s))
    {
        findings.push(view.held(Factor::ProfilingDivergence, last_ms));
    }
    let slowed = view.state.hour.sums(view.now.watched_ms).hw_slowdown_ms;
    if slowed > 0 {
        let share = share(slowed);
        let points = view.rules.of(Factor::HwSlowdown).sloped(share);
        findings.push(
            Finding::new(Factor::HwSlowdown, points, view.last_reading_ms())
                .seen(rounded(share, 4), None),
        );
    }
}
