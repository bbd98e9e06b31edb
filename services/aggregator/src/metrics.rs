//! The service's own metrics.

use crate::letter::Code;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use schema::WindowSize;

/// Windows closed with readings, by size.
pub const WINDOWS_EMITTED: &str = "aggregator_windows_emitted_total";
/// Windows emitted again because of a late record, by size.
pub const CORRECTIONS: &str = "aggregator_corrections_total";
/// Records whose minute was closed, by what became of them.
pub const LATE_RECORDS: &str = "aggregator_late_records_total";
/// Readings taken into a window.
pub const READINGS: &str = "aggregator_readings_total";
/// Ticks.
pub const TICKS: &str = "aggregator_ticks_total";
/// Dead letters, by reason.
pub const DEAD_LETTERS: &str = "aggregator_dead_letters_total";
/// Windows with readings that are not closed.
pub const OPEN_WINDOWS: &str = "aggregator_open_windows";

/// Gives every metric its help text.
pub fn describe() {
    describe_counter!(
        WINDOWS_EMITTED,
        "Windows that closed with readings, by size."
    );
    describe_counter!(
        CORRECTIONS,
        "Windows emitted again because of a late record, by size."
    );
    describe_counter!(
        LATE_RECORDS,
        "Records whose minute had closed, by outcome: corrected, or too late and a dead letter."
    );
    describe_counter!(READINGS, "Readings taken into a window.");
    describe_counter!(TICKS, "Ticks, which move stream time on without a reading.");
    describe_counter!(
        DEAD_LETTERS,
        "Records written to the dead letter topic, by reason."
    );
    describe_gauge!(
        OPEN_WINDOWS,
        "Windows of both sizes that have readings and are not closed."
    );
}

/// What happened since the last commit. It is counted when the transaction stands, so that an abort counts nothing
/// twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Windows closed: of a minute, of fifteen.
    pub emitted: [u64; 2],
    /// Windows corrected: of a minute, of fifteen.
    pub corrections: [u64; 2],
    /// Late records that corrected.
    pub corrected: u64,
    /// Readings in a window.
    pub readings: u64,
    /// Ticks.
    pub ticks: u64,
    /// Dead letters, by place in [`Code::ALL`].
    pub dead_letters: [u64; Code::ALL.len()],
}

/// The place of a size in [`Tally`]'s pairs.
pub const fn place(size: WindowSize) -> usize {
    match size {
        WindowSize::OneMinute => 0,
        WindowSize::FifteenMinutes => 1,
    }
}

/// Handles to the metrics, looked up once.
pub struct Meters {
    emitted: [Counter; 2],
    corrections: [Counter; 2],
    corrected: Counter,
    too_late: Counter,
    readings: Counter,
    ticks: Counter,
    dead_letters: [Counter; Code::ALL.len()],
    open_windows: Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Meters {
    /// Registers every metric, so that each is there from the start with zero.
    pub fn register() -> Self {
        Self {
            emitted: ["1m", "15m"].map(|size| counter!(WINDOWS_EMITTED, "window" => size)),
            corrections: ["1m", "15m"].map(|size| counter!(CORRECTIONS, "window" => size)),
            corrected: counter!(LATE_RECORDS, "outcome" => "corrected"),
            too_late: counter!(LATE_RECORDS, "outcome" => "too_late"),
            readings: counter!(READINGS),
            ticks: counter!(TICKS),
            dead_letters: Code::ALL.map(|code| counter!(DEAD_LETTERS, "reason" => code.as_str())),
            open_windows: gauge!(OPEN_WINDOWS),
        }
    }

    /// Adds `tally` and empties it.
    pub fn add(&self, tally: &mut Tally) {
        let add = |counter: &Counter, count: u64| {
            if count > 0 {
                counter.increment(count);
            }
        };
        for at in [0, 1] {
            add(&self.emitted[at], tally.emitted[at]);
            add(&self.corrections[at], tally.corrections[at]);
        }
        add(&self.corrected, tally.corrected);
        add(&self.too_late, tally.dead_letters[Code::TooLate as usize]);
        add(&self.readings, tally.readings);
        add(&self.ticks, tally.ticks);
        for (counter, count) in self.dead_letters.iter().zip(tally.dead_letters) {
            add(counter, count);
        }
        *tally = Tally::default();
    }

    /// A partition's open windows went from `before` to `now`.
    pub fn open_windows(&self, before: usize, now: usize) {
        if now > before {
            self.open_windows.increment((now - before) as f64);
        } else if before > now {
            self.open_windows.decrement((before - now) as f64);
        }
    }
}
