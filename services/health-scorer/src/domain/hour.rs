//! Time within the last watched hour in which something held a GPU down, in steps of five minutes.
//!
//! Only steps with something in them are kept: a healthy GPU has none.

use serde::{Deserialize, Serialize};

const STEP_MS: i64 = 300_000;
const STEPS: u32 = 12;
/// What shares are taken of.
const HOUR_MS: f64 = 3_600_000.0;

/// Milliseconds by what held the GPU down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    /// `HW_THERMAL_SLOWDOWN`
    pub hw_thermal_ms: u32,
    /// `SW_THERMAL_SLOWDOWN`
    pub sw_thermal_ms: u32,
    /// `HW_POWER_BRAKE_SLOWDOWN`
    pub brake_ms: u32,
    /// `HW_SLOWDOWN`
    pub hw_slowdown_ms: u32,
    /// `SW_POWER_CAP` while drawing far less than the limit.
    pub low_cap_ms: u32,
}

impl Throttled {
    fn add(&mut self, other: Self) {
        let sum = |a: &mut u32, b: u32| *a = a.saturating_add(b);
        sum(&mut self.hw_thermal_ms, other.hw_thermal_ms);
        sum(&mut self.sw_thermal_ms, other.sw_thermal_ms);
        sum(&mut self.brake_ms, other.brake_ms);
        sum(&mut self.hw_slowdown_ms, other.hw_slowdown_ms);
        sum(&mut self.low_cap_ms, other.low_cap_ms);
    }
}

/// A time as a share of an hour: of the whole hour also for a GPU that was seen for less, so that one sample is not
/// everything.
pub fn share(millis: u32) -> f64 {
    (f64::from(millis) / HOUR_MS).min(1.0)
}

/// Steps in which something was added, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour(Vec<(u32, Throttled)>);

impl Hour {
    /// Adds what was seen at `watched_ms`, and drops what is older than an hour.
    pub fn add(&mut self, watched_ms: i64, throttled: Throttled) {
        let step = super::number::period(watched_ms, STEP_MS);
        self.0.retain(|(old, _)| old + STEPS > step);
        if throttled == Throttled::default() {
            return;
        }
        match self.0.last_mut() {
            Some((last, sum)) if *last == step => sum.add(throttled),
            _ => self.0.push((step, throttled)),
        }
    }

    /// The sums of the hour before `watched_ms`, the current step and eleven before it.
    pub fn sums(&self, watched_ms: i64) -> Throttled {
        let step = super::number::period(watched_ms, STEP_MS);
        let mut sums = Throttled::default();
        for (old, throttled) in &self.0 {
            if old + STEPS > step {
                sums.add(*throttled);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_adds_up_and_then_leaves() {
        let mut hour = Hour::default();
        let brake = |brake_ms| Throttled {
            brake_ms,
            ..Throttled::default()
        };
        hour.add(0, brake(1_000));
        hour.add(10_000, brake(2_000));
        hour.add(20_000, Throttled::default());
        hour.add(STEP_MS, brake(4_000));
        assert_eq!(hour.0.len(), 2);
        assert_eq!(hour.sums(STEP_MS).brake_ms, 7_000);
        assert_eq!(hour.sums(11 * STEP_MS).brake_ms, 7_000);
        assert_eq!(hour.sums(12 * STEP_MS).brake_ms, 4_000);
        hour.add(13 * STEP_MS, Throttled::default());
        assert_eq!(hour, Hour::default());
        assert!((share(360_000) - 0.1).abs() < 1e-12);
        assert!((share(u32::MAX) - 1.0).abs() < f64::EPSILON);
    }
}
