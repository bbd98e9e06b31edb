//! Scrapes dcgm-exporter endpoints and produces one record per GPU and scrape to Kafka. See the README for the contract.

pub mod config;
mod discovery;
pub mod domain;
mod fetch;
pub mod metrics;
mod outbox;
mod scraper;

use chassis::{App, Error, Service};
use config::Config;
use discovery::Targets;
use outbox::Outbox;
use scraper::Scraper;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Who the service is.
pub const SERVICE: Service = Service {
    name: "collector",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// Waiting for Kafka counts as progress; a loop that does not even come round is stuck.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// Runs the service until it is told to stop.
pub async fn run(config: Config, app: App) -> Result<(), Error> {
    let shutdown = app.shutdown();
    let outbox = Outbox::new(config.buffer);
    let scraper = Scraper::new(config.scrape.clone(), Arc::clone(&outbox), boot_id())?;
    let (sender, targets) = watch::channel(Targets::new());

    // Records that were scraped before the end are still delivered: the outbox ends after the scrapers.
    let scraped_all = CancellationToken::new();
    let _end_outbox_however_we_end = scraped_all.clone().drop_guard();
    let mut deliver = tokio::spawn(outbox::run(
        outbox,
        config.clone(),
        app.gate("kafka"),
        app.heartbeat("outbox", STUCK_AFTER),
        scraped_all.clone(),
    ));
    let mut discover = tokio::spawn(discovery::run(
        config,
        sender,
        app.gate("targets"),
        shutdown.clone(),
    ));
    let scrape =
        tokio::spawn(scraper.run(targets, app.heartbeat("scraper", STUCK_AFTER), shutdown));

    tokio::select! {
        // Neither ends before it is told to, but by an error.
        ended = &mut deliver => return joined(ended),
        ended = &mut discover => joined(ended)?,
    }
    scrape.await.map_err(Error::internal)?;
    scraped_all.cancel();
    joined(deliver.await)
}

fn joined(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.map_err(Error::internal)?
}

/// A name for this run that no other run has: the standard library seeds its hasher from the system's randomness.
fn boot_id() -> String {
    let part = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", part(), part())
}
