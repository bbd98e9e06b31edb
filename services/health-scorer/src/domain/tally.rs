//! Sums by hour for the last 24, of what mostly does not happen: hours without anything take no room.

use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;
const HOURS: u32 = 24;

/// Sums by hour, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(Vec<(u32, u32)>);

impl Tally {
    /// Adds `amount` to the hour of `at_ms`.
    pub fn add(&mut self, at_ms: i64, amount: u32) {
        let hour = super::number::period(at_ms, HOUR_MS);
        if amount == 0 {
            return;
        }
        self.0.retain(|(old, _)| old + HOURS > hour);
        match self.0.binary_search_by_key(&hour, |(old, _)| *old) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(amount),
            Err(at) => self.0.insert(at, (hour, amount)),
        }
    }

    /// The largest sum of an hour among the 24 until `now_ms`.
    pub fn most(&self, now_ms: i64) -> u32 {
        self.live(now_ms).max().unwrap_or(0)
    }

    /// The sum of the 24 hours until `now_ms`.
    pub fn sum(&self, now_ms: i64) -> u64 {
        self.live(now_ms).map(u64::from).sum()
    }

    fn live(&self, now_ms: i64) -> impl Iterator<Item = u32> {
        let now = super::number::period(now_ms, HOUR_MS);
        self.0
            .iter()
            .filter(move |(hour, _)| hour + HOURS > now)
            .map(|(_, amount)| *amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_by_hour_and_leave_after_a_day() {
        let mut tally = Tally::default();
        tally.add(5 * HOUR_MS, 7);
        tally.add(5 * HOUR_MS + 1, 8);
        tally.add(4 * HOUR_MS, 3);
        tally.add(6 * HOUR_MS, 0);
        assert_eq!((tally.most(5 * HOUR_MS), tally.sum(5 * HOUR_MS)), (15, 18));
        assert_eq!(
            (tally.most(28 * HOUR_MS), tally.sum(28 * HOUR_MS)),
            (15, 15)
        );
        assert_eq!(tally.sum(29 * HOUR_MS), 0);
        tally.add(40 * HOUR_MS, 1);
        assert_eq!(tally.0, [(40, 1)]);
    }
}
