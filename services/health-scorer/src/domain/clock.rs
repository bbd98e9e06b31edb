//! The time of one partition, in two forms.

use schema::Timestamp;
use serde::{Deserialize, Serialize};

/// Stream time, and how much of it was watched.
///
/// *Stream time* is the largest ingest time seen; heartbeats, ages and hours go by it. *Watched time* follows it, but one
/// record moves it by a limited step only: when nothing at all was ingested for an hour, because Kafka or the validator
/// was away, that hour is no silence of any GPU. Silence and "the last 15 minutes" go by watched time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Stream time in milliseconds since the epoch; 0 before the first record.
    pub stream_ms: i64,
    /// Milliseconds watched since this partition's state began.
    pub watched_ms: i64,
}

impl Clock {
    /// A record was ingested at `ingest_ms`. Time never goes back.
    pub fn advance(&mut self, ingest_ms: i64, max_step_ms: i64) {
        let passed = ingest_ms.saturating_sub(self.stream_ms);
        if passed <= 0 {
            return;
        }
        if self.stream_ms != 0 {
            self.watched_ms += passed.min(max_step_ms);
        }
        self.stream_ms = ingest_ms;
    }

    /// Stream time.
    pub const fn stream_time(self) -> Timestamp {
        Timestamp::from_millis(self.stream_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_moves_stream_time_but_counts_as_one_step_of_watching() {
        let mut clock = Clock::default();
        let steps = [
            (1_000_000, 0),
            (1_004_000, 4_000),
            (1_003_000, 4_000),
            (1_010_000, 10_000),
            (4_610_000, 20_000),
            (4_611_000, 21_000),
        ];
        for (ingest_ms, watched_ms) in steps {
            clock.advance(ingest_ms, 10_000);
            assert_eq!(clock.watched_ms, watched_ms, "{ingest_ms}");
        }
        assert_eq!(clock.stream_ms, 4_611_000);
    }
}
