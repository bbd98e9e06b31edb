//! From a change of an incident to the alert that tells of it.

use super::action::Recovery;
use super::finding::{Finding, Series, Signal};
use super::identity::{alert_id, fingerprint};
use super::incident::{Change, Kind};
use super::place::add_labels;
use super::reading::Reading;
use super::recent::{Level, trend};
use super::rule::{Rule, RuleDef};
use super::state::GpuState;
use super::xid_catalogue::{Class, Remedy, lookup};
use schema::{Alert, AlertContext, AlertState, Severity, Timestamp};

/// The record that an alert is about.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Everything that an alert is made of.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The GPU.
    pub gpu_uuid: &'a str,
    /// What is known of it.
    pub state: &'a GpuState,
    /// The reading; none when the alert is about its absence.
    pub reading: Option<&'a Reading<'a>>,
    /// The record.
    pub evidence: Evidence<'a>,
    /// The time that the rule goes by.
    pub now_ms: i64,
    /// Where the runbook's pages are.
    pub runbook_base: &'a str,
}

/// A temperature that moves by less stands still.
const TEMP_NOISE_C: f64 = 1.0;
/// A power that moves by less stands still.
const POWER_NOISE_W: f64 = 10.0;

/// The alert for `change`, which `finding` brought about.
pub fn alert(finding: &Finding, change: &Change, context: &Context<'_>) -> Alert {
    let def = finding.rule.def();
    let print = fingerprint(def.id, context.gpu_uuid);
    let is_resolved = change.kind == Kind::Resolved;
    let (words, code) = advice(def, change, context.reading);
    Alert {
        alert_id: alert_id(&print, change.first_seen_ms),
        alert_type: def.alert_type.to_owned(),
        rule_id: def.id.to_owned(),
        state: if is_resolved {
            AlertState::Resolved
        } else {
            AlertState::Firing
        },
        severity: change.severity,
        gpu_uuid: context.gpu_uuid.to_owned(),
        timestamp: Timestamp::from_millis(context.now_ms),
        first_seen: Timestamp::from_millis(change.first_seen_ms),
        resolved_at: is_resolved.then(|| Timestamp::from_millis(context.now_ms)),
        count: u64::from(change.count),
        fingerprint: print,
        metric_name: finding.metric.to_owned(),
        current_value: finding.value,
        threshold: finding.threshold,
        context: surroundings(finding, change, context),
        recommended_action: words,
        action_code: Some(code.to_owned()),
        message: message(def, finding, change, context.now_ms),
        xid: change.xid.map(u32::from),
        runbook: format!("{}/{}.md", context.runbook_base, def.id),
    }
}

/// What to do, in words and as NVSentinel names it. What the driver itself asks for wins over the catalogue, and the
/// catalogue over the rule.
fn advice(def: &RuleDef, change: &Change, reading: Option<&Reading<'_>>) -> (String, &'static str) {
    let asked = reading
        .and_then(|reading| reading.metrics.errors.recovery_action)
        .and_then(Recovery::from_number);
    let follows_driver = matches!(
        def.rule,
        Rule::RecoveryAction | Rule::XidFatal | Rule::XidHardware | Rule::NvlinkErrors
    );
    if let Some(recovery) = asked.filter(|_| follows_driver) {
        return (recovery.words().to_owned(), recovery.action().code());
    }
    if let Some(xid) = change.xid.map(lookup)
        && matches!(
            xid.class,
            Class::Fatal | Class::Hardware | Class::Application | Class::Notice | Class::NvLink
        )
        && def.rule != Rule::XidAppRepeat
        // Where the catalogue is silent on a fault, the rule is not.
        && (xid.remedy != Remedy::Unstated || matches!(xid.class, Class::Notice))
    {
        return (xid.remedy.words().to_owned(), xid.remedy.action().code());
    }
    let is_graver = change.severity > def.severity;
    let action = if is_graver {
        def.urgent_action
    } else {
        def.action
    };
    (def.words.to_owned(), action.code())
}

fn message(def: &RuleDef, finding: &Finding, change: &Change, now_ms: i64) -> String {
    let lasted_s = (now_ms - change.first_seen_ms) / 1_000;
    let is_raised = matches!(finding.signal, Signal::Raise | Signal::Urgent);
    match change.kind {
        Kind::Resolved => format!("ended after {lasted_s} s; seen {} times", change.count),
        Kind::Repeated if !is_raised => format!(
            "not ended yet: first seen {lasted_s} s ago, seen {} times",
            change.count
        ),
        _ => (def.message)(finding),
    }
}

fn surroundings(finding: &Finding, change: &Change, context: &Context<'_>) -> AlertContext {
    let state = context.state;
    let (mut recent_values, noise) = match finding.series {
        Series::Current => (Vec::new(), 0.0),
        // A code is no quantity: 79 after 48 is not more.
        Series::Before(before) if finding.metric == "last_xid" => (vec![before], f64::INFINITY),
        Series::Before(before) => (vec![before], 0.0),
        Series::Level(level) => {
            let mut values = state.recent.values(level);
            // The current value stands last in it, in tenths; the exact one follows.
            values.pop();
            let noise = match level {
                Level::Power => POWER_NOISE_W,
                Level::GpuTemp | Level::MemoryTemp | Level::Margin => TEMP_NOISE_C,
            };
            (values, noise)
        }
        Series::Throttled(place) => {
            let mut values = state.throttling.percent_by_minute(place, context.now_ms);
            values.pop();
            (values, 1.0)
        }
    };
    recent_values.extend(finding.value);
    let mut labels = state.place.labels();
    if let Some(reading) = context.reading {
        add_labels(&mut labels, reading);
    }
    let Evidence {
        topic,
        partition,
        offset,
    } = context.evidence;
    let mut evidence_offsets = vec![format!("{topic}/{partition}/{}", change.first_offset)];
    if offset != change.first_offset {
        evidence_offsets.push(format!("{topic}/{partition}/{offset}"));
    }
    AlertContext {
        trend: trend(&recent_values, noise),
        recent_values,
        labels,
        evidence_offsets,
    }
}

/// Whether it also goes to the topic of critical alerts.
pub fn is_critical(alert: &Alert) -> bool {
    alert.severity == Severity::Critical
}
