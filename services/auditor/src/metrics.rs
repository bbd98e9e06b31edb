//! What the service counts.

use crate::domain::audit::Audit;
use crate::domain::pipeline::{STAGES, TOPICS};
use metrics::{counter, describe_counter, describe_gauge, gauge};

const RECORDS: &str = "auditor_records_total";
const UNSOURCED: &str = "auditor_unsourced_records_total";
const AUDITED: &str = "auditor_audited_records_total";
const LOST: &str = "auditor_lost_records_total";
const DOUBLED: &str = "auditor_doubled_records_total";
const PHANTOM: &str = "auditor_phantom_records_total";
const UNAUDITED: &str = "auditor_unaudited_records_total";
const PENDING: &str = "auditor_pending_records";
const LAG: &str = "auditor_lag_records";
const SURVEY_AGE: &str = "auditor_last_verdict_timestamp_seconds";
const KAFKA_UP: &str = "auditor_kafka_up";
const DATABASE_UP: &str = "auditor_database_up";
const SINK_CHECKED: &str = "auditor_sink_rows_checked_total";
const SINK_MISSING: &str = "auditor_sink_rows_missing_total";
const SINK_DOUBLED: &str = "auditor_sink_rows_doubled_total";
const SINK_UNAUDITED: &str = "auditor_sink_samples_unaudited_total";
const SINK_PENDING: &str = "auditor_sink_samples_pending";
const SINK_LAG: &str = "auditor_sink_lag_records";

pub(crate) fn describe() {
    describe_counter!(RECORDS, "Records read, by topic.");
    describe_counter!(
        UNSOURCED,
        "Outputs of a stage whose header source names no input of it, by topic."
    );
    describe_counter!(
        AUDITED,
        "Inputs that were judged and found right, by stage."
    );
    describe_counter!(LOST, "Inputs that a stage has passed without an outcome.");
    describe_counter!(
        DOUBLED,
        "Outcomes too many, by stage: of an input that had one, or came out again after it was done with."
    );
    describe_counter!(
        PHANTOM,
        "Outcomes of what is no committed input, by stage: an aborted record, a transaction marker."
    );
    describe_counter!(
        UNAUDITED,
        "Inputs that could not be judged, by stage: deleted before they were read, or beyond audit.max_pending_offsets."
    );
    describe_gauge!(PENDING, "Inputs read that wait for their stage, by stage.");
    describe_gauge!(LAG, "Records of a topic that the auditor has not read.");
    describe_gauge!(
        SURVEY_AGE,
        "When a stage was last judged up to what it had committed, in seconds since the epoch."
    );
    describe_gauge!(KAFKA_UP, "1 while the broker answers.");
    describe_gauge!(DATABASE_UP, "1 while the sink's database answers.");
    describe_counter!(
        SINK_CHECKED,
        "Samples looked for in the sink's tables, by table."
    );
    describe_counter!(
        SINK_MISSING,
        "Samples that the sink has passed and no row tells of."
    );
    describe_counter!(SINK_DOUBLED, "Samples that more than one row tells of.");
    describe_counter!(
        SINK_UNAUDITED,
        "Samples not looked for, by table: too old, or beyond sink.max_samples."
    );
    describe_gauge!(
        SINK_PENDING,
        "Samples that wait until the sink has passed them."
    );
    describe_gauge!(SINK_LAG, "Records of a topic that the sink has not stored.");
}

/// Shows where the audit stands.
pub(crate) fn show(audit: &Audit, names: &[String]) {
    for (index, stage) in STAGES.iter().enumerate() {
        let totals = audit.totals(index);
        for (name, value) in [
            (AUDITED, totals.audited),
            (LOST, totals.lost),
            (DOUBLED, totals.doubled),
            (PHANTOM, totals.phantom),
            (UNAUDITED, totals.unaudited),
        ] {
            counter!(name, "stage" => stage.name).absolute(value);
        }
        gauge!(PENDING, "stage" => stage.name).set(audit.pending(index) as f64);
    }
    for (topic, name) in names.iter().enumerate().take(TOPICS) {
        let (read, unsourced) = audit.counts(topic);
        counter!(RECORDS, "topic" => name.clone()).absolute(read);
        counter!(UNSOURCED, "topic" => name.clone()).absolute(unsourced);
        gauge!(LAG, "topic" => name.clone()).set(audit.lag(topic) as f64);
    }
}

pub(crate) fn judged(stage: &'static str, time_ms: i64) {
    gauge!(SURVEY_AGE, "stage" => stage).set(time_ms as f64 / 1_000.0);
}

pub(crate) fn kafka_up(up: bool) {
    gauge!(KAFKA_UP).set(f64::from(u8::from(up)));
}

pub(crate) fn database_up(up: bool) {
    gauge!(DATABASE_UP).set(f64::from(u8::from(up)));
}

pub(crate) fn sink_rows(table: &'static str, checked: u64, missing: u64, doubled: u64) {
    counter!(SINK_CHECKED, "table" => table).increment(checked);
    counter!(SINK_MISSING, "table" => table).increment(missing);
    counter!(SINK_DOUBLED, "table" => table).increment(doubled);
}

pub(crate) fn sink_unaudited(table: &'static str) {
    counter!(SINK_UNAUDITED, "table" => table).increment(1);
}

pub(crate) fn sink_pending(samples: usize) {
    gauge!(SINK_PENDING).set(samples as f64);
}

pub(crate) fn sink_lag(topic: &str, records: i64) {
    gauge!(SINK_LAG, "topic" => topic.to_owned()).set(records as f64);
}
