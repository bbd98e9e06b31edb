//! What the factors of heat and throttling take, and when.

use crate::domain::factor::Factor;
use crate::domain::fixture::{A100, Gpu};
use serde_json::json;

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
