//! What is away is waited for, said once, seen in readiness, and comes back without a loss.

use crate::fleet::{now_ms, reading, reading_value, uuid};
use crate::service::{DEADLINE, PARTITIONS, Service, Topics};
use schema::partition_for;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use testbed::{Broker, NewRecord, Postgres};

const AWAY: &str = "PostgreSQL is not there; waiting for it";
const BACK: &str = "PostgreSQL is there again";

fn stored(postgres: &Postgres) -> usize {
    let rows = postgres.sql("SELECT count(*) FROM gpu_metrics");
    rows.parse().unwrap()
}

#[test]
fn a_database_that_dies_and_one_that_is_stopped_for_long_are_waited_for() {
    let (topics, postgres) = (Topics::create(), Postgres::start());
    // A consumer that did not poll while it waits would be thrown out of its group after six seconds.
    let extra = [
        ("TSDB_SINK__SINK__MAX_RECORDS", "100"),
        ("TSDB_SINK__SINK__WRITERS", "1"),
        ("TSDB_SINK__KAFKA__PROPERTIES__MAX_POLL_INTERVAL_MS", "6000"),
    ];
    let service = Service::start(&topics, postgres.url(), &extra);
    service.wait_ready();
    postgres.sql("ALTER TABLE gpu_metrics DROP CONSTRAINT gpu_metrics_pkey");
    let base = now_ms() - 3_600_000;
    let batch = |from: usize| (from..from + 5_000).map(move |n| reading(n % 50, n / 50, base));
    topics.produce(&topics.enriched, batch(0));
    testbed::wait_until(DEADLINE, "the first rows", || stored(&postgres) > 0);
    postgres.kill();
    service.wait_unready("database");
    postgres.restart();
    testbed::wait_until(DEADLINE, "all rows", || stored(&postgres) >= 5_000);
    service.wait_ready();

    postgres.stop();
    topics.produce(&topics.enriched, batch(5_000));
    service.wait_unready("database");
    // The lag grows though nothing is fetched.
    service.wait_metric("tsdb_sink_lag_records", |n| n > 4_999.0);
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(service.get("/healthz").0, 200);
    postgres.restart();
    service.wait_ready();
    testbed::wait_until(DEADLINE, "all rows", || stored(&postgres) >= 10_000);
    assert_eq!(
        postgres.sql("SELECT count(*), count(DISTINCT (gpu_id, time)) FROM gpu_metrics"),
        "10000|10000"
    );
    assert_eq!((service.said(AWAY), service.said(BACK)), (2, 2));
    // It stayed in its group: what it had claimed at first it never claimed again.
    assert_eq!(postgres.sql("SELECT max(epoch) FROM sink_offsets"), "1");
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_service_that_starts_before_its_database_and_its_broker_waits_for_both() {
    let (broker, postgres) = (Broker::start(), Postgres::start());
    let topics = Topics::on(&broker);
    broker.stop();
    postgres.stop();
    let service = Service::start(&topics, postgres.url(), &[]);
    service.wait_unready("kafka");
    service.wait_unready("database");
    testbed::wait_until(DEADLINE, "both are said to be away", || {
        service.said(AWAY) == 1 && service.said("Kafka is not there; waiting for it") == 1
    });
    postgres.restart();
    testbed::wait_until(DEADLINE, "the database is there", || {
        service.said(BACK) == 1
    });
    assert!(!service.is_ready());
    broker.restart();
    service.wait_ready();
    let base = now_ms();
    topics.produce(&topics.enriched, (0..100).map(|n| reading(n, 1, base)));
    testbed::wait_until(DEADLINE, "rows", || stored(&postgres) == 100);

    broker.kill();
    service.wait_unready("kafka");
    std::thread::sleep(Duration::from_secs(3));
    broker.restart();
    service.wait_ready();
    topics.produce(&topics.enriched, (0..100).map(|n| reading(n, 2, base)));
    testbed::wait_until(DEADLINE, "rows", || stored(&postgres) == 200);
    assert_eq!(service.said("Kafka is not there; waiting for it"), 2);
    assert_eq!(service.said("Kafka is there again"), 2);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_drain_does_not_wait_for_what_is_away() {
    let (topics, postgres) = (Topics::create(), Postgres::start());
    let service = Service::start(&topics, postgres.url(), &[]);
    service.wait_ready();
    postgres.stop();
    topics.produce(&topics.enriched, (0..500).map(|n| reading(n, 1, now_ms())));
    service.wait_unready("database");
    let asked = std::time::Instant::now();
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    postgres.restart();
    let service = Service::start(&topics, postgres.url(), &[]);
    testbed::wait_until(DEADLINE, "what was not stored comes again", || {
        service.metric("tsdb_sink_rows_total") > 0.5 && stored(&postgres) == 500
    });
}

/// A file system of a few megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only root may make one.
    fn make(owner: u32, mebibytes: usize) -> Self {
        let folder = std::env::temp_dir().join(testbed::unique("ghm-small-disk"));
        std::fs::create_dir(&folder).unwrap();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m"),
                "tmpfs",
                folder.to_str().unwrap(),
            ],
        );
        std::os::unix::fs::chown(&folder, Some(owner), None).unwrap();
        Self(folder)
    }

    fn grow(&self, mebibytes: usize) {
        let size = format!("remount,size={mebibytes}m");
        run("mount", &["-o", &size, self.0.to_str().unwrap()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server still has files open there.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
        drop(std::fs::remove_dir(&self.0));
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

#[test]
fn a_full_disk_is_an_outage_that_ends_when_there_is_room_again() {
    const READINGS: usize = 20_000;
    let (topics, postgres) = (Topics::create(), Postgres::start());
    let owner = std::fs::metadata(postgres.data()).unwrap().uid();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let (server, _) = postgres.url().rsplit_once('/').unwrap();
    let url = format!("{server}/small");
    let disk = is_root.then(|| SmallDisk::make(owner, 16));
    if let Some(SmallDisk(folder)) = &disk {
        let place = folder.display();
        postgres.sql(&format!("CREATE TABLESPACE small LOCATION '{place}'"));
        postgres.sql("CREATE DATABASE small TABLESPACE small");
    } else {
        eprintln!(
            "not root, so no disk is filled: a trigger says what a server with a full disk says"
        );
        postgres.sql("CREATE DATABASE small");
    }
    let service = Service::start(&topics, &url, &[]);
    service.wait_ready();
    if disk.is_none() {
        sql(
            &url,
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''No space left on device''; END'; \
             CREATE TRIGGER full_disk BEFORE INSERT ON gpu_metrics FOR EACH ROW EXECUTE FUNCTION full_disk()",
        );
    }
    let base = now_ms() - 3_600_000;
    let full = |n: usize| {
        let uuid = uuid(n % 100);
        let at = base + i64::try_from(n / 100).unwrap() * 1_000;
        let partition = partition_for(uuid.as_bytes(), PARTITIONS);
        NewRecord::new(uuid.as_str(), reading_value(&uuid, at, 40.0)).partition(partition)
    };
    topics.produce(&topics.enriched, (0..READINGS).map(full));
    service.wait_unready("database");
    testbed::wait_until(DEADLINE, "the log names the disk", || {
        service.said("No space left on device") >= 1 && service.said("SQLSTATE 53100") >= 1
    });
    std::thread::sleep(Duration::from_secs(2));
    let before: usize = sql(&url, "SELECT count(*) FROM gpu_metrics")
        .parse()
        .unwrap();
    assert!(before < READINGS, "{before}");
    assert!(service.said(AWAY) < 5, "said once, not for every try");
    match &disk {
        Some(disk) => disk.grow(512),
        None => drop(sql(&url, "DROP TRIGGER full_disk ON gpu_metrics")),
    }
    service.wait_ready();
    testbed::wait_until(DEADLINE, "all rows", || {
        sql(&url, "SELECT count(*) FROM gpu_metrics") == READINGS.to_string()
    });
    assert_eq!(
        sql(&url, "SELECT sum(next_offset) FROM sink_offsets"),
        READINGS.to_string()
    );
    assert_eq!(service.metric("tsdb_sink_dead_letters_total"), 0.0);
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

fn sql(url: &str, sql: &str) -> String {
    let program = std::env::var("GHM_TEST_POSTGRES_BIN").map_or_else(
        |_| PathBuf::from("psql"),
        |bin| PathBuf::from(bin).join("psql"),
    );
    let output = Command::new(program)
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{sql}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
