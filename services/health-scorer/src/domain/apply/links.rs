//! What a reading says about PCIe and NVLink.

use super::{Moment, fit};
use crate::domain::counter::{Counter, Span};
use crate::domain::factor::Factor;
use crate::domain::link::pcie_replays_per_minute;
use crate::domain::number;
use crate::domain::reading::Reading;
use crate::domain::sku::PCIE_LANES;
use crate::domain::state::{Counters, GpuState};

/// Takes the errors of PCIe and NVLink.
pub(super) fn take(state: &mut GpuState, reading: &Reading<'_>, moment: &Moment<'_>) {
    let link = &reading.metrics.interconnect;
    let at_ms = moment.at_ms;
    let counters = &mut state.counters;
    let mut increment = |counter: fn(&mut Counters) -> &mut Counter, value: Option<u64>| {
        let step = counter(counters).advance(value, Span::DriverLoad);
        step.map_or(0, |step| step.increment)
    };
    let replays = increment(|c| &mut c.pcie_replay, link.pcie_replay);
    let crc = increment(|c| &mut c.nvlink_crc_flit, link.nvlink_crc_flit)
        .saturating_add(increment(|c| &mut c.nvlink_crc_data, link.nvlink_crc_data));
    let retries = increment(|c| &mut c.nvlink_replay, link.nvlink_replay)
        .saturating_add(increment(|c| &mut c.nvlink_recovery, link.nvlink_recovery));

    let elapsed_ms = moment.elapsed_ms.unwrap_or(moment.interval_ms).max(1) as f64;
    if replays > 0 {
        // Of a gap of several minutes, a minute's part.
        let part = (60_000.0 / elapsed_ms).min(1.0);
        let replays = fit(number::whole(replays as f64 * part).unwrap_or(0));
        let minute = state.quarter.at(moment.clock.watched_ms);
        minute.replays = minute.replays.saturating_add(replays);
        let in_minute = minute.replays;
        let generation = link.pcie_gen.or(moment.sku.map(|sku| sku.pcie_generation));
        let lanes = link.pcie_width.or(moment.sku.map(|_| PCIE_LANES));
        let limit = generation
            .zip(lanes)
            .and_then(|(generation, lanes)| pcie_replays_per_minute(generation, lanes));
        if let Some(limit) = limit.filter(|limit| f64::from(in_minute) > *limit) {
            state.levels.replays = Some((in_minute, number::small(limit)));
            state.ledger.renew(Factor::PcieReplay, at_ms, in_minute, 0);
        }
    }
    if retries > 0 {
        state
            .ledger
            .renew(Factor::NvlinkErrors, at_ms, fit(retries), 0);
    }
    let crc_per_second = crc as f64 * 1_000.0 / elapsed_ms;
    if crc_per_second >= moment.limits.links.nvlink_crc_per_second {
        state.levels.crc_per_second = number::whole(crc_per_second).map(fit);
        state.ledger.renew(Factor::NvlinkCrc, at_ms, fit(crc), 0);
    }
    if let Some(up) = link.nvlink_links_up {
        let up = u16::try_from(up).unwrap_or(u16::MAX);
        let levels = &mut state.levels;
        levels.links_most = levels.links_most.max(up);
        levels.links = Some(up);
        state.link_down.look(at_ms, up < levels.links_most);
    }
}
