//! The dimension table: numbers for UUIDs, and what readings say about a GPU.

use crate::domain::batch::Gpu;
use crate::domain::description::{COLUMNS, Description};
use rustc_hash::{FxHashMap, FxHasher};
use schema::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::hash::{Hash, Hasher};

/// GPUs remembered at most; beyond it they are asked for again.
const MAX_KNOWN: usize = 200_000;

#[derive(Clone, Copy, Debug)]
struct Known {
    id: i32,
    /// A hash of the description that was written last.
    description: Option<u64>,
}

/// What is known of the dimension table. Rows are never taken out of it, so that what is known stays true.
#[derive(Debug)]
pub(crate) struct Gpus {
    known: FxHashMap<Box<str>, Known>,
    update: String,
}

impl Gpus {
    pub(crate) fn new() -> Self {
        Self {
            known: FxHashMap::default(),
            update: update_statement(),
        }
    }

    /// The numbers of `gpus`, in their order; adds those that are missing and writes changed descriptions.
    ///
    /// Not part of a batch's transaction: what it does holds whether rows follow or not, and doing it again changes
    /// nothing. So writers don't wait for each other's transactions because of a GPU that is new to both.
    pub(crate) async fn resolve(
        &mut self,
        connection: &mut PgConnection,
        gpus: &[Gpu],
    ) -> Result<Vec<i32>, sqlx::Error> {
        if self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
        let mut missing = self.unknown(gpus);
        if !missing.is_empty() {
            self.learn(
                connection,
                "SELECT gpu_uuid, gpu_id FROM gpus WHERE gpu_uuid = ANY($1)",
                &missing,
            )
            .await?;
            missing = self.unknown(gpus);
        }
        if !missing.is_empty() {
            // In one order everywhere, so that two writers can't wait for each other.
            self.learn(
                connection,
                "INSERT INTO gpus (gpu_uuid) SELECT uuid FROM unnest($1::text[]) AS uuid ORDER BY uuid \
                 ON CONFLICT (gpu_uuid) DO UPDATE SET gpu_uuid = excluded.gpu_uuid RETURNING gpu_uuid, gpu_id",
                &missing,
            )
            .await?;
        }
        self.describe(connection, gpus).await?;
        gpus.iter()
            .map(|gpu| {
                let known = self.known.get(&gpu.uuid);
                known.map(|known| known.id).ok_or(sqlx::Error::RowNotFound)
            })
            .collect()
    }

    fn unknown(&self, gpus: &[Gpu]) -> Vec<String> {
        gpus.iter()
            .filter(|gpu| !self.known.contains_key(&gpu.uuid))
            .map(|gpu| gpu.uuid.to_string())
            .collect()
    }

    async fn learn(
        &mut self,
        connection: &mut PgConnection,
        statement: &'static str,
        uuids: &[String],
    ) -> Result<(), sqlx::Error> {
        let rows = sqlx::query(statement)
            .bind(uuids)
            .fetch_all(connection)
            .await?;
        for row in rows {
            let uuid: String = row.try_get(0)?;
            let known = Known {
                id: row.try_get(1)?,
                description: None,
            };
            self.known.insert(uuid.into_boxed_str(), known);
        }
        Ok(())
    }

    async fn describe(
        &mut self,
        connection: &mut PgConnection,
        gpus: &[Gpu],
    ) -> Result<(), sqlx::Error> {
        let mut changed: Vec<(&str, Timestamp, &Description, u64)> = Vec::new();
        for gpu in gpus {
            if let Some((at, description)) = &gpu.description {
                let hash = hash(description);
                let known = self.known.get(&gpu.uuid);
                if known.is_some_and(|known| known.description != Some(hash)) {
                    changed.push((&gpu.uuid, *at, description, hash));
                }
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable_by_key(|(uuid, ..)| *uuid);
        let uuids: Vec<&str> = changed.iter().map(|(uuid, ..)| *uuid).collect();
        let times: Vec<i64> = changed.iter().map(|(_, at, ..)| at.as_millis()).collect();
        let mut query = sqlx::query(AssertSqlSafe(self.update.as_str()))
            .bind(uuids)
            .bind(times);
        for column in 0..COLUMNS.len() {
            let values: Vec<Option<&str>> = changed
                .iter()
                .map(|(_, _, description, _)| description.get(column))
                .collect();
            query = query.bind(values);
        }
        query.execute(connection).await?;
        for (uuid, _, _, hash) in changed {
            if let Some(known) = self.known.get_mut(uuid) {
                known.description = Some(hash);
            }
        }
        Ok(())
    }
}

/// Writes what has changed, unless a later reading has spoken.
fn update_statement() -> String {
    let value = |column: &str| match column {
        "device_index" => "x.device_index::int4".to_owned(),
        _ => format!("x.{column}"),
    };
    let set: Vec<String> = COLUMNS
        .iter()
        .map(|column| format!("{column} = {}", value(column)))
        .collect();
    let parameters: Vec<String> = (0..COLUMNS.len())
        .map(|column| format!("${}::text[]", column + 3))
        .collect();
    let old: Vec<String> = COLUMNS.iter().map(|column| format!("g.{column}")).collect();
    let new: Vec<String> = COLUMNS.iter().map(|column| value(column)).collect();
    format!(
        "UPDATE gpus AS g SET {}, described_at = to_timestamp(x.at / 1000.0) \
         FROM unnest($1::text[], $2::int8[], {}) AS x (gpu_uuid, at, {}) WHERE g.gpu_uuid = x.gpu_uuid \
         AND (g.described_at IS NULL OR g.described_at <= to_timestamp(x.at / 1000.0)) \
         AND ({}) IS DISTINCT FROM ({})",
        set.join(", "),
        parameters.join(", "),
        COLUMNS.join(", "),
        old.join(", "),
        new.join(", "),
    )
}

fn hash(description: &Description) -> u64 {
    let mut hasher = FxHasher::default();
    description.hash(&mut hasher);
    hasher.finish()
}
