//! Command line, configuration, endpoints, exit codes.

use crate::support::{Counter, Topics};
use std::time::Duration;

#[test]
fn wrong_configuration_is_one_line_and_exit_64_before_anything_is_touched() {
    let topics = Topics {
        input: "no-such".to_owned(),
        output: "x".to_owned(),
        changelog: "y".to_owned(),
    };
    let check = |extra: &[(&str, &str)], needle: &str| {
        // No broker listens there: nothing is touched.
        let counter = Counter::start("127.0.0.1:1", &topics, "a", extra);
        let (code, log) = counter.wait(Duration::from_secs(10));
        assert_eq!(code, 64, "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(needle), "{log}");
    };
    check(&[("COUNTER__PIPELINE__WORKERS", "0")], "pipeline.workers");
    check(&[("COUNTER__PIPELINE__WORKERS", "two")], "pipeline.workers");
    check(&[("COUNTER__PIPELNE__WORKERS", "2")], "pipelne");
    check(
        &[("COUNTER__KAFKA__SESSION_TIMEOUT_MS", "100")],
        "kafka.session_timeout_ms",
    );
    check(
        &[("COUNTER__KAFKA__PROPERTIES__NO_SUCH_THING", "1")],
        "kafka.properties: no.such.thing",
    );
    check(
        &[("COUNTER_CONFIG", "/no/such/file.toml")],
        "/no/such/file.toml",
    );
}

#[test]
fn a_taken_port_is_said_in_one_line() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let topics = Topics {
        input: "no-such".to_owned(),
        output: "x".to_owned(),
        changelog: "y".to_owned(),
    };
    let counter = Counter::start(
        "127.0.0.1:1",
        &topics,
        "a",
        &[("COUNTER__HTTP__LISTEN", &address)],
    );
    let (code, log) = counter.wait(Duration::from_secs(10));
    assert_eq!(code, 69, "{log}");
    assert!(log.contains(&format!("http.listen {address}")), "{log}");
}

#[test]
fn endpoints_answer_while_kafka_is_absent_and_a_drain_ends_the_wait() {
    let topics = Topics {
        input: "no-such".to_owned(),
        output: "x".to_owned(),
        changelog: "y".to_owned(),
    };
    let nobody = format!("127.0.0.1:{}", testbed::free_port());
    let counter = Counter::start(&nobody, &topics, "a", &[]);
    testbed::wait_until(Duration::from_secs(20), "the log to say so", || {
        counter.log().contains("Kafka is not there yet")
    });
    assert_eq!(counter.get("/healthz").0, 200);
    let (status, body) = counter.get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("kafka"), "{body}");
    let (status, metrics) = counter.get("/metrics");
    assert_eq!(status, 200);
    for name in [
        "build_info",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name}");
    }
    assert_eq!(counter.get("/no-such-path").0, 404);
    assert_eq!(
        counter.log().matches("Kafka is not there yet").count(),
        1,
        "said once"
    );
    counter.signal("TERM");
    assert_eq!(counter.wait(Duration::from_secs(15)).0, 0);
}

#[test]
fn a_missing_topic_is_named() {
    let kafka = testbed::kafka();
    let mut topics = Topics::create(&kafka);
    topics.output = "no-such-topic".to_owned();
    let (code, log) = Counter::start(&kafka, &topics, "a", &[]).wait(Duration::from_secs(30));
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("topic no-such-topic is not there"), "{log}");
}

#[test]
fn a_wrong_partition_count_is_refused_with_both_numbers() {
    let kafka = testbed::kafka();
    let topics = Topics::create_with(&kafka, 3);
    let (code, log) = Counter::start(&kafka, &topics, "a", &[]).wait(Duration::from_secs(30));
    assert_eq!(code, 65, "{log}");
    assert!(log.contains("has 3 partitions"), "{log}");
    assert!(log.contains("has 4"), "{log}");
}
