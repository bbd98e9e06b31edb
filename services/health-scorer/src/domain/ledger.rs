//! What happened to a GPU, and when: the part of its state that outlives hours.

use super::factor::{DAY_MS, Factor, FactorRule};
use super::rules::Rules;
use serde::{Deserialize, Serialize};

/// Occurrences of one factor that are kept. With so many within a half-life its dimension is at 0 anyway, and a new one
/// in the place of the oldest never raises a score.
pub const KEPT: usize = 8;

/// An occurrence is forgotten after so many half-lives: a thousandth of its points is left.
const HALF_LIVES_KEPT: f64 = 10.0;

/// Something that happened, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// What.
    pub factor: Factor,
    /// Event time of the first reading that showed it.
    pub first_ms: i64,
    /// From then to the last one.
    pub lasted_ms: u32,
    /// Errors that were counted in it.
    pub errors: u32,
    /// The Xid, 0 when none told of it.
    pub xid: u16,
}

impl Occurrence {
    /// Event time of the last reading that showed it.
    pub const fn last_ms(&self) -> i64 {
        self.first_ms + self.lasted_ms as i64
    }
}

/// Occurrences, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger(Vec<Occurrence>);

impl Ledger {
    /// Adds an occurrence of `factor`, or makes it part of the last one when that began at most `merge_ms` before.
    /// True when it is a new one.
    ///
    /// Counted from where the last one began, and not from where it ended: otherwise a fault in between could join two
    /// occurrences to one and raise the score.
    pub fn record(
        &mut self,
        factor: Factor,
        at_ms: i64,
        errors: u32,
        xid: u16,
        merge_ms: i64,
    ) -> bool {
        let last = self.0.iter_mut().rev().find(|o| o.factor == factor);
        if let Some(last) = last.filter(|o| at_ms - o.first_ms <= merge_ms) {
            last.lasted_ms = super::number::span(at_ms - last.first_ms).max(last.lasted_ms);
            last.errors = last.errors.saturating_add(errors);
            if last.xid == 0 {
                last.xid = xid;
            }
            return false;
        }
        if self.of(factor).count() == KEPT
            && let Some(oldest) = self.0.iter().position(|o| o.factor == factor)
        {
            self.0.remove(oldest);
        }
        self.0.push(Occurrence {
            factor,
            first_ms: at_ms,
            lasted_ms: 0,
            errors,
            xid,
        });
        true
    }

    /// Puts an occurrence in the place of every earlier one of `factor`: for conditions, of which only the last sight
    /// counts.
    pub fn renew(&mut self, factor: Factor, at_ms: i64, errors: u32, xid: u16) {
        self.erase(factor);
        self.0.push(Occurrence {
            factor,
            first_ms: at_ms,
            lasted_ms: 0,
            errors,
            xid,
        });
    }

    /// Takes every occurrence of `factor` out.
    pub fn erase(&mut self, factor: Factor) {
        self.0.retain(|o| o.factor != factor);
    }

    /// The occurrences of `factor`, oldest first.
    pub fn of(&self, factor: Factor) -> impl Iterator<Item = &Occurrence> {
        self.0.iter().filter(move |o| o.factor == factor)
    }

    /// The last occurrence of `factor`.
    pub fn last(&self, factor: Factor) -> Option<&Occurrence> {
        self.0.iter().rev().find(|o| o.factor == factor)
    }

    /// How many occurrences of `factor` were seen within `window_ms` before `now_ms`.
    pub fn recent(&self, factor: Factor, now_ms: i64, window_ms: i64) -> usize {
        self.of(factor)
            .filter(|o| now_ms - o.last_ms() < window_ms)
            .count()
    }

    /// The points of all occurrences of `factor` at `now_ms`, each decayed by its age.
    pub fn points(&self, factor: Factor, rule: &FactorRule, now_ms: i64) -> f64 {
        let sum: f64 = self
            .of(factor)
            .map(|o| rule.points * rule.decay(now_ms - o.last_ms()))
            .sum();
        sum.min(rule.max_points)
    }

    /// Drops what has decayed to nothing.
    pub fn forget(&mut self, now_ms: i64, rules: &Rules) {
        self.0.retain(|occurrence| {
            let days = match occurrence.factor {
                Factor::RecentRowRemaps => f64::from(rules.limits.memory.recent_remap_days),
                Factor::DoubleBitEcc => half_lives(rules, occurrence.factor)
                    .max(f64::from(rules.limits.memory.repeat_days)),
                Factor::RepeatedIncidents => half_lives(rules, occurrence.factor)
                    .max(f64::from(rules.limits.faults.incident_days)),
                factor => half_lives(rules, factor),
            };
            ((now_ms - occurrence.last_ms()) as f64) < days * DAY_MS as f64
        });
    }

    /// Nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn half_lives(rules: &Rules, factor: Factor) -> f64 {
    let half_life = rules.of(factor).half_life_days;
    half_life.map_or(f64::INFINITY, |days| days * HALF_LIVES_KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGE_MS: i64 = 60_000;
    const DBE: Factor = Factor::DoubleBitEcc;

    fn ledger(times_s: &[i64]) -> Ledger {
        let mut ledger = Ledger::default();
        for at_s in times_s {
            ledger.record(DBE, at_s * 1_000, 1, 0, MERGE_MS);
        }
        ledger
    }

    #[test]
    fn what_is_seen_within_a_minute_is_one_occurrence_by_its_last_sight() {
        let ledger = ledger(&[0, 10, 60, 61, 200]);
        let seen: Vec<_> = ledger
            .of(DBE)
            .map(|o| (o.first_ms, o.last_ms(), o.errors))
            .collect();
        assert_eq!(
            seen,
            [(0, 60_000, 3), (61_000, 61_000, 1), (200_000, 200_000, 1)]
        );
    }

    #[test]
    fn one_more_fault_never_makes_fewer_occurrences() {
        let base = [0, 50, 100, 149, 170];
        let count = ledger(&base).of(DBE).count();
        for extra in 0..240 {
            let mut times = base.to_vec();
            times.push(extra);
            times.sort_unstable();
            assert!(ledger(&times).of(DBE).count() >= count, "{extra}");
        }
    }

    #[test]
    fn each_occurrence_decays_by_its_own_age() {
        let rule = DBE.spec().rule;
        let mut ledger = Ledger::default();
        ledger.record(DBE, 0, 1, 48, MERGE_MS);
        ledger.record(DBE, 14 * DAY_MS, 1, 48, MERGE_MS);
        // 40 x 2^-2 + 40 x 2^-1, 14 days after the second.
        assert!((ledger.points(DBE, &rule, 28 * DAY_MS) - 30.0).abs() < 1e-9);
        assert_eq!(ledger.recent(DBE, 28 * DAY_MS, 15 * DAY_MS), 1);
        assert_eq!(ledger.recent(DBE, 28 * DAY_MS, 30 * DAY_MS), 2);
    }

    #[test]
    fn the_ledger_stays_small_and_what_is_decayed_is_forgotten() {
        let rules = Rules::default();
        let mut ledger = Ledger::default();
        for at in 0..100 {
            ledger.record(DBE, at * DAY_MS, 1, 48, MERGE_MS);
            ledger.renew(Factor::PcieReplay, at * DAY_MS, 20, 0);
        }
        ledger.renew(Factor::RowRemapFailure, 0, 1, 64);
        assert_eq!(ledger.of(DBE).count(), KEPT);
        assert_eq!(ledger.of(Factor::PcieReplay).count(), 1);
        ledger.forget(99 * DAY_MS + 10 * DAY_MS, &rules);
        assert_eq!(ledger.of(Factor::PcieReplay).count(), 0);
        ledger.forget(99 * DAY_MS + 141 * DAY_MS, &rules);
        assert_eq!(ledger.of(DBE).count(), 0);
        // A failed remap does not heal by waiting.
        assert!(ledger.last(Factor::RowRemapFailure).is_some());
    }
}
