//! The table `sink_offsets`: who stores a partition, and how far it is stored.

use crate::config::Topics;
use crate::database::session_name;
use crate::domain::offsets::{Place, Slice, Stored};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::BTreeMap;

/// Makes `owner` the one who may store `places`, and says how far they are stored.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    topics: &Topics,
    places: &[Place],
    owner: &str,
) -> Result<Vec<(Place, Stored)>, sqlx::Error> {
    let (names, partitions) = columns(topics, places);
    let rows = sqlx::query(
        "INSERT INTO sink_offsets AS o (topic, partition, epoch, owner) \
         SELECT topic, partition, 1, $3 FROM unnest($1::text[], $2::int4[]) AS x (topic, partition) \
         ORDER BY topic, partition ON CONFLICT (topic, partition) DO UPDATE \
         SET epoch = o.epoch + 1, owner = excluded.owner, updated_at = now() \
         RETURNING topic, partition, next_offset, epoch",
    )
    .bind(names)
    .bind(partitions)
    .bind(owner)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .filter_map(|row| stored(topics, row).transpose())
        .collect()
}

/// Ends sessions of the former owners of `places` whose transaction is older than any statement may be, and says how many.
///
/// A process that is stopped in the middle of a COPY holds its locks for as long as its connection lives: the server waits
/// for its data, and looks at no timeout of `PostgreSQL` 15 while it does. A user may end sessions of its own name.
pub(crate) async fn end_sessions(
    connection: &mut PgConnection,
    topics: &Topics,
    places: &[Place],
    owner: &str,
) -> Result<i64, sqlx::Error> {
    let (names, partitions) = columns(topics, places);
    // The server keeps the first 63 bytes of a session's name.
    sqlx::query_scalar(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = current_user \
         AND xact_start < clock_timestamp() - current_setting('statement_timeout')::interval \
         AND application_name IN (SELECT left($4 || owner, 63) FROM sink_offsets \
         WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int4[])) AND owner <> $3)",
    )
    .bind(names)
    .bind(partitions)
    .bind(owner)
    .bind(session_name(""))
    .fetch_one(connection)
    .await
}

/// Locks the partitions of `slices` until the transaction ends, always in one order, and says how far they are stored.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    topics: &Topics,
    slices: &[Slice],
) -> Result<BTreeMap<Place, Stored>, sqlx::Error> {
    let places: Vec<Place> = slices.iter().map(|slice| slice.place).collect();
    let (names, partitions) = columns(topics, &places);
    let rows = sqlx::query(
        "SELECT topic, partition, next_offset, epoch FROM sink_offsets WHERE (topic, partition) IN \
         (SELECT * FROM unnest($1::text[], $2::int4[])) ORDER BY topic, partition FOR UPDATE",
    )
    .bind(names)
    .bind(partitions)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .filter_map(|row| stored(topics, row).transpose())
        .collect()
}

/// Moves partitions from the offset that was found there to their slice's end.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    topics: &Topics,
    moved: &[(&Slice, Option<i64>)],
) -> Result<(), sqlx::Error> {
    if moved.is_empty() {
        return Ok(());
    }
    let places: Vec<Place> = moved.iter().map(|(slice, _)| slice.place).collect();
    let (names, partitions) = columns(topics, &places);
    let result = sqlx::query(
        "UPDATE sink_offsets AS o SET next_offset = x.next, updated_at = now() \
         FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[], $5::int8[]) AS x (topic, partition, epoch, old, next) \
         WHERE o.topic = x.topic AND o.partition = x.partition AND o.epoch = x.epoch \
         AND o.next_offset IS NOT DISTINCT FROM x.old",
    )
    .bind(names)
    .bind(partitions)
    .bind(moved.iter().map(|(slice, _)| slice.epoch).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, old)| *old).collect::<Vec<_>>())
    .bind(moved.iter().map(|(slice, _)| slice.end).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    if result.rows_affected() != moved.len() as u64 {
        // The rows are locked, so that this needs somebody who changes them by hand in this very transaction.
        return Err(sqlx::Error::Protocol(
            "offsets were changed under their lock".to_owned(),
        ));
    }
    Ok(())
}

fn columns<'a>(topics: &'a Topics, places: &[Place]) -> (Vec<&'a str>, Vec<i32>) {
    places
        .iter()
        .map(|place| (topics.of(place.table), place.partition))
        .unzip()
}

fn stored(topics: &Topics, row: &PgRow) -> Result<Option<(Place, Stored)>, sqlx::Error> {
    let topic: String = row.try_get(0)?;
    let Some(table) = topics.table(&topic) else {
        return Ok(None);
    };
    let place = Place {
        table,
        partition: row.try_get(1)?,
    };
    let stored = Stored {
        next: row.try_get(2)?,
        epoch: row.try_get(3)?,
    };
    Ok(Some((place, stored)))
}
