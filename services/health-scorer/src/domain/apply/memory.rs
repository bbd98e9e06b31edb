//! What a reading says about ECC, row remapping and page retirement.

use super::{Moment, fault, fit, incident, mark};
use crate::domain::counter::{Counter, Span, Step};
use crate::domain::dimension::Dimension;
use crate::domain::factor::Factor;
use crate::domain::limits::seconds_ms;
use crate::domain::reading::Reading;
use crate::domain::state::GpuState;

/// Takes error counters and flags. Returns whether they show a reset.
pub(super) fn take(state: &mut GpuState, reading: &Reading<'_>, moment: &Moment<'_>) -> bool {
    let memory = &reading.metrics.memory;
    let (at_ms, limits) = (moment.at_ms, moment.limits);
    let tells = [
        memory.ecc_sbe_volatile,
        memory.ecc_dbe_volatile,
        memory.ecc_sbe_aggregate,
        memory.ecc_dbe_aggregate,
        memory.retired_pages_dbe,
        memory.row_remap_uncorrectable,
        memory.row_remap_pending,
        memory.row_remap_failure,
    ];
    if tells.iter().any(Option::is_some) {
        mark(state, moment.clock, Dimension::Memory);
    }

    let counters = &mut state.counters;
    let sbe = of_either(
        (&mut counters.sbe_volatile, memory.ecc_sbe_volatile),
        (&mut counters.sbe_aggregate, memory.ecc_sbe_aggregate),
    );
    let first_dbe = memory
        .ecc_dbe_volatile
        .filter(|errors| *errors > 0 && counters.dbe_volatile.is_new());
    let dbe = of_either(
        (&mut counters.dbe_volatile, memory.ecc_dbe_volatile),
        (&mut counters.dbe_aggregate, memory.ecc_dbe_aggregate),
    );
    let remaps = counters
        .row_remaps
        .advance(memory.row_remap_uncorrectable, Span::Lifetime);

    if let Some(step) = sbe {
        state.single_bit.add(at_ms, fit(step.increment));
    }
    // An error since the driver was loaded is one until the next reset, also when it came before the first reading.
    let errors = first_dbe.or(dbe.map(|step| step.increment)).unwrap_or(0);
    if errors > 0 {
        fault(state, Factor::DoubleBitEcc, at_ms, fit(errors), 0, limits);
    }
    let rows = remaps.map_or(0, |step| step.increment);
    if rows > 0 {
        let merge_ms = seconds_ms(limits.faults.same_fault_s);
        state
            .ledger
            .record(Factor::RecentRowRemaps, at_ms, fit(rows), 0, merge_ms);
    }

    let levels = &mut state.levels;
    let take = |level: &mut Option<u32>, value: Option<u64>| {
        if let Some(value) = value {
            *level = Some(fit(value));
        }
    };
    take(&mut levels.row_remaps, memory.row_remap_uncorrectable);
    take(&mut levels.banks_low, memory.bank_remap_avail.low);
    take(&mut levels.banks_none, memory.bank_remap_avail.none);
    take(&mut levels.retired_sbe, memory.retired_pages_sbe);
    take(&mut levels.retired_dbe, memory.retired_pages_dbe);
    let pending = flag(&mut levels.row_remap_pending, memory.row_remap_pending);
    let retired = flag(&mut levels.retired_pending, memory.retired_pages_pending);
    let broken = [
        flag(&mut levels.row_remap_failure, memory.row_remap_failure),
        flag(&mut levels.sram_threshold, memory.sram_threshold_exceeded),
        flag(&mut levels.memory_unrepairable, memory.memory_unrepairable),
    ];
    if broken.contains(&Change::Rose) {
        incident(state, at_ms, 0, limits);
    }
    let restarted = [sbe, dbe].iter().flatten().any(|step| step.is_restart);
    // Only a reset clears what waits for one.
    restarted || pending == Change::Fell || retired == Change::Fell
}

/// The step of a pair of counters of the same errors: that since the driver was loaded counts, and the lifetime's only
/// where the other was never given, or errors would be counted twice.
fn of_either(
    (volatile, since_driver_load): (&mut Counter, Option<u64>),
    (aggregate, in_all): (&mut Counter, Option<u64>),
) -> Option<Step> {
    let by_lifetime = aggregate.advance(in_all, Span::Lifetime);
    let is_volatile_unknown = volatile.is_new() && since_driver_load.is_none();
    let by_volatile = volatile.advance(since_driver_load, Span::DriverLoad);
    if is_volatile_unknown {
        by_lifetime
    } else {
        by_volatile
    }
}

/// How a flag changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Rose,
    Fell,
}

fn flag(level: &mut Option<bool>, value: Option<u64>) -> Change {
    let Some(now) = value.map(|value| value > 0) else {
        return Change::None;
    };
    match (level.replace(now).unwrap_or(false), now) {
        (false, true) => Change::Rose,
        (true, false) => Change::Fell,
        _ => Change::None,
    }
}
