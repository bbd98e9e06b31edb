//! What temperature a GPU used to have at the power it draws now.
//!
//! Load comes from jobs, not from the hour of the day: 60 °C is much for an idle GPU and little for a busy one. So the
//! baseline is kept by power. Temperature follows power by minutes; while power moves, nothing is learned or judged.

use super::super::limits::{Thermal, ms};
use super::super::number::{narrow, period, small};
use serde::{Deserialize, Serialize};

/// Buckets up to the power limit.
const BUCKETS_TO_LIMIT: f64 = 8.0;
/// The highest bucket: boards draw more than their limit for moments.
const LAST_BUCKET: f64 = 15.0;
/// What differs by more than this many standard deviations, or [`CLIP_C`], is learned as if it differed by no more: one
/// must not learn from what one just warned of.
const CLIP_DEVIATIONS: f64 = 3.0;
/// See [`CLIP_DEVIATIONS`].
const CLIP_C: f64 = 4.0;

/// Mean and spread of the temperature by power.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Watts of a bucket; fixed once there is one, or what was learned would be about another power.
    width_w: f32,
    smooth_power_w: f32,
    /// The bucket that the power is in, or near.
    anchor: u8,
    /// Seconds since the epoch since when.
    anchored_s: u32,
    readings: u32,
    buckets: Vec<Bucket>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    index: u8,
    readings: u16,
    mean_c: f32,
    variance: f32,
}

/// How a temperature compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What it used to be.
    pub expected_c: f64,
    /// How far above.
    pub rise_c: f64,
    /// In standard deviations, of which the sensor's resolution is the least.
    pub z: f64,
}

/// A reading's temperature with the power that made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Core temperature.
    pub temp_c: f64,
    /// Board power.
    pub power_w: f64,
    /// The limit that buckets are made from, if there are none yet.
    pub limit_w: f64,
    /// Event time.
    pub now_ms: i64,
    /// Milliseconds since the reading before; none when that is too long ago.
    pub step_ms: Option<i64>,
}

impl Baseline {
    /// Compares `sample`, then learns from it. None while power moves, or too little is known at this power.
    pub fn compare(&mut self, sample: &Sample, limits: &Thermal) -> Option<Comparison> {
        if !self.settle(sample, limits) {
            return None;
        }
        let index = self.bucket_index();
        let at = self.buckets.iter().position(|b| b.index == index);
        let at = at.unwrap_or_else(|| {
            self.buckets.push(Bucket {
                index,
                readings: 0,
                mean_c: narrow(sample.temp_c),
                variance: 0.0,
            });
            self.buckets.len() - 1
        });
        let bucket = &mut self.buckets[at];
        let is_known = self.readings >= limits.spike_warmup_readings
            && u32::from(bucket.readings) >= limits.spike_bucket_readings;
        let comparison = bucket.compare(sample.temp_c, limits);
        bucket.learn(comparison, limits);
        self.readings = self.readings.saturating_add(1);
        is_known.then_some(comparison)
    }

    /// Follows the power; true when it has been steady for long enough.
    fn settle(&mut self, sample: &Sample, limits: &Thermal) -> bool {
        if self.width_w <= 0.0 {
            self.width_w = narrow(sample.limit_w / BUCKETS_TO_LIMIT);
        }
        let now_s = period(sample.now_ms, 1_000);
        let smooth_w = f64::from(self.smooth_power_w);
        let Some(step_ms) = sample.step_ms else {
            self.smooth_power_w = narrow(sample.power_w);
            self.anchor = self.bucket_index();
            self.anchored_s = now_s;
            return false;
        };
        let step_ms = step_ms as f64;
        let share = step_ms / (step_ms + ms(limits.spike_smoothing_s) as f64);
        self.smooth_power_w = narrow(smooth_w + share * (sample.power_w - smooth_w));
        let index = self.bucket_index();
        // The neighbour does not count as a move, or power on a border would never be steady.
        if index.abs_diff(self.anchor) > 1 {
            self.anchor = index;
            self.anchored_s = now_s;
        }
        now_s.saturating_sub(self.anchored_s) >= limits.spike_settle_s
    }

    fn bucket_index(&self) -> u8 {
        let index = (f64::from(self.smooth_power_w) / f64::from(self.width_w)).floor();
        u8::try_from(small(index.min(LAST_BUCKET))).unwrap_or(u8::MAX)
    }
}

impl Bucket {
    fn compare(&self, temp_c: f64, limits: &Thermal) -> Comparison {
        let expected_c = f64::from(self.mean_c);
        let deviation = f64::from(self.variance)
            .sqrt()
            .max(limits.sensor_resolution_c);
        let rise_c = temp_c - expected_c;
        Comparison {
            expected_c,
            rise_c,
            z: rise_c / deviation,
        }
    }

    fn learn(&mut self, comparison: Comparison, limits: &Thermal) {
        let most = u16::try_from(limits.spike_memory_readings).unwrap_or(u16::MAX);
        self.readings = self.readings.saturating_add(1).min(most);
        let weight = 1.0 / f64::from(self.readings);
        let variance = f64::from(self.variance);
        let clip_c = (CLIP_DEVIATIONS * variance.sqrt()).max(CLIP_C);
        let difference = comparison.rise_c.clamp(-clip_c, clip_c);
        self.mean_c = narrow(f64::from(self.mean_c) + weight * difference);
        self.variance = narrow((1.0 - weight) * (variance + weight * difference * difference));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, power_w: f64, temp_c: f64) -> Sample {
        Sample {
            temp_c,
            power_w,
            limit_w: 700.0,
            now_ms: 1_770_805_800_000 + at * 10_000,
            step_ms: (at > 0).then_some(10_000),
        }
    }

    #[test]
    fn nothing_is_said_before_an_hour_and_then_a_rise_at_equal_power_is() {
        let (mut baseline, limits) = (Baseline::default(), Thermal::default());
        for at in 0..378 {
            let temp_c = 60.0 + f64::from(u8::try_from(at % 2).unwrap());
            assert_eq!(
                baseline.compare(&sample(at, 600.0, temp_c), &limits),
                None,
                "{at}"
            );
        }
        let calm = baseline
            .compare(&sample(378, 600.0, 61.0), &limits)
            .unwrap();
        assert!(calm.z.abs() < 1.0, "{calm:?}");
        let hot = baseline
            .compare(&sample(379, 600.0, 70.0), &limits)
            .unwrap();
        assert!((hot.rise_c - 9.5).abs() < 0.2 && hot.z > 4.0, "{hot:?}");
    }

    #[test]
    fn a_gpu_that_cools_down_after_its_job_is_not_hot_for_an_idle_one() {
        let (mut baseline, limits) = (Baseline::default(), Thermal::default());
        let mut at = 0;
        let mut worst = f64::MIN;
        for _ in 0..8 {
            // An hour idle at 70 W and 32 °C, an hour busy at 650 W and 64 °C; temperature lags by a minute and a half.
            let mut temp_c = 32.0;
            for power_w in [70.0, 650.0] {
                for _ in 0..360 {
                    let goal = if power_w > 100.0 { 64.0 } else { 32.0 };
                    temp_c += (goal - temp_c) * 10.0 / 100.0;
                    if let Some(comparison) =
                        baseline.compare(&sample(at, power_w, temp_c), &limits)
                    {
                        worst = worst.max(comparison.rise_c);
                    }
                    at += 1;
                }
            }
        }
        assert!(worst < limits.spike_rise_c, "{worst}");
    }

    #[test]
    fn what_stays_different_becomes_the_baseline() {
        let (mut baseline, limits) = (Baseline::default(), Thermal::default());
        for at in 0..1_000 {
            let _ = baseline.compare(&sample(at, 600.0, 60.0), &limits);
        }
        let after = |readings: i64, baseline: &mut Baseline| {
            let mut last = None;
            for at in 0..readings {
                last = baseline.compare(&sample(1_000 + at, 600.0, 70.0), &limits);
            }
            last.unwrap().rise_c
        };
        assert!(after(100, &mut baseline.clone()) > 8.0);
        assert!(after(1_500, &mut baseline) < 1.0);
    }
}
