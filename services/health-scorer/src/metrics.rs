//! What the service counts, beside what the chassis does.

use crate::domain::absence::Blame;
use crate::domain::apply::Order;
use crate::domain::dead_letter::Unreadable;
use crate::domain::index::{Census, GRADES, STATES};
use crate::domain::judge::Cause;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const READINGS: &str = "health_scorer_readings_total";
const TICKS: &str = "health_scorer_ticks_total";
const DEAD_LETTERS: &str = "health_scorer_dead_letters_total";
const PUBLISHED: &str = "health_scorer_scores_published_total";
const LOST: &str = "health_scorer_gpus_lost_total";
const FORGOTTEN: &str = "health_scorer_gpus_forgotten_total";
const GPUS: &str = "health_scorer_gpus";
const GPUS_IN_STATE: &str = "health_scorer_gpus_in_state";

pub(crate) fn describe() {
    describe_counter!(
        READINGS,
        "Readings, by whether they were in order; one out of order shows only that its GPU reports."
    );
    describe_counter!(TICKS, "Ticks, which move stream time on.");
    describe_counter!(DEAD_LETTERS, "Records given up, by reason.");
    describe_counter!(PUBLISHED, "Scores written, by why.");
    describe_counter!(LOST, "GPUs that fell silent, by who is to blame.");
    describe_counter!(
        FORGOTTEN,
        "GPUs that were silent for so long that they are forgotten."
    );
    describe_gauge!(GPUS, "GPUs by the grade of their last score.");
    describe_gauge!(GPUS_IN_STATE, "GPUs by the state of their last score.");
}

/// The grades' names in the order of their declaration.
const GRADE_NAMES: [&str; GRADES] = [
    "excellent",
    "good",
    "fair",
    "degraded",
    "poor",
    "critical",
    "unknown",
];
/// The states' names in the order of their declaration.
const STATE_NAMES: [&str; STATES] = [
    "ok",
    "degraded",
    "drain",
    "rma_candidate",
    "lost",
    "unknown",
];

const N_ORDERS: usize = 2;
const N_CAUSES: usize = Cause::ALL.len();
const N_BLAMES: usize = Blame::ALL.len();

/// What happened since the last commit. It is counted when the transaction stands, so that an abort counts nothing
/// twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    readings: [u64; N_ORDERS],
    published: [u64; N_CAUSES],
    lost: [u64; N_BLAMES],
    dead_letters: [u64; Unreadable::CODES.len()],
    pub(crate) ticks: u64,
    pub(crate) forgotten: u64,
}

impl Tally {
    pub(crate) fn reading(&mut self, order: Order) {
        self.readings[order as usize] += 1;
    }

    pub(crate) fn published(&mut self, cause: Cause) {
        self.published[cause as usize] += 1;
    }

    pub(crate) fn lost(&mut self, blame: Blame) {
        self.lost[blame as usize] += 1;
    }

    pub(crate) fn dead_letter(&mut self, reason: &Unreadable) {
        let code = reason.code();
        if let Some(at) = Unreadable::CODES.iter().position(|known| *known == code) {
            self.dead_letters[at] += 1;
        }
    }
}

/// Handles made once, so that every series is there from the start.
#[derive(Debug)]
pub(crate) struct Series {
    readings: [Counter; N_ORDERS],
    published: [Counter; N_CAUSES],
    lost: [Counter; N_BLAMES],
    dead_letters: [Counter; Unreadable::CODES.len()],
    ticks: Counter,
    forgotten: Counter,
    grades: [Gauge; GRADES],
    states: [Gauge; STATES],
}

impl Series {
    pub(crate) fn register() -> Self {
        Self {
            readings: ["in_order", "out_of_order"]
                .map(|order| counter!(READINGS, "order" => order)),
            published: Cause::ALL.map(|cause| counter!(PUBLISHED, "cause" => cause.name())),
            lost: Blame::ALL.map(|blame| counter!(LOST, "blame" => blame.name())),
            dead_letters: Unreadable::CODES.map(|code| counter!(DEAD_LETTERS, "reason" => code)),
            ticks: counter!(TICKS),
            forgotten: counter!(FORGOTTEN),
            grades: GRADE_NAMES.map(|grade| gauge!(GPUS, "grade" => grade)),
            states: STATE_NAMES.map(|state| gauge!(GPUS_IN_STATE, "state" => state)),
        }
    }

    /// Counts what `tally` holds.
    pub(crate) fn add(&self, tally: &Tally) {
        let add = |counters: &[Counter], counts: &[u64]| {
            for (counter, count) in counters.iter().zip(counts) {
                if *count > 0 {
                    counter.increment(*count);
                }
            }
        };
        add(&self.readings, &tally.readings);
        add(&self.published, &tally.published);
        add(&self.lost, &tally.lost);
        add(&self.dead_letters, &tally.dead_letters);
        self.ticks.increment(tally.ticks);
        self.forgotten.increment(tally.forgotten);
    }

    /// Moves the gauges from `before` to `now`; by difference, since all partitions and workers share them.
    pub(crate) fn show(&self, before: &Census, now: &Census) {
        let show = |gauges: &[Gauge], before: &[u64], now: &[u64]| {
            for ((gauge, before), now) in gauges.iter().zip(before).zip(now) {
                if before != now {
                    gauge.increment(*now as f64 - *before as f64);
                }
            }
        };
        show(&self.grades, &before.grades, &now.grades);
        show(&self.states, &before.states, &now.states);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{Grade, HealthState};

    #[test]
    fn labels_are_the_names_on_the_wire() {
        let name = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for grade in [
            Grade::Excellent,
            Grade::Good,
            Grade::Fair,
            Grade::Degraded,
            Grade::Poor,
            Grade::Critical,
            Grade::Unknown,
        ] {
            let wire = name(serde_json::to_value(grade).unwrap());
            assert_eq!(GRADE_NAMES[grade as usize], wire);
        }
        for state in [
            HealthState::Ok,
            HealthState::Degraded,
            HealthState::Drain,
            HealthState::RmaCandidate,
            HealthState::Lost,
            HealthState::Unknown,
        ] {
            let wire = name(serde_json::to_value(state).unwrap());
            assert_eq!(STATE_NAMES[state as usize], wire);
        }
        for (at, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, at);
        }
        for (at, blame) in Blame::ALL.into_iter().enumerate() {
            assert_eq!(blame as usize, at);
        }
    }
}
