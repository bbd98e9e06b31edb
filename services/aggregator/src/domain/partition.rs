//! The windows of one input partition.
//!
//! Nothing here is destroyed before a commit: closing a window only moves a watermark, and readings beyond correction
//! are folded away when the transaction stands. So an abort takes back what was added, in reverse, and puts the
//! watermarks back.

mod restore;
mod settle;

pub use self::restore::RestoreError;
use self::restore::Restoring;
use self::settle::Settling;
use super::block::Mark;
use super::column::TRACKED;
use super::fold::Fold;
use super::gpu::{Gpu, WindowKey};
use super::journal::{Journal, Log};
use super::reading::Reading;
use super::render::Renderer;
use super::row::Row;
use super::snapshot::{self, GpuRecord, PartitionRecord};
use super::window::{MINUTE_MS, Watermarks, Windows, quarter_end, start_of};
use rustc_hash::FxHashMap;
use schema::WindowSize;
use std::collections::BTreeMap;

/// A window's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission<'a> {
    /// The window's size.
    pub size: WindowSize,
    /// The GPU.
    pub gpu_uuid: &'a str,
    /// The result, a [`schema::WindowAggregate`].
    pub json: &'a [u8],
    /// It corrects a window that was closed before.
    pub is_correction: bool,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in an open window.
    OnTime,
    /// Its minute was closed, and is corrected.
    Corrected,
    /// Its minute is beyond correction.
    TooLate {
        /// The end of that minute.
        window_end: i64,
        /// Up to here windows are beyond correction.
        settled: i64,
    },
}

/// Memory for one reading or window at a time; one serves all partitions of a worker.
#[derive(Clone, Debug)]
pub struct Workspace {
    fold: Fold,
    renderer: Renderer,
    json: Vec<u8>,
    encoded: Vec<u8>,
}

impl Workspace {
    /// For these windows.
    pub fn new(windows: &Windows) -> Self {
        Self {
            fold: Fold::new(windows.forget_after_ms),
            renderer: Renderer::default(),
            json: Vec::new(),
            encoded: Vec::new(),
        }
    }
}

/// The state of one input partition.
#[derive(Debug)]
pub struct Partition {
    windows: Windows,
    now: Watermarks,
    /// As of the last commit.
    committed: Watermarks,
    gpus: Vec<Option<Gpu>>,
    free: Vec<u32>,
    by_uuid: FxHashMap<Box<str>, u32>,
    /// GPUs with readings in a minute that was open at the last commit, by the minute's end.
    minutes: BTreeMap<i64, Vec<u32>>,
    /// GPUs with readings in a quarter, by the quarter's end.
    quarters: BTreeMap<i64, Vec<u32>>,
    /// GPUs without readings, by when they can be forgotten.
    expiries: BTreeMap<i64, Vec<u32>>,
    undo: Vec<Undo>,
    /// GPUs whose record must be written again.
    changed: Vec<u32>,
    journal: Journal,
    settling: Settling,
    restoring: Restoring,
    is_touched: bool,
}

/// What takes back one change.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Gpu(u32),
    Label(u32),
    Row {
        gpu: u32,
        start: i64,
        mark: Option<Mark>,
    },
    Minute(i64),
    Quarter(i64),
    Revision {
        gpu: u32,
        window: WindowKey,
        before: u32,
    },
}

impl Partition {
    /// Nothing yet.
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            now: Watermarks::START,
            committed: Watermarks::START,
            gpus: Vec::new(),
            free: Vec::new(),
            by_uuid: FxHashMap::default(),
            minutes: BTreeMap::new(),
            quarters: BTreeMap::new(),
            expiries: BTreeMap::new(),
            undo: Vec::new(),
            changed: Vec::new(),
            journal: Journal::default(),
            settling: Settling::default(),
            restoring: Restoring::default(),
            is_touched: false,
        }
    }

    /// Time has come to `ingest`: closes the windows that this completes, earliest end first, minutes before quarters,
    /// then by GPU.
    pub fn advance(
        &mut self,
        ingest: i64,
        work: &mut Workspace,
        emit: &mut dyn FnMut(Emission<'_>),
    ) {
        self.finish_restore();
        self.is_touched = true;
        let before = self.now.closed;
        self.now.advance(ingest, &self.windows);
        let closed = self.now.closed;
        let is_due = |windows: &BTreeMap<i64, Vec<u32>>| {
            windows
                .range(before.saturating_add(1)..=closed)
                .next()
                .is_some()
        };
        if before == closed || !(is_due(&self.minutes) || is_due(&self.quarters)) {
            return;
        }
        let mut due: Vec<(WindowKey, u32)> = Vec::new();
        for (windows, size) in [
            (&self.minutes, WindowSize::OneMinute),
            (&self.quarters, WindowSize::FifteenMinutes),
        ] {
            for (end, gpus) in windows.range(before.saturating_add(1)..=closed) {
                due.extend(gpus.iter().map(|gpu| ((*end, size), *gpu)));
            }
        }
        due.sort_by(|(a_window, a), (b_window, b)| {
            a_window
                .cmp(b_window)
                .then_with(|| self.uuid(*a).cmp(self.uuid(*b)))
        });
        for (window, gpu) in due {
            if let Some(gpu) = &self.gpus[gpu as usize] {
                work.json.clear();
                render(gpu, window, 0, work);
                emit(Emission {
                    size: window.1,
                    gpu_uuid: &gpu.uuid,
                    json: &work.json,
                    is_correction: false,
                });
            }
        }
    }

    /// Applies one reading, whose numbers are `row`.
    pub fn apply(
        &mut self,
        reading: &Reading<'_>,
        row: &Row,
        work: &mut Workspace,
        emit: &mut dyn FnMut(Emission<'_>),
    ) -> Applied {
        self.advance(reading.ingest, work, emit);
        let start = start_of(reading.time, MINUTE_MS);
        let minute = (start + MINUTE_MS, WindowSize::OneMinute);
        if minute.0 <= self.now.settled {
            return Applied::TooLate {
                window_end: minute.0,
                settled: self.now.settled,
            };
        }
        let number = self.gpu_number(&reading.gpu_uuid);
        if minute.0 > self.now.closed {
            self.append(number, start, reading, row, work);
            return Applied::OnTime;
        }
        self.correct(number, minute, reading, row, work, emit);
        Applied::Corrected
    }

    /// GPUs that are known.
    pub fn gpus(&self) -> usize {
        self.by_uuid.len() + self.restoring.len()
    }

    /// Windows that have readings and are not closed.
    pub fn open_windows(&self) -> usize {
        let open = |windows: &BTreeMap<i64, Vec<u32>>| -> usize {
            windows
                .range(self.now.closed.saturating_add(1)..)
                .map(|(_, gpus)| gpus.len())
                .sum()
        };
        open(&self.minutes) + open(&self.quarters)
    }

    /// Journal segments that are kept.
    pub fn segments(&self) -> usize {
        self.journal.segments()
    }

    /// Writes what changed since the last commit.
    pub fn flush(&mut self, log: &mut impl Log) {
        if !std::mem::take(&mut self.is_touched) {
            return;
        }
        self.journal.flush(log);
        let folded_to = self.folded_to();
        self.journal.delete(folded_to, log);
        self.settle(log);
        for number in &self.changed {
            if let Some(gpu) = &self.gpus[*number as usize]
                && !self.settling.has(*number)
            {
                log.put(
                    &snapshot::gpu_key(&gpu.uuid),
                    &snapshot::write(&GpuRecord::of(gpu)),
                );
            }
        }
        let segments = self.journal.open_segments();
        if self.now != self.committed || segments > 0 {
            let next = self.journal.next + segments;
            let record = PartitionRecord::new(self.now, next);
            log.put(snapshot::PARTITION_KEY, &snapshot::write(&record));
        }
    }

    /// The transaction of the last flush is committed.
    pub fn committed(&mut self) {
        self.undo.clear();
        self.changed.clear();
        self.journal.committed();
        let open = self.minutes.split_off(&self.now.closed.saturating_add(1));
        for (end, gpus) in std::mem::replace(&mut self.minutes, open) {
            for gpu in gpus {
                if let Some(gpu) = &mut self.gpus[gpu as usize]
                    && let Ok(at) = gpu.block_at(end - MINUTE_MS)
                {
                    gpu.blocks[at].shrink();
                }
            }
        }
        self.settled();
        self.committed = self.now;
        self.is_touched = false;
    }

    /// The transaction was aborted.
    pub fn aborted(&mut self) {
        while let Some(undo) = self.undo.pop() {
            self.take_back(undo);
        }
        self.changed.clear();
        self.journal.aborted();
        self.settling = Settling::default();
        self.now = self.committed;
        self.is_touched = false;
    }

    fn take_back(&mut self, undo: Undo) {
        let pop = |windows: &mut BTreeMap<i64, Vec<u32>>, end: i64| {
            if let Some(gpus) = windows.get_mut(&end) {
                gpus.pop();
                if gpus.is_empty() {
                    windows.remove(&end);
                }
            }
        };
        match undo {
            Undo::Gpu(number) => {
                if let Some(gpu) = self.gpus[number as usize].take() {
                    self.by_uuid.remove(&gpu.uuid);
                    self.free.push(number);
                }
            }
            Undo::Label(number) => {
                if let Some(gpu) = &mut self.gpus[number as usize] {
                    gpu.undo_label();
                }
            }
            Undo::Row { gpu, start, mark } => {
                if let Some(gpu) = &mut self.gpus[gpu as usize] {
                    gpu.undo_append(start, mark);
                }
            }
            Undo::Minute(end) => pop(&mut self.minutes, end),
            Undo::Quarter(end) => pop(&mut self.quarters, end),
            Undo::Revision {
                gpu,
                window,
                before,
            } => {
                if let Some(gpu) = &mut self.gpus[gpu as usize] {
                    if before == 0 {
                        gpu.revisions.remove(&window);
                    } else {
                        gpu.revisions.insert(window, before);
                    }
                }
            }
        }
    }

    fn uuid(&self, number: u32) -> &str {
        self.gpus[number as usize]
            .as_ref()
            .map_or("", |gpu| &gpu.uuid)
    }

    fn gpu_number(&mut self, uuid: &str) -> u32 {
        if let Some(number) = self.by_uuid.get(uuid) {
            return *number;
        }
        let number = self.insert(Gpu::new(uuid, self.now.settled));
        self.undo.push(Undo::Gpu(number));
        number
    }

    fn insert(&mut self, gpu: Gpu) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "4 billion GPUs would not fit into memory"
            )]
            let number = self.gpus.len() as u32;
            self.gpus.push(None);
            number
        });
        self.by_uuid.insert(gpu.uuid.clone(), number);
        self.gpus[number as usize] = Some(gpu);
        number
    }

    fn append(
        &mut self,
        number: u32,
        start: i64,
        reading: &Reading<'_>,
        row: &Row,
        work: &mut Workspace,
    ) {
        let Some(gpu) = &mut self.gpus[number as usize] else {
            return;
        };
        let (labels, is_new) = gpu.label(&reading.labels);
        if is_new {
            self.undo.push(Undo::Label(number));
            self.changed.push(number);
        }
        let quarter = quarter_end(start);
        let is_new_minute = gpu.block_at(start).is_err();
        let is_new_quarter = is_new_minute && !gpu.has_quarter(quarter);
        // The journal's number is taken out meanwhile, since the row it writes is borrowed from the GPU.
        let mut journal_number = gpu.journal_number;
        let uuid = std::mem::take(&mut gpu.uuid);
        let (mark, framed) = gpu.append(start, labels, reading, row, &mut work.encoded);
        self.journal.row(&uuid, &mut journal_number, start, framed);
        gpu.uuid = uuid;
        gpu.journal_number = journal_number;
        self.undo.push(Undo::Row {
            gpu: number,
            start,
            mark,
        });
        let minute_end = start + MINUTE_MS;
        if is_new_minute && minute_end > self.now.closed {
            self.minutes.entry(minute_end).or_default().push(number);
            self.undo.push(Undo::Minute(minute_end));
        }
        if is_new_quarter {
            self.quarters.entry(quarter).or_default().push(number);
            self.undo.push(Undo::Quarter(quarter));
        }
    }

    /// Puts a reading into a closed minute, and emits again what this changes: the minute, closed minutes whose increments
    /// or Xids were held against a reading before it, and the closed quarters of all these.
    fn correct(
        &mut self,
        number: u32,
        minute: WindowKey,
        reading: &Reading<'_>,
        row: &Row,
        work: &mut Workspace,
        emit: &mut dyn FnMut(Emission<'_>),
    ) {
        let start = minute.0 - MINUTE_MS;
        let closed = self.now.closed;
        let mut windows = vec![minute];
        if let Some(gpu) = &self.gpus[number as usize] {
            let later = gpu.successors(start, row.mask & TRACKED, closed);
            windows.extend(later.into_iter().map(|end| (end, WindowSize::OneMinute)));
        }
        let mut quarters: Vec<WindowKey> = windows
            .iter()
            .map(|(end, _)| (quarter_end(end - MINUTE_MS), WindowSize::FifteenMinutes))
            .filter(|(end, _)| *end <= closed)
            .collect();
        quarters.dedup();
        windows.extend(quarters);
        let before: Vec<Vec<u8>> = windows
            .iter()
            .map(|window| {
                work.json.clear();
                if let Some(gpu) = &self.gpus[number as usize]
                    && !gpu.blocks_of(*window).is_empty()
                {
                    render(gpu, *window, gpu.revision(*window), work);
                }
                work.json.clone()
            })
            .collect();
        self.append(number, start, reading, row, work);
        let Some(gpu) = &mut self.gpus[number as usize] else {
            return;
        };
        for (window, before) in windows.into_iter().zip(before) {
            let revision = gpu.revision(window);
            work.json.clear();
            render(gpu, window, revision, work);
            if work.json == before {
                continue;
            }
            self.undo.push(Undo::Revision {
                gpu: number,
                window,
                before: revision,
            });
            let revision = revision + 1;
            gpu.revisions.insert(window, revision);
            self.journal
                .revision(&gpu.uuid, &mut gpu.journal_number, window, revision);
            work.json.clear();
            render(gpu, window, revision, work);
            emit(Emission {
                size: window.1,
                gpu_uuid: &gpu.uuid,
                json: &work.json,
                is_correction: true,
            });
        }
    }
}

fn render(gpu: &Gpu, window: WindowKey, revision: u32, work: &mut Workspace) {
    let blocks = gpu.blocks_of(window);
    work.fold
        .window(&gpu.blocks, blocks, &gpu.base, &gpu.labels);
    work.renderer
        .window(&mut work.json, gpu, window, revision, &mut work.fold);
}

#[cfg(test)]
mod tests;
