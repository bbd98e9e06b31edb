//! Links between GPUs.

use super::super::action::Action;
use super::super::counter::{Counter, Increment, Origin};
use super::super::finding::{Detail, Finding, Series, Signal};
use super::super::limits::Nvlink;
use super::super::number::period;
use super::super::reading::Interconnect;
use super::super::rule::{Rule, RuleDef};
use super::super::xid_catalogue::Class;
use super::xid::Occurrence;
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `nvlink_errors`
pub const NVLINK_ERRORS: RuleDef = RuleDef {
    rule: Rule::NvlinkErrors,
    id: "nvlink_errors",
    alert_type: "nvlink",
    severity: Severity::Warning,
    urgent_severity: Severity::Critical,
    is_repair_class: false,
    condition: "a replay or recovery, 100 CRC errors a second, or Xid 74, 144-150, 155; critical in 3 minutes of an hour",
    clears: "1 h clean",
    source: "DCGM's health watch fails the first replay or recovery, and 100 CRC errors a second",
    words: "decode the registers in the kernel log; reset the GPU; check cable and baseboard",
    action: Action::None,
    urgent_action: Action::ContactSupport,
    message: |finding| match (finding.xid, finding.detail) {
        (Some(xid), _) => format!("NVLink error: Xid {xid}"),
        (None, Detail::Cause(what)) => {
            format!("NVLink {what}: {} now", finding.shown())
        }
        _ => "NVLink errors".to_owned(),
    },
};

/// `nvlink_down`
pub const NVLINK_DOWN: RuleDef = RuleDef {
    rule: Rule::NvlinkDown,
    id: "nvlink_down",
    alert_type: "nvlink",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "fewer links up than this GPU has had, for 30 s",
    clears: "as many up again for 60 s",
    source: "DCGM's health watch fails a link that is down; 30 s: our choice",
    words: "reset the GPU; check the fabric manager, then cable and baseboard",
    action: Action::RestartVm,
    urgent_action: Action::RestartVm,
    message: |finding| format!("{} of {} NVLinks are up", finding.shown(), finding.limit()),
};

const MINUTE_MS: i64 = 60_000;
const MINUTES_OF_AN_HOUR: u32 = 60;

/// What is kept of a GPU's links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvlinkState {
    replay: Counter,
    recovery: Counter,
    crc_flit: Counter,
    crc_data: Counter,
    /// The most links that were ever up.
    most_up: u64,
    /// Minutes of the last hour with errors, at most `critical_minutes` of them.
    minutes: Vec<u32>,
}

impl NvlinkState {
    /// Takes in a reading; true when a counter started again.
    pub fn observe(
        &mut self,
        links: &Interconnect,
        xids: &[Occurrence],
        limits: &Nvlink,
        now_ms: i64,
        step_ms: Option<i64>,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let mut advance = |counter: fn(&mut Self) -> &mut Counter, value| {
            counter(self).advance(value, Origin::DriverLoad)
        };
        let increments = [
            advance(|s| &mut s.replay, links.nvlink_replay),
            advance(|s| &mut s.recovery, links.nvlink_recovery),
            advance(|s| &mut s.crc_flit, links.nvlink_crc_flit),
            advance(|s| &mut s.crc_data, links.nvlink_crc_data),
        ];
        let finding = self.errors(increments, xids, limits, now_ms, step_ms);
        findings.push(finding);
        findings.push(self.down(links.nvlink_links_up));
        increments
            .into_iter()
            .flatten()
            .any(|increment| increment.is_reset)
    }

    fn errors(
        &mut self,
        [replay, recovery, crc_flit, crc_data]: [Option<Increment>; 4],
        xids: &[Occurrence],
        limits: &Nvlink,
        now_ms: i64,
        step_ms: Option<i64>,
    ) -> Finding {
        let rule = Rule::NvlinkErrors;
        let counted = |metric, what, increment: Option<Increment>| {
            let increment = increment.filter(|increment| increment.amount > 0)?;
            let occurrences = u32::try_from(increment.amount).unwrap_or(u32::MAX);
            Some(Finding {
                occurrences,
                ..Finding::new(rule, Signal::Raise, metric)
                    .against(increment.now as f64, 0.0)
                    .series(Series::Before(increment.before as f64))
                    .detail(Detail::Cause(what))
            })
        };
        let too_fast = |metric, what, increment: Option<Increment>| {
            let (increment, step_ms) = (increment?, step_ms?);
            let a_second = increment.amount as f64 * 1_000.0 / step_ms as f64;
            (a_second >= limits.crc_per_second).then(|| {
                Finding::new(rule, Signal::Raise, metric)
                    .against(a_second, limits.crc_per_second)
                    .detail(Detail::Cause(what))
            })
        };
        let by_xid = super::xid::of_class(rule, Class::NvLink, xids);
        let error = (by_xid.signal == Signal::Raise)
            .then(|| by_xid.clone())
            .or_else(|| counted("nvlink_recovery", "recoveries", recovery))
            .or_else(|| counted("nvlink_replay", "replays", replay))
            .or_else(|| too_fast("nvlink_crc_flit", "flit CRC errors a second", crc_flit))
            .or_else(|| too_fast("nvlink_crc_data", "data CRC errors a second", crc_data));
        let Some(error) = error else {
            return by_xid;
        };
        let minute = period(now_ms, MINUTE_MS);
        self.minutes.retain(|at| at + MINUTES_OF_AN_HOUR > minute);
        if self.minutes.last() != Some(&minute) {
            self.minutes.push(minute);
        }
        let enough = limits.critical_minutes as usize;
        if self.minutes.len() > enough {
            self.minutes.remove(0);
        }
        let signal = if self.minutes.len() >= enough {
            Signal::Urgent
        } else {
            Signal::Raise
        };
        Finding { signal, ..error }
    }

    fn down(&mut self, up: Option<u64>) -> Finding {
        let finding = |signal| Finding::new(Rule::NvlinkDown, signal, "nvlink_links_up");
        let Some(up) = up else {
            return finding(Signal::Unknown);
        };
        self.most_up = self.most_up.max(up);
        let signal = if up < self.most_up {
            Signal::Raise
        } else {
            Signal::Clear
        };
        finding(signal).against(up as f64, self.most_up as f64)
    }
}
