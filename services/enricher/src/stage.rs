//! The seam between Kafka and the domain.

use crate::SERVICE;
use crate::config::Limits;
use crate::dead_letter::{Original, dead_letter, short_key};
use crate::domain::asset_table::{AssetTable, Change};
use crate::domain::enrich::{Unenrichable, added_bytes, enrich_into};
use crate::metrics::Counts;
use chassis::{Outbox, Output, Record, Stage};
use schema::Tick;
use tracing::{error, warn};

/// `gpu-metrics-enriched`
pub const ENRICHED: Output = Output(0);
/// `gpu-metrics-invalid`
pub const INVALID: Output = Output(1);

/// Joins records with the asset table. One serves all partitions of a worker; no partition has a state of its own.
#[derive(Debug)]
pub struct Enricher {
    assets: AssetTable,
    max_record_bytes: usize,
    counts: Counts,
}

impl Enricher {
    /// With an empty table.
    pub fn new(limits: &Limits) -> Self {
        Self {
            assets: AssetTable::default(),
            max_record_bytes: limits.max_record_bytes,
            counts: Counts::new(),
        }
    }

    /// The table.
    pub const fn assets(&self) -> &AssetTable {
        &self.assets
    }

    /// By difference, since several workers share the gauge.
    fn gauge_assets(&self, before: usize) {
        self.counts
            .assets
            .increment(self.assets.len() as f64 - before as f64);
    }

    fn apply(&self, record: &Record<'_>, out: &mut Outbox) -> Result<(), Unenrichable> {
        let value = record.value.ok_or(Unenrichable::NoValue)?;
        let partition = out.co_partition(ENRICHED);
        let Some(key) = record.key else {
            // Ticks are few; a look at them keeps a lost key from passing for one.
            serde_json::from_slice::<Tick>(value).map_err(|_| Unenrichable::NotATick)?;
            out.send(ENRICHED, partition, None, Some(value));
            self.counts.ticks.increment(1);
            return Ok(());
        };
        let asset = self.assets.get(key);
        let bytes = key.len() + value.len() + added_bytes(asset);
        if bytes > self.max_record_bytes {
            return Err(Unenrichable::TooLarge {
                bytes,
                limit: self.max_record_bytes,
            });
        }
        out.send_with(ENRICHED, partition, Some(key), |buffer| {
            enrich_into(value, asset, buffer)
        })?;
        if asset.is_some() {
            self.counts.known.increment(1);
        } else {
            self.counts.unknown.increment(1);
        }
        Ok(())
    }
}

impl Stage for Enricher {
    type Task = ();

    fn open(&mut self, _partition: i32) {}

    fn process(&mut self, (): &mut (), record: &Record<'_>, out: &mut Outbox) {
        let Err(reason) = self.apply(record, out) else {
            return;
        };
        Counts::dead_letter(reason.code());
        let original = Original {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
        };
        let letter = dead_letter(SERVICE.name, SERVICE.version, &original, reason);
        let partition = out.co_partition(INVALID);
        let sent = out.send_with(INVALID, partition, short_key(record.key), |buffer| {
            serde_json::to_writer(buffer, &letter)
        });
        if let Err(error) = sent {
            // Strings and numbers are always written; should that ever change, the log still has it.
            error!(%error, topic = record.topic, partition = record.partition, offset = record.offset, "dead letter not written");
        }
    }

    fn table(&mut self, record: &Record<'_>) {
        let before = self.assets.len();
        match self
            .assets
            .apply(record.partition, record.key, record.value)
        {
            Change::Set => self.counts.table_set.increment(1),
            Change::Deleted => self.counts.table_deleted.increment(1),
            Change::Unreadable(error) => {
                self.counts.table_unreadable.increment(1);
                warn!(%error, topic = record.topic, partition = record.partition, offset = record.offset,
                    "asset can't be read; its GPU counts as unknown");
            }
        }
        self.gauge_assets(before);
    }

    fn forget_table(&mut self, table_partition: i32) {
        let before = self.assets.len();
        self.assets.forget(table_partition);
        self.gauge_assets(before);
    }
}

#[cfg(test)]
mod tests;
