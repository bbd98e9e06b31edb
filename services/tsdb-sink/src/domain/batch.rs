//! What is stored in one database transaction: rows in the form in which they are sent, and the offsets that they reach.

use super::calendar::Partition;
use super::copy::{self, Fields, Unstorable};
use super::description::Description;
use super::offsets::{Place, Slice};
use super::table::Table;
use rustc_hash::{FxBuildHasher, FxHashMap};
use schema::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// How rows get into their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Appended by COPY.
    Plain,
    /// By way of the session's own table, since they may replace rows.
    Merge,
}

/// One row of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    start: usize,
    /// Where `gpu_id` stands.
    gpu_id_at: usize,
    gpu: usize,
    slice: usize,
    offset: i64,
}

/// Rows of one table, in COPY's binary format without header and trailer.
#[derive(Clone, Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    index: Vec<Row>,
    fields: i16,
}

impl Rows {
    fn new(table: Table) -> Self {
        Self {
            bytes: Vec::new(),
            index: Vec::new(),
            fields: i16::try_from(table.columns().len()).unwrap_or(i16::MAX),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The rows that are left when of each slice only records from an offset on count.
    pub fn kept(&self, from: &[i64]) -> Vec<usize> {
        (0..self.index.len())
            .filter(|row| self.index[*row].offset >= from[self.index[*row].slice])
            .collect()
    }

    /// The bytes of `rows` (ascending) in as few pieces as possible.
    pub fn pieces(&self, rows: &[usize]) -> Vec<&[u8]> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for row in rows {
            let start = self.index[*row].start;
            let end = self
                .index
                .get(row + 1)
                .map_or(self.bytes.len(), |next| next.start);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges.into_iter().map(|range| &self.bytes[range]).collect()
    }

    /// The slice and the offset of the record that `row` was made of.
    pub fn origin(&self, row: usize) -> (usize, i64) {
        (self.index[row].slice, self.index[row].offset)
    }

    fn set_gpu_ids(&mut self, ids: &[i32]) {
        for row in &self.index {
            copy::set_int4(&mut self.bytes, row.gpu_id_at, ids[row.gpu]);
        }
    }

    fn clear(&mut self, max_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(max_bytes);
        self.index.clear();
    }
}

/// A GPU that rows refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its UUID.
    pub uuid: Box<str>,
    /// The last that a reading of this batch said about it, and the reading's event time.
    pub description: Option<(Timestamp, Description)>,
}

/// A dead letter that waits for the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The slice of the record.
    pub slice: usize,
    /// The record's offset.
    pub offset: i64,
    /// The key to produce it under.
    pub key: Option<Vec<u8>>,
    /// The dead letter as JSON.
    pub value: Vec<u8>,
    /// The label of its metric.
    pub code: &'static str,
}

/// How many records a slice has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All, those without a row included.
    pub records: u64,
    /// Those that carry stream time only.
    pub ticks: u64,
}

/// One transaction's worth of records.
#[derive(Debug)]
pub struct Batch {
    plain: [Rows; Table::ALL.len()],
    merge: [Rows; Table::ALL.len()],
    slices: Vec<Slice>,
    counts: Vec<Counts>,
    slice_of: BTreeMap<Place, usize>,
    gpus: Vec<Gpu>,
    gpu_of: FxHashMap<Box<str>, usize>,
    partitions: BTreeSet<Partition>,
    letters: Vec<Letter>,
    letter_bytes: usize,
    records: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            plain: Table::ALL.map(Rows::new),
            merge: Table::ALL.map(Rows::new),
            slices: Vec::new(),
            counts: Vec::new(),
            slice_of: BTreeMap::new(),
            gpus: Vec::new(),
            gpu_of: FxHashMap::with_hasher(FxBuildHasher),
            partitions: BTreeSet::new(),
            letters: Vec::new(),
            letter_bytes: 0,
            records: 0,
        }
    }
}

impl Batch {
    /// Empties it; buffers are kept up to `max_bytes` each.
    pub fn clear(&mut self, max_bytes: usize) {
        for rows in self.plain.iter_mut().chain(&mut self.merge) {
            rows.clear(max_bytes);
        }
        self.slices.clear();
        self.counts.clear();
        self.slice_of.clear();
        self.gpus.clear();
        self.gpu_of.clear();
        self.partitions.clear();
        self.letters.clear();
        self.letter_bytes = 0;
        self.records = 0;
    }

    /// Whether it holds no record.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Its records, those without a row included.
    pub const fn records(&self) -> usize {
        self.records
    }

    /// About the bytes that are sent.
    pub fn bytes(&self) -> usize {
        let rows = self.plain.iter().chain(&self.merge);
        rows.map(|rows| rows.bytes.len()).sum::<usize>() + self.letter_bytes
    }

    /// The rows of `table` that go that `way`.
    pub const fn rows(&self, table: Table, way: Way) -> &Rows {
        match way {
            Way::Plain => &self.plain[table.index()],
            Way::Merge => &self.merge[table.index()],
        }
    }

    /// Its slices; rows and letters refer to them by their place.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// What the slice with the place `slice` holds.
    pub fn counts(&self, slice: usize) -> Counts {
        self.counts[slice]
    }

    /// The record that came last in `slice` makes no row.
    pub fn tick(&mut self, slice: usize) {
        self.counts[slice].ticks += 1;
    }

    /// The GPUs that its rows refer to.
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    /// The partitions that its rows belong to.
    pub const fn partitions(&self) -> &BTreeSet<Partition> {
        &self.partitions
    }

    /// Its dead letters.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// Takes a record into account: the slice of its partition now reaches beyond it.
    ///
    /// `epoch` and `base` (where reading goes on) count for the first record of a partition. The slice's place is
    /// returned.
    pub fn reach(&mut self, place: Place, epoch: i64, base: Option<i64>, offset: i64) -> usize {
        self.records += 1;
        let index = *self.slice_of.entry(place).or_insert_with(|| {
            self.slices.push(Slice {
                place,
                epoch,
                base,
                end: offset,
            });
            self.counts.push(Counts::default());
            self.slices.len() - 1
        });
        self.slices[index].end = offset + 1;
        self.counts[index].records += 1;
        index
    }

    /// Forgets the records of a partition that somebody else stores now.
    ///
    /// Its slice stays, with an epoch that no claim has, so that nothing of it is stored.
    pub fn abandon(&mut self, place: Place) {
        if let Some(index) = self.slice_of.remove(&place) {
            self.slices[index].epoch = NO_EPOCH;
        }
    }

    /// The place of the GPU `uuid` among [`Batch::gpus`].
    pub fn gpu(&mut self, uuid: &str) -> usize {
        if let Some(index) = self.gpu_of.get(uuid) {
            return *index;
        }
        let index = self.gpus.len();
        self.gpus.push(Gpu {
            uuid: uuid.into(),
            description: None,
        });
        self.gpu_of.insert(uuid.into(), index);
        index
    }

    /// What a reading of the time `at` says about a GPU; the latest holds.
    pub fn describe(&mut self, gpu: usize, at: Timestamp, description: Description) {
        let known = &mut self.gpus[gpu].description;
        if known.as_ref().is_none_or(|(before, _)| *before <= at) {
            *known = Some((at, description));
        }
    }

    /// Adds a row for `table`. When `write` fails, nothing is added.
    ///
    /// The first two columns of every table, time and `gpu_id`, are written here.
    pub fn add(
        &mut self,
        (table, way): (Table, Way),
        (slice, offset): (usize, i64),
        (time, gpu): (Timestamp, usize),
        write: impl FnOnce(&mut Fields<'_>) -> Result<(), Unstorable>,
    ) -> Result<(), Unstorable> {
        let rows = match way {
            Way::Plain => &mut self.plain[table.index()],
            Way::Merge => &mut self.merge[table.index()],
        };
        let start = rows.bytes.len();
        let mut fields = Fields::begin(&mut rows.bytes, rows.fields);
        let begin = || {
            fields.time(table.time_column(), Some(time))?;
            let gpu_id_at = fields.int4_later();
            write(&mut fields)?;
            Ok(gpu_id_at)
        };
        match begin() {
            Ok(gpu_id_at) => {
                rows.index.push(Row {
                    start,
                    gpu_id_at,
                    gpu,
                    slice,
                    offset,
                });
                self.partitions.insert(Partition::of(table, time));
                Ok(())
            }
            Err(error) => {
                rows.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Adds a dead letter.
    pub fn give_up(&mut self, letter: Letter) {
        self.letter_bytes += letter.value.len();
        self.letters.push(letter);
    }

    /// Puts the database's numbers for [`Batch::gpus`] into the rows.
    pub fn set_gpu_ids(&mut self, ids: &[i32]) {
        for rows in self.plain.iter_mut().chain(&mut self.merge) {
            rows.set_gpu_ids(ids);
        }
    }
}

/// Epochs count from 1.
const NO_EPOCH: i64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        table: Table::Scores,
        partition: 4,
    };

    fn add(batch: &mut Batch, offset: i64, uuid: &str, text: &str) -> Result<(), Unstorable> {
        let slice = batch.reach(PLACE, 1, Some(10), offset);
        let gpu = batch.gpu(uuid);
        batch.add(
            (Table::Scores, Way::Merge),
            (slice, offset),
            (Timestamp::from_millis(offset), gpu),
            |fields| fields.text("t", Some(text)),
        )
    }

    #[test]
    fn a_row_that_fails_leaves_nothing_and_its_offset_counts() {
        let mut batch = Batch::default();
        add(&mut batch, 12, "GPU-1", "a").unwrap();
        let bytes = batch.bytes();
        assert!(add(&mut batch, 15, "GPU-1", "\0").is_err());
        assert_eq!(batch.bytes(), bytes);
        assert_eq!(batch.records(), 2);
        let slice = batch.slices()[0];
        assert_eq!((slice.base, slice.end), (Some(10), 16));
    }

    #[test]
    fn rows_of_a_stored_prefix_are_left_out_and_the_rest_is_in_few_pieces() {
        let mut batch = Batch::default();
        for offset in 10..20 {
            add(&mut batch, offset, "GPU-1", "x").unwrap();
        }
        let rows = batch.rows(Table::Scores, Way::Merge);
        assert_eq!(rows.kept(&[17]), [7, 8, 9]);
        assert_eq!(rows.origin(7), (0, 17));
        let one = rows.pieces(&[0])[0].len();
        assert_eq!(
            rows.pieces(&rows.kept(&[i64::MIN])),
            [rows.bytes.as_slice()]
        );
        let pieces: Vec<usize> = rows.pieces(&[1, 2, 5]).iter().map(|p| p.len()).collect();
        assert_eq!(pieces, [2 * one, one]);
    }

    #[test]
    fn every_row_gets_the_number_of_its_gpu() {
        let mut batch = Batch::default();
        for (offset, uuid) in [(10, "GPU-1"), (11, "GPU-2"), (12, "GPU-1")] {
            add(&mut batch, offset, uuid, "x").unwrap();
        }
        batch.set_gpu_ids(&[7, 9]);
        let rows = batch.rows(Table::Scores, Way::Merge);
        let ids: Vec<u8> = (0..3)
            .map(|row| rows.bytes[rows.index[row].gpu_id_at + 3])
            .collect();
        assert_eq!(ids, [7, 9, 7]);
    }

    #[test]
    fn an_abandoned_partition_is_stored_by_no_claim_and_may_begin_anew() {
        let mut batch = Batch::default();
        add(&mut batch, 10, "GPU-1", "x").unwrap();
        batch.abandon(PLACE);
        let again = batch.reach(PLACE, 2, Some(10), 10);
        assert_eq!(again, 1);
        assert_eq!(batch.slices()[0].epoch, NO_EPOCH);
        assert_eq!(batch.slices()[1].epoch, 2);
    }

    #[test]
    fn the_latest_description_holds() {
        let mut batch = Batch::default();
        let gpu = batch.gpu("GPU-1");
        let late = Description::default();
        batch.describe(gpu, Timestamp::from_millis(5), late.clone());
        batch.describe(gpu, Timestamp::from_millis(4), Description::default());
        let (at, _) = batch.gpus()[gpu].description.clone().unwrap();
        assert_eq!(at, Timestamp::from_millis(5));
    }
}
