//! A window's numbers from its readings.
//!
//! Readings are taken in the order of event time, then offset. A level's mean is the sum in that order divided by the
//! count; its percentiles are exact nearest rank over all readings of the window, so that a quarter's are those of its
//! fifteen minutes' readings together.
//!
//! A counter's increment at a reading is its value less that of the GPU's reading before (the last one that has the
//! counter, in whatever window), or the whole value when it is below that one (a restart from zero), or 0 when there is
//! none before. It belongs to the window of the later reading. A minute's increment is the sum of its readings', a
//! quarter's the sum of its minutes', so that fifteen minutes add up to their quarter to the bit.

use super::base::{Base, Predecessors, present_in};
use super::block::{Block, Sample, Samples};
use super::column::{
    COLUMN_COUNT, COUNTERS, LAST_XID, LEVELS, Mask, THROTTLE_REASONS, TRACKED, columns_in,
};
use super::gpu::{LABEL_COUNT, LabelSets};
use super::reading::xid_of;
use schema::{CONCERN_MASK, CounterWindow, GaugeWindow, ThrottleWindow};
use std::ops::Range;

/// Folds one window after the other, keeping its memory.
#[derive(Clone, Debug)]
pub struct Fold {
    forget_after_ms: i64,
    /// Readings in the window.
    pub count: u64,
    /// Event time of the first.
    pub first: i64,
    /// Event time of the last.
    pub last: i64,
    /// Levels that any reading has.
    pub levels: Mask,
    /// Counters that any reading has.
    pub counters: Mask,
    /// Clock-event reasons, when any reading has them.
    pub throttle: Option<ThrottleWindow>,
    /// Xids that came up, ascending, each once.
    pub xids: Vec<u32>,
    /// For each label the number of the label set of the last reading that has it.
    pub labels: [Option<u32>; LABEL_COUNT],
    values: Vec<Vec<f64>>,
    sums: [f64; COLUMN_COUNT],
    increments: [f64; COLUMN_COUNT],
    resets: [u32; COLUMN_COUNT],
    minute_increments: [f64; COLUMN_COUNT],
    predecessors: Predecessors,
    samples: Samples,
}

impl Fold {
    /// Predecessors count when they are at most `forget_after_ms` back.
    pub fn new(forget_after_ms: i64) -> Self {
        Self {
            forget_after_ms,
            count: 0,
            first: 0,
            last: 0,
            levels: 0,
            counters: 0,
            throttle: None,
            xids: Vec::new(),
            labels: [None; LABEL_COUNT],
            values: vec![Vec::new(); COLUMN_COUNT],
            sums: [0.0; COLUMN_COUNT],
            increments: [0.0; COLUMN_COUNT],
            resets: [0; COLUMN_COUNT],
            minute_increments: [0.0; COLUMN_COUNT],
            predecessors: Predecessors::default(),
            samples: Samples::default(),
        }
    }

    /// Folds the window that consists of `blocks[window]`; what is before stands in the earlier blocks and in `base`.
    pub fn window(
        &mut self,
        blocks: &[Block],
        window: Range<usize>,
        base: &Base,
        labels: &LabelSets,
    ) {
        let (before, window) = (&blocks[..window.start], &blocks[window]);
        let present = present_in(window);
        self.begin(present);
        self.predecessors
            .find(before, base, present & TRACKED, &mut self.samples);
        let mut samples = std::mem::take(&mut self.samples);
        for block in window {
            samples.load(block);
            self.minute(&samples, block.present & COUNTERS, labels);
        }
        self.samples = samples;
    }

    /// A level of the window. Only for columns in [`Fold::levels`], and once for each.
    pub fn level(&mut self, column: usize) -> GaugeWindow {
        let values = &mut self.values[column];
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len();
        let rank = |percent: usize| values[(n * percent).div_ceil(100).max(1) - 1];
        GaugeWindow {
            count: n as u64,
            min: values[0],
            max: values[n - 1],
            mean: finite(self.sums[column] / n as f64),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
        }
    }

    /// A counter of the window. Only for columns in [`Fold::counters`].
    pub fn counter(&self, column: usize) -> CounterWindow {
        CounterWindow {
            increment: finite(self.increments[column]),
            resets: self.resets[column],
            last: self.predecessors.values[column],
        }
    }

    fn begin(&mut self, present: Mask) {
        self.count = 0;
        self.levels = present & LEVELS;
        self.counters = present & COUNTERS;
        self.throttle = None;
        self.xids.clear();
        self.labels = [None; LABEL_COUNT];
        for column in columns_in(self.levels) {
            self.values[column].clear();
            self.sums[column] = 0.0;
        }
        for column in columns_in(self.counters) {
            self.increments[column] = 0.0;
            self.resets[column] = 0;
        }
    }

    fn minute(&mut self, samples: &Samples, counters: Mask, labels: &LabelSets) {
        for column in columns_in(counters) {
            self.minute_increments[column] = 0.0;
        }
        let mut label_set = None;
        for sample in samples.iter() {
            if self.count == 0 {
                self.first = sample.time;
            }
            self.last = sample.time;
            self.count += 1;
            if label_set != Some(sample.head.labels) {
                label_set = Some(sample.head.labels);
                for (label, found) in self.labels.iter_mut().zip(labels.named(sample.head.labels)) {
                    if found {
                        *label = label_set;
                    }
                }
            }
            self.reading(sample);
        }
        for column in columns_in(counters) {
            self.increments[column] += self.minute_increments[column];
        }
    }

    fn reading(&mut self, sample: &Sample) {
        let Sample { time, head, row } = sample;
        for column in columns_in(row.mask & LEVELS) {
            let value = row.values[column];
            self.values[column].push(value);
            self.sums[column] += value;
        }
        for column in columns_in(row.mask & COUNTERS) {
            let value = row.values[column];
            let before = self
                .predecessors
                .before(column, *time, self.forget_after_ms);
            self.minute_increments[column] += match before {
                Some(before) if value < before => {
                    self.resets[column] += 1;
                    value
                }
                Some(before) => value - before,
                None => 0.0,
            };
            self.predecessors.set(column, value, *time);
        }
        if let Some(reasons) = row.get(THROTTLE_REASONS) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bits of a mask; what is negative or too large for one is clamped"
            )]
            let reasons = reasons as u64;
            let window = self.throttle.get_or_insert(ThrottleWindow {
                reasons: 0,
                samples: 0,
                concern_samples: 0,
            });
            window.reasons |= reasons;
            window.samples += 1;
            window.concern_samples += u64::from(reasons & CONCERN_MASK != 0);
        }
        if let Some(value) = row.get(LAST_XID) {
            let before = self
                .predecessors
                .before(LAST_XID, *time, self.forget_after_ms);
            if before.is_some_and(|before| before.to_bits() != value.to_bits())
                && let Some(code) = xid_of(value)
            {
                self.xid(code);
            }
            self.predecessors.set(LAST_XID, value, *time);
        }
        self.xid_counts(*time, &head.xid_counts);
    }

    fn xid_counts(&mut self, time: i64, counts: &[(u32, f64)]) {
        let has_predecessor = self
            .predecessors
            .last_time
            .is_some_and(|last| time - last <= self.forget_after_ms);
        self.predecessors.last_time = Some(time);
        if counts.is_empty() && self.predecessors.xid_counts.is_empty() {
            return;
        }
        if has_predecessor {
            for (code, count) in counts {
                let before = self
                    .predecessors
                    .xid_counts
                    .iter()
                    .find(|before| before.0 == *code)
                    .map_or(0.0, |before| before.1);
                if *count > before {
                    self.xid(*code);
                }
            }
        }
        self.predecessors.xid_counts.clear();
        self.predecessors.xid_counts.extend_from_slice(counts);
    }

    fn xid(&mut self, code: u32) {
        if let Err(at) = self.xids.binary_search(&code) {
            self.xids.insert(at, code);
        }
    }
}

/// JSON has no infinity: a sum that runs over is written as the largest number.
fn finite(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX)
}
