//! The defects of the system that this one follows (health score 1.0), one test each: none of them may come back.

use crate::domain::absence::Blame;
use crate::domain::factor::Factor;
use crate::domain::fixture::{A100, Gpu, healthy};
use schema::{Grade, HealthState};
use serde_json::{Value, json};

#[test]
fn idle_clock_events_are_no_throttling() {
    // Defect 1: throttle_reasons > 0. Bits 0x1 idle, 0x2 application clocks, 0x10 sync boost, 0x100 display, and 0x4 at the
    // limit are how a healthy GPU lives.
    for bits in [0x1, 0x2, 0x4, 0x10, 0x100, 0x117] {
        let mut gpu = Gpu::new();
        gpu.set("health.throttle_reasons", bits).run(70);
        assert_eq!(gpu.names(), [""; 0], "{bits:#x}");
    }
}

#[test]
fn a_cumulative_counter_is_not_added_up() {
    // Defect 2: SUM over a counter that stands still.
    let mut gpu = Gpu::unseen();
    gpu.set("memory.ecc_sbe_volatile", 90_000)
        .set("memory.ecc_sbe_aggregate", 1_847_000)
        .set("memory.ecc_dbe_aggregate", 3)
        .set("interconnect.pcie_replay", 70_000)
        .set("interconnect.nvlink_replay", 12);
    gpu.run(120);
    assert_eq!(gpu.names(), [""; 0]);
}

#[test]
fn a_counter_that_starts_again_is_no_error_and_no_negative_number() {
    let mut gpu = Gpu::unseen();
    gpu.set("memory.ecc_sbe_volatile", 90_000);
    gpu.run(2);
    gpu.set("memory.ecc_sbe_volatile", 4).run(2);
    assert_eq!(gpu.names(), [""; 0]);
    gpu.add("memory.ecc_sbe_volatile", 100).step();
    assert_eq!(gpu.factor(Factor::SbeRate).unwrap().2, Some(104.0));
}

#[test]
fn xids_row_remaps_and_links_are_seen() {
    // Defects 3 to 6.
    let cases = [
        ("errors.last_xid", 95),
        ("memory.row_remap_failure", 1),
        ("interconnect.nvlink_recovery", 1),
        ("interconnect.pcie_replay", 500),
    ];
    for (path, value) in cases {
        let mut gpu = Gpu::new();
        gpu.set(path, value).step();
        assert!(gpu.overall() < 100.0, "{path}");
    }
}

#[test]
fn a_lost_gpu_does_not_look_cold_and_healthy() {
    // Defect 8: a missing value became 0.
    let mut gpu = Gpu::new();
    gpu.run(20).fall_silent(Blame::Unknown);
    let lost = gpu.assess();
    assert_eq!(lost.overall, Some(10.0));
    assert_eq!(
        (lost.grade, lost.state),
        (Grade::Critical, HealthState::Lost)
    );
    // Nor an hour later, when nothing at all is known any more.
    gpu.pass(3_600_000);
    let lost = gpu.assess();
    assert_eq!(lost.dimensions, [None; 5]);
    assert_eq!(lost.overall, Some(10.0));
    assert!(lost.confidence.abs() < f64::EPSILON);

    // One that still answers, with nothing in it, is unknown and not well.
    let mut empty = Gpu::new();
    empty.run(1);
    empty.metrics = json!({});
    empty.run(20);
    assert_eq!(empty.assess().grade, Grade::Unknown);
    assert_eq!(empty.assess().overall, None);
}

#[test]
fn a_blank_sentinel_is_no_temperature() {
    let mut gpu = Gpu::unseen();
    gpu.set("health.gpu_temp_c", 2_147_483_632_u64)
        .set("health.temp_limit_margin_c", 2_147_483_634_u64)
        .set("health.memory_temp_c", 9_223_372_036_854_775_794_u64)
        .set("health.power_usage_w", 140_737_488_355_328.0)
        .set("memory.ecc_sbe_aggregate", 9_223_372_036_854_775_792_u64);
    gpu.run(20);
    assert_eq!(gpu.names(), [""; 0]);
}

#[test]
fn warm_is_not_hot_and_cold_is_not_ill() {
    // Defect 11: absolute thresholds (75, 85, 30 degrees). Acme's healthy A100s run from 25 to 69 degrees.
    for celsius in [18, 25, 40, 58, 69, 75] {
        let mut gpu = Gpu::unseen();
        gpu.model = A100;
        gpu.set("health.temp_limit_margin_c", json!(null))
            .set("health.gpu_temp_c", celsius)
            .set("health.power_usage_w", 400)
            .set("power.enforced_limit_w", 400)
            .set("power.default_limit_w", 400);
        gpu.run(20);
        assert_eq!(gpu.names(), [""; 0], "{celsius}");
    }
}

#[test]
fn a_new_gpu_is_not_punished_for_a_past_that_it_does_not_have() {
    // Defect 12.
    let mut gpu = Gpu::new();
    for minutes in [0, 1, 5, 60] {
        gpu.run(minutes);
        let assessment = gpu.assess();
        assert_eq!(assessment.overall, Some(100.0), "{minutes}");
        assert!((assessment.confidence - 1.0).abs() < f64::EPSILON);
    }
}

#[test]
fn rest_lowers_no_score() {
    // Defects 13 and 14: idle memory, and power that goes up and down with the work.
    let busy = healthy();
    let mut gpu = Gpu::new();
    gpu.run(5);
    let mut idle = gpu.clone();
    idle.idle();
    let idle: Value = idle.metrics;
    for round in 0..60 {
        gpu.metrics = if round % 2 == 0 {
            idle.clone()
        } else {
            busy.clone()
        };
        gpu.run(2);
        assert_eq!(gpu.names(), [""; 0], "{round}");
    }
    gpu.metrics = idle;
    gpu.run(300);
    assert!((gpu.overall() - 100.0).abs() < f64::EPSILON);
    assert!((gpu.assess().confidence - 1.0).abs() < f64::EPSILON);
}
