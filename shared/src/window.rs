//! A window's result (`gpu-metrics-1min`, `gpu-metrics-15min`).

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The size of a tumbling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WindowSize {
    /// One minute.
    #[serde(rename = "1m")]
    OneMinute,
    /// Fifteen minutes.
    #[serde(rename = "15m")]
    FifteenMinutes,
}

impl WindowSize {
    /// The size in milliseconds.
    pub const fn as_millis(self) -> i64 {
        match self {
            Self::OneMinute => 60_000,
            Self::FifteenMinutes => 900_000,
        }
    }
}

/// What one GPU did in `[window_start, window_end)`, by event time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowAggregate {
    /// The GPU: the key.
    pub gpu_uuid: String,
    /// The window's size.
    pub window: WindowSize,
    /// First instant of the window.
    pub window_start: Timestamp,
    /// First instant after it.
    pub window_end: Timestamp,
    /// 0 when the window closed; one more each time a late record corrects it. The highest revision holds.
    pub revision: u32,
    /// Readings in the window.
    pub count: u64,
    /// Event time of the first reading.
    pub first_timestamp: Timestamp,
    /// Event time of the last reading.
    pub last_timestamp: Timestamp,
    /// Model of the GPU, where readings name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Host name, where readings name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Rack, from the asset, else from the reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Cluster, from the asset, else from the reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Levels by metric name: gauges, flags and limits ([`crate::MetricKind`]).
    pub metrics: BTreeMap<String, GaugeWindow>,
    /// Increments by metric name.
    pub counters: BTreeMap<String, CounterWindow>,
    /// Clock-event reasons, when any reading had them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleWindow>,
    /// Xids that came up in the window, ascending, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xids: Vec<u32>,
}

/// A level over a window. Percentiles are exact nearest-rank: the `ceil(q * count)`-th smallest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugeWindow {
    /// Readings that had the metric.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// A counter over a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterWindow {
    /// What was counted in the window: the sum of the increments from each reading to the next, the last reading
    /// before the window included. A value below its predecessor is a restart from zero and counts whole.
    pub increment: f64,
    /// Restarts seen.
    pub resets: u32,
    /// The last value.
    pub last: f64,
}

/// Clock-event reasons over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleWindow {
    /// Every bit that was set at any time.
    pub reasons: u64,
    /// Readings that had the mask.
    pub samples: u64,
    /// Readings with a bit of [`crate::CONCERN_MASK`].
    pub concern_samples: u64,
}
