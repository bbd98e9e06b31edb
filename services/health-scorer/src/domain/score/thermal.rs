//! Temperatures, as margins to the limits of the very GPU, and only under load.
//!
//! The place for what needs other GPUs or weeks: the residual against the same model in the same rack, and the drift at
//! equal power.

use super::View;
use crate::domain::factor::Factor;
use crate::domain::finding::Finding;
use crate::domain::hour::share;
use crate::domain::number::rounded;
use crate::domain::quarter::worst;

pub(super) fn find(view: &View<'_>, findings: &mut Vec<Finding>) {
    margins(view, findings);
    let sums = view.state.hour.sums(view.now.watched_ms);
    let throttled = [
        (sums.hw_thermal_ms, Factor::HwThermalSlowdown),
        (sums.sw_thermal_ms, Factor::SwThermalSlowdown),
    ];
    for (millis, factor) in throttled {
        findings.extend(view.throttled(factor, millis));
    }
}

impl View<'_> {
    /// A factor by the share of the last hour; none below the share that costs nothing.
    pub(super) fn throttled(&self, factor: Factor, millis: u32) -> Option<Finding> {
        let share = share(millis);
        let ignored = self.rules.limits.thermal.ignored_share;
        (millis > 0 && share >= ignored).then(|| {
            let points = self.rules.of(factor).sloped(share);
            Finding::new(factor, points, self.last_reading_ms())
                .seen(rounded(share, 4), Some(ignored))
        })
    }
}

fn margins(view: &View<'_>, findings: &mut Vec<Finding>) {
    let limits = &view.rules.limits;
    let (fine_c, worst_share) = (limits.thermal.margin_c, limits.thermal.worst_share);
    let at_ms = view.last_reading_ms();
    let near = |factor: Factor, margin_c: f64| {
        let points = view.rules.of(factor).sloped(fine_c - margin_c);
        Finding::new(factor, points, at_ms).seen(margin_c, Some(fine_c))
    };
    let core = worst(view.minutes, worst_share, |minute| &minute.core);
    if let Some(margin_c) = core
        .margin_c
        .filter(|_| core.samples >= limits.load.min_samples)
    {
        let slowdown_c = view.state.levels.slowdown_tenths;
        let slowdown_c = slowdown_c.map(|tenths| f64::from(tenths) / 10.0);
        findings.push(
            match slowdown_c.filter(|slowdown_c| margin_c <= *slowdown_c) {
                Some(slowdown_c) => view
                    .held(Factor::ThermalSlowdown, at_ms)
                    .seen(margin_c, Some(slowdown_c)),
                None => near(Factor::ThermalMargin, margin_c),
            },
        );
    }
    let memory = worst(view.minutes, worst_share, |minute| &minute.memory);
    if let Some(margin_c) = memory
        .margin_c
        .filter(|_| memory.samples >= limits.load.min_samples)
    {
        findings.push(near(Factor::HbmMargin, margin_c));
    }
}
