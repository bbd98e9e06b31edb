//! The outbox to Kafka: one instance at a time, each GPU's changes in their order.
//!
//! An instance relays while it holds a lock that lives in its database connection. The lock alone could be lost without
//! notice (a paused process, a cut network); so every write goes through a transactional id that a successor takes over
//! before it reads the outbox. A change leaves the outbox after its commit, so that a crash in between publishes it, and
//! all that followed it, once more: the last record of each GPU stays right.

use crate::config::Config;
use crate::database::{self, Database, HANG_DEADLINE, within};
use crate::outbox;
use crate::publisher::{Committed, Publisher, Trouble};
use crate::{SERVICE, metrics};
use chassis::{App, Error, Gate, Heartbeat};
use sqlx::PgConnection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Pause before another try.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the topic may be missing, since metadata of a topic made just now takes a moment to spread.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two proofs that Kafka is there while there is nothing to publish.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Publishes the outbox.
#[derive(Debug)]
pub(crate) struct Relay {
    config: Config,
    database: Database,
    migrated: watch::Receiver<bool>,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
    gate: Gate,
    heartbeat: Heartbeat,
    kafka_is_away: bool,
    topic_missing_since: Option<Instant>,
}

/// Why a session ended.
enum End {
    Drained,
    /// The producer is not to be trusted any more.
    Rebuild,
    Database(sqlx::Error),
    Kafka(Trouble),
    Stop(Error),
}

impl From<sqlx::Error> for End {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Kafka(trouble)
    }
}

impl Relay {
    pub(crate) fn new(
        config: &Config,
        database: Database,
        app: &App,
        migrated: watch::Receiver<bool>,
        changed: Arc<Notify>,
    ) -> Self {
        Self {
            config: config.clone(),
            database,
            migrated,
            changed,
            shutdown: app.shutdown(),
            gate: app.gate("kafka"),
            heartbeat: app.heartbeat("relay", HANG_DEADLINE),
            kafka_is_away: false,
            topic_missing_since: None,
        }
    }

    /// Relays until told to stop.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let end = self.session().await;
            metrics::relay_active(false);
            match end {
                End::Drained => return Ok(()),
                End::Stop(error) | End::Kafka(Trouble::Stop(error)) => return Err(error),
                End::Rebuild => info!("the last commit was slow; making a new producer"),
                // The watch over the database has the gate and the words for this one.
                End::Database(error) if database::trouble(&error) == database::Trouble::Away => {
                    debug!(%error, "relay lost the database");
                }
                End::Database(error) => warn!(%error, "relay can't use the outbox"),
                End::Kafka(Trouble::Fenced) => info!("another instance has taken over"),
                End::Kafka(Trouble::NoTopic) => self.without_topic()?,
                End::Kafka(Trouble::Again(reason)) => self.without_kafka(&reason),
            }
            self.pause(RETRY_PAUSE).await;
            if self.is_told_to_stop() {
                return Ok(());
            }
        }
    }

    fn without_kafka(&mut self, reason: &str) {
        self.topic_missing_since = None;
        self.gate.close("Kafka is not there");
        if self.kafka_is_away {
            debug!(reason, "Kafka is still not there");
        } else {
            warn!(reason, "Kafka is not there; changes wait in the outbox");
        }
        self.kafka_is_away = true;
    }

    fn without_topic(&mut self) -> Result<(), Error> {
        let topic = &self.config.topics.assets;
        self.gate.close(format!("topic {topic} is not there"));
        let since = *self.topic_missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < TOPIC_PATIENCE {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "topic {topic} is not there; create it first"
        )))
    }

    fn with_kafka(&mut self) {
        if self.kafka_is_away {
            info!("Kafka is there again");
        }
        self.kafka_is_away = false;
        self.topic_missing_since = None;
        self.gate.open();
    }

    /// From connecting to the first trouble.
    async fn session(&mut self) -> End {
        match self.try_session().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn try_session(&mut self) -> Result<End, End> {
        while !*self.migrated.borrow_and_update() {
            // Kafka's absence is told also while the database is away.
            Publisher::connect(&self.config, SERVICE.name).await?;
            self.with_kafka();
            if self.is_told_to_stop() {
                return Ok(End::Drained);
            }
            self.pause(RETRY_PAUSE).await;
        }
        let publisher = Publisher::connect(&self.config, SERVICE.name).await?;
        self.with_kafka();
        let mut connection = self.database.connect().await?;
        let mut probed = Instant::now();
        while !self.answer(outbox::try_lock(&mut connection)).await? {
            if self.is_told_to_stop() {
                return Ok(End::Drained);
            }
            self.probe(&publisher, &mut probed).await?;
            self.pause(self.config.relay.poll_interval()).await;
        }
        publisher.take_over().await?;
        self.begin(&mut connection, &publisher).await?;
        metrics::relay_active(true);
        info!(
            topic = self.config.topics.assets,
            partitions = publisher.partitions(),
            "publishing"
        );
        loop {
            if self.is_told_to_stop() {
                return Ok(End::Drained);
            }
            if self.step(&mut connection, &publisher, &mut probed).await? {
                continue;
            }
            self.probe(&publisher, &mut probed).await?;
            self.pause(self.config.relay.poll_interval()).await;
        }
    }

    /// Checks the topic against what was published before.
    async fn begin(&self, connection: &mut PgConnection, publisher: &Publisher) -> Result<(), End> {
        let topic = &self.config.topics.assets;
        let known = self.answer(outbox::publication(connection, topic)).await?;
        let partitions = publisher.partitions();
        if publisher.is_topic_empty().await? {
            // New, or made anew: it shall hold what the table holds. What comes into an empty table goes through the outbox.
            if self.answer(outbox::is_anything_known(connection)).await? {
                info!(topic, "the topic is empty; publishing every asset");
                self.answer(outbox::begin_republish(connection, topic))
                    .await?;
            }
        } else if let Some(before) = known.partitions.filter(|before| *before != partitions) {
            return Err(End::Stop(grown(topic, before, partitions)));
        }
        if known.partitions != Some(partitions) {
            self.answer(outbox::set_partitions(connection, topic, partitions))
                .await?;
        }
        Ok(())
    }

    /// Publishes what is oldest; false when there is nothing to do.
    async fn step(
        &self,
        connection: &mut PgConnection,
        publisher: &Publisher,
        probed: &mut Instant,
    ) -> Result<bool, End> {
        let batch_size = self.config.relay.batch_size;
        let changes = self.answer(outbox::read(connection, batch_size)).await?;
        if changes.is_empty() {
            let topic = &self.config.topics.assets;
            let more = self
                .answer(outbox::republish_page(connection, topic))
                .await?;
            metrics::republishing(more);
            return Ok(more);
        }
        let committed = publisher.publish(&changes).await?;
        *probed = Instant::now();
        let tombstones = changes.iter().filter(|c| c.value.is_none()).count();
        metrics::published(changes.len() - tombstones, tombstones);
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        self.answer(outbox::take_out(connection, &ids)).await?;
        match committed {
            Committed::Clean => Ok(true),
            Committed::Suspect => Err(End::Rebuild),
        }
    }

    /// From time to time, asks whether Kafka is there and the topic as it was.
    async fn probe(&self, publisher: &Publisher, probed: &mut Instant) -> Result<(), End> {
        if probed.elapsed() < PROBE_INTERVAL {
            return Ok(());
        }
        let partitions = publisher.count_partitions().await?;
        *probed = Instant::now();
        if partitions == publisher.partitions() {
            return Ok(());
        }
        let topic = &self.config.topics.assets;
        Err(End::Stop(grown(topic, publisher.partitions(), partitions)))
    }

    async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.heartbeat.beat();
        within(self.database.answer_timeout(), work).await
    }

    fn is_told_to_stop(&self) -> bool {
        self.heartbeat.beat();
        self.shutdown.is_cancelled()
    }

    /// Waits for a change, but no longer than `most`.
    async fn pause(&self, most: Duration) {
        self.heartbeat.beat();
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.changed.notified() => {}
            () = tokio::time::sleep(most) => {}
        }
    }
}

fn grown(topic: &str, before: i32, now: i32) -> Error {
    Error::data(format!(
        "topic {topic} has {now} partitions and was published to with {before}: assets would be in the wrong ones. \
         Partitions can't be added; make a new topic and set topics.assets"
    ))
}
