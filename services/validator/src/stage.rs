//! The stage: raw records in, validated records, dead letters and ticks out.

use crate::config::TicksConfig;
use crate::domain::RULES_VERSION;
use crate::domain::flags::Flags;
use crate::domain::ingest::Ingest;
use crate::domain::judge::{Judge, Raw, Verdict};
use crate::domain::ledger::Ledger;
use crate::domain::limits::Limits;
use crate::domain::reason::{Code, Reasons};
use crate::letter;
use crate::metrics::{Counters, Tally};
use chassis::{Changelog, Outbox, Output, Record, RestoreError, Stage, Task};
use schema::topic::ORIGINAL_APPEND_TIME;
use schema::{NotAnObject, Source, Tick, Timestamp, partition_for, splice_into};
use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;
use tracing::debug;

/// Validated records and ticks.
pub const VALIDATED: Output = Output(0);
/// Dead letters.
pub const INVALID: Output = Output(1);

/// Judges each record of a partition.
#[derive(Debug)]
pub struct Validator {
    judge: Judge,
    members: Members,
    ticks: TicksConfig,
    forget_after_ms: i64,
    counters: Arc<Counters>,
}

/// The state of one partition.
#[derive(Debug)]
pub struct ValidatorTask {
    ledger: Ledger,
    tally: Tally,
    counters: Arc<Counters>,
}

impl Validator {
    /// Judges by `limits`; see [`crate::config::Config`] for the rest.
    pub fn new(limits: Limits, ticks: TicksConfig, forget_after_ms: i64) -> Self {
        Self {
            judge: Judge::new(limits),
            members: Members::default(),
            ticks,
            forget_after_ms,
            counters: Arc::new(Counters::register()),
        }
    }

    fn give_up(
        &self,
        task: &mut ValidatorTask,
        record: &Record<'_>,
        ingest: Ingest,
        reasons: Reasons,
        out: &mut Outbox,
    ) {
        task.tally.dead_letters += 1;
        for code in reasons.codes() {
            task.tally.reasons[code as usize] += 1;
        }
        let key = letter::key(record.key);
        let partition = record.key.map_or_else(
            || out.co_partition(INVALID),
            |key| partition_for(key, out.partitions(INVALID)),
        );
        let source = Source {
            topic: record.topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
        };
        let value = record.value.unwrap_or_default();
        let dead_letter = letter::dead_letter(source, ingest.at_ms, record.key, value, reasons);
        debug!(
            partition = record.partition,
            offset = record.offset,
            reasons = ?dead_letter.validation_errors,
            "dead letter"
        );
        let written = out.send_with(INVALID, partition, key, |buffer| {
            serde_json::to_writer(buffer, &dead_letter)
        });
        debug_assert!(written.is_ok(), "a dead letter is always JSON");
        // Records that all fail must not stop time for the other GPUs of the partition.
        if !ingest.header_is_bad {
            self.tick(task, ingest.at_ms, self.ticks.margin_ms, out);
        }
    }

    /// Writes a tick a margin behind `now_ms`, if that is at least `step_ms` ahead of stream time.
    fn tick(&self, task: &mut ValidatorTask, now_ms: i64, step_ms: i64, out: &mut Outbox) {
        let at_ms = now_ms.saturating_sub(self.ticks.margin_ms);
        let is_due = task
            .ledger
            .stream_time_ms()
            .is_none_or(|stream_time_ms| at_ms.saturating_sub(stream_time_ms) >= step_ms);
        if !is_due {
            return;
        }
        let tick = Tick::at(Timestamp::from_millis(at_ms));
        let written = out.send_with(VALIDATED, out.co_partition(VALIDATED), None, |buffer| {
            serde_json::to_writer(buffer, &tick)
        });
        if written.is_ok() {
            task.ledger.advance(at_ms);
            task.tally.ticks += 1;
        }
    }
}

impl Stage for Validator {
    type Task = ValidatorTask;

    fn open(&mut self, _partition: i32) -> ValidatorTask {
        ValidatorTask {
            ledger: Ledger::new(self.forget_after_ms),
            tally: Tally::default(),
            counters: Arc::clone(&self.counters),
        }
    }

    fn process(&mut self, task: &mut ValidatorTask, record: &Record<'_>, out: &mut Outbox) {
        let ingest = Ingest::of(
            record.timestamp_ms,
            record.headers.get(ORIGINAL_APPEND_TIME),
        );
        let raw = Raw {
            key: record.key,
            value: record.value,
            ingest,
        };
        match self.judge.judge(&raw, &mut task.ledger) {
            Verdict::Invalid(reasons) => self.give_up(task, record, ingest, reasons, out),
            Verdict::Valid {
                gpu_uuid,
                value,
                flags,
            } => {
                let key = gpu_uuid.as_bytes();
                let partition = partition_for(key, out.partitions(VALIDATED));
                let members = self.members.of(ingest.at_ms, flags);
                let spliced = out.send_with(VALIDATED, partition, Some(key), |buffer| {
                    splice_into(&value, members, buffer)
                });
                if let Err(NotAnObject) = spliced {
                    // The judge has read it as an object, so that this can't be; were it so, nothing may be lost.
                    let mut reasons = Reasons::default();
                    reasons.add(Code::NotAnObject, NotAnObject.to_string());
                    return self.give_up(task, record, ingest, reasons, out);
                }
                task.tally.valid += 1;
                task.tally.rewritten += u64::from(matches!(value, Cow::Owned(_)));
                for flag in flags.iter() {
                    task.tally.flags[flag as usize] += 1;
                }
            }
        }
    }

    fn idle(&mut self, task: &mut ValidatorTask, now_ms: i64, out: &mut Outbox) {
        self.tick(task, now_ms, 1, out);
    }
}

impl Task for ValidatorTask {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.ledger
            .restore(key, value)
            .map_err(|reason| RestoreError::new(reason.to_string()))
    }

    fn flush(&mut self, changelog: &mut Changelog) {
        self.ledger.flush(|key, value| match value {
            Some(value) => changelog.put(key, value),
            None => changelog.delete(key),
        });
    }

    fn committed(&mut self) {
        self.ledger.committed();
        self.counters.add(&mut self.tally);
    }

    fn aborted(&mut self) {
        self.ledger.aborted();
        self.tally = Tally::default();
    }

    fn entries(&self) -> usize {
        self.ledger.len()
    }
}

/// The three members that a validated record gets, in one buffer. Records that were appended together have the same time,
/// so that it is written once for all of them.
#[derive(Debug, Default)]
struct Members {
    ingest_ms: Option<i64>,
    /// Where the flags begin.
    flags_from: usize,
    bytes: Vec<u8>,
}

impl Members {
    fn of(&mut self, ingest_ms: i64, flags: Flags) -> &[u8] {
        if self.ingest_ms != Some(ingest_ms) {
            self.bytes.clear();
            let written = write!(
                self.bytes,
                r#""validation_timestamp":"{}","validation_version":"{RULES_VERSION}","quality_flags":["#,
                Timestamp::from_millis(ingest_ms)
            );
            debug_assert!(written.is_ok(), "ingest time is within what can be written");
            self.flags_from = self.bytes.len();
            self.ingest_ms = Some(ingest_ms);
        }
        self.bytes.truncate(self.flags_from);
        flags.write_json(&mut self.bytes);
        self.bytes.push(b']');
        &self.bytes
    }
}
