//! What ends the service, with one line and a code that says why.

use crate::service::{PARTITIONS, Service, path, topic};
use serde_json::json;
use testbed::{Broker, Operation, Resource};

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    let check = |key: &str, value: &str, needle: &str| {
        let service = Service::start(
            "127.0.0.1:1",
            "postgres://127.0.0.1:1/x",
            "t",
            &[(key, value)],
        );
        let (code, log) = service.wait();
        assert_eq!((code, log.lines().count()), (64, 1), "{log}");
        assert!(log.contains(needle), "{log}");
    };
    check(
        "ASSET_LOOKUP__DATABASE__URL",
        "postgres//secret",
        "database.url",
    );
    check("ASSET_LOOKUP__RELAY__BATCH_SIZE", "0", "relay.batch_size");
    check(
        "ASSET_LOOKUP__LIMITS__MAX_IMPORT_ROWS",
        "many",
        "limits.max_import_rows",
    );
    check("ASSET_LOOKUP__DATABSE__URL", "x", "databse");
}

#[test]
fn a_missing_topic_database_or_role_is_named() {
    let (kafka, database) = (testbed::kafka(), testbed::database("assets"));
    let (code, log) = Service::start(&kafka, database.url(), "no-such-topic", &[]).wait();
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("topic no-such-topic is not there"), "{log}");
    let (server, _) = database.url().rsplit_once('/').unwrap();
    let (code, log) =
        Service::start(&kafka, &format!("{server}/no_such_database"), &topic(), &[]).wait();
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("no_such_database"), "{log}");
    let nobody = database.url().replace("postgres@", "nobody_at_all@");
    let (code, log) = Service::start(&kafka, &nobody, &topic(), &[]).wait();
    assert_eq!(code, 77, "{log}");
    assert!(log.contains("nobody_at_all"), "{log}");
}

#[test]
fn another_number_of_partitions_is_refused_since_assets_would_be_in_the_wrong_ones() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    let service = Service::start(&kafka, database.url(), &topic, &[]);
    service.wait_ready();
    assert_eq!(service.put(&path(1), &json!({"model": "m"})).status, 201);
    testbed::consume_committed(&kafka, &topic, 1, crate::service::DEADLINE);
    let expected = "has 8 partitions and was published to with 4";
    testbed::add_partitions(&kafka, &topic, 8);
    let (code, log) = service.wait();
    assert_eq!(code, 65, "{log}");
    assert!(log.contains(expected), "{log}");
    let (code, log) = Service::start(&kafka, database.url(), &topic, &[]).wait();
    assert_eq!(code, 65, "{log}");
    assert!(log.contains(expected), "{log}");
}

#[test]
fn tables_of_another_version_are_refused_and_their_own_are_made_once() {
    let (kafka, topic, database) = (testbed::kafka(), topic(), testbed::database("assets"));
    // Another service may keep its tables, and its migrations, in the same database.
    database.sql("CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY)");
    for _ in 0..2 {
        let service = Service::start(&kafka, database.url(), &topic, &[]);
        service.wait_ready();
        assert_eq!(service.terminate().0, 0);
    }
    assert_eq!(
        database.sql("SELECT count(*) FROM asset_lookup_migrations"),
        "1"
    );
    database.sql("UPDATE asset_lookup_migrations SET checksum = 'other'");
    let (code, log) = Service::start(&kafka, database.url(), &topic, &[]).wait();
    assert_eq!(code, 65, "{log}");
    assert!(log.contains("not those of this version"), "{log}");
}

#[test]
fn a_wrong_password_and_a_missing_right_are_told_in_one_line() {
    let broker = Broker::builder()
        .user("admin", "admin-password")
        .user("assets", "right")
        .start();
    let (topic, database) = (
        broker.topic("assets", PARTITIONS),
        testbed::database("assets"),
    );
    let end = |password: &str| {
        let extra = [
            ("ASSET_LOOKUP__KAFKA__SECURITY_PROTOCOL", "sasl_plaintext"),
            ("ASSET_LOOKUP__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512"),
            ("ASSET_LOOKUP__KAFKA__SASL_USERNAME", "assets"),
            ("ASSET_LOOKUP__KAFKA__SASL_PASSWORD", password),
        ];
        Service::start(broker.bootstrap(), database.url(), &topic, &extra)
    };
    let check = |password: &str, needle: &str| {
        let (code, log) = end(password).wait();
        assert_eq!(code, 77, "{log}");
        assert!(log.lines().last().unwrap().contains(needle), "{log}");
    };
    check("wrong", "refused the user name or password");
    check("right", &format!("topic {topic}"));
    broker.allow("assets", Resource::Topic(&topic), &[Operation::Describe]);
    check("right", "publish");
    let id = format!("{topic}-relay");
    broker.allow(
        "assets",
        Resource::TransactionalId(&id),
        &[Operation::Describe, Operation::Write],
    );
    // A right to publish shows to be missing with the first change.
    let service = end("right");
    service.wait_ready();
    assert_eq!(service.put(&path(1), &json!({"model": "m"})).status, 201);
    let (code, log) = service.wait();
    assert_eq!(code, 77, "{log}");
    broker.allow("assets", Resource::Topic(&topic), &[Operation::Write]);
    let service = end("right");
    service.wait_ready();
    testbed::wait_until(crate::service::DEADLINE, "the change is published", || {
        database.sql("SELECT count(*) FROM asset_outbox") == "0"
    });
    assert_eq!(service.terminate().0, 0);
}
