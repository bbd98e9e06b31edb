//! Kafka or PostgreSQL away, at the start and later.

use crate::service::{DEADLINE, PARTITIONS, Service, path, topic};
use serde_json::json;
use testbed::{Broker, Postgres};

fn put(service: &Service, number: u32, rack: &str) -> u16 {
    let asset = json!({"model": "m", "rack_id": rack});
    service.put(&path(number), &asset).status
}

fn wait_unready(service: &Service, gate: &str) {
    testbed::wait_until(DEADLINE, "asset-lookup is unready", || {
        let answer = service.get("/readyz");
        answer.status == 503 && answer.body.contains(gate)
    });
    assert_eq!(service.get("/healthz").status, 200);
}

fn said(service: &Service, words: &str) -> usize {
    service.log().matches(words).count()
}

#[test]
fn changes_made_while_kafka_is_away_all_arrive_when_it_comes() {
    let broker = Broker::start();
    let (topic, database) = (
        broker.topic("assets", PARTITIONS),
        testbed::database("assets"),
    );
    broker.stop();
    let service = Service::start(broker.bootstrap(), database.url(), &topic, &[]);
    wait_unready(&service, "kafka");
    service.wait_database();
    for n in 0..20 {
        assert_eq!(put(&service, n, "a"), 201);
    }
    testbed::wait_until(DEADLINE, "the log says that Kafka is away", || {
        said(&service, "Kafka is not there") == 1
    });
    broker.restart();
    let first = testbed::consume_committed(broker.bootstrap(), &topic, 20, DEADLINE);
    service.wait_ready();
    // The topic was empty when the relay came to it, so that everything was published once more.
    assert_eq!(first.len() % 20, 0);

    broker.kill();
    wait_unready(&service, "kafka");
    for n in 0..20 {
        assert_eq!(put(&service, n, "b"), 200);
    }
    assert_eq!(service.delete(&path(7)).status, 204);
    testbed::wait_until(DEADLINE, "the gauge shows what waits", || {
        (service.metric("asset_lookup_outbox_pending") - 21.0).abs() < f64::EPSILON
            && service.metric("asset_lookup_outbox_oldest_seconds") > 0.0
    });
    broker.restart();
    service.wait_ready();
    testbed::wait_until(DEADLINE, "the outbox is empty", || {
        database.sql("SELECT count(*) FROM asset_outbox") == "0"
    });
    let all = testbed::consume_committed(broker.bootstrap(), &topic, 41, DEADLINE);
    let mut last = std::collections::BTreeMap::new();
    for record in &all {
        last.insert(record.key.clone().unwrap(), record.value.clone());
    }
    let tombstones = last.values().filter(|value| value.is_none()).count();
    let moved = last
        .values()
        .flatten()
        .filter(|value| String::from_utf8_lossy(value).contains("\"rack_id\":\"b\""))
        .count();
    assert_eq!((last.len(), tombstones, moved), (20, 1, 19));
    assert_eq!(said(&service, "Kafka is not there"), 2);
    assert_eq!(said(&service, "Kafka is there again"), 2);
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn the_service_waits_for_postgresql_says_so_once_and_resumes() {
    let (postgres, kafka, topic) = (Postgres::start(), testbed::kafka(), topic());
    postgres.stop();
    let service = Service::start(&kafka, postgres.url(), &topic, &[]);
    wait_unready(&service, "database");
    assert_eq!(service.get(&path(1)).problem().0, 503);
    postgres.restart();
    service.wait_ready();
    assert_eq!(put(&service, 1, "a"), 201);
    testbed::consume_committed(&kafka, &topic, 1, DEADLINE);

    postgres.kill();
    wait_unready(&service, "database");
    let (status, kind, _) = service.get(&path(1)).problem();
    assert_eq!((status, kind.as_str()), (503, "unavailable"));
    postgres.restart();
    service.wait_ready();
    assert_eq!(service.get(&path(1)).json()["rack_id"], "a");
    testbed::wait_until(DEADLINE, "changes are taken again", || {
        put(&service, 1, "b") == 200
    });
    testbed::consume_committed(&kafka, &topic, 2, DEADLINE);
    assert_eq!(said(&service, "PostgreSQL is not there"), 2);
    assert_eq!(said(&service, "PostgreSQL is there again"), 2);
    assert_eq!(service.terminate().0, 0);
}

#[test]
fn a_full_disk_changes_nothing_and_is_told_as_an_outage() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_publishing();
    assert_eq!(put(&service, 1, "a"), 201);
    // What the server says when there is no room for the outbox's row, after the asset's row was written.
    database.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''No space left on device''; END'; \
         CREATE TRIGGER full_disk BEFORE INSERT ON asset_outbox FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    assert_eq!(put(&service, 1, "b"), 503);
    assert_eq!(put(&service, 2, "b"), 503);
    assert_eq!(service.delete(&path(1)).problem().0, 503);
    assert_eq!(service.get(&path(1)).json()["rack_id"], "a");
    assert_eq!(service.get(&path(2)).status, 404);
    database.sql("DROP TRIGGER full_disk ON asset_outbox");
    assert_eq!(put(&service, 1, "b"), 200);
    assert_eq!(
        testbed::consume_committed(&kafka, &topic, 2, DEADLINE).len(),
        2
    );
}

#[test]
fn a_drain_does_not_wait_for_what_is_away() {
    let nobody = testbed::free_port();
    let database = format!("postgres://nobody@127.0.0.1:{nobody}/none");
    let service = Service::start(&format!("127.0.0.1:{nobody}"), &database, "assets", &[]);
    testbed::wait_until(DEADLINE, "both are missed", || {
        said(&service, "Kafka is not there") == 1 && said(&service, "PostgreSQL is not there") == 1
    });
    let asked = std::time::Instant::now();
    let (code, log) = service.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
}
