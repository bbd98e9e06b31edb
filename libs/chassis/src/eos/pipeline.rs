//! `[pipeline]`: what an operator sets.

use crate::InvalidConfig;
use serde::Deserialize;

/// `[pipeline]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Threads, each with a consumer and a producer of its own.
    pub workers: usize,
    /// Milliseconds until a transaction is committed at the latest; a drained input commits sooner, and partitions that
    /// have just come are waited for, 600 ms at most.
    pub commit_interval_ms: u64,
    /// Records until a transaction is committed at the latest.
    pub max_transaction_records: usize,
    /// Milliseconds without a record until a partition counts as idle; 0 turns it off.
    pub idle_after_ms: u64,
    /// `transaction.timeout.ms`: how long a dead instance's open transaction can hold readers back.
    pub transaction_timeout_ms: u64,
    /// Milliseconds a restore may take before the service gives up and exits.
    pub restore_deadline_ms: u64,
    /// `compression.type` of what is produced. Other than the topic's own makes the broker compress again.
    pub compression: String,
    /// What to do when retention removed records before they were read.
    pub on_lost_input: LostInput,
    /// KiB of fetched records that a worker holds ready.
    pub fetch_queue_kib: usize,
    /// When state changes go to the changelog.
    pub state: StateMode,
    /// With `state = "rolling"`: milliseconds between two snapshots of a partition, which is also how much input a new
    /// owner may have to replay after a crash.
    pub snapshot_interval_ms: u64,
}

/// When state changes go to the changelog. It can be changed at any restart: what was committed in one mode is read in
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// With each commit. A new owner reads the changelog and goes on.
    EveryCommit,
    /// Each partition in its turn, once in a snapshot interval, with each changed key once. After a crash a new owner
    /// also replays the input since the last snapshot, its outputs muted; after an orderly stop there is nothing to
    /// replay. For state that changes faster than the broker should write: beyond about 100,000 keys.
    Rolling,
}

/// What to do when the committed offset is below the log's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostInput {
    /// Exit, and say how much is lost.
    Stop,
    /// Go on with the oldest record there is.
    Earliest,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            commit_interval_ms: 100,
            max_transaction_records: 50_000,
            idle_after_ms: 0,
            transaction_timeout_ms: 10_000,
            restore_deadline_ms: 120_000,
            compression: "snappy".to_owned(),
            on_lost_input: LostInput::Stop,
            fetch_queue_kib: 8_192,
            state: StateMode::EveryCommit,
            snapshot_interval_ms: 30_000,
        }
    }
}

impl PipelineConfig {
    /// Checks what types can't say; `section` is the path of this block in the configuration.
    pub fn validate(&self, section: &str) -> Result<(), InvalidConfig> {
        let invalid =
            |key: &str, reason: &str| Err(InvalidConfig::new(format!("{section}.{key}"), reason));
        if !(1..=64).contains(&self.workers) {
            return invalid("workers", "must be 1 to 64");
        }
        if !(1..=10_000).contains(&self.commit_interval_ms) {
            return invalid("commit_interval_ms", "must be 1 to 10000");
        }
        if self.max_transaction_records == 0 {
            return invalid("max_transaction_records", "must be at least 1");
        }
        if self.idle_after_ms != 0 && self.idle_after_ms < 100 {
            return invalid("idle_after_ms", "must be 0 (off) or at least 100");
        }
        if self.transaction_timeout_ms < 2_000
            || self.transaction_timeout_ms < 2 * self.commit_interval_ms
        {
            return invalid(
                "transaction_timeout_ms",
                "must be at least 2000 and twice commit_interval_ms",
            );
        }
        if self.restore_deadline_ms < 1_000 {
            return invalid("restore_deadline_ms", "must be at least 1000");
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&self.compression.as_str()) {
            return invalid("compression", "must be none, gzip, snappy, lz4 or zstd");
        }
        if !(256..=1_048_576).contains(&self.fetch_queue_kib) {
            return invalid("fetch_queue_kib", "must be 256 to 1048576");
        }
        if !(100..=3_600_000).contains(&self.snapshot_interval_ms) {
            return invalid("snapshot_interval_ms", "must be 100 to 3600000");
        }
        Ok(())
    }
}
