//! Partitions of tables come when they are needed and go when they are too old.

use crate::fleet::{now_ms, reading};
use crate::service::{DEADLINE, Service, Topics};
use schema::Timestamp;

const DAY_MS: i64 = 86_400_000;

#[test]
fn retention_drops_partitions_that_are_too_old_and_strays_find_their_place() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let now = now_ms();
    let sql = |sql: &str| database.sql(sql);
    let partitions = || -> usize {
        let count =
            sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'gpu_metrics'::regclass");
        count.parse().unwrap()
    };
    let service = Service::start(
        &topics,
        database.url(),
        &[("TSDB_SINK__RETENTION__READINGS_DAYS", "60")],
    );
    let of_days = |days: &[i64], sequence: usize| {
        let readings: Vec<_> = days
            .iter()
            .enumerate()
            .map(|(gpu, day)| reading(gpu, sequence, now - day * DAY_MS))
            .collect();
        topics.produce(&topics.enriched, readings);
    };
    // Thirty days ahead: a broken clock gets no partition of its own.
    of_days(&[0, 3, 40, -30], 0);
    service.wait_metric("tsdb_sink_rows_total", |n| n > 3.5);
    assert_eq!(sql("SELECT count(*) FROM gpu_metrics_default"), "1");
    // Today and the two days after it, three days ago, forty days ago, and the default.
    assert_eq!(partitions(), 6);
    assert_eq!(service.terminate().0, 0);

    let extra = [
        ("TSDB_SINK__RETENTION__READINGS_DAYS", "7"),
        ("TSDB_SINK__RETENTION__CHECK_INTERVAL_MS", "300"),
    ];
    let service = Service::start(&topics, database.url(), &extra);
    testbed::wait_until(DEADLINE, "the old partition goes", || partitions() == 5);
    let dropped = "tsdb_sink_table_partitions_dropped_total{table=\"gpu_metrics\"}";
    service.wait_metric(dropped, |n| (n - 1.0).abs() < 0.5);
    assert_eq!(sql("SELECT count(*) FROM gpu_metrics"), "3");
    // Too old from the start: stored, and gone with the next look.
    of_days(&[50], 5);
    service.wait_metric("tsdb_sink_rows_total", |n| n > 0.5);
    testbed::wait_until(DEADLINE, "the old row goes", || {
        sql("SELECT count(*) FROM gpu_metrics") == "3"
    });
    // A row whose partition could not be made when it was stored.
    let two_days_ago = Timestamp::from_millis(now - 2 * DAY_MS);
    sql(&format!(
        "INSERT INTO gpu_metrics (time, gpu_id) VALUES ('{two_days_ago}', 1)"
    ));
    testbed::wait_until(DEADLINE, "the stray's partition", || partitions() == 6);
    assert_eq!(sql("SELECT count(*) FROM gpu_metrics"), "4");
    assert_eq!(sql("SELECT count(*) FROM gpu_metrics_default"), "1");
    service.wait_ready();
    assert_eq!(service.terminate().0, 0);
}
