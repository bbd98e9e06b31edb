//! Tells a member of a group that was given no partitions from one that was not given any yet.
//!
//! Under the consumer protocol (KIP-848) librdkafka calls back for a share that differs from the last one only, so that a
//! member with an empty share is never told. Under the classic protocol an empty share comes first whenever the others
//! have to give partitions up. Under both, its id and its generation tell whether the group has it.

use rdkafka::bindings::{
    rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
    rd_kafka_consumer_group_metadata_generation_id, rd_kafka_consumer_group_metadata_member_id,
};
use rdkafka::client::{Client, ClientContext};
use std::time::{Duration, Instant};

/// An empty share that has lasted so long is no step of a rebalance.
const SETTLED: Duration = Duration::from_secs(3);

/// Follows whether a member is a standby: in its group, with nothing to do.
#[derive(Debug, Default)]
pub struct Standby {
    since: Option<Instant>,
}

impl Standby {
    /// Whether it is one at `now`, given that the group's consumer has so many partitions `assigned`. To be asked again
    /// and again.
    pub fn look<C: ClientContext>(
        &mut self,
        now: Instant,
        consumer: &Client<C>,
        assigned: usize,
    ) -> bool {
        self.follow(now, assigned == 0 && is_member(consumer))
    }

    fn follow(&mut self, now: Instant, is_member_without: bool) -> bool {
        if !is_member_without {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= SETTLED
    }
}

/// Whether the group has taken the consumer in. It has no generation before; when the group has let it go, either that or
/// its id is gone.
fn is_member<C: ClientContext>(consumer: &Client<C>) -> bool {
    // SAFETY: the client is borrowed, so that it lives. What it returns is null or ours to destroy, once, which happens
    // after its last use; the id is a part of it, ended by a zero.
    unsafe {
        let metadata = rd_kafka_consumer_group_metadata(consumer.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        let member_id = rd_kafka_consumer_group_metadata_member_id(metadata);
        let has_id = !member_id.is_null() && *member_id != 0;
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation > 0 && has_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_share_makes_a_standby_once_it_lasts() {
        let start = Instant::now();
        let mut standby = Standby::default();
        let mut at = |ms: u64, is_member_without| {
            standby.follow(start + Duration::from_millis(ms), is_member_without)
        };
        assert!(!at(0, false), "not in the group");
        assert!(!at(60_000, false), "still not");
        assert!(!at(60_500, true), "just taken in");
        assert!(!at(63_000, true));
        assert!(at(63_500, true));
        assert!(at(90_000, true));
        assert!(!at(90_500, false), "it has partitions, or was let go");
        assert!(!at(91_000, true), "from the beginning");
        assert!(at(94_000, true));
    }

    #[test]
    fn a_consumer_that_nobody_answers_is_no_member() {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let consumer: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("group.id", "nobody")
            .create()
            .unwrap();
        consumer.subscribe(&["nothing"]).unwrap();
        assert!(!is_member(consumer.client()));
    }
}
