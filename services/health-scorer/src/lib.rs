//! Scores each GPU's health from 0 to 100, with the reasons.
//!
//! Reads `gpu-metrics-enriched`, keeps for each GPU a ledger of what happened to it, and writes to `gpu-health-scores`
//! when a score moves, when its meaning changes, and every 15 minutes of stream time. See the README for the formula.
#![warn(missing_docs)]

pub mod config;
pub mod domain;
mod metrics;
pub mod stage;

pub use config::Config;
use stage::Scorer;
use std::sync::Arc;

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "health-scorer",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: chassis::App) -> Result<(), chassis::Error> {
    let rules = Arc::new(config.rules().map_err(chassis::Error::config)?);
    let topics = config.topics;
    let topology = chassis::eos::Topology {
        input: topics.enriched,
        outputs: vec![topics.health_scores, topics.invalid],
        changelog: Some(topics.changelog),
        table: None,
    };
    chassis::eos::run(&app, &config.kafka, &config.pipeline, topology, move || {
        Scorer::new(Arc::clone(&rules))
    })
    .await
}
