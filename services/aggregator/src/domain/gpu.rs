//! What is kept of one GPU.

use super::base::Base;
use super::block::{Block, Mark};
use super::column::Mask;
use super::reading::{LabelsView, Reading};
use super::row::{self, Row};
use super::window::{MINUTE_MS, quarter_end, start_of};
use schema::WindowSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// How many labels a window has: model, host name, rack, cluster.
pub const LABEL_COUNT: usize = 4;

/// Labels of a reading: model, host name, rack, cluster.
pub type Labels = [Option<Box<str>>; LABEL_COUNT];

/// The label sets that a GPU's kept readings have, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSets {
    /// Number and labels, ascending. A number is never given twice.
    sets: Vec<(u32, Labels)>,
    next: u32,
}

impl LabelSets {
    /// The number of the set that equals `labels`, if there is one.
    fn find(&self, labels: &LabelsView<'_>) -> Option<u32> {
        let LabelsView {
            model,
            hostname,
            rack,
            cluster,
        } = labels;
        let wanted = [model, hostname, rack, cluster];
        self.sets
            .iter()
            .rev()
            .find(|(_, set)| {
                set.iter()
                    .zip(wanted)
                    .all(|(have, want)| have.as_deref() == want.as_deref())
            })
            .map(|(number, _)| *number)
    }

    fn add(&mut self, labels: &LabelsView<'_>) -> u32 {
        let number = self.next;
        let owned = |text: &Option<schema::Text<'_>>| text.as_deref().map(Into::into);
        let set = [
            owned(&labels.model),
            owned(&labels.hostname),
            owned(&labels.rack),
            owned(&labels.cluster),
        ];
        self.sets.push((number, set));
        self.next += 1;
        number
    }

    /// The set with `number`.
    pub fn get(&self, number: u32) -> Option<&Labels> {
        let at = self
            .sets
            .binary_search_by_key(&number, |(number, _)| *number)
            .ok()?;
        Some(&self.sets[at].1)
    }

    /// Which labels the set with `number` has.
    pub fn named(&self, number: u32) -> [bool; LABEL_COUNT] {
        self.get(number).map_or([false; LABEL_COUNT], |labels| {
            [0, 1, 2, 3].map(|at: usize| labels[at].is_some())
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sets.len()
    }

    /// Keeps those in `used`, and the latest.
    pub fn retain(&mut self, used: &[u32]) {
        let latest = self.next.saturating_sub(1);
        self.sets
            .retain(|(number, _)| *number == latest || used.contains(number));
    }
}

/// A window of a GPU: its end and its size.
pub type WindowKey = (i64, WindowSize);

/// One GPU.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Its UUID.
    pub uuid: Box<str>,
    /// Labels of its readings.
    pub labels: LabelSets,
    /// Readings by minute, ascending.
    pub blocks: Vec<Block>,
    /// What came before the blocks.
    pub base: Base,
    /// Quarters that end here or before are folded into `base`; their readings are gone.
    pub folded_to: i64,
    /// Windows that were corrected, with how often.
    pub revisions: BTreeMap<WindowKey, u32>,
    /// Its number in the journal's open segment, and which segment that was.
    pub journal_number: (u64, u64),
    /// The last row appended, and the start of its block; what the next one is written against.
    tail: Box<(i64, Row)>,
}

const NO_TAIL: i64 = i64::MIN;
/// Room for so many bytes more than the minute before took.
const SPARE_BYTES: usize = 64;

impl Gpu {
    /// A GPU that was not seen before; no reading of it is accepted into a quarter that ends at `folded_to` or before.
    pub fn new(uuid: &str, folded_to: i64) -> Self {
        Self {
            uuid: uuid.into(),
            labels: LabelSets::default(),
            blocks: Vec::new(),
            base: Base::default(),
            folded_to,
            revisions: BTreeMap::new(),
            journal_number: (0, 0),
            tail: Box::new((NO_TAIL, Row::EMPTY)),
        }
    }

    /// The number of the label set of `reading`, and whether it is new.
    pub fn label(&mut self, labels: &LabelsView<'_>) -> (u32, bool) {
        match self.labels.find(labels) {
            Some(number) => (number, false),
            None => (self.labels.add(labels), true),
        }
    }

    /// Takes back the last label set added.
    pub fn undo_label(&mut self) {
        self.labels.sets.pop();
        self.labels.next -= 1;
    }

    /// The place of the block that starts at `start`, or where it would be.
    pub fn block_at(&self, start: i64) -> Result<usize, usize> {
        // Nearly every reading is of the latest minute.
        match self.blocks.last() {
            Some(last) if last.start == start => Ok(self.blocks.len() - 1),
            Some(last) if last.start > start => self
                .blocks
                .binary_search_by_key(&start, |block| block.start),
            _ => Err(self.blocks.len()),
        }
    }

    /// The blocks of the window that ends at `end`.
    pub fn blocks_of(&self, (end, size): WindowKey) -> Range<usize> {
        let place = |time| match self.block_at(time) {
            Ok(at) | Err(at) => at,
        };
        place(end - size.as_millis())..place(end)
    }

    /// There is a reading in the quarter that ends at `end`.
    pub fn has_quarter(&self, end: i64) -> bool {
        self.blocks
            .iter()
            .rev()
            .take_while(|block| block.end() > end - WindowSize::FifteenMinutes.as_millis())
            .any(|block| block.end() <= end)
    }

    /// Appends a reading to the block at `start`; gives the row as it was written, and where the block stood (none when
    /// it is new).
    pub fn append(
        &mut self,
        start: i64,
        labels: u32,
        reading: &Reading<'_>,
        row: &Row,
        scratch: &mut Vec<u8>,
    ) -> (Option<Mark>, &[u8]) {
        let (tail_start, tail) = &*self.tail;
        let place = self.block_at(start);
        let previous = (place.is_ok() && *tail_start == start).then_some(tail);
        scratch.clear();
        let offset_ms = (reading.time - start).cast_unsigned();
        row::encode(
            scratch,
            offset_ms,
            labels,
            &reading.xid_counts,
            row,
            previous,
        );
        let at = match place {
            Ok(at) => at,
            Err(at) => {
                let capacity = at.checked_sub(1).map_or(0, |at| self.blocks[at].size());
                self.blocks
                    .insert(at, Block::new(start, capacity + SPARE_BYTES));
                at
            }
        };
        *self.tail = (start, row.clone());
        let block = &mut self.blocks[at];
        let mark = place.is_ok().then(|| block.mark());
        (mark, block.push(scratch, row.mask))
    }

    /// Appends a row that was written before.
    pub fn append_written(&mut self, start: i64, encoded: &[u8], columns: Mask) {
        let at = match self.block_at(start) {
            Ok(at) => at,
            Err(at) => {
                self.blocks.insert(at, Block::new(start, encoded.len()));
                at
            }
        };
        self.blocks[at].push(encoded, columns);
    }

    /// Undoes [`Gpu::append`].
    pub fn undo_append(&mut self, start: i64, mark: Option<Mark>) {
        self.tail.0 = NO_TAIL;
        if let Ok(at) = self.block_at(start) {
            match mark {
                Some(mark) => self.blocks[at].undo_to(mark),
                None => {
                    self.blocks.remove(at);
                }
            }
        }
    }

    /// How often the window was corrected.
    pub fn revision(&self, window: WindowKey) -> u32 {
        self.revisions.get(&window).copied().unwrap_or(0)
    }

    /// Closed minutes whose increments or Xids may change when a reading with `columns` is put into the minute at
    /// `start`: those after it with the next reading of each column, and with the next reading at all.
    pub fn successors(&self, start: i64, columns: Mask, closed: i64) -> Vec<i64> {
        let mut missing = columns;
        let mut found = Vec::new();
        let later = self
            .blocks
            .iter()
            .skip_while(|block| block.start <= start)
            .take_while(|block| block.end() <= closed);
        for block in later {
            if found.is_empty() || missing & block.present != 0 {
                found.push(block.end());
            }
            missing &= !block.present;
            if missing == 0 {
                break;
            }
        }
        found
    }

    /// The blocks of quarters that end at `end` or before.
    pub fn settled_blocks(&self, end: i64) -> usize {
        self.blocks.partition_point(|block| block.end() <= end)
    }

    /// Lets go of what is folded: `base` holds all quarters that end at `end` or before.
    pub fn fold_into(&mut self, base: Base, end: i64) {
        let gone = self.settled_blocks(end);
        self.blocks.drain(..gone);
        self.revisions
            .retain(|(window_end, _), _| quarter_end(start_of(window_end - 1, MINUTE_MS)) > end);
        self.base = base;
        self.folded_to = end;
        if self.blocks.is_empty() {
            self.blocks.shrink_to_fit();
        }
    }
}
