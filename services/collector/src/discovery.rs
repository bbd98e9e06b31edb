//! The current list of targets, from the configuration and from the targets file.

use crate::config::Config;
use crate::domain::shard::is_mine;
use crate::domain::target::{Target, from_file};
use crate::metrics::TARGET_FILE_READS;
use chassis::{Error, Gate};
use metrics::counter;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// This instance's targets by URL.
pub(crate) type Targets = BTreeMap<String, Target>;

/// What tells that a file has changed.
type Stamp = Option<(SystemTime, u64)>;

/// Publishes the targets now and whenever the file changes; ends with `shutdown`.
///
/// A file that is absent or wrong leaves the targets as they were: a fleet must not go dark for a typing error. That is
/// said once for each state of the file. Until it has been read for the first time, `gate` is closed.
pub(crate) async fn run(
    config: Config,
    targets: watch::Sender<Targets>,
    gate: Gate,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let listed = config.listed_targets().map_err(Error::config)?;
    let mine = |all: Vec<Target>| -> Targets {
        all.into_iter()
            .filter(|target| is_mine(&target.url, config.shard.index, config.shard.count))
            .map(|target| (target.url.clone(), target))
            .collect()
    };
    let Some(path) = &config.targets_file else {
        targets.send_replace(mine(listed));
        gate.open();
        shutdown.cancelled().await;
        return Ok(());
    };
    targets.send_replace(mine(listed.clone()));
    let defaults = config.defaults();
    let poll = Duration::from_millis(config.scrape.targets_file_poll_ms);
    let mut seen: Option<Stamp> = None;
    loop {
        let stamp = stamp(path).await;
        if seen != Some(stamp) {
            seen = Some(stamp);
            let read = tokio::fs::read_to_string(path)
                .await
                .map_err(|error| error.to_string())
                .and_then(|text| from_file(&text, &defaults));
            match read {
                Ok(found) => {
                    counter!(TARGET_FILE_READS, "outcome" => "changed").increment(1);
                    let all: Vec<_> = found.into_iter().chain(listed.iter().cloned()).collect();
                    let count = all.len();
                    let current = mine(all);
                    info!(targets = count, mine = current.len(), file = %path.display(), "targets read");
                    targets.send_replace(current);
                    gate.open();
                }
                Err(reason) => {
                    counter!(TARGET_FILE_READS, "outcome" => "failed").increment(1);
                    warn!(file = %path.display(), reason, "targets file not used; the targets stay as they were");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(poll) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

async fn stamp(path: &Path) -> Stamp {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
