//! What holds for every GPU, whatever happens to it; the submodules have a test a factor with the source of its numbers, the
//! score as a whole, and the defects of the system before this one.

mod memory;
mod original;
mod power;
mod reliability;
mod thermal;
mod whole;

use crate::domain::dimension::{Dimension, Profile};
use crate::domain::factor::{DAY_MS, Factor};
use crate::domain::fixture::Gpu;
use crate::domain::judge::judge;
use crate::domain::number;
use proptest::prelude::*;
use serde_json::json;

const HOUR_MS: i64 = 3_600_000;

/// Points, cap, value.
type Taken = Option<(f64, Option<f64>, Option<f64>)>;

/// A factor after a change to a healthy GPU and one more reading.
fn after(factor: Factor, change: impl FnOnce(&mut Gpu)) -> Taken {
    let mut gpu = Gpu::new();
    change(&mut gpu);
    gpu.step();
    gpu.factor(factor)
}

/// Something that happens to a GPU at a reading.
#[derive(Clone, Debug)]
enum Happening {
    Nothing,
    /// A path is set to a value.
    Level(&'static str, i64),
    /// A counter grows.
    Count(&'static str, u64),
    /// An Xid comes up.
    Xid(u16),
    /// The driver is loaded again.
    Reload,
    /// Minutes without a reading.
    Silence(i64),
    /// Days pass.
    Days(i64),
    /// A group is not read.
    Blank(&'static str),
}

use Happening::{Blank, Count, Days, Level, Nothing, Reload, Silence, Xid};

const COUNTERS: &[&str] = &[
    "memory.ecc_sbe_volatile",
    "memory.ecc_dbe_volatile",
    "memory.row_remap_uncorrectable",
    "interconnect.pcie_replay",
    "interconnect.nvlink_replay",
    "interconnect.nvlink_crc_flit",
];

const XIDS: &[u16] = &[
    13, 31, 43, 48, 63, 64, 74, 79, 92, 94, 95, 109, 119, 121, 140, 144, 167,
];

/// A fault: something that can only be bad. Each level has one value, so that none takes the place of a worse one.
fn fault() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (prop::sample::select(COUNTERS), 1..2_000_u64).prop_map(|(path, n)| Count(path, n)),
        prop::sample::select(XIDS).prop_map(Xid),
        prop::sample::select(
            &[
                ("memory.row_remap_pending", 1),
                ("memory.row_remap_failure", 1),
                ("memory.sram_threshold_exceeded", 1),
                ("memory.memory_unrepairable", 1),
                ("memory.bank_remap_avail.low", 3),
                ("memory.bank_remap_avail.none", 1),
                ("memory.retired_pages_dbe", 40),
                ("errors.recovery_action", 2),
                ("interconnect.pcie_width", 8),
                ("interconnect.pcie_gen", 3),
                ("interconnect.nvlink_links_up", 16),
                ("health.temp_limit_margin_c", -5),
                ("health.memory_temp_c", 93),
                ("health.throttle_reasons", 0xe8),
                ("power.enforced_limit_w", 400),
            ][..]
        )
        .prop_map(|(path, value)| Level(path, value)),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => Just(Nothing),
        4 => fault(),
        1 => Just(Reload),
        1 => (1..30_i64).prop_map(Silence),
        1 => (1..20_i64).prop_map(Days),
        1 => prop::sample::select(&["memory", "errors", "interconnect", "performance"][..]).prop_map(Blank),
    ]
}

fn apply(gpu: &mut Gpu, happening: &Happening) {
    let kept = gpu.metrics.clone();
    match happening {
        Nothing => {}
        Level(path, value) => {
            gpu.set(path, *value);
        }
        Count(path, n) => {
            gpu.add(path, *n);
        }
        Xid(code) => {
            gpu.set("errors.xid_counts", json!({ code.to_string(): 1 }));
        }
        Reload => {
            for path in COUNTERS.iter().filter(|path| !path.contains("remap")) {
                gpu.set(path, 0);
            }
            gpu.set("power.total_energy_mj", 1);
        }
        Silence(minutes) => {
            gpu.pass(minutes * 60_000);
        }
        Days(days) => {
            gpu.pass(days * DAY_MS);
        }
        Blank(group) => {
            gpu.set(group, json!(null));
        }
    }
    gpu.step();
    let _written = judge("GPU-1", &mut gpu.state, gpu.clock, &gpu.rules);
    match happening {
        Blank(_) => gpu.metrics = kept,
        Xid(_) => {
            gpu.set("errors.xid_counts", json!({}));
        }
        Reload => {
            gpu.add("power.total_energy_mj", 1_000_000);
        }
        _ => {}
    }
}

/// Whole steps of watched time.
fn days_ms(days: f64) -> i64 {
    let steps = number::whole(days * DAY_MS as f64 / 10_000.0).unwrap();
    i64::try_from(steps).unwrap() * 10_000
}

/// What rounding to hundredths and a fault's time within one occurrence can make up.
const TOLERANCE: f64 = 0.02;

proptest! {
    #[test]
    fn a_score_is_within_bounds_below_its_caps_and_the_mean_of_what_is_known(
        happenings in prop::collection::vec(happening(), 1..60),
        is_evidence in any::<bool>(),
    ) {
        let mut gpu = Gpu::new();
        if is_evidence {
            gpu.rules.weights = Profile::Evidence.weights();
        }
        for happening in &happenings {
            apply(&mut gpu, happening);
            let assessment = gpu.assess();
            let caps: Vec<f64> = assessment.findings.iter().filter_map(|f| f.cap(&gpu.rules)).collect();
            let cap = caps.iter().copied().fold(100.0, f64::min);
            let (mut sum, mut weight) = (0.0, 0.0);
            for dimension in Dimension::ALL {
                let points: f64 = assessment.findings.iter()
                    .filter(|f| f.factor.spec().dimension == dimension)
                    .map(|f| f.points)
                    .sum();
                prop_assert!(points >= 0.0);
                let Some(known) = assessment.dimensions[dimension.index()] else { continue };
                prop_assert!((0.0..=100.0).contains(&known));
                prop_assert!((known - (100.0 - points).max(0.0)).abs() < 1e-9);
                sum += known * gpu.rules.weights[dimension.index()];
                weight += gpu.rules.weights[dimension.index()];
            }
            prop_assert!((0.0..=1.0).contains(&assessment.confidence));
            if let Some(overall) = assessment.overall {
                prop_assert!((0.0..=100.0).contains(&overall));
                prop_assert!(overall <= cap);
                if weight > 0.0 {
                    prop_assert!((overall - (sum / weight).min(cap)).abs() <= 0.005 + 1e-9);
                }
            } else {
                prop_assert!(assessment.confidence < 0.5 && cap >= 50.0);
            }
            for finding in &assessment.findings {
                let rule = gpu.rules.of(finding.factor);
                prop_assert!(finding.points <= rule.max_points);
                let is_filled_in = !finding.evidence().contains('{');
                prop_assert!(is_filled_in);
            }
        }
    }

    #[test]
    fn one_more_fault_never_raises_a_score(
        before in prop::collection::vec(happening(), 0..25),
        fault in fault(),
        after in prop::collection::vec(happening(), 0..25),
    ) {
        // The same life twice, one with a fault more. Its levels stay: a fault that ends early is a repair.
        let mut sound = Gpu::new();
        for happening in &before {
            apply(&mut sound, happening);
        }
        let mut faulty = sound.clone();
        apply(&mut sound, &Nothing);
        apply(&mut faulty, &fault);
        for happening in std::iter::once(&Nothing).chain(&after) {
            // What the fault left stands wherever the life of both would set it right.
            if let (Level(path, _), Level(other, _)) = (&fault, happening) && path == other {
                continue;
            }
            if let (Count(..), Reload) = (&fault, happening) {
                continue;
            }
            // A blank would hide the repeat of an Xid in one life only.
            apply(&mut sound, happening);
            apply(&mut faulty, happening);
            let (a, b) = (sound.assess(), faulty.assess());
            prop_assert_eq!(a.dimensions.map(|d| d.is_some()), b.dimensions.map(|d| d.is_some()));
            if let (Some(a), Some(b)) = (a.overall, b.overall) {
                prop_assert!(b <= a + TOLERANCE, "{b} > {a} after {fault:?}, {happening:?}: {:?} {:?}", sound.names(), faulty.names());
            }
        }
    }

    #[test]
    fn what_happened_weighs_half_after_its_half_life(which in 0..3_usize, days in 0.0..60.0_f64) {
        let (code, factor) = [(48, Factor::DoubleBitEcc), (119, Factor::FatalXid), (94, Factor::ContainedEcc)][which];
        let mut gpu = Gpu::new();
        apply(&mut gpu, &Xid(code));
        let rule = *gpu.rules.of(factor);
        let half_life = rule.half_life_days.unwrap();
        gpu.pass(days_ms(days));
        let taken = gpu.finding(factor).unwrap().points;
        gpu.clock.stream_ms += days_ms(half_life);
        let later = gpu.finding(factor).unwrap().points;
        prop_assert!((later - taken / 2.0).abs() < 1e-9);
        prop_assert!((taken - rule.points * (-days / half_life).exp2()).abs() < 1e-3);
    }
}
