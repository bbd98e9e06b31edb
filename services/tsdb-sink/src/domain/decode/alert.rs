//! An alert's record (`gpu-alerts`) as a row of `alerts`.

use super::{check_uuid, not_readable};
use crate::domain::batch::{Batch, Way};
use crate::domain::letter::Unstorable;
use crate::domain::table::Table;
use schema::{Text, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is stored of an `Alert`. Words of closed lists are taken as text: a word that a later version adds is stored,
/// not refused.
#[derive(Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "`alert_id` and `alert_type` are names on the wire"
)]
struct Alert<'a> {
    #[serde(borrow)]
    alert_id: Text<'a>,
    #[serde(borrow)]
    alert_type: Text<'a>,
    #[serde(borrow)]
    rule_id: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    gpu_uuid: Text<'a>,
    timestamp: Timestamp,
    first_seen: Timestamp,
    #[serde(default)]
    resolved_at: Option<Timestamp>,
    count: u64,
    #[serde(borrow)]
    fingerprint: Text<'a>,
    #[serde(borrow)]
    metric_name: Text<'a>,
    current_value: Option<f64>,
    threshold: Option<f64>,
    #[serde(borrow)]
    context: &'a RawValue,
    #[serde(borrow)]
    recommended_action: Text<'a>,
    #[serde(borrow, default)]
    action_code: Option<Text<'a>>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(default)]
    xid: Option<u32>,
    #[serde(borrow)]
    runbook: Text<'a>,
}

pub(super) fn decode(
    value: &[u8],
    origin: (usize, i64),
    batch: &mut Batch,
) -> Result<(), Unstorable> {
    let alert: Alert<'_> = serde_json::from_slice(value).map_err(|error| not_readable(&error))?;
    check_uuid(&alert.gpu_uuid)?;
    let gpu = batch.gpu(&alert.gpu_uuid);
    batch.add(
        (Table::Alerts, Way::Merge),
        origin,
        (alert.timestamp, gpu),
        |fields| {
            fields.text("alert_id", Some(&alert.alert_id))?;
            fields.text("state", Some(&alert.state))?;
            fields.text("severity", Some(&alert.severity))?;
            fields.text("alert_type", Some(&alert.alert_type))?;
            fields.text("rule_id", Some(&alert.rule_id))?;
            fields.text("fingerprint", Some(&alert.fingerprint))?;
            fields.time("first_seen", Some(alert.first_seen))?;
            fields.time("resolved_at", alert.resolved_at)?;
            fields.int8_of("count", Some(alert.count))?;
            fields.text("metric_name", Some(&alert.metric_name))?;
            fields.float8(alert.current_value);
            fields.float8(alert.threshold);
            fields.int8_of("xid", alert.xid.map(u64::from))?;
            fields.text("action_code", alert.action_code.as_deref())?;
            fields.text("recommended_action", Some(&alert.recommended_action))?;
            fields.text("message", Some(&alert.message))?;
            fields.text("runbook", Some(&alert.runbook))?;
            fields.jsonb("context", Some(alert.context.get()))
        },
    )?;
    Ok(())
}
