//! From the changelog back to memory.
//!
//! Its records come in any order that keeps the last one of each key, so that they are only checked and kept at first.
//! The state is put together when the first record of the input comes.

use super::super::gpu::Gpu;
use super::super::journal::{self, Entry};
use super::super::snapshot::{self, GpuRecord, PartitionRecord};
use super::super::window::{MINUTE_MS, quarter_end};
use super::super::wire::Malformed;
use super::Partition;
use std::collections::BTreeMap;

/// What was read of the changelog.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoring {
    partition: Option<PartitionRecord>,
    gpus: BTreeMap<String, GpuRecord>,
    segments: BTreeMap<u64, Box<[u8]>>,
}

impl Restoring {
    /// GPUs in it.
    pub(super) fn len(&self) -> usize {
        self.gpus.len()
    }
}

/// A changelog record can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Its key is none of ours.
    #[error("a key of no known kind: {0:?}")]
    UnknownKey(Vec<u8>),
    /// Its value is not what was written.
    #[error("{what}: {source}")]
    Malformed {
        /// Which record.
        what: String,
        /// What is wrong.
        source: Malformed,
    },
}

impl Partition {
    /// Takes a record of the changelog; none as the value deletes.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        let unknown = || RestoreError::UnknownKey(key.to_vec());
        let malformed = |what: &str| {
            let what = what.to_owned();
            move |source| RestoreError::Malformed { what, source }
        };
        match key.split_first() {
            Some((&journal::KEY_PREFIX, sequence)) => {
                let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| unknown())?);
                match value {
                    Some(value) => {
                        let what = format!("journal segment {sequence}");
                        journal::read(value, |_, _| {}).map_err(malformed(&what))?;
                        self.restoring.segments.insert(sequence, value.into());
                    }
                    None => drop(self.restoring.segments.remove(&sequence)),
                }
            }
            Some((&snapshot::GPU_KEY_PREFIX, uuid)) => {
                let uuid = str::from_utf8(uuid).map_err(|_| unknown())?;
                match value {
                    Some(value) => {
                        let record = snapshot::read(value)
                            .map_err(malformed(&format!("the record of {uuid}")))?;
                        self.restoring.gpus.insert(uuid.to_owned(), record);
                    }
                    None => drop(self.restoring.gpus.remove(uuid)),
                }
            }
            _ if key == snapshot::PARTITION_KEY => {
                self.restoring.partition = match value {
                    Some(value) => {
                        Some(snapshot::read(value).map_err(malformed("the partition's record"))?)
                    }
                    None => None,
                };
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Puts what was read together, if there is something.
    pub(super) fn finish_restore(&mut self) {
        let Some(partition) = self.restoring.partition.take() else {
            return;
        };
        let Restoring { gpus, segments, .. } = std::mem::take(&mut self.restoring);
        self.now = partition.watermarks();
        self.committed = self.now;
        for (uuid, record) in gpus {
            let mut gpu = Gpu::new(&uuid, record.folded_to);
            gpu.base = record.base;
            gpu.labels = record.labels;
            self.insert(gpu);
        }
        for (sequence, segment) in segments {
            let keep_until = journal::read(&segment, |uuid, entry| self.take(uuid, entry));
            debug_assert!(keep_until.is_ok(), "checked when it was read");
            if let Ok(keep_until) = keep_until {
                self.journal.restored(sequence, keep_until);
            }
        }
        self.journal.next = partition.next_segment;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "GPUs are numbered in 32 bits"
        )]
        let gpus = self.gpus.len() as u32;
        for number in 0..gpus {
            self.schedule(number);
        }
    }

    fn take(&mut self, uuid: &str, entry: Entry<'_>) {
        // A GPU without a record is forgotten, and quarters that are folded are in its base; the segment is only there
        // because of others.
        let Some(number) = self.by_uuid.get(uuid) else {
            return;
        };
        let Some(gpu) = &mut self.gpus[*number as usize] else {
            return;
        };
        match entry {
            Entry::Row {
                start,
                encoded,
                columns,
            } => {
                if quarter_end(start) > gpu.folded_to {
                    gpu.append_written(start, encoded, columns);
                }
            }
            Entry::Revision { window, revision } => {
                if quarter_end(window.0 - MINUTE_MS) > gpu.folded_to {
                    gpu.revisions.insert(window, revision);
                }
            }
        }
    }

    fn schedule(&mut self, number: u32) {
        let closed = self.now.closed;
        let Some(gpu) = &self.gpus[number as usize] else {
            return;
        };
        let mut last_quarter = None;
        for block in &gpu.blocks {
            if block.end() > closed {
                self.minutes.entry(block.end()).or_default().push(number);
            }
            let quarter = quarter_end(block.start);
            if last_quarter.replace(quarter) != Some(quarter) {
                self.quarters.entry(quarter).or_default().push(number);
            }
        }
        self.schedule_expiry(number);
    }
}
