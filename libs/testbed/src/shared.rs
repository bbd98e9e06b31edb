//! The broker and the database that the tests of one process have in common.

use crate::postgres::psql;
use crate::{Broker, Database, Postgres, create_topic, unique};
use std::sync::OnceLock;

const KAFKA: &str = "GHM_TEST_KAFKA";
const POSTGRES: &str = "GHM_TEST_POSTGRES";

/// The shared broker's bootstrap servers.
pub fn kafka() -> String {
    static OURS: OnceLock<Broker> = OnceLock::new();
    std::env::var(KAFKA).unwrap_or_else(|_| OURS.get_or_init(Broker::start).bootstrap().to_owned())
}

/// A new topic on the shared broker with log-append time, and its name, which begins with `prefix`.
pub fn topic(prefix: &str, partitions: i32) -> String {
    topic_with(prefix, partitions, &[])
}

/// [`topic()`] with settings (`cleanup.policy`, `max.message.bytes`, ..).
pub fn topic_with(prefix: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    let name = unique(prefix);
    create_topic(&kafka(), &name, partitions, config);
    name
}

/// The shared server's URL, with its maintenance database. Make a [`database`] for a test.
pub fn postgres() -> String {
    static OURS: OnceLock<Postgres> = OnceLock::new();
    std::env::var(POSTGRES).unwrap_or_else(|_| OURS.get_or_init(Postgres::start).url().to_owned())
}

/// A new, empty database on the shared server; dropped with the guard.
pub fn database(prefix: &str) -> Database {
    let server = postgres();
    let name = unique(prefix).replace('-', "_");
    psql(&server, &format!("CREATE DATABASE \"{name}\""));
    Database::new(server, name)
}
