//! What one scrape says of one GPU.

use schema::METRIC_COUNT;
use std::collections::{BTreeMap, BTreeSet};

/// Who runs on a GPU, as the exporter's labels tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Runner {
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Kubernetes pod.
    pub pod: Option<String>,
    /// Container in the pod.
    pub container: Option<String>,
    /// The scheduler's job (`hpc_job`).
    pub job_id: Option<String>,
}

/// One GPU's rows put together.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuReading {
    /// NVIDIA's UUID.
    pub uuid: String,
    /// Index on its host.
    pub device_index: Option<u32>,
    /// PCI bus id.
    pub pci_bus_id: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Driver version.
    pub driver_version: Option<String>,
    /// VBIOS version.
    pub vbios: Option<String>,
    /// Host name, as the exporter says.
    pub hostname: Option<String>,
    /// Who runs on it.
    pub runner: Option<Runner>,
    /// Values by index in `schema::METRICS`; none is unknown.
    pub values: [Option<f64>; METRIC_COUNT],
    /// Banks by spare rows left: all, most, some, few, none.
    pub banks: [Option<f64>; 5],
    /// Xids by code, over the exporter's window.
    pub xid_counts: BTreeMap<u32, f64>,
    /// Metrics that the exporter gave as blank, and that no other row gave.
    pub blank: BTreeSet<&'static str>,
    /// The latest of the rows' own times, in milliseconds since the epoch.
    pub exporter_time_ms: Option<i64>,
}
