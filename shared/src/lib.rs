//! Wire types and the topic catalogue of the GPU Health Monitor.
//!
//! This is the one crate of ours that the services share. It holds what crosses a process boundary and nothing else:
//! no Kafka client, no async runtime, no HTTP, no clock. Every payload is JSON with `snake_case` names.
//!
//! **The compatibility promise.** A field is never renamed, never changes its unit, and never becomes required. New
//! fields are optional, readers ignore what they do not know, and every stage passes unknown fields on untouched
//! because it splices bytes ([`mod@splice`]) instead of re-serialising. The payloads under `testdata/` are the contract:
//! every later version of this crate must still read them.
#![warn(missing_docs)]

mod alert;
mod asset;
mod dead_letter;
mod event;
mod health;
mod metric;
mod partition;
mod splice;
mod text;
mod throttle;
mod tick;
mod time;
pub mod topic;
mod window;

pub use alert::{Alert, AlertContext, AlertState, Severity, Trend};
pub use asset::{Asset, AssetStatus, SlaTier, WarrantyStatus};
pub use dead_letter::{DeadLetter, MAX_ORIGINAL_BYTES, OriginalEncoding, Reason, Source};
pub use event::{
    AssetBlock, Collector, EnrichedEvent, Gpu, Host, METRIC_SAMPLE, MetricEvent, Quality,
    SCHEMA_VERSION, ValidatedEvent, Workload, quality_flag,
};
pub use health::{DimensionScores, Factor, Grade, HealthScore, HealthState};
pub use metric::{
    BankRemap, Clocks, Cooling, Errors, Health, Interconnect, METRIC_COUNT, METRICS, Memory,
    MetricDef, MetricKind, Metrics, Performance, Power, metric_index,
};
pub use partition::{murmur2, partition_for};
pub use splice::{NotAnObject, splice, splice_into};
pub use text::Text;
pub use throttle::{CONCERN_MASK, ThrottleReason};
pub use tick::Tick;
pub use time::{InvalidTimestamp, Timestamp};
pub use window::{CounterWindow, GaugeWindow, ThrottleWindow, WindowAggregate, WindowSize};
