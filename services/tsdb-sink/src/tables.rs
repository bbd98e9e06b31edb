//! Makes the tables, or finds out that they are not as this version needs them.

use crate::config::Config;
use crate::database::{Trouble, trouble};
use crate::domain::statements;
use crate::domain::table::Table;
use crate::timescale::{self, Timescale};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::collections::BTreeMap;
use tracing::info;

/// This service's own, since another may keep its tables in the same database.
const MIGRATIONS_TABLE: &str = "tsdb_sink_migrations";
/// Held while tables are made: two instances may start at once. ("tsdbsink" in ASCII.)
const LOCK: i64 = 0x7473_6462_7369_6e6b;

/// How facts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Plain PostgreSQL: partitions that this service makes and drops.
    Partitions,
    /// TimescaleDB's hypertables.
    Hypertables(Timescale),
}

/// Migrates, makes what is missing, and checks the rest.
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    config: &Config,
) -> Result<Storage, Trouble> {
    let mut migrator: Migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
        .run(&mut *connection)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                trouble(&error)
            }
            other => Trouble::Schema(other.to_string()),
        })?;
    make(connection, config).await
}

async fn make(connection: &mut PgConnection, config: &Config) -> Result<Storage, Trouble> {
    let failed = |error: sqlx::Error| trouble(&error);
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let storage = storage(&mut transaction).await?;
    for table in Table::ALL {
        for statement in statements::create(table, storage == Storage::Partitions) {
            transaction
                .execute(AssertSqlSafe(statement))
                .await
                .map_err(failed)?;
        }
        complete(&mut transaction, table).await?;
    }
    if let Storage::Hypertables(timescale) = storage {
        timescale::set_up(timescale, &mut transaction, config)
            .await
            .map_err(failed)?;
    }
    sqlx::raw_sql(include_str!("../sql/views.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(storage)
}

/// What the tables are, or what they will be.
async fn storage(connection: &mut PgConnection) -> Result<Storage, Trouble> {
    let kind: Option<String> =
        sqlx::query("SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)")
            .bind(Table::Readings.name())
            .fetch_optional(&mut *connection)
            .await
            .and_then(|row| row.map(|row| row.try_get(0)).transpose())
            .map_err(|error| trouble(&error))?;
    let timescale = timescale::detect(connection)
        .await
        .map_err(|error| trouble(&error))?;
    match (kind.as_deref(), timescale) {
        // Made before the extension came: they stay what they are.
        (Some("p"), _) | (None, None) => Ok(Storage::Partitions),
        (Some("r") | None, Some(timescale)) => Ok(Storage::Hypertables(timescale)),
        (Some(kind), _) => Err(Trouble::Schema(format!(
            "{} is neither partitioned nor a hypertable (relkind {kind})",
            Table::Readings.name()
        ))),
    }
}

/// Adds columns that an older version did not know, and refuses columns of another type: binary COPY converts nothing.
async fn complete(connection: &mut PgConnection, table: Table) -> Result<(), Trouble> {
    let failed = |error: sqlx::Error| trouble(&error);
    let rows = sqlx::query(
        "SELECT a.attname::text, t.typname::text FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
         WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .bind(table.name())
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut types = BTreeMap::new();
    for row in &rows {
        let (column, sql_type): (String, String) = (
            row.try_get(0).map_err(failed)?,
            row.try_get(1).map_err(failed)?,
        );
        types.insert(column, sql_type);
    }
    for column in table.columns() {
        let wanted = column.sql_type.name();
        match types.get(column.name.as_ref()) {
            Some(found) if found == wanted => {}
            Some(found) => {
                return Err(Trouble::Schema(format!(
                    "column {} of {} is {found}, not {wanted}",
                    column.name,
                    table.name()
                )));
            }
            None if column.not_null => {
                return Err(Trouble::Schema(format!(
                    "{} has no column {}",
                    table.name(),
                    column.name
                )));
            }
            None => {
                info!(table = table.name(), column = %column.name, "adding a column");
                connection
                    .execute(AssertSqlSafe(statements::add_column(table, &column)))
                    .await
                    .map_err(failed)?;
            }
        }
    }
    Ok(())
}
