//! The state of one GPU, and how it moves from one reading to the next.

use crate::climate::{Climate, Place, time_of_day};
use crate::habit::{LANE_LIFE, job, lifetime_sbe, sbe_per_hour};
use crate::moment::Moment;
use crate::overlay::{Effects, Overlay};
use crate::random::{Key, narrow, normal, unit};
use crate::reading::Reading;
use crate::schedule::Schedule;
use crate::topology::{GpuIdentity, JobOwner};
use schema::Timestamp;

const LANE_SEGMENT: u64 = 21;
const LANE_STEP: u64 = 22;
const LANE_PLACE_GPU: u64 = 23;
const LANE_PLACE_HOST: u64 = 24;
const LANE_PLACE_RACK: u64 = 25;
const LANE_PLACE_MEMORY: u64 = 26;
const LANE_DAY: u64 = 27;
const LANE_GPU_LEVEL: u64 = 29;

/// A job, or a pause between jobs, lasts from 20 minutes to 8 hours, uniform in its logarithm.
const SEGMENT_MIN_MS: f64 = 1_200_000.0;
const SEGMENT_SPREAD: f64 = 24.0;

/// Levels of load: nothing runs; a job holds the GPU but waits; it computes. The bounds are where the Acme power
/// quantiles bend: 76 W at 34 %, 125 W at 56 %.
const IDLE_BELOW: f32 = 0.34;
const HELD_BELOW: f32 = 0.56;

/// How much of a level is noise from reading to reading, by class.
const NOISE: [f32; 3] = [0.30, 0.30, 0.35];
/// GPUs of a whole-node job differ a little.
const WHOLE_NODE_CORRELATION: f32 = 0.9;

/// A healthy GPU stays this far from its maximum operating temperature.
const HEALTHY_MARGIN_C: f32 = 6.0;
const HEALTHY_MEMORY_MARGIN_C: f32 = 8.0;
/// From this share of its limit on, a board is at its software power cap.
const CAPPED_FROM: f32 = 0.985;
const MS_PER_HOUR: f64 = 3_600_000.0;

const THROTTLE_IDLE: u16 = 0x1;
const THROTTLE_POWER_CAP: u16 = 0x4;
const THROTTLE_HW_THERMAL: u16 = 0x8 | 0x40;
const THROTTLE_BRAKE: u16 = 0x8 | 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Idle,
    Held,
    Busy,
}

/// One GPU between readings: about a hundred bytes, so that a million fit.
#[derive(Debug)]
pub(crate) struct GpuState {
    core_c: f32,
    memory_c: f32,
    level_z: f32,
    class: Class,
    segment: u32,
    segment_end_ms: u64,
    energy_mj: u64,
    sw_power_cap_ns: u64,
    sbe: u32,
    pcie_replay: u32,
    sequence: u32,
    listed_next: u16,
    drawn_next: u32,
    drawn_from_ms: u64,
    next_fault_ms: u64,
    overlay: Option<Box<Overlay>>,
}

/// What all GPUs of a fleet share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laws<'a> {
    pub(crate) seed: Key,
    pub(crate) climate: &'a Climate,
    pub(crate) schedule: &'a Schedule,
}

impl GpuState {
    /// The GPU as it was when the simulation began, somewhere in a job, warm.
    pub(crate) fn new(
        laws: Laws<'_>,
        gpu: &GpuIdentity,
        owner: JobOwner,
        start: Timestamp,
    ) -> Self {
        let own = laws.seed.with(u64::from(gpu.index)).with(LANE_LIFE);
        let mut state = Self {
            core_c: 0.0,
            memory_c: 0.0,
            level_z: 0.0,
            class: Class::Idle,
            segment: 0,
            segment_end_ms: 0,
            // Up to 30 days at 150 W.
            energy_mj: own.with(1).bits() % 388_800_000_000,
            sw_power_cap_ns: own.with(2).bits() % 3_600_000_000_000,
            sbe: 0,
            pcie_replay: 0,
            sequence: 0,
            listed_next: 0,
            drawn_next: 0,
            drawn_from_ms: 0,
            next_fault_ms: 0,
            overlay: None,
        };
        state.enter_segment(
            owner,
            gpu,
            0,
            owner.key.with(LANE_SEGMENT).with(0).uniform(),
        );
        let level = state.level(laws.climate, state.level_z);
        let (core, memory) = laws
            .climate
            .temperatures_c(level, place(laws.seed, gpu, start));
        (state.core_c, state.memory_c) = (core, memory);
        let drawn = laws.schedule.drawn(gpu, 0, 0).map(|fault| fault.from_ms);
        state.drawn_from_ms = drawn.unwrap_or(u64::MAX);
        state.plan_next_fault(laws, gpu);
        state
    }

    /// The reading at `moment`; none while the GPU is silent.
    pub(crate) fn advance(
        &mut self,
        laws: Laws<'_>,
        gpu: &GpuIdentity,
        owner: JobOwner,
        moment: &Moment,
    ) -> Option<Reading> {
        let mut reset = false;
        if moment.now_ms >= self.next_fault_ms {
            reset = self.begin_faults(laws, gpu, moment.now_ms);
        }
        let effects = match &mut self.overlay {
            Some(overlay) => overlay.advance(moment.now_ms, moment.dt_ms, moment.step),
            None => Effects::default(),
        };
        if reset || effects.reset {
            self.energy_mj = 0;
            self.sw_power_cap_ns = 0;
            self.sbe = 0;
        }
        while moment.now_ms >= self.segment_end_ms {
            self.segment += 1;
            let from = self.segment_end_ms;
            self.enter_segment(owner, gpu, from, 1.0);
        }
        let reading = self.measure(laws, gpu, owner, moment, &effects);
        if effects.silent {
            return None;
        }
        self.sequence += 1;
        Some(Reading {
            sequence: u64::from(self.sequence),
            ..reading
        })
    }

    fn begin_faults(&mut self, laws: Laws<'_>, gpu: &GpuIdentity, now_ms: u64) -> bool {
        let mut begun = Vec::new();
        let listed = laws.schedule.listed(gpu.index);
        while let Some(fault) = listed.get(usize::from(self.listed_next))
            && fault.from_ms <= now_ms
        {
            begun.push(*fault);
            self.listed_next += 1;
        }
        // The gap before the next drawn fault is counted from the one before it, which is drawn again rather than kept.
        let mut origin_ms = (0..self.drawn_next).fold(0, |after_ms, ordinal| {
            let fault = laws.schedule.drawn(gpu, ordinal, after_ms);
            fault.map_or(after_ms, |fault| fault.from_ms)
        });
        while self.drawn_from_ms <= now_ms
            && let Some(fault) = laws.schedule.drawn(gpu, self.drawn_next, origin_ms)
        {
            begun.push(fault);
            origin_ms = fault.from_ms;
            self.drawn_next += 1;
            let next = laws.schedule.drawn(gpu, self.drawn_next, origin_ms);
            self.drawn_from_ms = next.map_or(u64::MAX, |fault| fault.from_ms);
        }
        let overlay = self.overlay.get_or_insert_default();
        let mut reset = false;
        for fault in begun {
            reset |= overlay.begin(fault, now_ms);
        }
        self.plan_next_fault(laws, gpu);
        reset
    }

    fn plan_next_fault(&mut self, laws: Laws<'_>, gpu: &GpuIdentity) {
        let listed = laws
            .schedule
            .listed(gpu.index)
            .get(usize::from(self.listed_next))
            .map_or(u64::MAX, |fault| fault.from_ms);
        self.next_fault_ms = listed.min(self.drawn_from_ms);
    }

    /// Draws segment number `self.segment`, of which the share `left` is to come.
    fn enter_segment(&mut self, owner: JobOwner, gpu: &GpuIdentity, from_ms: u64, left: f64) {
        let key = owner
            .key
            .with(LANE_SEGMENT)
            .with(u64::from(self.segment) + 1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "20 minutes to 8 hours"
        )]
        let lasts = (SEGMENT_MIN_MS * SEGMENT_SPREAD.powf(key.with(1).uniform()) * left) as u64;
        self.segment_end_ms = from_ms + lasts.max(1_000);
        let class = narrow(key.with(2).uniform());
        self.class = if class < IDLE_BELOW {
            Class::Idle
        } else if class < HELD_BELOW {
            Class::Held
        } else {
            Class::Busy
        };
        let own = key.with(LANE_GPU_LEVEL).with(u64::from(gpu.slot)).normal();
        self.level_z = if owner.whole_node {
            let rest = (1.0 - WHOLE_NODE_CORRELATION * WHOLE_NODE_CORRELATION).sqrt();
            WHOLE_NODE_CORRELATION * key.with(3).normal() + rest * own
        } else {
            own
        };
    }

    /// The uniform level of load of a score within this class.
    fn level(&self, climate: &Climate, z: f32) -> f32 {
        let (low, high) = match self.class {
            Class::Idle => (0.0, IDLE_BELOW),
            Class::Held => (IDLE_BELOW, HELD_BELOW),
            Class::Busy => (HELD_BELOW, 1.0),
        };
        low + (high - low) * climate.level(z)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::too_many_lines,
        reason = "every value is clamped to its range; one reading is one list of values"
    )]
    fn measure(
        &mut self,
        laws: Laws<'_>,
        gpu: &GpuIdentity,
        owner: JobOwner,
        moment: &Moment,
        effects: &Effects,
    ) -> Reading {
        let sku = gpu.sku;
        let own = laws.seed.with(u64::from(gpu.index));
        let step = own.with(LANE_STEP).with(moment.step);
        let dice = [step.bits(), step.with(1).bits(), step.with(2).bits()];
        let roll = |at: usize| ((dice[at / 4] >> (16 * (at % 4))) & 0xffff) as f32 / 65_536.0;
        let limit = f32::from(sku.power_limit_w);
        let idle = f32::from(sku.idle_w);

        let class = if effects.busy {
            Class::Busy
        } else {
            self.class
        };
        let noise = NOISE[self.class as usize];
        let fast = self.level_z * (1.0 - noise * noise).sqrt() + noise * normal(dice[2]);
        let mut watts = scaled_power(laws.climate.power_w(self.level(laws.climate, fast)), sku);
        let mut slow = self.level(laws.climate, self.level_z);
        if effects.busy && self.class != Class::Busy {
            watts = limit * (0.86 + 0.1 * roll(0));
            slow = 0.8;
        }
        if effects.power_brake {
            watts = idle + (watts - idle) * 0.55;
        }
        let work = ((watts - idle) / (limit - idle)).clamp(0.0, 1.0);

        let (mut core, mut memory) = laws
            .climate
            .temperatures_c(slow, place(laws.seed, gpu, moment.time));
        core = (core + sku.hotter_by_c * work).min(f32::from(sku.max_op_c) - HEALTHY_MARGIN_C);
        let memory_max = f32::from(sku.memory_max_op_c.unwrap_or(95));
        memory = memory.min(memory_max - HEALTHY_MEMORY_MARGIN_C);
        let slowdown = f32::from(sku.slowdown_or_derived_c());
        if effects.drift_c > 0.0 {
            core = (core + effects.drift_c).min(f32::from(sku.max_op_c) - 3.0);
        }
        if effects.overheat {
            core = slowdown + 30.0;
        }
        if effects.memory_overheat {
            memory = memory_max + 20.0;
        }
        self.core_c += (core - self.core_c) * moment.core_follow;
        self.memory_c += (memory - self.memory_c) * moment.memory_follow;
        if effects.overheat {
            self.core_c = self.core_c.min(slowdown + 1.0);
        }
        if effects.memory_overheat {
            self.memory_c = self.memory_c.min(memory_max - 1.0);
        }

        let mut throttle = 0;
        let mut clock = 1.0;
        let dt_ns = moment.dt_ms * 1_000_000;
        match class {
            Class::Idle => throttle |= THROTTLE_IDLE,
            Class::Held => {}
            Class::Busy => {
                if watts >= limit * CAPPED_FROM {
                    throttle |= THROTTLE_POWER_CAP;
                    self.sw_power_cap_ns += dt_ns;
                    clock = 0.90 + 0.05 * roll(1);
                }
            }
        }
        if effects.overheat && self.core_c >= slowdown - 1.0 {
            throttle |= THROTTLE_HW_THERMAL;
            clock *= 0.6;
            if let Some(overlay) = &mut self.overlay {
                overlay.hw_thermal_ns += dt_ns;
                overlay.thermal_violation_ns += dt_ns;
            }
        }
        if effects.power_brake {
            throttle = (throttle & !THROTTLE_POWER_CAP) | THROTTLE_BRAKE;
            clock *= 0.5;
        }

        let power_mw = (watts * 1_000.0) as u32;
        self.energy_mj += u64::from(power_mw) * moment.dt_ms / 1_000;
        let sbe_rate = sbe_per_hour(own);
        if sbe_rate > 0.0 {
            let expected = sbe_rate * moment.dt_ms as f64 / MS_PER_HOUR;
            self.sbe += (expected + unit(dice[1])) as u32;
        }
        // A replay every few days on a healthy link.
        self.pcie_replay += u32::from(unit(dice[0]) < moment.dt_ms as f64 / (72.0 * MS_PER_HOUR));

        let percent = |share: f32| (share.clamp(0.0, 1.0) * 100.0) as u8;
        let bp = |share: f32| (share.clamp(0.0, 1.0) * 10_000.0) as u16;
        let job_key = owner
            .key
            .with(LANE_SEGMENT)
            .with(u64::from(self.segment) + 1);
        let habit = |lane: u64| narrow(job_key.with(lane).uniform());
        let (active, util, fb_share) = match class {
            Class::Idle => (0.0, 0.0, 0.0),
            Class::Held => (0.06 * roll(2), 0.15 * roll(3), 0.2 + 0.7 * habit(11)),
            Class::Busy => (
                0.45 + 0.5 * work - 0.05 * roll(2),
                0.90 + 0.10 * roll(3),
                0.55 + 0.43 * habit(11),
            ),
        };
        let busy = if class == Class::Busy { 1.0 } else { 0.0 };
        let fb_usable = sku.fb_total_mib - sku.fb_reserved_mib;
        let fb_used = ((fb_share * fb_usable as f32) as u32 + 3).min(fb_usable);
        let lanes = if effects.narrow_pcie { 8 } else { 16 };
        let pcie_bytes = 0.6 * f32::from(sku.pcie_gen) * f32::from(lanes) * 246.0e6;
        let traffic = |peak: f32, share: f32| (peak * share.clamp(0.0, 1.0) / 10_000.0) as u32;
        let nvlink_peak = sku.nvlink_bytes_per_sec as f32;
        let overlay = self.overlay.as_deref();
        let marks = |mark: fn(&Overlay) -> u32| overlay.map_or(0, mark);
        let base_remaps = own.with(LANE_LIFE).with(3).below(1_000);
        let asleep = sku.pcie_sleeps && class == Class::Idle;

        Reading {
            gpu: *gpu,
            time: moment.time.plus_millis(effects.clock_ahead_ms),
            sequence: 0,
            latency_ms: moment.latency_ms,
            job: (self.class != Class::Idle).then(|| job(job_key)),
            delivery: effects.delivery,
            blank: effects.blank,
            gpu_temp_c: self.core_c.round() as i16,
            memory_temp_c: sku.memory_max_op_c.map(|_| self.memory_c.round() as i16),
            power_mw,
            throttle_reasons: throttle,
            thermal_violation_ns: overlay.map_or(0, |o| o.thermal_violation_ns),
            power_violation_ns: self.sw_power_cap_ns,
            hw_thermal_ns: overlay.map_or(0, |o| o.hw_thermal_ns),
            power_brake_ns: overlay.map_or(0, |o| o.power_brake_ns),
            sw_power_cap_ns: self.sw_power_cap_ns,
            fb_used_mib: fb_used,
            fb_free_mib: fb_usable - fb_used,
            sbe_volatile: u64::from(self.sbe) + overlay.map_or(0, |o| o.sbe_volatile),
            dbe_volatile: marks(|o| o.dbe_volatile),
            sbe_aggregate: lifetime_sbe(own, sbe_rate)
                + u64::from(self.sbe)
                + overlay.map_or(0, |o| o.sbe_aggregate),
            dbe_aggregate: marks(|o| o.dbe_aggregate),
            row_remap_correctable: u16::from(base_remaps < 6),
            row_remap_uncorrectable: u16::from(base_remaps < 2)
                + overlay.map_or(0, |o| o.row_remap_uncorrectable),
            row_remap_pending: overlay.is_some_and(|o| o.row_remap_pending),
            row_remap_failure: overlay.is_some_and(|o| o.row_remap_failure),
            sm_active: bp(active),
            sm_occupancy: bp(active * (0.25 + 0.4 * habit(12))),
            tensor_active: bp(active * (0.1 + 0.7 * habit(13)) * (0.9 + 0.1 * roll(4))),
            dram_active: bp(active * (0.2 + 0.6 * habit(14)) * (0.9 + 0.1 * roll(5))),
            gr_engine_active: bp(if class == Class::Busy {
                0.97 + 0.03 * roll(6)
            } else {
                active
            }),
            pcie_tx: traffic(pcie_bytes, busy * 0.1 * habit(15) * roll(7) + 0.000_01),
            pcie_rx: traffic(pcie_bytes, busy * 0.5 * habit(16) * roll(6) + 0.000_01),
            nvlink_tx: traffic(nvlink_peak, busy * work * 0.5 * habit(17) * roll(5)),
            nvlink_rx: traffic(nvlink_peak, busy * work * 0.5 * habit(17) * roll(4)),
            gpu_util_pct: percent(util),
            mem_copy_util_pct: percent(active * 0.7 * habit(14)),
            encoder_util_pct: 0,
            decoder_util_pct: percent(busy * 0.1 * habit(18) * roll(3)),
            sm_clock_mhz: match class {
                Class::Idle => sku.sm_idle_mhz,
                Class::Held | Class::Busy => (f32::from(sku.sm_max_mhz) * clock / 15.0) as u16 * 15,
            },
            energy_mj: self.energy_mj,
            pcie_gen: if asleep { 1 } else { sku.pcie_gen },
            pcie_width: lanes,
            pcie_replay: self.pcie_replay,
            pcie_correctable: self.pcie_replay,
            nvlink_crc_flit: marks(|o| o.nvlink_crc_flit),
            nvlink_crc_data: marks(|o| o.nvlink_crc_data),
            nvlink_replay: marks(|o| o.nvlink_replay),
            nvlink_recovery: marks(|o| o.nvlink_recovery),
            last_xid: overlay.map_or(0, |o| o.last_xid),
            xid_counts: overlay.map_or_else(Default::default, Overlay::xid_counts),
            recovery_action: overlay.map_or(0, |o| o.recovery_action),
        }
    }
}

fn scaled_power(a100_w: f32, sku: &crate::sku::Sku) -> f32 {
    let (limit, idle) = (f32::from(sku.power_limit_w), f32::from(sku.idle_w));
    (idle + (a100_w - 60.0) * (limit - idle) / 340.0).clamp(0.75 * idle, 1.5 * limit)
}

fn place(seed: Key, gpu: &GpuIdentity, time: Timestamp) -> Place {
    let own = seed.with(u64::from(gpu.index));
    let at = |lane: u64, number: u32| seed.with(lane).with(u64::from(number));
    Place {
        gpu: own.with(LANE_PLACE_GPU).normal(),
        host: at(LANE_PLACE_HOST, gpu.host).normal(),
        rack: at(LANE_PLACE_RACK, gpu.rack).normal(),
        day: time_of_day(time.as_millis(), at(LANE_DAY, gpu.datacenter).uniform()),
        memory: own.with(LANE_PLACE_MEMORY).normal(),
    }
}
