//! A reading of one GPU, from the collector to the sink.

use crate::{AssetStatus, Metrics, SlaTier, Text, Timestamp, WarrantyStatus};
use serde::{Deserialize, Serialize};

/// The `schema_version` that our collector writes.
pub const SCHEMA_VERSION: &str = "1.1";

/// The `event_type` of a reading.
pub const METRIC_SAMPLE: &str = "gpu_metric_sample";

/// What is known to be odd about a valid record (`quality_flags`).
pub mod quality_flag {
    /// Event time is behind ingest time by more than the validator's `late_after`.
    pub const LATE: &str = "late";
    /// A value is outside what the GPU's model can reach, yet physically possible; it is kept.
    pub const OUT_OF_RANGE: &str = "out_of_range";
    /// A blank sentinel of DCGM was made null.
    pub const BLANK: &str = "blank";
    /// The sequence number skipped: records of this GPU are missing before this one.
    pub const SEQUENCE_GAP: &str = "sequence_gap";
    /// The collector restarted (`boot_id` changed).
    pub const COLLECTOR_RESTART: &str = "collector_restart";
}

macro_rules! event {
    ($(#[$doc:meta])* $name:ident { $($extra:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name<'a> {
            /// The version of this layout, `1.0` or `1.1`.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub schema_version: Option<Text<'a>>,
            /// [`METRIC_SAMPLE`].
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub event_type: Option<Text<'a>>,
            /// Event time: when the values were true.
            pub timestamp: Timestamp,
            /// When the collector asked.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub collection_timestamp: Option<Text<'a>>,
            /// When the collector was done.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub processing_timestamp: Option<Text<'a>>,
            /// Which GPU.
            #[serde(borrow)]
            pub gpu: Gpu<'a>,
            /// Where it stands.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub host: Option<Host<'a>>,
            /// What it measures.
            #[serde(borrow)]
            pub metrics: Metrics<'a>,
            /// How well the reading was taken.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub quality: Option<Quality<'a>>,
            /// Who runs on it (1.1).
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub workload: Option<Workload<'a>>,
            /// Who took the reading (1.1).
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            pub collector: Option<Collector<'a>>,
            $($extra)*
        }
    };
}

event! {
    /// A raw reading (`gpu-metrics-raw`).
    MetricEvent {}
}

event! {
    /// A validated reading (`gpu-metrics-validated`): the raw bytes with three fields added at the end.
    ValidatedEvent {
        /// Ingest time: the broker's append time of the raw record, against which it was validated.
        pub validation_timestamp: Timestamp,
        /// The version of the validator's rules.
        #[serde(borrow, default)]
        pub validation_version: Text<'a>,
        /// See [`quality_flag`]; empty when nothing is odd.
        #[serde(borrow, default)]
        pub quality_flags: Vec<Text<'a>>,
    }
}

event! {
    /// An enriched reading (`gpu-metrics-enriched`): the validated bytes with `asset_status` and `asset` added at the end.
    EnrichedEvent {
        /// Ingest time: the broker's append time of the raw record, against which it was validated.
        pub validation_timestamp: Timestamp,
        /// The version of the validator's rules.
        #[serde(borrow, default)]
        pub validation_version: Text<'a>,
        /// See [`quality_flag`]; empty when nothing is odd.
        #[serde(borrow, default)]
        pub quality_flags: Vec<Text<'a>>,
        /// Whether the asset table knows the GPU.
        pub asset_status: AssetStatus,
        /// The asset, when it is known.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        pub asset: Option<AssetBlock<'a>>,
    }
}

/// The GPU of a reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu<'a> {
    /// Short id; the same as `gpu_uuid` where the collector knows no other.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub gpu_id: Option<Text<'a>>,
    /// NVIDIA's UUID (`GPU-…`, or `MIG-…`): the key of every record.
    #[serde(borrow)]
    pub gpu_uuid: Text<'a>,
    /// The index on its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_index: Option<u32>,
    /// PCI bus id (`00000000:3B:00.0`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<Text<'a>>,
    /// Model name as the driver gives it (`NVIDIA A100-SXM4-80GB`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
    /// Architecture (`Ampere`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Text<'a>>,
    /// CUDA compute capability (`8.0`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<Text<'a>>,
    /// Board serial number: survives where a UUID may change (1.1).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Text<'a>>,
    /// Driver version (1.1).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<Text<'a>>,
    /// VBIOS version (1.1).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub vbios: Option<Text<'a>>,
}

/// The host of a reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host<'a> {
    /// Host name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Text<'a>>,
    /// Cluster name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Text<'a>>,
    /// Rack.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<Text<'a>>,
    /// Datacenter.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<Text<'a>>,
}

/// How a reading was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality<'a> {
    /// Milliseconds from asking to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_latency_ms: Option<f64>,
    /// The exporter repeated an old value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<bool>,
    /// Samples folded into this reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_count: Option<u32>,
    /// What went wrong while reading, when something did.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text<'a>>,
    /// Metrics that the exporter gave as a blank sentinel (1.1).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub blank_fields: Option<Vec<Text<'a>>>,
}

/// Who runs on the GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Workload<'a> {
    /// Kubernetes namespace.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Text<'a>>,
    /// Kubernetes pod.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Text<'a>>,
    /// Container in the pod.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Text<'a>>,
    /// Scheduler's job id.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<Text<'a>>,
    /// User of the job.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Text<'a>>,
    /// Project of the job.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Text<'a>>,
}

/// Who took the reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Collector<'a> {
    /// Counts this GPU's readings from this collector run; gaps and repeats show in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Changes whenever the collector restarts, so that `sequence` may begin again.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<Text<'a>>,
}

/// What the enricher adds about the GPU's asset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AssetBlock<'a> {
    /// Model.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Text<'a>>,
    /// Rack.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub rack_id: Option<Text<'a>>,
    /// Cluster.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Text<'a>>,
    /// Datacenter.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<Text<'a>>,
    /// Region.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Text<'a>>,
    /// Date of purchase (`YYYY-MM-DD`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub purchase_date: Option<Text<'a>>,
    /// Last day of warranty (`YYYY-MM-DD`).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub warranty_expiry: Option<Text<'a>>,
    /// Warranty on the day of the reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warranty_status: Option<WarrantyStatus>,
    /// Service level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla_tier: Option<SlaTier>,
    /// 1 (highest) to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}
