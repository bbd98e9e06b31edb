//! Everything about the database that is not storing: tables made at start, its going and coming, retention.

use crate::availability::Availability;
use crate::config::Config;
use crate::database::{Database, Trouble, trouble, within};
use crate::tables::{self, Storage};
use crate::writer::now;
use crate::{HANG_DEADLINE, metrics, partitions, timescale};
use chassis::{App, Error};
use sqlx::{Connection, PgConnection, Row};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{info, warn};

/// Pause between two looks at the database.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Held by the instance that maintains. ("tsdbkeep" in ASCII.)
const LOCK: i64 = 0x7473_6462_6b65_6570;
/// The name under which this task misses the database.
const NAME: &str = "upkeep";

/// Makes the tables, tells `prepared`, then looks after the database until `app` shuts down.
pub(crate) async fn run(
    config: Arc<Config>,
    database: Database,
    availability: Arc<Availability>,
    prepared: watch::Sender<Option<Storage>>,
    app: App,
) -> Result<(), Error> {
    let heartbeat = app.heartbeat(NAME, HANG_DEADLINE);
    let shutdown = app.shutdown();
    let mut connection = None;
    let mut storage = None;
    let mut maintained: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        heartbeat.beat();
        let reused = connection.is_some();
        let due = maintained.is_none_or(|at| at.elapsed() >= config.retention.check_interval());
        let look = look(&config, &database, &mut connection, storage, due);
        // A server that takes connections and does not answer shall not hold up a drain.
        let outcome = tokio::select! {
            outcome = within_trouble(database.answer_timeout(), look) => outcome,
            () = shutdown.cancelled() => return Ok(()),
        };
        match outcome {
            Ok(found) => {
                if storage.is_none() {
                    info!(storage = ?found, "tables are ready");
                    storage = Some(found);
                    prepared.send_replace(storage);
                }
                if due {
                    maintained = Some(Instant::now());
                }
                availability.used(NAME);
            }
            Err(trouble) => {
                connection = None;
                match (&trouble, trouble.stop()) {
                    // The server has closed a connection that was idle: no outage yet.
                    (Trouble::Away(_), _) if reused => continue,
                    (Trouble::Away(told) | Trouble::Busy(told), _) => {
                        availability.missed(NAME, told);
                    }
                    (_, Some(stop)) if storage.is_none() => return Err(stop),
                    // Writers decide whether the service can go on.
                    _ => {
                        warn!(
                            ?trouble,
                            "upkeep of the database failed; trying again later"
                        );
                        maintained = Some(Instant::now());
                    }
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
    Ok(())
}

async fn within_trouble<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    match within(limit, async { Ok(work.await) }).await {
        Ok(result) => result,
        Err(timed_out) => Err(trouble(&timed_out)),
    }
}

async fn look(
    config: &Config,
    database: &Database,
    connection: &mut Option<PgConnection>,
    storage: Option<Storage>,
    due: bool,
) -> Result<Storage, Trouble> {
    let failed = |error: sqlx::Error| trouble(&error);
    let mut open = match connection.take() {
        Some(open) => open,
        None => database.connect().await.map_err(failed)?,
    };
    let storage = match storage {
        Some(storage) => storage,
        None => tables::prepare(&mut open, config).await?,
    };
    let pending: i64 = sqlx::query("SELECT count(*) FROM sink_dead_letters")
        .fetch_one(&mut open)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    metrics::dead_letters_pending(pending);
    if due {
        maintain(config, &mut open, storage).await.map_err(failed)?;
    }
    *connection = Some(open);
    Ok(storage)
}

/// One instance at a time; the others have nothing to do.
async fn maintain(
    config: &Config,
    connection: &mut PgConnection,
    storage: Storage,
) -> Result<(), sqlx::Error> {
    let locked: bool = sqlx::query("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    if !locked {
        return connection.ping().await;
    }
    match storage {
        Storage::Partitions => {
            partitions::maintain(connection, &config.retention, now()).await?;
        }
        Storage::Hypertables(timescale) => {
            timescale::retain(timescale, connection, config).await?;
        }
    }
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(connection)
        .await?;
    Ok(())
}
