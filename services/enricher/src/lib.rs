//! Joins validated GPU telemetry with the asset table.
//!
//! Reads `gpu-metrics-validated`, keeps the compacted topic `gpu-assets` in memory, and writes each record to
//! `gpu-metrics-enriched` with `asset_status` and, where the GPU is known, `asset` added before its closing brace. No
//! record is parsed: the key names the GPU, and the asset's block was rendered when the asset changed.
#![warn(missing_docs)]

pub mod config;
pub mod dead_letter;
pub mod domain;
mod metrics;
pub mod stage;

pub use config::Config;
use stage::Enricher;

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "enricher",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: chassis::App) -> Result<(), chassis::Error> {
    let topics = config.topics.clone();
    let limits = config.limits.clone();
    let topology = chassis::eos::Topology {
        input: topics.validated,
        outputs: vec![topics.enriched, topics.invalid],
        changelog: None,
        table: Some(topics.assets),
    };
    chassis::eos::run(&app, &config.kafka, &config.pipeline, topology, move || {
        Enricher::new(&limits)
    })
    .await
}
