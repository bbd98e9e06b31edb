//! Stores telemetry, windows, alerts and scores in TimescaleDB or PostgreSQL, exactly once.
//!
//! Rows and the offsets that they reach are stored in one database transaction. A partition's row in `sink_offsets` is
//! its lock, its progress and its fence, so that the group's membership only decides who does the work, never whether it
//! is done once.
#![warn(missing_docs)]

mod availability;
mod claim;
pub mod config;
mod copy_in;
mod database;
pub mod domain;
mod gpus;
mod group;
mod kafka;
mod metrics;
mod partitions;
mod reader;
mod relay;
mod tables;
mod timescale;
mod upkeep;
mod writer;

use availability::Availability;
use chassis::{App, Error};
pub use config::Config;
use database::Database;
use reader::Reader;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use writer::Writer;

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "tsdb-sink",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// A loop that has not come round for so long is stuck: longer than every timeout in it.
pub(crate) const HANG_DEADLINE: Duration = Duration::from_secs(90);

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: App) -> Result<(), Error> {
    let config = Arc::new(config);
    let database = Database::new(&config.database)?;
    let postgres = Availability::new("PostgreSQL", app.gate("database"), metrics::database_up);
    let postgres = Arc::new(postgres);
    let kafka = Arc::new(Availability::new(
        "Kafka",
        app.gate("kafka"),
        metrics::kafka_up,
    ));
    let (prepare, prepared) = watch::channel(None);
    let letters = Arc::new(Notify::new());
    let (ended, results) = mpsc::channel(config.sink.writers);
    for number in 0..config.sink.writers {
        let (ask, asked) = mpsc::channel(1);
        let (answer, answers) = std::sync::mpsc::channel();
        let writer = Writer::new(
            number,
            &config,
            &database,
            &postgres,
            &prepared,
            &letters,
            &app.shutdown(),
        );
        tokio::spawn(writer.run(asked, answer));
        let reader = Reader::new(number, &config, &app, &kafka, ask, answers)?;
        let ended = ended.clone();
        std::thread::Builder::new()
            .name(format!("reader-{number}"))
            .spawn(move || {
                // The receiver is gone only when the process is on its way out.
                drop(ended.blocking_send(reader.run()));
            })
            .map_err(|error| Error::internal(format!("thread: {error}")))?;
    }
    drop(ended);
    tokio::try_join!(
        upkeep::run(
            Arc::clone(&config),
            database.clone(),
            postgres,
            prepare,
            app.clone()
        ),
        relay::run(Arc::clone(&config), database, prepared, letters, app),
        all_end(results),
    )?;
    Ok(())
}

/// Waits until every reader has ended, or one has failed.
async fn all_end(mut results: mpsc::Receiver<Result<(), Error>>) -> Result<(), Error> {
    while let Some(result) = results.recv().await {
        result?;
    }
    Ok(())
}
