//! Reads a compacted topic to its end: a changelog once, a table for as long as it is needed.
//!
//! A `read_committed` client sees the end of a partition at the last stable offset, which an open transaction of a dead
//! predecessor holds back; committed records behind it would be missed. So a partition is read only once its last
//! stable offset has passed the high watermark that was there when the read was asked for.

use super::producer::Signs;
use crate::Error;
use crate::stall::{STATISTICS_INTERVAL_MS, Stalls};
use crate::watermarks;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, config::FromClientConfigAndContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between looks at the last stable offset.
const STABLE_PAUSE: Duration = Duration::from_millis(20);

/// How far the read of a partition is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The high watermark is not known yet.
    Asked,
    /// Waiting for the last stable offset to reach `target`.
    Unstable { target: i64, looked_at: Instant },
    /// Reading towards the end: so many offsets of so many.
    Reading { from: i64, at: i64, target: i64 },
    /// Read to the end; so many offsets there were.
    Done { all: u64 },
}

/// How far a reader is, over all its partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Offsets passed.
    pub(super) read: u64,
    /// Offsets that there are to pass, as far as known.
    pub(super) all: u64,
    /// Partitions that wait for somebody's open transaction to end.
    pub(super) unstable: usize,
    /// Partitions whose end nobody has told yet.
    pub(super) unknown: usize,
}

/// What a poll found.
pub(super) enum Read<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// A partition has been read to the end that it had when it was asked for.
    CaughtUp,
}

pub(super) struct Reader {
    topic: String,
    /// Reads, and sees the last stable offset.
    committed: BaseConsumer<Signs>,
    /// Sees the high watermark.
    uncommitted: BaseConsumer<Signs>,
    partitions: BTreeMap<i32, Phase>,
}

impl Reader {
    /// One that is polled all the time may be watched: what nobody polls for piles up.
    pub(super) fn new(
        client: &ClientConfig,
        topic: &str,
        watched: Option<&Arc<Stalls>>,
    ) -> Result<Self, Error> {
        let make = |isolation: &str, watched: Option<&Arc<Stalls>>| {
            let mut config = client.clone();
            if watched.is_some() {
                config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
            }
            config
                // Never joined and never committed to; rdkafka asks for one all the same.
                .set("group.id", format!("{topic}-reader"))
                .set("isolation.level", isolation)
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "earliest")
                .set("fetch.wait.max.ms", "20")
                .set("fetch.queue.backoff.ms", "20")
                .set("queued.max.messages.kbytes", "16384");
            let signs = watched.map_or_else(Signs::default, Signs::watched);
            BaseConsumer::from_config_and_context(&config, signs)
                .map_err(|error| Error::config(format!("kafka: {error}")))
        };
        Ok(Self {
            topic: topic.to_owned(),
            committed: make("read_committed", watched)?,
            uncommitted: make("read_uncommitted", None)?,
            partitions: BTreeMap::new(),
        })
    }

    /// Its clients, to be closed.
    pub(super) fn into_clients(self) -> (BaseConsumer<Signs>, BaseConsumer<Signs>) {
        (self.committed, self.uncommitted)
    }

    /// Asks for `partition` from its beginning. Asking again for one that is being read changes nothing.
    pub(super) fn ask(&mut self, partition: i32) {
        self.partitions.entry(partition).or_insert(Phase::Asked);
    }

    /// Whether `partition` was read to the end.
    pub(super) fn is_done(&self, partition: i32) -> bool {
        matches!(self.partitions.get(&partition), Some(Phase::Done { .. }))
    }

    /// Something is left to read before somebody can go on.
    pub(super) fn is_busy(&self) -> bool {
        self.partitions
            .values()
            .any(|phase| !matches!(phase, Phase::Done { .. }))
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for phase in self.partitions.values() {
            match *phase {
                Phase::Asked => progress.unknown += 1,
                Phase::Unstable { .. } => progress.unstable += 1,
                Phase::Reading { from, at, target } => {
                    progress.read += offsets(from, at);
                    progress.all += offsets(from, target);
                }
                Phase::Done { all } => {
                    progress.read += all;
                    progress.all += all;
                }
            }
        }
        progress
    }

    /// Stops reading `partition`.
    pub(super) fn stop(&mut self, partition: i32) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        if let Some(Phase::Reading { .. } | Phase::Done { .. }) = self.partitions.remove(&partition)
            && let Err(error) = self.committed.incremental_unassign(&list)
        {
            warn!(topic = self.topic, partition, %error, "reader: unassign failed");
        }
    }

    /// Moves the partitions that wait on; sends a few small requests, none while all are being read.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let mut ready = TopicPartitionList::new();
        for (partition, phase) in &mut self.partitions {
            let ends = |client| watermarks::fetch(client, &self.topic, *partition, QUERY_TIMEOUT);
            let target = match *phase {
                Phase::Unstable { target, looked_at }
                    if now.duration_since(looked_at) >= STABLE_PAUSE =>
                {
                    target
                }
                Phase::Asked => {
                    // Without an answer the broker is away; the caller's deadline bounds how often this is tried.
                    let Ok((_, high)) = ends(&self.uncommitted) else {
                        break;
                    };
                    high
                }
                Phase::Unstable { .. } | Phase::Reading { .. } | Phase::Done { .. } => continue,
            };
            match ends(&self.committed) {
                Ok((low, stable)) if stable >= target => {
                    add_beginning(&mut ready, &self.topic, *partition);
                    *phase = Phase::Reading {
                        from: low,
                        at: low,
                        target,
                    };
                }
                Ok(_) => {
                    *phase = Phase::Unstable {
                        target,
                        looked_at: Instant::now(),
                    }
                }
                Err(_) => break,
            }
        }
        // All at once, so that one fetch asks for all of them.
        if ready.count() > 0
            && let Err(error) = self.committed.incremental_assign(&ready)
        {
            warn!(topic = self.topic, %error, "reader: assign failed");
            for element in ready.elements() {
                self.partitions.insert(element.partition(), Phase::Asked);
            }
        }
    }

    /// The next record or end of a partition, if one is there already.
    pub(super) fn poll(&mut self, timeout: Duration) -> Option<Read<'_>> {
        // EOF names only the partition, which is why one reader reads one topic.
        match self.committed.poll(timeout)? {
            Ok(record) => {
                if let Some(Phase::Reading { at, .. }) =
                    self.partitions.get_mut(&record.partition())
                {
                    *at = record.offset() + 1;
                }
                Some(Read::Record(record))
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                let phase = self.partitions.get_mut(&partition)?;
                if let Phase::Reading { from, target, .. } = *phase {
                    *phase = Phase::Done {
                        all: offsets(from, target),
                    };
                    return Some(Read::CaughtUp);
                }
                None
            }
            Err(error) => {
                tracing::debug!(topic = self.topic, %error, "reader");
                None
            }
        }
    }
}

fn offsets(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}

fn add_beginning(list: &mut TopicPartitionList, topic: &str, partition: i32) {
    if let Err(error) = list.add_partition_offset(topic, partition, Offset::Beginning) {
        warn!(topic, partition, %error, "reader: offset refused");
    }
}
