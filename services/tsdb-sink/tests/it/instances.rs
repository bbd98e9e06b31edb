//! Each record is stored once, whoever dies and whoever comes back.

use crate::fleet::{now_ms, reading};
use crate::service::{DEADLINE, Service, Topics};
use std::io::Write;
use testbed::Database;

/// Takes away what would hide a record that is stored twice.
fn drop_key(database: &Database) {
    database.sql("ALTER TABLE gpu_metrics DROP CONSTRAINT gpu_metrics_pkey");
}

fn stored(database: &Database) -> usize {
    database
        .sql("SELECT count(*) FROM gpu_metrics")
        .parse()
        .unwrap()
}

fn assert_each_once(database: &Database, gpus: usize, readings: usize) {
    assert_eq!(
        database.sql(
            "SELECT count(*), count(DISTINCT (gpu_id, time)), count(DISTINCT gpu_id) FROM gpu_metrics"
        ),
        format!("{readings}|{readings}|{gpus}")
    );
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_doubles_nothing() {
    const READINGS: usize = 30_000;
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let small = [("TSDB_SINK__SINK__MAX_RECORDS", "150")];
    let first = Service::start(&topics, database.url(), &small);
    first.wait_ready();
    drop_key(&database);
    let base = now_ms() - 3_600_000;
    let records = |range: std::ops::Range<usize>| range.map(move |n| reading(n % 60, n / 60, base));
    topics.produce(&topics.enriched, records(0..READINGS));
    let mut service = first;
    let mut kills = 0;
    // Each time a little later, so that it dies in another moment of its work.
    for more in [1, 900, 1_700, 2_300, 3_100] {
        let before = stored(&database);
        testbed::wait_until(DEADLINE, "some more rows", || {
            stored(&database) >= before + more
        });
        assert!(
            stored(&database) < READINGS,
            "it was done before it was killed"
        );
        service.kill();
        kills += 1;
        service = Service::start(&topics, database.url(), &small);
    }
    testbed::wait_until(DEADLINE, "all rows", || stored(&database) >= READINGS);
    service.wait_metric("tsdb_sink_lag_records", |n| n.abs() < 0.5);
    assert_eq!(kills, 5);
    assert_each_once(&database, 60, READINGS);
    assert_eq!(
        database.sql("SELECT sum(next_offset) FROM sink_offsets"),
        READINGS.to_string()
    );
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn two_instances_share_the_partitions_and_one_that_slept_stores_nothing_twice() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    // A sleeper may hold locks; the server, or in a COPY whoever claims its partitions, ends its transaction after this time.
    let extra = [
        ("TSDB_SINK__SINK__MAX_RECORDS", "100"),
        ("TSDB_SINK__DATABASE__STATEMENT_TIMEOUT_MS", "3000"),
        ("TSDB_SINK__DATABASE__LOCK_TIMEOUT_MS", "1000"),
    ];
    let start = || Service::start(&topics, database.url(), &extra);
    let sleeper = start();
    sleeper.wait_ready();
    drop_key(&database);
    let other = start();
    let assigned = |service: &Service| service.metric("tsdb_sink_assigned_partitions");
    testbed::wait_until(DEADLINE, "partitions are shared", || {
        assigned(&sleeper) > 0.5
            && assigned(&other) > 0.5
            && (assigned(&sleeper) + assigned(&other) - 12.0).abs() < 0.5
    });
    sleeper.wait_ready();
    other.wait_ready();

    let base = now_ms() - 3_600_000;
    let batch = |from: usize| (from..from + 4_000).map(move |n| reading(n % 40, n / 40, base));
    topics.produce(&topics.enriched, batch(0));
    // Whoever stores first is put to sleep in the middle of it.
    let has_stored = |service: &Service| service.metric("tsdb_sink_rows_total") > 0.5;
    testbed::wait_until(DEADLINE, "one of them stores", || {
        has_stored(&sleeper) || has_stored(&other)
    });
    let (sleeper, other) = if has_stored(&sleeper) {
        (sleeper, other)
    } else {
        (other, sleeper)
    };
    sleeper.signal("STOP");
    topics.produce(&topics.enriched, batch(4_000));
    testbed::wait_until(DEADLINE, "the other takes over", || {
        (assigned(&other) - 12.0).abs() < 0.5
    });
    testbed::wait_until(DEADLINE, "the other stores all", || {
        stored(&database) >= 8_000
    });
    sleeper.signal("CONT");
    topics.produce(&topics.enriched, batch(8_000));
    testbed::wait_until(DEADLINE, "all is stored", || stored(&database) >= 12_000);
    testbed::wait_until(DEADLINE, "the sleeper works again", || {
        assigned(&sleeper) > 0.5
    });
    sleeper.wait_ready();
    topics.produce(&topics.enriched, batch(12_000));
    testbed::wait_until(DEADLINE, "all is stored", || stored(&database) >= 16_000);
    assert_each_once(&database, 40, 16_000);
    for service in [sleeper, other] {
        let (code, log) = service.terminate();
        assert_eq!(code, 0, "{log}");
    }
}

#[test]
fn an_instance_whose_partitions_were_claimed_stores_nothing_until_it_has_claimed_them_back() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let service = Service::start(
        &topics,
        database.url(),
        &[("TSDB_SINK__SINK__WRITERS", "1")],
    );
    service.wait_ready();
    drop_key(&database);
    let base = now_ms() - 3_600_000;
    let batch = |from: usize| (from..from + 500).map(move |n| reading(n % 10, n / 10, base));
    topics.produce(&topics.enriched, batch(0));
    testbed::wait_until(DEADLINE, "the first rows", || stored(&database) == 500);
    // What an instance does that believes to own them.
    database.sql("UPDATE sink_offsets SET epoch = epoch + 1, owner = 'somebody else'");
    topics.produce(&topics.enriched, batch(500));
    service.wait_metric("tsdb_sink_batches_total{outcome=\"fenced\"}", |n| n > 0.5);
    service.wait_unready("reader-0");
    assert_eq!(stored(&database), 500);
    testbed::wait_until(DEADLINE, "it claims them back", || {
        stored(&database) == 1_000
    });
    service.wait_ready();
    assert_each_once(&database, 10, 1_000);
    let partitions_of_readings = 4;
    assert_eq!(service.said("fenced"), partitions_of_readings);
}

#[test]
fn a_former_owner_that_was_stopped_in_the_middle_of_a_copy_holds_nobody_up() {
    let (topics, database) = (Topics::create(), testbed::database("sink"));
    let extra = [
        ("TSDB_SINK__DATABASE__STATEMENT_TIMEOUT_MS", "3000"),
        ("TSDB_SINK__DATABASE__LOCK_TIMEOUT_MS", "1000"),
    ];
    let service = Service::start(&topics, database.url(), &extra);
    service.wait_ready();
    let base = now_ms() - 3_600_000;
    let batch = |from: usize| (from..from + 500).map(move |n| reading(n % 10, n / 10, base));
    topics.produce(&topics.enriched, batch(0));
    testbed::wait_until(DEADLINE, "the first rows", || stored(&database) == 500);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    database.sql("UPDATE sink_offsets SET epoch = epoch + 1, owner = 'somebody else'");
    // As the sink's sessions are set up; the server looks at no timeout while it waits for a COPY's data.
    let mut stopped = testbed::session(database.url());
    let mut to_it = stopped.stdin.take().unwrap();
    writeln!(
        to_it,
        "SET application_name = 'tsdb-sink somebody else'; SET statement_timeout = '3s'; \
         SET idle_in_transaction_session_timeout = '3s'; CREATE TEMP TABLE t (i int); BEGIN; \
         SELECT FROM sink_offsets FOR UPDATE; COPY t FROM STDIN;"
    )
    .unwrap();
    testbed::wait_until(DEADLINE, "it waits for data", || {
        database.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%COPY t FROM%' AND wait_event = 'ClientRead' AND pid <> pg_backend_pid()") == "1"
    });
    topics.produce(&topics.enriched, batch(500));
    let service = Service::start(&topics, database.url(), &extra);
    testbed::wait_until(DEADLINE, "all is stored", || stored(&database) == 1_000);
    service.wait_ready();
    assert!(service.said("sessions of former owners ended") >= 1);
    drop(to_it);
    stopped.wait().unwrap();
}
