//! A record that can't be stored becomes a dead letter, once, and its neighbours are stored.

use crate::fleet::{alert_value, now_ms, reading, uuid, window_value};
use crate::service::{DEADLINE, PARTITIONS, Service, Topics};
use schema::{DeadLetter, OriginalEncoding};
use std::collections::BTreeMap;
use testbed::{Broker, NewRecord};

#[test]
fn bad_records_are_isolated_and_arrive_once_with_their_bytes_and_reasons() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    // Filled while nobody reads, so that good and bad records are in one batch.
    let base = now_ms() - 600_000;
    let minute = base / 60_000 * 60_000;
    let gpu = uuid(1);
    let record = |value: &str| NewRecord::new(gpu.as_str(), value).partition(1);
    let good = |from: usize| (from..from + 200).map(move |n| reading(n % 10, n, base).partition(1));
    let not_json: &[u8] = b"\xff{not json";
    topics.produce(&topics.enriched, good(0));
    topics.produce(
        &topics.enriched,
        [NewRecord::new(gpu.as_str(), not_json).partition(1)],
    );
    topics.produce(&topics.enriched, good(200));
    topics.produce(&topics.enriched, [NewRecord::keyless("{}").partition(1)]);
    topics.produce(
        &topics.enriched,
        [NewRecord::tombstone(gpu.as_str()).partition(1)],
    );
    // Numbers that JSON has and the database has not, both on the way of first results and on that of corrections.
    let huge = |revision, n: i64| {
        window_value(&gpu, minute + n * 60_000, 1, revision, 6).replace(
            r#""counters":{"#,
            r#""counters":{"huge":{"increment":1e200000},"#,
        )
    };
    let fine = |revision, n: i64| window_value(&gpu, minute + n * 60_000, 1, revision, 6);
    let windows = [
        fine(0, 0),
        huge(0, 1),
        fine(0, 2),
        fine(1, 3),
        huge(1, 4),
        fine(1, 5),
        huge(0, 6),
    ];
    topics.produce(
        &topics.one_minute,
        windows.iter().map(|value| record(value)),
    );
    // Half of a character: serde takes it, jsonb does not.
    let odd = alert_value(&gpu, base).replace("\"increasing\"", r#""\ud83d""#);
    topics.produce(
        &topics.alerts,
        [record(&alert_value(&gpu, base + 7)), record(&odd)],
    );

    let service = Service::start(&topics, database.url(), &[]);
    service.wait_metric("tsdb_sink_records_total", |n| n >= 412.0);
    let count = |table: &str| database.sql(&format!("SELECT count(*) FROM {table}"));
    assert_eq!(count("gpu_metrics"), "400");
    assert_eq!(count("gpu_metrics_1min"), "4");
    assert_eq!(count("alerts"), "1");
    testbed::wait_until(DEADLINE, "dead letters are published", || {
        count("sink_dead_letters") == "0"
    });

    let records = testbed::consume_committed(&topics.kafka, &topics.invalid, 7, DEADLINE);
    assert_eq!(records.len(), 7, "each once");
    let mut letters = BTreeMap::new();
    for record in &records {
        let letter: DeadLetter = serde_json::from_str(record.text()).unwrap();
        let source = &letter.source;
        let place = format!("{}/{}/{}", source.topic, source.partition, source.offset);
        assert_eq!(record.header("dedup-key").unwrap(), place.as_bytes());
        assert_eq!(record.partition, source.partition % 2);
        assert_eq!(letter.service, "tsdb-sink");
        assert!(letters.insert(place, letter).is_none());
    }
    let letter = |topic: &str, offset: i64| &letters[&format!("{topic}/1/{offset}")];
    let code = |letter: &DeadLetter| letter.validation_errors[0].code.clone();
    let broken = letter(&topics.enriched, 200);
    assert_eq!(code(broken), "not_readable");
    assert_eq!(broken.key.as_deref(), Some(gpu.as_str()));
    assert_eq!(broken.original_encoding, OriginalEncoding::Base64);
    assert_eq!(broken.original, "/3tub3QganNvbg==");
    assert_eq!(broken.original_size_bytes, 10);
    assert_eq!(code(letter(&topics.enriched, 401)), "not_a_tick");
    assert_eq!(code(letter(&topics.enriched, 402)), "no_value");
    for offset in [1, 4, 6] {
        let refused = letter(&topics.one_minute, offset);
        assert_eq!(code(refused), "refused_by_database");
        let message = &refused.validation_errors[0].message;
        assert!(message.contains("SQLSTATE 22"), "{message}");
        assert_eq!(refused.original, windows[usize::try_from(offset).unwrap()]);
    }
    assert_eq!(letter(&topics.alerts, 1).original, odd);
    assert_eq!(code(letter(&topics.alerts, 1)), "refused_by_database");

    let refused = "tsdb_sink_dead_letters_total{reason=\"refused_by_database\"}";
    service.wait_metric(refused, |n| (n - 4.0).abs() < 0.5);
    service.wait_metric("tsdb_sink_lag_records", |n| n.abs() < 0.5);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    // A restart finds them done with.
    let again = Service::start(&topics, database.url(), &[]);
    topics.produce(
        &topics.enriched,
        (0..PARTITIONS).map(|n| reading(1, 900, base).partition(n)),
    );
    again.wait_metric("tsdb_sink_records_total", |n| n >= 4.0);
    let records = testbed::consume_committed(&topics.kafka, &topics.invalid, 7, DEADLINE);
    assert_eq!(records.len(), 7);
}

#[test]
fn a_row_that_the_operators_own_constraint_refuses_holds_up_nothing() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let service = Service::start(&topics, database.url(), &[]);
    service.wait_ready();
    database.sql("ALTER TABLE gpu_metrics ADD CHECK (gpu_temp_c <> 33.5)");
    let base = now_ms() - 600_000;
    topics.produce(
        &topics.enriched,
        (0..1_000).map(|n| reading(n % 10, n / 10, base)),
    );
    service.wait_metric("tsdb_sink_records_total", |n| n >= 1_000.0);
    assert_eq!(database.sql("SELECT count(*) FROM gpu_metrics"), "990");
    let letters = testbed::consume_committed(&topics.kafka, &topics.invalid, 10, DEADLINE);
    assert_eq!(letters.len(), 10);
    for letter in letters {
        let letter: DeadLetter = serde_json::from_str(letter.text()).unwrap();
        assert!(letter.original.contains(r#""gpu_temp_c":33.5"#));
        assert!(
            letter.validation_errors[0]
                .message
                .contains("SQLSTATE 23514")
        );
    }
}

#[test]
fn dead_letters_wait_in_the_database_while_kafka_does_not_take_them() {
    let broker = Broker::start();
    let mut topics = Topics::on(&broker);
    let missing = std::mem::replace(&mut topics.invalid, testbed::unique("invalid"));
    let database = testbed::database("sink");
    let service = Service::start(&topics, database.url(), &[]);
    let base = now_ms();
    topics.produce(
        &topics.enriched,
        [NewRecord::new("k", "{"), reading(1, 1, base)],
    );
    service.wait_metric("tsdb_sink_dead_letters_pending", |n| n > 0.5);
    testbed::wait_until(DEADLINE, "the log says why", || {
        service.said("dead letters wait in the database") == 1
    });
    service.wait_metric("tsdb_sink_rows_total", |n| n > 0.5);
    assert_eq!(database.sql("SELECT count(*) FROM sink_dead_letters"), "1");
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    topics.invalid = missing;
    let service = Service::start(&topics, database.url(), &[]);
    let letters = testbed::consume_committed(&topics.kafka, &topics.invalid, 1, DEADLINE);
    assert_eq!(letters.len(), 1);
    service.wait_metric("tsdb_sink_dead_letters_pending", |n| n < 0.5);
}
