//! What stands in the tables is what stood in the records.

use crate::fleet::{
    alert_value, golden, now_ms, reading, reading_value, score_value, tick, uuid, value_of,
    window_value,
};
use crate::service::{DEADLINE, PARTITIONS, Service, Topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use schema::{METRICS, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{Database, NewRecord};

fn row(database: &Database, table: &str, uuid: &str) -> Value {
    let sql = format!(
        "SELECT row_to_json(t) FROM {table} AS t WHERE t.gpu_id = (SELECT gpu_id FROM gpus WHERE gpu_uuid = '{uuid}')"
    );
    let text = database.sql(&sql);
    assert_eq!(text.lines().count(), 1, "{table}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn count(database: &Database, table: &str) -> usize {
    database
        .sql(&format!("SELECT count(*) FROM {table}"))
        .parse()
        .unwrap()
}

/// `row_to_json`'s spelling of a time.
fn instant(row: &Value, column: &str) -> i64 {
    let text = row[column]
        .as_str()
        .unwrap_or_else(|| panic!("{column} of {row}"));
    Timestamp::parse(text).unwrap().as_millis()
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn check_full_reading(database: &Database, gpu: &str, now: i64) {
    let reading = row(database, "gpu_metrics", gpu);
    assert_eq!(instant(&reading, "time"), now);
    assert_eq!(instant(&reading, "ingested_at"), now + 333);
    for (index, metric) in METRICS.iter().enumerate() {
        let expected = match metric.name {
            "gpu_temp_c" => json!(61.25),
            "memory_temp_c" => Value::Null,
            _ => json!(value_of(index)),
        };
        assert_eq!(
            reading[metric.name].as_f64(),
            expected.as_f64(),
            "{}",
            metric.name
        );
    }
    assert_eq!(reading["quality_flags"], json!([]));
    assert_eq!(reading["bank_remap_avail"], Value::Null);
    let described = row(database, "gpus", gpu);
    assert_eq!(
        (&described["device_index"], &described["asset_status"]),
        (&json!(3), &json!("unknown"))
    );
    assert_eq!(described["model"], Value::Null);
}

fn check_golden_reading(database: &Database, gpu: &str, now: i64) {
    let small = row(database, "gpu_metrics", gpu);
    assert_eq!(
        (
            float(&small["gpu_temp_c"]),
            float(&small["throttle_reasons"])
        ),
        (65.0, 0.0)
    );
    assert_eq!(small["power_usage_w"], Value::Null);
    assert_eq!(small["quality_flags"], json!(["late"]));
    assert_eq!(small["job_id"], "job-17");
    let described = row(database, "gpus", gpu);
    assert_eq!(described["model"], "NVIDIA H100 80GB HBM3");
    assert_eq!(described["rack"], "rack-12");
    assert_eq!(described["cluster"], "production-cluster-1");
    assert_eq!(described["hostname"], "gpu-node-042");
    assert_eq!(described["warranty_status"], "active");
    assert_eq!(instant(&described, "described_at"), now);
}

fn check_windows(database: &Database, gpu: &str, minute: i64) {
    for (table, n) in [("gpu_metrics_1min", 6), ("gpu_metrics_15min", 90)] {
        let window = row(database, table, gpu);
        assert_eq!(instant(&window, "window_start"), minute, "{table}");
        assert_eq!(
            (&window["revision"], &window["count"]),
            (&json!(0), &json!(n))
        );
        assert_eq!(float(&window["gpu_temp_c_avg"]), 54.25);
        assert_eq!(float(&window["gpu_temp_c_p95"]), 66.0);
        assert_eq!(window["power_usage_w_avg"], Value::Null);
        assert_eq!(window["metrics"]["gpu_temp_c"]["min"], json!(-1.5));
        assert_eq!(window["counters"]["ecc_sbe_volatile"]["resets"], 1);
        assert_eq!(window["throttle_reasons"], 72);
        assert_eq!(window["throttle_concern_samples"], 2);
        assert_eq!(window["xids"], json!([48, 94]));
    }
}

fn check_alert_and_score(database: &Database, gpu: &str, now: i64) {
    let alert = row(database, "alerts", gpu);
    assert_eq!(instant(&alert, "time"), now);
    assert_eq!(alert["alert_type"], "temperature_spike");
    assert_eq!(
        alert["message"],
        "core at 95 °C, 13 °C above its own level at this power"
    );
    assert_eq!(
        (float(&alert["current_value"]), float(&alert["threshold"])),
        (95.0, 85.0)
    );
    assert_eq!(alert["context"]["labels"]["rack"], "rack-12");
    assert_eq!(
        (&alert["resolved_at"], &alert["xid"]),
        (&Value::Null, &Value::Null)
    );

    let score = row(database, "health_scores", gpu);
    assert_eq!(instant(&score, "time"), now);
    assert_eq!(
        (
            float(&score["overall_score"]),
            float(&score["thermal_health"])
        ),
        (87.0, 85.0)
    );
    assert_eq!(
        (
            float(&score["degradation_trend"]),
            float(&score["confidence"])
        ),
        (-0.2, 1.0)
    );
    assert_eq!(
        score["contributing_factors"],
        json!(["elevated_temperature", "minor_ecc_errors"])
    );
    assert_eq!(score["factors"][0]["points"], 15);
    assert_eq!(
        (&score["health_grade"], &score["scoring_version"]),
        (&json!("good"), &json!("2.0"))
    );
}

#[test]
fn each_topic_becomes_rows_that_say_what_its_records_say() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let now = now_ms() / 1_000 * 1_000 + 123;
    let mig = "MIG-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11";
    let full = uuid(1);
    let golden_like = golden("enriched_event_1_1.json")
        .replace("GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11", mig)
        .replace(
            "2026-02-11T10:30:00.123Z",
            &Timestamp::from_millis(now).to_string(),
        );
    topics.produce(
        &topics.enriched,
        [
            NewRecord::new(full.as_str(), reading_value(&full, now, 61.25)),
            NewRecord::new(mig, golden_like),
            tick(0, now),
            tick(3, now),
        ],
    );
    let minute = now / 60_000 * 60_000;
    let keyed = |value: String| [NewRecord::new(full.as_str(), value)];
    topics.produce(
        &topics.one_minute,
        keyed(window_value(&full, minute, 1, 0, 6)),
    );
    topics.produce(
        &topics.fifteen_minutes,
        keyed(window_value(&full, minute, 15, 0, 90)),
    );
    topics.produce(&topics.alerts, keyed(alert_value(&full, now)));
    topics.produce(&topics.scores, keyed(score_value(&full, now)));

    let service = Service::start(&topics, database.url(), &[]);
    service.wait_ready();
    service.wait_metric("tsdb_sink_rows_total", |n| n >= 6.0);

    check_full_reading(&database, &full, now);
    check_golden_reading(&database, mig, now);
    check_windows(&database, &full, minute);
    check_alert_and_score(&database, &full, now);
    // Ticks make no row; each is counted, and so is its offset.
    service.wait_metric("tsdb_sink_ticks_total", |n| (n - 2.0).abs() < 0.5);
    let records = format!("tsdb_sink_records_total{{topic=\"{}\"}}", topics.enriched);
    service.wait_metric(&records, |n| (n - 4.0).abs() < 0.5);
    service.wait_metric("tsdb_sink_lag_records", |n| n.abs() < 0.5);
    assert_eq!(count(&database, "gpu_metrics"), 2);
    assert_eq!(
        database.sql("SELECT sum(next_offset) FROM sink_offsets"),
        "8"
    );
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("WARN").count(), 0, "{log}");
}

#[test]
fn a_fact_that_comes_again_replaces_its_row_and_an_older_revision_does_not() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let gpu = uuid(4);
    let (now, minute) = (now_ms(), now_ms() / 60_000 * 60_000);
    let record = |value: String| NewRecord::new(gpu.as_str(), value);
    let service = Service::start(&topics, database.url(), &[]);
    let settle = |stored: f64| service.wait_metric("tsdb_sink_records_total", |n| n >= stored);
    topics.produce(&topics.enriched, [record(reading_value(&gpu, now, 50.0))]);
    topics.produce(
        &topics.one_minute,
        [record(window_value(&gpu, minute, 1, 0, 6))],
    );
    settle(2.0);
    // What a replay with another version of a stage writes: the same facts, other values.
    topics.produce(&topics.enriched, [record(reading_value(&gpu, now, 51.0))]);
    topics.produce(
        &topics.one_minute,
        [
            record(window_value(&gpu, minute, 1, 2, 8)),
            record(window_value(&gpu, minute, 1, 1, 7)),
        ],
    );
    topics.produce(
        &topics.scores,
        [
            record(score_value(&gpu, now)),
            record(score_value(&gpu, now).replace(":87,", ":55,")),
        ],
    );
    let alert = alert_value(&gpu, now);
    let resolved = alert.replace(r#""firing""#, r#""resolved""#);
    topics.produce(
        &topics.alerts,
        [record(alert.clone()), record(resolved), record(alert)],
    );
    settle(10.0);
    topics.produce(
        &topics.one_minute,
        [record(window_value(&gpu, minute, 1, 0, 6))],
    );
    settle(11.0);

    assert_eq!(
        float(&row(&database, "gpu_metrics", &gpu)["gpu_temp_c"]),
        51.0
    );
    let window = row(&database, "gpu_metrics_1min", &gpu);
    assert_eq!(
        (&window["revision"], &window["count"]),
        (&json!(2), &json!(8))
    );
    assert_eq!(
        float(&row(&database, "health_scores", &gpu)["overall_score"]),
        55.0
    );
    assert_eq!(
        database.sql("SELECT state FROM alerts ORDER BY state"),
        "firing\nresolved"
    );
    assert_eq!(count(&database, "firing_alerts"), 0);
}

#[test]
fn records_of_an_aborted_transaction_are_not_stored() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let service = Service::start(&topics, database.url(), &[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &topics.kafka)
        .set("transactional.id", &topics.enriched)
        .create()
        .unwrap();
    let patience = Duration::from_secs(20);
    producer.init_transactions(patience).unwrap();
    let base = now_ms();
    for (gpu, commit) in [(1, false), (2, true), (3, false), (4, true), (5, false)] {
        producer.begin_transaction().unwrap();
        let value = reading_value(&uuid(gpu), base, 1.0);
        let record = BaseRecord::to(&topics.enriched)
            .partition(1)
            .key("k")
            .payload(&value);
        producer.send(record).unwrap();
        producer.flush(patience).unwrap();
        if commit {
            producer.commit_transaction(patience).unwrap();
        } else {
            producer.abort_transaction(patience).unwrap();
        }
    }
    service.wait_metric("tsdb_sink_rows_total", |n| n >= 2.0);
    // A record behind the last abort, so that everything before it has been passed.
    topics.produce(&topics.enriched, [tick(1, base)]);
    service.wait_metric("tsdb_sink_ticks_total", |n| n >= 1.0);
    let stored =
        database.sql("SELECT gpu_uuid FROM gpu_metrics JOIN gpus USING (gpu_id) ORDER BY 1");
    assert_eq!(stored, format!("{}\n{}", uuid(2), uuid(4)));
    // Markers at the end are no lag.
    producer.begin_transaction().unwrap();
    let record = BaseRecord::<str, str>::to(&topics.enriched)
        .partition(1)
        .payload("x");
    producer.send(record).unwrap();
    producer.flush(patience).unwrap();
    producer.abort_transaction(patience).unwrap();
    service.wait_metric("tsdb_sink_lag_records", |n| n.abs() < 0.5);
}

#[test]
fn a_trickle_and_a_flood_are_both_stored_whole() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let small = [
        ("TSDB_SINK__SINK__MAX_RECORDS", "100"),
        ("TSDB_SINK__SINK__WRITERS", "3"),
    ];
    let service = Service::start(&topics, database.url(), &small);
    let base = now_ms() - 3_600_000;
    topics.produce(
        &topics.enriched,
        (0..5_000).map(|n| reading(n % 50, n / 50, base)),
    );
    service.wait_metric("tsdb_sink_rows_total", |n| n >= 5_000.0);
    for n in 0..5 {
        topics.produce(&topics.enriched, [reading(n, 1_000, base)]);
        let stored = 5_001 + n;
        testbed::wait_until(DEADLINE, "one more row", || {
            count(&database, "gpu_metrics") == stored
        });
    }
    let complete = database.sql(
        "SELECT count(DISTINCT (gpu_id, time)), count(DISTINCT gpu_id), sum(gpu_temp_c) FROM gpu_metrics",
    );
    let sum: f64 = (0..100).map(|n| f64::from(n) + 0.5).sum::<f64>() * 50.0 + 5.0 * 1_000.5;
    assert_eq!(complete, format!("5005|50|{sum}"));
    let partitions = format!(
        "SELECT count(*) FROM sink_offsets WHERE topic = '{}'",
        topics.enriched
    );
    assert_eq!(database.sql(&partitions), PARTITIONS.to_string());
}
