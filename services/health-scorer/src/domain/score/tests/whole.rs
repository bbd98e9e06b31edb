//! The score as a whole: what is unknown, what is late, what is written.

use crate::domain::absence::Blame;
use crate::domain::apply::Order;
use crate::domain::factor::Factor;
use crate::domain::fixture::{Gpu, INTERVAL_MS, START_MS};
use crate::domain::judge::{Cause, judge};
use crate::domain::score::score;
use schema::{Grade, HealthState};
use serde_json::json;

#[test]
fn a_dimension_that_nothing_is_known_about_has_no_say() {
    // Of the default exporter: no ECC, no throttle reasons, no link width, no profiling.
    let mut gpu = Gpu::unseen();
    gpu.metrics = json!({
        "health": {"gpu_temp_c": 50, "temp_limit_margin_c": 3, "power_usage_w": 600},
        "performance": {"gpu_utilization_pct": 99},
        "power": {"enforced_limit_w": 700}
    });
    gpu.run(15);
    let assessment = gpu.assess();
    assert_eq!(
        assessment.dimensions,
        [None, Some(90.0), None, Some(100.0), Some(100.0)]
    );
    // (0.25 x 90 + 0.15 x 100 + 0.10 x 100) / 0.50
    assert_eq!(assessment.overall, Some(95.0));
    assert!((assessment.confidence - 0.5).abs() < f64::EPSILON);
}

#[test]
fn too_little_is_known_for_a_number_but_a_fact_stands() {
    let mut gpu = Gpu::unseen();
    gpu.metrics = json!({"errors": {"last_xid": 0}});
    gpu.run(5);
    let assessment = gpu.assess();
    assert_eq!(
        (assessment.overall, assessment.grade),
        (None, Grade::Unknown)
    );
    assert_eq!(assessment.state, HealthState::Unknown);
    assert!((assessment.confidence - 0.1).abs() < f64::EPSILON);

    gpu.set("errors.last_xid", 64).step();
    let assessment = gpu.assess();
    assert_eq!(
        (assessment.overall, assessment.grade),
        (Some(20.0), Grade::Critical)
    );
    assert_eq!(assessment.state, HealthState::RmaCandidate);
    // A cap of 50 and more is only an upper bound.
    let mut capped = Gpu::unseen();
    capped.metrics = json!({"errors": {"recovery_action": 1}});
    capped.run(5);
    assert_eq!(capped.assess().overall, None);
    assert_eq!(capped.assess().state, HealthState::Drain);
}

#[test]
fn what_was_known_is_forgotten_after_a_quarter_of_an_hour() {
    let mut gpu = Gpu::new();
    gpu.run(20);
    gpu.set("memory", json!(null)).run(14);
    assert!(gpu.assess().dimensions[0].is_some());
    gpu.run(1);
    assert_eq!(gpu.assess().dimensions[0], None);
    assert!((gpu.assess().confidence - 0.7).abs() < f64::EPSILON);
}

#[test]
fn missing_readings_lower_confidence_and_a_new_gpu_is_not_doubted() {
    assert!((Gpu::new().assess().confidence - 1.0).abs() < f64::EPSILON);
    let mut gpu = Gpu::new();
    gpu.run(15);
    gpu.pass(5 * 60_000);
    let confidence = gpu.assess().confidence;
    assert!((confidence - 2.0 / 3.0).abs() < 0.05, "{confidence}");
    gpu.pass(5 * 60_000);
    assert_eq!(gpu.assess().grade, Grade::Unknown);
}

#[test]
fn an_outage_of_the_pipeline_is_no_gpus_fault() {
    let mut gpu = Gpu::new();
    gpu.run(20);
    // Nothing was ingested for an hour; then comes one record of another GPU.
    gpu.clock.advance(gpu.clock.stream_ms + 3_600_000, 10_000);
    let limits = &gpu.rules.limits;
    assert!(gpu.state.silence_due_ms(limits).unwrap() > gpu.clock.watched_ms);
    gpu.step();
    assert_eq!(gpu.names(), [""; 0]);
    assert!((gpu.assess().confidence - 1.0).abs() < 0.03);
}

#[test]
fn the_state_is_the_worst_that_a_fact_asks_for() {
    let mut gpu = Gpu::new();
    let state = |gpu: &Gpu| gpu.assess().state;
    assert_eq!(state(&gpu), HealthState::Ok);
    gpu.set("memory.bank_remap_avail.low", 1).step();
    assert_eq!(state(&gpu), HealthState::Ok);
    gpu.add("interconnect.nvlink_crc_data", 1_000).step();
    assert_eq!(state(&gpu), HealthState::Degraded);
    gpu.set("memory.row_remap_pending", 1).step();
    assert_eq!(state(&gpu), HealthState::Drain);
    gpu.set("memory.row_remap_failure", 1).step();
    assert_eq!(state(&gpu), HealthState::RmaCandidate);
    gpu.fall_silent(Blame::Unknown);
    assert_eq!(state(&gpu), HealthState::Lost);
}

#[test]
fn factors_come_by_what_they_take_from_the_whole() {
    let mut gpu = Gpu::new();
    gpu.set("power.enforced_limit_w", 690)
        .set("memory.row_remap_uncorrectable", 1)
        .set("memory.row_remap_pending", 1)
        .step();
    assert_eq!(
        gpu.names(),
        [
            "row_remap_pending",
            "row_remaps",
            "recent_row_remaps",
            "power_limit_lowered"
        ]
    );
}

#[test]
fn a_reading_out_of_order_shows_that_the_gpu_is_there_and_nothing_else() {
    let mut gpu = Gpu::new();
    gpu.add("memory.ecc_sbe_volatile", 500).run(10);
    let before = gpu.clone();
    // Held back by a collector: older values, an old flag, and an old Xid.
    gpu.set("memory.ecc_sbe_volatile", 100)
        .set("memory.row_remap_failure", 1)
        .set("errors.xid_counts", json!({"79": 1}));
    let last_ms = gpu.state.last_event_ms.unwrap();
    for at_ms in [last_ms - 60_000, last_ms - 1, last_ms] {
        gpu.pass(1_000);
        assert_eq!(gpu.read(at_ms), Order::OutOfOrder);
    }
    assert_eq!(gpu.state.counters, before.state.counters);
    assert_eq!(gpu.state.levels, before.state.levels);
    assert_eq!(gpu.state.ledger, before.state.ledger);
    assert_eq!(gpu.state.last_seen_ms, gpu.clock.stream_ms);
    // The next in order goes on from where the last one in order was.
    gpu.metrics = before.metrics;
    gpu.add("memory.ecc_sbe_volatile", 7).step();
    assert_eq!(gpu.factor(Factor::SbeRate).unwrap().2, Some(507.0));
}

#[test]
fn a_late_reading_in_order_counts_at_its_own_time() {
    let mut gpu = Gpu::new();
    let at_ms = gpu.state.last_event_ms.unwrap() + INTERVAL_MS;
    gpu.pass(14 * 86_400_000);
    gpu.add("memory.ecc_dbe_volatile", 1);
    assert_eq!(gpu.read(at_ms), Order::InOrder);
    // It is two weeks old when it arrives.
    let (points, _, _) = gpu.factor(Factor::DoubleBitEcc).unwrap();
    assert!((points - 20.0).abs() < 0.01, "{points}");
}

#[test]
fn a_gpu_whose_clock_was_ahead_stays_alive_while_it_is_set_right() {
    let mut gpu = Gpu::new();
    gpu.run(5);
    gpu.pass(INTERVAL_MS);
    let ahead_ms = gpu.clock.stream_ms + 240_000;
    assert_eq!(gpu.read(ahead_ms), Order::InOrder);
    for _ in 0..20 {
        assert_eq!(gpu.step(), Order::OutOfOrder);
        let due_ms = gpu.state.silence_due_ms(&gpu.rules.limits).unwrap();
        assert!(due_ms > gpu.clock.watched_ms);
    }
    gpu.run(1);
    assert_eq!(gpu.step(), Order::InOrder);
    assert_eq!(gpu.names(), [""; 0]);
}

#[test]
fn scores_are_written_first_on_change_and_as_a_heartbeat() {
    let mut gpu = Gpu::unseen();
    let mut written = Vec::new();
    let mut tell = |gpu: &mut Gpu| {
        gpu.step();
        let judged = judge("GPU-1", &mut gpu.state, gpu.clock, &gpu.rules);
        written.extend(judged.map(|(score, cause)| {
            let seconds = (gpu.clock.stream_ms - START_MS) / 1_000;
            (
                seconds,
                cause,
                score.overall_score.unwrap(),
                score.health_grade,
            )
        }));
    };
    for _ in 0..95 {
        tell(&mut gpu);
    }
    gpu.set("health.temp_limit_margin_c", 7);
    for _ in 0..10 {
        tell(&mut gpu);
    }
    gpu.set("errors.recovery_action", 3);
    for _ in 0..2 {
        tell(&mut gpu);
    }
    assert_eq!(
        written,
        [
            (10, Cause::First, 100.0, Grade::Excellent),
            (910, Cause::Heartbeat, 100.0, Grade::Excellent),
            (1_060, Cause::State, 60.0, Grade::Degraded),
        ]
    );
}

#[test]
fn a_trend_shows_after_a_day_of_hourly_scores() {
    let mut gpu = Gpu::new();
    let mut trend = None;
    for hour in 0..49 {
        // A row an hour goes bad; the logarithm makes it dear at first.
        gpu.set("memory.row_remap_uncorrectable", hour / 12);
        gpu.pass(3_600_000 - INTERVAL_MS).step();
        let _written = judge("GPU-1", &mut gpu.state, gpu.clock, &gpu.rules);
        trend = score("GPU-1", &gpu.state, gpu.clock, &gpu.rules).degradation_trend;
        assert_eq!(trend.is_some(), hour >= 24, "{hour}");
    }
    assert!(trend.unwrap() < -0.5, "{trend:?}");
}

#[test]
fn a_healthy_gpus_state_is_small() {
    let mut gpu = Gpu::unseen();
    for minute in 0..8 * 24 * 60_u32 {
        gpu.set("health.power_usage_w", 600.5 + f64::from(minute % 100));
        gpu.pass(60_000 - INTERVAL_MS).step();
        let _written = judge("GPU-1", &mut gpu.state, gpu.clock, &gpu.rules);
    }
    gpu.run(16);
    let bytes = postcard::to_stdvec(&gpu.state).unwrap().len();
    println!("healthy: {bytes} bytes");
    assert!(bytes <= 400, "{bytes}");

    // Hot under load all week, with errors of every kind.
    gpu.set("health.temp_limit_margin_c", -3)
        .set("health.memory_temp_c", 94)
        .set("health.throttle_reasons", 0xe8);
    for xid in [48, 79, 94, 95, 119, 74, 121] {
        for _ in 0..20 {
            gpu.add("memory.ecc_sbe_volatile", 1_000)
                .set("errors.xid_counts", json!({ xid.to_string(): 1 }))
                .run(1);
            gpu.set("errors.xid_counts", json!({})).run(1);
            gpu.pass(3_600_000);
            let _written = judge("GPU-1", &mut gpu.state, gpu.clock, &gpu.rules);
        }
    }
    gpu.run(15);
    let bytes = postcard::to_stdvec(&gpu.state).unwrap().len();
    println!("ill: {bytes} bytes");
    assert!(bytes <= 2_500, "{bytes}");
}
