//! Owns the GPU assets in PostgreSQL and publishes every change to Kafka.
//!
//! An API call changes an asset and puts the change into an outbox, in one database transaction. A relay, one at a time
//! in the whole deployment, publishes the outbox to the compacted topic `gpu-assets` and takes out of it what the broker
//! has committed. So no change is lost while Kafka is away or when a process dies, and each GPU's last record is right.
#![warn(missing_docs)]

mod api;
pub mod config;
pub mod csv_rows;
mod database;
pub mod domain;
mod metrics;
mod outbox;
mod problem;
mod publisher;
mod relay;
mod store;

pub use config::Config;
use database::Database;
use std::sync::Arc;
use store::Store;
use tokio::sync::{Notify, watch};

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "asset-lookup",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: chassis::App) -> Result<(), chassis::Error> {
    let database = Database::new(&config.database)?;
    let (migrated, is_migrated) = watch::channel(false);
    let changed = Arc::new(Notify::new());
    let requests = api::Requests::new();
    let store = Store::new(
        &database,
        Arc::clone(&changed),
        config.topics.assets.clone(),
    );
    app.mount(api::router(api::Api::new(
        store,
        &config.limits,
        is_migrated.clone(),
        requests.clone(),
    )));
    let relay = relay::Relay::new(&config, database.clone(), &app, is_migrated, changed);
    tokio::try_join!(database::watch(&database, &app, &migrated), relay.run())?;
    // Requests that came before the end are answered; a change that they make waits in the outbox.
    requests.drain().await;
    Ok(())
}
