//! Dead letters from the database to Kafka: each at least once.
//!
//! A letter is written in the transaction that stores its offset, so that none is lost, and removed after the broker's
//! acknowledgement. A crash in between publishes it again; its place, in the record and in the header `dedup-key`, tells
//! that it is the same.

use crate::config::Config;
use crate::database::{Database, within};
use crate::kafka::Signs;
use crate::tables::Storage;
use crate::{HANG_DEADLINE, SERVICE};
use chassis::{App, Error};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use sqlx::{Connection, PgConnection, Row};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

/// The header that two copies of one letter have in common: `topic/partition/offset` of the original.
const DEDUP_KEY: &str = "dedup-key";
/// Letters in one go; each may have three quarters of a megabyte.
const BATCH: i64 = 16;
/// Time after which a look is taken though nobody told of a letter: other instances may have left some.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for an acknowledgement.
const DELIVERY_TIMEOUT_MS: &str = "10000";
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

struct Relay {
    config: Arc<Config>,
    database: Database,
    connection: Option<PgConnection>,
    producer: Option<Publisher>,
}

/// A producer, and the partitions of the topic that it writes.
struct Publisher {
    producer: FutureProducer<Signs>,
    partitions: i32,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

enum Failure {
    /// The watch over the database has the words for this one.
    Database(sqlx::Error),
    Kafka(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error.to_string())
    }
}

/// Publishes until `app` shuts down.
pub(crate) async fn run(
    config: Arc<Config>,
    database: Database,
    mut prepared: watch::Receiver<Option<Storage>>,
    letters: Arc<Notify>,
    app: App,
) -> Result<(), Error> {
    let shutdown = app.shutdown();
    let heartbeat = app.heartbeat("dead letters", HANG_DEADLINE);
    let mut relay = Relay {
        config,
        database,
        connection: None,
        producer: None,
    };
    let mut said = false;
    while !shutdown.is_cancelled() {
        heartbeat.beat();
        let mut pause = POLL_INTERVAL;
        if prepared.borrow_and_update().is_some() {
            match relay.publish_some().await {
                Ok(n) => {
                    if said {
                        info!("dead letters are published again");
                        said = false;
                    }
                    if n > 0 {
                        continue;
                    }
                }
                Err(failure) => {
                    pause = RETRY_PAUSE;
                    relay.connection = None;
                    match failure {
                        Failure::Database(error) => debug!(%error, "dead letters"),
                        Failure::Kafka(reason) => {
                            relay.producer = None;
                            if !said {
                                warn!(
                                    reason,
                                    "dead letters wait in the database; Kafka does not take them"
                                );
                            }
                            said = true;
                        }
                    }
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = letters.notified() => {}
            changed = prepared.changed(), if prepared.borrow().is_none() => drop(changed),
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

impl Relay {
    /// Publishes the oldest letters; how many. Other instances skip those that are locked.
    async fn publish_some(&mut self) -> Result<usize, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().await?,
        };
        let limit = self.database.answer_timeout();
        let work = async { Ok(self.publish(&mut connection).await) };
        let n = within(limit, work).await??;
        self.connection = Some(connection);
        Ok(n)
    }

    async fn publish(&mut self, connection: &mut PgConnection) -> Result<usize, Failure> {
        let mut transaction = connection.begin().await?;
        let rows = sqlx::query(
            "SELECT topic, partition, \"offset\", key, value FROM sink_dead_letters \
             ORDER BY created_at, topic, partition, \"offset\" LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            transaction.rollback().await?;
            return Ok(0);
        }
        let publisher = match &self.producer {
            Some(publisher) => publisher,
            None => self.producer.insert(self.connect().await?),
        };
        let mut places: (Vec<String>, Vec<i32>, Vec<i64>) = Default::default();
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in &rows {
            let (topic, partition, offset): (String, i32, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let (key, value): (Option<Vec<u8>>, Vec<u8>) = (row.try_get(3)?, row.try_get(4)?);
            deliveries.push(publisher.send(
                &self.config.topics.invalid,
                partition,
                (key.as_deref(), &value),
                &format!("{topic}/{partition}/{offset}"),
            )?);
            places.0.push(topic);
            places.1.push(partition);
            places.2.push(offset);
        }
        for delivery in deliveries {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error.into()),
                Err(_) => return Err(Failure::Kafka("delivery was given up".to_owned())),
            }
        }
        sqlx::query(
            "DELETE FROM sink_dead_letters WHERE (topic, partition, \"offset\") IN \
             (SELECT * FROM unnest($1::text[], $2::int4[], $3::int8[]))",
        )
        .bind(places.0)
        .bind(places.1)
        .bind(places.2)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows.len())
    }

    /// A producer for the dead letter topic.
    async fn connect(&self) -> Result<Publisher, Failure> {
        let kafka = &self.config.kafka;
        let mut client = kafka.client(&format!("{}-{}-relay", SERVICE.name, kafka.instance()));
        for (key, value) in [
            ("message.timeout.ms", DELIVERY_TIMEOUT_MS),
            ("compression.type", "snappy"),
        ] {
            if client.get(key).is_none() {
                client.set(key, value);
            }
        }
        client.set("enable.idempotence", "true");
        let producer = FutureProducer::from_config_and_context(&client, Signs::default())?;
        let topic = self.config.topics.invalid.clone();
        // librdkafka's calls block; they stay off the runtime's own threads.
        let asked = producer.clone();
        let partitions = tokio::task::spawn_blocking(move || {
            let metadata = asked.client().fetch_metadata(Some(&topic), QUERY_TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let partitions = found
                .filter(|found| found.error().is_none())
                .and_then(|found| i32::try_from(found.partitions().len()).ok());
            match partitions {
                Some(n) if n > 0 => Ok(n),
                _ => Err(Failure::Kafka(format!("topic {topic} is not there"))),
            }
        })
        .await
        .map_err(|error| Failure::Kafka(error.to_string()))??;
        Ok(Publisher {
            producer,
            partitions,
        })
    }
}

impl Publisher {
    fn send(
        &self,
        topic: &str,
        partition: i32,
        (key, value): (Option<&[u8]>, &[u8]),
        place: &str,
    ) -> Result<DeliveryFuture, KafkaError> {
        let header = Header {
            key: DEDUP_KEY,
            value: Some(place),
        };
        let mut record = FutureRecord::<[u8], [u8]>::to(topic)
            .payload(value)
            .partition(partition % self.partitions)
            .headers(OwnedHeaders::new().insert(header));
        record.key = key;
        self.producer
            .send_result(record)
            .map_err(|(error, _)| error)
    }
}
