//! The link between GPU and host.

use super::super::action::Action;
use super::super::counter::{Counter, Origin};
use super::super::finding::{Detail, Finding, Signal};
use super::super::limits::{Pcie, ms};
use super::super::number::narrow;
use super::super::reading::Interconnect;
use super::super::rule::{Rule, RuleDef};
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `pcie_degraded`
pub const PCIE_DEGRADED: RuleDef = RuleDef {
    rule: Rule::PcieDegraded,
    id: "pcie_degraded",
    alert_type: "pcie",
    severity: Severity::Warning,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "while busy, for 5 min: a lower PCIe generation than possible warns; fewer lanes are critical",
    clears: "restored for 60 s",
    source: "25 of 158 GPU faults in the InfiniteHBD trace are lost lanes; 8.6 % in Minder; 5 min: our choice",
    words: "reseat the board and reboot; inspect slot and riser",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |finding| {
        let what = match finding.detail {
            Detail::Cause(what) => what,
            _ => "link",
        };
        format!(
            "PCIe {what} is {} where {} is possible",
            finding.shown(),
            finding.limit()
        )
    },
};

/// `pcie_replay`
pub const PCIE_REPLAY: RuleDef = RuleDef {
    rule: Rule::PcieReplay,
    id: "pcie_replay",
    alert_type: "pcie",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "more replays a minute than DCGM allows (16 on Gen4 x16, 31 on Gen5 x16), for 5 min",
    clears: "below half of that for 30 min",
    source: "DCGM's health watch: replays a minute and lane by generation",
    words: "reseat the board; inspect slot, riser and cables",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: |finding| {
        format!(
            "{} PCIe replays a minute, limit {}",
            finding.shown(),
            finding.limit()
        )
    },
};

/// Replays a minute and lane that DCGM's health watch lets pass, by generation from 1 (`DcgmGPUHardwareLimits.h`).
const REPLAYS_PER_LANE: [f64; 6] = [0.15, 0.30, 0.48, 0.96, 1.92, 3.84];
/// What is assumed of a link that does not tell: Gen4 x16, the lowest among the models of today's fleets.
const ASSUMED: (f64, f64) = (4.0, 16.0);

/// What is kept of a GPU's PCIe link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PcieState {
    replay: Counter,
    replays_a_minute: f32,
}

impl PcieState {
    /// Takes in a reading; true when the replay counter started again.
    pub fn observe(
        &mut self,
        link: &Interconnect,
        is_busy: Option<bool>,
        limits: &Pcie,
        step_ms: Option<i64>,
        findings: &mut Vec<Finding>,
    ) -> bool {
        findings.push(degraded(link, is_busy));
        let increment = self.replay.advance(link.pcie_replay, Origin::DriverLoad);
        let signal_of = |rate: f64, limit: f64| {
            if rate > limit {
                Signal::Raise
            } else if rate < limit / 2.0 {
                Signal::Clear
            } else {
                Signal::Quiet
            }
        };
        let limit = allowed_replays(link);
        let signal = match (increment, step_ms) {
            (Some(increment), Some(step_ms)) => {
                let step_ms = step_ms as f64;
                let now = increment.amount as f64 * 60_000.0 / step_ms;
                let share = step_ms / (step_ms + ms(limits.replay_smoothing_s) as f64);
                let before = f64::from(self.replays_a_minute);
                self.replays_a_minute = narrow(before + share * (now - before));
                signal_of(f64::from(self.replays_a_minute), limit)
            }
            (Some(_), None) => {
                self.replays_a_minute = 0.0;
                Signal::Quiet
            }
            (None, _) => Signal::Unknown,
        };
        findings.push(
            Finding::new(Rule::PcieReplay, signal, "pcie_replay")
                .against(f64::from(self.replays_a_minute), limit),
        );
        increment.is_some_and(|increment| increment.is_reset)
    }
}

/// DCGM rounds up: 15.36 on Gen4 x16 is 16.
fn allowed_replays(link: &Interconnect) -> f64 {
    let known = |now: Option<f64>, most: Option<f64>| now.or(most).filter(|value| *value >= 1.0);
    let (assumed_generation, assumed_lanes) = ASSUMED;
    let generation = known(link.pcie_gen, link.pcie_gen_max).unwrap_or(assumed_generation);
    let lanes = known(link.pcie_width, link.pcie_width_max).unwrap_or(assumed_lanes);
    let place = usize::from(super::super::number::small(generation - 1.0));
    let per_lane = REPLAYS_PER_LANE[place.min(REPLAYS_PER_LANE.len() - 1)];
    (per_lane * lanes).ceil()
}

fn degraded(link: &Interconnect, is_busy: Option<bool>) -> Finding {
    let finding = |signal, metric| Finding::new(Rule::PcieDegraded, signal, metric);
    let width = link.pcie_width.zip(link.pcie_width_max);
    let generation = link.pcie_gen.zip(link.pcie_gen_max);
    if width.is_none() && generation.is_none() {
        return finding(Signal::Unknown, "pcie_width");
    }
    // At idle a GPU lowers its generation by itself, so that only a busy one can be judged; a full link is full anyway.
    let judged = |graver: Signal| match is_busy {
        Some(true) => graver,
        Some(false) => Signal::Quiet,
        None => Signal::Unknown,
    };
    if let Some((now, most)) = width.filter(|(now, most)| now < most) {
        return finding(judged(Signal::Urgent), "pcie_width")
            .against(now, most)
            .detail(Detail::Cause("width"));
    }
    if let Some((now, most)) = generation.filter(|(now, most)| now < most) {
        return finding(judged(Signal::Raise), "pcie_gen")
            .against(now, most)
            .detail(Detail::Cause("generation"));
    }
    let (metric, what, (now, most)) = match (width, generation) {
        (Some(width), _) => ("pcie_width", "width", width),
        (None, Some(generation)) => ("pcie_gen", "generation", generation),
        (None, None) => return finding(Signal::Unknown, "pcie_width"),
    };
    finding(Signal::Clear, metric)
        .against(now, most)
        .detail(Detail::Cause(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(width: f64, generation: f64) -> Interconnect {
        Interconnect {
            pcie_width: Some(width),
            pcie_width_max: Some(16.0),
            pcie_gen: Some(generation),
            pcie_gen_max: Some(5.0),
            ..Interconnect::default()
        }
    }

    #[test]
    fn limits_are_dcgms() {
        assert!((allowed_replays(&link(16.0, 3.0)) - 8.0).abs() < 1e-9);
        assert!((allowed_replays(&link(16.0, 4.0)) - 16.0).abs() < 1e-9);
        assert!((allowed_replays(&link(16.0, 5.0)) - 31.0).abs() < 1e-9);
        assert!((allowed_replays(&link(8.0, 9.0)) - 31.0).abs() < 1e-9);
        assert!((allowed_replays(&Interconnect::default()) - 16.0).abs() < 1e-9);
    }

    #[test]
    fn a_link_is_judged_while_busy() {
        let signal = |width, generation, busy| degraded(&link(width, generation), busy).signal;
        assert_eq!(signal(8.0, 5.0, Some(true)), Signal::Urgent);
        assert_eq!(signal(16.0, 1.0, Some(true)), Signal::Raise);
        assert_eq!(signal(16.0, 1.0, Some(false)), Signal::Quiet);
        assert_eq!(signal(8.0, 5.0, None), Signal::Unknown);
        assert_eq!(signal(16.0, 5.0, Some(false)), Signal::Clear);
        let nothing = degraded(&Interconnect::default(), Some(true));
        assert_eq!(nothing.signal, Signal::Unknown);
    }

    #[test]
    fn replays_are_a_smoothed_rate_and_a_counter_that_starts_again_is_no_burst() {
        let (mut state, limits) = (PcieState::default(), Pcie::default());
        let mut rate = |replays, step_ms| {
            let link = Interconnect {
                pcie_replay: Some(replays),
                ..link(16.0, 4.0)
            };
            let mut findings = Vec::new();
            state.observe(&link, Some(true), &limits, step_ms, &mut findings);
            (findings[1].signal, findings[1].value.unwrap())
        };
        assert_eq!(rate(1_000_000, None).0, Signal::Unknown);
        assert_eq!(rate(1_000_000, Some(10_000)), (Signal::Clear, 0.0));
        let (_, burst) = rate(1_010_000, None);
        assert!(burst.abs() < f64::EPSILON, "no rate over a gap");
        for _ in 0..60 {
            rate(0, Some(10_000));
        }
        let mut replays = 0;
        let mut last = (Signal::Clear, 0.0);
        for _ in 0..60 {
            replays += 5;
            last = rate(replays, Some(10_000));
        }
        assert_eq!(last.0, Signal::Raise);
        assert!((last.1 - 30.0).abs() < 1.0, "{last:?}");
    }
}
