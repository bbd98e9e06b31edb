//! Wakes a consumer that would sleep through the end of a pause.
//!
//! librdkafka's thread of a broker that finds nothing to fetch, since all partitions are paused, sleeps for up to a second
//! (`rd_kafka_max_block_ms`), and nobody wakes it when they are resumed: 2.12.1 changes a flag on another thread. It
//! pauses and resumes all partitions by itself around every rebalance, the retained ones included, so that each rebalance
//! stops all members of a group for up to a second.

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// The answer comes after that to a fetch which is under way; that takes `fetch.wait.max.ms` at most.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Sends a request to every broker that leads one of `partitions`, and waits for the answers: each wakes the thread of its
/// broker. To be called after a resume with what was resumed, and at the end of a rebalance callback with what is held
/// after it.
///
/// The client is not asked what it holds: in the callback of a consumer that is being closed, `rd_kafka_assignment` may
/// come when the group's part of the client has ended, and then waits for its answer without an end.
pub fn wake<C: ConsumerContext>(consumer: &BaseConsumer<C>, mut partitions: TopicPartitionList) {
    // The ends of the partitions: cheap to tell, and of no interest.
    if partitions.count() > 0 && partitions.set_all_offsets(Offset::End).is_ok() {
        drop(consumer.offsets_for_times(partitions, TIMEOUT));
    }
}
