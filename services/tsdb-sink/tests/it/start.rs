//! What ends the service, with one line and a code that says why, and what makes it stop a partition.

use crate::fleet::{now_ms, reading};
use crate::service::{DEADLINE, Service, Topics};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testbed::Postgres;

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let topics = Topics::create();
    for (key, value, needle) in [
        (
            "TSDB_SINK__DATABASE__URL",
            "postgres//secret",
            "database.url",
        ),
        ("TSDB_SINK__SINK__WRITERS", "0", "sink.writers"),
        (
            "TSDB_SINK__SINK__ON_LOST_INPUT",
            "guess",
            "sink.on_lost_input",
        ),
        (
            "TSDB_SINK__RETENTION__ALERTS_DAYS",
            "0",
            "retention.alerts_days",
        ),
        ("TSDB_SINK__DATABSE__URL", "x", "databse"),
    ] {
        let (code, log) =
            Service::start(&topics, "postgres://127.0.0.1:1/x", &[(key, value)]).wait();
        assert_eq!((code, log.lines().count()), (64, 1), "{log}");
        assert!(log.contains(needle) && !log.contains("secret"), "{log}");
    }
}

#[test]
fn a_wrong_password_a_missing_database_and_a_missing_topic_are_named() {
    let (topics, postgres) = (Topics::create(), Postgres::start());
    postgres.sql("CREATE ROLE sink LOGIN PASSWORD 'right'");
    postgres.sql("CREATE DATABASE sink OWNER sink");
    let rules = postgres.data().join("pg_hba.conf");
    let trusting = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(
        &rules,
        format!("host all sink all scram-sha-256\n{trusting}"),
    )
    .unwrap();
    postgres.sql("SELECT pg_reload_conf()");
    let url = |password: &str, database: &str| {
        format!(
            "postgres://sink:{password}@127.0.0.1:{}/{database}",
            postgres.port()
        )
    };
    let ends = |topics: &Topics, url: &str, expected: i32, needle: &str| {
        let (code, log) = Service::start(topics, url, &[]).wait();
        assert_eq!(code, expected, "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("tsdb-sink: ") && last.contains(needle),
            "{log}"
        );
        assert!(!log.contains("wrong-pass"), "{log}");
    };
    ends(
        &topics,
        &url("wrong-pass", "sink"),
        77,
        "password authentication failed",
    );
    ends(
        &topics,
        &url("right", "no_such_database"),
        69,
        "no_such_database",
    );
    let mut missing = Topics::create();
    missing.alerts = "no-such-topic".to_owned();
    ends(
        &missing,
        &url("right", "sink"),
        69,
        "topic no-such-topic is not there",
    );

    // A user that owns its database needs no other right.
    let service = Service::start(&topics, &url("right", "sink"), &[]);
    service.wait_ready();
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn tables_of_another_kind_are_refused_and_an_older_version_of_ours_gets_its_columns() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let service = Service::start(&topics, database.url(), &[]);
    service.wait_ready();
    assert_eq!(service.terminate().0, 0);
    database.sql("DROP VIEW latest_gpu_metrics; ALTER TABLE gpu_metrics DROP COLUMN gpu_temp_c");
    let service = Service::start(&topics, database.url(), &[]);
    topics.produce(&topics.enriched, [reading(1, 7, now_ms())]);
    testbed::wait_until(DEADLINE, "a row", || {
        database.sql("SELECT to_regclass('latest_gpu_metrics') IS NOT NULL") == "t"
            && database.sql("SELECT gpu_temp_c FROM gpu_metrics") == "7.5"
    });
    assert_eq!(service.terminate().0, 0);
    database
        .sql("DROP VIEW latest_gpu_metrics; ALTER TABLE gpu_metrics ALTER gpu_temp_c TYPE float4");
    let (code, log) = Service::start(&topics, database.url(), &[]).wait();
    assert_eq!(code, 65, "{log}");
    assert!(
        log.contains("column gpu_temp_c of gpu_metrics is float4, not float8"),
        "{log}"
    );
}

/// What retention does.
fn delete_records(topics: &Topics, partition: i32, before: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &topics.kafka)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(before);
    list.add_partition_offset(&topics.enriched, partition, offset)
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(admin.delete_records(&list, &AdminOptions::new()))
        .unwrap();
}

#[test]
fn records_that_retention_took_before_they_were_stored_stop_their_partition_until_they_may_be_skipped()
 {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let base = now_ms() - 600_000;
    let readings =
        |from: usize| (from..from + 10).map(move |n| reading(n % 3, n, base).partition(2));
    let stored = || database.sql("SELECT count(*) FROM gpu_metrics");
    let service = Service::start(&topics, database.url(), &[]);
    topics.produce(&topics.enriched, readings(0));
    testbed::wait_until(DEADLINE, "ten rows", || stored() == "10");
    assert_eq!(service.terminate().0, 0);
    topics.produce(&topics.enriched, readings(10));
    delete_records(&topics, 2, 15);

    let service = Service::start(&topics, database.url(), &[]);
    service.wait_unready("1 partitions are stopped");
    // The others go on.
    topics.produce(&topics.enriched, [reading(50, 0, base).partition(0)]);
    testbed::wait_until(DEADLINE, "another partition's row", || stored() == "11");
    let log = service.log();
    assert!(log.contains("from=10 to=15 lost=5"), "{log}");
    assert_eq!(service.terminate().0, 0);
    assert_eq!(stored(), "11");

    let skip = [("TSDB_SINK__SINK__ON_LOST_INPUT", "earliest")];
    let service = Service::start(&topics, database.url(), &skip);
    testbed::wait_until(DEADLINE, "what is left", || stored() == "16");
    service.wait_ready();
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn records_that_retention_takes_while_the_database_is_away_are_missed_not_jumped_over() {
    let (topics, postgres) = (Topics::create(), Postgres::start());
    let extra = [
        ("TSDB_SINK__SINK__MAX_RECORDS", "100"),
        ("TSDB_SINK__SINK__FETCH_QUEUE_KIB", "256"),
        ("TSDB_SINK__SINK__WRITERS", "1"),
    ];
    let service = Service::start(&topics, postgres.url(), &extra);
    let base = now_ms() - 3_600_000;
    let readings =
        |range: std::ops::Range<usize>| range.map(move |n| reading(n % 9, n, base).partition(2));
    topics.produce(&topics.enriched, readings(0..10));
    service.wait_metric("tsdb_sink_rows_total", |n| n > 9.5);
    postgres.stop();
    topics.produce(&topics.enriched, readings(10..20_000));
    service.wait_metric("tsdb_sink_lag_records", |n| n > 19_000.0);
    delete_records(&topics, 2, 19_000);
    postgres.restart();
    // What was read before stays whole; what follows is not stored, since something is missing in between.
    service.wait_unready("1 partitions are stopped");
    let stored = || -> usize {
        postgres
            .sql("SELECT count(*) FROM gpu_metrics")
            .parse()
            .unwrap()
    };
    let next = postgres.sql(&format!(
        "SELECT next_offset FROM sink_offsets WHERE partition = 2 AND topic = '{}'",
        topics.enriched
    ));
    assert_eq!(next, stored().to_string());
    assert!(stored() < 19_000);
    assert_eq!(
        service.said("records were removed before they were stored"),
        1
    );
    assert_eq!(service.terminate().0, 0);
}
