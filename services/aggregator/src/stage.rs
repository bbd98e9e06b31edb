//! The stage: enriched readings and ticks in, windows and dead letters out.

use crate::domain::journal::Log;
use crate::domain::partition::{Applied, Emission, Partition, Workspace};
use crate::domain::reading;
use crate::domain::row::Row;
use crate::domain::window::Windows;
use crate::letter::{self, Code};
use crate::metrics::{Meters, Tally, place};
use chassis::{Changelog, Outbox, Output, Record, RestoreError, Stage, Task};
use schema::{Tick, Timestamp, WindowSize};
use std::sync::Arc;
use tracing::debug;

/// One-minute windows.
pub const ONE_MINUTE: Output = Output(0);
/// Fifteen-minute windows.
pub const FIFTEEN_MINUTES: Output = Output(1);
/// Dead letters.
pub const INVALID: Output = Output(2);

/// Folds the readings of its partitions.
#[derive(Debug)]
pub struct Aggregator {
    windows: Windows,
    work: Workspace,
    row: Row,
    meters: Arc<Meters>,
}

/// The state of one partition.
#[derive(Debug)]
pub struct AggregatorTask {
    partition: Partition,
    tally: Tally,
    /// As the gauge has it.
    open_windows: usize,
    meters: Arc<Meters>,
}

impl Aggregator {
    /// Closes and corrects as `windows` says.
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            work: Workspace::new(&windows),
            row: Row::EMPTY,
            meters: Arc::new(Meters::register()),
        }
    }

    fn tick(&mut self, task: &mut AggregatorTask, record: &Record<'_>, out: &mut Outbox) {
        let Some(value) = record.value else {
            return missing_value(task, record, out);
        };
        let tick: Tick = match serde_json::from_slice(value) {
            Ok(tick) => tick,
            Err(error) => {
                let message = format!("a record without a key must be a tick: {error}");
                let ingest_ms = record.timestamp_ms;
                return give_up(
                    task,
                    record,
                    ingest_ms,
                    Code::UnreadableTick,
                    None,
                    message,
                    out,
                );
            }
        };
        task.tally.ticks += 1;
        let AggregatorTask {
            partition, tally, ..
        } = task;
        partition.advance(
            tick.validation_timestamp.as_millis(),
            &mut self.work,
            &mut |emission| send(emission, tally, out),
        );
    }

    fn reading(&mut self, task: &mut AggregatorTask, record: &Record<'_>, out: &mut Outbox) {
        let Some(value) = record.value else {
            return missing_value(task, record, out);
        };
        let reading = match reading::parse(value, &mut self.row) {
            Ok(reading) => reading,
            Err(error) => {
                let message = error.to_string();
                let ingest_ms = record.timestamp_ms;
                return give_up(
                    task,
                    record,
                    ingest_ms,
                    Code::UnreadableReading,
                    None,
                    message,
                    out,
                );
            }
        };
        let AggregatorTask {
            partition, tally, ..
        } = task;
        let applied = partition.apply(&reading, &self.row, &mut self.work, &mut |emission| {
            send(emission, tally, out);
        });
        match applied {
            Applied::OnTime => tally.readings += 1,
            Applied::Corrected => {
                tally.readings += 1;
                tally.corrected += 1;
            }
            Applied::TooLate {
                window_end,
                settled,
            } => {
                let message = format!(
                    "its minute ended at {}, and what ended by {} is beyond correction",
                    Timestamp::from_millis(window_end),
                    Timestamp::from_millis(settled)
                );
                let field = Some("timestamp");
                give_up(
                    task,
                    record,
                    reading.ingest,
                    Code::TooLate,
                    field,
                    message,
                    out,
                );
            }
        }
    }
}

fn send(emission: Emission<'_>, tally: &mut Tally, out: &mut Outbox) {
    let output = match emission.size {
        WindowSize::OneMinute => ONE_MINUTE,
        WindowSize::FifteenMinutes => FIFTEEN_MINUTES,
    };
    let counted = if emission.is_correction {
        &mut tally.corrections
    } else {
        &mut tally.emitted
    };
    counted[place(emission.size)] += 1;
    out.send(
        output,
        out.co_partition(output),
        Some(emission.gpu_uuid.as_bytes()),
        Some(emission.json),
    );
}

fn missing_value(task: &mut AggregatorTask, record: &Record<'_>, out: &mut Outbox) {
    let message = "the record has no value".to_owned();
    let ingest_ms = record.timestamp_ms;
    give_up(
        task,
        record,
        ingest_ms,
        Code::MissingValue,
        None,
        message,
        out,
    );
}

fn give_up(
    task: &mut AggregatorTask,
    record: &Record<'_>,
    ingest_ms: i64,
    code: Code,
    field: Option<&str>,
    message: String,
    out: &mut Outbox,
) {
    task.tally.dead_letters[code as usize] += 1;
    debug!(
        partition = record.partition,
        offset = record.offset,
        reason = code.as_str(),
        message,
        "dead letter"
    );
    let letter = letter::dead_letter(record, ingest_ms, code, field, message);
    let partition = out.co_partition(INVALID);
    let written = out.send_with(INVALID, partition, letter::key(record), |buffer| {
        serde_json::to_writer(buffer, &letter)
    });
    debug_assert!(written.is_ok(), "a dead letter is always JSON");
}

impl Stage for Aggregator {
    type Task = AggregatorTask;

    fn open(&mut self, _partition: i32) -> AggregatorTask {
        AggregatorTask {
            partition: Partition::new(self.windows),
            tally: Tally::default(),
            open_windows: 0,
            meters: Arc::clone(&self.meters),
        }
    }

    fn process(&mut self, task: &mut AggregatorTask, record: &Record<'_>, out: &mut Outbox) {
        if record.key.is_none() {
            self.tick(task, record, out);
        } else {
            self.reading(task, record, out);
        }
    }
}

impl Task for AggregatorTask {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.partition
            .restore(key, value)
            .map_err(|error| RestoreError::new(error.to_string()))
    }

    fn flush(&mut self, changelog: &mut Changelog) {
        self.partition.flush(&mut Changes(changelog));
    }

    fn committed(&mut self) {
        self.partition.committed();
        self.meters.add(&mut self.tally);
        let open_windows = self.partition.open_windows();
        self.meters.open_windows(self.open_windows, open_windows);
        self.open_windows = open_windows;
    }

    fn aborted(&mut self) {
        self.partition.aborted();
        self.tally = Tally::default();
    }

    fn entries(&self) -> usize {
        self.partition.gpus()
    }
}

impl Drop for AggregatorTask {
    fn drop(&mut self) {
        self.meters.open_windows(self.open_windows, 0);
    }
}

struct Changes<'a>(&'a mut Changelog);

impl Log for Changes<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }
}
