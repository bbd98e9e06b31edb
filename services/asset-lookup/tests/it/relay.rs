//! From the outbox to the topic: nothing lost, each GPU's last record right.

use crate::service::{DEADLINE, PARTITIONS, Service, path, topic, uuid};
use schema::{Asset, partition_for};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::{Broker, Database, OwnedRecord, api};

/// The last record of each GPU: what a reader of the compacted topic knows.
fn last(records: &[OwnedRecord], partitions: i32) -> BTreeMap<String, Option<Asset>> {
    let mut last = BTreeMap::new();
    for record in records {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        assert_eq!(record.partition, partition_for(key.as_bytes(), partitions));
        let asset = record
            .value
            .as_ref()
            .map(|value| serde_json::from_slice::<Asset>(value).unwrap());
        if let Some(asset) = &asset {
            assert_eq!(asset.gpu_uuid, key);
        }
        last.insert(key, asset);
    }
    last
}

/// The same from the database: the rack of each GPU.
fn racks_in(database: &Database) -> BTreeMap<String, String> {
    let rows = database.sql("SELECT gpu_uuid, coalesce(rack_id, '') FROM gpu_assets");
    rows.lines()
        .filter_map(|line| line.split_once('|'))
        .map(|(uuid, rack)| (uuid.to_owned(), rack.to_owned()))
        .collect()
}

fn racks_of(last: &BTreeMap<String, Option<Asset>>) -> BTreeMap<String, String> {
    last.iter()
        .filter_map(|(uuid, asset)| {
            let rack = asset.as_ref()?.rack_id.clone().unwrap_or_default();
            Some((uuid.clone(), rack))
        })
        .collect()
}

fn wait_drained(database: &Database) {
    testbed::wait_until(DEADLINE, "the outbox is empty", || {
        database.sql("SELECT count(*) FROM asset_outbox") == "0"
    });
}

fn put(service: &Service, number: u32, rack: &str) {
    let answer = service.put(&path(number), &json!({"model": "m", "rack_id": rack}));
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

#[test]
fn every_change_is_published_in_order_and_a_deletion_as_a_tombstone() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_publishing();
    for rack in ["a", "b", "b", "c"] {
        put(&service, 1, rack);
    }
    put(&service, 2, "a");
    assert_eq!(service.delete(&path(2)).status, 204);
    put(&service, 2, "d");
    put(&service, 3, "a");
    assert_eq!(service.delete(&path(3)).status, 204);
    // The repeated `b` is no change.
    let records = testbed::consume_committed(&kafka, &topic, 8, DEADLINE);
    let of = |number: u32| -> Vec<Option<String>> {
        records
            .iter()
            .filter(|record| record.key.as_deref() == Some(uuid(number).as_bytes()))
            .map(|record| {
                let asset: Asset = serde_json::from_slice(record.value.as_ref()?).unwrap();
                asset.rack_id
            })
            .collect()
    };
    let some = |rack: &str| Some(rack.to_owned());
    assert_eq!(of(1), [some("a"), some("b"), some("c")]);
    assert_eq!(of(2), [some("a"), None, some("d")]);
    assert_eq!(of(3), [some("a"), None]);
    assert_eq!(records.len(), 8);
    wait_drained(&database);
    testbed::wait_until(DEADLINE, "the metrics tell", || {
        let is = |series: &str, value: f64| (service.metric(series) - value).abs() < f64::EPSILON;
        is("asset_lookup_published_total{kind=\"asset\"}", 6.0)
            && is("asset_lookup_published_total{kind=\"tombstone\"}", 2.0)
            && is("asset_lookup_outbox_pending", 0.0)
            && is("asset_lookup_relay_active", 1.0)
    });
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
}

/// Ends the connection in which a relay holds its lock.
fn cut_relay_off(database: &Database) {
    let ended = database.sql(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()",
    );
    assert_eq!(ended, "t");
}

#[test]
fn a_kill_between_commit_and_take_out_repeats_changes_and_loses_none() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_publishing();
    // Whoever takes something out of the outbox hangs.
    database.sql(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; \
         CREATE TRIGGER hang BEFORE DELETE ON asset_outbox FOR EACH STATEMENT EXECUTE FUNCTION hang()",
    );
    put(&service, 1, "a");
    testbed::consume_committed(&kafka, &topic, 1, DEADLINE);
    put(&service, 1, "b");
    put(&service, 2, "a");
    assert_eq!(service.delete(&path(2)).status, 204);
    assert_eq!(database.sql("SELECT count(*) FROM asset_outbox"), "4");
    service.kill();
    database.sql("DROP TRIGGER hang ON asset_outbox");

    let service = Service::start(&kafka, database.url(), &topic, &[]);
    wait_drained(&database);
    let records = testbed::consume_committed(&kafka, &topic, 5, DEADLINE);
    assert_eq!(records.len(), 5);
    assert_eq!(racks_of(&last(&records, PARTITIONS)), racks_in(&database));
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn kills_under_load_lose_no_change() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    for round in 0..4_u32 {
        let service = Service::start(&kafka, database.url(), &topic, &[]);
        service.wait_database();
        let (port, load) = (service.port(), Duration::from_millis(700));
        std::thread::scope(|scope| {
            for worker in 0..3_u32 {
                scope.spawn(move || {
                    // Until the service is gone. What it answered does not matter here: the table is the truth.
                    for n in 0.. {
                        let number = (n * 7 + worker) % 20;
                        let rack = format!("{round}-{worker}-{n}");
                        let request = if n % 5 == 4 {
                            crate::service::once(port, "DELETE", &path(number), "")
                        } else {
                            let body = json!({"model": "m", "rack_id": rack}).to_string();
                            crate::service::once(port, "PUT", &path(number), &body)
                        };
                        if request.is_err() {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(load);
            service.kill();
        });
    }
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_publishing();
    wait_drained(&database);
    let records = testbed::consume_committed(&kafka, &topic, 20, DEADLINE);
    let expected = racks_in(&database);
    assert!(expected.len() > 5 && expected.values().any(|rack| rack.starts_with("3-")));
    assert_eq!(racks_of(&last(&records, PARTITIONS)), expected);
}

#[test]
fn a_relay_that_lost_its_lock_without_notice_writes_nothing_stale() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let (kafka, topic, database) = (
        broker.bootstrap(),
        broker.topic("assets", PARTITIONS),
        testbed::database("assets"),
    );
    let first = Service::start(kafka, database.url(), &topic, &[]);
    first.wait_publishing();
    put(&first, 1, "1");
    wait_drained(&database);
    // Its next record is under way when it loses the lock.
    let held = proxy.hold_next(api::PRODUCE);
    put(&first, 1, "2");
    held.wait_until_caught(DEADLINE);
    cut_relay_off(&database);
    let second = Service::start(kafka, database.url(), &topic, &[]);
    second.wait_publishing();
    put(&second, 1, "3");
    wait_drained(&database);
    held.release();
    // The first finds out, and becomes a stand-by; that is no outage.
    testbed::wait_until(DEADLINE, "the first relay has given up", || {
        first.is_ready() && first.metric("asset_lookup_relay_active") < 1.0
    });
    assert!(first.log().contains("another instance has taken over"));
    assert!(!first.log().contains("Kafka is not there"));
    let racks = |n: usize| -> Vec<String> {
        testbed::consume_committed(kafka, &topic, n, DEADLINE)
            .iter()
            .map(|record| {
                let asset: Asset = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
                asset.rack_id.unwrap()
            })
            .collect()
    };
    assert_eq!(racks(3), ["1", "2", "3"]);
    // It takes over when the second is gone.
    second.kill();
    put(&first, 1, "4");
    assert_eq!(racks(4), ["1", "2", "3", "4"]);
}

#[test]
fn everything_is_published_again_on_request_and_when_the_topic_is_made_anew() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_publishing();
    // More than a page of a republication.
    let rows: Vec<String> = (0..2_300).map(|n| format!("{},m,r\n", uuid(n))).collect();
    let rows = rows.concat();
    let imported = service.import_csv(&format!("gpu_uuid,model,rack_id\n{rows}"));
    assert_eq!(imported.status, 200);
    assert_eq!(service.delete(&path(0)).status, 204);
    testbed::consume_committed(&kafka, &topic, 2_301, DEADLINE);
    let answer = service.request("POST", "/api/v1/assets/republish", None, b"");
    assert_eq!(answer.status, 202);
    let records = testbed::consume_committed(&kafka, &topic, 4_600, DEADLINE);
    assert_eq!(records.len(), 4_600);
    assert_eq!(racks_of(&last(&records, PARTITIONS)), racks_in(&database));
    service.kill();

    testbed::delete_topic(&kafka, &topic);
    std::thread::sleep(Duration::from_secs(1));
    testbed::create_topic(&kafka, &topic, 2, &[("cleanup.policy", "compact")]);
    // A kill on the way does not end it.
    let service = Service::start(
        &kafka,
        database.url(),
        &topic,
        &[("ASSET_LOOKUP__RELAY__BATCH_SIZE", "50")],
    );
    testbed::consume_committed(&kafka, &topic, 100, DEADLINE);
    service.kill();
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    let records = testbed::consume_committed(&kafka, &topic, 2_299, DEADLINE);
    wait_drained(&database);
    testbed::wait_until(DEADLINE, "the republication is done", || {
        database
            .sql("SELECT republish_after FROM asset_publication")
            .is_empty()
    });
    drop(records);
    let records = testbed::consume_committed(&kafka, &topic, 2_299, DEADLINE);
    assert_eq!(racks_of(&last(&records, 2)), racks_in(&database));
    assert_eq!(service.terminate().0, 0);
}
