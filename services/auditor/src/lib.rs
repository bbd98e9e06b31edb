//! Follows every topic and the sink's tables, and proves that each record has one outcome.
//!
//! It reads what the stages read and write, committed records only, and of each record its offset and one header. What
//! decides is in [`domain`]; the rest asks Kafka and PostgreSQL, counts and tells.
#![warn(missing_docs)]

pub mod config;
pub mod domain;
mod follower;
mod journal;
mod kafka;
mod metrics;
mod report;
mod sink;
mod surveyor;

use chassis::{App, Error};
pub use config::Config;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Who this service is.
pub const SERVICE: chassis::Service = chassis::Service {
    name: "auditor",
    version: env!("CARGO_PKG_VERSION"),
    describe_metrics: metrics::describe,
};

/// A loop that has not come round for so long is stuck: longer than every timeout in it.
pub(crate) const HANG_DEADLINE: Duration = Duration::from_secs(90);

/// Runs until `app` shuts down.
pub async fn run(config: Config, app: App) -> Result<(), Error> {
    let config = Arc::new(config);
    let (tell, samples) = mpsc::channel(config.sink.max_samples);
    let (ends, reached) = watch::channel(Vec::new());
    let sink = sink::run(Arc::clone(&config), samples, reached, app.clone());
    let follower = follower::Follower::new(&config, tell, ends, &app);
    let (ended, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("follower".to_owned())
        .spawn(move || {
            // The receiver is gone only when the process is on its way out.
            drop(ended.send(follower.run()));
        })
        .map_err(|error| Error::internal(format!("thread: {error}")))?;
    tokio::try_join!(sink, async {
        result
            .await
            .unwrap_or_else(|_| Err(Error::internal("the follower is gone")))
    })?;
    Ok(())
}
