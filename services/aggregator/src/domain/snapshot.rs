//! The small records of the changelog beside the journal: what is left of a GPU when its readings go, and how far the
//! partition has come. A version byte, then postcard.

use super::base::Base;
use super::gpu::{Gpu, LabelSets};
use super::window::Watermarks;
use super::wire::Malformed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of these records' layout.
pub const VERSION: u8 = 1;

/// First byte of a GPU's key; its UUID follows.
pub const GPU_KEY_PREFIX: u8 = b'g';

/// The key of the partition's record.
pub const PARTITION_KEY: &[u8] = b"m";

/// What a GPU has besides the readings in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuRecord {
    /// Quarters that end here or before are folded into `base`.
    pub folded_to: i64,
    /// What came before the readings in the journal.
    pub base: Base,
    /// Labels of its readings.
    pub labels: LabelSets,
}

/// How far the partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// See [`Watermarks`].
    pub stream_time: i64,
    /// See [`Watermarks`].
    pub closed: i64,
    /// See [`Watermarks`].
    pub settled: i64,
    /// Sequence number of the next journal segment.
    pub next_segment: u64,
}

impl PartitionRecord {
    /// Of a partition that has come so far.
    pub fn new(watermarks: Watermarks, next_segment: u64) -> Self {
        Self {
            stream_time: watermarks.stream_time,
            closed: watermarks.closed,
            settled: watermarks.settled,
            next_segment,
        }
    }

    /// How far the partition has come.
    pub fn watermarks(&self) -> Watermarks {
        Watermarks {
            stream_time: self.stream_time,
            closed: self.closed,
            settled: self.settled,
        }
    }
}

impl GpuRecord {
    /// Of a GPU as it stands.
    pub fn of(gpu: &Gpu) -> Self {
        Self {
            folded_to: gpu.folded_to,
            base: gpu.base.clone(),
            labels: gpu.labels.clone(),
        }
    }
}

/// The key of a GPU's record.
pub fn gpu_key(uuid: &str) -> Vec<u8> {
    let mut key = vec![GPU_KEY_PREFIX];
    key.extend_from_slice(uuid.as_bytes());
    key
}

/// `record` as bytes.
pub fn write(record: &impl Serialize) -> Vec<u8> {
    let written = postcard::to_extend(record, vec![VERSION]);
    debug_assert!(written.is_ok(), "these types can all be written");
    written.unwrap_or_default()
}

/// Reads what [`write()`] wrote.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|_| Malformed("a record that does not read back"))
        }
        Some(_) => Err(Malformed("a record of another version")),
        None => Err(Malformed("a record without a version")),
    }
}
