//! Power: brakes, limits, and whether it can be read. How much it varies is the workload's business.

use super::View;
use crate::domain::factor::Factor;
use crate::domain::finding::Finding;
use crate::domain::number::rounded;

pub(super) fn find(view: &View<'_>, findings: &mut Vec<Finding>) {
    let (levels, limits) = (&view.state.levels, &view.rules.limits);
    let at_ms = view.last_reading_ms();
    let sums = view.state.hour.sums(view.now.watched_ms);
    findings.extend(view.throttled(Factor::PowerBrake, sums.brake_ms));
    if sums.low_cap_ms > 0 && sums.low_cap_ms / 1_000 >= limits.power.low_cap_s {
        let finding = view.held(Factor::PowerCapLow, at_ms);
        let seconds = f64::from(sums.low_cap_ms / 1_000);
        findings.push(finding.seen(seconds, Some(f64::from(limits.power.low_cap_s))));
    }

    let samples: u32 = view.minutes.iter().map(|m| u32::from(m.samples)).sum();
    let read: u32 = view
        .minutes
        .iter()
        .map(|m| u32::from(m.power_samples))
        .sum();
    let tenths: u64 = view.minutes.iter().map(|m| u64::from(m.power_tenths)).sum();
    if let Some(limit_w) = levels.power_limit_w
        && read >= limits.load.min_samples
    {
        let mean_w = tenths as f64 / 10.0 / f64::from(read);
        let plausible_w = limits.power.over_limit_ratio * f64::from(limit_w);
        if mean_w > plausible_w {
            let finding = view.held(Factor::PowerOverLimit, at_ms);
            findings.push(finding.seen(rounded(mean_w, 1), Some(rounded(plausible_w, 1))));
        }
    }
    if levels.has_power && read == 0 && samples >= limits.load.min_samples {
        findings.push(view.held(Factor::PowerUnreadable, at_ms));
    }
    if let (Some(limit_w), Some(default_w)) = (levels.power_limit_w, levels.default_limit_w)
        && limit_w < default_w
    {
        let finding = view.held(Factor::PowerLimitLowered, at_ms);
        findings.push(finding.seen(f64::from(limit_w), Some(f64::from(default_w))));
    }
}
