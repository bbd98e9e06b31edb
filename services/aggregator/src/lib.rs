//! Folds enriched GPU telemetry into 1-minute and 15-minute windows.
//!
//! Each window comes out once when stream time passes its end and the grace period, and again with a higher revision
//! when a late record changes it. See the README for the contract.

pub mod config;
pub mod domain;
pub mod letter;
pub mod metrics;
pub mod oracle;
pub mod stage;

pub use domain::window::Windows;

use chassis::{App, Error, Service};
use config::Config;
use stage::Aggregator;

const SERVICE_NAME: &str = "aggregator";

/// Who the service is.
pub const SERVICE: Service = Service {
    name: SERVICE_NAME,
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs the service until it is told to stop.
pub async fn run(config: Config, app: App) -> Result<(), Error> {
    let windows = config.windows.windows();
    chassis::eos::run(
        &app,
        &config.kafka,
        &config.pipeline,
        config.topology(),
        move || Aggregator::new(windows),
    )
    .await
}
