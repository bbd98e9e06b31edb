//! Where partitions are read from.

use super::{QUERY_TIMEOUT, Reader};
use crate::config::LostInput;
use crate::domain::assignment::Placement;
use crate::domain::offsets::{Continuity, Place, continuity};
use crate::group::topic_places;
use chassis::{Error, watermarks};
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, error, warn};

/// Partitions that are placed before the next poll.
const PLACES_PER_TURN: usize = 32;

impl Reader {
    /// Compares the logs of partitions that are claimed with what is stored, and reads those that are whole.
    pub(super) fn place_partitions(&mut self) -> Result<(), Error> {
        let now = self.start.elapsed();
        let wanted = self.group().to_place(now);
        if wanted.is_empty() || !self.broker.is_reachable() {
            return Ok(());
        }
        let skip_lost = self.config.sink.on_lost_input == LostInput::Earliest;
        let mut list = TopicPartitionList::new();
        for (place, next) in wanted.into_iter().take(PLACES_PER_TURN) {
            let topic = self.config.topics.of(place.table);
            let partition = place.partition;
            let ends = watermarks::fetch(&self.consumer, topic, partition, QUERY_TIMEOUT);
            let (low, high) = match ends {
                Ok(ends) => ends,
                Err(error) => {
                    debug!(topic, partition, %error, "the ends of a log are not known yet");
                    break;
                }
            };
            let found = continuity(next, low, high);
            let placement = self.group().place(place, found, skip_lost, now);
            match placement {
                Placement::Read(start) => {
                    if let (Continuity::Lost { from, to }, true) = (found, skip_lost) {
                        warn!(
                            topic,
                            partition,
                            from,
                            to,
                            "records were removed before they were stored; going on"
                        );
                    }
                    let start = start.map_or(Offset::Beginning, Offset::Offset);
                    list.add_partition_offset(topic, partition, start)
                        .map_err(|error| Error::internal(format!("offset: {error}")))?;
                }
                Placement::Stop { news: true } => stopped(topic, partition, found),
                Placement::Stop { news: false } | Placement::Gone => {}
            }
        }
        if list.count() > 0 {
            self.consumer
                .incremental_assign(&list)
                .map_err(|error| Error::temporary(format!("assign: {error}")))?;
            // librdkafka remembers a pause also of a partition that went away and came back.
            if self.paused {
                self.consumer.pause(&list)
            } else {
                self.consumer.resume(&list)
            }
            .map_err(|error| Error::internal(format!("pause or resume: {error}")))?;
        }
        Ok(())
    }

    pub(super) fn unassign(&self, places: &[Place]) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        self.consumer
            .incremental_unassign(&topic_places(&self.config.topics, places.iter().copied()))
            .map_err(|error| Error::temporary(format!("unassign: {error}")))
    }
}

fn stopped(topic: &str, partition: i32, found: Continuity) {
    match found {
        Continuity::Lost { from, to } => error!(
            topic,
            partition,
            from,
            to,
            lost = to - from,
            "records were removed before they were stored; the partition is stopped. To go on without them, set \
             sink.on_lost_input = \"earliest\""
        ),
        Continuity::Ahead { stored, end } => error!(
            topic,
            partition,
            stored,
            end,
            "the log ends before what is stored: it is another log; the partition is stopped. If the topic was made \
             anew, delete the partition's row in sink_offsets"
        ),
        Continuity::Whole(_) => {}
    }
}
