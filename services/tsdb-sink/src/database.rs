//! Connections, and what an error of the database calls for.

use crate::config::DatabaseConfig;
use chassis::Error;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use std::str::FromStr;
use std::time::Duration;

/// Longest time for a connection to be made, whatever the network does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the server's own timeout of a statement, for an answer that never comes.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// How to reach the database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    options: PgConnectOptions,
    statement_timeout: Duration,
    lock_timeout: Duration,
}

/// What an error of the database calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there, overloaded, full, or failing over: try again later.
    Away(String),
    /// Others were in the way: try again soon.
    Busy(String),
    /// A row is there already.
    Duplicate,
    /// A value is refused: SQLSTATE and message.
    Value(String, String),
    /// It refuses the user.
    Denied(String),
    /// The database named in the URL is not on the server.
    NoSuchDatabase(String),
    /// Tables are not as this version needs them.
    Schema(String),
    /// Anything else: a bug.
    Other(String),
}

/// What the server knows a session by; those that store a partition have its owner behind it.
const APPLICATION: &str = "tsdb-sink";

/// What the server knows sessions of `owner` by, but for its length.
pub(crate) fn session_name(owner: &str) -> String {
    format!("{APPLICATION} {owner}")
}

impl Database {
    pub(crate) fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(config.url.expose())
            .map_err(|_| Error::config("database.url can't be read"))?
            .application_name(APPLICATION);
        Ok(Self {
            options,
            statement_timeout: Duration::from_millis(config.statement_timeout_ms),
            lock_timeout: Duration::from_millis(config.lock_timeout_ms),
        })
    }

    /// How long to wait for the answer to a statement.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_MARGIN
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.open(&self.options).await
    }

    /// A connection of `owner`'s, whose locks on partitions end with it: see [`crate::claim::end_sessions`].
    pub(crate) async fn connect_as(&self, owner: &str) -> Result<PgConnection, sqlx::Error> {
        let name = session_name(owner);
        self.open(&self.options.clone().application_name(&name))
            .await
    }

    async fn open(&self, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
        let connect = PgConnection::connect_with(options);
        let mut connection = within(CONNECT_TIMEOUT, connect).await?;
        let prepare = self.prepare(&mut connection);
        within(ANSWER_MARGIN, prepare).await?;
        Ok(connection)
    }

    /// So that the server notices within half a minute that a client is gone, also while it works for it, and gives up
    /// its locks; and so that nothing waits for ever.
    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $1, false), \
             set_config('lock_timeout', $2, false), set_config('client_min_messages', 'warning', false), \
             set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), \
             set_config('tcp_keepalives_count', '3', false), set_config('client_connection_check_interval', '2s', false)",
        );
        let query = query
            .bind(self.statement_timeout.as_millis().to_string())
            .bind(self.lock_timeout.as_millis().to_string());
        connection.execute(query).await?;
        Ok(())
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

/// What `error` calls for. SQLSTATE classes: the manual's appendix "`PostgreSQL` Error Codes".
pub(crate) fn trouble(error: &sqlx::Error) -> Trouble {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Trouble::Away(error.to_string()),
            _ => Trouble::Other(error.to_string()),
        };
    };
    let code = database.code().unwrap_or_default().into_owned();
    let message = database.message().to_owned();
    let told = format!("{message} (SQLSTATE {code})");
    match code.as_str() {
        "28000" | "28P01" | "42501" => Trouble::Denied(told),
        "3D000" => Trouble::NoSuchDatabase(told),
        "23505" => Trouble::Duplicate,
        "40001" | "40P01" | "55P03" => Trouble::Busy(told),
        // Canceled by the statement timeout; read-only after a failover.
        "57014" | "25006" | "25P03" | "25P04" => Trouble::Away(told),
        code => match &code[..code.len().min(2)] {
            // Connection lost; out of resources (a full disk is 53100); shutdown; I/O error; an internal error of the
            // server, as which a full disk shows while a connection is made (XX000, "could not write init file").
            "08" | "53" | "57" | "58" | "XX" => Trouble::Away(told),
            // Data exceptions, constraints, limits of a row's size, and what a trigger of the operator's raises.
            "22" | "23" | "54" | "P0" | "44" => Trouble::Value(code.to_owned(), message),
            "42" | "3F" | "0A" => Trouble::Schema(told),
            _ => Trouble::Other(told),
        },
    }
}

impl Trouble {
    /// The reason to stop, when that is what it calls for before anything has worked.
    pub(crate) fn stop(&self) -> Option<Error> {
        match self {
            Self::Away(_) | Self::Busy(_) => None,
            Self::Denied(told) => Some(Error::permission(format!("database.url: {told}"))),
            Self::NoSuchDatabase(told) => Some(Error::unavailable(format!(
                "database.url: {told}; create it first"
            ))),
            Self::Schema(told) => Some(Error::data(format!(
                "the database's tables are not those of this version: {told}"
            ))),
            Self::Duplicate => Some(Error::internal("database: a key is there already")),
            Self::Value(code, message) => Some(Error::internal(format!(
                "database: {message} (SQLSTATE {code})"
            ))),
            Self::Other(told) => Some(Error::internal(format!("database: {told}"))),
        }
    }
}
