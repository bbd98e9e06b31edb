//! What is looked at from time to time: the broker, the topics, readiness, lag.

use super::{QUERY_TIMEOUT, Reader};
use crate::domain::offsets::Place;
use crate::domain::table::Table;
use crate::{SERVICE, metrics};
use chassis::{Error, watermarks};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};
use tracing::info;

/// Partitions whose end is asked for in one round while they are paused.
const ENDS_PER_ROUND: usize = 8;
/// How long a topic may be missing, since metadata of a topic made just now takes a moment to spread.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the broker.
#[derive(Debug, Default)]
pub(super) struct Broker {
    reachable: bool,
    subscribed: bool,
    topics_missing_since: Option<Instant>,
}

impl Broker {
    pub(super) const fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// A question was not answered.
    pub(super) const fn lost(&mut self) {
        self.reachable = false;
    }

    /// A topic may not be there; all are looked for again.
    pub(super) fn misses_topic(&mut self) {
        self.topics_missing_since.get_or_insert_with(Instant::now);
    }
}

impl Reader {
    pub(super) fn housekeeping(&mut self) -> Result<(), Error> {
        self.consumer.context().signs().check()?;
        if !self.broker.reachable {
            self.broker.reachable = self.answers();
            if self.broker.reachable {
                self.kafka.used(&self.name);
            } else {
                self.consumer.context().signs().check()?;
                self.kafka.missed(&self.name, "no answer");
                return Ok(());
            }
        }
        if !self.broker.subscribed || self.broker.topics_missing_since.is_some() {
            self.look_for_topics()?;
        }
        self.tell_readiness();
        self.measure_lag();
        self.consumer.context().check_stalls()
    }

    pub(super) fn answers(&self) -> bool {
        let topic = self.config.topics.of(Table::Readings);
        self.consumer
            .fetch_metadata(Some(topic), QUERY_TIMEOUT)
            .is_ok()
    }

    /// Joins the group when every topic is there.
    fn look_for_topics(&mut self) -> Result<(), Error> {
        for table in Table::ALL {
            let topic = self.config.topics.of(table);
            let Ok(metadata) = self.consumer.fetch_metadata(Some(topic), QUERY_TIMEOUT) else {
                self.broker.reachable = false;
                return Ok(());
            };
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = match found {
                Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
                    continue;
                }
                Some(found) => found.error().map(Code::from),
                None => None,
            };
            if error == Some(Code::TopicAuthorizationFailed) {
                return Err(Error::permission(format!("no right to read topic {topic}")));
            }
            self.gate.close(format!("topic {topic} is not there"));
            let since = *self
                .broker
                .topics_missing_since
                .get_or_insert_with(Instant::now);
            if since.elapsed() >= TOPIC_PATIENCE {
                return Err(Error::unavailable(format!(
                    "topic {topic} is not there; create it first"
                )));
            }
            return Ok(());
        }
        self.broker.topics_missing_since = None;
        if !self.broker.subscribed {
            let topics = Table::ALL.map(|table| self.config.topics.of(table));
            self.consumer
                .subscribe(&topics)
                .map_err(|error| Error::unavailable(format!("subscribe: {error}")))?;
            self.broker.subscribed = true;
            let group = self.config.kafka.group(SERVICE.name);
            info!(reader = self.name, group, "joining the group");
        }
        Ok(())
    }

    fn tell_readiness(&mut self) {
        let counts = self.group().counts();
        metrics::partitions(self.number, counts.assigned, counts.stopped);
        let is_standby = self
            .standby
            .look(Instant::now(), self.consumer.client(), counts.assigned);
        if counts.assigned == 0 && !is_standby {
            self.gate.close("no partition assigned yet");
        } else if counts.stopped > 0 {
            self.gate.close(format!(
                "{} partitions are stopped: records are missing from their topics",
                counts.stopped
            ));
        } else if counts.reading < counts.assigned {
            self.gate.close(format!(
                "reading {} of {} partitions",
                counts.reading, counts.assigned
            ));
        } else {
            self.gate.open();
        }
    }

    /// From the consumer's own statistics; while partitions are paused those stand still, and the broker is asked.
    fn measure_lag(&mut self) {
        if !self.paused {
            self.consumer.context().measure_lag();
            return;
        }
        let places: Vec<Place> = self.group().places().collect();
        let from = self.ends_from % places.len().max(1);
        for place in places
            .iter()
            .cycle()
            .skip(from)
            .take(ENDS_PER_ROUND.min(places.len()))
        {
            let topic = self.config.topics.of(place.table);
            let ends = watermarks::fetch(&self.consumer, topic, place.partition, QUERY_TIMEOUT);
            self.ends_from += 1;
            let Ok((low, high)) = ends else {
                return;
            };
            if let Some((next, _)) = self.group().stored_next(*place) {
                let lag = high - next.unwrap_or(low).max(low);
                metrics::lag(topic, place.partition, lag.max(0));
            }
        }
    }
}
