//! Searches enriched GPU telemetry for anomalies and keeps the alerts' state.
//!
//! Reads `gpu-metrics-enriched`, writes `gpu-alerts`, and the critical ones once more to `gpu-critical`. What is decided is
//! decided in [`domain`], by the records alone: the same records give the same alerts, with the same ids, however the work
//! was cut into transactions and whatever crashed in between.
#![warn(missing_docs)]

pub mod config;
pub mod domain;
pub mod metrics;
pub mod stage;

pub use config::Config;
use domain::detector::Detector;
use stage::AnomalyDetector;
use std::sync::Arc;

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "anomaly-detector",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: chassis::App) -> Result<(), chassis::Error> {
    let detector = Arc::new(Detector::new(config.limits(), &config.runbook.base));
    let topics = config.topics;
    let topology = chassis::eos::Topology {
        input: topics.enriched,
        outputs: vec![topics.alerts, topics.critical, topics.invalid],
        changelog: Some(topics.changelog),
        table: None,
    };
    chassis::eos::run(&app, &config.kafka, &config.pipeline, topology, move || {
        AnomalyDetector::new(Arc::clone(&detector))
    })
    .await
}
