//! Windows, and how far time has come.

use schema::WindowSize;

/// One minute in milliseconds.
pub const MINUTE_MS: i64 = WindowSize::OneMinute.as_millis();

/// Fifteen minutes in milliseconds: a quarter (of an hour).
pub const QUARTER_MS: i64 = WindowSize::FifteenMinutes.as_millis();

/// How windows close and for how long they are corrected. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// A window closes when stream time is this far past its end.
    pub grace_ms: i64,
    /// A closed window is corrected by late records for this long after it closed.
    pub correction_horizon_ms: i64,
    /// A reading further back than this, by event time, is no predecessor: increments begin anew after it.
    pub forget_after_ms: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            grace_ms: 30_000,
            correction_horizon_ms: 900_000,
            forget_after_ms: 86_400_000,
        }
    }
}

/// The start of the window of `size_ms` that holds `time`; windows are aligned to the epoch.
#[inline]
pub const fn start_of(time: i64, size_ms: i64) -> i64 {
    time.div_euclid(size_ms) * size_ms
}

/// The end of the quarter that holds `time`.
#[inline]
pub const fn quarter_end(time: i64) -> i64 {
    start_of(time, QUARTER_MS) + QUARTER_MS
}

/// How far a partition has come. Each only grows, also when the configuration changes, so that a window closes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The latest ingest time seen.
    pub stream_time: i64,
    /// Windows that end here or before are closed.
    pub closed: i64,
    /// Windows that end here or before are beyond correction.
    pub settled: i64,
}

impl Watermarks {
    /// Before the first record.
    pub const START: Self = Self {
        stream_time: i64::MIN,
        closed: i64::MIN,
        settled: i64::MIN,
    };

    /// A record was ingested at `ingest`.
    pub fn advance(&mut self, ingest: i64, windows: &Windows) {
        self.stream_time = self.stream_time.max(ingest);
        self.closed = self
            .closed
            .max(self.stream_time.saturating_sub(windows.grace_ms));
        self.settled = self
            .settled
            .max(self.closed.saturating_sub(windows.correction_horizon_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_never_go_back_not_even_when_the_grace_period_grows() {
        let mut marks = Watermarks::START;
        let short = Windows {
            grace_ms: 10,
            correction_horizon_ms: 100,
            ..Windows::default()
        };
        marks.advance(1_000, &short);
        assert_eq!(
            (marks.stream_time, marks.closed, marks.settled),
            (1_000, 990, 890)
        );
        marks.advance(900, &short);
        assert_eq!(marks.stream_time, 1_000);
        let long = Windows {
            grace_ms: 500,
            ..short
        };
        marks.advance(1_100, &long);
        assert_eq!(
            (marks.stream_time, marks.closed, marks.settled),
            (1_100, 990, 890)
        );
    }

    #[test]
    fn windows_are_aligned_to_the_epoch() {
        assert_eq!(start_of(-1, MINUTE_MS), -60_000);
        assert_eq!(quarter_end(899_999), 900_000);
        assert_eq!(quarter_end(900_000), 1_800_000);
    }
}
