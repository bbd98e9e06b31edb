//! Errors, named by the recovery they demand. Mapped here and nowhere else.

use crate::Error;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What has to be done about an error of a transactional call.
#[derive(Debug)]
pub(crate) enum Recovery {
    /// Make the same call again.
    Retry,
    /// Abort the transaction, undo, rewind; the producer is good.
    Abort,
    /// The producer is fatal or its state is unknown: drop it, undo, rewind, make a new one. `fenced` when a producer
    /// with the same transactional id took over (or the transaction timed out: the broker says the same for both).
    Rebuild { fenced: bool },
    /// Stop the service.
    Stop(Error),
}

/// The recovery that `error` of a transactional call (`what`) demands.
pub(crate) fn of_transaction(what: &str, error: &KafkaError) -> Recovery {
    match error {
        KafkaError::Transaction(inner) => {
            if let Some(stop) = missing_right(what, inner.code(), &inner.string()) {
                return Recovery::Stop(stop);
            }
            if inner.is_fatal() {
                Recovery::Rebuild {
                    fenced: is_fencing(inner.code()),
                }
            } else if inner.txn_requires_abort() {
                Recovery::Abort
            } else if inner.is_retriable() {
                Recovery::Retry
            } else {
                // INTRODUCTION.md of librdkafka: an error with none of the three flags is to be treated as fatal.
                Recovery::Rebuild { fenced: false }
            }
        }
        // rdkafka flushes before it commits and reports that flush without flags; the commit was not sent.
        KafkaError::Flush(_) => Recovery::Retry,
        _ => Recovery::Rebuild { fenced: false },
    }
}

/// Does a fatal error with this code say that a newer producer has the transactional id?
pub(crate) fn is_fencing(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
    )
}

/// The recovery that a refused `send` demands: an abort, always, since librdkafka would commit the rest of the
/// transaction without a complaint.
pub(crate) fn of_send(topic: &str, error: &KafkaError) -> Recovery {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => Recovery::Retry,
        Some(code) => match missing_right(
            &format!("writing to topic {topic}"),
            code,
            &code.to_string(),
        ) {
            Some(stop) => Recovery::Stop(stop),
            None if code == Code::Fatal || is_fencing(code) => Recovery::Rebuild {
                fenced: is_fencing(code),
            },
            None if code == Code::MessageSizeTooLarge => Recovery::Stop(Error::data(format!(
                "a record for topic {topic} is larger than message.max.bytes; the stage must bound what it emits"
            ))),
            None => Recovery::Abort,
        },
        None => Recovery::Abort,
    }
}

/// What to do about an error that a consumer's poll returned.
#[derive(Debug)]
pub(crate) enum ConsumerTrouble {
    /// The client recovers by itself; the text says what is wrong meanwhile.
    Away(String),
    /// Nothing to do.
    Ignore,
    /// Stop the service.
    Stop(Error),
}

/// The recovery that an error of the group consumer demands.
pub(crate) fn of_consumer(topic: &str, group: &str, error: &KafkaError) -> ConsumerTrouble {
    let Some(code) = error.rdkafka_error_code() else {
        return ConsumerTrouble::Away(error.to_string());
    };
    match code {
        Code::PartitionEOF => ConsumerTrouble::Ignore,
        Code::GroupAuthorizationFailed => ConsumerTrouble::Stop(Error::permission(format!(
            "no right to read as consumer group {group}"
        ))),
        Code::TopicAuthorizationFailed => {
            ConsumerTrouble::Stop(Error::permission(format!("no right to read topic {topic}")))
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            ConsumerTrouble::Stop(Error::unavailable(format!(
                "topic {topic} is not there; create it first"
            )))
        }
        Code::FencedInstanceId => ConsumerTrouble::Stop(Error::temporary(
            "fenced: another member joined with the same kafka.instance_id",
        )),
        Code::UnreleasedInstanceId => ConsumerTrouble::Stop(Error::temporary(
            "kafka.instance_id is still held by a member that has not left; it is free when its session ends",
        )),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            ConsumerTrouble::Stop(authentication_failed())
        }
        Code::Fatal => ConsumerTrouble::Stop(Error::temporary(format!("consumer: {error}"))),
        Code::PollExceeded => ConsumerTrouble::Away(
            "max.poll.interval.ms exceeded; the group gave the partitions away, rejoining"
                .to_owned(),
        ),
        _ => ConsumerTrouble::Away(error.to_string()),
    }
}

/// Wrong user or password.
pub(crate) fn authentication_failed() -> Error {
    Error::permission(
        "Kafka refused the user name or password (kafka.sasl_username, kafka.sasl_password)",
    )
}

fn missing_right(what: &str, code: Code, text: &str) -> Option<Error> {
    matches!(
        code,
        Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
    .then(|| Error::permission(format!("{what}: {text}")))
}
