//! GPUs that fall silent: the fault that has no reading to show it.
//!
//! Silence is measured by the partition's own clock, which records of other GPUs and ticks move. A GPU that reports
//! nothing while another of its host does is lost. If none of its host reports it may as well be the host, the exporter or
//! the network, and all that can be said is that telemetry is missing: GPUs of one host are spread over partitions, so
//! that a partition may know none of its siblings.

use super::super::action::Action;
use super::super::finding::{Finding, Series, Signal};
use super::super::limits::{Absence, ms};
use super::super::rule::{Rule, RuleDef};
use super::super::xid_catalogue::Class;
use super::xid::Occurrence;
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `gpu_lost`
pub const GPU_LOST: RuleDef = RuleDef {
    rule: Rule::GpuLost,
    id: "gpu_lost",
    alert_type: "gpu_lost",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "no reading for 3 intervals (at least 30 s) while another GPU of its host in the same partition reports; or Xid 79",
    clears: "reports for 5 min, and the gauge no longer shows Xid 79",
    source: "Xid catalogue: 79 is RESTART_BM; a lost GPU's series vanish (dcgm-exporter issue 348); 3 intervals: our choice",
    words: "drain the node and restart it; contact support if the GPU does not come back or is lost again",
    action: Action::RestartBm,
    urgent_action: Action::RestartBm,
    message: |finding| match finding.xid {
        Some(xid) => format!("Xid {xid}: GPU has fallen off the bus"),
        None => format!(
            "no reading for {} s while another GPU of its host reports",
            finding.shown()
        ),
    },
};

/// `telemetry_gap`
pub const TELEMETRY_GAP: RuleDef = RuleDef {
    rule: Rule::TelemetryGap,
    id: "telemetry_gap",
    alert_type: "telemetry_gap",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "no reading for 3 intervals (at least 30 s), and no other GPU of its host in the same partition reports",
    clears: "the next reading, or gpu_lost takes its place",
    source: "the silence of gpu_lost, with no sibling to tell whose it is",
    words: "check host, exporter and collector; if they are well, the GPU is lost",
    action: Action::None,
    urgent_action: Action::None,
    message: |finding| {
        format!(
            "no reading for {} s, and no other GPU in this partition tells whether its host is up",
            finding.shown()
        )
    },
};

/// The metric of silence: seconds of stream time since the last reading.
const SILENCE: &str = "telemetry_silence_s";
/// For how many of its own intervals a sibling must have reported since: a host that dies or comes back takes its GPUs with
/// it within one.
const SIBLING_INTERVALS: f64 = 1.5;
/// The weight of one interval in what is learned.
const INTERVAL_WEIGHT: i64 = 8;

/// The time of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Stream time: the largest ingest time seen, in milliseconds since the epoch.
    pub stream_ms: i64,
    /// Milliseconds during which something was heard: stream time without its jumps.
    pub witness_ms: i64,
}

impl Clock {
    /// A record or tick of `at_ms` came.
    ///
    /// One record moves the witness by `max_step_s` at most. When nothing at all came for a minute, the first reading after
    /// it must not make every other GPU of the partition silent for a minute.
    pub fn advance(&mut self, at_ms: i64, limits: &Absence) {
        if self.stream_ms == 0 {
            self.stream_ms = at_ms;
            return;
        }
        let step_ms = at_ms - self.stream_ms;
        if step_ms > 0 {
            self.stream_ms = at_ms;
            self.witness_ms += step_ms.min(ms(limits.max_step_s));
        }
    }
}

/// When a GPU was last heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "each is a time, and says in which unit"
)]
pub struct Presence {
    /// The partition's witness when it was last heard of.
    heard_at_ms: i64,
    /// The partition's witness when it began to report without a silence.
    reports_since_ms: i64,
    /// Stream time when it was last heard of.
    heard_stream_ms: i64,
    /// Its usual interval, learned.
    interval_ms: i64,
}

impl Presence {
    /// A reading came, `step_ms` of event time after the one before.
    pub fn heard(&mut self, clock: &Clock, step_ms: Option<i64>, limits: &Absence) {
        let is_first = self.interval_ms == 0;
        if is_first {
            self.interval_ms = ms(limits.interval_s);
        }
        if is_first || self.is_silent(clock, limits) {
            self.reports_since_ms = clock.witness_ms;
        }
        self.heard_at_ms = clock.witness_ms;
        self.heard_stream_ms = clock.stream_ms;
        if let Some(step_ms) = step_ms {
            // A gap is not an interval, yet a collector that was set to a longer one must be followed: a little each time.
            let step_ms = step_ms.min(self.interval_ms * i64::from(limits.intervals));
            self.interval_ms += (step_ms - self.interval_ms) / INTERVAL_WEIGHT;
        }
    }

    /// How long this GPU may be silent.
    pub fn patience_ms(&self, limits: &Absence) -> i64 {
        (self.interval_ms * i64::from(limits.intervals)).max(ms(limits.min_silence_s))
    }

    /// When, by the witness, it must be looked at next: when its patience ends, and then after each patience again.
    pub fn look_at_ms(&self, clock: &Clock, limits: &Absence) -> i64 {
        let patience_ms = self.patience_ms(limits);
        let silent_ms = (clock.witness_ms - self.heard_at_ms).max(0);
        self.heard_at_ms + (silent_ms / patience_ms + 1) * patience_ms
    }

    /// The deadline that has come last, or comes first where none has.
    pub fn deadline_ms(&self, clock: &Clock, limits: &Absence) -> i64 {
        let patience_ms = self.patience_ms(limits);
        let silent_ms = (clock.witness_ms - self.heard_at_ms).max(0);
        self.heard_at_ms + (silent_ms / patience_ms).max(1) * patience_ms
    }

    /// It has been silent for too long.
    pub fn is_silent(&self, clock: &Clock, limits: &Absence) -> bool {
        clock.witness_ms - self.heard_at_ms >= self.patience_ms(limits)
    }

    /// It is to be forgotten.
    pub fn is_forgotten(&self, clock: &Clock, limits: &Absence) -> bool {
        clock.stream_ms - self.heard_stream_ms >= ms(limits.forget_after_s)
    }

    /// `sibling` has reported since this one fell silent, and for longer than the moment in which a host dies or comes back.
    pub fn is_outlived_by(&self, sibling: &Self) -> bool {
        let from_ms = self.heard_at_ms.max(sibling.reports_since_ms);
        let for_ms = (sibling.heard_at_ms - from_ms) as f64;
        for_ms >= SIBLING_INTERVALS * self.interval_ms as f64
    }

    /// What silence says. `has_living_sibling`: another GPU of its host is known to report.
    pub fn silent(
        &self,
        clock: &Clock,
        has_living_sibling: bool,
        limits: &Absence,
    ) -> [Finding; 2] {
        let (lost, gap) = if has_living_sibling {
            (Signal::Raise, Signal::Clear)
        } else {
            (Signal::Unknown, Signal::Raise)
        };
        [(Rule::GpuLost, lost), (Rule::TelemetryGap, gap)].map(|(rule, signal)| {
            let silent_ms = clock.stream_ms - self.heard_stream_ms;
            Finding::new(rule, signal, SILENCE)
                .against(
                    silent_ms as f64 / 1e3,
                    self.patience_ms(limits) as f64 / 1e3,
                )
                .series(Series::Current)
        })
    }
}

/// What a reading says about silence: that it is over, unless it tells of Xid 79.
pub fn observe(xids: &[Occurrence], gauge_shows_79: bool, findings: &mut Vec<Finding>) {
    let heard = |rule, signal| Finding::new(rule, signal, SILENCE).against(0.0, 0.0);
    let lost = super::xid::of_class(Rule::GpuLost, Class::GpuLost, xids);
    findings.push(if lost.signal == Signal::Raise {
        lost
    } else if gauge_shows_79 {
        // Not before the driver was loaded again does the gauge let go of 79; until then it is the exporter that speaks.
        heard(Rule::GpuLost, Signal::Quiet)
    } else {
        heard(Rule::GpuLost, Signal::Clear)
    });
    findings.push(heard(Rule::TelemetryGap, Signal::Clear));
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_770_805_800_000;

    fn clock(at_s: i64) -> Clock {
        Clock {
            stream_ms: START_MS + at_s * 1_000,
            witness_ms: at_s * 1_000,
        }
    }

    fn heard(at_s: i64, interval_s: i64) -> Presence {
        let mut presence = Presence::default();
        for back in (0..100).rev() {
            let clock = clock(at_s - back * 10);
            presence.heard(&clock, Some(interval_s * 1_000), &Absence::default());
        }
        presence
    }

    #[test]
    fn patience_is_three_intervals_of_the_gpus_own() {
        let limits = Absence::default();
        assert_eq!(heard(0, 10).patience_ms(&limits), 30_000);
        assert_eq!(
            heard(0, 1).patience_ms(&limits),
            30_000,
            "never less than 30 s"
        );
        let a_minute = heard(0, 60).patience_ms(&limits);
        assert!((179_000..=180_000).contains(&a_minute), "{a_minute}");
        let mut fresh = Presence::default();
        fresh.heard(&clock(0), None, &limits);
        assert_eq!(fresh.patience_ms(&limits), 30_000);
    }

    #[test]
    fn a_gap_is_not_learned_as_an_interval() {
        let limits = Absence::default();
        let mut presence = heard(0, 10);
        presence.heard(&clock(7_200), Some(7_200_000), &limits);
        assert!(presence.patience_ms(&limits) < 40_000);
    }

    #[test]
    fn a_gpu_is_silent_when_its_patience_ends_and_is_looked_at_again_after_each() {
        let limits = Absence::default();
        let presence = heard(100, 10);
        assert!(!presence.is_silent(&clock(129), &limits));
        assert!(presence.is_silent(&clock(130), &limits));
        assert_eq!(presence.look_at_ms(&clock(100), &limits), 130_000);
        assert_eq!(presence.look_at_ms(&clock(129), &limits), 130_000);
        assert_eq!(presence.look_at_ms(&clock(130), &limits), 160_000);
        assert_eq!(presence.look_at_ms(&clock(175), &limits), 190_000);
    }

    #[test]
    fn one_record_after_a_long_silence_moves_the_witness_by_one_step_only() {
        let limits = Absence::default();
        let mut clock = Clock::default();
        for at_s in [0, 5, 605, 604, 606] {
            clock.advance(START_MS + at_s * 1_000, &limits);
        }
        assert_eq!(clock.stream_ms, START_MS + 606_000);
        assert_eq!(clock.witness_ms, 5_000 + 10_000 + 1_000);
    }

    #[test]
    fn gpus_that_fall_silent_together_do_not_outlive_each_other() {
        let silent = heard(100, 10);
        assert!(!silent.is_outlived_by(&heard(109, 10)));
        assert!(!silent.is_outlived_by(&heard(90, 10)));
        assert!(silent.is_outlived_by(&heard(120, 10)));
        let mut back_again = heard(100, 10);
        for (at_s, is_proof) in [(400, false), (410, false), (420, true)] {
            back_again.heard(&clock(at_s), None, &Absence::default());
            assert_eq!(silent.is_outlived_by(&back_again), is_proof, "{at_s}");
        }
    }
}
