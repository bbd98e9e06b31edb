//! The latest values of a metric, and where they go.

use super::number::tenths;
use schema::Trend;
use serde::{Deserialize, Serialize};

/// How many values an alert shows.
pub const LENGTH: usize = 6;

/// A level of which every reading's value is kept, since an alert may have to show how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `gpu_temp_c`
    GpuTemp,
    /// `memory_temp_c`
    MemoryTemp,
    /// The margin to maximum operating temperature, however it was found.
    Margin,
    /// `power_usage_w`
    Power,
}

/// The latest values of the four levels, in tenths, so that they take 50 bytes and not 200.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent([Vec<i16>; 4]);

impl Recent {
    /// Adds a value; one that is unknown leaves no trace.
    pub fn push(&mut self, level: Level, value: Option<f64>) {
        let Some(value) = value else { return };
        let values = &mut self.0[level as usize];
        if values.len() >= LENGTH {
            values.remove(0);
        }
        values.push(tenths(value));
    }

    /// The values, oldest first.
    pub fn values(&self, level: Level) -> Vec<f64> {
        self.0[level as usize]
            .iter()
            .map(|tenths| f64::from(*tenths) / 10.0)
            .collect()
    }
}

/// The direction of `values`: of the straight line through them (least squares), where it moves by more than `noise` from
/// the first to the last.
pub fn trend(values: &[f64], noise: f64) -> Trend {
    if values.len() < 2 {
        return Trend::Stable;
    }
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut with, mut alone) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let x = at as f64 - middle;
        with += x * (value - mean);
        alone += x * x;
    }
    let change = with / alone * (n - 1.0);
    if change > noise {
        Trend::Increasing
    } else if change < -noise {
        Trend::Decreasing
    } else {
        Trend::Stable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_values_are_kept_in_order() {
        let mut recent = Recent::default();
        for value in 0..10 {
            recent.push(Level::GpuTemp, Some(f64::from(value) + 0.26));
        }
        recent.push(Level::GpuTemp, None);
        assert_eq!(
            recent.values(Level::GpuTemp),
            [4.3, 5.3, 6.3, 7.3, 8.3, 9.3]
        );
        assert_eq!(recent.values(Level::Power), [0.0; 0]);
    }

    #[test]
    fn a_trend_is_a_change_beyond_noise() {
        assert_eq!(trend(&[82.0, 84.0, 88.0, 95.0], 1.0), Trend::Increasing);
        assert_eq!(trend(&[95.0, 88.0, 84.0], 1.0), Trend::Decreasing);
        assert_eq!(trend(&[60.0, 61.0, 60.0, 61.0, 60.0], 1.0), Trend::Stable);
        assert_eq!(trend(&[0.0, 1.0], 0.0), Trend::Increasing);
        assert_eq!(trend(&[5.0], 0.0), Trend::Stable);
        assert_eq!(trend(&[], 0.0), Trend::Stable);
    }
}
