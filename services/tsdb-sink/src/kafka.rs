//! What every client of Kafka is made of here, and what an error of one calls for.

use crate::config::Config;
use chassis::Error;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::debug;

/// Milliseconds between two reports of a consumer's own statistics, which tell how far its topics are.
const STATISTICS_INTERVAL_MS: &str = "1000";

/// What a client says beside its answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signs {
    authentication_failed: Arc<AtomicBool>,
}

impl Signs {
    /// The error to stop with, if the broker refuses the user.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.authentication_failed.load(Ordering::Relaxed) {
            return Err(authentication_failed());
        }
        Ok(())
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
            self.authentication_failed.store(true, Ordering::Relaxed);
        }
        debug!(%error, reason, "client error");
    }
}

impl ConsumerContext for Signs {}

/// The settings of the consumer `number`.
pub(crate) fn consumer(config: &Config, service: &str, number: usize) -> ClientConfig {
    let kafka = &config.kafka;
    let instance = format!("{}-{number}", kafka.instance());
    let mut client = kafka.client(&format!("{service}-{instance}-consumer"));
    let queue = config.sink.fetch_queue_kib.to_string();
    for (key, value) in [
        ("fetch.wait.max.ms", "100"),
        // The default of a second leaves gaps when the queue is small.
        ("fetch.queue.backoff.ms", "20"),
        ("queued.max.messages.kbytes", queue.as_str()),
        // The default of 50 MB is what one answer may bring, and is then held decompressed.
        ("fetch.max.bytes", "4000000"),
        ("statistics.interval.ms", STATISTICS_INTERVAL_MS),
    ] {
        if client.get(key).is_none() {
            client.set(key, value);
        }
    }
    // What exactly once depends on can't be set otherwise.
    client
        .set("group.id", kafka.group(service))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Records that are gone are an error to look into, not a reason to jump over them.
        .set("auto.offset.reset", "error");
    kafka.set_membership(&mut client, &instance);
    client
}

/// What an error that a poll returned calls for.
#[derive(Debug)]
pub(crate) enum PollError {
    /// The client recovers by itself.
    Wait,
    /// Nobody answers, it says.
    Away,
    /// A partition has no record at the offset that was asked for.
    OffsetGone,
    /// A topic is not there.
    NoTopic,
    /// A restart by itself won't help, or only a restart does.
    Stop(Error),
}

pub(crate) fn poll_error(group: &str, error: &KafkaError) -> PollError {
    match error.rdkafka_error_code() {
        Some(Code::AllBrokersDown) => PollError::Away,
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => PollError::OffsetGone,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            PollError::NoTopic
        }
        Some(Code::GroupAuthorizationFailed) => PollError::Stop(Error::permission(format!(
            "no right to read as consumer group {group}"
        ))),
        Some(Code::TopicAuthorizationFailed) => {
            PollError::Stop(Error::permission("no right to read one of the topics"))
        }
        Some(Code::FencedInstanceId) => PollError::Stop(Error::temporary(
            "fenced: another member joined with the same kafka.instance_id",
        )),
        Some(Code::UnreleasedInstanceId) => PollError::Stop(Error::temporary(
            "kafka.instance_id is still held by a member that has not left; it is free when its session ends",
        )),
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
            PollError::Stop(authentication_failed())
        }
        Some(Code::Fatal) => PollError::Stop(Error::temporary(format!("consumer: {error}"))),
        _ => PollError::Wait,
    }
}

fn authentication_failed() -> Error {
    Error::permission(
        "Kafka refused the user name or password (kafka.sasl_username, kafka.sasl_password)",
    )
}
