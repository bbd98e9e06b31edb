#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "values of a test are small whole numbers"
)]

use super::*;
use crate::acme::Marginals;
use crate::fault::FaultKind;
use crate::schedule::FaultSpec;
use crate::sku::{SKUS, Sku};
use proptest::prelude::*;
use schema::{METRICS, MetricEvent, MetricKind};

fn config(gpus: u32, minutes: u64) -> FleetConfig {
    FleetConfig {
        gpus,
        duration_ms: Some(minutes * 60_000),
        ..FleetConfig::default()
    }
}

fn records(config: FleetConfig) -> Vec<(u32, i64, Vec<u8>)> {
    let mut records = Vec::new();
    Fleet::new(config).unwrap().run(|record| {
        records.push((
            record.gpu,
            record.append_time.as_millis(),
            record.value.to_vec(),
        ));
    });
    records
}

fn fault(kind: FaultKind, gpu: u32, from_s: f64, for_s: f64) -> FaultSpec {
    FaultSpec {
        kind,
        gpu: Some(gpu),
        from_s,
        for_s: Some(for_s),
    }
}

fn with_faults(listed: Vec<FaultSpec>, minutes: u64) -> FleetConfig {
    FleetConfig {
        models: ModelMix::only(Sku::by_id("a100").unwrap()),
        faults: FaultPlan {
            listed,
            rate_scale: 0.0,
        },
        ..config(16, minutes)
    }
}

/// The values of one metric of one GPU, reading by reading; none where it has no value.
fn series(config: FleetConfig, gpu: u32, metric: &str) -> Vec<Option<f64>> {
    let index = schema::metric_index(metric).unwrap();
    records(config)
        .iter()
        .filter(|(of, _, _)| *of == gpu)
        .map(|(_, _, value)| {
            serde_json::from_slice::<MetricEvent<'_>>(value)
                .unwrap()
                .metrics
                .get(index)
        })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let demo = || FleetConfig {
        faults: FaultPlan::demo(64),
        ..config(64, 5)
    };
    let first = records(demo());
    assert!(first.len() > 1_500);
    assert!(first == records(demo()));
    assert!(first != records(FleetConfig { seed: 2, ..demo() }));
}

#[test]
fn a_larger_fleet_holds_the_smaller_one() {
    let rates = |gpus| FleetConfig {
        faults: FaultPlan {
            listed: vec![fault(FaultKind::GpuSilent, 3, 60.0, 60.0)],
            rate_scale: 200.0,
        },
        ..config(gpus, 10)
    };
    let small = records(rates(20));
    let mut large = records(rates(1_000));
    large.retain(|(gpu, _, _)| *gpu < 20);
    let sorted = |mut records: Vec<(u32, i64, Vec<u8>)>| {
        records.sort_by_key(|(gpu, append, _)| (*gpu, *append));
        records
    };
    assert!(sorted(small) == sorted(large));
}

#[test]
fn append_times_never_fall_and_hosts_are_spread_over_the_interval() {
    let records = records(FleetConfig {
        faults: FaultPlan::demo(800),
        ..config(800, 3)
    });
    assert!(records.is_sorted_by_key(|(_, append, _)| *append));
    let mut phases: Vec<_> = records
        .iter()
        .map(|(_, append, _)| append.rem_euclid(10_000) / 1_000)
        .collect();
    phases.sort_unstable();
    phases.dedup();
    assert_eq!(phases.len(), 10);
}

#[test]
fn records_are_about_two_kilobytes() {
    let records = records(config(800, 1));
    let mean = records
        .iter()
        .map(|(_, _, value)| value.len())
        .sum::<usize>()
        / records.len();
    assert!((1_800..2_800).contains(&mean), "{mean}");
}

/// The largest difference of the two distribution functions (Kolmogorov and Smirnov's distance), looked for at whole
/// numbers plus a half, since the traces' temperatures are whole degrees.
fn distance(values: &mut [f64], quantile: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let (first, last) = (quantile(0.001).floor(), quantile(0.999).ceil());
    std::iter::successors(Some(first), |x| Some(x + 1.0))
        .take_while(|x| *x < last)
        .map(|x| {
            let x = x + 0.5;
            let below = values.partition_point(|value| *value <= x) as f64 / values.len() as f64;
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..30 {
                let middle = f64::midpoint(low, high);
                if quantile(middle) <= x {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            (below - low).abs()
        })
        .fold(0.0, f64::max)
}

#[test]
fn power_and_temperatures_of_a100s_have_the_marginals_of_the_acme_traces() {
    // At no value do the shares of time below it differ by more than this.
    const TOLERANCE: f64 = 0.03;
    const TOLERANCE_C: f64 = 2.0;
    let plan = Plan::new(FleetConfig {
        models: ModelMix::only(Sku::by_id("a100").unwrap()),
        ..config(4_096, 0)
    })
    .unwrap();
    let mut samples = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
    for host in 0..plan.hosts() {
        let mut sim = HostSim::new(&plan, host);
        for step in 0..96 {
            sim.advance(&plan, step * 900_000 + plan.phase_ms(host), |reading| {
                if step % 4 == 0 {
                    let of = &mut samples[reading.gpu.cluster as usize % 2];
                    of[0].push(f64::from(reading.power_mw) / 1_000.0);
                    of[1].push(f64::from(reading.gpu_temp_c));
                    of[2].push(f64::from(reading.memory_temp_c.unwrap()));
                }
            });
        }
    }
    let check = |marginals: &Marginals, [power, core, memory]: &mut [Vec<f64>; 3]| {
        assert_eq!(power.len(), 2_048 * 24);
        for (name, distance) in [
            ("power", distance(power, |u| marginals.power_w(u))),
            ("core", distance(core, |u| marginals.gpu_temp_c(u))),
            ("memory", distance(memory, |u| marginals.memory_temp_c(u))),
        ] {
            println!("{} {name}: {distance:.4}", marginals.name);
            assert!(
                distance < TOLERANCE,
                "{} {name}: {distance}",
                marginals.name
            );
        }
        let at = |values: &[f64], u: f64| values[(u * values.len() as f64) as usize];
        for u in [0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99] {
            assert!(
                (at(core, u) - marginals.gpu_temp_c(u)).abs() <= TOLERANCE_C,
                "core at {u}"
            );
            assert!(
                (at(memory, u) - marginals.memory_temp_c(u)).abs() <= TOLERANCE_C,
                "memory at {u}"
            );
        }
    };
    let [kalos, seren] = &mut samples;
    check(&KALOS, kalos);
    check(&SEREN, seren);
}

/// What every reading of a healthy fleet must keep, after the ranges that the validator holds it against.
fn assert_valid(event: &MetricEvent<'_>, sku: &Sku) {
    event.metrics.for_each(|index, value| {
        let metric = METRICS[index];
        assert!(value.is_finite(), "{}", metric.name);
        let range = match metric.unit {
            "Cel" => -20.0..=130.0,
            "W" => 0.0..=2_000.0,
            "%" => 0.0..=100.0,
            "MHz" if metric.name == "sm_clock_mhz" => 100.0..=3_500.0,
            "MHz" => 100.0..=15_000.0,
            _ if metric.kind == MetricKind::Flag => 0.0..=1.0,
            _ => 0.0..=9e15,
        };
        assert!(
            range.contains(&value),
            "{} = {value} on {}",
            metric.name,
            sku.id
        );
    });
    let health = event.metrics.health.as_ref().unwrap();
    assert!(
        health.gpu_temp_c.unwrap() <= f64::from(sku.max_op_c) - 5.0,
        "a healthy GPU keeps its margin"
    );
    assert_eq!(
        health.throttle_reasons.unwrap() as u64 & schema::CONCERN_MASK,
        0
    );
    let memory = event.metrics.memory.as_ref().unwrap();
    assert!(
        memory.fb_used_mib.unwrap() + memory.fb_free_mib.unwrap() <= memory.fb_total_mib.unwrap()
    );
    assert_eq!(memory.ecc_dbe_volatile, Some(0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_fleet_without_faults_is_valid_whatever_its_seed_models_and_interval(
        seed: u64,
        sku in 0..SKUS.len(),
        interval_ms in 100_u32..900_000,
    ) {
        let sku = &SKUS[sku];
        let mut fleet = Fleet::new(FleetConfig {
            seed,
            interval_ms,
            models: ModelMix::only(sku),
            ..config(24, 60)
        }).unwrap();
        let mut sequences = [0_u64; 24];
        let mut energies = [0.0_f64; 24];
        for _ in 0..20 {
            fleet.step(|record| {
                let event: MetricEvent<'_> = serde_json::from_slice(record.value).unwrap();
                assert_valid(&event, sku);
                assert_eq!(event.gpu.gpu_uuid.as_bytes(), record.key);
                assert_eq!(event.timestamp, record.event_time);
                assert!(record.append_time > record.event_time);
                let at = record.gpu as usize;
                sequences[at] += 1;
                assert_eq!(event.collector.unwrap().sequence, Some(sequences[at]));
                let energy = event.metrics.power.unwrap().total_energy_mj.unwrap();
                assert!(energy >= energies[at]);
                energies[at] = energy;
            });
        }
    }
}

#[test]
fn a_double_bit_error_shows_in_counter_and_xid_until_the_reset() {
    let plan = || with_faults(vec![fault(FaultKind::Dbe, 2, 60.0, 120.0)], 5);
    let dbe = series(plan(), 2, "ecc_dbe_volatile");
    let xid = series(plan(), 2, "last_xid");
    assert_eq!(dbe.len(), 30);
    assert_eq!(dbe.iter().filter(|value| **value == Some(1.0)).count(), 12);
    assert_eq!(xid.iter().filter(|value| **value == Some(48.0)).count(), 12);
    assert_eq!(dbe[29], Some(0.0));
    assert_eq!(
        series(plan(), 2, "ecc_dbe_aggregate")[29],
        Some(1.0),
        "the lifetime count stays"
    );
    assert!(
        series(plan(), 3, "ecc_dbe_volatile")
            .iter()
            .all(|value| *value == Some(0.0))
    );
    let energy = series(plan(), 2, "total_energy_mj");
    assert!(
        energy[29] < energy[0],
        "the reset starts the energy counter again"
    );
}

#[test]
fn a_silent_gpu_gives_no_readings_and_its_sequence_has_no_gap() {
    let plan = || {
        with_faults(
            vec![
                fault(FaultKind::GpuSilent, 1, 60.0, 60.0),
                fault(FaultKind::Xid79Lost, 4, 60.0, 60.0),
            ],
            5,
        )
    };
    assert_eq!(series(plan(), 1, "gpu_temp_c").len(), 24);
    let lost = series(plan(), 4, "last_xid");
    assert_eq!(lost.len(), 25, "one reading tells of the Xid");
    assert_eq!(lost.iter().filter(|xid| **xid == Some(79.0)).count(), 1);
    let sequences: Vec<_> = records(plan())
        .iter()
        .filter(|(gpu, _, _)| *gpu == 1)
        .map(|(_, _, value)| {
            serde_json::from_slice::<MetricEvent<'_>>(value)
                .unwrap()
                .collector
                .unwrap()
                .sequence
                .unwrap()
        })
        .collect();
    assert_eq!(sequences, (1..=24).collect::<Vec<_>>());
}

#[test]
fn an_overheating_gpu_reaches_its_slowdown_within_two_minutes_and_cools_afterwards() {
    let plan = || with_faults(vec![fault(FaultKind::ThermalThrottle, 0, 60.0, 600.0)], 30);
    let throttle = series(plan(), 0, "throttle_reasons");
    let bits = |at: usize| throttle[at].unwrap() as u64;
    assert_eq!(bits(0) & schema::CONCERN_MASK, 0);
    for at in 18..65 {
        assert_eq!(bits(at) & 0x48, 0x48, "reading {at}");
    }
    assert_eq!(bits(100) & schema::CONCERN_MASK, 0);
    let temperature = series(plan(), 0, "gpu_temp_c");
    assert!(temperature[40].unwrap() >= 89.0);
    assert!(temperature[150].unwrap() < 80.0);
    let violation = series(plan(), 0, "hw_thermal_slowdown_ns");
    assert!(violation[65].unwrap() > 400e9);
}

#[test]
fn brake_hbm_links_and_width_show_in_their_fields() {
    let plan = || {
        with_faults(
            vec![
                fault(FaultKind::PowerBrake, 0, 0.0, 900.0),
                fault(FaultKind::HbmHot, 1, 0.0, 900.0),
                fault(FaultKind::NvlinkErrors, 2, 0.0, 900.0),
                fault(FaultKind::PcieDowntrain, 3, 0.0, 900.0),
                fault(FaultKind::SbeStorm, 4, 0.0, 900.0),
                fault(FaultKind::RowRemapPending, 5, 0.0, 900.0),
                fault(FaultKind::RowRemapFailure, 6, 0.0, 900.0),
                fault(FaultKind::FanFailure, 7, 0.0, 900.0),
            ],
            10,
        )
    };
    let last = |gpu, metric| {
        series(plan(), gpu, metric)
            .last()
            .copied()
            .flatten()
            .unwrap()
    };
    assert_eq!(last(0, "throttle_reasons") as u64 & 0x88, 0x88);
    assert_eq!(last(1, "memory_temp_c"), 94.0);
    assert!(last(2, "nvlink_replay") > 50.0);
    assert_eq!(last(2, "last_xid"), 74.0);
    assert_eq!(
        (last(3, "pcie_width"), last(3, "pcie_width_max")),
        (8.0, 16.0)
    );
    assert!(last(4, "ecc_sbe_volatile") >= 2_900.0);
    assert_eq!(last(5, "row_remap_pending"), 1.0);
    assert_eq!(last(6, "row_remap_failure"), 1.0);
    let drift = series(plan(), 7, "gpu_temp_c");
    assert!(drift[59].unwrap() > drift[1].unwrap() + 5.0);
}

#[test]
fn deliveries_go_wrong_as_told() {
    let listed = vec![
        fault(FaultKind::Duplicate, 0, 60.0, 60.0),
        fault(FaultKind::Late, 1, 60.0, 60.0),
        fault(FaultKind::Malformed, 2, 60.0, 80.0),
        fault(FaultKind::ClockFuture, 3, 60.0, 60.0),
        fault(FaultKind::BlankSentinels, 4, 60.0, 60.0),
        fault(FaultKind::Late, 5, 60.0, 600.0),
    ];
    let records = records(with_faults(listed, 3));
    let of = |gpu: u32| records.iter().filter(move |(of, _, _)| *of == gpu);
    assert_eq!(of(0).count(), 18 + 6);
    assert_eq!(of(1).count(), 18);
    let mut latenesses: Vec<_> = of(1)
        .map(|(_, append, value)| {
            append
                - serde_json::from_slice::<MetricEvent<'_>>(value)
                    .unwrap()
                    .timestamp
                    .as_millis()
        })
        .collect();
    latenesses.sort_unstable();
    assert_eq!(latenesses[11], APPEND_DELAY_MS);
    assert_eq!(latenesses[17], 60_000 + APPEND_DELAY_MS);
    assert_eq!(
        of(5).count(),
        18,
        "what is held back at the end is sent all the same"
    );
    let broken = of(2)
        .filter(|(_, _, value)| serde_json::from_slice::<MetricEvent<'_>>(value).is_err())
        .count();
    assert_eq!(broken, 8, "each of the eight ways is unreadable");
    let ahead = of(3)
        .filter(|(_, append, value)| {
            serde_json::from_slice::<MetricEvent<'_>>(value)
                .unwrap()
                .timestamp
                .as_millis()
                > append + 300_000
        })
        .count();
    assert_eq!(ahead, 6);
    let blank = of(4)
        .filter(|(_, _, value)| {
            let event: MetricEvent<'_> = serde_json::from_slice(value).unwrap();
            event.metrics.health.unwrap().memory_temp_c.unwrap() > 9e18
        })
        .count();
    assert_eq!(blank, 6);
}

#[test]
fn a_rebooted_host_is_silent_and_then_counts_from_zero() {
    let plan = || with_faults(vec![fault(FaultKind::HostReboot, 8, 60.0, 60.0)], 3);
    for gpu in 8..16 {
        let energy = series(plan(), gpu, "total_energy_mj");
        assert_eq!(energy.len(), 12);
        assert!(energy[6] < energy[5]);
    }
    assert_eq!(series(plan(), 0, "gpu_temp_c").len(), 18);
}

#[test]
fn impossible_fleets_are_refused() {
    let refused = |config| Plan::new(config).unwrap_err();
    assert_eq!(refused(config(0, 1)), InvalidFleet::Gpus(0));
    assert_eq!(refused(config(1_000_001, 1)), InvalidFleet::Gpus(1_000_001));
    assert_eq!(
        refused(FleetConfig {
            interval_ms: 0,
            ..config(1, 1)
        }),
        InvalidFleet::Interval
    );
}
