//! Changes to Kafka, in transactions.
//!
//! The transactional id is the same in every instance: a new relay's `init_transactions` shuts out a predecessor that has
//! lost its lock without noticing, also one whose request is still on its way. Nothing stale can be written after that.

use crate::config::Config;
use crate::outbox::Change;
use chassis::Error;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::debug;

/// Longest time for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for taking over the transactional id; the broker aborts a predecessor's transaction meanwhile.
const INIT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why nothing can be published.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Kafka is not there, or slow. Begin anew.
    Again(String),
    /// Another instance took over, or the broker ended a transaction that took too long; it says the same for both.
    Fenced,
    /// The topic is not there.
    NoTopic,
    /// A restart won't help.
    Stop(Error),
}

/// How a transaction went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Well.
    Clean,
    /// So slowly that a request of it may still be on its way, and would end the next transaction: make a new producer.
    Suspect,
}

#[derive(Clone, Debug, Default)]
struct Signs(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    authentication_failed: AtomicBool,
    request_timed_out: AtomicBool,
}

impl ClientContext for Signs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The only sign of a request that timed out and was sent again.
        if facility == "REQTMOUT" {
            self.0.request_timed_out.store(true, Ordering::Relaxed);
        }
        debug!(facility, ?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The only sign of a wrong password; calls just time out.
        if matches!(
            error.rdkafka_error_code(),
            Some(Code::Authentication | Code::SaslAuthenticationFailed)
        ) {
            self.0.authentication_failed.store(true, Ordering::Relaxed);
        }
        debug!(%error, reason, "client error");
    }
}

/// A producer for the topic of assets.
pub(crate) struct Publisher {
    producer: FutureProducer<Signs>,
    signs: Signs,
    topic: String,
    partitions: i32,
    suspicious: Duration,
    give_up: Duration,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// Connects and looks for the topic; it can't publish before [`Publisher::take_over`].
    pub(crate) async fn connect(config: &Config, service: &str) -> Result<Self, Trouble> {
        let kafka = &config.kafka;
        let mut client = kafka.client(&format!("{service}-{}", kafka.instance()));
        let transactional_id = format!("{}-relay", kafka.group(service));
        let timeout = config.relay.transaction_timeout_ms.to_string();
        for (key, value) in [
            ("transactional.id", transactional_id.as_str()),
            ("transaction.timeout.ms", &timeout),
            ("message.timeout.ms", &timeout),
            ("linger.ms", "5"),
            ("compression.type", "snappy"),
            // The first calls after a commit are refused until its markers are written; 100 ms is the default pause.
            ("retry.backoff.ms", "10"),
        ] {
            if client.get(key).is_none() {
                client.set(key, value);
            }
        }
        let signs = Signs::default();
        let producer = FutureProducer::from_config_and_context(&client, signs.clone())
            .map_err(|error| Trouble::Stop(Error::config(format!("kafka: {error}"))))?;
        let mut publisher = Self {
            producer,
            signs,
            topic: config.topics.assets.clone(),
            partitions: 0,
            suspicious: Duration::from_millis(u64::from(kafka.socket_timeout_ms) / 2),
            give_up: Duration::from_millis(config.relay.transaction_timeout_ms.into()),
        };
        publisher.partitions = publisher.count_partitions().await?;
        Ok(publisher)
    }

    /// How many partitions the topic has.
    pub(crate) const fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Asks the broker how many partitions the topic has: also the proof that Kafka is there.
    pub(crate) async fn count_partitions(&self) -> Result<i32, Trouble> {
        let topic = self.topic.clone();
        self.call(move |producer| {
            let metadata = producer
                .client()
                .fetch_metadata(Some(&topic), CALL_TIMEOUT)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            Ok(found.map_or(Err(Code::UnknownTopic), |found| {
                found.error().map_or_else(
                    || Ok(i32::try_from(found.partitions().len()).unwrap_or(0)),
                    |error| Err(error.into()),
                )
            }))
        })
        .await?
        .map_err(|code| self.trouble_of(Some(code), &format!("metadata: {code}")))
        .and_then(|n| if n > 0 { Ok(n) } else { Err(Trouble::NoTopic) })
    }

    /// Shuts out whoever published before, and aborts what they left open.
    pub(crate) async fn take_over(&self) -> Result<(), Trouble> {
        self.call(|producer| producer.init_transactions(INIT_TIMEOUT))
            .await
    }

    /// No record was ever written to the topic, or none is left.
    pub(crate) async fn is_topic_empty(&self) -> Result<bool, Trouble> {
        let (topic, partitions) = (self.topic.clone(), self.partitions);
        self.call(move |producer| {
            for partition in 0..partitions {
                let (low, high) =
                    producer
                        .client()
                        .fetch_watermarks(&topic, partition, CALL_TIMEOUT)?;
                if low < high {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Publishes `changes` in their order, all or none. After an error nobody knows which: publish them again with a new
    /// producer, which ends what this one left open.
    pub(crate) async fn publish(&self, changes: &[Change]) -> Result<Committed, Trouble> {
        self.call(Producer::begin_transaction).await?;
        let mut deliveries = Vec::with_capacity(changes.len());
        for change in changes {
            let partition = schema::partition_for(change.gpu_uuid.as_bytes(), self.partitions);
            let mut record = FutureRecord::<str, str>::to(&self.topic)
                .key(&change.gpu_uuid)
                .partition(partition);
            record.payload = change.value.as_deref();
            match self.producer.send_result(record) {
                Ok(delivery) => deliveries.push(delivery),
                Err((error, _)) => {
                    return Err(self.trouble_of(error.rdkafka_error_code(), &error.to_string()));
                }
            }
        }
        let mut undelivered = None;
        for delivery in deliveries {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => undelivered = Some(error.to_string()),
                Err(_) => undelivered = Some("canceled".to_owned()),
            }
        }
        if let Some(reason) = undelivered {
            // A record's report only says that it was thrown away. The commit, which can't succeed any more, knows why.
            self.call(|producer| producer.commit_transaction(CALL_TIMEOUT))
                .await?;
            return Err(Trouble::Again(format!("delivery: {reason}")));
        }
        let started = Instant::now();
        let give_up = started + self.give_up;
        self.call(move |producer| {
            loop {
                match producer.commit_transaction(CALL_TIMEOUT) {
                    Err(KafkaError::Transaction(error))
                        if error.is_retriable() && Instant::now() < give_up => {}
                    other => return other,
                }
            }
        })
        .await?;
        let timed_out = self.signs.0.request_timed_out.load(Ordering::Relaxed);
        Ok(if timed_out || started.elapsed() >= self.suspicious {
            Committed::Suspect
        } else {
            Committed::Clean
        })
    }

    /// Makes a blocking call of librdkafka off the runtime's own threads.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&FutureProducer<Signs>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let producer = self.producer.clone();
        let result = tokio::task::spawn_blocking(move || call(&producer)).await;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.trouble_of(error.rdkafka_error_code(), &error.to_string())),
            Err(error) => Err(Trouble::Stop(Error::internal(error))),
        }
    }

    fn trouble_of(&self, code: Option<Code>, what: &str) -> Trouble {
        if self.signs.0.authentication_failed.load(Ordering::Relaxed) {
            return Trouble::Stop(Error::permission(
                "Kafka refused the user name or password (kafka.sasl_username, kafka.sasl_password)",
            ));
        }
        match code {
            Some(
                Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed,
            ) => Trouble::Stop(Error::permission(format!(
                "no right to publish to topic {}: {what}",
                self.topic
            ))),
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Trouble::NoTopic,
            Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
                Trouble::Fenced
            }
            Some(Code::MessageSizeTooLarge) => Trouble::Stop(Error::data(format!(
                "an asset is larger than topic {} takes; raise its max.message.bytes",
                self.topic
            ))),
            _ => Trouble::Again(what.to_owned()),
        }
    }
}
