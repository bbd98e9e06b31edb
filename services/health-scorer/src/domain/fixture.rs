//! A GPU for tests: readings come every ten seconds, and a test says what differs from a healthy one.

use super::absence::{Blame, declare_lost};
use super::apply::{Order, apply};
use super::clock::Clock;
use super::factor::Factor;
use super::finding::Finding;
use super::reading::Reading;
use super::rules::Rules;
use super::score::{Assessment, assess};
use super::state::GpuState;
use schema::Timestamp;
use serde_json::{Value, json};

/// 2026-02-11T10:30:00Z
pub(crate) const START_MS: i64 = 1_770_805_800_000;
pub(crate) const INTERVAL_MS: i64 = 10_000;
/// One record moves watched time by at most this.
const MAX_STEP_MS: i64 = 10_000;

pub(crate) const H100: &str = "NVIDIA H100 80GB HBM3";
pub(crate) const A100: &str = "NVIDIA A100-SXM4-80GB";

/// A healthy H100 at work: every field that the collector gives.
pub(crate) fn healthy() -> Value {
    json!({
        "health": {
            "gpu_temp_c": 55, "memory_temp_c": 62, "power_usage_w": 650.0, "throttle_reasons": 0,
            "temp_limit_margin_c": 30, "mem_max_op_temp_c": 95,
            "thermal_violation_ns": 0, "power_violation_ns": 0, "hw_thermal_slowdown_ns": 0,
            "sw_thermal_slowdown_ns": 0, "hw_power_brake_slowdown_ns": 0, "sw_power_cap_ns": 0
        },
        "memory": {
            "ecc_sbe_volatile": 0, "ecc_dbe_volatile": 0, "ecc_sbe_aggregate": 1847, "ecc_dbe_aggregate": 0,
            "row_remap_correctable": 0, "row_remap_uncorrectable": 0, "row_remap_pending": 0, "row_remap_failure": 0,
            "sram_threshold_exceeded": 0, "memory_unrepairable": 0,
            "bank_remap_avail": {"max": 3072, "high": 0, "partial": 0, "low": 0, "none": 0}
        },
        "performance": {"gpu_utilization_pct": 98, "sm_active_pct": 88.5},
        "clocks": {"sm_clock_mhz": 1755},
        "power": {"enforced_limit_w": 700, "default_limit_w": 700, "total_energy_mj": 1_000_000},
        "interconnect": {
            "pcie_gen": 5, "pcie_width": 16, "pcie_gen_max": 5, "pcie_width_max": 16, "pcie_replay": 3,
            "nvlink_crc_flit": 0, "nvlink_crc_data": 0, "nvlink_replay": 0, "nvlink_recovery": 0, "nvlink_links_up": 18
        },
        "errors": {"last_xid": 0, "recovery_action": 0}
    })
}

/// A record of `gpu-metrics-enriched`.
pub(crate) fn record(
    model: &str,
    host: &str,
    metrics: &Value,
    at_ms: i64,
    ingest_ms: i64,
    job: Option<&str>,
) -> Vec<u8> {
    serde_json::to_vec(&json!({
        "timestamp": Timestamp::from_millis(at_ms),
        "gpu": {"gpu_uuid": "GPU-test", "name": model},
        "host": {"hostname": host},
        "metrics": metrics,
        "workload": {"job_id": job},
        "validation_timestamp": Timestamp::from_millis(ingest_ms),
        "quality_flags": [],
        "asset_status": "unknown"
    }))
    .unwrap()
}

#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(crate) state: GpuState,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    pub(crate) metrics: Value,
    pub(crate) model: &'static str,
    pub(crate) job: Option<String>,
}

impl Gpu {
    /// After one reading of a healthy GPU.
    pub(crate) fn new() -> Self {
        let mut gpu = Self::unseen();
        gpu.step();
        gpu
    }

    /// Before its first reading.
    pub(crate) fn unseen() -> Self {
        let clock = Clock {
            stream_ms: START_MS,
            watched_ms: 0,
        };
        Self {
            state: GpuState::new(clock),
            clock,
            rules: Rules::default(),
            metrics: healthy(),
            model: H100,
            job: None,
        }
    }

    /// Sets `group.name`; null takes it away. Holds for all readings from now on.
    pub(crate) fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let mut at = &mut self.metrics;
        for name in path.split('.') {
            at = &mut at[name];
        }
        *at = value.into();
        self
    }

    /// Adds to a counter.
    pub(crate) fn add(&mut self, path: &str, increment: u64) -> &mut Self {
        let before = path
            .split('.')
            .fold(&self.metrics, |at, name| &at[name])
            .as_u64()
            .unwrap();
        self.set(path, before + increment)
    }

    /// The GPU does nothing: it is cold and slow, draws little, and its link sleeps.
    pub(crate) fn idle(&mut self) -> &mut Self {
        self.set("health.power_usage_w", 72.0)
            .set("health.gpu_temp_c", 28)
            .set("health.temp_limit_margin_c", 57)
            .set("health.memory_temp_c", 35)
            .set("health.throttle_reasons", 1)
            .set("performance.gpu_utilization_pct", 0)
            .set("performance.sm_active_pct", 0.0)
            .set("interconnect.pcie_gen", 1)
    }

    /// Another ten seconds, and the next reading.
    pub(crate) fn step(&mut self) -> Order {
        self.pass(INTERVAL_MS);
        self.read(self.clock.stream_ms)
    }

    /// Readings for so many minutes.
    pub(crate) fn run(&mut self, minutes: i64) -> &mut Self {
        for _ in 0..minutes * 60_000 / INTERVAL_MS {
            self.step();
        }
        self
    }

    /// A reading with this event time, ingested now.
    pub(crate) fn read(&mut self, at_ms: i64) -> Order {
        let job = self.job.as_deref();
        let value = record(
            self.model,
            "node-1",
            &self.metrics,
            at_ms,
            self.clock.stream_ms,
            job,
        );
        let reading = Reading::parse(&value).unwrap();
        apply(&mut self.state, &reading, self.clock, &self.rules.limits)
    }

    /// Time passes without a reading of this GPU, yet with others.
    pub(crate) fn pass(&mut self, millis: i64) -> &mut Self {
        let end_ms = self.clock.stream_ms + millis;
        while self.clock.stream_ms < end_ms {
            let next_ms = end_ms.min(self.clock.stream_ms + MAX_STEP_MS);
            self.clock.advance(next_ms, MAX_STEP_MS);
        }
        self
    }

    /// It is silent until it counts as lost.
    pub(crate) fn fall_silent(&mut self, blame: Blame) -> &mut Self {
        let due_ms = self.state.silence_due_ms(&self.rules.limits).unwrap();
        self.pass(due_ms - self.clock.watched_ms);
        declare_lost(&mut self.state, blame, self.clock, &self.rules.limits);
        self
    }

    pub(crate) fn assess(&self) -> Assessment {
        assess(&self.state, self.clock, &self.rules)
    }

    pub(crate) fn overall(&self) -> f64 {
        self.assess().overall.unwrap()
    }

    pub(crate) fn finding(&self, factor: Factor) -> Option<Finding> {
        let findings = self.assess().findings;
        findings.into_iter().find(|f| f.factor == factor)
    }

    /// Points, cap and value of a factor at work.
    pub(crate) fn factor(&self, factor: Factor) -> Option<(f64, Option<f64>, Option<f64>)> {
        let finding = self.finding(factor)?;
        Some((
            super::number::rounded(finding.points, 2),
            finding.cap(&self.rules),
            finding.value,
        ))
    }

    /// The factors at work, by name.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let findings = self.assess().findings;
        findings.iter().map(|f| f.factor.spec().name).collect()
    }
}
