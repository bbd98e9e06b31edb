//! Validates raw GPU telemetry: required fields, ranges, time, duplicates.
//!
//! A sound record goes on as it is, with three fields added at its end; any other goes to the dead letter topic with
//! every reason and its original bytes. See the README for the contract.

pub mod config;
pub mod domain;
pub mod letter;
pub mod metrics;
pub mod stage;

use chassis::{App, Error, Service};
use config::Config;
use stage::Validator;

const SERVICE_NAME: &str = "validator";

/// Who the service is.
pub const SERVICE: Service = Service {
    name: SERVICE_NAME,
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs the service until it is told to stop.
pub async fn run(config: Config, app: App) -> Result<(), Error> {
    let limits = config.limits().map_err(Error::config)?;
    let (ticks, forget_after_ms) = (config.ticks, config.duplicates.forget_after_ms);
    chassis::eos::run(
        &app,
        &config.kafka,
        &config.pipeline,
        config.topology(),
        move || Validator::new(limits.clone(), ticks, forget_after_ms),
    )
    .await
}
