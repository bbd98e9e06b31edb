//! The sink's tables, as the sink makes them, with a row that is not there.

use crate::service::{DEADLINE, Service, Topics};
use testbed::NewRecord;

/// The sink's own statements, as far as they matter here; the end-to-end test runs against the sink itself.
const TABLES: &str = "CREATE TABLE gpus (gpu_id int4 PRIMARY KEY, gpu_uuid text UNIQUE);
    CREATE TABLE sink_offsets (topic text, partition int4, next_offset int8);
    CREATE TABLE gpu_metrics (gpu_id int4, time timestamptz);
    CREATE TABLE gpu_metrics_1min (gpu_id int4, window_start timestamptz);
    CREATE TABLE gpu_metrics_15min (gpu_id int4, window_start timestamptz);
    CREATE TABLE alerts (alert_id text, time timestamptz, state text);
    CREATE TABLE health_scores (gpu_id int4, time timestamptz);
    INSERT INTO gpus VALUES (1, 'GPU-1')";

#[test]
fn a_row_that_is_missing_and_one_too_many_are_found_once_the_sink_has_passed_them() {
    let (kafka, topics) = (testbed::kafka(), Topics::create());
    let database = testbed::database("auditor");
    for statement in TABLES.split(';') {
        database.sql(statement);
    }
    // Event times of now, since older rows may have been dropped.
    let now: i64 = database
        .sql("SELECT (extract(epoch FROM date_trunc('minute', now())))::int8")
        .trim()
        .parse()
        .unwrap();
    let reading = |second: i64| {
        let time = database.sql(&format!(
            "SELECT to_char(to_timestamp({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
            now + second
        ));
        let value = format!(r#"{{"timestamp":"{}"}}"#, time.trim());
        NewRecord::new("GPU-1", value).partition(0)
    };
    testbed::produce(&kafka, topics.of("enriched"), (0..10).map(reading));
    // 3 has no row, 4 has two, 5 became a dead letter, 8 and 9 are not stored yet.
    for second in [0, 1, 2, 4, 4, 6, 7] {
        database.sql(&format!(
            "INSERT INTO gpu_metrics VALUES (1, to_timestamp({}))",
            now + second
        ));
    }
    let place = format!("{}/0/5", topics.of("enriched"));
    let letter = NewRecord::new("GPU-1", "{}")
        .partition(0)
        .header("dedup-key", place);
    testbed::produce(&kafka, topics.of("invalid"), [letter]);
    let service = Service::start(
        &kafka,
        &topics,
        &[
            ("AUDITOR__DATABASE__URL", database.url()),
            ("AUDITOR__SINK__INTERVAL_MS", "200"),
            ("AUDITOR__SINK__SAMPLE_EVERY", "1"),
        ],
    );
    let series = |what: &str| format!("auditor_sink_rows_{what}_total{{table=\"gpu_metrics\"}}");
    testbed::wait_until(DEADLINE, "the samples wait for the sink", || {
        service.metric("auditor_sink_samples_pending") == 9
    });
    assert_eq!(service.metric(&series("missing")), 0);
    database.sql(&format!(
        "INSERT INTO sink_offsets VALUES ('{}', 0, 8)",
        topics.of("enriched")
    ));
    testbed::wait_until(DEADLINE, "the samples are looked for", || {
        service.metric("auditor_sink_samples_pending") == 2
    });
    let counted = ["checked", "missing", "doubled"].map(|what| service.metric(&series(what)));
    assert_eq!(counted, [7, 1, 1]);
    let lag = format!(
        "auditor_sink_lag_records{{topic=\"{}\"}}",
        topics.of("enriched")
    );
    testbed::wait_until(DEADLINE, "the sink's lag", || service.metric(&lag) == 2);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("records=\"0/3\"") || log.contains("records=0/3"),
        "{log}"
    );
}
