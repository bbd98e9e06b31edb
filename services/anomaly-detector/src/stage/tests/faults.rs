//! What must alarm, when, how gravely, and when it ends.

use super::super::{ALERTS, CRITICAL, INVALID};
use super::script::{
    DAY, Gpu, HOUR, MINUTE, OUTPUT_PARTITIONS, START_MS, Script, Told, driver, fired, resolved,
};
use chassis::Output;
use schema::Severity::{Critical, Warning};
use schema::{Alert, AlertState, DeadLetter, Trend};

fn change(gpu: &mut Gpu, path: &str, value: u32) {
    gpu.set(path, value);
}

/// A minute of health, then `change`, then an hour of what it made.
fn told_after(change: impl FnOnce(&mut Gpu)) -> Vec<Told> {
    alerts_after(change).1
}

fn alerts_after(change: impl FnOnce(&mut Gpu)) -> (Vec<Alert>, Vec<Told>) {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    change(&mut gpu);
    script.steady(&gpu, MINUTE, HOUR);
    (script.alerts(), script.told())
}

#[test]
fn a_double_bit_error_is_critical_at_once_and_ends_a_clean_day_after_the_reset() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    gpu.set("memory.ecc_dbe_volatile", 1)
        .set("memory.ecc_dbe_aggregate", 1)
        .set("errors.last_xid", 48);
    script.steady(&gpu, MINUTE, 2 * HOUR);
    gpu.reset(2 * HOUR);
    script.steady(&gpu, 2 * HOUR, 2 * DAY);
    let alerts = script.alerts();
    let changes: Vec<_> = script.told();
    assert_eq!(changes[0], fired(MINUTE, "ecc_dbe", Critical));
    assert_eq!(
        changes.last(),
        Some(&resolved(2 * HOUR + DAY, "ecc_dbe", Critical))
    );
    let repeats = &changes[1..changes.len() - 1];
    assert_eq!(repeats.len(), 6, "every four hours");
    let first = &alerts[0];
    assert_eq!(
        (first.count, first.xid, first.metric_name.as_str()),
        (1, Some(48), "ecc_dbe_volatile"),
        "counter and Xid tell of one error"
    );
    assert_eq!(first.context.recent_values, [0.0, 1.0]);
    assert_eq!(first.context.trend, Trend::Increasing);
    assert_eq!(first.action_code.as_deref(), Some("COMPONENT_RESET"));
    assert_eq!(first.context.labels["hostname"], "gpu-node-042");
    assert_eq!(
        first.context.evidence_offsets,
        ["gpu-metrics-enriched/0/1006"]
    );
    assert_eq!(first.runbook, "docs/runbook/ecc_dbe.md");
}

#[test]
fn a_double_bit_error_after_a_reset_is_counted() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    gpu.reset(MINUTE).set("memory.ecc_dbe_volatile", 2);
    script.steady(&gpu, MINUTE, HOUR);
    assert_eq!(script.told(), [fired(MINUTE, "ecc_dbe", Critical)]);
    assert_eq!(script.alerts()[0].count, 2);
}

#[test]
fn double_bit_errors_since_driver_load_are_a_fault_also_when_they_came_before_the_first_reading() {
    let mut gpu = Gpu::new(1)
        .with("memory.ecc_dbe_volatile", 4)
        .with("memory.ecc_dbe_aggregate", 9);
    let mut script = Script::new();
    script.steady(&gpu, 0, HOUR);
    gpu.reset(HOUR);
    script.steady(&gpu, HOUR, HOUR + DAY + MINUTE);
    let told = script.told();
    assert_eq!(told[0], fired(0, "ecc_dbe", Critical));
    assert_eq!(
        told.last(),
        Some(&resolved(HOUR + DAY, "ecc_dbe", Critical))
    );
    let first = &script.alerts()[0];
    assert_eq!((first.count, first.current_value), (4, Some(4.0)));
}

#[test]
fn what_nvidia_defines_as_a_fault_is_one() {
    let flag = |path: &str| told_after(|gpu| change(gpu, path, 1));
    let at = MINUTE;
    assert_eq!(
        flag("memory.row_remap_failure"),
        [fired(at, "row_remap_failure", Critical)]
    );
    assert_eq!(
        flag("memory.row_remap_pending"),
        [fired(at, "row_remap_pending", Warning)]
    );
    assert_eq!(
        flag("memory.sram_threshold_exceeded"),
        [fired(at, "sram_threshold", Critical)]
    );
    assert_eq!(
        flag("memory.memory_unrepairable"),
        [fired(at, "memory_unrepairable", Critical)]
    );
    assert_eq!(
        flag("memory.bank_remap_avail.none"),
        [fired(at, "bank_exhausted", Warning)]
    );
}

#[test]
fn each_hardware_xid_has_its_rule_and_its_action() {
    for (code, rule, severity, action) in [
        (48, "ecc_dbe", Critical, "COMPONENT_RESET"),
        (62, "xid_fatal", Critical, "COMPONENT_RESET"),
        (64, "row_remap_failure", Critical, "CONTACT_SUPPORT"),
        (74, "nvlink_errors", Warning, "CONTACT_SUPPORT"),
        (79, "gpu_lost", Critical, "RESTART_BM"),
        (92, "ecc_sbe_storm", Warning, "NONE"),
        (94, "contained_ecc", Warning, "NONE"),
        (95, "uncontained_ecc", Critical, "COMPONENT_RESET"),
        (119, "xid_fatal", Critical, "COMPONENT_RESET"),
        (121, "xid_hardware", Warning, "NONE"),
        (140, "uncontained_ecc", Critical, "COMPONENT_RESET"),
        (149, "nvlink_errors", Warning, "CONTACT_SUPPORT"),
        (167, "xid_fatal", Critical, "COMPONENT_RESET"),
        (63, "xid_notice", schema::Severity::Info, "NONE"),
        (500, "xid_notice", schema::Severity::Info, "NONE"),
    ] {
        let (alerts, told) = alerts_after(|gpu| change(gpu, "errors.last_xid", code));
        assert_eq!(told[0], fired(MINUTE, rule, severity), "Xid {code}");
        assert_eq!(alerts[0].xid, Some(code), "Xid {code}");
        assert_eq!(alerts[0].action_code.as_deref(), Some(action), "Xid {code}");
        assert!(told.iter().all(|t| t.rule == rule), "Xid {code}: {told:?}");
    }
}

#[test]
fn what_the_driver_asks_for_wins_over_the_catalogue() {
    let (alerts, told) = alerts_after(|gpu| {
        gpu.set("errors.last_xid", 119)
            .set("errors.recovery_action", 2);
    });
    let rules: Vec<_> = told.iter().map(|t| (t.rule.as_str(), t.severity)).collect();
    assert_eq!(
        rules,
        [("xid_fatal", Critical), ("recovery_action", Critical)]
    );
    for alert in &alerts {
        assert_eq!(alert.action_code.as_deref(), Some("RESTART_BM"));
        assert!(alert.recommended_action.contains("reboot"));
    }
}

#[test]
fn the_same_xid_again_is_counted_in_the_same_alert() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.reading(&gpu, 0);
    for (at, count) in (1..).zip([1, 1, 2, 2, 3]) {
        gpu.set("errors.last_xid", 94)
            .set("errors.xid_counts", serde_json::json!({"94": count}));
        script.reading(&gpu, at * 10);
    }
    gpu.set("errors.xid_counts", serde_json::Value::Null);
    script.steady(&gpu, 60, 26 * HOUR);
    let alerts = script.alerts();
    let last = alerts.last().unwrap();
    assert_eq!((last.state, last.count), (AlertState::Resolved, 3));
    assert!(alerts.iter().all(|a| a.alert_id == last.alert_id));
}

#[test]
fn little_margin_warns_and_the_hardwares_slowdown_is_critical() {
    let mut script = Script::new();
    let mut gpu = Gpu::new(1);
    script.steady(&gpu, 0, MINUTE);
    for (at_s, margin) in [(60, 10.0), (70, 6.0), (80, 3.0), (90, 2.0)] {
        gpu.set("health.temp_limit_margin_c", margin);
        script.reading(&gpu, at_s);
    }
    gpu.set("health.temp_limit_margin_c", 1.5);
    script.steady(&gpu, 100, 200);
    gpu.set("health.temp_limit_margin_c", -2.0);
    script.steady(&gpu, 200, 300);
    gpu.set("health.temp_limit_margin_c", 5.0);
    script.steady(&gpu, 300, 900);
    gpu.set("health.temp_limit_margin_c", 12.0);
    script.steady(&gpu, 900, 1_300);
    assert_eq!(
        script.told(),
        [
            fired(150, "thermal_margin", Warning),
            fired(230, "thermal_margin", Critical),
            resolved(1_200, "thermal_margin", Critical),
        ]
    );
    let alerts = script.alerts();
    assert_eq!(alerts[0].alert_type, "temperature_spike");
    assert_eq!(alerts[0].first_seen.as_millis(), START_MS + 90_000);
    assert_eq!(
        (alerts[0].current_value, alerts[0].threshold),
        (Some(1.5), Some(2.0))
    );
    assert_eq!(alerts[1].threshold, Some(-2.0), "an H100's slowdown");
    assert_eq!(alerts[1].context.recent_values.len(), 6);
    assert_eq!(alerts[1].context.trend, Trend::Decreasing);
    assert_eq!(alerts[2].resolved_at, Some(alerts[2].timestamp));
}

#[test]
fn a_busy_gpu_that_gets_hotter_at_equal_power_is_spiking() {
    let mut script = Script::new();
    let mut gpu = Gpu::new(1);
    for at_s in (0..2 * HOUR).step_by(10) {
        gpu.set("health.gpu_temp_c", 54 + (at_s / 10) % 3);
        script.reading(&gpu, at_s);
    }
    // A fan fails: 12 °C within two minutes.
    for (at_s, temp) in (2 * HOUR..).step_by(10).zip(55..67) {
        gpu.set("health.gpu_temp_c", temp);
        script.reading(&gpu, at_s);
    }
    script.steady(&gpu, 2 * HOUR + 120, 2 * HOUR + 600);
    let told = script.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].rule.as_str(), told[0].severity),
        ("temp_spike", Warning)
    );
    let after_s = told[0].at_s - 2 * HOUR;
    assert!((130..=180).contains(&after_s), "{after_s}");
    let alert = &script.alerts()[0];
    assert_eq!(alert.metric_name, "gpu_temp_c");
    assert!(
        alert.message.ends_with("is usual at this power"),
        "{}",
        alert.message
    );
}

#[test]
fn memory_near_its_limit_warns() {
    let told = told_after(|gpu| change(gpu, "health.memory_temp_c", 91));
    assert_eq!(told, [fired(2 * MINUTE, "hbm_temp", Warning)]);
}

#[test]
fn throttling_by_heat_or_power_brake_warns_and_ends_after_a_clean_quarter_of_an_hour() {
    let mut gpu = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&gpu, 0, MINUTE);
    gpu.set("health.throttle_reasons", 0x48);
    script.steady(&gpu, 60, 120);
    gpu.set("health.throttle_reasons", 0x88);
    script.steady(&gpu, 120, 180);
    gpu.set("health.throttle_reasons", 0);
    script.steady(&gpu, 180, HOUR);
    assert_eq!(
        script.told(),
        [
            fired(70, "thermal_throttle", Warning),
            fired(130, "power_brake", Warning),
            resolved(1_020, "thermal_throttle", Warning),
            resolved(1_080, "power_brake", Warning),
        ]
    );
    let alerts = script.alerts();
    assert_eq!(alerts[0].alert_type, "throttling");
    assert!(
        alerts[0].message.contains("hw_thermal_slowdown"),
        "{}",
        alerts[0].message
    );
    assert_eq!(alerts[0].context.recent_values.len(), 5);
}

#[test]
fn a_cap_far_below_the_limit_and_a_slowdown_without_a_cause_warn() {
    let told = told_after(|gpu| {
        gpu.set("health.throttle_reasons", 0x4)
            .set("health.power_usage_w", 300);
    });
    assert_eq!(told, [fired(11 * MINUTE, "power_cap_low", Warning)]);
    let told = told_after(|gpu| change(gpu, "health.throttle_reasons", 0x8));
    assert_eq!(told, [fired(70, "hw_slowdown", Warning)]);
}

#[test]
fn links_that_lose_lanes_generations_or_bits_warn() {
    let told = told_after(|gpu| change(gpu, "interconnect.pcie_width", 8));
    assert_eq!(told, [fired(6 * MINUTE, "pcie_degraded", Critical)]);
    let told = told_after(|gpu| change(gpu, "interconnect.pcie_gen", 4));
    assert_eq!(told, [fired(6 * MINUTE, "pcie_degraded", Warning)]);
    let told = told_after(|gpu| change(gpu, "interconnect.nvlink_links_up", 17));
    assert_eq!(told, [fired(90, "nvlink_down", Critical)]);

    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    for at in 0..120 {
        gpu.set("interconnect.pcie_replay", 10 * at);
        script.reading(&gpu, at * 10);
    }
    let told = script.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].rule, "pcie_replay");

    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    script.reading(&gpu, 0);
    for at in 1..4 {
        gpu.set("interconnect.nvlink_replay", at);
        script.steady(&gpu, at * 300, at * 300 + 300);
    }
    assert_eq!(
        script.told(),
        [
            fired(300, "nvlink_errors", Warning),
            fired(900, "nvlink_errors", Critical)
        ]
    );
}

#[test]
fn corrected_errors_are_a_storm_when_they_last() {
    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    let mut errors = 0;
    for at_s in (0..12 * HOUR).step_by(10) {
        gpu.set("memory.ecc_sbe_volatile", errors)
            .set("memory.ecc_sbe_aggregate", 1_847 + errors);
        script.reading(&gpu, at_s);
        errors += if at_s < 4 * HOUR { 4 } else { 0 };
    }
    let told = script.told();
    assert_eq!(told[0].rule, "ecc_sbe_storm");
    // 1,440 an hour: 1,000 are reached after 42 minutes, and must stand for two hours.
    assert!(
        (160 * MINUTE..=164 * MINUTE).contains(&told[0].at_s),
        "{told:?}"
    );
    let last = told.last().unwrap();
    assert_eq!(last.state, AlertState::Resolved);
    assert!(last.at_s > 10 * HOUR, "{told:?}");
}

#[test]
fn remaps_that_grow_and_repairs_that_repeat_predict_failure() {
    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    script.reading(&gpu, 0);
    gpu.set("memory.row_remap_uncorrectable", 5);
    script.reading(&gpu, 10);
    assert_eq!(script.told(), [fired(10, "failure_prediction", Warning)]);
    assert_eq!(
        script.alerts()[0].action_code.as_deref(),
        Some("RUN_FIELDDIAG")
    );

    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    script.steady(&gpu, 0, 30);
    for (day, code) in [(0, 119), (5, 62), (9, 95)] {
        let at_s = day * DAY + HOUR;
        gpu.set("errors.last_xid", code);
        script.steady(&gpu, at_s, at_s + 30);
        gpu.reset(at_s + 30);
        script.steady(&gpu, at_s + 30, at_s + 60);
    }
    let told = script.told();
    let lemon: Vec<_> = told.iter().filter(|t| t.rule == "lemon_gpu").collect();
    assert_eq!(lemon, [&fired(9 * DAY + HOUR, "lemon_gpu", Warning)]);
}

#[test]
fn the_same_fault_of_an_application_in_two_jobs_points_at_the_gpu() {
    let (mut gpu, mut script) = (Gpu::new(1), Script::new());
    script.steady(&gpu, 0, MINUTE);
    gpu.set("errors.last_xid", 31);
    script.steady(&gpu, MINUTE, HOUR);
    gpu.set("errors.last_xid", 0);
    gpu.top("workload", serde_json::json!({"job_id": "job-2"}));
    script.steady(&gpu, HOUR, HOUR + MINUTE);
    gpu.set("errors.last_xid", 31);
    script.steady(&gpu, HOUR + MINUTE, HOUR + 2 * MINUTE);
    let told = script.told();
    let repeat: Vec<_> = told.iter().filter(|t| t.rule == "xid_app_repeat").collect();
    assert_eq!(repeat, [&fired(HOUR + MINUTE, "xid_app_repeat", Warning)]);
}

#[test]
fn critical_alerts_go_to_both_topics_and_everything_stays_in_its_partition() {
    let mut script = Script {
        partition: 13,
        ..Script::new()
    };
    let mut gpu = Gpu::new(1);
    script.reading(&gpu, 0);
    gpu.set("memory.row_remap_failure", 1)
        .set("memory.row_remap_pending", 1);
    script.reading(&gpu, 10);
    script.raw(Some(b"GPU-x"), Some(b"{}"), START_MS);
    let emitted = driver().run(&script.inputs);
    let places: Vec<_> = emitted
        .iter()
        .map(|e| (Output(e.output), e.partition, e.key.as_deref().unwrap()))
        .collect();
    let key = gpu.uuid.as_bytes();
    let partition = |output: Output| 13 % OUTPUT_PARTITIONS[output.0];
    assert_eq!(
        places,
        [
            (ALERTS, partition(ALERTS), key),
            (ALERTS, partition(ALERTS), key),
            (CRITICAL, partition(CRITICAL), key),
            (INVALID, partition(INVALID), &b"GPU-x"[..]),
        ]
    );
    assert_eq!(emitted[1].value, emitted[2].value);
}

#[test]
fn what_can_not_be_read_is_a_dead_letter_with_its_reason() {
    let mut script = Script::new();
    script
        .raw(Some(b"GPU-1"), None, START_MS)
        .raw(None, Some(b"{}"), START_MS)
        .raw(None, None, START_MS)
        .raw(Some(b"\xff"), Some(b"{}"), START_MS)
        .raw(Some(b"GPU-1"), Some(b"nonsense"), START_MS)
        .raw(Some(b"GPU-1"), Some(&vec![b'['; 200_000]), START_MS)
        .raw(Some(b"GPU-1"), Some(&vec![b'a'; 2_000_000]), START_MS);
    let emitted = driver().run(&script.inputs);
    let reasons: Vec<_> = emitted
        .iter()
        .map(|e| {
            assert_eq!(Output(e.output), INVALID);
            let letter: DeadLetter = serde_json::from_slice(e.value.as_ref().unwrap()).unwrap();
            assert_eq!(letter.service, "anomaly-detector");
            (
                letter.source.offset,
                letter.validation_errors[0].code.clone(),
            )
        })
        .collect();
    let expected = [
        "no_value",
        "not_a_tick",
        "no_value",
        "key_not_text",
        "not_a_reading",
        "not_a_reading",
        "not_a_reading",
    ];
    let expected: Vec<_> = (1_000..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(reasons, expected);
}
