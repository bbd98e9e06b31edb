//! What happens to readings beyond correction: folded into their GPU's base, and in the end forgotten.
//!
//! None of it can be seen from outside. No reading is accepted into a quarter that is settled, so that folding only
//! changes how the same predecessors are kept; and a GPU goes when no reading that is still accepted could be held
//! against its last one. So it may be spread over transactions, and is.

use super::super::block::Samples;
use super::super::gpu::Gpu;
use super::super::journal::Log;
use super::super::snapshot::{self, GpuRecord};
use super::super::window::MINUTE_MS;
use super::Partition;

/// At most so many GPUs are folded, and as many forgotten, in one transaction: the end of a quarter comes for all at once.
const SETTLED_AT_ONCE: usize = 1_024;

/// What the flush under way settles; it takes effect when that is committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Settling {
    quarter: i64,
    folded: Vec<(u32, GpuRecord)>,
    expiry: i64,
    /// Entries of that expiry that were looked at.
    expired: usize,
    forgotten: Vec<u32>,
}

impl Settling {
    /// The GPU's record is written anyway.
    pub(super) fn has(&self, gpu: u32) -> bool {
        self.folded.iter().any(|(folded, _)| *folded == gpu)
    }
}

impl Partition {
    /// All quarters that end here or before are folded, as of the last commit.
    pub(super) fn folded_to(&self) -> i64 {
        self.quarters
            .first_key_value()
            .map_or(self.now.settled, |(end, _)| {
                self.now.settled.min(end.saturating_sub(1))
            })
    }

    /// Folds and forgets what it is time for, and writes that.
    pub(super) fn settle(&mut self, log: &mut impl Log) {
        let mut samples = Samples::default();
        self.settling = Settling::default();
        if let Some((end, gpus)) = self.quarters.first_key_value()
            && *end <= self.now.settled
        {
            self.settling.quarter = *end;
            for number in gpus.iter().take(SETTLED_AT_ONCE) {
                if let Some(gpu) = &self.gpus[*number as usize] {
                    let record = fold(gpu, *end, &mut samples);
                    log.put(&snapshot::gpu_key(&gpu.uuid), &snapshot::write(&record));
                    self.settling.folded.push((*number, record));
                }
            }
        }
        if let Some((expiry, gpus)) = self.expiries.first_key_value()
            && *expiry <= self.now.settled
        {
            self.settling.expiry = *expiry;
            for number in gpus.iter().take(SETTLED_AT_ONCE) {
                self.settling.expired += 1;
                if let Some(gpu) = &self.gpus[*number as usize]
                    && self.expiry(gpu) == Some(*expiry)
                {
                    log.delete(&snapshot::gpu_key(&gpu.uuid));
                    self.settling.forgotten.push(*number);
                }
            }
        }
    }

    /// What the flush settled is committed.
    pub(super) fn settled(&mut self) {
        let Settling {
            quarter,
            folded,
            expiry,
            expired,
            forgotten,
        } = std::mem::take(&mut self.settling);
        drain(&mut self.quarters, quarter, folded.len());
        drain(&mut self.expiries, expiry, expired);
        for (number, record) in folded {
            if let Some(gpu) = &mut self.gpus[number as usize] {
                gpu.fold_into(record.base, quarter);
                gpu.labels = record.labels;
            }
            self.schedule_expiry(number);
        }
        for number in forgotten {
            if let Some(gpu) = self.gpus[number as usize].take() {
                self.by_uuid.remove(&gpu.uuid);
                self.free.push(number);
            }
        }
    }

    /// Notes when a GPU that has no readings left can be forgotten.
    pub(super) fn schedule_expiry(&mut self, number: u32) {
        if let Some(expiry) = self.gpus[number as usize]
            .as_ref()
            .and_then(|gpu| self.expiry(gpu))
        {
            self.expiries.entry(expiry).or_default().push(number);
        }
    }

    /// When minutes up to here are settled, every reading that is still accepted is too far from the GPU's last one to be
    /// held against it. None while it has readings.
    fn expiry(&self, gpu: &Gpu) -> Option<i64> {
        let last = gpu.base.last_time.filter(|_| gpu.blocks.is_empty())?;
        Some(last.saturating_add(self.windows.forget_after_ms) + MINUTE_MS)
    }
}

/// The GPU's record when all quarters that end at `end` or before are folded.
fn fold(gpu: &Gpu, end: i64, samples: &mut Samples) -> GpuRecord {
    let gone = gpu.settled_blocks(end);
    let mut record = GpuRecord::of(gpu);
    record.folded_to = end;
    record.base.absorb(&gpu.blocks[..gone], samples);
    if record.labels.count() > 1 {
        let mut used = Vec::new();
        for block in &gpu.blocks[gone..] {
            samples.load(block);
            used.extend(samples.iter().map(|sample| sample.head.labels));
        }
        record.labels.retain(&used);
    }
    record
}

fn drain(gpus: &mut std::collections::BTreeMap<i64, Vec<u32>>, key: i64, n: usize) {
    if n == 0 {
        return;
    }
    if let Some(numbers) = gpus.get_mut(&key) {
        numbers.drain(..n.min(numbers.len()));
        if numbers.is_empty() {
            gpus.remove(&key);
        }
    }
}
