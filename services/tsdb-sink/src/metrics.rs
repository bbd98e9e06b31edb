//! What the service counts.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use std::time::Duration;

const RECORDS: &str = "tsdb_sink_records_total";
const ROWS: &str = "tsdb_sink_rows_total";
const BATCHES: &str = "tsdb_sink_batches_total";
const BATCH_DURATION: &str = "tsdb_sink_batch_duration_seconds";
const DEAD_LETTERS: &str = "tsdb_sink_dead_letters_total";
const DEAD_LETTERS_PENDING: &str = "tsdb_sink_dead_letters_pending";
const LAG: &str = "tsdb_sink_lag_records";
const ASSIGNED: &str = "tsdb_sink_assigned_partitions";
const STOPPED: &str = "tsdb_sink_stopped_partitions";
const GAPS: &str = "tsdb_sink_gaps_total";
const TICKS: &str = "tsdb_sink_ticks_total";
const KAFKA_UP: &str = "tsdb_sink_kafka_up";
const DATABASE_UP: &str = "tsdb_sink_database_up";
const PARTITIONS_CREATED: &str = "tsdb_sink_table_partitions_created_total";
const PARTITIONS_DROPPED: &str = "tsdb_sink_table_partitions_dropped_total";

pub(crate) fn describe() {
    describe_counter!(
        RECORDS,
        "Records whose offset is stored, by topic; ticks and dead letters included."
    );
    describe_counter!(ROWS, "Rows stored, by table.");
    describe_counter!(
        BATCHES,
        "Tries to store a batch by outcome: stored, repeated (it was stored already), fenced, gap, refused (a bad row), failed."
    );
    describe_histogram!(
        BATCH_DURATION,
        Unit::Seconds,
        "Time to store a batch, from begin to commit."
    );
    describe_counter!(DEAD_LETTERS, "Records given up, by reason.");
    describe_gauge!(
        DEAD_LETTERS_PENDING,
        "Dead letters that wait in the database to be published."
    );
    describe_gauge!(LAG, "Records of a partition that are not stored yet.");
    describe_gauge!(ASSIGNED, "Partitions that this instance stores, by writer.");
    describe_gauge!(
        STOPPED,
        "Partitions that are not stored because records are missing from their topic, by writer."
    );
    describe_counter!(
        GAPS,
        "Batches that did not begin where the database ends, and were read again."
    );
    describe_gauge!(DATABASE_UP, "1 while the database takes what it is given.");
    describe_gauge!(KAFKA_UP, "1 while the broker answers.");
    describe_counter!(
        TICKS,
        "Records that carry stream time only and make no row."
    );
    describe_counter!(PARTITIONS_CREATED, "Partitions of tables made, by table.");
    describe_counter!(
        PARTITIONS_DROPPED,
        "Partitions of tables dropped by retention, by table."
    );
}

pub(crate) fn records(topic: &str, n: u64) {
    counter!(RECORDS, "topic" => topic.to_owned()).increment(n);
}

pub(crate) fn rows(table: &'static str, n: u64) {
    counter!(ROWS, "table" => table).increment(n);
}

pub(crate) fn batch(outcome: &'static str) {
    counter!(BATCHES, "outcome" => outcome).increment(1);
}

pub(crate) fn batch_duration(took: Duration) {
    histogram!(BATCH_DURATION).record(took.as_secs_f64());
}

pub(crate) fn dead_letter(reason: &'static str) {
    counter!(DEAD_LETTERS, "reason" => reason).increment(1);
}

pub(crate) fn dead_letters_pending(n: i64) {
    gauge!(DEAD_LETTERS_PENDING).set(n as f64);
}

pub(crate) fn lag(topic: &str, partition: i32, records: i64) {
    gauge!(LAG, "topic" => topic.to_owned(), "partition" => partition.to_string())
        .set(records as f64);
}

pub(crate) fn partitions(writer: usize, assigned: usize, stopped: usize) {
    gauge!(ASSIGNED, "writer" => writer.to_string()).set(assigned as f64);
    gauge!(STOPPED, "writer" => writer.to_string()).set(stopped as f64);
}

pub(crate) fn gap() {
    counter!(GAPS).increment(1);
}

pub(crate) fn database_up(up: bool) {
    gauge!(DATABASE_UP).set(f64::from(u8::from(up)));
}

pub(crate) fn kafka_up(up: bool) {
    gauge!(KAFKA_UP).set(f64::from(u8::from(up)));
}

pub(crate) fn ticks(n: u64) {
    counter!(TICKS).increment(n);
}

pub(crate) fn partition_created(table: &'static str) {
    counter!(PARTITIONS_CREATED, "table" => table).increment(1);
}

pub(crate) fn partition_dropped(table: &'static str) {
    counter!(PARTITIONS_DROPPED, "table" => table).increment(1);
}
