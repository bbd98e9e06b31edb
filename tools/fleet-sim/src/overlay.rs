//! What faults have left on a GPU. Only a GPU that was ever struck has one.

use crate::fault::FaultKind;
use crate::reading::{Delivery, MAX_XID_COUNTS};
use crate::schedule::Fault;

/// dcgm-exporter counts Xids over its last five minutes (`--xid-count-window-size`).
pub(crate) const XID_WINDOW_MS: u64 = 300_000;

const FAN_DRIFT_C_PER_MS: f32 = 1.2 / 60_000.0;
const FAN_DRIFT_MAX_C: f32 = 25.0;
const SBE_PER_SECOND: u64 = 5;
const CLOCK_AHEAD_MS: i64 = 600_000;
const BROKEN_WAYS: u64 = 8;

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// The reading with Xid 79 has been given.
    announced: bool,
}

/// The lasting marks of faults, and those in force.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    active: Vec<Active>,
    xids: Vec<(u16, u64)>,
    pub(crate) last_xid: u16,
    pub(crate) dbe_volatile: u32,
    pub(crate) dbe_aggregate: u32,
    pub(crate) sbe_volatile: u64,
    pub(crate) sbe_aggregate: u64,
    pub(crate) row_remap_uncorrectable: u16,
    pub(crate) row_remap_pending: bool,
    pub(crate) row_remap_failure: bool,
    pub(crate) recovery_action: u8,
    pub(crate) thermal_violation_ns: u64,
    pub(crate) hw_thermal_ns: u64,
    pub(crate) power_brake_ns: u64,
    pub(crate) nvlink_crc_flit: u32,
    pub(crate) nvlink_crc_data: u32,
    pub(crate) nvlink_replay: u32,
    pub(crate) nvlink_recovery: u32,
}

/// What the faults in force do to one reading.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each fault is there or not, on its own"
)]
pub(crate) struct Effects {
    pub(crate) silent: bool,
    pub(crate) busy: bool,
    pub(crate) overheat: bool,
    pub(crate) drift_c: f32,
    pub(crate) memory_overheat: bool,
    pub(crate) power_brake: bool,
    pub(crate) narrow_pcie: bool,
    pub(crate) blank: bool,
    pub(crate) clock_ahead_ms: i64,
    pub(crate) delivery: Delivery,
    /// The driver was loaded anew: volatile counters start again.
    pub(crate) reset: bool,
}

impl Overlay {
    /// A fault begins. True when its beginning resets the volatile counters.
    pub(crate) fn begin(&mut self, fault: Fault, now_ms: u64) -> bool {
        if let Some(xid) = fault.kind.facts().xid {
            self.last_xid = xid;
            self.xids.push((xid, now_ms));
        }
        match fault.kind {
            FaultKind::Dbe => {
                self.dbe_volatile += 1;
                self.dbe_aggregate += 1;
                self.recovery_action = 1;
            }
            FaultKind::UncontainedEcc | FaultKind::GspTimeout => self.recovery_action = 1,
            FaultKind::RowRemapPending => {
                self.row_remap_uncorrectable += 1;
                self.row_remap_pending = true;
            }
            FaultKind::RowRemapFailure => self.row_remap_failure = true,
            FaultKind::Xid79Lost => self.recovery_action = 2,
            _ => {}
        }
        let reset = fault.kind == FaultKind::CounterReset && self.reset();
        self.active.push(Active {
            fault,
            announced: false,
        });
        reset
    }

    /// What holds at `now_ms`, `passed_ms` after the last call; ends what is over.
    pub(crate) fn advance(&mut self, now_ms: u64, passed_ms: u64, step: u64) -> Effects {
        let mut effects = Effects::default();
        let mut ended = Vec::new();
        self.active.retain(|active| {
            let over = now_ms >= active.fault.until_ms;
            if over {
                ended.push(active.fault.kind);
            }
            !over
        });
        for kind in ended {
            effects.reset |= self.end(kind);
        }
        self.xids.retain(|(_, at)| at + XID_WINDOW_MS > now_ms);

        let nanoseconds = passed_ms * 1_000_000;
        for active in &mut self.active {
            match active.fault.kind {
                FaultKind::Xid79Lost => {
                    effects.silent |= active.announced;
                    active.announced = true;
                }
                FaultKind::GpuSilent | FaultKind::HostReboot => effects.silent = true,
                FaultKind::ThermalThrottle => {
                    effects.busy = true;
                    effects.overheat = true;
                }
                FaultKind::PowerBrake => {
                    effects.busy = true;
                    effects.power_brake = true;
                    self.power_brake_ns += nanoseconds;
                }
                FaultKind::FanFailure => {
                    effects.busy = true;
                    let elapsed = now_ms.saturating_sub(active.fault.from_ms) as f32;
                    effects.drift_c = (elapsed * FAN_DRIFT_C_PER_MS).min(FAN_DRIFT_MAX_C);
                }
                FaultKind::HbmHot => {
                    effects.busy = true;
                    effects.memory_overheat = true;
                }
                FaultKind::SbeStorm => {
                    let errors = (SBE_PER_SECOND * passed_ms).div_ceil(1_000);
                    self.sbe_volatile += errors;
                    self.sbe_aggregate += errors;
                }
                FaultKind::NvlinkErrors => {
                    self.nvlink_replay = self.nvlink_replay.saturating_add(2);
                    self.nvlink_crc_flit = self.nvlink_crc_flit.saturating_add(311);
                    self.nvlink_crc_data = self.nvlink_crc_data.saturating_add(23);
                    self.nvlink_recovery = self
                        .nvlink_recovery
                        .saturating_add(u32::from(step.is_multiple_of(6)));
                }
                FaultKind::PcieDowntrain => {
                    effects.busy = true;
                    effects.narrow_pcie = true;
                }
                FaultKind::BlankSentinels => effects.blank = true,
                FaultKind::ClockFuture => effects.clock_ahead_ms = CLOCK_AHEAD_MS,
                FaultKind::Duplicate => effects.delivery = Delivery::Twice,
                FaultKind::Late => effects.delivery = Delivery::Held,
                FaultKind::Malformed => {
                    let way = (step % BROKEN_WAYS) as u8;
                    effects.delivery = Delivery::Broken(way);
                }
                FaultKind::Dbe
                | FaultKind::ContainedEcc
                | FaultKind::UncontainedEcc
                | FaultKind::RowRemapPending
                | FaultKind::RowRemapFailure
                | FaultKind::GspTimeout
                | FaultKind::AppXid31
                | FaultKind::AppXid43
                | FaultKind::CounterReset => {}
            }
        }
        effects
    }

    /// True when the fault's end resets the volatile counters.
    fn end(&mut self, kind: FaultKind) -> bool {
        match kind {
            FaultKind::RowRemapFailure => {
                self.row_remap_failure = false;
                false
            }
            FaultKind::Dbe
            | FaultKind::UncontainedEcc
            | FaultKind::RowRemapPending
            | FaultKind::Xid79Lost
            | FaultKind::GspTimeout
            | FaultKind::HostReboot => self.reset(),
            _ => false,
        }
    }

    fn reset(&mut self) -> bool {
        self.row_remap_pending = false;
        self.recovery_action = 0;
        self.last_xid = 0;
        self.dbe_volatile = 0;
        self.sbe_volatile = 0;
        self.thermal_violation_ns = 0;
        self.hw_thermal_ns = 0;
        self.power_brake_ns = 0;
        self.nvlink_crc_flit = 0;
        self.nvlink_crc_data = 0;
        self.nvlink_replay = 0;
        self.nvlink_recovery = 0;
        true
    }

    /// Xids of the last five minutes, in the order of their first appearance.
    pub(crate) fn xid_counts(&self) -> [(u16, u16); MAX_XID_COUNTS] {
        let mut counts = [(0_u16, 0_u16); MAX_XID_COUNTS];
        for (xid, _) in &self.xids {
            if let Some(place) = counts
                .iter_mut()
                .find(|(code, count)| *count == 0 || code == xid)
            {
                *place = (*xid, place.1 + 1);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::FaultId;

    fn fault(kind: FaultKind, from_ms: u64, until_ms: u64) -> Fault {
        Fault {
            id: FaultId::Listed(0),
            kind,
            gpu: 0,
            from_ms,
            until_ms,
        }
    }

    #[test]
    fn a_lost_gpu_tells_once_and_comes_back_reset() {
        let mut overlay = Overlay::default();
        overlay.begin(fault(FaultKind::Xid79Lost, 10_000, 60_000), 10_000);
        let first = overlay.advance(10_000, 10_000, 1);
        assert!(!first.silent);
        assert_eq!(overlay.last_xid, 79);
        assert_eq!(overlay.xid_counts()[0], (79, 1));
        assert!(overlay.advance(20_000, 10_000, 2).silent);
        let back = overlay.advance(60_000, 10_000, 6);
        assert!(!back.silent && back.reset);
        assert_eq!((overlay.last_xid, overlay.recovery_action), (0, 0));
    }

    #[test]
    fn xids_are_counted_for_five_minutes_and_repeats_add_up() {
        let mut overlay = Overlay::default();
        for at in [0, 100_000, 200_000] {
            overlay.begin(fault(FaultKind::AppXid31, at, at + 1), at);
        }
        overlay.begin(fault(FaultKind::AppXid43, 200_000, 200_001), 200_000);
        overlay.advance(250_000, 50_000, 1);
        assert_eq!(overlay.xid_counts(), [(31, 3), (43, 1), (0, 0), (0, 0)]);
        overlay.advance(350_000, 100_000, 2);
        assert_eq!(overlay.xid_counts(), [(31, 2), (43, 1), (0, 0), (0, 0)]);
        overlay.advance(900_000, 100_000, 3);
        assert_eq!(overlay.xid_counts(), [(0, 0); 4]);
        assert_eq!(overlay.last_xid, 43, "the gauge is sticky");
    }
}
