//! What was seen of one GPU, and whether a reading is a repeat.
//!
//! A reading with `collector.sequence` is known by (`boot_id`, `sequence`): the two most recent collector runs each keep
//! their highest sequence and a window of those behind it, so that records out of order pass and repeats don't. A
//! reading without is known by its event time, of which the last few are kept.

use super::flags::{Flag, Flags};

/// How many sequence numbers, the highest included, a run remembers one by one. What is further behind counts as a
/// repeat: it can't be told from one.
pub const WINDOW: u64 = 64;
/// How many event times are kept of a GPU whose readings carry no sequence.
pub const TIMES: usize = 8;
/// How many collector runs are kept: the current one and the one before it, whose last records may still be on their
/// way (a rolling restart).
pub const RUNS: usize = 2;

/// What identifies a reading among those of its GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Event time in milliseconds since the epoch.
    pub event_ms: i64,
    /// Its number in its collector run, if the collector counts.
    pub sequence: Option<Sequence>,
}

/// A number in a collector run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// [`run_id`] of `collector.boot_id`.
    pub run: u64,
    /// `collector.sequence`
    pub number: u64,
}

/// The run of a collector that sends no `boot_id`.
pub const UNNAMED_RUN: u64 = 0;

/// A number for `boot_id`, the same in every version and on every machine, since it is kept in the changelog.
pub fn run_id(boot_id: Option<&str>) -> u64 {
    // A multiplicative hash over words of eight bytes; it tells apart the few runs of one GPU, no more.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let Some(boot_id) = boot_id else {
        return UNNAMED_RUN;
    };
    let mut hash = boot_id.len() as u64;
    for chunk in boot_id.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
        hash ^= hash >> 29;
    }
    if hash == UNNAMED_RUN { 1 } else { hash }
}

/// A reading that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// This sequence number of the run was seen.
    Sequence(u64),
    /// This sequence number is too far behind the highest to be told from a repeat.
    BehindWindow {
        /// The reading's.
        number: u64,
        /// The highest of its run.
        highest: u64,
    },
    /// This event time was seen.
    EventTime,
}

/// A collector run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// [`run_id`]
    pub id: u64,
    /// The highest sequence number.
    pub highest: u64,
    /// Bit `i` is set when `highest - i` was seen.
    pub window: u64,
}

/// What was seen of one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The latest ingest time.
    pub ingest_ms: i64,
    /// The latest event time.
    pub event_ms: i64,
    runs: [Run; RUNS],
    n_runs: u8,
    times: [i64; TIMES],
    n_times: u8,
}

/// How a reading stands to the runs of its GPU.
enum Place {
    /// The run at this index: ahead of its highest, by this much.
    Ahead(usize, u64),
    /// The run at this index: not seen, and behind its highest by this much.
    Behind(usize, u64),
    /// A run not known, or one that began again at this index.
    NewRun(Option<usize>),
}

impl Default for History {
    /// Nothing was seen yet.
    fn default() -> Self {
        Self {
            ingest_ms: i64::MIN,
            event_ms: i64::MIN,
            runs: [Run::default(); RUNS],
            n_runs: 0,
            times: [0; TIMES],
            n_times: 0,
        }
    }
}

impl History {
    /// From parts, as the changelog keeps them; none when there are too many.
    pub fn from_parts(ingest_ms: i64, event_ms: i64, runs: &[Run], times: &[i64]) -> Option<Self> {
        let mut history = Self {
            ingest_ms,
            event_ms,
            n_runs: u8::try_from(runs.len()).ok()?,
            n_times: u8::try_from(times.len()).ok()?,
            ..Self::default()
        };
        history.runs.get_mut(..runs.len())?.copy_from_slice(runs);
        history.times.get_mut(..times.len())?.copy_from_slice(times);
        Some(history)
    }

    /// The runs, the most recent first.
    pub fn runs(&self) -> &[Run] {
        &self.runs[..usize::from(self.n_runs)]
    }

    /// The event times of readings without a sequence, in the order in which they came.
    pub fn times(&self) -> &[i64] {
        &self.times[..usize::from(self.n_times)]
    }

    /// Whether the reading with `stamp` was seen.
    pub fn repeat(&self, stamp: Stamp) -> Option<Repeat> {
        self.place(stamp).err()
    }

    /// Takes note of the reading with `stamp`, unless it is a repeat; says what is odd about it.
    pub fn admit(&mut self, stamp: Stamp, ingest_ms: i64) -> Result<Flags, Repeat> {
        let mut flags = Flags::NONE;
        let place = self.place(stamp)?;
        match (place, stamp.sequence) {
            (Some(Place::Ahead(index, distance)), Some(sequence)) => {
                if distance > 1 {
                    flags.add(Flag::SequenceGap);
                }
                let run = &mut self.runs[index];
                let shifted = if distance < WINDOW {
                    run.window << distance
                } else {
                    0
                };
                run.window = shifted | 1;
                run.highest = sequence.number;
                self.runs[..=index].rotate_right(1);
            }
            (Some(Place::Behind(index, distance)), Some(_)) => {
                self.runs[index].window |= 1 << distance;
                self.runs[..=index].rotate_right(1);
            }
            (Some(Place::NewRun(again)), Some(sequence)) => {
                if self.n_runs > 0 {
                    flags.add(Flag::CollectorRestart);
                }
                let replaced = again.unwrap_or_else(|| {
                    let free = usize::from(self.n_runs).min(RUNS - 1);
                    self.n_runs = u8::try_from(free + 1).unwrap_or(self.n_runs);
                    free
                });
                self.runs[replaced] = Run {
                    id: sequence.run,
                    highest: sequence.number,
                    window: 1,
                };
                self.runs[..=replaced].rotate_right(1);
            }
            _ => self.keep_time(stamp.event_ms),
        }
        self.ingest_ms = self.ingest_ms.max(ingest_ms);
        self.event_ms = self.event_ms.max(stamp.event_ms);
        Ok(flags)
    }

    fn place(&self, stamp: Stamp) -> Result<Option<Place>, Repeat> {
        let Some(Sequence { run, number }) = stamp.sequence else {
            return if self.times().contains(&stamp.event_ms) {
                Err(Repeat::EventTime)
            } else {
                Ok(None)
            };
        };
        let Some(index) = self.runs().iter().position(|known| known.id == run) else {
            return Ok(Some(Place::NewRun(None)));
        };
        let Run {
            highest, window, ..
        } = self.runs[index];
        let repeat = if number > highest {
            return Ok(Some(Place::Ahead(index, number - highest)));
        } else if highest - number >= WINDOW {
            Repeat::BehindWindow { number, highest }
        } else if window & (1 << (highest - number)) == 0 {
            return Ok(Some(Place::Behind(index, highest - number)));
        } else {
            Repeat::Sequence(number)
        };
        // A collector that names no run and counts from the beginning again would have all its readings taken for
        // repeats; but a repeat is never newer than what was seen.
        if run == UNNAMED_RUN && stamp.event_ms > self.event_ms {
            return Ok(Some(Place::NewRun(Some(index))));
        }
        Err(repeat)
    }

    fn keep_time(&mut self, event_ms: i64) {
        let kept = usize::from(self.n_times);
        if kept == TIMES {
            self.times.copy_within(1.., 0);
            self.times[TIMES - 1] = event_ms;
        } else {
            self.times[kept] = event_ms;
            self.n_times += 1;
        }
    }
}

#[cfg(test)]
mod tests;
