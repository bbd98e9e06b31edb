//! Applies a reading to what is remembered of its GPU.

mod links;
mod load;
mod memory;
mod xids;

use super::absence;
use super::clock::Clock;
use super::dimension::Dimension;
use super::factor::Factor;
use super::limits::{Limits, days_ms, seconds_ms};
use super::number;
use super::quarter::Minute;
use super::reading::Reading;
use super::sku::{self, Sku};
use super::state::{GAPS, GpuState};
use schema::HealthState;

/// Whether a reading's content was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// It is newer than every reading before it.
    InOrder,
    /// It is not. It shows that the GPU reports, and counts as a sample; its values are old, so that a counter's
    /// increment would be counted twice and a flag would come back from the dead.
    OutOfOrder,
}

/// Applies `reading`, ingested at `clock`, to `state`.
pub fn apply(state: &mut GpuState, reading: &Reading<'_>, clock: Clock, limits: &Limits) -> Order {
    let at_ms = reading.timestamp.as_millis();
    absence::seen(state, clock, limits);
    let minute = state.quarter.at(clock.watched_ms);
    minute.samples = minute.samples.saturating_add(1);
    minute.known |= Dimension::Reliability.bit();
    if state.last_event_ms.is_some_and(|last_ms| at_ms <= last_ms) {
        return Order::OutOfOrder;
    }
    let moment = Moment {
        at_ms,
        elapsed_ms: state.last_event_ms.replace(at_ms).map(|last| at_ms - last),
        interval_ms: state.interval_ms(limits),
        clock,
        limits,
        sku: reading
            .gpu
            .name
            .as_deref()
            .or(reading.asset.model.as_deref())
            .and_then(sku::lookup),
    };
    if let Some(host) = &reading.host.hostname {
        state.host = number::hash([host.as_str()]);
    }
    // Also after a silence: a collector that asks less often than was thought looks like one at first.
    if let Some(elapsed_ms) = moment.elapsed_ms {
        state.gaps_ms.rotate_left(1);
        state.gaps_ms[GAPS - 1] = number::span(elapsed_ms).max(1);
    }
    let is_busy = load::power(state, reading, &moment);
    let mut was_reset = memory::take(state, reading, &moment);
    was_reset |= load::throttling(state, reading, &moment);
    load::temperatures(state, reading, is_busy, &moment);
    load::work(state, reading, is_busy, &moment);
    links::take(state, reading, &moment);
    was_reset |= xids::recovery(state, reading);
    if was_reset {
        state.reset_ms = Some(at_ms);
    }
    xids::take(state, reading, &moment);
    absence::settle(state, at_ms, was_reset, clock, limits);
    Order::InOrder
}

/// Enters a fault into the ledger, and an incident when it is one that a repair follows.
pub(crate) fn fault(
    state: &mut GpuState,
    factor: Factor,
    at_ms: i64,
    errors: u32,
    xid: u16,
    limits: &Limits,
) {
    let merge_ms = seconds_ms(limits.faults.same_fault_s);
    if state.ledger.record(factor, at_ms, errors, xid, merge_ms) && needs_repair(factor) {
        incident(state, at_ms, xid, limits);
    }
}

/// When a reading is from, and what its GPU is.
struct Moment<'a> {
    at_ms: i64,
    /// Since the reading before it.
    elapsed_ms: Option<i64>,
    interval_ms: i64,
    clock: Clock,
    limits: &'a Limits,
    sku: Option<&'static Sku>,
}

impl Moment<'_> {
    /// The time that the reading stands for: since the one before it, but not since before an absence.
    fn stands_for_ms(&self) -> u32 {
        let elapsed_ms = self.elapsed_ms.unwrap_or(self.interval_ms);
        number::span(elapsed_ms.min(2 * self.interval_ms))
    }
}

fn needs_repair(factor: Factor) -> bool {
    matches!(
        factor.spec().state,
        Some(HealthState::Drain | HealthState::RmaCandidate | HealthState::Lost)
    )
}

fn incident(state: &mut GpuState, at_ms: i64, xid: u16, limits: &Limits) {
    let merge_ms = seconds_ms(limits.faults.same_incident_s);
    state
        .ledger
        .record(Factor::RepeatedIncidents, at_ms, 1, xid, merge_ms);
}

fn mark(state: &mut GpuState, clock: Clock, dimension: Dimension) -> &mut Minute {
    let minute = state.quarter.at(clock.watched_ms);
    minute.known |= dimension.bit();
    minute
}

/// A fault of `factor` that needs a reset, and none was seen since; not for ever, since not every reset can be seen.
pub(crate) fn awaits_reset(state: &GpuState, factor: Factor, now_ms: i64, limits: &Limits) -> bool {
    let Some(last) = state.ledger.last(factor) else {
        return false;
    };
    let was_reset = state.reset_ms.is_some_and(|reset| reset > last.last_ms());
    !was_reset && now_ms - last.last_ms() < seconds_ms(limits.faults.reset_assumed_s)
}

/// Rows newly remapped within the configured days before `now_ms`.
pub(crate) fn recent_remaps(state: &GpuState, now_ms: i64, limits: &Limits) -> u32 {
    let window_ms = days_ms(limits.memory.recent_remap_days);
    let recent = state.ledger.of(Factor::RecentRowRemaps);
    recent
        .filter(|o| now_ms - o.last_ms() < window_ms)
        .fold(0, |sum, o| sum.saturating_add(o.errors))
}

fn fit(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
