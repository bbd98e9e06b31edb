//! A small language for what GPUs report over time.

use super::super::{ALERTS, AnomalyDetector};
use crate::domain::detector::Detector;
use crate::domain::limits::Limits;
use chassis::testing::{Emitted, Input, StageDriver, values_of};
use schema::{Alert, AlertState, Severity, Tick, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) const TOPIC: &str = "gpu-metrics-enriched";
/// 2026-02-11T10:30:00Z
pub(crate) const START_MS: i64 = 1_770_805_800_000;
/// How long a reading takes to the broker.
const INGEST_DELAY_MS: i64 = 400;
pub(crate) const MINUTE: i64 = 60;
pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 86_400;
/// Partitions of alerts, critical alerts and dead letters.
pub(crate) const OUTPUT_PARTITIONS: [i32; 3] = [8, 4, 8];

/// A healthy, busy H100 until told otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(crate) uuid: String,
    /// Second at which its driver was loaded; its energy counts from there.
    pub(crate) booted_s: i64,
    reading: Value,
}

impl Gpu {
    pub(crate) fn new(number: u32) -> Self {
        let uuid = format!("GPU-00000000-0000-4000-8000-{number:012}");
        let reading = json!({
            "schema_version": "1.1",
            "event_type": "gpu_metric_sample",
            "timestamp": "",
            "gpu": {"gpu_uuid": uuid, "device_index": number % 8, "pci_bus_id": "00000000:5D:00.0", "name": "NVIDIA H100 80GB HBM3"},
            "host": {"hostname": "gpu-node-042", "cluster": "training-1", "rack": "rack-12", "datacenter": "fra-1"},
            "metrics": {
                "health": {"gpu_temp_c": 55, "memory_temp_c": 65, "power_usage_w": 500, "throttle_reasons": 0, "temp_limit_margin_c": 25},
                "memory": {"ecc_sbe_volatile": 0, "ecc_dbe_volatile": 0, "ecc_sbe_aggregate": 1847, "ecc_dbe_aggregate": 0,
                    "row_remap_correctable": 0, "row_remap_uncorrectable": 3, "row_remap_pending": 0, "row_remap_failure": 0,
                    "sram_threshold_exceeded": 0, "memory_unrepairable": 0, "bank_remap_avail": {"max": 639, "high": 1, "partial": 0, "low": 0, "none": 0}},
                "performance": {"gpu_utilization_pct": 95},
                "power": {"enforced_limit_w": 700, "default_limit_w": 700, "total_energy_mj": 0},
                "interconnect": {"pcie_gen": 5, "pcie_gen_max": 5, "pcie_width": 16, "pcie_width_max": 16, "pcie_replay": 7,
                    "nvlink_crc_flit": 0, "nvlink_crc_data": 0, "nvlink_replay": 0, "nvlink_recovery": 0, "nvlink_links_up": 18},
                "errors": {"last_xid": 0, "recovery_action": 0},
            },
            "workload": {"job_id": "job-1"},
            "validation_timestamp": "",
            "validation_version": "1",
            "quality_flags": [],
            "asset_status": "known",
            "asset": {"rack_id": "rack-12", "cluster_id": "training-1", "datacenter": "fra-1", "warranty_status": "active", "sla_tier": "production"},
        });
        Self {
            uuid,
            booted_s: -DAY,
            reading,
        }
    }

    pub(crate) fn model(mut self, name: &str) -> Self {
        self.reading["gpu"]["name"] = name.into();
        self
    }

    pub(crate) fn on(mut self, hostname: &str) -> Self {
        self.reading["host"]["hostname"] = hostname.into();
        self
    }

    /// `gpu.set("health.gpu_temp_c", 61)`
    pub(crate) fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let place = path
            .split('.')
            .fold(&mut self.reading["metrics"], |at, name| &mut at[name]);
        *place = value.into();
        self
    }

    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.set(path, value);
        self
    }

    pub(crate) fn top(&mut self, name: &str, value: Value) -> &mut Self {
        self.reading[name] = value;
        self
    }

    /// The driver is loaded again: counters that count since then start anew, and so does the gauge of Xids.
    pub(crate) fn reset(&mut self, at_s: i64) -> &mut Self {
        self.booted_s = at_s;
        for path in [
            "memory.ecc_sbe_volatile",
            "memory.ecc_dbe_volatile",
            "interconnect.pcie_replay",
            "errors.last_xid",
        ] {
            self.set(path, 0);
        }
        self
    }

    pub(crate) fn value(&self, event_s: i64, ingest_ms: i64) -> Vec<u8> {
        let mut reading = self.reading.clone();
        let written = |ms| Timestamp::from_millis(ms).to_string().into();
        reading["timestamp"] = written(START_MS + event_s * 1_000);
        reading["validation_timestamp"] = written(ingest_ms);
        if reading["metrics"]["power"]["total_energy_mj"].is_number() {
            reading["metrics"]["power"]["total_energy_mj"] =
                ((event_s - self.booted_s) * 500_000).into();
        }
        serde_json::to_vec(&reading).unwrap()
    }
}

/// Records of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) partition: i32,
    pub(crate) inputs: Vec<Input>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A reading of second `at_s`.
    pub(crate) fn reading(&mut self, gpu: &Gpu, at_s: i64) -> &mut Self {
        self.late(gpu, at_s, at_s)
    }

    /// A reading of second `event_s` that comes at `at_s`.
    pub(crate) fn late(&mut self, gpu: &Gpu, event_s: i64, at_s: i64) -> &mut Self {
        let ingest_ms = START_MS + at_s * 1_000 + INGEST_DELAY_MS;
        let value = gpu.value(event_s, ingest_ms);
        self.raw(Some(gpu.uuid.as_bytes()), Some(&value), ingest_ms)
    }

    pub(crate) fn tick(&mut self, at_s: i64) -> &mut Self {
        let time_ms = START_MS + at_s * 1_000;
        let tick = serde_json::to_vec(&Tick::at(Timestamp::from_millis(time_ms))).unwrap();
        self.raw(None, Some(&tick), time_ms)
    }

    pub(crate) fn raw(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> &mut Self {
        self.inputs.push(Input {
            partition: self.partition,
            offset: i64::try_from(self.inputs.len()).unwrap() + 1_000,
            timestamp_ms,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        });
        self
    }

    /// The same reading every ten seconds from `from_s` until before `to_s`.
    pub(crate) fn steady(&mut self, gpu: &Gpu, from_s: i64, to_s: i64) -> &mut Self {
        for at_s in (from_s..to_s).step_by(10) {
            self.reading(gpu, at_s);
        }
        self
    }

    /// The alerts, committed at the end.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        alerts_of(&driver().run(&self.inputs))
    }

    /// The alerts in short form.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.alerts().iter().map(Told::of).collect()
    }
}

pub(crate) fn stage() -> AnomalyDetector {
    stage_with(Limits::default())
}

pub(crate) fn stage_with(limits: Limits) -> AnomalyDetector {
    AnomalyDetector::new(Arc::new(Detector::new(limits, "docs/runbook")))
}

pub(crate) fn driver() -> StageDriver<AnomalyDetector> {
    StageDriver::new(stage(), TOPIC, &OUTPUT_PARTITIONS)
}

pub(crate) fn alerts_of(emitted: &[Emitted]) -> Vec<Alert> {
    values_of(emitted, ALERTS)
        .into_iter()
        .map(|value| serde_json::from_slice(value).unwrap())
        .collect()
}

/// An alert in short form: second, rule, severity, state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) at_s: i64,
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    pub(crate) state: AlertState,
}

impl Told {
    fn of(alert: &Alert) -> Self {
        Self {
            // Stream time is behind by the time that a record takes to the broker.
            at_s: (alert.timestamp.as_millis() - START_MS).div_euclid(1_000),
            rule: alert.rule_id.clone(),
            severity: alert.severity,
            state: alert.state,
        }
    }
}

pub(crate) fn fired(at_s: i64, rule: &str, severity: Severity) -> Told {
    Told {
        at_s,
        rule: rule.to_owned(),
        severity,
        state: AlertState::Firing,
    }
}

pub(crate) fn resolved(at_s: i64, rule: &str, severity: Severity) -> Told {
    Told {
        state: AlertState::Resolved,
        ..fired(at_s, rule, severity)
    }
}
