//! Starts a real Kafka broker and a real PostgreSQL for tests.
//!
//! Two kinds of each:
//!
//! - **The shared one**, for tests that only need *a* broker or *a* database: [`kafka()`], [`topic()`], [`postgres()`], [`database()`]. It is the
//!   one that `GHM_TEST_KAFKA` and `GHM_TEST_POSTGRES` name (`make test` sets them), else one is started for this process. Tests run side
//!   by side on it: every topic and database has a name of its own.
//! - **A private one**, for tests that stop it, kill it or configure it: [`Broker`], [`Postgres`], with a [`Proxy`] in front if the
//!   network shall misbehave, or a [`Cluster`] of three brokers that can lose one.
//!
//! Whatever was started ends with the process that started it, however that ends: a guard waits on a pipe whose other end
//! the test process holds.
//!
//! Every function blocks and panics with a reason if it can't do its work: a test that has no broker must not pass.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't get what it needs ends here and says why"
)]

mod acl;
mod broker;
mod cluster;
mod guard;
mod port;
mod postgres;
mod proxy;
mod records;
mod shared;
mod signal;
mod stack;
mod topic;
mod unique;
mod wait;

use librdkafka_guard as _;

pub use acl::{Operation, Resource};
pub use broker::{Broker, BrokerBuilder};
pub use cluster::Cluster;
pub use port::free_port;
pub use postgres::{Database, Postgres, PostgresBuilder, session, try_sql};
pub use proxy::{Hold, Proxy, api};
pub use records::{
    NewRecord, OwnedRecord, Reader, consume_committed, produce, read_committed, read_committed_from,
};
pub use shared::{database, kafka, postgres, topic, topic_with};
pub use topic::{add_partitions, create_topic, delete_topic};
pub use unique::unique;
pub use wait::{wait_until, wait_until_async};
