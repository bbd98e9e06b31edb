//! The inventory's table, as the API reads and changes it.

use crate::database::Database;
use crate::domain::page::Page;
use crate::outbox;
use schema::{Asset, SlaTier};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use std::sync::Arc;
use tokio::sync::Notify;

/// The columns that [`asset_of`] reads.
pub(crate) const COLUMNS: &str = "gpu_uuid, model, architecture, compute_capability, memory_gb, serial, hostname, \
    pci_bus_id, rack_id, cluster_id, datacenter, region, to_char(purchase_date, 'YYYY-MM-DD'), \
    to_char(deployment_date, 'YYYY-MM-DD'), to_char(warranty_expiry, 'YYYY-MM-DD'), to_char(expected_eol, 'YYYY-MM-DD'), \
    sla_tier, priority, tags, notes";

/// Sets assets, and tells which of them are new and which have changed; one that is as it was is left alone.
const UPSERT: &str = "
    INSERT INTO gpu_assets AS a (gpu_uuid, model, architecture, compute_capability, memory_gb, serial, hostname, pci_bus_id,
        rack_id, cluster_id, datacenter, region, purchase_date, deployment_date, warranty_expiry, expected_eol, sla_tier,
        priority, tags, notes)
    SELECT gpu_uuid, model, architecture, compute_capability, memory_gb, serial, hostname, pci_bus_id,
        rack_id, cluster_id, datacenter, region, purchase_date, deployment_date, warranty_expiry, expected_eol, sla_tier,
        priority, coalesce(tags, '{}'), notes
    FROM jsonb_to_recordset($1) AS x (gpu_uuid text, model text, architecture text, compute_capability text,
        memory_gb integer, serial text, hostname text, pci_bus_id text, rack_id text, cluster_id text, datacenter text,
        region text, purchase_date date, deployment_date date, warranty_expiry date, expected_eol date, sla_tier text,
        priority integer, tags jsonb, notes text)
    ORDER BY gpu_uuid COLLATE \"C\"
    ON CONFLICT (gpu_uuid) DO UPDATE SET
        (model, architecture, compute_capability, memory_gb, serial, hostname, pci_bus_id, rack_id, cluster_id, datacenter,
         region, purchase_date, deployment_date, warranty_expiry, expected_eol, sla_tier, priority, tags, notes, updated_at)
        = (excluded.model, excluded.architecture, excluded.compute_capability, excluded.memory_gb, excluded.serial,
           excluded.hostname, excluded.pci_bus_id, excluded.rack_id, excluded.cluster_id, excluded.datacenter,
           excluded.region, excluded.purchase_date, excluded.deployment_date, excluded.warranty_expiry,
           excluded.expected_eol, excluded.sla_tier, excluded.priority, excluded.tags, excluded.notes, now())
    WHERE (a.model, a.architecture, a.compute_capability, a.memory_gb, a.serial, a.hostname, a.pci_bus_id, a.rack_id,
           a.cluster_id, a.datacenter, a.region, a.purchase_date, a.deployment_date, a.warranty_expiry, a.expected_eol,
           a.sla_tier, a.priority, a.tags, a.notes)
        IS DISTINCT FROM
          (excluded.model, excluded.architecture, excluded.compute_capability, excluded.memory_gb, excluded.serial,
           excluded.hostname, excluded.pci_bus_id, excluded.rack_id, excluded.cluster_id, excluded.datacenter,
           excluded.region, excluded.purchase_date, excluded.deployment_date, excluded.warranty_expiry,
           excluded.expected_eol, excluded.sla_tier, excluded.priority, excluded.tags, excluded.notes)
    RETURNING gpu_uuid, (xmax = 0) AS created";

/// Assets set by one statement; what an import needs beside its own rows is bounded by it.
const CHUNK: usize = 1_000;

/// The inventory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pool: PgPool,
    changed: Arc<Notify>,
    topic: String,
}

/// What became of assets that were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) created: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
}

impl Store {
    pub(crate) fn new(database: &Database, changed: Arc<Notify>, topic: String) -> Self {
        Self {
            pool: database.pool().clone(),
            changed,
            topic,
        }
    }

    pub(crate) async fn get(&self, gpu_uuid: &str) -> Result<Option<Asset>, sqlx::Error> {
        let mut query = select();
        query.push(" WHERE gpu_uuid = ").push_bind(gpu_uuid);
        let row = query.build().fetch_optional(&self.pool).await?;
        row.as_ref().map(asset_of).transpose()
    }

    /// The page's assets and, when there are more, the UUID to go on after.
    pub(crate) async fn list(
        &self,
        page: &Page,
    ) -> Result<(Vec<Asset>, Option<String>), sqlx::Error> {
        let mut query = select();
        let filters = [
            ("rack_id = ", &page.rack_id),
            ("cluster_id = ", &page.cluster_id),
            ("model = ", &page.model),
            ("gpu_uuid > ", &page.after),
        ];
        query.push(" WHERE true");
        for (condition, value) in filters {
            if let Some(value) = value {
                query.push(" AND ").push(condition).push_bind(value);
            }
        }
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        query
            .push(" ORDER BY gpu_uuid LIMIT ")
            .push_bind(i64::from(page.limit) + 1);
        let rows = query.build().fetch_all(&self.pool).await?;
        let more = rows.len() > limit;
        let assets: Vec<Asset> = rows
            .iter()
            .take(limit)
            .map(asset_of)
            .collect::<Result<_, _>>()?;
        let next = more
            .then(|| assets.last().map(|asset| asset.gpu_uuid.clone()))
            .flatten();
        Ok((assets, next))
    }

    /// Sets all of `assets` or none. They are in the order of their UUIDs and none is there twice: two calls at once then
    /// lock rows in one order, and neither waits for the other for ever.
    pub(crate) async fn set(&self, assets: &[Asset]) -> Result<Outcome, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let mut outcome = Outcome::default();
        for chunk in assets.chunks(CHUNK) {
            let changed = sqlx::query(UPSERT)
                .bind(Json(chunk))
                .fetch_all(&mut *transaction)
                .await?;
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for row in &changed {
                let key: String = row.try_get(0)?;
                if let Ok(at) = chunk.binary_search_by(|asset| asset.gpu_uuid.cmp(&key)) {
                    values.push(outbox::value_of(&chunk[at])?);
                    keys.push(key);
                }
                if row.try_get(1)? {
                    outcome.created += 1;
                } else {
                    outcome.updated += 1;
                }
            }
            outcome.unchanged += chunk.len() - changed.len();
            // After the rows are locked: see the table's comment.
            outbox::put(&mut transaction, &keys, &values).await?;
        }
        transaction.commit().await?;
        self.changed.notify_one();
        Ok(outcome)
    }

    /// Deletes an asset; false when there is none.
    pub(crate) async fn delete(&self, gpu_uuid: &str) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let deleted = sqlx::query("DELETE FROM gpu_assets WHERE gpu_uuid = $1")
            .bind(gpu_uuid)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if deleted == 0 {
            return Ok(false);
        }
        outbox::put_tombstone(&mut transaction, gpu_uuid).await?;
        transaction.commit().await?;
        self.changed.notify_one();
        Ok(true)
    }

    /// Has every asset published again.
    pub(crate) async fn republish(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        outbox::begin_republish(&mut connection, &self.topic).await?;
        self.changed.notify_one();
        Ok(())
    }
}

pub(crate) fn select() -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(COLUMNS).push(" FROM gpu_assets");
    query
}

/// The asset of a row of [`COLUMNS`].
pub(crate) fn asset_of(row: &PgRow) -> Result<Asset, sqlx::Error> {
    let sla_tier: String = row.try_get(16)?;
    let Json(tags) = row.try_get(18)?;
    Ok(Asset {
        gpu_uuid: row.try_get(0)?,
        model: row.try_get(1)?,
        architecture: row.try_get(2)?,
        compute_capability: row.try_get(3)?,
        memory_gb: row.try_get(4)?,
        serial: row.try_get(5)?,
        hostname: row.try_get(6)?,
        pci_bus_id: row.try_get(7)?,
        rack_id: row.try_get(8)?,
        cluster_id: row.try_get(9)?,
        datacenter: row.try_get(10)?,
        region: row.try_get(11)?,
        purchase_date: row.try_get(12)?,
        deployment_date: row.try_get(13)?,
        warranty_expiry: row.try_get(14)?,
        expected_eol: row.try_get(15)?,
        sla_tier: match sla_tier.as_str() {
            "production" => SlaTier::Production,
            "staging" => SlaTier::Staging,
            _ => SlaTier::Development,
        },
        priority: row.try_get(17)?,
        tags,
        notes: row.try_get(19)?,
    })
}
