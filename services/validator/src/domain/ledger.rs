//! The state of one partition: what was seen of each of its GPUs, and stream time.
//!
//! Between two commits it can go back: the first change of a slot keeps its pre-image. Those slots also tell which
//! buckets go to the changelog ([`super::bucket`]).
//!
//! A GPU that is silent for long is forgotten. What counts is stream time, and a GPU is treated as forgotten from that
//! moment on; when its slot is freed makes no difference to any answer, so that this is done bit by bit after commits.

use super::bucket::{self, Bucket, Known, SLOTS, Unreadable};
use super::flags::Flags;
use super::gpu_id::{GpuId, parse_plain};
use super::history::{History, Repeat, Stamp};
use rustc_hash::FxHashMap;
use std::fmt;

/// The changelog key of the record that holds stream time alone.
const CLOCK: u32 = u32::MAX;
/// The most buckets: 33 million GPUs in a partition. A larger number in a changelog is no bucket of ours.
const MAX_BUCKETS: u32 = 1 << 20;
/// The most slots. A GPU that finds none passes and is not remembered: memory has an end, valid readings must not.
const MAX_SLOTS: usize = MAX_BUCKETS as usize * SLOTS;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    forget_after_ms: i64,
    slots: Vec<Option<Slot>>,
    plain: FxHashMap<u128, u32>,
    other: FxHashMap<Box<str>, u32>,
    free: Vec<u32>,
    /// Slots were restored and `plain`, `other` and `free` don't tell of them yet.
    unindexed: bool,
    taken: usize,
    stream_time_ms: i64,
    committed_stream_time_ms: i64,
    /// Grows with every commit and abort; a slot touched in this epoch has its pre-image in `undo`.
    epoch: u64,
    undo: Vec<(u32, Option<History>)>,
    /// Buckets with slots that were freed, not yet written.
    freed: Vec<u32>,
    /// The slot at which the search for forgotten GPUs goes on.
    sweep_from: usize,
}

#[derive(Debug)]
struct Slot {
    known: Known,
    touched: u64,
}

/// The changelog holds what can't be restored.
#[derive(Debug, PartialEq, Eq)]
pub enum Unrestorable {
    /// A key that is not the number of a bucket.
    Key,
    /// See [`Unreadable`].
    Bucket(u32, Unreadable),
}

impl fmt::Display for Unrestorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("a key of the changelog is not the number of a bucket"),
            Self::Bucket(number, reason) => write!(f, "bucket {number}: {reason}"),
        }
    }
}

impl Ledger {
    /// An empty ledger that forgets a GPU `forget_after_ms` after its last record.
    pub fn new(forget_after_ms: i64) -> Self {
        Self {
            forget_after_ms,
            slots: Vec::new(),
            plain: FxHashMap::default(),
            other: FxHashMap::default(),
            free: Vec::new(),
            unindexed: false,
            taken: 0,
            stream_time_ms: i64::MIN,
            committed_stream_time_ms: i64::MIN,
            epoch: 1,
            undo: Vec::new(),
            freed: Vec::new(),
            sweep_from: 0,
        }
    }

    /// Stream time: the latest ingest time of a valid record, or the latest tick. None at the very beginning.
    pub fn stream_time_ms(&self) -> Option<i64> {
        (self.stream_time_ms != i64::MIN).then_some(self.stream_time_ms)
    }

    /// GPUs known.
    pub const fn len(&self) -> usize {
        self.taken
    }

    /// No GPU is known.
    pub const fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Moves stream time on to `at_ms`, if that is later.
    pub fn advance(&mut self, at_ms: i64) {
        self.stream_time_ms = self.stream_time_ms.max(at_ms);
    }

    /// Whether the reading with `stamp` of `gpu_uuid` was seen.
    pub fn repeat(&mut self, gpu_uuid: &str, stamp: Stamp) -> Option<Repeat> {
        let slot = self.find(gpu_uuid)?;
        let known = &self.slots[slot as usize].as_ref()?.known;
        if self.is_forgotten(&known.history) {
            return None;
        }
        known.history.repeat(stamp)
    }

    /// Takes note of the reading with `stamp` of `gpu_uuid`, ingested at `ingest_ms`, unless it is a repeat; says what is
    /// odd about it.
    pub fn admit(&mut self, gpu_uuid: &str, stamp: Stamp, ingest_ms: i64) -> Result<Flags, Repeat> {
        let flags = if let Some(slot) = self.find(gpu_uuid) {
            self.admit_known(slot, stamp, ingest_ms)?
        } else {
            let mut history = History::default();
            let flags = history.admit(stamp, ingest_ms)?;
            let id = GpuId::parse(gpu_uuid);
            self.insert(Known { id, history });
            flags
        };
        self.advance(ingest_ms);
        Ok(flags)
    }

    /// Reads one record of the changelog, oldest first.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unrestorable> {
        let number = <[u8; 4]>::try_from(key)
            .map(u32::from_be_bytes)
            .map_err(|_| Unrestorable::Key)?;
        if number >= MAX_BUCKETS && number != CLOCK {
            return Err(Unrestorable::Key);
        }
        let bucket = value
            .map(bucket::read)
            .transpose()
            .map_err(|reason| Unrestorable::Bucket(number, reason))?
            .unwrap_or_else(|| Bucket {
                stream_time_ms: i64::MIN,
                entries: Vec::new(),
            });
        self.advance(bucket.stream_time_ms);
        self.committed_stream_time_ms = self.stream_time_ms;
        if number == CLOCK {
            return Ok(());
        }
        let first = number as usize * SLOTS;
        if self.slots.len() < first + SLOTS {
            self.slots.resize_with(first + SLOTS, || None);
        }
        let slots = &mut self.slots[first..first + SLOTS];
        self.taken -= slots.iter().flatten().count();
        slots.fill_with(|| None);
        for (place, known) in bucket.entries {
            slots[place] = Some(Slot { known, touched: 0 });
        }
        self.taken += slots.iter().flatten().count();
        self.unindexed = true;
        Ok(())
    }

    /// Gives `put` every changed bucket, ascending: its changelog key, and its value or none when it is empty.
    pub fn flush(&self, mut put: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut dirty: Vec<u32> = self
            .undo
            .iter()
            .map(|(slot, _)| bucket_of(*slot))
            .chain(self.freed.iter().copied())
            .collect();
        dirty.sort_unstable();
        dirty.dedup();
        // Every bucket that is written carries stream time; without one, or when one goes that may have been the
        // latest to carry it, it is written by itself.
        let mut clock = dirty.is_empty() && self.stream_time_ms != self.committed_stream_time_ms;
        let mut value = Vec::new();
        for number in dirty {
            let from = number as usize * SLOTS;
            let to = self.slots.len().min(from + SLOTS);
            let slots = &self.slots[from..to];
            if slots.iter().all(Option::is_none) {
                clock = true;
                put(&number.to_be_bytes(), None);
            } else {
                value.clear();
                self.write(slots, &mut value);
                put(&number.to_be_bytes(), Some(&value));
            }
        }
        if clock {
            value.clear();
            self.write(&[], &mut value);
            put(&CLOCK.to_be_bytes(), Some(&value));
        }
    }

    /// What was flushed stands.
    pub fn committed(&mut self) {
        self.undo.clear();
        self.freed.clear();
        self.epoch += 1;
        self.committed_stream_time_ms = self.stream_time_ms;
        self.sweep();
    }

    /// Everything since the last commit is undone.
    pub fn aborted(&mut self) {
        while let Some((slot, pre_image)) = self.undo.pop() {
            match pre_image {
                Some(history) => {
                    if let Some(taken) = &mut self.slots[slot as usize] {
                        taken.known.history = history;
                    }
                }
                None => self.vacate(slot),
            }
        }
        self.epoch += 1;
        self.stream_time_ms = self.committed_stream_time_ms;
    }

    fn write(&self, slots: &[Option<Slot>], out: &mut Vec<u8>) {
        let entries = slots.iter().map(|slot| {
            slot.as_ref()
                .map(|slot| (&slot.known.id, &slot.known.history))
        });
        bucket::write(self.stream_time_ms, entries, out);
    }

    fn find(&mut self, gpu_uuid: &str) -> Option<u32> {
        if self.unindexed {
            self.index();
        }
        match parse_plain(gpu_uuid) {
            Some(number) => self.plain.get(&number),
            None => self.other.get(gpu_uuid),
        }
        .copied()
    }

    fn admit_known(&mut self, slot: u32, stamp: Stamp, ingest_ms: i64) -> Result<Flags, Repeat> {
        let forget_before = self.stream_time_ms.saturating_sub(self.forget_after_ms);
        let Some(taken) = &mut self.slots[slot as usize] else {
            unreachable!("the index names taken slots only")
        };
        let history = &mut taken.known.history;
        let pre_image = *history;
        if history.ingest_ms < forget_before {
            *history = History::default();
        }
        let admitted = history.admit(stamp, ingest_ms);
        if admitted.is_err() {
            *history = pre_image;
        } else if taken.touched != self.epoch {
            taken.touched = self.epoch;
            self.undo.push((slot, Some(pre_image)));
        }
        admitted
    }

    fn insert(&mut self, known: Known) {
        let slot = match (self.free.pop(), u32::try_from(self.slots.len())) {
            (Some(slot), _) => slot,
            (None, Ok(slot)) if self.slots.len() < MAX_SLOTS => {
                self.slots.push(None);
                slot
            }
            _ => return,
        };
        match &known.id {
            GpuId::Plain(number) => self.plain.insert(*number, slot),
            GpuId::Other(text) => self.other.insert(text.clone(), slot),
        };
        self.slots[slot as usize] = Some(Slot {
            known,
            touched: self.epoch,
        });
        self.taken += 1;
        self.undo.push((slot, None));
    }

    fn vacate(&mut self, slot: u32) {
        let Some(freed) = self.slots[slot as usize].take() else {
            return;
        };
        let index = match &freed.known.id {
            GpuId::Plain(number) => self.plain.remove(number),
            GpuId::Other(text) => self.other.remove(text),
        };
        debug_assert_eq!(index, Some(slot));
        self.taken -= 1;
        self.free.push(slot);
    }

    fn is_forgotten(&self, history: &History) -> bool {
        history.ingest_ms < self.stream_time_ms.saturating_sub(self.forget_after_ms)
    }

    /// Frees the slots of forgotten GPUs in the next bucket.
    fn sweep(&mut self) {
        if self.slots.is_empty() || self.unindexed {
            return;
        }
        if self.sweep_from >= self.slots.len() {
            self.sweep_from = 0;
        }
        let to = self.slots.len().min(self.sweep_from + SLOTS);
        let Ok(first) = u32::try_from(self.sweep_from) else {
            return;
        };
        for (slot, number) in (self.sweep_from..to).zip(0_u32..) {
            let forgotten = self.slots[slot]
                .as_ref()
                .is_some_and(|taken| self.is_forgotten(&taken.known.history));
            if forgotten {
                self.vacate(first + number);
                self.freed.push(bucket_of(first + number));
            }
        }
        self.sweep_from = to;
    }

    fn index(&mut self) {
        self.unindexed = false;
        self.plain.clear();
        self.other.clear();
        self.free.clear();
        for (slot, taken) in (0_u32..).zip(&self.slots) {
            match taken.as_ref().map(|taken| &taken.known.id) {
                Some(GpuId::Plain(number)) => {
                    self.plain.insert(*number, slot);
                }
                Some(GpuId::Other(text)) => {
                    self.other.insert(text.clone(), slot);
                }
                None => self.free.push(slot),
            }
        }
        // The lowest slot is given first, so that buckets fill up again.
        self.free.reverse();
    }
}

const fn bucket_of(slot: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number of slots in a bucket is small"
    )]
    let slots = SLOTS as u32;
    slot / slots
}

#[cfg(test)]
mod tests;
