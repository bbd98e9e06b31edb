//! When which fault strikes which GPU, and the ground truth about it.

use crate::fault::{Expectation, FaultKind};
use crate::random::Key;
use crate::sku::{SKUS, Sku};
use crate::topology::{GPUS_PER_HOST, GpuIdentity, ModelMix};
use rustc_hash::FxHashMap;
use schema::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

const LANE_LEMON: u64 = 11;
const LANE_GAP: u64 = 12;
const LANE_KIND: u64 = 13;
const LANE_PLACE: u64 = 14;

/// Faults concentrate on few GPUs (`InfiniteHBD`: 26 % of faults repeat within a week on the same node): one in twenty
/// fails ten times as often, the others less, so that the fleet's rate stays.
const LEMON_SHARE: f64 = 0.05;
const LEMON_FACTOR: f64 = 10.0;

/// The demonstration list: each kind once an hour, for a day.
const DEMO_ROUNDS: u32 = 24;
const DEMO_ROUND_S: f64 = 3_600.0;
const DEMO_FIRST_S: f64 = 20.0;
const DEMO_STEP_S: f64 = 5.0;
const DEMO_LONGEST_S: u32 = 1_200;
/// A reboot silences a whole host; in a fleet smaller than this it would hide the other faults.
const DEMO_REBOOT_MIN_GPUS: u32 = 4 * GPUS_PER_HOST;

/// One fault of a list. Written as JSON: `{"kind":"dbe","gpu":3,"from_s":60,"for_s":600}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What happens.
    pub kind: FaultKind,
    /// To which GPU (index in the fleet); without it the seed decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// When, in seconds after the start.
    pub from_s: f64,
    /// For how long, in seconds; without it as long as the kind usually lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
}

/// Which faults are injected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// These.
    pub listed: Vec<FaultSpec>,
    /// And those that the rates of [`FaultKind`] draw, times this factor.
    pub rate_scale: f64,
}

impl FaultPlan {
    /// A fleet without faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults at the published rates.
    pub fn rates() -> Self {
        Self {
            listed: Vec::new(),
            rate_scale: 1.0,
        }
    }

    /// For demonstrations: every kind once an hour, the first ones within two minutes, and the rates besides.
    pub fn demo(gpus: u32) -> Self {
        let listed = (0..DEMO_ROUNDS)
            .flat_map(|round| {
                FaultKind::ALL
                    .iter()
                    .zip(0_u32..)
                    .map(move |(kind, at)| (round, *kind, at))
            })
            .filter(|(_, kind, _)| *kind != FaultKind::HostReboot || gpus >= DEMO_REBOOT_MIN_GPUS)
            .map(|(round, kind, at)| FaultSpec {
                kind,
                gpu: None,
                from_s: f64::from(round) * DEMO_ROUND_S
                    + DEMO_FIRST_S
                    + f64::from(at) * DEMO_STEP_S,
                for_s: Some(f64::from(kind.facts().lasts_s.min(DEMO_LONGEST_S))),
            })
            .collect();
        Self {
            listed,
            rate_scale: 1.0,
        }
    }

    /// Reads a list: one [`FaultSpec`] as JSON on each line; empty lines and lines that start with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut listed = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let spec: FaultSpec = serde_json::from_str(line)
                .map_err(|error| format!("line {}: {error}", number + 1))?;
            listed.push(spec);
        }
        Ok(Self {
            listed,
            rate_scale: 0.0,
        })
    }
}

/// What names a fault for ever: where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultId {
    /// The n-th of the list.
    Listed(u32),
    /// The n-th that the rates drew for a GPU.
    Drawn {
        /// The GPU.
        gpu: u32,
        /// Counted from 0.
        ordinal: u32,
    },
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(n) => write!(f, "listed-{n}"),
            Self::Drawn { gpu, ordinal } => write!(f, "drawn-{gpu}-{ordinal}"),
        }
    }
}

/// One fault of one GPU, in milliseconds since the start of the simulation: `[from, until)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name. The eight faults of a host's reboot share one.
    pub id: FaultId,
    /// What happens.
    pub kind: FaultKind,
    /// To which GPU.
    pub gpu: u32,
    /// First instant.
    pub from_ms: u64,
    /// First instant after it.
    pub until_ms: u64,
}

/// One line of the ground-truth file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    /// The fault's name.
    pub fault_id: String,
    /// What happened.
    pub kind: FaultKind,
    /// To which GPU.
    pub gpu_uuid: String,
    /// The same as an index in the fleet.
    pub gpu: u32,
    /// On which host.
    pub hostname: String,
    /// First instant, in event time.
    pub from: Timestamp,
    /// First instant after it.
    pub until: Timestamp,
    /// What a pipeline should make of it.
    pub expect: Expectation,
    /// The rules that should fire.
    pub rules: Vec<String>,
    /// The Xid that comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u16>,
}

/// A fault that can't happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {number} of the list: {reason}")]
pub struct InvalidFault {
    /// Counted from 0.
    pub number: usize,
    /// What is wrong.
    pub reason: String,
}

#[derive(Debug)]
struct SkuRates {
    per_ms: f64,
    cumulative: Vec<(f64, FaultKind)>,
}

/// Every fault of a fleet.
#[derive(Debug)]
pub(crate) struct Schedule {
    seed: Key,
    listed: FxHashMap<u32, Vec<Fault>>,
    in_order: Vec<Fault>,
    rates: Vec<(&'static str, SkuRates)>,
}

impl Schedule {
    pub(crate) fn new(
        seed: Key,
        mix: &ModelMix,
        gpus: u32,
        plan: &FaultPlan,
    ) -> Result<Self, InvalidFault> {
        let mut schedule = Self {
            seed,
            listed: FxHashMap::default(),
            in_order: Vec::new(),
            rates: if plan.rate_scale > 0.0 {
                SKUS.iter()
                    .map(|sku| (sku.id, SkuRates::of(sku, plan.rate_scale)))
                    .collect()
            } else {
                Vec::new()
            },
        };
        for (number, spec) in plan.listed.iter().enumerate() {
            let invalid = |reason: String| InvalidFault { number, reason };
            let facts = spec.kind.facts();
            let for_s = spec.for_s.unwrap_or(f64::from(facts.lasts_s));
            if !(spec.from_s >= 0.0 && for_s > 0.0 && spec.from_s + for_s < 1e9) {
                return Err(invalid(
                    "from_s must be at least 0, for_s above 0, and both below 1e9".to_owned(),
                ));
            }
            let ordinal =
                u32::try_from(number).map_err(|_| invalid("the list is too long".to_owned()))?;
            let gpu = match spec.gpu {
                Some(gpu) if gpu >= gpus => {
                    return Err(invalid(format!("gpu {gpu} is not in a fleet of {gpus}")));
                }
                Some(gpu) if !facts.needs.met_by(GpuIdentity::new(seed, mix, gpu).sku) => {
                    return Err(invalid(format!(
                        "gpu {gpu} is a {}, which can't have {}",
                        GpuIdentity::new(seed, mix, gpu).sku.name,
                        facts.name
                    )));
                }
                Some(gpu) => gpu,
                None => match schedule.place(mix, gpus, spec.kind, ordinal) {
                    Some(gpu) => gpu,
                    None => continue,
                },
            };
            let (from_ms, until_ms) = (millis(spec.from_s), millis(spec.from_s + for_s));
            let struck = if spec.kind == FaultKind::HostReboot {
                let first = gpu - gpu % GPUS_PER_HOST;
                first..(first + GPUS_PER_HOST).min(gpus)
            } else {
                gpu..gpu + 1
            };
            for gpu in struck {
                let fault = Fault {
                    id: FaultId::Listed(ordinal),
                    kind: spec.kind,
                    gpu,
                    from_ms,
                    until_ms,
                };
                schedule.in_order.push(fault);
                schedule.listed.entry(gpu).or_default().push(fault);
            }
        }
        for fault in &schedule.in_order {
            if let Some(faults) = schedule.listed.get_mut(&fault.gpu) {
                faults.sort_by_key(|fault| fault.from_ms);
            }
        }
        Ok(schedule)
    }

    /// A GPU that can have `kind` and has no other listed fault, if there is one; else one that can have it.
    fn place(&self, mix: &ModelMix, gpus: u32, kind: FaultKind, ordinal: u32) -> Option<u32> {
        const TRIES: u64 = 64;
        let key = self.seed.with(LANE_PLACE).with(u64::from(ordinal));
        let candidates = || {
            (0..TRIES)
                .map(|attempt| key.with(attempt).below(gpus))
                .chain(0..gpus.min(4_096))
                .filter(|gpu| {
                    kind.facts()
                        .needs
                        .met_by(GpuIdentity::new(self.seed, mix, *gpu).sku)
                })
        };
        candidates()
            .find(|gpu| !self.listed.contains_key(gpu))
            .or_else(|| candidates().next())
    }

    pub(crate) fn listed(&self, gpu: u32) -> &[Fault] {
        self.listed.get(&gpu).map_or(&[], Vec::as_slice)
    }

    /// The drawn fault number `ordinal` of `gpu`, which comes after the one that began at `after_ms`.
    pub(crate) fn drawn(&self, gpu: &GpuIdentity, ordinal: u32, after_ms: u64) -> Option<Fault> {
        let (_, rates) = self.rates.iter().find(|(id, _)| *id == gpu.sku.id)?;
        let own = self.seed.with(u64::from(gpu.index));
        let factor = if own.with(LANE_LEMON).uniform() < LEMON_SHARE {
            LEMON_FACTOR
        } else {
            (1.0 - LEMON_SHARE * LEMON_FACTOR) / (1.0 - LEMON_SHARE)
        };
        let gap_ms =
            -own.with(LANE_GAP).with(u64::from(ordinal)).uniform().ln() / (rates.per_ms * factor);
        let from_ms = after_ms.checked_add(whole(gap_ms.min(1e15)))?;
        let at = own.with(LANE_KIND).with(u64::from(ordinal)).uniform();
        let kind = rates.cumulative.iter().find(|(upper, _)| at < *upper)?.1;
        Some(Fault {
            id: FaultId::Drawn {
                gpu: gpu.index,
                ordinal,
            },
            kind,
            gpu: gpu.index,
            from_ms,
            until_ms: from_ms + u64::from(kind.facts().lasts_s) * 1_000,
        })
    }

    /// Every fault that begins in `[from_ms, until_ms)`: the listed ones, then the drawn ones, GPU by GPU.
    pub(crate) fn between<'a>(
        &'a self,
        mix: &'a ModelMix,
        gpus: u32,
        from_ms: u64,
        until_ms: u64,
    ) -> impl Iterator<Item = Fault> + 'a {
        let drawn_gpus = if self.rates.is_empty() { 0 } else { gpus };
        let drawn = (0..drawn_gpus).flat_map(move |gpu| {
            let gpu = GpuIdentity::new(self.seed, mix, gpu);
            let mut ordinal = 0;
            let mut after_ms = 0;
            std::iter::from_fn(move || {
                let fault = self.drawn(&gpu, ordinal, after_ms)?;
                ordinal += 1;
                after_ms = fault.from_ms;
                Some(fault)
            })
            .take_while(move |fault| fault.from_ms < until_ms)
        });
        self.in_order
            .iter()
            .copied()
            .chain(drawn)
            .filter(move |fault| (from_ms..until_ms).contains(&fault.from_ms))
    }
}

impl SkuRates {
    fn of(sku: &Sku, scale: f64) -> Self {
        let rates: Vec<_> = FaultKind::ALL
            .iter()
            .map(|kind| (kind.rate_per_gpu_second(sku) * scale / 1_000.0, *kind))
            .collect();
        let total: f64 = rates.iter().map(|(rate, _)| rate).sum();
        let mut sum = 0.0;
        let mut cumulative = Vec::new();
        for (rate, kind) in rates {
            if rate > 0.0 {
                sum += rate / total;
                cumulative.push((sum, kind));
            }
        }
        if let Some(last) = cumulative.last_mut() {
            last.0 = 1.0;
        }
        Self {
            per_ms: total,
            cumulative,
        }
    }
}

impl Fault {
    pub(crate) fn ground_truth(&self, gpu: &GpuIdentity, start: Timestamp) -> GroundTruth {
        let facts = self.kind.facts();
        let at = |ms: u64| start.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        GroundTruth {
            fault_id: self.id.to_string(),
            kind: self.kind,
            gpu_uuid: gpu.uuid(),
            gpu: self.gpu,
            hostname: gpu.hostname(),
            from: at(self.from_ms),
            until: at(self.until_ms),
            expect: facts.expect,
            rules: facts.rules.iter().map(|rule| (*rule).to_owned()).collect(),
            xid: facts.xid,
        }
    }
}

fn millis(seconds: f64) -> u64 {
    whole(seconds * 1_000.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers pass values from 0 to 1e15"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(gpus: u32, plan: &FaultPlan) -> Schedule {
        Schedule::new(Key::new(3), &ModelMix::default(), gpus, plan).unwrap()
    }

    #[test]
    fn drawn_faults_come_at_their_rates_and_do_not_depend_on_the_fleets_size() {
        let mix = ModelMix::only(Sku::by_id("a100").unwrap());
        let day = 86_400_000;
        let plan = FaultPlan::rates();
        let large = Schedule::new(Key::new(3), &mix, 20_000, &plan).unwrap();
        let faults: Vec<_> = large.between(&mix, 20_000, 0, 10 * day).collect();
        let expected: f64 = FaultKind::ALL
            .iter()
            .map(|kind| kind.facts().per_10k_gpu_days[0])
            .sum::<f64>()
            * 2.0
            * 10.0;
        let found = faults.len() as f64;
        assert!(
            (found - expected).abs() < 0.15 * expected,
            "{found} of {expected}"
        );
        let xid31 = faults
            .iter()
            .filter(|fault| fault.kind == FaultKind::AppXid31)
            .count() as f64;
        assert!((xid31 - 2_000.0).abs() < 300.0, "{xid31}");

        let small = Schedule::new(Key::new(3), &mix, 100, &plan).unwrap();
        let of_small: Vec<_> = small.between(&mix, 100, 0, 10 * day).collect();
        let of_large: Vec<_> = faults.into_iter().filter(|fault| fault.gpu < 100).collect();
        assert_eq!(of_small, of_large);
    }

    #[test]
    fn the_demonstration_shows_every_kind_within_three_minutes() {
        let plan = FaultPlan::demo(64);
        let schedule = schedule(64, &plan);
        let mut kinds: Vec<_> = schedule
            .between(&ModelMix::default(), 64, 0, 180_000)
            .map(|fault| fault.kind)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, FaultKind::ALL);
    }

    #[test]
    fn a_list_is_read_and_wrong_lists_name_the_fault() {
        let plan = FaultPlan::parse("# two\n{\"kind\":\"dbe\",\"gpu\":3,\"from_s\":60,\"for_s\":600}\n\n{\"kind\":\"host_reboot\",\"gpu\":9,\"from_s\":1}").unwrap();
        let schedule = schedule(20, &plan);
        assert_eq!(
            schedule.listed(3),
            [Fault {
                id: FaultId::Listed(0),
                kind: FaultKind::Dbe,
                gpu: 3,
                from_ms: 60_000,
                until_ms: 660_000
            }]
        );
        for gpu in 8..16 {
            assert_eq!(schedule.listed(gpu)[0].kind, FaultKind::HostReboot);
        }
        assert!(
            FaultPlan::parse("{\"kind\":\"gremlin\",\"from_s\":1}")
                .unwrap_err()
                .starts_with("line 1")
        );
        let beyond = FaultPlan::parse("{\"kind\":\"dbe\",\"gpu\":20,\"from_s\":1}").unwrap();
        let error = Schedule::new(Key::new(3), &ModelMix::default(), 20, &beyond).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fault 0 of the list: gpu 20 is not in a fleet of 20"
        );
        let t4 = ModelMix::only(Sku::by_id("t4").unwrap());
        let hbm = FaultPlan::parse("{\"kind\":\"hbm_hot\",\"gpu\":0,\"from_s\":1}").unwrap();
        assert!(Schedule::new(Key::new(3), &t4, 20, &hbm).is_err());
    }
}
