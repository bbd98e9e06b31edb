//! The readings of one GPU in one minute, as they came.

use super::column::Mask;
use super::row::{self, Head, Row};
use super::window::MINUTE_MS;
use super::wire::{Malformed, Reader, put_varint};

/// Readings whose event time is in `[start, start + 1 minute)`, in the order of their offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The minute's first instant.
    pub start: i64,
    /// How many readings.
    pub count: u32,
    /// Columns that any reading has.
    pub present: Mask,
    /// Rows, each after its length.
    bytes: Vec<u8>,
}

/// Where a block stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    count: u32,
    present: Mask,
    len: usize,
}

impl Block {
    /// An empty block, with room for so many bytes.
    pub fn new(start: i64, capacity: usize) -> Self {
        Self {
            start,
            count: 0,
            present: 0,
            bytes: Vec::with_capacity(capacity),
        }
    }

    /// First instant after the minute.
    pub const fn end(&self) -> i64 {
        self.start + MINUTE_MS
    }

    /// Bytes used.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Appends an encoded row that has `columns`; returns it with its length before it.
    pub fn push(&mut self, encoded: &[u8], columns: Mask) -> &[u8] {
        let from = self.bytes.len();
        put_varint(&mut self.bytes, encoded.len() as u64);
        self.bytes.extend_from_slice(encoded);
        self.count += 1;
        self.present |= columns;
        &self.bytes[from..]
    }

    /// Where it stands now.
    pub fn mark(&self) -> Mark {
        Mark {
            count: self.count,
            present: self.present,
            len: self.bytes.len(),
        }
    }

    /// Goes back to where it stood.
    pub fn undo_to(&mut self, mark: Mark) {
        self.count = mark.count;
        self.present = mark.present;
        self.bytes.truncate(mark.len);
    }

    /// Gives back room that is not used, where it is worth the copy.
    pub fn shrink(&mut self) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len > len / 4 {
            self.bytes.shrink_to_fit();
        }
    }
}

/// A reading as read from a block.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Event time.
    pub time: i64,
    /// Label set and Xid counts.
    pub head: Head,
    /// Numbers.
    pub row: Row,
}

impl Sample {
    const EMPTY: Self = Self {
        time: 0,
        head: Head {
            offset_ms: 0,
            labels: 0,
            xid_counts: Vec::new(),
        },
        row: Row::EMPTY,
    };
}

/// The readings of a block in the order of event time, then offset. Keeps its memory from block to block.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    samples: Vec<Sample>,
    order: Vec<u32>,
}

impl Samples {
    /// Reads `block`, whose rows were all encoded here or checked when they were restored.
    pub fn load(&mut self, block: &Block) {
        let read = self.try_load(block);
        debug_assert_eq!(read, Ok(()), "a row that does not read back");
    }

    fn try_load(&mut self, block: &Block) -> Result<(), Malformed> {
        self.order.clear();
        let mut reader = Reader::new(&block.bytes);
        let mut at = 0;
        let mut is_sorted = true;
        while !reader.is_empty() {
            let n = reader.length()?;
            let mut body = Reader::new(reader.take(n)?);
            if at == self.samples.len() {
                self.samples.push(Sample::EMPTY);
            }
            let (before, rest) = self.samples.split_at_mut(at);
            let sample = &mut rest[0];
            match before.last() {
                Some(previous) => sample.row.clone_from(&previous.row),
                None => sample.row.mask = 0,
            }
            row::decode(&mut body, &mut sample.head, &mut sample.row)?;
            sample.time = block.start + sample.head.offset_ms.cast_signed();
            is_sorted &= before.last().is_none_or(|last| last.time <= sample.time);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a block counts its readings in 32 bits"
            )]
            let number = at as u32;
            self.order.push(number);
            at += 1;
        }
        if !is_sorted {
            let samples = &self.samples;
            // Stable: of equal times the earlier offset comes first.
            self.order.sort_by_key(|at| samples[*at as usize].time);
        }
        Ok(())
    }

    /// Earliest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.order.iter().map(|at| &self.samples[*at as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(block: &mut Block, offset_ms: u64, value: f64, previous: Option<&Row>) -> Row {
        let mut row = Row::EMPTY;
        row.set(0, Some(value));
        let mut encoded = Vec::new();
        row::encode(&mut encoded, offset_ms, 0, &[], &row, previous);
        block.push(&encoded, row.mask);
        row
    }

    fn values(block: &Block) -> Vec<(i64, Option<f64>)> {
        let mut samples = Samples::default();
        samples.load(block);
        samples
            .iter()
            .map(|sample| (sample.time, sample.row.get(0)))
            .collect()
    }

    #[test]
    fn readings_come_by_event_time_and_then_by_offset() {
        let mut block = Block::new(60_000, 0);
        let first = push(&mut block, 30, 1.0, None);
        let second = push(&mut block, 10, 2.0, Some(&first));
        push(&mut block, 30, 3.0, Some(&second));
        push(&mut block, 10, 4.0, None);
        assert_eq!(
            values(&block),
            [
                (60_010, Some(2.0)),
                (60_010, Some(4.0)),
                (60_030, Some(1.0)),
                (60_030, Some(3.0))
            ]
        );
    }

    #[test]
    fn undo_takes_back_what_was_pushed() {
        let mut block = Block::new(0, 0);
        let first = push(&mut block, 1, 1.0, None);
        let before = block.clone();
        let mark = block.mark();
        push(&mut block, 2, 2.0, Some(&first));
        assert_eq!(values(&block).len(), 2);
        block.undo_to(mark);
        assert_eq!(block, before);
    }
}
