//! What the factors of reliability take, and when.

use super::{HOUR_MS, after};
use crate::domain::absence::Blame;
use crate::domain::factor::{DAY_MS, Factor};
use crate::domain::fixture::{Gpu, INTERVAL_MS};
use schema::HealthState;
use serde_json::json;

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
