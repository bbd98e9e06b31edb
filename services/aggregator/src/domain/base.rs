//! What came before: the readings that increments and Xids are held against.

use super::block::{Block, Samples};
use super::column::{COLUMN_COUNT, Mask, TRACKED, columns_in};
use serde::{Deserialize, Serialize};

/// The last values of a GPU before its oldest block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Event time of the last reading.
    pub last_time: Option<i64>,
    /// Xids by code, ascending, with their counts, as of that reading.
    pub xid_counts: Vec<(u32, f64)>,
    /// The last value of each tracked column, ascending.
    pub values: Vec<LastValue>,
}

/// The last value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    /// The column.
    pub column: u8,
    /// Its value.
    pub value: f64,
    /// Event time of the reading that had it.
    pub time: i64,
}

impl Base {
    /// Takes in `blocks`, which follow it and go away.
    pub fn absorb(&mut self, blocks: &[Block], samples: &mut Samples) {
        let mut last = Predecessors::default();
        last.seek(blocks, present_in(blocks) & TRACKED, samples);
        for column in columns_in(last.mask) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "there are fewer than 256 columns"
            )]
            let value = LastValue {
                column: column as u8,
                value: last.values[column],
                time: last.times[column],
            };
            match self
                .values
                .binary_search_by_key(&value.column, |entry| entry.column)
            {
                Ok(at) => self.values[at] = value,
                Err(at) => self.values.insert(at, value),
            }
        }
        if last.last_time.is_some() {
            self.last_time = last.last_time;
            self.xid_counts = last.xid_counts;
        }
    }
}

/// Columns that any reading in `blocks` has.
pub fn present_in(blocks: &[Block]) -> Mask {
    blocks.iter().fold(0, |mask, block| mask | block.present)
}

/// The readings just before a point in a GPU's history: for each column the last one that has it.
#[derive(Clone, Debug)]
pub struct Predecessors {
    /// Columns that have a predecessor.
    pub mask: Mask,
    /// Its value.
    pub values: [f64; COLUMN_COUNT],
    /// Its event time.
    pub times: [i64; COLUMN_COUNT],
    /// Event time of the last reading, whatever it has.
    pub last_time: Option<i64>,
    /// Its Xids by code, ascending, with their counts.
    pub xid_counts: Vec<(u32, f64)>,
}

impl Default for Predecessors {
    fn default() -> Self {
        Self {
            mask: 0,
            values: [0.0; COLUMN_COUNT],
            times: [0; COLUMN_COUNT],
            last_time: None,
            xid_counts: Vec::new(),
        }
    }
}

impl Predecessors {
    /// Those of what follows `blocks`, which follow `base`: of the columns in `need`.
    pub fn find(&mut self, blocks: &[Block], base: &Base, need: Mask, samples: &mut Samples) {
        self.mask = 0;
        self.last_time = None;
        self.xid_counts.clear();
        self.seek(blocks, need, samples);
        for last in &base.values {
            let column = usize::from(last.column);
            if (need & !self.mask) >> column & 1 == 1 {
                self.set(column, last.value, last.time);
            }
        }
        if self.last_time.is_none() {
            self.last_time = base.last_time;
            self.xid_counts.clone_from(&base.xid_counts);
        }
    }

    /// `column` was `value` at `time`.
    #[inline]
    pub fn set(&mut self, column: usize, value: f64, time: i64) {
        self.mask |= 1 << column;
        self.values[column] = value;
        self.times[column] = time;
    }

    /// The value of `column` before a reading at `time`, unless it is more than `forget_after_ms` back.
    #[inline]
    pub fn before(&self, column: usize, time: i64, forget_after_ms: i64) -> Option<f64> {
        (self.mask >> column & 1 == 1 && time - self.times[column] <= forget_after_ms)
            .then(|| self.values[column])
    }

    /// From the latest block back, until all is found.
    fn seek(&mut self, blocks: &[Block], need: Mask, samples: &mut Samples) {
        for block in blocks.iter().rev() {
            let missing = need & !self.mask;
            if self.last_time.is_some() && missing == 0 {
                break;
            }
            if self.last_time.is_some() && missing & block.present == 0 {
                continue;
            }
            samples.load(block);
            if self.last_time.is_none()
                && let Some(last) = samples.iter().next_back()
            {
                self.last_time = Some(last.time);
                self.xid_counts.clone_from(&last.head.xid_counts);
            }
            for sample in samples.iter().rev() {
                let found = sample.row.mask & need & !self.mask;
                for column in columns_in(found) {
                    self.set(column, sample.row.values[column], sample.time);
                }
            }
        }
    }
}
