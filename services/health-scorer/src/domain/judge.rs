//! Whether anybody needs to hear of a score now.

use super::clock::Clock;
use super::limits::seconds_ms;
use super::number::small;
use super::rules::Rules;
use super::score::{Assessment, assess};
use super::state::{GpuState, Published};
use schema::HealthScore;

/// Why a score is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The GPU's first.
    First,
    /// What should happen with the GPU is something else.
    State,
    /// The score in a word is another one.
    Grade,
    /// The number moved, came, or went.
    Change,
    /// Nothing happened for a while.
    Heartbeat,
}

impl Cause {
    /// All of them, the strongest first.
    pub const ALL: [Self; 5] = [
        Self::First,
        Self::State,
        Self::Grade,
        Self::Change,
        Self::Heartbeat,
    ];

    /// Its name, for a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::State => "state",
            Self::Grade => "grade",
            Self::Change => "change",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// Assesses a GPU at `now`, keeps its hourly score, and returns the score if it is to be written.
pub fn judge(
    gpu_uuid: &str,
    state: &mut GpuState,
    now: Clock,
    rules: &Rules,
) -> Option<(HealthScore, Cause)> {
    let limits = &rules.limits;
    if state.history.roll(now.stream_ms, limits.trend.least_hours) {
        state.ledger.forget(now.stream_ms, rules);
    }
    let assessment = assess(state, now, rules);
    state.history.note(assessment.overall);
    let next = published(&assessment, now);
    let cause = cause(state.published, next, rules)?;
    let score = assessment.render(gpu_uuid, state, now, rules);
    state.published = Some(next);
    Some((score, cause))
}

fn published(assessment: &Assessment, now: Clock) -> Published {
    Published {
        at_ms: now.stream_ms,
        hundredths: assessment.overall.map(|points| small(points * 100.0)),
        grade: assessment.grade,
        state: assessment.state,
    }
}

/// Why `next` is to be written after `before`; none when it is not.
fn cause(before: Option<Published>, next: Published, rules: &Rules) -> Option<Cause> {
    let limits = &rules.limits.publish;
    let Some(before) = before else {
        return Some(Cause::First);
    };
    let moved = match (before.hundredths, next.hundredths) {
        (Some(before), Some(next)) => {
            f64::from(before.abs_diff(next)) >= limits.change_points * 100.0
        }
        (None, None) => false,
        _ => true,
    };
    if next.state != before.state {
        Some(Cause::State)
    } else if next.grade != before.grade {
        Some(Cause::Grade)
    } else if moved {
        Some(Cause::Change)
    } else if next.at_ms - before.at_ms >= seconds_ms(limits.heartbeat_s) {
        Some(Cause::Heartbeat)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::{Grade, HealthState};

    #[test]
    fn a_score_is_written_when_it_means_something_new_and_every_quarter_of_an_hour() {
        let rules = Rules::default();
        let base = Published {
            at_ms: 0,
            hundredths: Some(9_500),
            grade: Grade::Excellent,
            state: HealthState::Ok,
        };
        let check = |next: Published, expected: Option<Cause>| {
            assert_eq!(cause(Some(base), next, &rules), expected, "{next:?}");
        };
        let at = |at_ms, hundredths| Published {
            at_ms,
            hundredths,
            ..base
        };
        assert_eq!(cause(None, base, &rules), Some(Cause::First));
        check(base, None);
        check(at(899_999, Some(9_500)), None);
        check(at(900_000, Some(9_500)), Some(Cause::Heartbeat));
        check(at(1, Some(9_401)), None);
        check(at(1, Some(9_400)), Some(Cause::Change));
        check(at(1, Some(9_600)), Some(Cause::Change));
        check(at(1, None), Some(Cause::Change));
        let grade = Grade::Good;
        check(
            Published {
                grade,
                ..at(1, Some(8_800))
            },
            Some(Cause::Grade),
        );
        let state = HealthState::Drain;
        check(
            Published {
                grade,
                state,
                ..at(1, Some(8_800))
            },
            Some(Cause::State),
        );
    }
}
