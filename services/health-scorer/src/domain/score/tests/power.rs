//! What the factors of performance and power take, and when.

use super::after;
use crate::domain::factor::Factor;
use crate::domain::fixture::{Gpu, healthy};
use schema::HealthState;
use serde_json::json;

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
        metrics: healthy(),
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
