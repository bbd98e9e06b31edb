//! Xids, links, absence, repeats: what stops jobs.

use super::View;
use crate::domain::apply::awaits_reset;
use crate::domain::factor::{DAY_MS, Factor};
use crate::domain::finding::Finding;
use crate::domain::limits::{days_ms, seconds_ms};
use crate::domain::number::rounded;

pub(super) fn find(view: &View<'_>, findings: &mut Vec<Finding>) {
    absence(view, findings);
    xids(view, findings);
    links(view, findings);
    completeness(view, findings);
    recovery(view, findings);
}

fn absence(view: &View<'_>, findings: &mut Vec<Finding>) {
    let state = view.state;
    let is_away = state.lost.is_some() || state.fallen_ms.is_some();
    match view.occurred(Factor::GpuLost) {
        Some(finding) => findings.push(finding.holding(is_away)),
        // Silent, and nothing says that it is the GPU's doing: the cap, but no points that stay.
        None if is_away => {
            let last_seen_ms = view.last_reading_ms();
            findings.push(
                Finding::new(Factor::GpuLost, 0.0, last_seen_ms)
                    .holding(true)
                    .seen(1.0, None),
            );
        }
        None => {}
    }
    let cap_ms = seconds_ms(view.rules.limits.absence.returned_cap_s);
    if let Some(returned_ms) = state.returned_ms
        && !is_away
        && view.now_ms - returned_ms < cap_ms
    {
        findings.push(view.held(Factor::GpuReturned, returned_ms));
    }
}

fn xids(view: &View<'_>, findings: &mut Vec<Finding>) {
    let limits = &view.rules.limits;
    if let Some(finding) = view.occurred(Factor::FatalXid) {
        let holds = awaits_reset(view.state, Factor::FatalXid, view.now_ms, limits);
        findings.push(finding.holding(holds));
    }
    findings.extend(view.occurred(Factor::NvlinkXid));
    findings.extend(view.occurred(Factor::HardwareXid));
    if let Some(finding) = view.occurred(Factor::ApplicationXidRepeat) {
        let last = view.state.ledger.last(Factor::ApplicationXidRepeat);
        let jobs = last.map_or(0, |last| last.errors);
        let limit = f64::from(limits.faults.job_repeat);
        findings.push(finding.seen(f64::from(jobs), Some(limit)));
    }
    let window_ms = days_ms(limits.faults.incident_days);
    let incidents = view
        .state
        .ledger
        .recent(Factor::RepeatedIncidents, view.now_ms, window_ms);
    if incidents >= usize::try_from(limits.faults.incident_count).unwrap_or(usize::MAX)
        && let Some(last) = view.state.ledger.last(Factor::RepeatedIncidents)
    {
        let rule = view.rules.of(Factor::RepeatedIncidents);
        let points = rule.points * rule.decay(view.now_ms - last.last_ms());
        let finding = Finding::new(Factor::RepeatedIncidents, points, last.last_ms());
        let limit = f64::from(limits.faults.incident_count);
        findings.push(finding.holding(true).seen(incidents as f64, Some(limit)));
    }
}

fn links(view: &View<'_>, findings: &mut Vec<Finding>) {
    let levels = &view.state.levels;
    if let Some(finding) = view.occurred(Factor::NvlinkErrors) {
        let last = view.state.ledger.last(Factor::NvlinkErrors);
        let errors = last.map_or(0, |last| last.errors);
        findings.push(finding.seen(f64::from(errors), None));
    }
    if let Some(finding) = view.occurred(Factor::NvlinkCrc) {
        let rate = levels.crc_per_second.unwrap_or(0);
        let limit = view.rules.limits.links.nvlink_crc_per_second;
        findings.push(finding.seen(f64::from(rate), Some(limit)));
    }
    if let Some(finding) = view.occurred(Factor::PcieReplay) {
        let (replays, limit) = levels.replays.unwrap_or_default();
        findings.push(finding.seen(f64::from(replays), Some(f64::from(limit))));
    }
    let hold_ms = seconds_ms(view.rules.limits.links.nvlink_down_hold_s);
    if let (Some(last_ms), Some(up)) = (view.state.link_down.held(hold_ms), levels.links) {
        let finding = view.held(Factor::NvlinkDown, last_ms);
        findings.push(finding.seen(f64::from(up), Some(f64::from(levels.links_most))));
    }
}

fn completeness(view: &View<'_>, findings: &mut Vec<Finding>) {
    let limits = &view.rules.limits.completeness;
    let known_ms = view.now_ms - view.state.first_seen_ms;
    let span_ms = known_ms.clamp(seconds_ms(limits.least_s), DAY_MS) as f64;
    let missed_ms = view.state.missed_ms.sum(view.now_ms) as f64;
    let complete = 1.0 - (missed_ms / span_ms).min(1.0);
    if complete < limits.least_share {
        let rule = view.rules.of(Factor::Completeness);
        let points = rule.sloped(limits.least_share - complete);
        let finding = Finding::new(Factor::Completeness, points, view.state.last_seen_ms);
        findings.push(finding.seen(rounded(complete, 4), Some(limits.least_share)));
    }
}

/// What the driver itself asks for: Xid 154 announces it, the field says it.
fn recovery(view: &View<'_>, findings: &mut Vec<Finding>) {
    let factor = match view.state.levels.recovery_action {
        Some(1) => Factor::RecoveryReset,
        Some(2) => Factor::RecoveryReboot,
        Some(3) => Factor::RecoveryDrainP2p,
        Some(4) => Factor::RecoveryDrainReset,
        _ => return,
    };
    findings.push(view.held(factor, view.last_reading_ms()));
}
