//! Kafka absent, lost, back, and wrong.

use crate::collector::{PATIENCE, Process, event, exposition, serve};
use axum::Router;
use axum::routing::get;
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::{Broker, consume_committed, create_topic, unique, wait_until};

async fn endpoint() -> String {
    let router = Router::new().route(
        "/metrics",
        get(|| async { exposition("GPU-a", 61) + &exposition("GPU-b", 62) }),
    );
    format!("http://{}/metrics", serve(router).await)
}

fn start(target: &str, bootstrap: &str, topic: &str, more: &[(&str, &str)]) -> Process {
    let mut environment = vec![
        ("COLLECTOR__TARGETS", target),
        ("COLLECTOR__KAFKA__BOOTSTRAP_SERVERS", bootstrap),
        ("COLLECTOR__TOPICS__RAW", topic),
        ("COLLECTOR__SCRAPE__INTERVAL_MS", "100"),
        ("COLLECTOR__SCRAPE__TIMEOUT_MS", "100"),
        ("COLLECTOR__BUFFER__UNREADY_AFTER_MS", "1500"),
    ];
    environment.extend(more);
    Process::start(&environment)
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_kept_while_kafka_is_away_and_none_is_lost_or_doubled() {
    let broker = Broker::start();
    let raw = broker.topic("raw", 32);
    let mut collector = start(&endpoint().await, broker.bootstrap(), &raw, &[]);
    let delivered = || collector.metric("collector_records_delivered_total");
    wait_until(PATIENCE, "the first records", || {
        delivered() >= 20.0 && collector.ready()
    });

    broker.kill();
    let scraped = collector.metric("collector_readings_total");
    wait_until(PATIENCE, "unreadiness", || {
        collector.get("/readyz").0 == 503
    });
    wait_until(PATIENCE, "scraping goes on", || {
        collector.metric("collector_readings_total") >= scraped + 60.0
    });
    assert_eq!(
        collector.get("/healthz").0,
        200,
        "Kafka's absence is no reason to restart"
    );
    assert_eq!(
        collector.log_lines("Kafka takes no records"),
        1,
        "{}",
        collector.log()
    );
    assert!(collector.metric("collector_buffered_records") >= 30.0);

    broker.restart();
    wait_until(PATIENCE, "readiness", || collector.ready());
    assert_eq!(
        collector.log_lines("Kafka takes records again"),
        1,
        "{}",
        collector.log()
    );
    assert!(collector.terminate().success(), "{}", collector.log());

    let records = consume_committed(broker.bootstrap(), &raw, 80, PATIENCE);
    for gpu in ["GPU-a", "GPU-b"] {
        let sequences: Vec<_> = records
            .iter()
            .map(event)
            .filter(|event| event.gpu.gpu_uuid == gpu)
            .map(|event| event.collector.unwrap().sequence.unwrap())
            .collect();
        let expected: Vec<_> = (1..).take(sequences.len()).collect();
        assert_eq!(sequences, expected, "in order, each once, none missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_drops_the_oldest_and_counts_them() {
    let broker = Broker::start();
    let raw = broker.topic("raw", 32);
    let collector = start(
        &endpoint().await,
        broker.bootstrap(),
        &raw,
        &[
            ("COLLECTOR__BUFFER__MAX_RECORDS", "10"),
            ("COLLECTOR__BUFFER__MAX_IN_FLIGHT", "4"),
        ],
    );
    wait_until(PATIENCE, "the first records", || {
        collector.metric("collector_records_delivered_total") >= 20.0
    });
    broker.kill();
    let dropped = || collector.metric("collector_records_dropped_total{reason=\"buffer_full\"}");
    wait_until(PATIENCE, "drops", || dropped() >= 20.0);
    assert!(collector.metric("collector_buffered_records") <= 14.0);
    broker.restart();
    wait_until(PATIENCE, "readiness", || collector.ready());
    let lost = dropped();
    wait_until(PATIENCE, "some more", || {
        collector.metric("collector_buffered_records") < 5.0
    });
    let read = consume_committed(broker.bootstrap(), &raw, 1, PATIENCE);
    let of_a: BTreeSet<_> = read
        .iter()
        .map(event)
        .filter(|event| event.gpu.gpu_uuid == "GPU-a")
        .map(|event| event.collector.unwrap().sequence.unwrap())
        .collect();
    let missing = of_a.last().unwrap() - of_a.len() as u64;
    assert!(missing >= 5, "{missing} are missing in the middle");
    assert!(
        (missing as f64 - lost / 2.0).abs() <= 10.0,
        "{missing} of GPU-a missing, {lost} of both counted"
    );
    assert!(of_a.contains(&1), "what was delivered before stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_waits_for_its_topic_and_says_so_once() {
    let raw = unique("raw");
    let bootstrap = testbed::kafka();
    let mut collector = start(&endpoint().await, &bootstrap, &raw, &[]);
    wait_until(PATIENCE, "the complaint", || {
        collector.log_lines("waiting for Kafka") == 1
    });
    let (status, body) = collector.get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("does not exist"), "{body}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        collector.log_lines("waiting for Kafka"),
        1,
        "{}",
        collector.log()
    );
    create_topic(&bootstrap, &raw, 32, &[]);
    wait_until(PATIENCE, "readiness", || collector.ready());
    wait_until(PATIENCE, "records", || {
        collector.metric("collector_records_delivered_total") >= 10.0
    });
    assert!(collector.terminate().success());
    let first = consume_committed(&bootstrap, &raw, 10, PATIENCE);
    assert!(
        first
            .iter()
            .any(|record| event(record).collector.unwrap().sequence == Some(1)),
        "what was scraped while waiting is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_another_number_of_partitions_is_refused() {
    let raw = testbed::topic("raw", 8);
    let mut collector = start(&endpoint().await, &testbed::kafka(), &raw, &[]);
    let status = collector.wait("the refusal");
    assert_eq!(status.code(), Some(65), "{}", collector.log());
    // The log is read beside this thread and may come after the process's end.
    wait_until(PATIENCE, "the reason", || {
        collector.log_lines("has 8 partitions, not topics.raw_partitions = 32") == 1
    });
}

#[test]
fn wrong_configuration_is_one_line_and_exit_64() {
    let mut collector = Process::start(&[
        ("COLLECTOR__TARGETS", "node:9400"),
        ("COLLECTOR__SCRAPE__TIMEOUT_MS", "20000"),
    ]);
    let status = collector.wait("the refusal");
    assert_eq!(status.code(), Some(64));
    wait_until(PATIENCE, "its log", || collector.log().ends_with('\n'));
    assert_eq!(
        collector.log(),
        "collector: configuration: scrape.timeout_ms: must not be above scrape.interval_ms\n"
    );
}
