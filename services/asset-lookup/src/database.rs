//! Connections, migrations, and whether PostgreSQL is there.

use crate::config::DatabaseConfig;
use crate::metrics;
use chassis::{App, Error};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// Longest time for a connection to be made, whatever the network does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at the database.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A loop that has not come round for so long is stuck: longer than every timeout in it.
pub(crate) const HANG_DEADLINE: Duration = Duration::from_secs(90);
/// Beyond the server's own timeout of a statement, for an answer that never comes.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// This service's own, since another may keep its tables in the same database.
const MIGRATIONS_TABLE: &str = "asset_lookup_migrations";

/// How to reach the database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    options: PgConnectOptions,
    pool: PgPool,
    statement_timeout: Duration,
}

/// What an error of the database calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there, overloaded, full or failing over: try again later.
    Away,
    /// It refuses the user.
    Denied,
    /// The database named in the URL is not on the server.
    NoSuchDatabase,
    /// Anything else: a bug.
    Other,
}

impl Database {
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(config.url.expose())
            .map_err(|_| Error::config("database.url can't be read"))?
            .application_name("asset-lookup");
        let statement_timeout = Duration::from_millis(config.statement_timeout_ms);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            .after_connect(move |connection, _| {
                Box::pin(async move { prepare(connection, statement_timeout).await })
            })
            .connect_lazy_with(options.clone());
        Ok(Self {
            options,
            pool,
            statement_timeout,
        })
    }

    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How long to wait for the answer to a statement.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_MARGIN
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect_plain().await?;
        within(
            ANSWER_MARGIN,
            prepare(&mut connection, self.statement_timeout),
        )
        .await?;
        Ok(connection)
    }

    async fn connect_plain(&self) -> Result<PgConnection, sqlx::Error> {
        within(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options)).await
    }
}

/// Waits for an answer of the database for so long at most.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

async fn prepare(
    connection: &mut PgConnection,
    statement_timeout: Duration,
) -> Result<(), sqlx::Error> {
    let limit = statement_timeout.as_millis().to_string();
    // So that the server notices within half a minute that a client is gone, also while it works for it, and gives up
    // its locks.
    let query = sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $1, false), \
         set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), \
         set_config('tcp_keepalives_count', '3', false), set_config('client_connection_check_interval', '2s', false)",
    );
    connection.execute(query.bind(limit)).await?;
    Ok(())
}

/// What `error` calls for.
pub(crate) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match code.as_ref() {
                "28000" | "28P01" | "42501" => Trouble::Denied,
                "3D000" => Trouble::NoSuchDatabase,
                // Canceled, timed out or deadlocked; read-only after a failover.
                "57014" | "55P03" | "40001" | "40P01" | "25006" | "25P03" => Trouble::Away,
                // Connection lost; out of resources (a full disk is 53100); shutdown; I/O error; the server's internal error.
                code if ["08", "53", "57", "58", "XX"].contains(&&code[..code.len().min(2)]) => {
                    Trouble::Away
                }
                _ => Trouble::Other,
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Trouble::Away,
        _ => Trouble::Other,
    }
}

/// Migrates, then looks after PostgreSQL until `app` shuts down: the gate `database`, the outbox's gauges, and one line in
/// the log when it goes and one when it comes back.
pub(crate) async fn watch(
    database: &Database,
    app: &App,
    migrated: &watch::Sender<bool>,
) -> Result<(), Error> {
    let gate = app.gate("database");
    let heartbeat = app.heartbeat("database", HANG_DEADLINE);
    let shutdown = app.shutdown();
    let mut said = false;
    let mut connection = None;
    while !shutdown.is_cancelled() {
        heartbeat.beat();
        match look(database, migrated, &mut connection).await {
            Ok(()) => {
                if said {
                    info!("PostgreSQL is there again");
                }
                said = false;
                gate.open();
            }
            Err(Unable::Stop(error)) => return Err(error),
            Err(Unable::Wait(error)) => {
                connection = None;
                gate.close("PostgreSQL is not there");
                if said {
                    debug!(%error, "PostgreSQL is still not there");
                } else {
                    warn!(%error, "PostgreSQL is not there; waiting for it");
                }
                said = true;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
    Ok(())
}

enum Unable {
    Wait(sqlx::Error),
    Stop(Error),
}

impl From<sqlx::Error> for Unable {
    fn from(error: sqlx::Error) -> Self {
        Self::Wait(error)
    }
}

async fn look(
    database: &Database,
    migrated: &watch::Sender<bool>,
    connection: &mut Option<PgConnection>,
) -> Result<(), Unable> {
    if !*migrated.borrow() {
        migrate(database).await?;
        migrated.send_replace(true);
    }
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(database.connect().await?),
    };
    let query = sqlx::query(
        "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM asset_outbox",
    );
    let row = within(database.answer_timeout(), query.fetch_one(connection)).await?;
    metrics::outbox(row.try_get(0)?, row.try_get(1)?);
    Ok(())
}

async fn migrate(database: &Database) -> Result<(), Unable> {
    // Until the first success wrong settings are told from an outage and end the service, later ones are waited out.
    let refused = |error: sqlx::Error| match trouble(&error) {
        Trouble::Away => Unable::Wait(error),
        Trouble::Denied => Unable::Stop(Error::permission(format!("database.url: {error}"))),
        Trouble::NoSuchDatabase => Unable::Stop(Error::unavailable(format!(
            "database.url: {error}; create it first"
        ))),
        Trouble::Other => Unable::Stop(Error::internal(format!("database: {error}"))),
    };
    let mut connection = database.connect_plain().await.map_err(refused)?;
    let mut migrator: Migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    let result = migrator.run(&mut connection).await;
    result.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => refused(error),
        other => Unable::Stop(Error::data(format!(
            "the database's tables are not those of this version: {other}"
        ))),
    })?;
    drop(connection.close().await);
    Ok(())
}
