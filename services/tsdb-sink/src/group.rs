//! What the consumer group and the client say while a consumer is polled.

use crate::config::Topics;
use crate::domain::assignment::Assignment;
use crate::domain::offsets::Place;
use crate::kafka::Signs;
use crate::metrics;
use chassis::stall::Stalls;
use chassis::{Error, resume};
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::{debug, warn};

/// The context of a consumer. Callbacks run on the thread that polls, so that its locks are never contended.
pub(crate) struct Group {
    topics: Topics,
    signs: Signs,
    assignment: Mutex<Assignment>,
    revoked: Mutex<Vec<Place>>,
    statistics: Mutex<Option<Statistics>>,
    stalls: Stalls,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    pub(crate) fn new(topics: Topics) -> Self {
        Self {
            topics,
            signs: Signs::default(),
            assignment: Mutex::default(),
            revoked: Mutex::default(),
            statistics: Mutex::default(),
            stalls: Stalls::default(),
        }
    }

    /// Must not be held while the consumer is polled.
    pub(crate) fn assignment(&self) -> MutexGuard<'_, Assignment> {
        lock(&self.assignment)
    }

    /// What was taken away since the last call.
    pub(crate) fn take_revoked(&self) -> Vec<Place> {
        std::mem::take(&mut *lock(&self.revoked))
    }

    pub(crate) const fn signs(&self) -> &Signs {
        &self.signs
    }

    /// The error to stop with, if this consumer has stopped to fetch a partition.
    pub(crate) fn check_stalls(&self) -> Result<(), Error> {
        self.stalls.check(Instant::now()).map_err(Error::temporary)
    }

    /// Sets the lag of each partition from the last statistics, if there are new ones.
    pub(crate) fn measure_lag(&self) {
        let Some(statistics) = lock(&self.statistics).take() else {
            return;
        };
        let assignment = self.assignment();
        for place in assignment.reading() {
            let topic = self.topics.of(place.table);
            let found = statistics
                .topics
                .get(topic)
                .and_then(|topic| topic.partitions.get(&place.partition));
            if let (Some(partition), Some((stored, all_stored))) =
                (found, assignment.stored_next(place))
                && let Some(lag) = lag(partition, stored, all_stored)
            {
                metrics::lag(topic, place.partition, lag);
            }
        }
    }

    fn places(&self, list: &TopicPartitionList) -> Vec<Place> {
        let place = |(topic, partition): (&str, i32)| {
            let table = self.topics.table(topic)?;
            Some(Place { table, partition })
        };
        let elements = list.elements();
        elements
            .iter()
            .filter_map(|element| place((element.topic(), element.partition())))
            .collect()
    }
}

/// Records that are not stored. None while the partition's end is not known.
fn lag(partition: &Partition, stored: Option<i64>, all_stored: bool) -> Option<i64> {
    if partition.hi_offset < 0 {
        return None;
    }
    // Transaction markers have offsets too: once everything that was fetched is stored, what is left are those.
    let is_read = partition.next_offset >= partition.ls_offset && partition.fetchq_cnt == 0;
    if is_read && all_stored {
        return Some(0);
    }
    let next = stored
        .unwrap_or(partition.lo_offset)
        .max(partition.lo_offset);
    Some((partition.hi_offset - next).max(0))
}

/// `places` as librdkafka names them.
pub(crate) fn topic_places(
    topics: &Topics,
    places: impl IntoIterator<Item = Place>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for place in places {
        list.add_partition(topics.of(place.table), place.partition);
    }
    list
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.signs.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.signs.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.stalls.note(Instant::now(), &statistics);
        *lock(&self.statistics) = Some(statistics);
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RespErr,
        list: &mut TopicPartitionList,
    ) {
        let places = self.places(list);
        let result = if event == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            debug!(?places, "assigned");
            let mut assignment = self.assignment();
            for place in places {
                assignment.add(place);
            }
            // None is read before it is claimed; the call itself tells that the group's word was heard.
            consumer.incremental_assign(&TopicPartitionList::new())
        } else {
            debug!(?places, lost = consumer.assignment_lost(), "revoked");
            let mut assignment = self.assignment();
            let read = places
                .iter()
                .copied()
                .filter(|place| assignment.remove(*place));
            let read = topic_places(&self.topics, read);
            drop(assignment);
            lock(&self.revoked).extend(places);
            consumer.incremental_unassign(&read)
        };
        if let Err(error) = result {
            // The client then takes the group's word for it as well, by rejoining.
            warn!(%error, "rebalance");
        }
        let read = topic_places(&self.topics, self.assignment().reading());
        resume::wake(consumer, read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(lo: i64, hi: i64, next: i64, waiting: i64) -> Partition {
        Partition {
            lo_offset: lo,
            hi_offset: hi,
            ls_offset: hi,
            next_offset: next,
            fetchq_cnt: waiting,
            ..Partition::default()
        }
    }

    #[test]
    fn lag_counts_what_is_not_stored_and_forgives_markers_at_the_end() {
        assert_eq!(lag(&partition(-1, -1, -1, 0), None, true), None);
        assert_eq!(lag(&partition(5, 20, 5, 0), None, true), Some(15));
        assert_eq!(lag(&partition(5, 20, 20, 3), Some(10), false), Some(10));
        assert_eq!(lag(&partition(5, 20, 20, 0), Some(10), false), Some(10));
        assert_eq!(lag(&partition(5, 20, 20, 0), Some(19), true), Some(0));
        assert_eq!(lag(&partition(5, 20, 12, 0), Some(12), true), Some(8));
    }
}
