//! Asks for the ends of a partition whose leader has changed.
//!
//! librdkafka asks the leader that its metadata names. When a partition had no leader in them, or one that was not among
//! the brokers, as while a broker is fenced, 2.12.1 takes that for an answer: the partition is unknown
//! (`rd_kafka_topic_partition_list_get_leaders`). It does not ask for metadata again, unless the topic is one that it
//! fetches from, so that this stays so for `metadata.max.age.ms`, a quarter of an hour. A worker whose changelog reader
//! was hit could restore nothing until it was ended at its deadline.

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use std::time::Duration;

/// Low and high watermark of a partition, as [`Consumer::fetch_watermarks`] has them. When that fails, the topic's
/// metadata is asked for anew, so that the next try knows the leader of then; each may take `timeout`.
///
/// # Errors
/// What librdkafka said. The next call may succeed.
pub fn fetch<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    timeout: Duration,
) -> KafkaResult<(i64, i64)> {
    consumer
        .fetch_watermarks(topic, partition, timeout)
        .inspect_err(|_| drop(consumer.fetch_metadata(Some(topic), timeout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;

    const TOPIC: &str = "changelog";
    const TIMEOUT: Duration = Duration::from_secs(1);

    #[test]
    fn a_partition_that_had_no_leader_is_asked_about_again() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic(TOPIC, 1, 1).expect("a topic");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "reader")
            .create()
            .expect("a consumer");
        cluster.partition_leader(TOPIC, 0, None).expect("no leader");
        let found = fetch(&consumer, TOPIC, 0, TIMEOUT);
        assert!(found.is_err(), "{found:?}");
        cluster
            .partition_leader(TOPIC, 0, Some(1))
            .expect("a leader");
        let found: Vec<_> = (0..5)
            .map(|_| fetch(&consumer, TOPIC, 0, TIMEOUT))
            .take_while(Result::is_err)
            .collect();
        assert!(found.len() < 5, "{found:?}");
    }
}
