//! An alert (`gpu-alerts`; critical ones also `gpu-critical`).

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One change of an alert's state, or a repeat of it while it fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for every record of one incident: derived from the fingerprint and `first_seen` (a UUID in form).
    pub alert_id: String,
    /// `temperature_spike`, `ecc_errors`, `throttling`, `failure_prediction`, `gpu_lost`, `xid`, …
    pub alert_type: String,
    /// The rule that found it; the runbook has a page for each.
    pub rule_id: String,
    /// Firing or resolved.
    pub state: AlertState,
    /// How bad.
    pub severity: Severity,
    /// The GPU: the key.
    pub gpu_uuid: String,
    /// Event time of the reading (or stream time of the silence) that made this record.
    pub timestamp: Timestamp,
    /// When the condition was first seen in this incident.
    pub first_seen: Timestamp,
    /// When it ended; only on resolved records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// How often the condition was seen in this incident.
    pub count: u64,
    /// The same for the same rule on the same GPU, over all incidents.
    pub fingerprint: String,
    /// The metric that decided.
    pub metric_name: String,
    /// Its value.
    pub current_value: Option<f64>,
    /// The limit it was held against.
    pub threshold: Option<f64>,
    /// What a person needs to judge it.
    pub context: AlertContext,
    /// What to do, in words.
    pub recommended_action: String,
    /// What to do, as NVSentinel names it (`RESTART_BM`, `COMPONENT_RESET`, `CONTACT_SUPPORT`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_code: Option<String>,
    /// One sentence: what was seen, against which limit.
    pub message: String,
    /// The Xid, for rules on Xids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u32>,
    /// The page of the runbook.
    pub runbook: String,
}

/// What surrounds the alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertContext {
    /// The metric's latest values, oldest first, the current one last.
    pub recent_values: Vec<f64>,
    /// Where they go.
    pub trend: Trend,
    /// Where the GPU is: hostname, rack, cluster, datacenter, model, SLA tier, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The records that show it: `topic/partition/offset`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence_offsets: Vec<String>,
}

/// The direction of recent values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Rising.
    Increasing,
    /// Falling.
    Decreasing,
    /// Neither.
    #[default]
    Stable,
}

/// Firing or resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds.
    Firing,
    /// It has ended.
    Resolved,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Wake somebody.
    Critical,
}
