//! Partitions of plain PostgreSQL: made when they are needed, dropped when they are too old.
//!
//! A row that has no partition goes to its table's default partition, so that no time of a record can stop the sink.
//! Making a partition later moves its rows out of there.

use crate::config::RetentionConfig;
use crate::domain::calendar::{Partition, horizon};
use crate::domain::table::Table;
use crate::metrics;
use schema::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::collections::BTreeSet;
use tracing::{info, warn};

/// Held while a partition is made or dropped. ("tsdbpart" in ASCII.)
const LOCK: i64 = 0x7473_6462_7061_7274;
/// A partition is attached and dropped under locks for which readers may have to be waited, and behind which writers queue.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

/// Makes `partition` if it is missing; true if it was.
pub(crate) async fn make(
    connection: &mut PgConnection,
    partition: Partition,
) -> Result<bool, sqlx::Error> {
    let (parent, name) = (partition.table.name(), partition.name());
    let time = partition.table.time_column();
    let range = partition.range();
    let mut transaction = connection.begin().await?;
    transaction.execute(PATIENCE).await?;
    let exists: bool =
        sqlx::query("SELECT to_regclass($2) IS NOT NULL FROM pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .bind(&name)
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
    if exists {
        transaction.rollback().await?;
        return Ok(false);
    }
    // CREATE TABLE .. PARTITION OF would lock the whole table against writers; ATTACH does not.
    for statement in [
        format!("CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS)"),
        format!(
            "WITH moved AS (DELETE FROM {parent}_default WHERE {time} >= '{}' AND {time} < '{}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved",
            range.start, range.end
        ),
        format!(
            "ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{}') TO ('{}')",
            range.start, range.end
        ),
    ] {
        transaction.execute(AssertSqlSafe(statement)).await?;
    }
    transaction.commit().await?;
    info!(partition = name, "partition made");
    metrics::partition_created(parent);
    Ok(true)
}

/// Makes the partitions of the next days, moves rows out of the default partitions, and drops what is too old.
pub(crate) async fn maintain(
    connection: &mut PgConnection,
    retention: &RetentionConfig,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for table in Table::ALL {
        let days = retention.days(table);
        let mut wanted: BTreeSet<Partition> = Partition::upcoming(table, now).collect();
        wanted.extend(
            in_default(connection, table)
                .await?
                .into_iter()
                .filter(|partition| partition.is_wanted(now, days)),
        );
        let existing = existing(connection, table).await?;
        for partition in wanted.difference(&existing) {
            make(connection, *partition).await?;
        }
        for partition in existing
            .iter()
            .filter(|partition| partition.is_expired(now, days))
        {
            drop_partition(connection, *partition).await?;
        }
        let statement = format!(
            "DELETE FROM {}_default WHERE {} < '{}'",
            table.name(),
            table.time_column(),
            horizon(now, days)
        );
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

async fn existing(
    connection: &mut PgConnection,
    table: Table,
) -> Result<BTreeSet<Partition>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid \
         WHERE i.inhparent = to_regclass($1)",
    )
    .bind(table.name())
    .fetch_all(connection)
    .await?;
    let mut partitions = BTreeSet::new();
    for row in rows {
        let name: String = row.try_get(0)?;
        partitions.extend(Partition::parse(table, &name));
    }
    Ok(partitions)
}

/// The partitions that rows in the default partition would belong to.
async fn in_default(
    connection: &mut PgConnection,
    table: Table,
) -> Result<BTreeSet<Partition>, sqlx::Error> {
    let statement = format!(
        "SELECT DISTINCT floor(extract(epoch FROM {}) / 86400)::int8 FROM {}_default",
        table.time_column(),
        table.name()
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let mut partitions = BTreeSet::new();
    for row in rows {
        let day: i64 = row.try_get(0)?;
        let time = Timestamp::from_millis(day.saturating_mul(86_400_000));
        partitions.insert(Partition::of(table, time));
    }
    Ok(partitions)
}

async fn drop_partition(
    connection: &mut PgConnection,
    partition: Partition,
) -> Result<(), sqlx::Error> {
    let name = partition.name();
    let mut transaction = connection.begin().await?;
    transaction.execute(PATIENCE).await?;
    let dropped = transaction
        .execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS {name}")))
        .await;
    match dropped {
        Ok(_) => {
            transaction.commit().await?;
            info!(
                partition = name,
                "partition dropped: older than its retention"
            );
            metrics::partition_dropped(partition.table.name());
            Ok(())
        }
        // Somebody reads it; there is a next time.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
            transaction.rollback().await?;
            warn!(
                partition = name,
                "partition is too old, and in use; left for the next time"
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}
