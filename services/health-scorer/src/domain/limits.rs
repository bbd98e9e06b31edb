//! Every threshold: its default, its range, and where the default comes from.
//!
//! One table is the configuration's sections, their defaults, their checks and the README's list.

use serde::Deserialize;

/// One key, for the manual.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `thermal.margin_c`
    pub path: &'static str,
    /// Its default.
    pub default: String,
    /// What it does, and the default's source.
    pub text: &'static str,
}

/// A value that won't do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLimit {
    /// The key, as a dotted path.
    pub key: String,
    /// What it must be.
    pub reason: String,
}

macro_rules! limits {
    ($(
        $(#[$doc:meta])*
        $section:ident $name:ident { $( $key:ident: $type:ty = $default:expr, $least:literal to $most:literal, $text:literal; )* }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $name {
                $( #[doc = $text] pub $key: $type, )*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// Every threshold, by section.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits {
            $( $(#[$doc])* pub $section: $name, )*
        }

        impl Limits {
            /// Every key with its default.
            pub fn keys() -> Vec<Key> {
                let limits = Self::default();
                vec![$($(
                    Key {
                        path: concat!(stringify!($section), ".", stringify!($key)),
                        default: limits.$section.$key.to_string(),
                        text: $text,
                    },
                )*)*]
            }

            fn check_ranges(&self) -> Result<(), BadLimit> {
                $($(
                    let value = f64::from(self.$section.$key);
                    if !(f64::from($least)..=f64::from($most)).contains(&value) {
                        return Err(BadLimit {
                            key: concat!(stringify!($section), ".", stringify!($key)).to_owned(),
                            reason: format!("must be {} to {}, is {value}", $least, $most),
                        });
                    }
                )*)*
                Ok(())
            }
        }
    };
}

/// A day in seconds.
const DAY_S: u32 = 86_400;

limits! {
    /// `[limits.publish]`: when a score is written.
    publish Publish {
        change_points: f64 = 1.0, 0.01 to 100, "A score is written when it differs by this much from the last one written.";
        heartbeat_s: u32 = 900, 10 to 86_400, "And at the latest after this much stream time.";
        grade_hysteresis_points: f64 = 2.0, 0 to 9, "A grade is left downwards only when the score is this far below its bound, and upwards at the bound of the better one.";
        degraded_points: f64 = 10.0, 0 to 100, "A factor that takes more points than this makes the state `degraded` at least.";
    }
    /// `[limits.confidence]`: how much must be known.
    confidence Confidence {
        least: f64 = 0.5, 0 to 1, "Below this confidence there is no number and the grade is `unknown`.";
        divergence: f64 = 0.2, 0 to 1, "What confidence loses while utilisation and profiler contradict each other.";
    }
    /// `[limits.absence]`: GPUs that fall silent.
    absence Absence {
        intervals: u32 = 3, 2 to 100, "A GPU is lost after this many of its own intervals without a reading. The interval is the median of its last five.";
        interval_s: u32 = 60, 1 to 3_600, "The interval of a GPU of which only one reading is known: a long one, so that a slow collector's GPUs are not lost at first.";
        max_interval_s: u32 = 300, 1 to 3_600, "No interval counts as longer than this.";
        min_silence_s: u32 = 30, 1 to 86_400, "A GPU is not lost before this, however short its interval.";
        max_step_s: u32 = 10, 1 to 3_600, "One record moves watched time by at most this much: when everything was silent, that was no GPU's doing.";
        return_s: u32 = 300, 0 to 86_400, "A GPU that reported Xid 79 and goes on reporting for this long is there after all.";
        returned_cap_s: u32 = DAY_S, 0 to 2_592_000, "How long the cap after a return holds.";
        forget_after_s: u32 = 30 * DAY_S, 86_400 to 31_536_000, "A GPU silent for this long is forgotten. Above 28 days, or its history would be gone before the repair (`InfiniteHBD`: 329 h at the 90th percentile).";
    }
    /// `[limits.load]`: when a GPU counts as busy.
    load Load {
        busy_utilization_pct: f64 = 20.0, 0 to 100, "Busy above this utilisation; below it temperatures and links say little.";
        busy_power_share: f64 = 0.4, 0 to 1, "Or above this share of the power limit.";
        min_samples: u32 = 3, 1 to 90, "Samples in 15 minutes that it takes to judge a temperature, a mean or a field that is missing.";
    }
    /// `[limits.memory]`: ECC and row remapping.
    memory Memory {
        repeat_count: u32 = 2, 2 to 8, "Double-bit errors within `memory.repeat_days` that cap the score.";
        repeat_days: u32 = 30, 1 to 365, "See `memory.repeat_count`.";
        sbe_per_hour: f64 = 10.0, 0.1 to 1_000_000, "Single-bit errors an hour that cost nothing.";
        recent_remap_days: u32 = 7, 1 to 365, "How long a remapped row is new.";
        remaps_exhausted: u32 = 512, 1 to 65_535, "Rows remapped in all at which spare rows are used up.";
        retired_full: u32 = 63, 1 to 65_535, "Pages retired in all at which there is room for one more.";
    }
    /// `[limits.thermal]`: temperatures.
    thermal Thermal {
        margin_c: f64 = 8.0, 0 to 60, "A margin to the maximum operating temperature that costs nothing, in degrees.";
        worst_share: f64 = 0.05, 0.001 to 1, "The share of the samples under load in 15 minutes that is judged by its mildest.";
        ignored_share: f64 = 0.001, 0 to 1, "A throttled share of an hour that costs nothing.";
    }
    /// `[limits.performance]`: links and the profiler.
    performance Performance {
        link_hold_s: u32 = 60, 0 to 86_400, "A narrow or slow PCIe link must show under load for this long: it takes a moment to wake up.";
        divergence_utilization_pct: f64 = 90.0, 0 to 100, "Utilisation from which the profiler must see work.";
        divergence_sm_active_pct: f64 = 1.0, 0 to 100, "Activity of the multiprocessors below which there is none.";
        divergence_hold_s: u32 = 600, 0 to 86_400, "For this long.";
    }
    /// `[limits.power]`: draw and limits.
    power Power {
        over_limit_ratio: f64 = 1.15, 1 to 10, "Mean power over the limit in force that is too much.";
        low_cap_share: f64 = 0.85, 0 to 1, "Capped while drawing less than this share of the limit is odd.";
        low_cap_s: u32 = 600, 0 to 3_600, "For this long within an hour.";
    }
    /// `[limits.links]`: NVLink.
    links Links {
        nvlink_crc_per_second: f64 = 100.0, 0.001 to 1_000_000_000, "CRC errors a second that count.";
        nvlink_down_hold_s: u32 = 30, 0 to 86_400, "A link must be down for this long.";
    }
    /// `[limits.faults]`: Xids and repeats.
    faults Faults {
        same_fault_s: u32 = 60, 0 to 3_600, "One kind of fault within this long is one occurrence. Xids of one fault come within 5 s (Delta), but its counter, the gauge and the count of Xids are read at different times.";
        reset_assumed_s: u32 = 7 * DAY_S, 60 to 31_536_000, "What holds until a reset is seen ends after this, since not every reset can be seen.";
        job_repeat: u32 = 3, 2 to 8, "Jobs with an application Xid within `faults.job_window_s` that make it the GPU's.";
        job_window_s: u32 = DAY_S, 60 to 2_592_000, "See `faults.job_repeat`.";
        incident_count: u32 = 3, 2 to 8, "Incidents within `faults.incident_days` that make a lemon.";
        incident_days: u32 = 28, 1 to 365, "See `faults.incident_count`. Meta RSC's window.";
        same_incident_s: u32 = 21_600, 0 to 604_800, "Faults within this long are one incident: one fault shows in several ways.";
    }
    /// `[limits.completeness]`: missing readings.
    completeness Completeness {
        least_share: f64 = 0.95, 0 to 1, "A share of time with readings that costs nothing.";
        least_s: u32 = 3_600, 60 to 86_400, "The share is taken of this long at least, so that one missing reading of a new GPU is none.";
    }
    /// `[limits.trend]`: hourly scores.
    trend Trend {
        least_hours: u32 = 24, 2 to 168, "Hourly scores that a trend takes.";
    }
}

impl Limits {
    /// Checks ranges, and the relations between keys.
    pub fn validate(&self) -> Result<(), BadLimit> {
        self.check_ranges()?;
        let at_most = |key: &str, value: u32, other: &str, limit: u32| {
            if value <= limit {
                return Ok(());
            }
            Err(BadLimit {
                key: key.to_owned(),
                reason: format!("must be at most {other}, which is {limit}"),
            })
        };
        let absence = &self.absence;
        at_most(
            "absence.interval_s",
            absence.interval_s,
            "absence.max_interval_s",
            absence.max_interval_s,
        )?;
        at_most(
            "absence.min_silence_s",
            absence.min_silence_s,
            "absence.forget_after_s",
            absence.forget_after_s,
        )?;
        at_most(
            "absence.returned_cap_s",
            absence.returned_cap_s,
            "absence.forget_after_s",
            absence.forget_after_s,
        )?;
        at_most(
            "faults.same_fault_s",
            self.faults.same_fault_s,
            "faults.same_incident_s",
            self.faults.same_incident_s,
        )
    }
}

/// Seconds of a key as milliseconds.
pub fn seconds_ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

/// Days of a key as milliseconds.
pub fn days_ms(days: u32) -> i64 {
    i64::from(days) * super::factor::DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_own_ranges_and_each_key_says_what_it_does() {
        Limits::default().validate().unwrap();
        for key in Limits::keys() {
            assert!(key.text.ends_with('.'), "{}: {}", key.path, key.text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.validate().unwrap_err().key
        };
        assert_eq!(key(|l| l.absence.intervals = 0), "absence.intervals");
        assert_eq!(key(|l| l.thermal.margin_c = f64::NAN), "thermal.margin_c");
        assert_eq!(key(|l| l.absence.interval_s = 600), "absence.interval_s");
        assert_eq!(
            key(|l| {
                l.absence.forget_after_s = 86_400;
                l.absence.returned_cap_s = 86_401;
            }),
            "absence.returned_cap_s"
        );
        assert_eq!(
            key(|l| l.faults.same_incident_s = 59),
            "faults.same_fault_s"
        );
    }
}
