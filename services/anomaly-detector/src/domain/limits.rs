//! Every threshold: its default, its range, and where the default comes from.
//!
//! One table is the configuration's sections, their defaults, their checks and the README's list.

use serde::Deserialize;

/// One key, for the manual.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// `thermal.margin_warn_c`
    pub path: String,
    /// Its default.
    pub default: String,
    /// What it does, and the default's source.
    pub text: &'static str,
}

/// A value outside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
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
                        path: concat!(stringify!($section), ".", stringify!($key)).to_owned(),
                        default: limits.$section.$key.to_string(),
                        text: $text,
                    },
                )*)*]
            }

            fn check_ranges(&self) -> Result<(), OutOfRange> {
                $($(
                    let value = f64::from(self.$section.$key);
                    if !(f64::from($least)..=f64::from($most)).contains(&value) {
                        return Err(OutOfRange {
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
    /// `[alerts]`: noise.
    alerts Alerts {
        repeat_after_s: u32 = 14_400, 60 to 2_592_000, "An alert that still fires is sent again at most this often. As Alertmanager's `repeat_interval`.";
        flap_transitions: u32 = 4, 2 to 100, "This many changes of an alert's state within `alerts.flap_window_s` make it flapping.";
        flap_window_s: u32 = 3_600, 60 to 86_400, "See `alerts.flap_transitions`.";
        flap_hold_s: u32 = 3_600, 0 to 604_800, "A flapping alert goes on firing until its condition has been away for this long.";
    }
    /// `[absence]`: GPUs that fall silent.
    absence Absence {
        intervals: u32 = 3, 2 to 100, "A GPU is silent after this many of its own intervals without a reading. The interval is learned from its readings.";
        interval_s: u32 = 10, 1 to 3_600, "The interval of a GPU of which only one reading is known. The collector's default.";
        min_silence_s: u32 = 30, 1 to 86_400, "A GPU is not silent before this, however short its interval.";
        max_step_s: u32 = 10, 1 to 3_600, "One record moves the clock that silence is measured by at most this far: when everything was silent, that was not the GPU.";
        return_s: u32 = 300, 0 to 86_400, "A lost GPU is back when it has reported for this long.";
        forget_after_s: u32 = 2_592_000, 3_600 to 31_536_000, "A GPU silent for this long is forgotten, and its alerts end. Above 28 days, or its history would be gone before the repair (the trace of stepfun-ai: 329 h at the 90th percentile).";
    }
    /// `[load]`: when a GPU counts as busy.
    load Load {
        busy_utilization_pct: f64 = 20.0, 0 to 100, "Busy from this utilisation on; below it clocks, links and temperatures say little.";
        busy_power_share: f64 = 0.4, 0 to 1, "Or from this share of the power limit on.";
    }
    /// `[ecc]`: memory errors.
    ecc Ecc {
        clean_after_reset_s: u32 = DAY_S, 0 to 2_592_000, "Uncorrectable errors end when a reset was seen and this long was clean.";
        clean_without_reset_s: u32 = 604_800, 0 to 31_536_000, "Or when this long was clean, since not every reset can be seen.";
        contained_clean_s: u32 = DAY_S, 0 to 2_592_000, "A contained error ends when this long was clean.";
        storm_per_hour: u32 = 1_000, 1 to 1_000_000_000, "Corrected errors an hour that are a storm. Between GPU Health Index's 100/h and the limits that clouds put on lifetime counts.";
        storm_hold_s: u32 = 7_200, 0 to 604_800, "For this long.";
        storm_at_once_per_hour: u32 = 100_000, 1 to 2_000_000_000, "This many within an hour are a storm at once. A GB200 gave 17,700 a second (DCGM issue 313).";
        storm_calm_per_hour: u32 = 100, 0 to 1_000_000_000, "A storm ends below this rate.";
        storm_calm_s: u32 = 21_600, 0 to 604_800, "For this long.";
    }
    /// `[thermal]`: temperatures against what the GPU itself reports as its limits.
    thermal Thermal {
        margin_warn_c: f64 = 2.0, -20 to 60, "Warn at this margin to the maximum operating temperature.";
        margin_warn_hold_s: u32 = 60, 0 to 86_400, "For this long.";
        margin_critical_hold_s: u32 = 30, 0 to 86_400, "Critical when the margin is at the hardware's slowdown for this long. The slowdown is what the GPU reports (fields 152 and 158), else the model's of NVSentinel's ADR-042.";
        margin_clear_c: f64 = 6.0, -20 to 90, "Ends above this margin.";
        margin_clear_s: u32 = 300, 0 to 86_400, "For this long.";
        hbm_warn_c: f64 = 5.0, 0 to 60, "Warn when HBM is this close to its maximum operating temperature.";
        hbm_hold_s: u32 = 60, 0 to 86_400, "For this long.";
        hbm_clear_c: f64 = 8.0, 0 to 90, "Ends when it is further away than this.";
        hbm_clear_s: u32 = 300, 0 to 86_400, "For this long.";
        spike_rise_c: f64 = 8.0, 1 to 60, "Warn when a busy GPU is this much hotter than it used to be at equal power.";
        spike_z: f64 = 4.0, 1 to 100, "And this many standard deviations.";
        spike_hold_s: u32 = 60, 0 to 86_400, "For this long.";
        spike_clear_z: f64 = 2.0, 0 to 100, "Ends below this many standard deviations, or when the GPU is idle.";
        spike_clear_s: u32 = 300, 0 to 86_400, "For this long.";
        spike_warmup_readings: u32 = 360, 2 to 1_000_000, "Readings of a GPU before its baseline is believed: an hour at 10 s.";
        spike_bucket_readings: u32 = 30, 2 to 65_535, "And at the power in question.";
        spike_memory_readings: u32 = 360, 2 to 65_535, "How many readings a baseline remembers. What stays different becomes the baseline after about twice as many.";
        spike_settle_s: u32 = 180, 0 to 86_400, "How long power must have been steady: temperature follows it by minutes.";
        spike_smoothing_s: u32 = 60, 0 to 3_600, "The time constant by which power is smoothed.";
        sensor_resolution_c: f64 = 1.0, 0.1 to 10, "The least standard deviation: sensors give whole degrees.";
    }
    /// `[throttling]`: clocks held down.
    throttling Throttling {
        hw_thermal_share: f64 = 0.05, 0.001 to 1, "Share of 5 minutes with the hardware's thermal slowdown (0x40). A single sample is none: DCGM's zero threshold alarms too often (DCGM issues 242, 270, 285).";
        hw_thermal_critical_share: f64 = 0.5, 0.001 to 1, "Share of 15 minutes that is critical.";
        sw_thermal_share: f64 = 0.2, 0.001 to 1, "Share of 5 minutes with the driver's thermal slowdown (0x20).";
        hw_slowdown_share: f64 = 0.05, 0.001 to 1, "Share of 5 minutes with a hardware slowdown (0x8) that names no cause.";
        min_readings: u32 = 2, 1 to 30, "Readings within 5 minutes that must show it.";
        power_brake_readings: u32 = 2, 1 to 30, "Readings within 5 minutes that must show the external power brake (0x80).";
        clear_s: u32 = 900, 0 to 86_400, "Throttling ends when this long was clean.";
        power_cap_share: f64 = 0.85, 0.1 to 1, "Capped by software (0x4) while drawing less than this share of the limit in force. At the limit a cap is normal.";
        power_cap_hold_s: u32 = 600, 0 to 86_400, "For this long.";
    }
    /// `[pcie]`: the link to the host.
    pcie Pcie {
        replay_hold_s: u32 = 300, 0 to 86_400, "More replays a minute than DCGM's health watch allows for generation and lanes, for this long.";
        replay_smoothing_s: u32 = 60, 0 to 3_600, "The time constant by which the rate is smoothed.";
        replay_clear_s: u32 = 1_800, 0 to 604_800, "Ends when it is below half the limit for this long.";
        degraded_hold_s: u32 = 300, 0 to 86_400, "Fewer lanes or a lower generation than possible while busy, for this long. At idle a lower generation saves power.";
        restored_s: u32 = 60, 0 to 86_400, "Ends when it is restored for this long.";
    }
    /// `[nvlink]`: links between GPUs.
    nvlink Nvlink {
        crc_per_second: f64 = 100.0, 0.001 to 1_000_000_000, "CRC errors a second that are an error of their own. DCGM's health watch.";
        critical_minutes: u32 = 3, 2 to 60, "Critical when this many minutes of an hour had errors.";
        clear_s: u32 = 3_600, 0 to 604_800, "Ends when this long was clean.";
        down_hold_s: u32 = 30, 0 to 86_400, "Fewer links up than this GPU has had, for this long.";
        up_s: u32 = 60, 0 to 86_400, "Ends when they are up for this long.";
    }
    /// `[xid]`: faults that the driver names.
    xid Xid {
        same_event_s: u32 = 60, 0 to 3_600, "The gauge and the count of one Xid within this long are one occurrence: exporters refresh them at different times.";
        burst_s: u32 = 180, 0 to 86_400, "Occurrences of one application Xid closer than this are one burst. NVSentinel's burst window.";
        repeat_window_s: u32 = DAY_S, 60 to 2_592_000, "Two bursts of Xid 13 or 31 on one GPU within this, in different jobs, are the GPU's doing. NVSentinel: twice in 24 h.";
        fatal_clean_s: u32 = 3_600, 0 to 2_592_000, "A fatal Xid ends when a reset was seen and this long was clean.";
        fatal_without_reset_s: u32 = 604_800, 0 to 31_536_000, "Or when this long was clean, since not every reset can be seen.";
        hardware_clear_s: u32 = DAY_S, 0 to 2_592_000, "A hardware Xid that is not fatal, and a repeated application Xid, end when this long was clean.";
        info_clear_s: u32 = 3_600, 0 to 2_592_000, "Information ends when this long was clean.";
    }
    /// `[prediction]`: lead indicators.
    prediction Prediction {
        remap_rows: u32 = 2, 1 to 512, "New uncorrectable row remaps within `prediction.window_days` that lead to failure. Delta (arXiv 2503.11901): half of the remaps do not end it.";
        window_days: u32 = 28, 1 to 365, "How far back remaps and incidents count. Meta's lemon nodes (arXiv 2410.21680): 28 days.";
        lemon_incidents: u32 = 3, 2 to 8, "Repair-class incidents within it that make a lemon.";
        same_incident_s: u32 = 21_600, 0 to 604_800, "Repair-class alerts closer than this to the one before are one incident: a fault shows in several ways.";
        clear_s: u32 = DAY_S, 0 to 2_592_000, "Ends when the indicators are gone for this long.";
    }
}

impl Limits {
    /// Checks ranges, and the relations between keys.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        self.check_ranges()?;
        let below = |key: &str, value: f64, other: &str, limit: f64| {
            if value < limit {
                return Ok(());
            }
            Err(OutOfRange {
                key: key.to_owned(),
                reason: format!("must be below {other}, which is {limit}"),
            })
        };
        let thermal = &self.thermal;
        below(
            "thermal.margin_warn_c",
            thermal.margin_warn_c,
            "thermal.margin_clear_c",
            thermal.margin_clear_c,
        )?;
        below(
            "thermal.hbm_warn_c",
            thermal.hbm_warn_c,
            "thermal.hbm_clear_c",
            thermal.hbm_clear_c,
        )?;
        below(
            "thermal.spike_clear_z",
            thermal.spike_clear_z,
            "thermal.spike_z",
            thermal.spike_z,
        )?;
        let ecc = &self.ecc;
        below(
            "ecc.storm_calm_per_hour",
            f64::from(ecc.storm_calm_per_hour),
            "ecc.storm_per_hour",
            f64::from(ecc.storm_per_hour),
        )?;
        below(
            "ecc.storm_per_hour",
            f64::from(ecc.storm_per_hour),
            "ecc.storm_at_once_per_hour",
            f64::from(ecc.storm_at_once_per_hour),
        )?;
        below(
            "thermal.spike_bucket_readings",
            f64::from(thermal.spike_bucket_readings),
            "thermal.spike_memory_readings, or it would never be reached",
            f64::from(thermal.spike_memory_readings) + 1.0,
        )?;
        below(
            "absence.min_silence_s",
            f64::from(self.absence.min_silence_s),
            "absence.forget_after_s",
            f64::from(self.absence.forget_after_s),
        )
    }
}

/// Seconds of a key as milliseconds.
pub fn ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_own_ranges_and_each_key_says_where_it_comes_from() {
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
        assert_eq!(key(|l| l.thermal.spike_z = f64::NAN), "thermal.spike_z");
        assert_eq!(
            key(|l| l.thermal.margin_warn_c = 6.0),
            "thermal.margin_warn_c"
        );
        assert_eq!(
            key(|l| l.ecc.storm_calm_per_hour = 5_000),
            "ecc.storm_calm_per_hour"
        );
        assert_eq!(
            key(|l| l.thermal.spike_memory_readings = 20),
            "thermal.spike_bucket_readings"
        );
        assert_eq!(
            key(|l| l.absence.min_silence_s = 3_600 * 24 * 40),
            "absence.min_silence_s"
        );
    }
}
