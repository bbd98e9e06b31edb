//! ECC, row remapping, page retirement.

use super::View;
use crate::domain::apply::{awaits_reset, recent_remaps};
use crate::domain::factor::Factor;
use crate::domain::finding::Finding;
use crate::domain::ledger::Occurrence;
use crate::domain::limits::days_ms;

pub(super) fn find(view: &View<'_>, findings: &mut Vec<Finding>) {
    errors(view, findings);
    remapped_rows(view, findings);
    retired_pages(view, findings);
    let levels = &view.state.levels;
    let flags = [
        (levels.row_remap_pending, Factor::RowRemapPending),
        (levels.sram_threshold, Factor::SramThreshold),
        (levels.memory_unrepairable, Factor::MemoryUnrepairable),
        (levels.retired_pending, Factor::RetiredPagesPending),
    ];
    for (flag, factor) in flags {
        if flag == Some(true) {
            findings.push(view.held(factor, view.last_reading_ms()).seen(1.0, None));
        }
    }
}

/// Errors that happened, and the rate of those that were corrected.
fn errors(view: &View<'_>, findings: &mut Vec<Finding>) {
    let limits = &view.rules.limits;
    for factor in [Factor::DoubleBitEcc, Factor::UncontainedEcc] {
        if let Some(finding) = view.occurred(factor) {
            let holds = awaits_reset(view.state, factor, view.now_ms, limits);
            findings.push(finding.holding(holds));
        }
    }
    findings.extend(view.occurred(Factor::ContainedEcc));
    findings.extend(view.occurred(Factor::SbeStorm));

    let window_ms = days_ms(limits.memory.repeat_days);
    let ledger = &view.state.ledger;
    let repeats = ledger.recent(Factor::DoubleBitEcc, view.now_ms, window_ms);
    if let Some(last) = ledger.last(Factor::DoubleBitEcc)
        && repeats >= usize::try_from(limits.memory.repeat_count).unwrap_or(usize::MAX)
    {
        let finding = view.held(Factor::RepeatedDoubleBitEcc, last.last_ms());
        let limit = f64::from(limits.memory.repeat_count);
        findings.push(finding.seen(repeats as f64, Some(limit)));
    }

    let rate = f64::from(view.state.single_bit.most(view.now_ms));
    let free = limits.memory.sbe_per_hour;
    if rate > free {
        let rule = view.rules.of(Factor::SbeRate);
        let points = rule.sloped((rate / free).log10());
        findings.push(
            Finding::new(Factor::SbeRate, points, view.last_reading_ms()).seen(rate, Some(free)),
        );
    }
}

fn remapped_rows(view: &View<'_>, findings: &mut Vec<Finding>) {
    let (levels, limits) = (&view.state.levels, &view.rules.limits);
    let at_ms = view.last_reading_ms();
    let rows = levels.row_remaps.unwrap_or(0);
    if rows > 0 {
        let points = view
            .rules
            .of(Factor::RowRemaps)
            .sloped((1.0 + f64::from(rows)).log2());
        findings.push(Finding::new(Factor::RowRemaps, points, at_ms).seen(f64::from(rows), None));
    }
    let exhausted = limits.memory.remaps_exhausted;
    if rows >= exhausted {
        let finding = view.held(Factor::RowRemapsExhausted, at_ms);
        findings.push(finding.seen(f64::from(rows), Some(f64::from(exhausted))));
    }
    let recent = recent_remaps(view.state, view.now_ms, limits);
    if let Some(last) = view.state.ledger.last(Factor::RecentRowRemaps)
        && recent > 0
    {
        let rule = view.rules.of(Factor::RecentRowRemaps);
        let points = (rule.points * f64::from(recent)).min(rule.max_points);
        let finding = Finding::new(Factor::RecentRowRemaps, points, last.last_ms());
        findings.push(finding.seen(f64::from(recent), None));
    }
    let banks = [
        (levels.banks_low, Factor::BanksLow),
        (levels.banks_none, Factor::BanksExhausted),
    ];
    for (banks, factor) in banks {
        if let Some(banks) = banks.filter(|banks| *banks > 0) {
            findings.push(view.held(factor, at_ms).seen(f64::from(banks), None));
        }
    }
    let told = view.state.ledger.last(Factor::RowRemapFailure);
    let is_flagged = levels.row_remap_failure == Some(true);
    if is_flagged || told.is_some() {
        let last_ms = if is_flagged {
            at_ms
        } else {
            told.map_or(at_ms, Occurrence::last_ms)
        };
        let finding = view.held(Factor::RowRemapFailure, last_ms);
        findings.push(finding.seen(1.0, None).xid(told.map_or(0, |told| told.xid)));
    }
}

/// Before Ampere.
fn retired_pages(view: &View<'_>, findings: &mut Vec<Finding>) {
    let (levels, limits) = (&view.state.levels, &view.rules.limits);
    let at_ms = view.last_reading_ms();
    let by_double_bit = levels.retired_dbe.unwrap_or(0);
    let pages = by_double_bit.saturating_add(levels.retired_sbe.unwrap_or(0));
    if by_double_bit > 0 {
        let finding = view.held(Factor::RetiredPages, at_ms);
        findings.push(finding.seen(f64::from(by_double_bit), None));
    }
    if pages >= limits.memory.retired_full {
        let finding = view.held(Factor::RetiredPagesFull, at_ms);
        let limit = f64::from(limits.memory.retired_full);
        findings.push(finding.seen(f64::from(pages), Some(limit)));
    }
}
