//! For how long something has been seen each time that one looked.

use serde::{Deserialize, Serialize};

/// First and last sight, in event time; none when the last look did not show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak(Option<(i64, u32)>);

impl Streak {
    /// A look at `at_ms` did or did not show it.
    pub fn look(&mut self, at_ms: i64, is_seen: bool) {
        self.0 = match (is_seen, self.0) {
            (false, _) => None,
            (true, None) => Some((at_ms, 0)),
            (true, Some((first_ms, _))) => Some((first_ms, super::number::span(at_ms - first_ms))),
        };
    }

    /// The last sight, when it has been seen for `hold_ms`.
    pub fn held(self, hold_ms: i64) -> Option<i64> {
        let (first_ms, lasted_ms) = self.0?;
        (i64::from(lasted_ms) >= hold_ms).then(|| first_ms + i64::from(lasted_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_from_the_first_sight_to_the_last_and_one_look_without_it_ends_it() {
        let mut streak = Streak::default();
        for at_ms in [0, 30_000] {
            streak.look(at_ms, true);
            assert_eq!(streak.held(60_000), None, "{at_ms}");
        }
        streak.look(60_000, true);
        assert_eq!(streak.held(60_000), Some(60_000));
        streak.look(70_000, false);
        assert_eq!(streak.held(0), None);
    }
}
