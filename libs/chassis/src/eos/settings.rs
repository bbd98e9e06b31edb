//! What one worker is made from, its clients' settings included.

use super::metadata::Metadata;
use super::partition_counts::PartitionCounts;
use super::producer::Deadlines;
use super::{PipelineConfig, StateMode, Topology};
use crate::KafkaConfig;
use crate::coordinator::{CONNECT_TO_ALL, IDLE_MARGIN_MS};
use crate::stall::STATISTICS_INTERVAL_MS;
use rdkafka::ClientConfig;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::time::{Duration, Instant};

/// What one worker is made from.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) service: &'static str,
    pub(super) kafka: KafkaConfig,
    pub(super) pipeline: PipelineConfig,
    pub(super) topology: Topology,
    pub(super) output_partitions: Vec<i32>,
    pub(super) table_partitions: i32,
    pub(super) group: String,
    pub(super) worker: usize,
    pub(super) idle_after: Option<Duration>,
    pub(super) restore_deadline: Duration,
    pub(super) deadlines: Deadlines,
}

impl Settings {
    pub(super) fn new(
        service: &'static str,
        kafka: &KafkaConfig,
        pipeline: &PipelineConfig,
        topology: &Topology,
        partitions: &PartitionCounts,
        worker: usize,
    ) -> Self {
        Self {
            service,
            kafka: kafka.clone(),
            pipeline: pipeline.clone(),
            topology: topology.clone(),
            output_partitions: partitions.outputs.clone(),
            table_partitions: partitions.table.unwrap_or(1),
            group: kafka.group(service).to_owned(),
            worker,
            idle_after: (pipeline.idle_after_ms > 0)
                .then(|| Duration::from_millis(pipeline.idle_after_ms)),
            restore_deadline: Duration::from_millis(pipeline.restore_deadline_ms),
            deadlines: Deadlines {
                suspicious: Duration::from_millis(u64::from(kafka.socket_timeout_ms) / 2),
                give_up: Duration::from_millis(pipeline.transaction_timeout_ms),
            },
        }
    }

    pub(super) fn instance(&self) -> String {
        format!("{}-{}", self.kafka.instance(), self.worker)
    }

    /// The transaction in words.
    pub(super) fn subject(&self) -> String {
        let topology = &self.topology;
        let written: Vec<&str> = topology
            .outputs
            .iter()
            .chain(&topology.changelog)
            .map(String::as_str)
            .collect();
        format!(
            "transaction {}: topic {} to {}",
            self.transactional_id(),
            topology.input,
            written.join(", ")
        )
    }

    /// What goes with a committed offset of a partition whose changelog holds the state as of `applied`, if that is
    /// not the state at the offset itself.
    pub(super) fn metadata(&self, applied: Option<i64>) -> String {
        Metadata {
            transactional_id: &self.transactional_id(),
            client_id: &self.client_id("consumer"),
            applied,
        }
        .encode()
    }

    /// Changes are gathered for snapshots.
    pub(super) fn is_rolling(&self) -> bool {
        self.pipeline.state == StateMode::Rolling && self.topology.changelog.is_some()
    }

    pub(super) fn snapshot_interval(&self) -> Duration {
        Duration::from_millis(self.pipeline.snapshot_interval_ms)
    }

    /// When the first snapshot of a partition assigned at `now` is due: each in its turn, so that they don't come all
    /// in one transaction.
    pub(super) fn first_snapshot(&self, partition: i32, now: Instant) -> Instant {
        const TURNS: u32 = 32;
        now + self.snapshot_interval() * (partition.unsigned_abs() % TURNS + 1) / TURNS
    }

    pub(super) fn transactional_id(&self) -> String {
        format!("{}-{}", self.group, self.instance())
    }

    pub(super) fn client_id(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.service, self.instance())
    }

    /// Partitions of the input as the client names them.
    pub(super) fn input_list(&self, numbers: impl IntoIterator<Item = i32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for number in numbers {
            list.add_partition(&self.topology.input, number);
        }
        list
    }

    pub(super) fn client(&self, role: &str) -> ClientConfig {
        self.kafka.client(&self.client_id(role))
    }

    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client("consumer");
        let queue = self.pipeline.fetch_queue_kib.to_string();
        let defaults = [
            ("group.id", self.group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("fetch.wait.max.ms", "100"),
            // The default of a second leaves gaps when the queue is small.
            ("fetch.queue.backoff.ms", "20"),
            // An offset that a transaction holds back is asked for again; the pauses would double up to a second.
            ("retry.backoff.ms", "20"),
            ("retry.backoff.max.ms", "100"),
            ("queued.max.messages.kbytes", &queue),
            // The default of 50 MB is what one answer may bring, and is then held decompressed.
            ("fetch.max.bytes", "4000000"),
            ("statistics.interval.ms", STATISTICS_INTERVAL_MS),
        ];
        set_missing(&mut config, &defaults);
        self.kafka.set_membership(&mut config, &self.instance());
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client("producer");
        let transactional_id = self.transactional_id();
        let timeout = self.pipeline.transaction_timeout_ms.to_string();
        let max_idle = (self.kafka.socket_timeout_ms + IDLE_MARGIN_MS).to_string();
        let defaults = [
            ("transactional.id", transactional_id.as_str()),
            ("transaction.timeout.ms", &timeout),
            ("compression.type", &self.pipeline.compression),
            // A commit flushes at once, so that lingering costs no latency and makes large batches at full speed.
            ("linger.ms", "20"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.kbytes", "16384"),
            ("delivery.report.only.error", "true"),
            // After a commit the first requests of the next transaction are refused until its markers are written; the
            // default pause of 100 ms would become the price of every transaction.
            ("retry.backoff.ms", "5"),
            ("connections.max.idle.ms", &max_idle),
            CONNECT_TO_ALL,
        ];
        set_missing(&mut config, &defaults);
        config
    }
}

/// What `kafka.properties` sets stays.
fn set_missing(config: &mut ClientConfig, defaults: &[(&str, &str)]) {
    for (key, value) in defaults {
        if config.get(key).is_none() {
            config.set(*key, *value);
        }
    }
}
