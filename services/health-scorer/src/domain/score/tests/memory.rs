//! What the factors of memory take, and when.

use super::{HOUR_MS, after};
use crate::domain::factor::{DAY_MS, Factor};
use crate::domain::fixture::Gpu;
use schema::HealthState;
use serde_json::json;

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

        // Every way in which a reset shows: before, after.
        let ways = [
            ("power.total_energy_mj", 9, 5),
            ("memory.ecc_sbe_volatile", 9, 0),
            ("memory.ecc_dbe_volatile", 1, 0),
            ("health.thermal_violation_ns", 9, 0),
            ("health.hw_thermal_slowdown_ns", 9, 0),
            ("health.sw_thermal_slowdown_ns", 9, 0),
            ("health.hw_power_brake_slowdown_ns", 9, 0),
            ("memory.row_remap_pending", 1, 0),
            ("memory.retired_pages_pending", 1, 0),
            ("errors.recovery_action", 1, 0),
        ];
        for (path, before, after) in ways {
            let mut reset = faulty.clone();
            reset.set(path, before);
            reset.step();
            reset.set(path, after).step();
            assert!(!reset.finding(factor).unwrap().holds, "{code} {path}");
        }
        // The sticky gauge of Xids also goes to 0 when only the exporter restarts.
        faulty.set("errors.last_xid", 31).step();
        faulty.set("errors.last_xid", 0).step();
        assert!(faulty.finding(factor).unwrap().holds, "{code}");

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
