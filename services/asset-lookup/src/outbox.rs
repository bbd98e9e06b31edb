//! What Kafka has yet to be told.

use crate::store::{asset_of, select};
use schema::Asset;
use sqlx::{Connection, PgConnection, Row};

/// Taken by the instance that publishes, for as long as its connection lives. The number is this service's own
/// (the first bytes of "asset-lookup").
const LOCK: i64 = 0x6173_7365_742d_6c6f;
/// Assets put into the outbox by one step of a republication.
const REPUBLISH_PAGE: i64 = 1_000;

/// One change that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: i64,
    pub(crate) gpu_uuid: String,
    /// The asset as JSON; none deletes.
    pub(crate) value: Option<String>,
}

/// What is known of a topic that was published to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Its number of partitions then.
    pub(crate) partitions: Option<i32>,
    /// A republication is under way, and has come after this GPU.
    pub(crate) republish_after: Option<String>,
}

/// The value that is published for `asset`.
pub(crate) fn value_of(asset: &Asset) -> Result<String, sqlx::Error> {
    serde_json::to_string(asset).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Puts changes in, within the caller's transaction, which has locked the assets' rows.
pub(crate) async fn put(
    connection: &mut PgConnection,
    keys: &[String],
    values: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO asset_outbox (gpu_uuid, value) SELECT * FROM unnest($1::text[], $2::text[])",
    )
    .bind(keys)
    .bind(values)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts a deletion in, within the caller's transaction, which has locked the asset's row.
pub(crate) async fn put_tombstone(
    connection: &mut PgConnection,
    gpu_uuid: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO asset_outbox (gpu_uuid) VALUES ($1)")
        .bind(gpu_uuid)
        .execute(connection)
        .await?;
    Ok(())
}

/// Tries to become the one that publishes; the lock is given back when `connection` ends, however it ends.
pub(crate) async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// There is at least one asset.
pub(crate) async fn is_anything_known(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT EXISTS (SELECT FROM gpu_assets)")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// The oldest changes.
pub(crate) async fn read(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<Vec<Change>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, gpu_uuid, value FROM asset_outbox ORDER BY id LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Change {
                id: row.try_get(0)?,
                gpu_uuid: row.try_get(1)?,
                value: row.try_get(2)?,
            })
        })
        .collect()
}

/// Takes out changes that the broker has committed. By their ids, not up to the highest: a transaction with a lower one
/// may have committed since.
pub(crate) async fn take_out(
    connection: &mut PgConnection,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM asset_outbox WHERE id = ANY($1)")
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// What is known of `topic`.
pub(crate) async fn publication(
    connection: &mut PgConnection,
    topic: &str,
) -> Result<Publication, sqlx::Error> {
    let row =
        sqlx::query("SELECT partitions, republish_after FROM asset_publication WHERE topic = $1")
            .bind(topic)
            .fetch_optional(connection)
            .await?;
    row.map_or_else(
        || Ok(Publication::default()),
        |row| {
            Ok(Publication {
                partitions: row.try_get(0)?,
                republish_after: row.try_get(1)?,
            })
        },
    )
}

/// Remembers with how many partitions `topic` is published to.
pub(crate) async fn set_partitions(
    connection: &mut PgConnection,
    topic: &str,
    partitions: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO asset_publication (topic, partitions) VALUES ($1, $2) \
         ON CONFLICT (topic) DO UPDATE SET partitions = excluded.partitions",
    )
    .bind(topic)
    .bind(partitions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Has everything published again, from the first asset on; also when that is under way already.
pub(crate) async fn begin_republish(
    connection: &mut PgConnection,
    topic: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO asset_publication (topic, republish_after) VALUES ($1, '') \
         ON CONFLICT (topic) DO UPDATE SET republish_after = ''",
    )
    .bind(topic)
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts the next assets of a republication into the outbox; true while there are more. What it has done survives a crash.
pub(crate) async fn republish_page(
    connection: &mut PgConnection,
    topic: &str,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let after: Option<String> =
        sqlx::query("SELECT republish_after FROM asset_publication WHERE topic = $1 FOR UPDATE")
            .bind(topic)
            .fetch_optional(&mut *transaction)
            .await?
            .map(|row| row.try_get(0))
            .transpose()?
            .flatten();
    let Some(after) = after else {
        return Ok(false);
    };
    // Locked, so that a change made at the same time comes after what is read here, in the outbox too.
    let mut query = select();
    query
        .push(" WHERE gpu_uuid > ")
        .push_bind(after)
        .push(" ORDER BY gpu_uuid LIMIT ")
        .push_bind(REPUBLISH_PAGE)
        .push(" FOR SHARE");
    let rows = query.build().fetch_all(&mut *transaction).await?;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for row in &rows {
        let asset = asset_of(row)?;
        values.push(value_of(&asset)?);
        keys.push(asset.gpu_uuid);
    }
    put(&mut transaction, &keys, &values).await?;
    sqlx::query("UPDATE asset_publication SET republish_after = $2 WHERE topic = $1")
        .bind(topic)
        .bind(keys.last())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(!keys.is_empty())
}
