//! Two waits of a transactional producer for a coordinator, and the settings that end them.
//!
//! **For the group's, without an end.**
//! `send_offsets_to_transaction` asks for the coordinator first. While that moves, as after a broker's kill, brokers answer
//! `COORDINATOR_NOT_AVAILABLE`; librdkafka 2.12.1 asks again twice, `retry.backoff.ms` apart, and then waits for a
//! connection to come up or to go down (`rd_kafka_coord_req_handle_FindCoordinator`). It looks at no clock meanwhile, the
//! call's own timeout included (`creq_ts_timeout` is set and never read): with brokers that are all there again nothing
//! happens, and the call does not return. `chaos` has seen a worker in it for 74 s.
//!
//! A connection that is closed for being idle is one that goes down, and the client asks again.
//!
//! **For the transaction's, half a second.** `init_transactions` asks the first broker that it has a connection to. A fresh
//! client has none: it connects to a broker by chance, once in 50 ms, and where that one is not up when the coordinator is
//! asked for, it looks again after 500 ms. Of 48 calls beside an idle broker 13 took 510 ms and the others 60 ms; with a
//! client that connects to every broker that it knows, all took 3 to 7 ms. A takeover waits for that call, which ends what
//! a dead member has left open.

/// By how much `connections.max.idle.ms` is longer than `socket.timeout.ms`: a connection is closed though a request is
/// under way, and librdkafka takes off up to two seconds by chance.
pub const IDLE_MARGIN_MS: u32 = 5_000;

/// Setting and value: connects to every broker, not only to one that something is to be sent to.
pub const CONNECT_TO_ALL: (&str, &str) = ("enable.sparse.connections", "false");

#[cfg(test)]
mod tests {
    use super::CONNECT_TO_ALL;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::error::KafkaResult;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, Producer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const TIMEOUT: Duration = Duration::from_secs(2);

    /// Sends offsets while the brokers do not know the coordinator for a moment.
    fn send_offsets(max_idle_ms: &str) -> KafkaResult<()> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic("in", 1, 1)?;
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("group.id", "group");
        let consumer: BaseConsumer = client.create()?;
        let metadata = consumer.group_metadata();
        let producer: BaseProducer = client
            .set("transactional.id", "worker")
            .set("retry.backoff.ms", "5")
            .set("connections.max.idle.ms", max_idle_ms)
            .set(CONNECT_TO_ALL.0, CONNECT_TO_ALL.1)
            .create()?;
        producer.init_transactions(TIMEOUT)?;
        producer.begin_transaction()?;
        let not_available = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
        cluster.request_errors(RDKafkaApiKey::FindCoordinator, &[not_available; 3]);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("in", 0, Offset::Offset(1))?;
        let metadata = metadata.expect("a member");
        producer.send_offsets_to_transaction(&offsets, &metadata, TIMEOUT)
    }

    #[test]
    fn a_coordinator_that_was_not_there_is_asked_for_again() {
        let (told, result) = channel();
        // Where it hangs, the thread is left: nothing ends that call.
        std::thread::spawn(move || told.send(send_offsets("2000")));
        let result = result.recv_timeout(Duration::from_secs(30));
        assert!(matches!(result, Ok(Ok(()))), "{result:?}");
    }
}
