//! Clocks held down by heat, by an external power brake, or by a power cap below the limit.
//!
//! Only the bits of [`schema::CONCERN_MASK`] are trouble. Idle, clock settings, sync boost and a power cap at the limit are
//! how a healthy GPU looks.

use super::super::action::Action;
use super::super::counter::{Counter, Origin};
use super::super::finding::{Detail, Finding, Series, Signal, plain};
use super::super::limits::Throttling;
use super::super::number::{period, small};
use super::super::reading::Health;
use super::super::recent::Level;
use super::super::rule::{Rule, RuleDef};
use schema::{Severity, ThrottleReason};
use serde::{Deserialize, Serialize};

/// `thermal_throttle`
pub const THERMAL_THROTTLE: RuleDef = RuleDef {
    rule: Rule::ThermalThrottle,
    id: "thermal_throttle",
    alert_type: "throttling",
    severity: Severity::Warning,
    urgent_severity: Severity::Critical,
    is_repair_class: false,
    condition: "hardware thermal slowdown (0x40) in 5 % of 5 min, or the driver's (0x20) in 20 %; critical: 0x40 in 50 % of 15 min",
    clears: "15 min without",
    source: "DCGM alarms at the first sample, too often (issues 242, 270, 285); shares: our choice",
    words: "reduce workload; inspect cooling",
    action: Action::None,
    urgent_action: Action::None,
    message: describe,
};

/// `hw_slowdown`
pub const HW_SLOWDOWN: RuleDef = RuleDef {
    rule: Rule::HwSlowdown,
    id: "hw_slowdown",
    alert_type: "throttling",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "hardware slowdown (0x8) in 5 % of 5 min that names neither heat (0x40) nor power brake (0x80)",
    clears: "15 min without",
    source: "bit 0x8 is the umbrella of 0x40 and 0x80; share as thermal_throttle",
    words: "inspect cooling and power supply: the hardware names no cause",
    action: Action::None,
    urgent_action: Action::None,
    message: describe,
};

/// `power_brake`
pub const POWER_BRAKE: RuleDef = RuleDef {
    rule: Rule::PowerBrake,
    id: "power_brake",
    alert_type: "throttling",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "external power brake (0x80) in 2 readings of 5 min",
    clears: "15 min without",
    source: "bit 0x80 comes from outside: power supply, distribution, chassis; 2 readings: our choice",
    words: "inspect power supplies and distribution of the chassis: the brake is pulled from outside the GPU",
    action: Action::None,
    urgent_action: Action::None,
    message: describe,
};

/// `power_cap_low`
pub const POWER_CAP_LOW: RuleDef = RuleDef {
    rule: Rule::PowerCapLow,
    id: "power_cap_low",
    alert_type: "throttling",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "software power cap (0x4) while drawing less than 85 % of the limit in force, for 10 min",
    clears: "15 min without",
    source: "a cap at the limit is normal: A100s draw 1.10 times it at the 99th percentile (AcmeTrace); 85 %: our choice",
    words: "check power configuration and voltage regulators",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| {
        format!(
            "capped by software at {} W, where the limit in force allows more than {} W",
            finding.shown(),
            finding.limit()
        )
    },
};

const MINUTE_MS: i64 = 60_000;
/// Minutes over which a share is taken.
const SHORT_MINUTES: u32 = 5;
/// Minutes over which the critical share is taken, and for which the window remembers.
const LONG_MINUTES: u32 = 15;

/// The reasons of concern, by their place in the window.
const REASONS: [ThrottleReason; 4] = [
    ThrottleReason::HwThermalSlowdown,
    ThrottleReason::SwThermalSlowdown,
    ThrottleReason::HwPowerBrakeSlowdown,
    ThrottleReason::HwSlowdown,
];
const HW_THERMAL: usize = 0;
const SW_THERMAL: usize = 1;
const POWER_BRAKE_AT: usize = 2;
const HW_UNNAMED: usize = 3;

/// How much a GPU was throttled in the last quarter of an hour. Only minutes with any are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottlingState {
    /// The counters of 0x40, 0x20 and 0x80 (fields 1423, 1422, 1424).
    counters: [Counter; 3],
    minutes: Vec<Minute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Minute {
    /// Minutes since the epoch.
    at: u32,
    throttled_ms: [u16; 4],
    readings: [u8; 4],
}

impl ThrottlingState {
    /// Takes in a reading; `step_ms` is the time since the one before, none when that is too long ago.
    pub fn observe(
        &mut self,
        health: &Health,
        enforced_limit_w: Option<f64>,
        limits: &Throttling,
        now_ms: i64,
        step_ms: Option<i64>,
        findings: &mut Vec<Finding>,
    ) {
        let now = self.take(health, now_ms, step_ms);
        findings.push(self.thermal(now, limits, now_ms));
        findings.push(self.rule(
            Rule::HwSlowdown,
            HW_UNNAMED,
            limits.hw_slowdown_share,
            limits.min_readings,
            now,
            now_ms,
        ));
        findings.push(self.rule(
            Rule::PowerBrake,
            POWER_BRAKE_AT,
            0.0,
            limits.power_brake_readings,
            now,
            now_ms,
        ));
        findings.push(power_cap(health, enforced_limit_w, limits));
    }

    /// Percent throttled by the reason at `place`, for each of the last minutes.
    pub fn percent_by_minute(&self, place: usize, now_ms: i64) -> Vec<f64> {
        let now = period(now_ms, MINUTE_MS);
        (now.saturating_sub(SHORT_MINUTES - 1)..=now)
            .map(|at| {
                let minute = self.minutes.iter().find(|minute| minute.at == at);
                minute.map_or(0.0, |minute| {
                    f64::from(minute.throttled_ms[place]) / MINUTE_MS as f64 * 100.0
                })
            })
            .collect()
    }

    /// Adds a reading to the window; says which reasons it shows, none where it shows nothing about any.
    fn take(&mut self, health: &Health, now_ms: i64, step_ms: Option<i64>) -> Option<[bool; 4]> {
        let counted = [
            health.hw_thermal_slowdown_ns,
            health.sw_thermal_slowdown_ns,
            health.hw_power_brake_slowdown_ns,
        ];
        let mask = health.throttle_reasons;
        if mask.is_none() && counted.iter().all(Option::is_none) {
            return None;
        }
        let mut shows = [false; 4];
        let mut throttled_ms = [0.0; 4];
        let step = step_ms.unwrap_or(0) as f64;
        for (place, reason) in REASONS.iter().enumerate() {
            let has_bit = mask.is_some_and(|mask| mask & reason.bit() != 0);
            // The counters are exact; the mask is one look in each interval.
            let exact_ns = self.counters.get_mut(place).and_then(|counter| {
                let increment = counter.advance(counted[place], Origin::DriverLoad)?;
                (step_ms.is_some() && !increment.is_reset).then_some(increment.amount)
            });
            throttled_ms[place] = match exact_ns {
                Some(ns) => (ns as f64 / 1e6).min(step),
                None if has_bit => step,
                None => 0.0,
            };
            shows[place] = has_bit || throttled_ms[place] > 0.0;
        }
        // 0x8 is the umbrella over 0x40 and 0x80: it counts by itself only where it names neither.
        if shows[HW_THERMAL] || shows[POWER_BRAKE_AT] {
            shows[HW_UNNAMED] = false;
            throttled_ms[HW_UNNAMED] = 0.0;
        }
        let at = period(now_ms, MINUTE_MS);
        self.minutes.retain(|minute| minute.at + LONG_MINUTES > at);
        if shows.contains(&true) {
            if self.minutes.last().is_none_or(|minute| minute.at != at) {
                self.minutes.push(Minute {
                    at,
                    throttled_ms: [0; 4],
                    readings: [0; 4],
                });
            }
            if let Some(minute) = self.minutes.last_mut() {
                for place in 0..REASONS.len() {
                    let so_far = f64::from(minute.throttled_ms[place]);
                    minute.throttled_ms[place] = small(so_far + throttled_ms[place]);
                    let seen = &mut minute.readings[place];
                    *seen = seen.saturating_add(u8::from(shows[place]));
                }
            }
        }
        Some(shows)
    }

    /// Share of the last `minutes` with the reason at `place`, and how many readings showed it.
    fn share(&self, place: usize, minutes: u32, now_ms: i64) -> (f64, u32) {
        let now = period(now_ms, MINUTE_MS);
        let window = self
            .minutes
            .iter()
            .filter(|minute| minute.at + minutes > now);
        let (throttled_ms, readings) = window.fold((0.0, 0), |(ms, readings), minute| {
            (
                ms + f64::from(minute.throttled_ms[place]),
                readings + u32::from(minute.readings[place]),
            )
        });
        (
            throttled_ms / (MINUTE_MS as f64 * f64::from(minutes)),
            readings,
        )
    }

    fn thermal(&self, now: Option<[bool; 4]>, limits: &Throttling, now_ms: i64) -> Finding {
        let rule = Rule::ThermalThrottle;
        let hardware = self.rule(
            rule,
            HW_THERMAL,
            limits.hw_thermal_share,
            limits.min_readings,
            now,
            now_ms,
        );
        if hardware.signal == Signal::Raise {
            let (share, _) = self.share(HW_THERMAL, LONG_MINUTES, now_ms);
            if share >= limits.hw_thermal_critical_share {
                return Finding {
                    signal: Signal::Urgent,
                    ..hardware.against(share * 100.0, limits.hw_thermal_critical_share * 100.0)
                };
            }
            return hardware;
        }
        let software = self.rule(
            rule,
            SW_THERMAL,
            limits.sw_thermal_share,
            limits.min_readings,
            now,
            now_ms,
        );
        match (hardware.signal, software.signal) {
            (_, Signal::Raise) | (Signal::Clear, _) => software,
            _ => hardware,
        }
    }

    /// Raised by a reading that shows the reason, when its share of the short window is reached; a reading without it
    /// counts towards the end, though the window still remembers.
    fn rule(
        &self,
        rule: Rule,
        place: usize,
        limit: f64,
        min_readings: u32,
        now: Option<[bool; 4]>,
        now_ms: i64,
    ) -> Finding {
        let (share, readings) = self.share(place, SHORT_MINUTES, now_ms);
        let signal = match now.map(|shows| shows[place]) {
            None => Signal::Unknown,
            Some(false) => Signal::Clear,
            Some(true) if share >= limit && readings >= min_readings => Signal::Raise,
            Some(true) => Signal::Quiet,
        };
        Finding::new(rule, signal, "throttle_reasons")
            .against(share * 100.0, limit * 100.0)
            .series(Series::Throttled(place))
            .detail(Detail::Cause(REASONS[place].name()))
    }
}

fn power_cap(health: &Health, enforced_limit_w: Option<f64>, limits: &Throttling) -> Finding {
    let finding = |signal| Finding::new(Rule::PowerCapLow, signal, "power_usage_w");
    // A model's default limit won't do here: who set a lower one would be warned of what he asked for.
    let (Some(mask), Some(power_w), Some(limit_w)) = (
        health.throttle_reasons,
        health.power_usage_w,
        enforced_limit_w,
    ) else {
        return finding(Signal::Unknown);
    };
    let least_w = limits.power_cap_share * limit_w;
    let is_capped = mask & ThrottleReason::SwPowerCap.bit() != 0;
    let signal = if is_capped && power_w < least_w {
        Signal::Raise
    } else {
        Signal::Clear
    };
    finding(signal)
        .against(power_w, least_w)
        .series(Series::Level(Level::Power))
}

fn describe(finding: &Finding) -> String {
    let reason = match finding.detail {
        Detail::Cause(reason) => reason,
        _ => "unknown",
    };
    let of = match finding.threshold {
        Some(limit) if limit > 0.0 => format!(", limit {} %", plain(limit)),
        _ => String::new(),
    };
    format!(
        "throttled ({reason}) for {} % of the time{of}",
        finding.shown()
    )
}

#[cfg(test)]
mod tests;
