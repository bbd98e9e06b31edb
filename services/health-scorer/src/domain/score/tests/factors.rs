//! What each factor takes, and when.

use crate::domain::absence::Blame;
use crate::domain::factor::{DAY_MS, Factor};
use crate::domain::fixture::{A100, Gpu, INTERVAL_MS};
use schema::HealthState;
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

#[test]
fn a_healthy_gpu_at_work_has_no_factor_at_all() {
    let mut gpu = Gpu::new();
    gpu.run(70);
    assert_eq!(gpu.names(), [""; 0]);
    let assessment = gpu.assess();
    assert_eq!(assessment.overall, Some(100.0));
    assert_eq!(assessment.state, HealthState::Ok);
    assert!((assessment.confidence - 1.0).abs() < f64::EPSILON);
}

#[test]
fn flags_take_points_and_cap_while_they_are_set() {
    // NVIDIA's replacement conditions (row remap failure, SRAM threshold), DCGM's health watch, NVSentinel's actions.
    let cases = [
        (
            "memory.row_remap_pending",
            Factor::RowRemapPending,
            20.0,
            Some(60.0),
        ),
        (
            "memory.row_remap_failure",
            Factor::RowRemapFailure,
            60.0,
            Some(20.0),
        ),
        (
            "memory.sram_threshold_exceeded",
            Factor::SramThreshold,
            60.0,
            Some(20.0),
        ),
        (
            "memory.memory_unrepairable",
            Factor::MemoryUnrepairable,
            90.0,
            Some(10.0),
        ),
        (
            "memory.retired_pages_pending",
            Factor::RetiredPagesPending,
            0.0,
            Some(60.0),
        ),
        ("memory.bank_remap_avail.low", Factor::BanksLow, 5.0, None),
        (
            "memory.bank_remap_avail.none",
            Factor::BanksExhausted,
            20.0,
            Some(55.0),
        ),
    ];
    for (path, factor, points, cap) in cases {
        let mut gpu = Gpu::new();
        gpu.set(path, 1).step();
        assert_eq!(gpu.factor(factor), Some((points, cap, Some(1.0))), "{path}");
        // A reading that lacks the field says nothing about it.
        gpu.set(path, json!(null)).step();
        assert!(gpu.finding(factor).is_some(), "{path}");
        gpu.set(path, 0).step();
        assert_eq!(gpu.finding(factor), None, "{path}");
    }
}

#[test]
fn the_drivers_recovery_action_caps_as_it_says() {
    // nvml.h: 1 GPU reset, 2 node reboot, 3 drain P2P, 4 drain and reset.
    let cases = [
        (1, Factor::RecoveryReset, 50.0),
        (2, Factor::RecoveryReboot, 30.0),
        (3, Factor::RecoveryDrainP2p, 60.0),
        (4, Factor::RecoveryDrainReset, 40.0),
    ];
    for (action, factor, cap) in cases {
        let mut gpu = Gpu::new();
        gpu.set("errors.recovery_action", action).step();
        assert_eq!(gpu.factor(factor), Some((0.0, Some(cap), None)), "{action}");
        assert!((gpu.overall() - cap).abs() < f64::EPSILON);
        assert_eq!(gpu.assess().state, HealthState::Drain);
        gpu.set("errors.recovery_action", 0).step();
        assert!((gpu.overall() - 100.0).abs() < f64::EPSILON);
    }
}

#[test]
fn a_double_bit_error_decays_over_two_weeks_and_a_second_one_caps() {
    let mut gpu = Gpu::new();
    gpu.add("memory.ecc_dbe_volatile", 1).step();
    assert_eq!(
        gpu.factor(Factor::DoubleBitEcc),
        Some((40.0, None, Some(1.0)))
    );
    assert_eq!(gpu.assess().state, HealthState::Drain);
    // The same error once more: its Xid, seen by gauge and by count.
    gpu.set("errors.last_xid", 48).step();
    gpu.set("errors.xid_counts", json!({"48": 1})).step();
    let finding = gpu.finding(Factor::DoubleBitEcc).unwrap();
    assert_eq!((finding.value, finding.xid), (Some(1.0), 48));
    assert_eq!(finding.evidence(), "1 double-bit ECC error(s) (Xid 48)");

    // A reset: the driver counts from zero.
    gpu.set("memory.ecc_dbe_volatile", 0).step();
    assert_eq!(gpu.assess().state, HealthState::Degraded);
    gpu.pass(14 * DAY_MS);
    let (points, _, _) = gpu.factor(Factor::DoubleBitEcc).unwrap();
    assert!((points - 20.0).abs() < 0.01, "{points}");

    gpu.step();
    gpu.add("memory.ecc_dbe_volatile", 3).step();
    let (points, _, _) = gpu.factor(Factor::DoubleBitEcc).unwrap();
    assert!((points - 60.0).abs() < 0.01, "{points}");
    // Titan: a GPU with a second one is another kind of GPU. Two within 30 days.
    assert_eq!(
        gpu.factor(Factor::RepeatedDoubleBitEcc),
        Some((0.0, Some(40.0), Some(2.0)))
    );
    assert!(gpu.overall() <= 40.0);
    gpu.pass(17 * DAY_MS);
    assert_eq!(gpu.finding(Factor::RepeatedDoubleBitEcc), None);
}

#[test]
fn an_error_before_the_first_reading_counts_once_while_the_driver_shows_it() {
    // DCGM's health watch fails a volatile count above 0. The lifetime count tells nothing about now.
    let mut gpu = Gpu::unseen();
    gpu.set("memory.ecc_dbe_volatile", 2)
        .set("memory.ecc_dbe_aggregate", 9);
    gpu.run(10);
    assert_eq!(gpu.factor(Factor::DoubleBitEcc).unwrap().2, Some(1.0));
    let mut old = Gpu::unseen();
    old.set("memory.ecc_dbe_aggregate", 9);
    old.run(10);
    assert_eq!(old.names(), [""; 0]);
}

#[test]
fn a_memory_error_costs_by_how_far_it_reached() {
    // Xid catalogue: 95 and 140 RESET_GPU, 94 RESTART_APP, 92 IGNORE.
    let by_count = |code: &str, factor| {
        after(factor, |gpu| {
            gpu.set("errors.xid_counts", json!({ code: 1 }));
        })
    };
    let one = Some(1.0);
    assert_eq!(
        by_count("95", Factor::UncontainedEcc),
        Some((45.0, Some(40.0), one))
    );
    assert_eq!(
        by_count("140", Factor::UncontainedEcc),
        Some((45.0, Some(40.0), one))
    );
    assert_eq!(
        by_count("94", Factor::ContainedEcc),
        Some((15.0, None, one))
    );
    assert_eq!(by_count("92", Factor::SbeStorm), Some((10.0, None, one)));
    assert_eq!(
        by_count("64", Factor::RowRemapFailure),
        Some((60.0, Some(20.0), one))
    );
}

#[test]
fn what_waits_for_a_reset_ends_with_it_or_after_a_week() {
    let cases = [
        ("95", Factor::UncontainedEcc),
        ("119", Factor::FatalXid),
        ("48", Factor::DoubleBitEcc),
    ];
    for (code, factor) in cases {
        let mut faulty = Gpu::new();
        faulty.set("errors.xid_counts", json!({ code: 1 })).step();
        faulty.set("errors.xid_counts", json!(null)).run(60);
        assert!(faulty.finding(factor).unwrap().holds, "{code}");

        let mut reset = faulty.clone();
        reset.set("power.total_energy_mj", 5).step();
        assert!(!reset.finding(factor).unwrap().holds, "{code}");

        let mut action = faulty.clone();
        action.set("errors.recovery_action", 1).step();
        action.set("errors.recovery_action", 0).step();
        assert!(!action.finding(factor).unwrap().holds, "{code}");

        faulty.pass(7 * DAY_MS);
        assert!(!faulty.finding(factor).unwrap().holds, "{code}");
    }
}

#[test]
fn a_failed_remap_told_by_xid_64_holds_until_the_gpu_says_otherwise_after_a_reset() {
    let mut gpu = Gpu::new();
    gpu.set("errors.last_xid", 64).step();
    gpu.pass(300 * DAY_MS).step();
    assert_eq!(gpu.assess().state, HealthState::RmaCandidate);
    assert!((gpu.overall() - 20.0).abs() < f64::EPSILON);
    // Its flag reads 0 all the time; after a reset that means something.
    gpu.set("power.total_energy_mj", 5).step();
    assert_eq!(gpu.finding(Factor::RowRemapFailure), None);
}

#[test]
fn remapped_rows_cost_by_their_logarithm_and_new_ones_more() {
    // NVIDIA: 512 remaps in all. 5 x log2(1 + U), at most 25.
    let cases = [(1, 5.0), (3, 10.0), (7, 15.0), (31, 25.0), (400, 25.0)];
    for (rows, points) in cases {
        let mut gpu = Gpu::unseen();
        gpu.set("memory.row_remap_uncorrectable", rows);
        gpu.step();
        // Rows that were there at the first reading are not new.
        assert_eq!(gpu.names(), ["row_remaps"]);
        let taken = gpu.factor(Factor::RowRemaps);
        assert_eq!(taken, Some((points, None, Some(f64::from(rows)))), "{rows}");
    }
    let mut gpu = Gpu::new();
    gpu.set("memory.row_remap_uncorrectable", 2).step();
    assert_eq!(
        gpu.factor(Factor::RecentRowRemaps),
        Some((10.0, None, Some(2.0)))
    );
    gpu.pass(7 * DAY_MS);
    assert_eq!(gpu.finding(Factor::RecentRowRemaps), None);
    gpu.set("memory.row_remap_uncorrectable", 512).step();
    assert_eq!(
        gpu.factor(Factor::RowRemapsExhausted),
        Some((0.0, Some(20.0), Some(512.0)))
    );
    assert_eq!(
        gpu.factor(Factor::RecentRowRemaps).unwrap().0.to_string(),
        "25"
    );
}

#[test]
fn single_bit_errors_cost_by_the_logarithm_of_their_rate() {
    // 5 x log10(r / 10), at most 20: DCGM issue 313 saw 17,700 a second on a GPU without a double-bit error.
    let cases = [
        (10, None),
        (100, Some(5.0)),
        (1_000, Some(10.0)),
        (17_700 * 3_600, Some(20.0)),
    ];
    for (errors, points) in cases {
        let taken = after(Factor::SbeRate, |gpu| {
            gpu.add("memory.ecc_sbe_volatile", errors);
        });
        assert_eq!(taken.map(|taken| taken.0), points, "{errors}");
    }
}

#[test]
fn single_bit_errors_are_counted_by_the_hour_for_a_day() {
    let mut gpu = Gpu::new();
    gpu.add("memory.ecc_sbe_volatile", 60).step();
    gpu.pass(HOUR_MS);
    gpu.add("memory.ecc_sbe_volatile", 60).step();
    assert_eq!(gpu.factor(Factor::SbeRate).unwrap().2, Some(60.0));
    gpu.pass(22 * HOUR_MS);
    assert_eq!(gpu.factor(Factor::SbeRate).unwrap().2, Some(60.0));
    gpu.pass(2 * HOUR_MS);
    assert_eq!(gpu.finding(Factor::SbeRate), None);
}

#[test]
fn a_card_without_volatile_counts_is_judged_by_its_lifetime_counts_and_none_twice() {
    let mut gpu = Gpu::unseen();
    gpu.set("memory.ecc_sbe_volatile", json!(null)).step();
    gpu.add("memory.ecc_sbe_aggregate", 100).step();
    assert_eq!(gpu.factor(Factor::SbeRate).unwrap().2, Some(100.0));
    let both = after(Factor::SbeRate, |gpu| {
        gpu.add("memory.ecc_sbe_volatile", 100)
            .add("memory.ecc_sbe_aggregate", 100);
    });
    assert_eq!(both.unwrap().2, Some(100.0));
}

#[test]
fn retired_pages_count_before_ampere() {
    // DCGM: 63 and more FAIL.
    let mut gpu = Gpu::new();
    gpu.set("memory.retired_pages_dbe", 2).step();
    assert_eq!(
        gpu.factor(Factor::RetiredPages),
        Some((10.0, None, Some(2.0)))
    );
    gpu.set("memory.retired_pages_sbe", 60).step();
    assert_eq!(gpu.finding(Factor::RetiredPagesFull), None);
    gpu.set("memory.retired_pages_sbe", 61).step();
    assert_eq!(
        gpu.factor(Factor::RetiredPagesFull),
        Some((0.0, Some(20.0), Some(63.0)))
    );
}

#[test]
fn a_small_margin_under_load_costs_two_points_a_degree() {
    // ADR-042: an H100 slows down at a margin of -2. Healthy A100s keep 14 and more (Acme, 99th percentile).
    let cases: [(i64, &[&str], f64); 6] = [
        (14, &[], 0.0),
        (8, &[], 0.0),
        (5, &["thermal_margin"], 6.0),
        (0, &["thermal_margin"], 16.0),
        (-1, &["thermal_margin"], 18.0),
        (-2, &["thermal_slowdown"], 35.0),
    ];
    for (margin, names, points) in cases {
        let mut gpu = Gpu::unseen();
        gpu.set("health.temp_limit_margin_c", margin);
        gpu.run(15);
        assert_eq!(gpu.names(), names, "{margin}");
        let thermal = gpu.assess().dimensions[1];
        assert_eq!(thermal, Some(100.0 - points), "{margin}");
    }
    let mut hot = Gpu::unseen();
    hot.set("health.temp_limit_margin_c", -3);
    hot.run(1);
    assert_eq!(
        hot.factor(Factor::ThermalSlowdown),
        Some((35.0, Some(50.0), Some(-3.0)))
    );
}

#[test]
fn one_hot_sample_in_a_quarter_of_an_hour_is_none_and_five_are() {
    // The worst 5 % of 90 samples is judged by the fifth.
    for (hot, expected) in [(1, None), (4, None), (5, Some(2.0))] {
        let mut gpu = Gpu::unseen();
        gpu.run(7);
        gpu.set("health.temp_limit_margin_c", 2);
        for _ in 0..hot {
            gpu.step();
        }
        gpu.set("health.temp_limit_margin_c", 30);
        for _ in 0..(90 - 42 - hot) {
            gpu.step();
        }
        let value = gpu.factor(Factor::ThermalMargin).and_then(|taken| taken.2);
        assert_eq!(value, expected, "{hot}");
    }
}

#[test]
fn the_limits_that_the_gpu_reports_come_before_its_models() {
    // An A100 without field 153: 83 degrees by its model, another value where it says so itself.
    let gpu = |temperature: i64, max_op: Option<i64>, slowdown: Option<i64>| {
        let mut gpu = Gpu::unseen();
        gpu.model = A100;
        gpu.set("health.temp_limit_margin_c", json!(null))
            .set("health.gpu_temp_c", temperature)
            .set("health.gpu_max_op_temp_c", json!(max_op))
            .set("health.slowdown_temp_c", json!(slowdown))
            .set("health.power_usage_w", 380)
            .set("power.enforced_limit_w", 400)
            .set("power.default_limit_w", 400);
        gpu.run(2);
        gpu
    };
    let value = |gpu: &Gpu| gpu.factor(Factor::ThermalMargin).and_then(|taken| taken.2);
    assert_eq!(value(&gpu(78, None, None)), Some(5.0));
    assert_eq!(value(&gpu(78, Some(93), None)), None);
    assert_eq!(value(&gpu(88, Some(93), None)), Some(5.0));
    // 83 - 87 by the model, 83 - 89 by the GPU.
    assert!(
        gpu(87, None, None)
            .finding(Factor::ThermalSlowdown)
            .is_some()
    );
    assert!(
        gpu(87, Some(83), Some(89))
            .finding(Factor::ThermalSlowdown)
            .is_none()
    );
    assert!(
        gpu(89, Some(83), Some(89))
            .finding(Factor::ThermalSlowdown)
            .is_some()
    );
    // A model that nobody knows and that reports no limit is not judged by its temperature.
    let mut unknown = gpu(95, None, None);
    unknown.model = "NVIDIA Something New";
    unknown.set("health.throttle_reasons", json!(null));
    unknown.set("health.hw_thermal_slowdown_ns", json!(null));
    unknown.run(16);
    assert_eq!(unknown.assess().dimensions[1], None);
}

#[test]
fn memory_has_a_margin_of_its_own() {
    let taken = |celsius: i64, limit: Option<i64>| {
        let mut gpu = Gpu::unseen();
        gpu.set("health.memory_temp_c", celsius)
            .set("health.mem_max_op_temp_c", json!(limit));
        gpu.run(1);
        gpu.factor(Factor::HbmMargin).map(|taken| taken.0)
    };
    assert_eq!(taken(90, Some(95)), Some(6.0));
    assert_eq!(taken(90, None), Some(6.0));
    assert_eq!(taken(90, Some(105)), None);
    assert_eq!(taken(110, Some(95)), Some(25.0));
    // Boards without the sensor answer 0.
    assert_eq!(taken(0, Some(5)), None);
}

#[test]
fn throttling_costs_by_its_share_of_an_hour() {
    // 6 minutes of 60 are 10 %.
    let cases = [
        (
            "health.hw_thermal_slowdown_ns",
            Factor::HwThermalSlowdown,
            20.0,
        ),
        (
            "health.sw_thermal_slowdown_ns",
            Factor::SwThermalSlowdown,
            5.0,
        ),
        (
            "health.hw_power_brake_slowdown_ns",
            Factor::PowerBrake,
            25.0,
        ),
    ];
    for (path, factor, points) in cases {
        let mut gpu = Gpu::new();
        gpu.run(1);
        for _ in 0..36 {
            gpu.add(path, 10_000_000_000).step();
        }
        assert_eq!(
            gpu.factor(factor),
            Some((points, None, Some(0.1))),
            "{path}"
        );
        gpu.run(65);
        assert_eq!(gpu.finding(factor), None, "{path}");
    }
}

#[test]
fn without_the_counters_the_mask_is_sampled() {
    let cases = [
        (0x40, Factor::HwThermalSlowdown, 20.0),
        (0x20, Factor::SwThermalSlowdown, 5.0),
        (0x80, Factor::PowerBrake, 25.0),
        (0x8, Factor::HwSlowdown, 2.0),
    ];
    for (bits, factor, points) in cases {
        let mut gpu = Gpu::new();
        for name in ["hw_thermal", "sw_thermal", "hw_power_brake"] {
            gpu.set(&format!("health.{name}_slowdown_ns"), json!(null));
        }
        gpu.run(1).set("health.throttle_reasons", bits).run(6);
        assert_eq!(
            gpu.factor(factor),
            Some((points, None, Some(0.1))),
            "{bits:#x}"
        );
    }
}

#[test]
fn a_counter_that_was_away_does_not_give_its_time_twice_and_a_moment_is_ignored() {
    let path = "health.hw_thermal_slowdown_ns";
    let mut gpu = Gpu::new();
    // 3.5 s of an hour are less than 0.1 %.
    gpu.set(path, 3_500_000_000_u64).step();
    assert_eq!(gpu.finding(Factor::HwThermalSlowdown), None);
    gpu.set(path, json!(null))
        .set("health.throttle_reasons", 0x40)
        .run(6);
    gpu.set(path, 363_500_000_000_u64).step();
    let share = gpu.factor(Factor::HwThermalSlowdown).unwrap().2.unwrap();
    assert!((share - 373.5 / 3_600.0).abs() < 1e-4, "{share}");
}

#[test]
fn a_narrow_link_counts_under_load_and_not_at_idle() {
    // InfiniteHBD: 25 of 158 GPU faults were a PCIe width that is too low.
    let mut gpu = Gpu::new();
    gpu.set("interconnect.pcie_width", 8).run(1);
    assert_eq!(gpu.finding(Factor::PcieWidth), None);
    gpu.step();
    assert_eq!(
        gpu.factor(Factor::PcieWidth),
        Some((25.0, Some(70.0), Some(8.0)))
    );
    // What the load showed stays true while the GPU rests.
    gpu.idle().run(20);
    assert!(gpu.finding(Factor::PcieWidth).is_some());
    let mut repaired = Gpu {
        metrics: crate::domain::fixture::healthy(),
        ..gpu
    };
    repaired.step();
    assert_eq!(repaired.finding(Factor::PcieWidth), None);

    let mut asleep = Gpu::new();
    asleep.idle().set("interconnect.pcie_width", 4).run(60);
    assert_eq!(asleep.names(), [""; 0]);
    let slow = {
        let mut gpu = Gpu::new();
        gpu.set("interconnect.pcie_gen", 3).run(2);
        gpu.factor(Factor::PcieGeneration)
    };
    assert_eq!(slow, Some((15.0, None, Some(3.0))));
}

#[test]
fn work_that_the_profiler_does_not_see_costs_and_makes_doubtful() {
    // DCGM issue 303: profiling metrics read 0 while utilisation reads 100.
    let mut gpu = Gpu::new();
    gpu.set("performance.sm_active_pct", 0.4)
        .set("performance.gpu_utilization_pct", 100)
        .run(10);
    assert_eq!(gpu.finding(Factor::ProfilingDivergence), None);
    gpu.step();
    assert_eq!(
        gpu.factor(Factor::ProfilingDivergence),
        Some((25.0, None, None))
    );
    assert!((gpu.assess().confidence - 0.8).abs() < f64::EPSILON);
}

#[test]
fn power_over_the_limit_costs_above_what_healthy_gpus_draw() {
    // Acme: A100s draw 1.10 times their limit at the 99th percentile.
    for (watts, expected) in [(770.0, None), (804.0, None), (812.0, Some(15.0))] {
        let mut gpu = Gpu::unseen();
        gpu.set("health.power_usage_w", watts).run(15);
        let points = gpu.factor(Factor::PowerOverLimit).map(|taken| taken.0);
        assert_eq!(points, expected, "{watts}");
    }
    // The GPU's own limit, not its model's: a B200 at 1,100 W of 1,200 is well.
    let mut b200 = Gpu::unseen();
    b200.model = "NVIDIA B200";
    b200.set("power.enforced_limit_w", 1_200)
        .set("power.default_limit_w", 1_200)
        .set("health.power_usage_w", 1_100)
        .run(15);
    assert_eq!(b200.names(), [""; 0]);
}

#[test]
fn a_power_cap_is_odd_only_far_below_the_limit() {
    let taken = |watts: f64, minutes| {
        let mut gpu = Gpu::new();
        gpu.set("health.throttle_reasons", 4)
            .set("health.power_usage_w", watts)
            .run(minutes);
        gpu.factor(Factor::PowerCapLow).map(|taken| taken.0)
    };
    assert_eq!(taken(690.0, 60), None);
    assert_eq!(taken(600.0, 60), None);
    assert_eq!(taken(400.0, 9), None);
    assert_eq!(taken(400.0, 10), Some(15.0));
}

#[test]
fn configuration_drift_and_a_lost_power_sensor_are_told() {
    let lowered = after(Factor::PowerLimitLowered, |gpu| {
        gpu.set("power.enforced_limit_w", 500);
    });
    assert_eq!(lowered, Some((5.0, None, Some(500.0))));

    let mut gpu = Gpu::new();
    gpu.set("health.power_usage_w", json!(null)).run(16);
    assert_eq!(gpu.names(), ["power_unreadable"]);
    assert_eq!(gpu.assess().dimensions[3], Some(90.0));
    // An exporter that never gave power is no broken sensor.
    let mut never = Gpu::unseen();
    never.set("health.power_usage_w", json!(null)).run(16);
    assert_eq!(never.names(), [""; 0]);
    assert_eq!(never.assess().dimensions[3], None);
}

#[test]
fn xids_cost_by_their_class() {
    // [code, factor, points, cap]: NVIDIA's catalogue; points by the scoring scheme.
    let cases = [
        (119, Some(Factor::FatalXid), 20.0, Some(50.0)),
        (62, Some(Factor::FatalXid), 20.0, Some(50.0)),
        (167, Some(Factor::FatalXid), 20.0, Some(50.0)),
        (79, Some(Factor::GpuLost), 60.0, Some(10.0)),
        (74, Some(Factor::NvlinkXid), 10.0, None),
        (149, Some(Factor::NvlinkXid), 10.0, None),
        (122, Some(Factor::HardwareXid), 5.0, None),
        (31, None, 0.0, None),
        (43, None, 0.0, None),
        (63, None, 0.0, None),
    ];
    for (code, factor, points, cap) in cases {
        let mut gpu = Gpu::new();
        gpu.set("errors.last_xid", code).step();
        match factor {
            Some(factor) => {
                assert_eq!(gpu.factor(factor), Some((points, cap, Some(1.0))), "{code}");
                let sentence = gpu.finding(factor).unwrap().evidence();
                assert!(sentence.ends_with(&format!("(Xid {code})")), "{sentence}");
            }
            None => assert_eq!(gpu.names(), [""; 0], "{code}"),
        }
    }
}

#[test]
fn nvlink_xids_take_thirty_points_at_most() {
    let mut gpu = Gpu::new();
    for xids in 1..=6 {
        gpu.set("errors.xid_counts", json!({ "74": xids })).run(2);
    }
    assert_eq!(gpu.factor(Factor::NvlinkXid), Some((30.0, None, Some(6.0))));
}

#[test]
fn an_applications_xid_counts_when_three_jobs_have_it() {
    let mut gpu = Gpu::new();
    for (job, code) in [("a", 31), ("a", 13), ("b", 43), ("b", 31)] {
        gpu.job = Some(job.to_owned());
        gpu.set("errors.last_xid", code).step();
    }
    assert_eq!(gpu.names(), [""; 0]);
    gpu.job = Some("c".to_owned());
    gpu.set("errors.last_xid", 13).step();
    assert_eq!(
        gpu.factor(Factor::ApplicationXidRepeat),
        Some((10.0, None, Some(3.0)))
    );
}

#[test]
fn link_errors_cost_for_a_day_or_so() {
    // DCGM's health watch: one replay or recovery FAIL, CRC from 100 a second FAIL.
    for path in ["interconnect.nvlink_replay", "interconnect.nvlink_recovery"] {
        let taken = after(Factor::NvlinkErrors, |gpu| {
            gpu.add(path, 1);
        });
        assert_eq!(taken, Some((10.0, None, Some(1.0))), "{path}");
    }
    let crc = |errors| {
        after(Factor::NvlinkCrc, |gpu| {
            gpu.add("interconnect.nvlink_crc_flit", errors);
        })
    };
    assert_eq!(crc(999), None);
    assert_eq!(crc(1_000), Some((20.0, None, Some(100.0))));

    let mut gpu = Gpu::new();
    gpu.add("interconnect.nvlink_replay", 1).step();
    gpu.pass(DAY_MS);
    assert_eq!(gpu.factor(Factor::NvlinkErrors).unwrap().0.to_string(), "5");
}

#[test]
fn a_link_is_down_when_there_were_more() {
    let mut gpu = Gpu::new();
    gpu.set("interconnect.nvlink_links_up", 17).run(1);
    assert_eq!(
        gpu.factor(Factor::NvlinkDown),
        Some((0.0, Some(40.0), Some(17.0)))
    );
    assert_eq!(gpu.assess().state, HealthState::Drain);
    gpu.set("interconnect.nvlink_links_up", 18).step();
    assert_eq!(gpu.finding(Factor::NvlinkDown), None);
    // A board that has always had twelve is whole.
    let mut bridge = Gpu::unseen();
    bridge.set("interconnect.nvlink_links_up", 12).run(5);
    assert_eq!(bridge.names(), [""; 0]);
}

#[test]
fn pcie_replays_cost_above_what_the_link_may_have() {
    // Gen5 x16: ceil(1.92 x 16) = 31 a minute.
    let replays = |count| {
        after(Factor::PcieReplay, |gpu| {
            gpu.add("interconnect.pcie_replay", count);
        })
    };
    assert_eq!(replays(31), None);
    assert_eq!(replays(32), Some((15.0, None, Some(32.0))));
    // Over ten minutes, ten times as many are a minute's 31.
    let mut gpu = Gpu::new();
    gpu.pass(600_000 - INTERVAL_MS);
    gpu.add("interconnect.pcie_replay", 310).step();
    assert_eq!(gpu.finding(Factor::PcieReplay), None);
}

#[test]
fn a_silent_gpu_is_lost_and_what_stays_depends_on_whose_fault_it_was() {
    let mut own = Gpu::new();
    own.run(20).fall_silent(Blame::Gpu);
    assert_eq!(
        own.factor(Factor::GpuLost),
        Some((60.0, Some(10.0), Some(1.0)))
    );
    assert_eq!(own.assess().state, HealthState::Lost);
    own.step();
    assert_eq!(
        own.factor(Factor::GpuReturned),
        Some((0.0, Some(50.0), None))
    );
    assert!((own.overall() - 50.0).abs() < f64::EPSILON);
    own.pass(DAY_MS).run(15);
    assert_eq!(own.finding(Factor::GpuReturned), None);
    assert!(own.finding(Factor::GpuLost).is_some());

    for blame in [Blame::Host, Blame::Unknown] {
        let mut gpu = Gpu::new();
        gpu.run(20).fall_silent(blame);
        assert_eq!(
            gpu.factor(Factor::GpuLost),
            Some((0.0, Some(10.0), Some(1.0)))
        );
        assert_eq!(gpu.assess().state, HealthState::Lost);
        gpu.step();
        assert_eq!(gpu.names(), [""; 0], "{blame:?}");
    }
}

#[test]
fn a_fall_off_the_bus_counts_once_and_is_over_when_the_gpu_is_back() {
    let mut gpu = Gpu::new();
    gpu.run(5).set("errors.last_xid", 79).step();
    assert_eq!(gpu.assess().state, HealthState::Lost);
    gpu.fall_silent(Blame::Gpu);
    assert_eq!(
        gpu.factor(Factor::GpuLost),
        Some((60.0, Some(10.0), Some(1.0)))
    );
    gpu.pass(4 * HOUR_MS).set("errors.last_xid", 0).step();
    assert!(!gpu.finding(Factor::GpuLost).unwrap().holds);
    assert!(gpu.finding(Factor::GpuReturned).is_some());

    // One that reports on is back after five minutes.
    let mut alive = Gpu::new();
    alive.set("errors.last_xid", 79).step();
    alive.run(4);
    assert_eq!(alive.assess().state, HealthState::Lost);
    alive.run(1);
    assert_eq!(alive.assess().state, HealthState::Degraded);
}

#[test]
fn missing_readings_cost_above_five_percent_and_never_a_new_gpu() {
    let mut gpu = Gpu::new();
    gpu.run(60);
    // Another hour in which two of five readings are missing: 20 % of both.
    for _ in 0..72 {
        gpu.step();
        gpu.step();
        gpu.step();
        gpu.pass(2 * INTERVAL_MS);
    }
    let (points, _, complete) = gpu.factor(Factor::Completeness).unwrap();
    assert!((complete.unwrap() - 0.8).abs() < 0.01, "{complete:?}");
    assert!((points - 15.0).abs() < 1.0, "{points}");

    // A collector that asks less often is another matter: its interval is longer.
    let mut slow = Gpu::new();
    for _ in 0..180 {
        slow.pass(INTERVAL_MS).step();
    }
    assert_eq!(slow.finding(Factor::Completeness), None);

    let mut new = Gpu::new();
    new.pass(60_000).step();
    assert_eq!(new.finding(Factor::Completeness), None);

    // A host that was away takes nothing from its GPUs.
    let mut host = Gpu::new();
    host.run(10)
        .fall_silent(Blame::Host)
        .pass(6 * HOUR_MS)
        .step();
    assert_eq!(host.finding(Factor::Completeness), None);
}

#[test]
fn three_incidents_in_four_weeks_make_a_lemon() {
    // Meta RSC: 28 days.
    let mut gpu = Gpu::new();
    for (day, code) in [(0, 119), (5, 48), (10, 95)] {
        assert_eq!(gpu.finding(Factor::RepeatedIncidents), None, "{day}");
        gpu.set("errors.xid_counts", json!({ code.to_string(): 1 }))
            .step();
        // The same incident, seen in another way an hour later.
        gpu.pass(HOUR_MS)
            .set("errors.xid_counts", json!({"62": 1}))
            .step();
        gpu.set("errors.xid_counts", json!({}))
            .pass(5 * DAY_MS)
            .step();
    }
    let (points, cap, count) = gpu.factor(Factor::RepeatedIncidents).unwrap();
    assert_eq!((cap, count), (Some(50.0), Some(3.0)));
    // 30 x 2^(-5 / 28), five days after the last.
    assert!((points - 26.51).abs() < 0.02, "{points}");
    gpu.pass(14 * DAY_MS);
    assert_eq!(gpu.finding(Factor::RepeatedIncidents), None);
}
