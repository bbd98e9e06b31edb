//! The service's metrics.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Scrapes by `outcome`: `ok`, `timeout`, `unreachable`, `status`, `too_large`, `broken`, `empty`, `skipped`.
pub const SCRAPES: &str = "collector_scrapes_total";
/// Seconds from asking to the whole answer, read.
pub const SCRAPE_DURATION: &str = "collector_scrape_duration_seconds";
/// Targets by `state`: `up`, `down`, `unknown`.
pub const TARGETS: &str = "collector_targets";
/// Readings made.
pub const READINGS: &str = "collector_readings_total";
/// GPUs seen in this run.
pub const GPUS: &str = "collector_gpus";
/// Rows by `outcome`: `used`, `skipped`, `malformed`, `without_gpu`.
pub const ROWS: &str = "collector_rows_total";
/// Records that Kafka acknowledged.
pub const DELIVERED: &str = "collector_records_delivered_total";
/// Records lost, by `reason`: `buffer_full`, `refused`, `shutdown`.
pub const DROPPED: &str = "collector_records_dropped_total";
/// Records that wait for Kafka.
pub const BUFFERED: &str = "collector_buffered_records";
/// Bytes that wait for Kafka.
pub const BUFFERED_BYTES: &str = "collector_buffered_bytes";
/// Producers made anew after a fatal error.
pub const REBUILDS: &str = "collector_producer_rebuilds_total";
/// Looks at the targets file by `outcome`: `changed`, `failed`.
pub const TARGET_FILE_READS: &str = "collector_targets_file_reads_total";

/// Describes them.
pub fn describe() {
    describe_counter!(SCRAPES, "Scrapes by outcome.");
    describe_histogram!(
        SCRAPE_DURATION,
        "Seconds from asking an endpoint to its whole answer, read."
    );
    describe_gauge!(
        TARGETS,
        "Targets of this instance by state of their last scrape."
    );
    describe_counter!(READINGS, "Readings of GPUs.");
    describe_gauge!(GPUS, "GPUs seen since the start.");
    describe_counter!(
        ROWS,
        "Rows of the exporters' answers by what became of them."
    );
    describe_counter!(DELIVERED, "Records that Kafka acknowledged.");
    describe_counter!(DROPPED, "Records lost, by reason.");
    describe_gauge!(BUFFERED, "Records that wait for Kafka.");
    describe_gauge!(BUFFERED_BYTES, "Bytes that wait for Kafka.");
    describe_counter!(REBUILDS, "Kafka producers made anew after a fatal error.");
    describe_counter!(TARGET_FILE_READS, "Reads of the targets file by outcome.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_every_metric() {
        let readme = include_str!("../README.md");
        for name in [
            SCRAPES,
            SCRAPE_DURATION,
            TARGETS,
            READINGS,
            GPUS,
            ROWS,
            DELIVERED,
            DROPPED,
            BUFFERED,
            BUFFERED_BYTES,
            REBUILDS,
            TARGET_FILE_READS,
        ] {
            assert!(readme.contains(&format!("`{name}")), "{name}");
        }
    }
}
