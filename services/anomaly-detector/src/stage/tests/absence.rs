//! GPUs that fall silent.

use super::script::{DAY, Gpu, HOUR, MINUTE, Script, alerts_of, driver, fired, resolved};
use schema::AlertState;
use schema::Severity::{Critical, Warning};

/// Readings of `gpus` every ten seconds, a second apart, until before `to_s`.
fn together(script: &mut Script, gpus: &[&Gpu], from_s: i64, to_s: i64) {
    for at_s in (from_s..to_s).step_by(10) {
        for (place, gpu) in (0..).zip(gpus) {
            script.reading(gpu, at_s + place);
        }
    }
}

#[test]
fn a_gpu_that_vanishes_while_its_sibling_reports_is_lost_and_comes_back() {
    let (a, b) = (Gpu::new(1), Gpu::new(2));
    let mut script = Script::new();
    together(&mut script, &[&a, &b], 0, MINUTE);
    together(&mut script, &[&b], MINUTE, 10 * MINUTE);
    together(&mut script, &[&b, &a], 10 * MINUTE, 20 * MINUTE);
    // Its last reading came at 50 s; the first record 30 s later is its sibling's at 80 s.
    assert_eq!(
        script.told(),
        [
            fired(80, "gpu_lost", Critical),
            resolved(15 * MINUTE + 1, "gpu_lost", Critical),
        ]
    );
    let alerts = script.alerts();
    assert_eq!(alerts[0].gpu_uuid, a.uuid);
    assert_eq!(alerts[0].current_value, Some(30.0));
    assert_eq!(alerts[0].threshold, Some(30.0));
    assert_eq!(alerts[0].action_code.as_deref(), Some("RESTART_BM"));
    assert_eq!(
        (
            alerts[0].context.labels["hostname"].as_str(),
            alerts[0].context.labels["model"].as_str()
        ),
        ("gpu-node-042", "NVIDIA H100 80GB HBM3")
    );
}

#[test]
fn a_host_that_vanishes_is_a_gap_in_telemetry_and_no_lost_gpu() {
    let (a, b) = (Gpu::new(1), Gpu::new(2));
    let other = Gpu::new(3).on("gpu-node-043");
    let mut script = Script::new();
    together(&mut script, &[&a, &b, &other], 0, MINUTE);
    together(&mut script, &[&other], MINUTE, 5 * MINUTE);
    together(&mut script, &[&a, &b, &other], 5 * MINUTE, 6 * MINUTE);
    assert_eq!(
        script.told(),
        [
            fired(80, "telemetry_gap", Warning),
            fired(90, "telemetry_gap", Warning),
            resolved(300, "telemetry_gap", Warning),
            resolved(301, "telemetry_gap", Warning),
        ]
    );
}

#[test]
fn a_host_that_comes_back_without_one_gpu_has_lost_it() {
    let (a, b) = (Gpu::new(1), Gpu::new(2));
    let mut script = Script::new();
    together(&mut script, &[&a, &b], 0, MINUTE);
    for at_s in MINUTE..5 * MINUTE {
        script.tick(at_s);
    }
    together(&mut script, &[&b], 5 * MINUTE, 6 * MINUTE);
    let told: Vec<_> = script
        .alerts()
        .into_iter()
        .map(|alert| (alert.rule_id, alert.state, alert.gpu_uuid))
        .collect();
    let line = |rule: &str, state, gpu: &Gpu| (rule.to_owned(), state, gpu.uuid.clone());
    assert_eq!(
        told,
        [
            line("telemetry_gap", AlertState::Firing, &a),
            line("telemetry_gap", AlertState::Firing, &b),
            line("telemetry_gap", AlertState::Resolved, &b),
            line("gpu_lost", AlertState::Firing, &a),
            line("telemetry_gap", AlertState::Resolved, &a),
        ]
    );
}

#[test]
fn a_gpu_alone_in_its_partition_is_missed_by_the_ticks() {
    let a = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&a, 0, MINUTE);
    for at_s in MINUTE..3 * MINUTE {
        script.tick(at_s);
    }
    assert_eq!(script.told(), [fired(81, "telemetry_gap", Warning)]);
}

#[test]
fn an_xid_79_is_a_lost_gpu_at_once_and_its_silence_adds_nothing() {
    let (mut a, b) = (Gpu::new(1), Gpu::new(2));
    let mut script = Script::new();
    together(&mut script, &[&a, &b], 0, MINUTE);
    a.set("errors.last_xid", 79);
    script.reading(&a, MINUTE);
    together(&mut script, &[&b], MINUTE, HOUR);
    // The node is restarted: the gauge starts anew.
    a.reset(HOUR);
    together(&mut script, &[&a, &b], HOUR, HOUR + 10 * MINUTE);
    let told = script.told();
    assert_eq!(
        told,
        [
            fired(60, "gpu_lost", Critical),
            resolved(HOUR + 5 * MINUTE, "gpu_lost", Critical),
        ]
    );
    assert_eq!(script.alerts()[0].xid, Some(79));
}

#[test]
fn while_the_gauge_shows_79_a_lost_gpu_is_not_back() {
    let mut a = Gpu::new(1);
    let mut script = Script::new();
    script.steady(&a, 0, MINUTE);
    a.set("errors.last_xid", 79);
    script.steady(&a, MINUTE, 2 * HOUR);
    assert_eq!(script.told(), [fired(60, "gpu_lost", Critical)]);
}

#[test]
fn a_partition_that_was_silent_as_a_whole_did_not_lose_its_gpus() {
    // No tick either: the broker was away, and records of the time are lost or yet to come.
    let gpus: Vec<_> = (1..6).map(Gpu::new).collect();
    let gpus: Vec<&Gpu> = gpus.iter().collect();
    let mut script = Script::new();
    together(&mut script, &gpus, 0, MINUTE);
    together(&mut script, &gpus, HOUR, HOUR + 5 * MINUTE);
    assert_eq!(script.told(), []);
}

#[test]
fn a_gpu_that_reports_once_a_minute_is_not_silent_between() {
    let slow = Gpu::new(1);
    let fast = Gpu::new(2);
    let mut script = Script::new();
    for at_s in 0..2 * HOUR {
        if at_s % 60 == 0 {
            script.reading(&slow, at_s);
        }
        if at_s % 10 == 5 {
            script.reading(&fast, at_s);
        }
    }
    // Nobody can know its interval before its second reading; a gap at the start is the price.
    let told = script.told();
    assert!(told.iter().all(|t| t.at_s < 10 * MINUTE), "{told:?}");
    assert_eq!(told.last().map(|t| t.state), Some(AlertState::Resolved));
}

#[test]
fn a_collector_whose_clock_was_set_back_has_not_lost_its_gpus() {
    let (a, b) = (Gpu::new(1), Gpu::new(2));
    let mut script = Script::new();
    together(&mut script, &[&a, &b], 0, 10 * MINUTE);
    for at_s in (10 * MINUTE..20 * MINUTE).step_by(10) {
        script.late(&a, at_s - 8 * MINUTE, at_s);
        script.reading(&b, at_s + 1);
    }
    assert_eq!(script.told(), []);
}

#[test]
fn a_lost_gpu_is_told_again_every_four_hours_and_forgotten_after_a_month() {
    let (a, b) = (Gpu::new(1), Gpu::new(2));
    let mut driver = driver();
    let mut emitted = Vec::new();
    let mut script = Script::new();
    together(&mut script, &[&a, &b], 0, MINUTE);
    for at_s in (MINUTE..DAY).step_by(10) {
        script.reading(&b, at_s);
    }
    emitted.extend(driver.run(&script.inputs));
    let first = alerts_of(&emitted);
    assert_eq!(first.len(), 6, "now, and five times every four hours");
    assert!(
        first
            .iter()
            .all(|alert| alert.alert_id == first[0].alert_id)
    );
    assert_eq!(driver.task(0).map(chassis::Task::entries), Some(2));

    let mut script = Script::new();
    for at_s in (31 * DAY..31 * DAY + 2 * MINUTE).step_by(10) {
        script.reading(&b, at_s);
    }
    let last = alerts_of(&driver.run(&script.inputs));
    let of_a: Vec<_> = last
        .iter()
        .filter(|alert| alert.gpu_uuid == a.uuid)
        .collect();
    assert_eq!(of_a.len(), 1, "{of_a:?}");
    assert_eq!(
        (of_a[0].state, &of_a[0].alert_id),
        (AlertState::Resolved, &first[0].alert_id)
    );
    assert_eq!(driver.task(0).map(chassis::Task::entries), Some(1));
}
