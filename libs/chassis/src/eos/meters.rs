//! What the workers count and measure.

use super::settings::Settings;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

pub(super) struct Meters {
    pub(super) consumed: Counter,
    pub(super) produced: Vec<Counter>,
    pub(super) changelog: Counter,
    pub(super) replayed: Counter,
    pub(super) committed: Counter,
    pub(super) aborted: Counter,
    pub(super) commit_duration: Histogram,
    pub(super) assigned: Gauge,
    pub(super) entries: Gauge,
}

impl Meters {
    pub(super) fn new(settings: &Settings) -> Self {
        let topology = &settings.topology;
        Self {
            consumed: counter!("chassis_records_consumed_total", "topic" => topology.input.clone()),
            produced: topology
                .outputs
                .iter()
                .map(|topic| counter!("chassis_records_produced_total", "topic" => topic.clone()))
                .collect(),
            changelog: counter!("chassis_changelog_records_total"),
            replayed: counter!("chassis_replayed_records_total"),
            committed: counter!("chassis_transactions_total", "outcome" => "committed"),
            aborted: counter!("chassis_transactions_total", "outcome" => "aborted"),
            commit_duration: histogram!("chassis_commit_duration_seconds"),
            assigned: gauge!("chassis_assigned_partitions", "worker" => settings.worker.to_string()),
            entries: gauge!("chassis_state_entries", "worker" => settings.worker.to_string()),
        }
    }
}

/// Their help texts.
pub(crate) fn describe() {
    describe_counter!(
        "chassis_records_consumed_total",
        "Input records whose transaction was committed."
    );
    describe_counter!(
        "chassis_records_produced_total",
        "Output records sent, those of aborted transactions included."
    );
    describe_counter!(
        "chassis_changelog_records_total",
        "State changes sent, those of aborted transactions included."
    );
    describe_counter!("chassis_transactions_total", "Transactions by outcome.");
    describe_counter!(
        "chassis_producer_rebuilds_total",
        "Producers rebuilt after a slow, failed or fenced transaction."
    );
    describe_counter!(
        "chassis_rebalances_total",
        "Rebalances by kind: assigned, revoked, lost."
    );
    describe_counter!(
        "chassis_restore_records_total",
        "Changelog records read to restore state."
    );
    describe_counter!(
        "chassis_replayed_records_total",
        "Input records processed again after a crash to bring state on, with outputs muted (state = rolling)."
    );
    describe_gauge!(
        "chassis_replaying_partitions",
        "Partitions whose input is being replayed."
    );
    describe_gauge!(
        "chassis_restore_remaining_records",
        "Offsets of changelog and table that a restore has still to read."
    );
    describe_histogram!(
        "chassis_commit_duration_seconds",
        "Time from the decision to commit to its end, in seconds."
    );
    describe_histogram!(
        "chassis_restore_duration_seconds",
        "Time from assignment to the first record, in seconds."
    );
    describe_gauge!(
        "chassis_assigned_partitions",
        "Partitions assigned to a worker."
    );
    describe_gauge!(
        "chassis_restoring_partitions",
        "Partitions assigned to a worker whose state is not there yet."
    );
    describe_gauge!(
        "chassis_consumer_lag_records",
        "High watermark less position; it counts transaction markers too."
    );
    describe_gauge!(
        "chassis_state_entries",
        "Entries in the state of a worker's partitions."
    );
}
