//! A score in a word.

use schema::Grade;

/// The lower bounds, best first (the brief's).
const BOUNDS: [(Grade, f64); 6] = [
    (Grade::Excellent, 90.0),
    (Grade::Good, 80.0),
    (Grade::Fair, 70.0),
    (Grade::Degraded, 60.0),
    (Grade::Poor, 50.0),
    (Grade::Critical, f64::NEG_INFINITY),
];

/// Below this a score is critical, whatever else is unknown.
pub const CRITICAL_BELOW: f64 = 50.0;

/// The grade of `overall` after `before`: a grade is left downwards only when the score is more than `hysteresis` points
/// below its bound. Upwards the bounds are exact, and so they are after a fall that leaves no doubt.
pub fn grade(overall: Option<f64>, before: Option<Grade>, hysteresis: f64) -> Grade {
    let Some(score) = overall else {
        return Grade::Unknown;
    };
    let plain = BOUNDS
        .into_iter()
        .find(|(_, bound)| score >= *bound)
        .map_or(Grade::Critical, |(grade, _)| grade);
    let held = before.filter(|before| {
        let bound = BOUNDS.into_iter().find(|(grade, _)| grade == before);
        bound.is_some_and(|(grade, bound)| grade < plain && score >= bound - hysteresis)
    });
    held.unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_briefs() {
        let cases = [
            (100.0, Grade::Excellent),
            (90.0, Grade::Excellent),
            (89.99, Grade::Good),
            (87.0, Grade::Good),
            (80.0, Grade::Good),
            (70.0, Grade::Fair),
            (60.0, Grade::Degraded),
            (50.0, Grade::Poor),
            (49.99, Grade::Critical),
            (0.0, Grade::Critical),
        ];
        for (score, expected) in cases {
            assert_eq!(grade(Some(score), None, 2.0), expected, "{score}");
        }
        assert_eq!(grade(None, Some(Grade::Good), 2.0), Grade::Unknown);
    }

    #[test]
    fn a_score_that_wavers_at_a_bound_keeps_its_grade() {
        let mut before = None;
        let mut grades = Vec::new();
        for score in [90.5, 89.5, 90.1, 88.0, 87.9, 89.9, 90.0] {
            before = Some(grade(Some(score), before, 2.0));
            grades.extend(before);
        }
        let (good, excellent) = (Grade::Good, Grade::Excellent);
        assert_eq!(
            grades,
            [
                excellent, excellent, excellent, excellent, good, good, excellent
            ]
        );
    }

    #[test]
    fn a_fall_through_several_grades_is_not_held_up_and_unknown_holds_nothing() {
        assert_eq!(grade(Some(59.0), Some(Grade::Excellent), 2.0), Grade::Poor);
        assert_eq!(
            grade(Some(59.0), Some(Grade::Degraded), 2.0),
            Grade::Degraded
        );
        assert_eq!(grade(Some(89.0), Some(Grade::Unknown), 2.0), Grade::Good);
        assert_eq!(grade(Some(89.0), Some(Grade::Critical), 2.0), Grade::Good);
    }
}
