//! What the driver says about faults.

use super::{Moment, fault, fit};
use crate::domain::factor::Factor;
use crate::domain::limits::seconds_ms;
use crate::domain::reading::Reading;
use crate::domain::state::GpuState;
use crate::domain::xid::{self, Class};

/// Takes the recovery that the driver asks for. Returns whether it no longer asks.
pub(super) fn recovery(state: &mut GpuState, reading: &Reading<'_>) -> bool {
    let Some(now) = reading.metrics.errors.recovery_action else {
        return false;
    };
    let before = state.levels.recovery_action.replace(fit(now));
    before.is_some_and(|before| before != 0) && now == 0
}

/// Takes the Xids that came up since the last reading.
pub(super) fn take(state: &mut GpuState, reading: &Reading<'_>, moment: &Moment<'_>) {
    let errors = &reading.metrics.errors;
    let mut seen = Vec::new();
    state
        .xids
        .advance(errors.last_xid, errors.counts(), |code, count| {
            seen.push((code, count));
        });
    for (code, count) in seen {
        match xid::class(code) {
            Some(Class::Fault(factor)) => {
                fault(state, factor, moment.at_ms, count, code, moment.limits);
                if factor == Factor::GpuLost {
                    state.fallen_ms = Some(moment.at_ms);
                }
            }
            Some(Class::Application) => application_xid(state, reading, code, moment),
            None => {}
        }
    }
    heal_row_remap_failure(state);
}

/// Several jobs in a row with an application's Xid: then it is not the application.
fn application_xid(state: &mut GpuState, reading: &Reading<'_>, code: u16, moment: &Moment<'_>) {
    let workload = &reading.workload;
    let job = xid::job(
        workload.job_id.as_deref(),
        workload.namespace.as_deref(),
        workload.pod.as_deref(),
    );
    let Some(job) = job else { return };
    let faults = &moment.limits.faults;
    let jobs = state
        .jobs
        .note(moment.at_ms, job, seconds_ms(faults.job_window_s));
    if jobs >= usize::try_from(faults.job_repeat).unwrap_or(usize::MAX) {
        state.ledger.renew(
            Factor::ApplicationXidRepeat,
            moment.at_ms,
            fit(jobs as u64),
            code,
        );
    }
}

/// An Xid 64 ends when the GPU itself says, after a reset, that no remap has failed.
fn heal_row_remap_failure(state: &mut GpuState) {
    let said = state.ledger.last(Factor::RowRemapFailure);
    let is_over = said.is_some_and(|said| {
        state.reset_ms.is_some_and(|reset| reset > said.last_ms())
            && state.levels.row_remap_failure == Some(false)
    });
    if is_over {
        state.ledger.erase(Factor::RowRemapFailure);
    }
}
