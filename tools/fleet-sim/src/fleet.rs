//! The fleet: its GPUs, stepped through time, and the records that they make.

use crate::acme::{KALOS, SEREN};
use crate::climate::Climate;
use crate::gpu::{GpuState, Laws};
use crate::json::{break_event, write_event};
use crate::moment::Moment;
use crate::random::Key;
use crate::reading::{Delivery, Reading};
use crate::schedule::{Fault, FaultPlan, GroundTruth, InvalidFault, Schedule};
use crate::topology::{GPUS_PER_HOST, GpuIdentity, JobOwner, ModelMix};
use schema::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest fleet.
pub const MAX_GPUS: u32 = 1_000_000;
/// From event time to the broker's append time, in milliseconds, where the simulation decides it.
pub const APPEND_DELAY_MS: i64 = 100;

const LANE_PHASE: u64 = 41;
const LANE_LATENCY: u64 = 42;
const LANE_BOOT: u64 = 43;

/// What fleet to simulate.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Everything follows from it.
    pub seed: u64,
    /// GPUs, 1 to [`MAX_GPUS`]. A larger fleet holds the smaller one unchanged.
    pub gpus: u32,
    /// Event time of the start.
    pub start: Timestamp,
    /// Milliseconds from one reading of a GPU to the next.
    pub interval_ms: u32,
    /// Hosts read at points of the interval of their own, as a collector would, instead of all at its beginning.
    pub spread: bool,
    /// Milliseconds of event time after which the fleet ends; without it, never.
    pub duration_ms: Option<u64>,
    /// Models.
    pub models: ModelMix,
    /// Faults.
    pub faults: FaultPlan,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            gpus: 64,
            start: Timestamp::from_millis(1_770_805_800_000),
            interval_ms: 10_000,
            spread: true,
            duration_ms: None,
            models: ModelMix::default(),
            faults: FaultPlan::none(),
        }
    }
}

/// A fleet that can't be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFleet {
    /// The number of GPUs is out of range.
    #[error("gpus must be from 1 to {MAX_GPUS}, not {0}")]
    Gpus(u32),
    /// The interval is zero.
    #[error("the interval must be at least 1 ms")]
    Interval,
    /// A fault of the list can't happen.
    #[error(transparent)]
    Fault(#[from] InvalidFault),
}

/// What stays the same while a fleet runs; shared by all who step parts of it.
#[derive(Debug)]
pub struct Plan {
    config: FleetConfig,
    seed: Key,
    schedule: Schedule,
    climates: [Climate; 2],
    boot_id: String,
}

/// The GPUs of one host, stepped together.
#[derive(Debug)]
pub struct HostSim {
    host: u32,
    step: u64,
    last_ms: u64,
    gpus: Vec<GpuState>,
}

/// A record as it would stand in `gpu-metrics-raw`.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Index of the GPU in the fleet.
    pub gpu: u32,
    /// The GPU's UUID.
    pub key: &'a [u8],
    /// JSON; broken where a fault says so.
    pub value: &'a [u8],
    /// Event time, as the value says it (the true one where the value is broken).
    pub event_time: Timestamp,
    /// When a broker would have appended it. Never falls from one record to the next.
    pub append_time: Timestamp,
    /// The reading in it; none for a record that was held back and is sent now.
    pub reading: Option<&'a Reading>,
}

#[derive(Debug)]
struct Held {
    event_time: Timestamp,
    value: Vec<u8>,
}

/// A fleet of GPUs.
///
/// ```
/// let mut fleet = fleet_sim::Fleet::new(fleet_sim::FleetConfig { gpus: 16, ..Default::default() }).unwrap();
/// let mut records = 0;
/// fleet.step(|record| {
///     assert!(record.value.starts_with(b"{\"schema_version\":\"1.1\""));
///     records += 1;
/// });
/// assert_eq!(records, 16);
/// ```
#[derive(Debug)]
pub struct Fleet {
    plan: Arc<Plan>,
    hosts: Vec<HostSim>,
    order: Vec<u32>,
    next: usize,
    step: u64,
    held: BTreeMap<u32, Vec<Held>>,
    key: Vec<u8>,
    value: Vec<u8>,
    finished: bool,
}

impl Plan {
    /// Checks `config` and places its faults.
    pub fn new(config: FleetConfig) -> Result<Self, InvalidFleet> {
        if !(1..=MAX_GPUS).contains(&config.gpus) {
            return Err(InvalidFleet::Gpus(config.gpus));
        }
        if config.interval_ms == 0 {
            return Err(InvalidFleet::Interval);
        }
        let seed = Key::new(config.seed);
        let schedule = Schedule::new(seed, &config.models, config.gpus, &config.faults)?;
        Ok(Self {
            seed,
            schedule,
            climates: [Climate::new(&KALOS), Climate::new(&SEREN)],
            // Another start is another run: its sequences begin again.
            boot_id: format!(
                "sim-{:016x}",
                seed.with(LANE_BOOT)
                    .with(config.start.as_millis().unsigned_abs())
                    .bits()
            ),
            config,
        })
    }

    /// What it was made from.
    pub fn config(&self) -> &FleetConfig {
        &self.config
    }

    /// `collector.boot_id` of every record.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Hosts; the last may hold fewer than eight GPUs.
    pub fn hosts(&self) -> u32 {
        self.config.gpus.div_ceil(GPUS_PER_HOST)
    }

    /// Who GPU number `index` is.
    pub fn gpu(&self, index: u32) -> GpuIdentity {
        GpuIdentity::new(self.seed, &self.config.models, index)
    }

    /// The GPUs of host number `host`.
    pub fn gpus_of(&self, host: u32) -> impl Iterator<Item = GpuIdentity> + '_ {
        let first = host * GPUS_PER_HOST;
        (first..(first + GPUS_PER_HOST).min(self.config.gpus)).map(|index| self.gpu(index))
    }

    /// Milliseconds into each interval at which `host` is read.
    pub fn phase_ms(&self, host: u32) -> u64 {
        if self.config.spread {
            let key = self.seed.with(LANE_PHASE).with(u64::from(host));
            u64::from(key.below(self.config.interval_ms))
        } else {
            0
        }
    }

    /// Every fault that begins in `[from_ms, until_ms)` after the start.
    pub fn faults_between(&self, from_ms: u64, until_ms: u64) -> impl Iterator<Item = Fault> + '_ {
        self.schedule
            .between(&self.config.models, self.config.gpus, from_ms, until_ms)
    }

    /// The ground truth about `fault`.
    pub fn ground_truth(&self, fault: &Fault) -> GroundTruth {
        fault.ground_truth(&self.gpu(fault.gpu), self.config.start)
    }

    /// The event time `after_ms` after the start.
    pub fn time(&self, after_ms: u64) -> Timestamp {
        self.config
            .start
            .plus_millis(i64::try_from(after_ms).unwrap_or(i64::MAX))
    }

    /// Appends `reading` as JSON, whole.
    pub fn write_json(&self, reading: &Reading, out: &mut Vec<u8>) {
        write_event(reading, &self.boot_id, out);
    }

    pub(crate) fn seed(&self) -> Key {
        self.seed
    }

    fn laws(&self, gpu: &GpuIdentity) -> Laws<'_> {
        Laws {
            seed: self.seed,
            climate: &self.climates[gpu.cluster as usize % 2],
            schedule: &self.schedule,
        }
    }

    fn owner(&self, gpu: &GpuIdentity) -> JobOwner {
        gpu.job_owner(self.seed)
    }
}

impl HostSim {
    /// Host number `host`, before its first reading.
    pub fn new(plan: &Plan, host: u32) -> Self {
        let gpus = plan
            .gpus_of(host)
            .map(|gpu| GpuState::new(plan.laws(&gpu), &gpu, plan.owner(&gpu), plan.config.start))
            .collect();
        Self {
            host,
            step: 0,
            last_ms: 0,
            gpus,
        }
    }

    /// Moves on to `now_ms` after the start, which must not be before the last call's, and visits the reading of each GPU
    /// that gives one, in the order of their slots.
    pub fn advance(&mut self, plan: &Plan, now_ms: u64, mut visit: impl FnMut(Reading)) {
        let dt_ms = if self.step == 0 {
            u64::from(plan.config.interval_ms)
        } else {
            now_ms.saturating_sub(self.last_ms)
        };
        let latency = plan
            .seed
            .with(LANE_LATENCY)
            .with(u64::from(self.host))
            .with(self.step);
        #[expect(clippy::cast_possible_truncation, reason = "below 57")]
        let latency_ms = 4 + (latency.below(8) * latency.with(0).below(8)) as u16;
        let moment = Moment::new(now_ms, dt_ms, self.step, plan.time(now_ms), latency_ms);
        for (state, gpu) in self.gpus.iter_mut().zip(plan.gpus_of(self.host)) {
            if let Some(reading) = state.advance(plan.laws(&gpu), &gpu, plan.owner(&gpu), &moment) {
                visit(reading);
            }
        }
        self.step += 1;
        self.last_ms = now_ms;
    }
}

impl Fleet {
    /// A fleet before its first reading.
    pub fn new(config: FleetConfig) -> Result<Self, InvalidFleet> {
        let plan = Arc::new(Plan::new(config)?);
        let hosts: Vec<_> = (0..plan.hosts())
            .map(|host| HostSim::new(&plan, host))
            .collect();
        let mut order: Vec<_> = (0..plan.hosts()).collect();
        order.sort_by_key(|host| (plan.phase_ms(*host), *host));
        Ok(Self {
            plan,
            hosts,
            order,
            next: 0,
            step: 0,
            held: BTreeMap::new(),
            key: Vec::new(),
            value: Vec::new(),
            finished: false,
        })
    }

    /// What stays the same.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Milliseconds after the start at which the next host is read; none at the end.
    pub fn next_ms(&self) -> Option<u64> {
        let host = *self.order.get(self.next)?;
        let at = self.step * u64::from(self.plan.config.interval_ms) + self.plan.phase_ms(host);
        let over = self
            .plan
            .config
            .duration_ms
            .is_some_and(|duration| at >= duration);
        (!over).then_some(at)
    }

    /// Reads every host once and visits its records in the order in which they would be appended. False at the end.
    pub fn step(&mut self, mut visit: impl FnMut(Record<'_>)) -> bool {
        let step = self.step;
        while self.step == step {
            if !self.step_host(&mut visit) {
                return false;
            }
        }
        true
    }

    /// Reads the next host and visits its records. False at the end, after what was held back has been visited.
    pub fn step_host(&mut self, visit: impl FnMut(Record<'_>)) -> bool {
        self.next_ms().map_or_else(
            || false,
            |at| {
                self.step_host_at(at, visit);
                true
            },
        )
    }

    /// As [`Fleet::step_host`], at a time of the caller's choosing, which must not fall from one call to the next. For
    /// fleets that run beside a real clock.
    pub fn step_host_at(&mut self, now_ms: u64, mut visit: impl FnMut(Record<'_>)) {
        let Some(host) = self.order.get(self.next).copied() else {
            return;
        };
        let plan = Arc::clone(&self.plan);
        let append_time = plan.time(now_ms).plus_millis(APPEND_DELAY_MS);
        let (held, key, value) = (&mut self.held, &mut self.key, &mut self.value);
        self.hosts[host as usize].advance(&plan, now_ms, |reading| {
            let gpu = reading.gpu.index;
            key.clear();
            reading.gpu.write_uuid(key);
            value.clear();
            write_event(&reading, plan.boot_id(), value);
            if reading.delivery == Delivery::Held {
                held.entry(gpu).or_default().push(Held {
                    event_time: reading.time,
                    value: std::mem::take(value),
                });
                return;
            }
            if !held.is_empty() {
                for late in held.remove(&gpu).unwrap_or_default() {
                    visit(Record {
                        gpu,
                        key,
                        value: &late.value,
                        event_time: late.event_time,
                        append_time,
                        reading: None,
                    });
                }
            }
            if let Delivery::Broken(way) = reading.delivery {
                break_event(value, 0, way);
            }
            let times = if reading.delivery == Delivery::Twice {
                2
            } else {
                1
            };
            for _ in 0..times {
                visit(Record {
                    gpu,
                    key,
                    value,
                    event_time: reading.time,
                    append_time,
                    reading: Some(&reading),
                });
            }
        });
        self.next += 1;
        if self.next == self.order.len() {
            self.next = 0;
            self.step += 1;
        }
    }

    /// Visits what is still held back, as if its fault ended now.
    pub fn finish(&mut self, mut visit: impl FnMut(Record<'_>)) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let end = self.step * u64::from(self.plan.config.interval_ms);
        let append_time = self.plan.time(end).plus_millis(APPEND_DELAY_MS);
        for (gpu, held) in std::mem::take(&mut self.held) {
            self.key.clear();
            self.plan.gpu(gpu).write_uuid(&mut self.key);
            for late in held {
                visit(Record {
                    gpu,
                    key: &self.key,
                    value: &late.value,
                    event_time: late.event_time,
                    append_time,
                    reading: None,
                });
            }
        }
    }

    /// Steps through the whole duration and visits every record.
    ///
    /// A fleet without a duration never comes back from this.
    pub fn run(&mut self, mut visit: impl FnMut(Record<'_>)) {
        while self.step_host(&mut visit) {}
        self.finish(visit);
    }
}

#[cfg(test)]
mod tests;
