//! What the service counts, beside what the chassis does.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const RECORDS: &str = "enricher_records_total";
const TICKS: &str = "enricher_ticks_total";
const DEAD_LETTERS: &str = "enricher_dead_letters_total";
const TABLE_RECORDS: &str = "enricher_table_records_total";
const ASSETS: &str = "enricher_assets";

pub(crate) fn describe() {
    describe_counter!(
        RECORDS,
        "Readings enriched, by whether the asset table knew their GPU."
    );
    describe_counter!(TICKS, "Ticks passed on.");
    describe_counter!(DEAD_LETTERS, "Records given up, by reason.");
    describe_counter!(
        TABLE_RECORDS,
        "Records of the asset table, by what they did."
    );
    describe_gauge!(ASSETS, "Assets in memory, all workers together.");
}

/// Handles made once: looking a metric up by name costs more than enriching a record.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) known: Counter,
    pub(crate) unknown: Counter,
    pub(crate) ticks: Counter,
    pub(crate) table_set: Counter,
    pub(crate) table_deleted: Counter,
    pub(crate) table_unreadable: Counter,
    pub(crate) assets: Gauge,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let table = |outcome: &'static str| counter!(TABLE_RECORDS, "outcome" => outcome);
        Self {
            known: counter!(RECORDS, "asset" => "known"),
            unknown: counter!(RECORDS, "asset" => "unknown"),
            ticks: counter!(TICKS),
            table_set: table("set"),
            table_deleted: table("deleted"),
            table_unreadable: table("unreadable"),
            assets: gauge!(ASSETS),
        }
    }

    /// A record was given up because of `reason`, a code of a closed list.
    pub(crate) fn dead_letter(reason: &'static str) {
        counter!(DEAD_LETTERS, "reason" => reason).increment(1);
    }
}
