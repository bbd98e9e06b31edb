//! Where a score goes: the Theil-Sen slope.

/// Hours of a day.
const HOURS: f64 = 24.0;

/// The median of the slopes between all pairs of `scores` (hour, score; hours ascending), in points a day. Up to 29 % of the
/// scores may be anything without moving it (Sen 1968). None with fewer than two.
pub fn theil_sen(scores: &[(u32, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(scores.len() * scores.len().saturating_sub(1) / 2);
    for (at, (hour, score)) in scores.iter().enumerate() {
        for (later_hour, later_score) in &scores[at + 1..] {
            slopes.push((later_score - score) / f64::from(later_hour - hour));
        }
    }
    Some(median(&mut slopes)? * HOURS)
}

fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let middle = values.len() / 2;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if is_even {
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return Some(f64::midpoint(lower, *upper));
    }
    Some(*upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(points_per_day: f64, hours: u32) -> Vec<(u32, f64)> {
        (0..hours)
            .map(|hour| (hour, 90.0 + points_per_day * f64::from(hour) / HOURS))
            .collect()
    }

    #[test]
    fn a_line_has_its_own_slope_and_outliers_do_not_move_it() {
        let mut scores = line(-0.2, 168);
        assert!((theil_sen(&scores).unwrap() + 0.2).abs() < 1e-9);
        for at in (0..168).step_by(6) {
            scores[at].1 = 10.0;
        }
        assert!((theil_sen(&scores).unwrap() + 0.2).abs() < 0.05);
        assert_eq!(theil_sen(&[(1, 90.0)]), None);
    }

    proptest! {
        #[test]
        fn it_is_the_median_of_all_slopes(values in proptest::collection::vec(0..1_000_u32, 2..40)) {
            let scores: Vec<_> = (0..).zip(values.iter().map(|v| f64::from(*v) / 10.0)).collect();
            let mut slopes = Vec::new();
            for a in &scores {
                for b in &scores {
                    if a.0 < b.0 {
                        slopes.push((b.1 - a.1) / f64::from(b.0 - a.0));
                    }
                }
            }
            slopes.sort_by(f64::total_cmp);
            let n = slopes.len();
            let median = if n % 2 == 1 { slopes[n / 2] } else { f64::midpoint(slopes[n / 2 - 1], slopes[n / 2]) };
            prop_assert!((theil_sen(&scores).unwrap() - median * HOURS).abs() < 1e-9);
        }
    }
}
