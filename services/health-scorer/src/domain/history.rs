//! A GPU's hourly scores of the last seven days, run by run: a healthy one has a single run.

use super::trend::theil_sen;
use serde::{Deserialize, Serialize};

/// Hours kept.
pub const HOURS: u32 = 168;
const HOUR_MS: i64 = 3_600_000;
/// Scores are kept in tenths of a point.
const UNIT: f64 = 10.0;

/// Hours in a row with the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    tenths: Option<u16>,
    hours: u16,
}

/// The score of an hour is the last one of it; an hour without any, or without a number, is a gap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The hour that is not over, and the last score in it.
    current: Option<(u32, Option<u16>)>,
    /// The hours before it, oldest first.
    runs: Vec<Run>,
    /// The slope over `runs`.
    trend: Option<f64>,
}

impl History {
    /// Closes the hours that are over at `now_ms`. True when there was one.
    pub fn roll(&mut self, now_ms: i64, least_hours: u32) -> bool {
        let now = super::number::period(now_ms, HOUR_MS);
        let Some((hour, score)) = self.current else {
            self.current = Some((now, None));
            return false;
        };
        let Some(over) = now.checked_sub(hour).filter(|over| *over > 0) else {
            return false;
        };
        self.push(score, 1);
        self.push(None, over - 1);
        self.current = Some((now, None));
        self.trend = self.slope(least_hours);
        true
    }

    /// The score of the current hour so far.
    pub fn note(&mut self, overall: Option<f64>) {
        if let Some((_, score)) = &mut self.current {
            *score = overall.map(|points| super::number::small(points * UNIT));
        }
    }

    /// Points a day over the hours that are over.
    pub const fn trend(&self) -> Option<f64> {
        self.trend
    }

    /// The hours that are over and have a score, oldest first, as (hour, score); the newest is `HOURS - 1`.
    pub fn scores(&self) -> Vec<(u32, f64)> {
        let held: u32 = self.runs.iter().map(|run| u32::from(run.hours)).sum();
        let mut hour = HOURS - held.min(HOURS);
        let mut scores = Vec::new();
        for run in &self.runs {
            for _ in 0..run.hours {
                if let Some(tenths) = run.tenths {
                    scores.push((hour, f64::from(tenths) / UNIT));
                }
                hour += 1;
            }
        }
        scores
    }

    fn push(&mut self, tenths: Option<u16>, hours: u32) {
        let hours = u16::try_from(hours.min(HOURS)).unwrap_or_default();
        if hours == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.tenths == tenths => last.hours += hours,
            _ => self.runs.push(Run { tenths, hours }),
        }
        let held: u32 = self.runs.iter().map(|run| u32::from(run.hours)).sum();
        let mut surplus = held.saturating_sub(HOURS);
        while surplus > 0 {
            let first = &mut self.runs[0];
            let cut = surplus.min(u32::from(first.hours));
            first.hours -= u16::try_from(cut).unwrap_or_default();
            surplus -= cut;
            if first.hours == 0 {
                self.runs.remove(0);
            }
        }
    }

    fn slope(&self, least_hours: u32) -> Option<f64> {
        let known = self.runs.iter().filter(|run| run.tenths.is_some());
        let hours: u32 = known.map(|run| u32::from(run.hours)).sum();
        if hours < least_hours {
            return None;
        }
        if let [run] = self.runs.as_slice()
            && run.tenths.is_some()
        {
            return Some(0.0);
        }
        theil_sen(&self.scores())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(scores: impl IntoIterator<Item = Option<f64>>) -> History {
        let mut history = History::default();
        for (hour, score) in (1_000_i64..).zip(scores) {
            history.roll(hour * HOUR_MS, 24);
            history.note(Some(1.0));
            history.note(score);
        }
        history
    }

    #[test]
    fn there_is_no_trend_before_a_day_is_over() {
        let mut history = filled((0..24).map(|_| Some(100.0)));
        assert_eq!(history.trend(), None);
        assert!(!history.roll(1_023 * HOUR_MS + 1, 24));
        assert!(history.roll(1_024 * HOUR_MS, 24));
        assert_eq!(history.trend(), Some(0.0));
    }

    #[test]
    fn the_trend_is_in_points_a_day() {
        let falling = (0..100).map(|hour| Some(90.0 - f64::from(hour) * 0.1));
        let trend = filled(falling).trend().unwrap();
        assert!((trend + 2.4).abs() < 1e-9, "{trend}");
    }

    #[test]
    fn seven_days_are_kept_and_an_hour_without_a_score_is_a_gap() {
        let scores = (0..400).map(|hour| (hour % 3 != 0).then(|| f64::from(hour % 100)));
        let history = filled(scores);
        // 399 hours are over; the last 168 of them are 231 to 398.
        let expected: Vec<_> = (231..399)
            .zip(0..)
            .filter(|(hour, _)| hour % 3 != 0)
            .map(|(hour, at)| (at, f64::from(hour % 100)))
            .collect();
        assert_eq!(history.scores(), expected);
    }

    #[test]
    fn a_long_silence_leaves_a_gap_and_a_healthy_week_is_one_run() {
        let mut history = filled((0..300).map(|_| Some(98.5)));
        assert_eq!(history.runs.len(), 1);
        history.roll((1_299 + 50) * HOUR_MS, 24);
        history.roll((1_299 + 51) * HOUR_MS, 24);
        let scores = history.scores();
        assert_eq!(scores.len(), 168 - 50);
        assert_eq!(scores.last(), Some(&(117, 98.5)));
        assert_eq!(history.trend(), Some(0.0));
        history.roll((1_299 + 5_000) * HOUR_MS, 24);
        assert_eq!((history.scores(), history.trend()), (vec![], None));
    }
}
