//! What must not alarm: one fixture for each way in which simpler monitors fail.

use super::script::{DAY, Gpu, HOUR, MINUTE, Script, Told, fired};
use schema::Severity::{Info, Warning};

/// An hour of `gpu` as it is.
fn told_of_an_hour(gpu: &Gpu) -> Vec<Told> {
    Script::new().steady(gpu, 0, HOUR).told()
}

#[test]
fn a_healthy_gpu_is_not_alarming() {
    assert_eq!(told_of_an_hour(&Gpu::new(1)), []);
}

#[test]
fn an_idle_gpu_is_not_throttling() {
    // Idle, clock setting, cap at the limit, sync boost, display: what `throttle_reasons > 0` takes for trouble.
    for mask in [0x1, 0x2, 0x4, 0x10, 0x100, 0x117] {
        let mut gpu = Gpu::new(1).with("health.throttle_reasons", mask);
        if mask & 0x1 != 0 {
            gpu.set("health.power_usage_w", 70)
                .set("performance.gpu_utilization_pct", 0)
                .set("interconnect.pcie_gen", 1);
        } else {
            gpu.set("health.power_usage_w", 695);
        }
        // An idle GPU has no reason to be capped.
        if mask != 0x117 {
            assert_eq!(told_of_an_hour(&gpu), [], "{mask:#x}");
        }
    }
}

#[test]
fn a_sentinel_is_not_a_temperature() {
    for blank in [(1_u64 << 63) as f64, 2_147_483_633.0, 140_737_488_355_330.0] {
        let mut gpu = Gpu::new(1);
        for path in [
            "health.gpu_temp_c",
            "health.memory_temp_c",
            "health.temp_limit_margin_c",
            "health.throttle_reasons",
            "memory.ecc_dbe_volatile",
            "memory.row_remap_failure",
            "memory.bank_remap_avail.none",
            "interconnect.pcie_replay",
            "errors.last_xid",
            "errors.recovery_action",
        ] {
            gpu.set(path, blank);
        }
        let mut script = Script::new();
        script.steady(&Gpu::new(1), 0, HOUR);
        script.steady(&gpu, HOUR, 2 * HOUR);
        script.steady(&Gpu::new(1), 2 * HOUR, 3 * HOUR);
        assert_eq!(script.told(), [], "{blank}");
    }
}

#[test]
fn an_xid_that_sticks_alerts_once_and_not_again_after_a_restart() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    gpu.set("errors.last_xid", 31);
    script.steady(&gpu, MINUTE, DAY);
    let (first, rest) = script.inputs.split_at(200);

    let mut driver = super::script::driver();
    let mut emitted = driver.run(first);
    driver.crash(super::script::stage()).unwrap();
    emitted.extend(driver.run(rest));
    let alerts = super::script::alerts_of(&emitted);
    let states: Vec<_> = alerts
        .iter()
        .map(|a| (a.rule_id.as_str(), a.state))
        .collect();
    assert_eq!(
        states,
        [
            ("xid_app", schema::AlertState::Firing),
            ("xid_app", schema::AlertState::Resolved)
        ]
    );
    assert_eq!(alerts[1].count, 1);
}

#[test]
fn an_xid_from_before_the_first_reading_is_history() {
    assert_eq!(
        told_of_an_hour(&Gpu::new(1).with("errors.last_xid", 79)),
        []
    );
}

#[test]
fn cumulative_errors_are_not_added_up() {
    let gpu = Gpu::new(1)
        .with("memory.ecc_sbe_volatile", 50_000_000)
        .with("memory.ecc_sbe_aggregate", 70_000_000)
        .with("memory.ecc_dbe_aggregate", 9)
        .with("interconnect.pcie_replay", 100_000)
        .with("interconnect.nvlink_replay", 5);
    assert_eq!(told_of_an_hour(&gpu), []);
}

#[test]
fn a_counter_that_starts_again_is_no_burst() {
    let mut gpu = Gpu::new(1)
        .with("memory.ecc_sbe_volatile", 900_000)
        .with("interconnect.pcie_replay", 1_000_000)
        .with("interconnect.nvlink_replay", 3)
        .with("health.hw_thermal_slowdown_ns", 9_000_000_000_000_u64);
    let mut script = Script::new();
    script.steady(&gpu, 0, HOUR);
    gpu.reset(HOUR)
        .set("interconnect.nvlink_replay", 0)
        .set("health.hw_thermal_slowdown_ns", 0);
    script.steady(&gpu, HOUR, 2 * HOUR);
    assert_eq!(script.told(), []);
}

#[test]
fn power_above_the_default_limit_is_normal() {
    let b200 = Gpu::new(1)
        .model("NVIDIA B200")
        .with("health.power_usage_w", 1_100)
        .with("power.enforced_limit_w", 1_200)
        .with("power.default_limit_w", 1_000)
        .with("health.throttle_reasons", 0x4);
    assert_eq!(told_of_an_hour(&b200), []);
    let a100 = Gpu::new(1)
        .model("NVIDIA A100-SXM4-80GB")
        .with("health.power_usage_w", 558)
        .with("power.enforced_limit_w", 400)
        .with("health.throttle_reasons", 0x4)
        .with("health.temp_limit_margin_c", serde_json::Value::Null);
    assert_eq!(told_of_an_hour(&a100), []);
}

#[test]
fn no_temperature_is_hot_by_itself() {
    // An L40S at 84 °C is within its limits; an H100 that reports margins is judged by those.
    let l40s = Gpu::new(1)
        .model("NVIDIA L40S")
        .with("health.gpu_temp_c", 84)
        .with("health.temp_limit_margin_c", serde_json::Value::Null);
    assert_eq!(told_of_an_hour(&l40s), []);
    assert_eq!(
        told_of_an_hour(&Gpu::new(1).with("health.gpu_temp_c", 88)),
        []
    );
    let unknown = Gpu::new(1)
        .model("A GPU of tomorrow")
        .with("health.gpu_temp_c", 99)
        .with("health.memory_temp_c", 99)
        .with("health.temp_limit_margin_c", serde_json::Value::Null);
    assert_eq!(told_of_an_hour(&unknown), []);
}

#[test]
fn an_applications_xids_never_wake_anybody() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.reading(&gpu, 0);
    for (at, code) in (1..).zip([13, 31, 43, 45, 69, 32, 13, 31]) {
        gpu.set("errors.last_xid", code);
        script.steady(&gpu, at * 10, at * 10 + 10);
    }
    let alerts = script.alerts();
    assert!(
        alerts
            .iter()
            .all(|a| a.severity == Info && a.rule_id == "xid_app")
    );
    assert_eq!(alerts.len(), 8, "one alert, and each new code told");
    assert!(alerts.iter().all(|a| a.alert_id == alerts[0].alert_id));
    assert_eq!(alerts[0].action_code.as_deref(), Some("NONE"));
}

#[test]
fn a_storm_of_corrected_errors_is_one_warning_and_no_prediction() {
    // A GB200 that corrects 17,700 errors a second, 5.5e10 in all, without an uncorrectable one.
    let mut gpu = Gpu::new(1).model("NVIDIA GB200");
    let mut script = Script::new();
    let mut errors = 55_000_000_000_u64;
    for at_s in (0..3 * HOUR).step_by(10) {
        gpu.set("memory.ecc_sbe_volatile", errors);
        script.reading(&gpu, at_s);
        errors += 177_000;
    }
    assert_eq!(script.told(), [fired(10, "ecc_sbe_storm", Warning)]);
}

#[test]
fn a_late_record_corrupts_neither_rates_nor_holds() {
    let gpu = Gpu::new(1);
    let mut old = gpu.clone();
    // Were it believed, each next reading would be two more double-bit errors, 100,000 replays, and another Xid.
    old.set("memory.ecc_dbe_volatile", 0)
        .set("interconnect.pcie_replay", 0)
        .set("errors.last_xid", 62)
        .set("health.temp_limit_margin_c", -9);
    let gpu = gpu
        .with("memory.ecc_dbe_volatile", 2)
        .with("interconnect.pcie_replay", 100_000);
    let mut script = Script::new();
    for at_s in (0..HOUR).step_by(10) {
        script.reading(&gpu, at_s);
        script.late(&old, at_s - 90, at_s + 1);
        script.late(&old, at_s, at_s + 1);
    }
    // What the first reading shows, once, and nothing of the rest.
    assert_eq!(
        script.told(),
        [fired(0, "ecc_dbe", schema::Severity::Critical)]
    );
    assert_eq!(script.alerts()[0].count, 2);
}

#[test]
fn a_gpu_that_cools_down_and_warms_up_with_its_jobs_is_not_spiking() {
    let mut script = Script::new();
    let (mut gpu, mut temp_c) = (Gpu::new(1), 30.0);
    for at_s in (0..12 * HOUR).step_by(10) {
        let is_busy = (at_s / (20 * MINUTE)) % 2 == 1;
        let (goal, power) = if is_busy { (66.0, 640) } else { (30.0, 75) };
        temp_c += (goal - temp_c) * 0.1;
        gpu.set("health.gpu_temp_c", f64::round(temp_c))
            .set("health.power_usage_w", power)
            .set(
                "performance.gpu_utilization_pct",
                if is_busy { 98 } else { 0 },
            );
        script.reading(&gpu, at_s);
    }
    assert_eq!(script.told(), []);
}

#[test]
fn a_link_that_saves_power_at_idle_is_not_degraded() {
    let idle = Gpu::new(1)
        .with("interconnect.pcie_gen", 1)
        .with("performance.gpu_utilization_pct", 0)
        .with("health.power_usage_w", 70);
    assert_eq!(told_of_an_hour(&idle), []);
}

#[test]
fn a_gpu_that_the_inventory_does_not_know_alarms_all_the_same() {
    let mut gpu = Gpu::new(1);
    gpu.top("asset_status", "unknown".into())
        .top("asset", serde_json::Value::Null);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    gpu.set("memory.row_remap_failure", 1);
    script.reading(&gpu, MINUTE);
    let alerts = script.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        alerts[0].context.labels["rack"], "rack-12",
        "as the collector says"
    );
}
