//! The stage: enriched records in, health scores and dead letters out.

use crate::SERVICE;
use crate::domain::SCORING_VERSION;
use crate::domain::absence::{self, Blame};
use crate::domain::apply::apply;
use crate::domain::clock::Clock;
use crate::domain::dead_letter::{Original, Unreadable, dead_letter, short_key};
use crate::domain::index::{Census, Index};
use crate::domain::judge::judge;
use crate::domain::limits::seconds_ms;
use crate::domain::reading::Reading;
use crate::domain::rules::Rules;
use crate::domain::state::GpuState;
use crate::metrics::{Series, Tally};
use chassis::{Changelog, Outbox, Output, Record, RestoreError, Stage, Table, TableValue, Task};
use schema::Tick;
use std::sync::Arc;
use tracing::{debug, error};

/// `gpu-health-scores`
pub const HEALTH_SCORES: Output = Output(0);
/// `gpu-metrics-invalid`
pub const INVALID: Output = Output(1);

/// The changelog's key of a partition's clock. No GPU has it: a GPU's key begins with a printable character.
const CLOCK_KEY: &[u8] = b"\0clock";
/// The layout of a stored clock.
const CLOCK_VERSION: u8 = 1;

/// Silences and heartbeats that one record may bring to an end; the rest waits for the next record. After a jump of
/// stream time all of them are due at once, and no transaction shall grow with the fleet.
const MAX_DUE_PER_RECORD: usize = 256;

impl TableValue for GpuState {
    const VERSION: u8 = 1;
}

/// Scores GPUs. What belongs to one partition is in its task.
#[derive(Debug)]
pub struct Scorer {
    rules: Arc<Rules>,
    series: Arc<Series>,
}

/// The GPUs of one partition.
#[derive(Debug)]
pub struct ScorerTask {
    gpus: Table<GpuState>,
    clock: Clock,
    committed_clock: Clock,
    /// Built from `gpus` when a record comes; none after a restore or an abort.
    index: Option<Index>,
    /// What the gauges show of this partition.
    shown: Census,
    tally: Tally,
    series: Arc<Series>,
}

enum Input<'a> {
    Tick(Tick),
    Reading(&'a str, Box<Reading<'a>>),
}

impl Scorer {
    /// Scores by `rules`.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            series: Arc::new(Series::register()),
        }
    }

    fn apply(&self, task: &mut ScorerTask, input: &Input<'_>, out: &mut Outbox) {
        let limits = &self.rules.limits;
        let mut index = task
            .index
            .take()
            .unwrap_or_else(|| task.build_index(&self.rules));
        let time = match input {
            Input::Tick(tick) => tick.validation_timestamp,
            Input::Reading(_, reading) => reading.validation_timestamp,
        };
        let max_step_ms = seconds_ms(limits.absence.max_step_s);
        task.clock.advance(time.as_millis(), max_step_ms);
        match input {
            Input::Tick(_) => task.tally.ticks += 1,
            Input::Reading(gpu_uuid, reading) => {
                let clock = task.clock;
                let state = task
                    .gpus
                    .get_or_insert_with(gpu_uuid.as_bytes(), || GpuState::new(clock));
                let order = apply(state, reading, clock, limits);
                task.tally.reading(order);
                self.judge(task, &mut index, gpu_uuid, out);
            }
        }
        // The record's own GPU comes first: its reading ends a silence that would be due by the same record.
        self.fire(task, &mut index, out);
        task.index = Some(index);
    }

    fn fire(&self, task: &mut ScorerTask, index: &mut Index, out: &mut Outbox) {
        let limits = &self.rules.limits;
        for _ in 0..MAX_DUE_PER_RECORD {
            let clock = task.clock;
            if let Some(key) = index.silent(clock.watched_ms) {
                let Some(gpu_uuid) = uuid(&key) else { return };
                let blame = task.blame(index, &key, &self.rules);
                if let Some(state) = task.gpus.get_mut(&key) {
                    absence::declare_lost(state, blame, clock, limits);
                    task.tally.lost(blame);
                }
                self.judge(task, index, gpu_uuid, out);
            } else if let Some(key) = index.heartbeat(clock.stream_ms) {
                let Some(gpu_uuid) = uuid(&key) else { return };
                let state = task.gpus.get(&key);
                if state.is_some_and(|state| absence::is_forgotten(state, clock, limits)) {
                    debug!(gpu_uuid, "forgotten");
                    task.gpus.remove(&key);
                    index.remove(&key);
                    task.tally.forgotten += 1;
                } else {
                    self.judge(task, index, gpu_uuid, out);
                }
            } else {
                return;
            }
        }
    }

    fn judge(&self, task: &mut ScorerTask, index: &mut Index, gpu_uuid: &str, out: &mut Outbox) {
        let key = gpu_uuid.as_bytes();
        let Some(state) = task.gpus.get_mut(key) else {
            index.remove(key);
            return;
        };
        let judged = judge(gpu_uuid, state, task.clock, &self.rules);
        index.set(key, state, &self.rules.limits);
        let Some((score, cause)) = judged else { return };
        debug!(
            gpu_uuid,
            overall = score.overall_score,
            state = ?score.state,
            cause = cause.name(),
            "score"
        );
        let partition = out.co_partition(HEALTH_SCORES);
        let sent = out.send_with(HEALTH_SCORES, partition, Some(key), |buffer| {
            serde_json::to_writer(buffer, &score)
        });
        match sent {
            Ok(()) => task.tally.published(cause),
            // Strings and numbers are always written; should that ever change, the log still has it.
            Err(error) => error!(%error, gpu_uuid, "score not written"),
        }
    }

    fn give_up(task: &mut ScorerTask, record: &Record<'_>, reason: &Unreadable, out: &mut Outbox) {
        task.tally.dead_letter(reason);
        let original = Original {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
        };
        let letter = dead_letter(SERVICE.name, SCORING_VERSION, &original, reason);
        let partition = out.co_partition(INVALID);
        let sent = out.send_with(INVALID, partition, short_key(record.key), |buffer| {
            serde_json::to_writer(buffer, &letter)
        });
        if let Err(error) = sent {
            error!(%error, topic = record.topic, partition = record.partition, offset = record.offset, "dead letter not written");
        }
    }
}

impl Stage for Scorer {
    type Task = ScorerTask;

    fn open(&mut self, _partition: i32) -> ScorerTask {
        ScorerTask {
            gpus: Table::new(),
            clock: Clock::default(),
            committed_clock: Clock::default(),
            index: None,
            shown: Census::default(),
            tally: Tally::default(),
            series: Arc::clone(&self.series),
        }
    }

    fn process(&mut self, task: &mut ScorerTask, record: &Record<'_>, out: &mut Outbox) {
        match read(record) {
            Ok(input) => self.apply(task, &input, out),
            Err(reason) => Self::give_up(task, record, &reason, out),
        }
    }
}

impl ScorerTask {
    /// The state of the GPU `gpu_uuid`.
    pub fn gpu(&self, gpu_uuid: &str) -> Option<&GpuState> {
        self.gpus.get(gpu_uuid.as_bytes())
    }

    /// The partition's time.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    fn build_index(&self, rules: &Rules) -> Index {
        let mut index = Index::default();
        for key in self.gpus.sorted_keys() {
            if let Some(state) = self.gpus.get(&key) {
                index.set(&key, state, &rules.limits);
            }
        }
        index
    }

    fn blame(&self, index: &Index, key: &[u8], rules: &Rules) -> Blame {
        let Some(state) = self.gpus.get(key) else {
            return Blame::Unknown;
        };
        let allowed_ms = state
            .silence_due_ms(&rules.limits)
            .map_or(0, |due_ms| due_ms - state.last_seen_watched_ms());
        let siblings = index
            .siblings(key)
            .filter_map(|sibling| self.gpus.get(sibling))
            .map(GpuState::last_seen_watched_ms);
        Blame::of(state.last_seen_watched_ms(), allowed_ms, siblings)
    }
}

impl Task for ScorerTask {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RestoreError> {
        self.index = None;
        if key != CLOCK_KEY {
            return self.gpus.restore(key, value);
        }
        let clock = match value {
            None => Clock::default(),
            Some([CLOCK_VERSION, body @ ..]) => postcard::from_bytes(body)
                .map_err(|error| RestoreError::new(format!("the clock can't be read: {error}")))?,
            Some(other) => {
                let version = other.first().copied().unwrap_or(0);
                return Err(RestoreError::new(format!(
                    "the clock was written with layout version {version}, this binary reads version {CLOCK_VERSION}"
                )));
            }
        };
        (self.clock, self.committed_clock) = (clock, clock);
        Ok(())
    }

    fn flush(&mut self, changelog: &mut Changelog) {
        self.gpus.flush(changelog);
        if self.clock != self.committed_clock {
            changelog.put_with(CLOCK_KEY, |buffer| {
                buffer.push(CLOCK_VERSION);
                // Two numbers are always written.
                drop(postcard::to_io(&self.clock, buffer));
            });
        }
    }

    fn committed(&mut self) {
        self.gpus.committed();
        self.committed_clock = self.clock;
        self.series.add(&self.tally);
        self.tally = Tally::default();
        if let Some(index) = &self.index {
            let now = index.census();
            self.series.show(&self.shown, &now);
            self.shown = now;
        }
    }

    fn aborted(&mut self) {
        self.gpus.aborted();
        self.clock = self.committed_clock;
        self.tally = Tally::default();
        self.index = None;
    }

    fn entries(&self) -> usize {
        self.gpus.len()
    }
}

/// A partition that goes takes its GPUs out of the gauges.
impl Drop for ScorerTask {
    fn drop(&mut self) {
        self.series.show(&self.shown, &Census::default());
    }
}

fn read<'a>(record: &Record<'a>) -> Result<Input<'a>, Unreadable> {
    let value = record.value.ok_or(Unreadable::NoValue)?;
    let Some(key) = record.key else {
        let tick = serde_json::from_slice(value).map_err(|_| Unreadable::NotATick)?;
        return Ok(Input::Tick(tick));
    };
    let gpu_uuid = uuid(key).ok_or(Unreadable::BadKey)?;
    let reading = Reading::parse(value).map_err(|why| Unreadable::NotAReading(why.to_string()))?;
    Ok(Input::Reading(gpu_uuid, Box::new(reading)))
}

fn uuid(key: &[u8]) -> Option<&str> {
    let is_printable = key.first().is_some_and(u8::is_ascii_graphic);
    str::from_utf8(key).ok().filter(|_| is_printable)
}

#[cfg(test)]
mod tests;
