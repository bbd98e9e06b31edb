//! Endpoints that answer, and endpoints that do not.

use crate::collector::{Process, event, exposition, serve};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::time::Duration;
use testbed::{consume_committed, free_port, topic, wait_until};

const INTERVAL_MS: i64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn slow_dead_and_broken_endpoints_delay_nobody_and_show_in_metrics() {
    let raw = topic("raw", 32);
    let healthy = serve(
        Router::new()
            .route("/metrics", get(|| async { exposition("GPU-healthy", 61) }))
            .route(
                "/broken",
                get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
            )
            .route("/large", get(|| async { "x".repeat(100_000) }))
            .route("/empty", get(|| async { "# nothing\n" }))
            .route(
                "/slow",
                get(|| async {
                    tokio::time::sleep(Duration::from_hours(1)).await;
                    exposition("GPU-slow", 1)
                }),
            ),
    )
    .await;
    let dead = free_port();
    // Forty slow ones, more than there are places for suspects, and one of each other kind of trouble.
    let mut targets: Vec<_> = (0..40)
        .map(|n| format!("http://{healthy}/slow?{n}"))
        .collect();
    targets.extend(
        ["/metrics", "/broken", "/large", "/empty"].map(|path| format!("http://{healthy}{path}")),
    );
    targets.push(format!("127.0.0.1:{dead}"));
    let bootstrap = testbed::kafka();
    let collector = Process::start(&[
        ("COLLECTOR__TARGETS", &targets.join(",")),
        ("COLLECTOR__KAFKA__BOOTSTRAP_SERVERS", &bootstrap),
        ("COLLECTOR__TOPICS__RAW", &raw),
        ("COLLECTOR__SCRAPE__INTERVAL_MS", "500"),
        ("COLLECTOR__SCRAPE__TIMEOUT_MS", "450"),
        ("COLLECTOR__SCRAPE__SUSPECT_CONCURRENCY", "8"),
        ("COLLECTOR__SCRAPE__MAX_BODY_BYTES", "65536"),
    ]);
    let seen = || collector.metric("collector_records_delivered_total");
    wait_until(
        Duration::from_secs(30),
        "ten readings of the healthy GPU",
        || seen() >= 10.0,
    );

    let times: Vec<_> = {
        let mut times: Vec<_> = consume_committed(&bootstrap, &raw, 10, Duration::from_secs(30))
            .iter()
            .map(|record| {
                assert_eq!(record.key.as_deref(), Some(b"GPU-healthy".as_slice()));
                assert_eq!(record.partition, schema::partition_for(b"GPU-healthy", 32));
                event(record).timestamp.as_millis()
            })
            .collect();
        times.sort_unstable();
        times
    };
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            (gap - INTERVAL_MS).abs() <= 300,
            "a turn came {gap} ms after the last: {times:?}"
        );
    }
    for outcome in [
        "ok",
        "timeout",
        "unreachable",
        "status",
        "too_large",
        "empty",
        "skipped",
    ] {
        let name = format!("collector_scrapes_total{{outcome=\"{outcome}\"}}");
        assert!(collector.metric(&name) >= 1.0, "{name}");
    }
    assert!((collector.metric("collector_targets{state=\"up\"}") - 2.0).abs() < 0.1);
    assert!((collector.metric("collector_targets{state=\"down\"}") - 43.0).abs() < 0.1);
    assert!(collector.metric("collector_scrape_duration_seconds_count") >= 10.0);
    assert_eq!(
        collector.log_lines("target down"),
        43,
        "each is told once:\n{}",
        collector.log()
    );
    assert!(collector.ready(), "endpoints are not this service's health");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_comes_back_is_told_once() {
    let raw = topic("raw", 32);
    let port = free_port();
    let bootstrap = testbed::kafka();
    let target = format!("127.0.0.1:{port}");
    let mut collector = Process::start(&[
        ("COLLECTOR__TARGETS", &target),
        ("COLLECTOR__KAFKA__BOOTSTRAP_SERVERS", &bootstrap),
        ("COLLECTOR__TOPICS__RAW", &raw),
        ("COLLECTOR__SCRAPE__INTERVAL_MS", "200"),
        ("COLLECTOR__SCRAPE__TIMEOUT_MS", "200"),
    ]);
    let down = || collector.metric("collector_scrapes_total{outcome=\"unreachable\"}");
    wait_until(Duration::from_secs(30), "three refusals", || down() >= 3.0);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let router = Router::new().route("/metrics", get(|| async { exposition("GPU-back", 44) }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    wait_until(Duration::from_secs(30), "a reading", || {
        collector.metric("collector_records_delivered_total") >= 2.0
    });
    assert_eq!(collector.log_lines("target down"), 1, "{}", collector.log());
    assert_eq!(
        collector.log_lines("target up again"),
        1,
        "{}",
        collector.log()
    );
    assert!(collector.terminate().success(), "{}", collector.log());
}
