//! When an open transaction is committed.

use super::PipelineConfig;
use std::time::{Duration, Instant};

/// How far partitions are that were assigned to this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrival {
    /// All of them are worked on.
    Over,
    /// Some are being restored, and have been for a while.
    Long,
    /// Some have just come, and will have had their first record in a moment.
    Fresh,
}

/// The open transaction's age and size, and when the next commit may come.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    max_records: usize,
    opened: Option<Instant>,
    records: usize,
    rested: Instant,
}

impl Pace {
    pub(super) fn new(config: &PipelineConfig, now: Instant) -> Self {
        Self {
            interval: Duration::from_millis(config.commit_interval_ms),
            max_records: config.max_transaction_records,
            opened: None,
            records: 0,
            rested: now,
        }
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.opened = Some(now);
    }

    pub(super) fn processed(&mut self) {
        self.records += 1;
    }

    /// The transaction is over; tells how many records were in it.
    pub(super) fn closed(&mut self) -> usize {
        self.opened = None;
        std::mem::take(&mut self.records)
    }

    /// A commit took so long. The next one leaves the broker alone for the same time, so that a busy one gets fewer of
    /// them instead of all that fit.
    pub(super) fn committed(&mut self, now: Instant, took: Duration) -> usize {
        self.rested = now + took.min(self.interval);
        self.closed()
    }

    /// Whether the open transaction is to be committed now; `drained`: nothing is left to read.
    pub(super) fn is_due(&self, now: Instant, drained: bool, arrival: Arrival) -> bool {
        let Some(opened) = self.opened else {
            return false;
        };
        let is_old = now.duration_since(opened) >= self.interval;
        self.records >= self.max_records
            || match arrival {
                Arrival::Over => is_old || drained && now >= self.rested,
                // It takes longer than a step of the restore, which would wait for one commit a step.
                Arrival::Long => is_old,
                // One for them too, as soon as they have something, and none in their way.
                Arrival::Fresh => false,
            }
    }

    /// How long a poll may wait for a record, at most `most`.
    pub(super) fn patience(&self, now: Instant, most: Duration) -> Duration {
        self.opened.map_or(most, |_| {
            self.rested.saturating_duration_since(now).min(most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(start: Instant) -> Pace {
        let config = PipelineConfig {
            commit_interval_ms: 100,
            max_transaction_records: 3,
            ..PipelineConfig::default()
        };
        let mut pace = Pace::new(&config, start);
        assert!(!pace.is_due(start + 1_000 * MS, true, Arrival::Over));
        pace.opened(start);
        pace
    }

    #[test]
    fn a_drained_input_is_committed_at_once_and_a_busy_one_by_interval_or_size() {
        let start = Instant::now();
        let mut pace = pace(start);
        assert!(pace.is_due(start, true, Arrival::Over));
        assert!(!pace.is_due(start + 99 * MS, false, Arrival::Over));
        assert!(pace.is_due(start + 100 * MS, false, Arrival::Over));
        for _ in 0..3 {
            assert!(!pace.is_due(start, false, Arrival::Over));
            pace.processed();
        }
        assert!(pace.is_due(start, false, Arrival::Over));
        assert_eq!(pace.closed(), 3);
        assert!(!pace.is_due(start + 1_000 * MS, true, Arrival::Over));
    }

    #[test]
    fn half_of_the_time_belongs_to_commits_at_most() {
        let start = Instant::now();
        let mut pace = pace(start);
        let _ = pace.committed(start, 40 * MS);
        assert_eq!(pace.patience(start + 10 * MS, 50 * MS), 50 * MS);
        pace.opened(start + 10 * MS);
        assert!(!pace.is_due(start + 39 * MS, true, Arrival::Over));
        assert_eq!(pace.patience(start + 39 * MS, 50 * MS), MS);
        assert!(pace.is_due(start + 40 * MS, true, Arrival::Over));
        assert_eq!(pace.patience(start + 41 * MS, 50 * MS), Duration::ZERO);
        // One that hung is no reason to wait for longer than the interval.
        let _ = pace.committed(start, 5_000 * MS);
        pace.opened(start);
        assert!(pace.is_due(start + 100 * MS, true, Arrival::Over));
    }

    #[test]
    fn no_commit_is_in_the_way_of_partitions_that_have_just_come() {
        let start = Instant::now();
        let mut pace = pace(start);
        assert!(!pace.is_due(start + 400 * MS, true, Arrival::Fresh));
        assert!(!pace.is_due(start + 99 * MS, true, Arrival::Long));
        assert!(pace.is_due(start + 100 * MS, true, Arrival::Long));
        for _ in 0..3 {
            pace.processed();
        }
        assert!(pace.is_due(start, false, Arrival::Fresh));
    }
}
