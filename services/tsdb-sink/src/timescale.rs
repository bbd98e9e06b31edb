//! All that depends on TimescaleDB: whether it is there, and its SQL.
//!
//! Hypertables, chunks and `drop_chunks` are in its Apache edition; compression and policies need the Community licence
//! (`timescaledb.license` = `timescale`).

use crate::config::Config;
use crate::domain::table::Table;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// The extension in this database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timescale {
    /// Compression and policies may be used.
    community: bool,
}

/// Whether the extension is installed in this database, and under which licence it runs.
pub(crate) async fn detect(
    connection: &mut PgConnection,
) -> Result<Option<Timescale>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb'), \
         coalesce(current_setting('timescaledb.license', true), '')",
    )
    .fetch_one(connection)
    .await?;
    let (installed, licence): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(installed.then(|| Timescale {
        community: licence == "timescale",
    }))
}

/// Makes the (empty or already made) tables hypertables, and sets compression and retention as configured.
pub(crate) async fn set_up(
    timescale: Timescale,
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(), sqlx::Error> {
    for table in Table::ALL {
        let days = config.retention.days(table);
        let compress = config.database.compress_after_days;
        for statement in statements(timescale, table, days, compress) {
            connection.execute(AssertSqlSafe(statement)).await?;
        }
    }
    Ok(())
}

/// Drops chunks that are too old, where no policy of the server does.
pub(crate) async fn retain(
    timescale: Timescale,
    connection: &mut PgConnection,
    config: &Config,
) -> Result<(), sqlx::Error> {
    if timescale.community {
        return Ok(());
    }
    for table in Table::ALL {
        let statement = drop_chunks(table, config.retention.days(table));
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

fn statements(
    timescale: Timescale,
    table: Table,
    retention_days: u32,
    compress_after_days: u32,
) -> Vec<String> {
    let (name, time) = (table.name(), table.time_column());
    let mut statements = vec![format!(
        "SELECT create_hypertable('{name}', '{time}', chunk_time_interval => INTERVAL '{} days', \
         create_default_indexes => FALSE, if_not_exists => TRUE)",
        table.partition_days()
    )];
    if !timescale.community {
        return statements;
    }
    if compress_after_days > 0 {
        statements.extend([
            // Once only: up to 2.13 settings, even the same ones, are refused when a chunk has been compressed.
            format!(
                "DO $$ BEGIN IF NOT (SELECT compression_enabled FROM timescaledb_information.hypertables \
                 WHERE hypertable_schema = current_schema() AND hypertable_name = '{name}') THEN \
                 ALTER TABLE {name} SET (timescaledb.compress, timescaledb.compress_segmentby = 'gpu_id', \
                 timescaledb.compress_orderby = '{time} DESC'); END IF; END $$"
            ),
            format!("SELECT remove_compression_policy('{name}', if_exists => TRUE)"),
            format!("SELECT add_compression_policy('{name}', INTERVAL '{compress_after_days} days')"),
        ]);
    }
    statements.extend([
        format!("SELECT remove_retention_policy('{name}', if_exists => TRUE)"),
        format!("SELECT add_retention_policy('{name}', INTERVAL '{retention_days} days')"),
    ]);
    statements
}

fn drop_chunks(table: Table, retention_days: u32) -> String {
    format!(
        "SELECT drop_chunks('{}', older_than => INTERVAL '{retention_days} days')",
        table.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_community_licence_compresses_and_has_policies() {
        let of = |community| statements(Timescale { community }, Table::OneMinute, 30, 2);
        assert_eq!(
            of(false),
            [
                "SELECT create_hypertable('gpu_metrics_1min', 'window_start', chunk_time_interval => INTERVAL '1 days', \
                 create_default_indexes => FALSE, if_not_exists => TRUE)"
            ]
        );
        let community = of(true).join("\n");
        assert!(community.contains("compress_segmentby = 'gpu_id'"));
        assert!(community.contains("add_retention_policy('gpu_metrics_1min', INTERVAL '30 days')"));
        let uncompressed =
            statements(Timescale { community: true }, Table::Alerts, 365, 0).join("\n");
        assert!(!uncompressed.contains("compress"), "{uncompressed}");
    }
}
