//! What the service counts, beside what the chassis does.

use crate::domain::rule::{RULES, Rule};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use schema::{Alert, AlertState, Severity};

const ALERTS: &str = "anomaly_detector_alerts_total";
const FIRING: &str = "anomaly_detector_firing";
const READINGS: &str = "anomaly_detector_readings_total";
const LATE: &str = "anomaly_detector_late_records_total";
const TICKS: &str = "anomaly_detector_ticks_total";
const GPUS: &str = "anomaly_detector_gpus";
const FORGOTTEN: &str = "anomaly_detector_forgotten_gpus_total";
const DEAD_LETTERS: &str = "anomaly_detector_dead_letters_total";

/// Every name, for the manual.
pub const NAMES: &[(&str, &str)] = &[
    (
        ALERTS,
        "Alert records written, by rule, severity and state (firing, resolved).",
    ),
    (FIRING, "Alerts that fire now, by rule."),
    (READINGS, "Readings judged."),
    (
        LATE,
        "Readings not after the last one of their GPU in event time: a sign of life, otherwise ignored.",
    ),
    (TICKS, "Ticks read."),
    (GPUS, "GPUs known."),
    (FORGOTTEN, "GPUs forgotten after long silence."),
    (DEAD_LETTERS, "Records given up, by reason."),
];

pub(crate) fn describe() {
    for (name, text) in NAMES {
        match *name {
            FIRING | GPUS => describe_gauge!(*name, *text),
            _ => describe_counter!(*name, *text),
        }
    }
}

/// Handles made once: looking a metric up by name costs more than judging a reading.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) readings: Counter,
    pub(crate) late: Counter,
    pub(crate) ticks: Counter,
    pub(crate) forgotten: Counter,
    pub(crate) gpus: Gauge,
    pub(crate) firing: [Gauge; Rule::COUNT],
}

impl Counts {
    pub(crate) fn new() -> Self {
        let firing = RULES.map(|def| gauge!(FIRING, "rule" => def.id));
        for gauge in &firing {
            // Every rule shows from the start, or its absence would look like a missing service.
            gauge.increment(0.0);
        }
        Self {
            readings: counter!(READINGS),
            late: counter!(LATE),
            ticks: counter!(TICKS),
            forgotten: counter!(FORGOTTEN),
            gpus: gauge!(GPUS),
            firing,
        }
    }

    /// A record was given up because of `reason`, a code of a closed list.
    pub(crate) fn dead_letter(reason: &'static str) {
        counter!(DEAD_LETTERS, "reason" => reason).increment(1);
    }

    /// An alert was written.
    pub(crate) fn alert(note: Note) {
        counter!(
            ALERTS,
            "rule" => note.rule.def().id,
            "severity" => severity_name(note.severity),
            "state" => match note.state {
                AlertState::Firing => "firing",
                AlertState::Resolved => "resolved",
            },
        )
        .increment(1);
    }
}

/// What is counted of an alert, once its transaction is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) rule: Rule,
    pub(crate) severity: Severity,
    pub(crate) state: AlertState,
}

impl Note {
    pub(crate) fn of(alert: &Alert) -> Option<Self> {
        let def = RULES.iter().find(|def| def.id == alert.rule_id)?;
        Some(Self {
            rule: def.rule,
            severity: alert.severity,
            state: alert.state,
        })
    }
}

pub(crate) const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
