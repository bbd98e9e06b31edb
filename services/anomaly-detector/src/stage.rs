//! The seam between Kafka and the domain.

use crate::SERVICE;
use crate::domain::alerting::{Evidence, is_critical};
use crate::domain::dead_letter::{Original, Unreadable, dead_letter, short_key};
use crate::domain::detector::{Applied, Detector};
use crate::domain::reading::Reading;
use crate::domain::state::GpuState;
use crate::metrics::{Counts, Note};
use chassis::{Outbox, Output, Record, Stage};
use schema::{Alert, AlertState, Tick};
use std::sync::Arc;
use tracing::{debug, error, info};

mod task;

pub use task::DetectorTask;

/// `gpu-alerts`
pub const ALERTS: Output = Output(0);
/// `gpu-critical`
pub const CRITICAL: Output = Output(1);
/// `gpu-metrics-invalid`
pub const INVALID: Output = Output(2);

/// Searches the readings of a partition for anomalies.
#[derive(Debug)]
pub struct AnomalyDetector {
    detector: Arc<Detector>,
    counts: Arc<Counts>,
    /// Kept to save its memory; empty between records.
    alerts: Vec<Alert>,
}

impl AnomalyDetector {
    /// With the rules of `detector`.
    pub fn new(detector: Arc<Detector>) -> Self {
        Self {
            detector,
            counts: Arc::new(Counts::new()),
            alerts: Vec::new(),
        }
    }

    fn apply(&mut self, task: &mut DetectorTask, record: &Record<'_>) -> Result<(), Unreadable> {
        let value = record.value.ok_or(Unreadable::NoValue)?;
        let Some(key) = record.key else {
            let tick: Tick = serde_json::from_slice(value).map_err(Unreadable::NotATick)?;
            task.advance(tick.validation_timestamp.as_millis(), &self.detector);
            task.tally.ticks += 1;
            return Ok(());
        };
        let gpu_uuid = std::str::from_utf8(key).map_err(|_| Unreadable::KeyNotText)?;
        let reading = Reading::parse(value).map_err(Unreadable::NotAReading)?;
        task.advance(reading.validation_timestamp.as_millis(), &self.detector);
        let clock = task.clock();
        let applied = task.change(key, &self.detector, |state| {
            self.detector.reading(
                gpu_uuid,
                state,
                &reading,
                &clock,
                evidence(record),
                &mut self.alerts,
            )
        });
        match applied {
            Applied::Judged => task.tally.readings += 1,
            Applied::Late => task.tally.late += 1,
        }
        Ok(())
    }

    /// Looks at every GPU whose time has come.
    fn look_for_silence(&mut self, task: &mut DetectorTask, record: &Record<'_>) {
        let limits = &self.detector.limits().absence;
        while let Some(due) = task.due(&self.detector) {
            let Ok(gpu_uuid) = std::str::from_utf8(&due.key) else {
                continue;
            };
            let clock = task.clock();
            let presence = due.presence;
            if presence.is_forgotten(&clock, limits) {
                task.forget(&due.key, |state| {
                    let alerts = &mut self.alerts;
                    self.detector
                        .forget(gpu_uuid, state, &clock, evidence(record), alerts);
                });
                continue;
            }
            let outlived = task.has_living_sibling(&due);
            // Most looks at a silent GPU change nothing; only one that does may cost a changelog record.
            let mut state: GpuState = match task.gpu(&due.key) {
                Some(state) => state.clone(),
                None => continue,
            };
            let before = self.alerts.len();
            self.detector.silence(
                gpu_uuid,
                &mut state,
                &clock,
                outlived,
                evidence(record),
                &mut self.alerts,
            );
            if self.alerts.len() > before || task.gpu(&due.key) != Some(&state) {
                task.change(&due.key, &self.detector, |kept| *kept = state);
            }
        }
    }

    fn emit(&mut self, task: &mut DetectorTask, record: &Record<'_>, out: &mut Outbox) {
        for alert in self.alerts.drain(..) {
            let key = Some(alert.gpu_uuid.as_bytes());
            let topics = if is_critical(&alert) {
                &[ALERTS, CRITICAL][..]
            } else {
                &[ALERTS]
            };
            for output in topics {
                let partition = out.co_partition(*output);
                let sent = out.send_with(*output, partition, key, |buffer| {
                    serde_json::to_writer(buffer, &alert)
                });
                if let Err(error) = sent {
                    // Strings and finite numbers are always written; should that ever change, the log still has it.
                    error!(%error, rule = alert.rule_id, gpu = alert.gpu_uuid, offset = record.offset, "alert not written");
                }
            }
            tell(&alert);
            task.tally.alerts.extend(Note::of(&alert));
        }
    }

    fn give_up(record: &Record<'_>, reason: &Unreadable, out: &mut Outbox) {
        let original = Original {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
        };
        let letter = dead_letter(SERVICE.name, SERVICE.version, &original, reason);
        let partition = out.co_partition(INVALID);
        let sent = out.send_with(INVALID, partition, short_key(record.key), |buffer| {
            serde_json::to_writer(buffer, &letter)
        });
        if let Err(error) = sent {
            error!(%error, topic = record.topic, partition = record.partition, offset = record.offset, "dead letter not written");
        }
    }
}

impl Stage for AnomalyDetector {
    type Task = DetectorTask;

    fn open(&mut self, _partition: i32) -> DetectorTask {
        DetectorTask::new(Arc::clone(&self.counts))
    }

    fn process(&mut self, task: &mut DetectorTask, record: &Record<'_>, out: &mut Outbox) {
        match self.apply(task, record) {
            Ok(()) => {
                // First what the record says of its own GPU, then what its time says of the others.
                self.look_for_silence(task, record);
                self.emit(task, record, out);
            }
            Err(reason) => {
                task.tally.dead_letters.push(reason.code());
                Self::give_up(record, &reason, out);
            }
        }
    }
}

const fn evidence<'a>(record: &Record<'a>) -> Evidence<'a> {
    Evidence {
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
    }
}

/// Alerts are this service's output, not its own trouble: none is a warning of it.
fn tell(alert: &Alert) {
    if is_critical(alert) {
        info!(
            rule = alert.rule_id,
            gpu = alert.gpu_uuid,
            state = match alert.state {
                AlertState::Firing => "firing",
                AlertState::Resolved => "resolved",
            },
            alert_id = alert.alert_id,
            message = alert.message,
            "critical alert"
        );
    } else {
        debug!(
            rule = alert.rule_id,
            gpu = alert.gpu_uuid,
            message = alert.message,
            "alert"
        );
    }
}

#[cfg(test)]
mod tests;
