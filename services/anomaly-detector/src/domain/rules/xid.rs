//! Xids: from a sticky gauge and a sliding count to occurrences, and from occurrences to rules.

use super::super::action::{Action, Recovery};
use super::super::finding::{Detail, Finding, Series, Signal};
use super::super::identity::short_hash;
use super::super::limits::{Xid as XidLimits, ms};
use super::super::reading::{Errors, Workload};
use super::super::rule::{Rule, RuleDef};
use super::super::xid_catalogue::{Class, lookup};
use schema::Severity;
use serde::{Deserialize, Serialize};

/// `xid_fatal`
pub const XID_FATAL: RuleDef = RuleDef {
    rule: Rule::XidFatal,
    id: "xid_fatal",
    alert_type: "xid",
    severity: Severity::Critical,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "Xid 46, 62, 109, 110, 119, 120, 136, 143, 158, 167",
    clears: "GPU reset and 1 h clean; 7 d clean when no reset was seen",
    source: "Xid catalogue: RESET_GPU (167 states none)",
    words: "drain the GPU and reset it",
    action: Action::ComponentReset,
    urgent_action: Action::ComponentReset,
    message: named,
};

/// `xid_hardware`
pub const XID_HARDWARE: RuleDef = RuleDef {
    rule: Rule::XidHardware,
    id: "xid_hardware",
    alert_type: "xid",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "Xid 54, 93, 121, 122, 123, 151, 156, 157, 164, 165, 168, 169",
    clears: "24 h clean",
    source: "Xid catalogue; 122 and 123 by Delta (arXiv 2503.11901)",
    words: "look into it in working hours; contact support if it comes again",
    action: Action::ContactSupport,
    urgent_action: Action::ContactSupport,
    message: named,
};

/// `xid_app`
pub const XID_APP: RuleDef = RuleDef {
    rule: Rule::XidApp,
    id: "xid_app",
    alert_type: "xid",
    severity: Severity::Info,
    urgent_severity: Severity::Info,
    is_repair_class: false,
    condition: "an application's Xid: 8, 11, 13, 25, 31, 32, 39-41, 43-45, 60, 68-72, 75-77, 80, 82-86, 88, 89, 96-105, 126-135, 137, 139, 141",
    clears: "1 h clean",
    source: "Xid catalogue: RESTART_APP or IGNORE; a hundred times as many as hardware faults (Delta, Fire-Flyer)",
    words: "look for the fault in the application first",
    action: Action::None,
    urgent_action: Action::None,
    message: named,
};

/// `xid_app_repeat`
pub const XID_APP_REPEAT: RuleDef = RuleDef {
    rule: Rule::XidAppRepeat,
    id: "xid_app_repeat",
    alert_type: "xid",
    severity: Severity::Warning,
    urgent_severity: Severity::Warning,
    is_repair_class: false,
    condition: "Xid 13 or 31 in two different jobs within 24 h",
    clears: "24 h clean",
    source: "NVSentinel: twice in 24 h after bursts of 3 min",
    words: "drain the GPU and run DCGM's extended diagnostic: two jobs with the same fault point at the GPU",
    action: Action::RunDcgmEud,
    urgent_action: Action::RunDcgmEud,
    message: |finding| format!("{} in two different jobs within 24 h", named(finding)),
};

/// `xid_notice`
pub const XID_NOTICE: RuleDef = RuleDef {
    rule: Rule::XidNotice,
    id: "xid_notice",
    alert_type: "xid",
    severity: Severity::Info,
    urgent_severity: Severity::Info,
    is_repair_class: false,
    condition: "any other Xid, also one that the catalogue does not know",
    clears: "1 h clean",
    source: "Xid catalogue: IGNORE",
    words: "nothing to do now",
    action: Action::None,
    urgent_action: Action::None,
    message: named,
};

/// `recovery_action`
pub const RECOVERY_ACTION: RuleDef = RuleDef {
    rule: Rule::RecoveryAction,
    id: "recovery_action",
    alert_type: "xid",
    severity: Severity::Warning,
    urgent_severity: Severity::Critical,
    is_repair_class: true,
    condition: "the driver asks for a recovery (field 1523): 3 warns; 1, 2 and 4 are critical",
    clears: "it asks for none",
    source: "field 1523 and Xid 154, the driver's own word; DCGM warns of 3 and fails the others",
    words: "do what the driver asks for",
    action: Action::ContactSupport,
    urgent_action: Action::ComponentReset,
    message: |finding| match finding.value.and_then(recovery) {
        Some(recovery) => recovery.words().to_owned(),
        None => "the driver asks for no recovery".to_owned(),
    },
};

/// An Xid that happened between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Which.
    pub code: u16,
    /// How often.
    pub count: u32,
    /// What the gauge showed before.
    pub before: u16,
}

/// How an occurrence became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Gauge,
    Count,
}

/// An occurrence that one source told, and that the other may tell once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Credit {
    code: u16,
    told_by: Source,
    count: u32,
    at_ms: i64,
}

/// The last burst of an application Xid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Burst {
    code: u16,
    last_ms: i64,
    /// The job it struck; none where that is unknown.
    job: Option<u32>,
}

/// What is kept of a GPU's Xids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XidState {
    /// The gauge; none before it was ever read.
    last: Option<u16>,
    counts: Vec<(u16, u32)>,
    credits: Vec<Credit>,
    bursts: Vec<Burst>,
}

/// The most codes whose counts are kept; an exporter has one a code within its window of minutes.
const MAX_COUNTS: usize = 16;
/// The most occurrences of which it is kept who told them.
const MAX_CREDITS: usize = 8;

impl XidState {
    /// What happened since the last reading.
    ///
    /// The gauge holds the last code for ever, so that only its change is an occurrence, and the first value of all is
    /// none: when it happened is unknown. A repeat of the same code shows in the exporter's count over a sliding window:
    /// its rise is occurrences, its fall is the window moving on. What is in the count at the first reading of all did
    /// happen within that window, and counts.
    pub fn occurrences(
        &mut self,
        errors: &Errors,
        limits: &XidLimits,
        now_ms: i64,
    ) -> Vec<Occurrence> {
        let before = self.last.unwrap_or(0);
        let mut occurrences: Vec<Occurrence> = Vec::new();
        let horizon_ms = now_ms - ms(limits.same_event_s);
        self.credits.retain(|credit| credit.at_ms >= horizon_ms);

        let changed_to = errors
            .last_xid
            .filter(|code| *code != 0 && self.last.is_some_and(|last| last != *code));
        if errors.last_xid.is_some() {
            self.last = errors.last_xid;
        }
        for (code, risen) in self.risen(errors) {
            let by_gauge = u32::from(changed_to == Some(code));
            let told = self.claim(code, Source::Gauge, risen);
            // What the gauge told before, or tells now, is one of those counted.
            let count = (risen - told).max(by_gauge);
            if count > by_gauge {
                self.give(code, Source::Count, count - by_gauge, now_ms);
            }
            if count > 0 {
                occurrences.push(Occurrence {
                    code,
                    count,
                    before,
                });
            }
        }
        if let Some(code) = changed_to
            && !occurrences.iter().any(|o| o.code == code)
            && self.claim(code, Source::Count, 1) == 0
        {
            self.give(code, Source::Gauge, 1, now_ms);
            occurrences.push(Occurrence {
                code,
                count: 1,
                before,
            });
        }
        occurrences
    }

    /// The codes whose counts rose, and by how much; takes the counts over.
    fn risen(&mut self, errors: &Errors) -> Vec<(u16, u32)> {
        let now = &errors.xid_counts.0;
        if now.is_empty() && errors.last_xid.is_none() {
            // No Xid was read at all. With the gauge there, no counts means that all have left the window.
            return Vec::new();
        }
        let risen = now
            .iter()
            .filter_map(|(code, count)| {
                let before = self.counts.iter().find(|(known, _)| known == code);
                let rise = count.saturating_sub(before.map_or(0, |(_, before)| *before));
                (*code != 0 && rise > 0).then_some((*code, rise))
            })
            .collect();
        if self.counts != *now {
            self.counts.clear();
            self.counts
                .extend(now.iter().filter(|(_, count)| *count > 0).take(MAX_COUNTS));
        }
        risen
    }

    /// Takes up to `count` occurrences that `told_by` has told before.
    fn claim(&mut self, code: u16, told_by: Source, count: u32) -> u32 {
        let at = self
            .credits
            .iter_mut()
            .find(|credit| credit.code == code && credit.told_by == told_by);
        let Some(credit) = at else { return 0 };
        let taken = credit.count.min(count);
        credit.count -= taken;
        self.credits.retain(|credit| credit.count > 0);
        taken
    }

    fn give(&mut self, code: u16, told_by: Source, count: u32, at_ms: i64) {
        if self.credits.len() >= MAX_CREDITS {
            self.credits.remove(0);
        }
        self.credits.push(Credit {
            code,
            told_by,
            count,
            at_ms,
        });
    }

    /// What the rules on Xids say; those on memory and links look at the occurrences themselves.
    pub fn observe(
        &mut self,
        occurrences: &[Occurrence],
        errors: &Errors,
        workload: &Workload<'_>,
        limits: &XidLimits,
        now_ms: i64,
        findings: &mut Vec<Finding>,
    ) {
        for (rule, class) in [
            (Rule::XidFatal, Class::Fatal),
            (Rule::XidHardware, Class::Hardware),
            (Rule::XidApp, Class::Application),
            (Rule::XidNotice, Class::Notice),
        ] {
            findings.push(of_class(rule, class, occurrences));
        }
        findings.push(self.repeated(occurrences, workload, limits, now_ms));
        findings.push(recovery_asked(errors));
    }

    /// Whether the gauge shows `code`.
    pub fn shows(&self, code: u16) -> bool {
        self.last == Some(code)
    }

    fn repeated(
        &mut self,
        occurrences: &[Occurrence],
        workload: &Workload<'_>,
        limits: &XidLimits,
        now_ms: i64,
    ) -> Finding {
        let window_ms = ms(limits.repeat_window_s);
        self.bursts
            .retain(|burst| now_ms - burst.last_ms < window_ms);
        let mut finding = Finding::new(Rule::XidAppRepeat, Signal::Clear, "last_xid");
        for occurrence in occurrences
            .iter()
            .filter(|occurrence| [13, 31].contains(&occurrence.code))
        {
            let job = job_of(workload);
            let known = self
                .bursts
                .iter_mut()
                .find(|burst| burst.code == occurrence.code);
            let Some(burst) = known else {
                self.bursts.push(Burst {
                    code: occurrence.code,
                    last_ms: now_ms,
                    job,
                });
                continue;
            };
            let is_new = now_ms - burst.last_ms >= ms(limits.burst_s);
            let is_other_job = matches!((burst.job, job), (Some(then), Some(now)) if then != now);
            burst.last_ms = now_ms;
            burst.job = job.or(burst.job);
            if is_new && is_other_job {
                finding = from_occurrence(Rule::XidAppRepeat, *occurrence);
            }
        }
        finding
    }
}

/// The job, as far as the reading tells: without one, two bursts can't be said to be in different jobs.
fn job_of(workload: &Workload<'_>) -> Option<u32> {
    if let Some(job) = &workload.job_id {
        return Some(short_hash(&[job.as_bytes()]));
    }
    let pod = workload.pod.as_ref()?;
    let namespace = workload.namespace.as_deref().unwrap_or_default();
    Some(short_hash(&[namespace.as_bytes(), pod.as_bytes()]))
}

/// What `rule` says when it is about the Xids of `class`: raised by the last one that happened.
pub fn of_class(rule: Rule, class: Class, occurrences: &[Occurrence]) -> Finding {
    let count = occurrences
        .iter()
        .filter(|o| lookup(o.code).class == class)
        .fold(0_u32, |sum, o| sum.saturating_add(o.count));
    occurrences
        .iter()
        .rfind(|o| lookup(o.code).class == class)
        .map_or_else(
            || Finding::new(rule, Signal::Clear, "last_xid"),
            |occurrence| Finding {
                occurrences: count,
                ..from_occurrence(rule, *occurrence)
            },
        )
}

fn from_occurrence(rule: Rule, occurrence: Occurrence) -> Finding {
    Finding {
        occurrences: occurrence.count,
        value: Some(f64::from(occurrence.code)),
        xid: Some(occurrence.code),
        series: Series::Before(f64::from(occurrence.before)),
        ..Finding::new(rule, Signal::Raise, "last_xid")
    }
}

fn recovery_asked(errors: &Errors) -> Finding {
    let Some(number) = errors.recovery_action else {
        return Finding::new(Rule::RecoveryAction, Signal::Unknown, "recovery_action");
    };
    let signal = match Recovery::from_number(number) {
        None => Signal::Clear,
        Some(recovery) if recovery.is_urgent() => Signal::Urgent,
        Some(_) => Signal::Raise,
    };
    Finding::new(Rule::RecoveryAction, signal, "recovery_action")
        .against(number as f64, 0.0)
        .detail(Detail::Cause("field 1523"))
}

/// The recovery that a value of field 1523 asks for.
pub fn recovery(value: f64) -> Option<Recovery> {
    super::super::number::whole(value).and_then(Recovery::from_number)
}

fn named(finding: &Finding) -> String {
    match finding.xid {
        Some(code) => format!("Xid {code}: {}", lookup(code).name),
        None => "Xid".to_owned(),
    }
}

#[cfg(test)]
mod tests;
