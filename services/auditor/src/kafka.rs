//! The clients, and what an error of one calls for.

use crate::SERVICE;
use crate::config::Config;
use chassis::Error;
use chassis::stall::{STATISTICS_INTERVAL_MS, Stalls};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{ClientConfig, Statistics};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tracing::debug;

/// What clients say beside their answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signs {
    refused: Arc<AtomicBool>,
    stalls: Arc<Stalls>,
}

impl Signs {
    /// The error to stop with, if the broker refuses the user or a client needs a restart.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.refused.load(Ordering::Relaxed) {
            return Err(Error::permission(
                "Kafka refused the user name or password (kafka.sasl_username, kafka.sasl_password)",
            ));
        }
        self.stalls.check(Instant::now()).map_err(Error::temporary)
    }
}

impl ClientContext for Signs {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The client recovers by itself; what matters to an operator is logged by those who use it, once.
        debug!(facility, ?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The only sign of a wrong password; calls just time out.
        if matches!(
            error.rdkafka_error_code(),
            Some(Code::Authentication | Code::SaslAuthenticationFailed)
        ) {
            self.refused.store(true, Ordering::Relaxed);
        }
        debug!(%error, reason, "client error");
    }

    fn stats(&self, statistics: Statistics) {
        self.stalls.note(Instant::now(), &statistics);
    }
}

impl ConsumerContext for Signs {}

/// A consumer of group `group` that joins nothing: it asks, or reads what it assigns itself.
pub(crate) fn consumer(config: &Config, role: &str, group: &str, committed: bool) -> ClientConfig {
    let kafka = &config.kafka;
    let mut client = kafka.client(&format!("{}-{}-{role}", SERVICE.name, kafka.instance()));
    client
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Records that are gone are looked into, never jumped over.
        .set("auto.offset.reset", "error")
        // Whoever makes one polls it, also if it only asks: else they pile up.
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS)
        .set(
            "isolation.level",
            if committed {
                "read_committed"
            } else {
                "read_uncommitted"
            },
        );
    client
}

/// The settings of the consumer that reads: few, large fetches, since most of what it costs is a price per fetch.
pub(crate) fn reader(config: &Config) -> ClientConfig {
    let group = config.kafka.group(SERVICE.name);
    let mut client = consumer(config, "reader", group, true);
    let queue = config.audit.fetch_queue_kib.to_string();
    for (key, value) in [
        ("fetch.wait.max.ms", "500"),
        ("fetch.min.bytes", "1000000"),
        ("fetch.max.bytes", "8000000"),
        ("max.partition.fetch.bytes", "1000000"),
        ("fetch.queue.backoff.ms", "50"),
        ("queued.max.messages.kbytes", queue.as_str()),
    ] {
        if !config.kafka.properties.contains_key(&key.replace('.', "_")) {
            client.set(key, value);
        }
    }
    client
}

/// Ends the service, if waiting does not help.
pub(crate) fn check(error: &KafkaError) -> Result<(), Error> {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => {
            Err(Error::permission("no right to read one of the topics"))
        }
        Some(Code::GroupAuthorizationFailed) => Err(Error::permission(
            "no right to read a stage's consumer group (groups.*)",
        )),
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => Err(Error::permission(
            "Kafka refused the user name or password (kafka.sasl_username, kafka.sasl_password)",
        )),
        _ => Ok(()),
    }
}
