//! Consume, transform, produce: exactly once.
//!
//! Outputs, state changes and input offsets commit in one transaction (KIP-447); consumers read committed records only.
//! A crash, a rebalance or an abort therefore changes when something is written, never what.
//!
//! Each worker is one thread with a consumer, a producer and a [`Stage`] of its own. One round polls records, applies
//! them, and commits when the input is drained or the commit interval is over, whichever comes first.

mod core;
mod metadata;
pub(crate) mod native;
mod producer;
mod reader;
mod recovery;
mod restore;
mod snapshot;
mod takeover;
mod worker;

use crate::config::InvalidConfig;
use crate::coordinator::{CONNECT_TO_ALL, IDLE_MARGIN_MS};
use crate::stall::STATISTICS_INTERVAL_MS;
use crate::{App, Error, Gate, KafkaConfig, Stage};
use producer::Deadlines;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::{info, warn};
use worker::Worker;

/// Which topics a stage reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The topic whose records are processed.
    pub input: String,
    /// The topics it writes; [`crate::Output`] is a place in this list. Partition counts must divide the input's.
    pub outputs: Vec<String>,
    /// The compacted topic that holds its state; as many partitions as the input.
    pub changelog: Option<String>,
    /// A compacted topic that it looks things up in; its partition count must divide the input's, and a key must stand
    /// in the input's partition modulo that count.
    pub table: Option<String>,
}

/// `[pipeline]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Threads, each with a consumer and a producer of its own.
    pub workers: usize,
    /// Milliseconds until a transaction is committed at the latest; a drained input commits at once.
    pub commit_interval_ms: u64,
    /// Records until a transaction is committed at the latest.
    pub max_transaction_records: usize,
    /// Milliseconds without a record until a partition counts as idle; 0 turns it off.
    pub idle_after_ms: u64,
    /// `transaction.timeout.ms`: how long a dead instance's open transaction can hold readers back.
    pub transaction_timeout_ms: u64,
    /// Milliseconds a restore may take before the service gives up and exits.
    pub restore_deadline_ms: u64,
    /// `compression.type` of what is produced. Other than the topic's own makes the broker compress again.
    pub compression: String,
    /// What to do when retention removed records before they were read.
    pub on_lost_input: LostInput,
    /// KiB of fetched records that a worker holds ready.
    pub fetch_queue_kib: usize,
    /// When state changes go to the changelog.
    pub state: StateMode,
    /// With `state = "rolling"`: milliseconds between two snapshots of a partition, which is also how much input a new
    /// owner may have to replay after a crash.
    pub snapshot_interval_ms: u64,
}

/// When state changes go to the changelog. It can be changed at any restart: what was committed in one mode is read in
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// With each commit. A new owner reads the changelog and goes on.
    EveryCommit,
    /// Each partition in its turn, once in a snapshot interval, with each changed key once. After a crash a new owner
    /// also replays the input since the last snapshot, its outputs muted; after an orderly stop there is nothing to
    /// replay. For state that changes faster than the broker should write: beyond about 100,000 keys.
    Rolling,
}

/// What to do when the committed offset is below the log's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostInput {
    /// Exit, and say how much is lost.
    Stop,
    /// Go on with the oldest record there is.
    Earliest,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            commit_interval_ms: 100,
            max_transaction_records: 50_000,
            idle_after_ms: 0,
            transaction_timeout_ms: 10_000,
            restore_deadline_ms: 120_000,
            compression: "snappy".to_owned(),
            on_lost_input: LostInput::Stop,
            fetch_queue_kib: 8_192,
            state: StateMode::EveryCommit,
            snapshot_interval_ms: 30_000,
        }
    }
}

impl PipelineConfig {
    /// Checks what types can't say; `section` is the path of this block in the configuration.
    pub fn validate(&self, section: &str) -> Result<(), InvalidConfig> {
        let invalid =
            |key: &str, reason: &str| Err(InvalidConfig::new(format!("{section}.{key}"), reason));
        if !(1..=64).contains(&self.workers) {
            return invalid("workers", "must be 1 to 64");
        }
        if !(1..=10_000).contains(&self.commit_interval_ms) {
            return invalid("commit_interval_ms", "must be 1 to 10000");
        }
        if self.max_transaction_records == 0 {
            return invalid("max_transaction_records", "must be at least 1");
        }
        if self.idle_after_ms != 0 && self.idle_after_ms < 100 {
            return invalid("idle_after_ms", "must be 0 (off) or at least 100");
        }
        if self.transaction_timeout_ms < 2_000
            || self.transaction_timeout_ms < 2 * self.commit_interval_ms
        {
            return invalid(
                "transaction_timeout_ms",
                "must be at least 2000 and twice commit_interval_ms",
            );
        }
        if self.restore_deadline_ms < 1_000 {
            return invalid("restore_deadline_ms", "must be at least 1000");
        }
        if !["none", "gzip", "snappy", "lz4", "zstd"].contains(&self.compression.as_str()) {
            return invalid("compression", "must be none, gzip, snappy, lz4 or zstd");
        }
        if !(256..=1_048_576).contains(&self.fetch_queue_kib) {
            return invalid("fetch_queue_kib", "must be 256 to 1048576");
        }
        if !(100..=3_600_000).contains(&self.snapshot_interval_ms) {
            return invalid("snapshot_interval_ms", "must be 100 to 3600000");
        }
        Ok(())
    }
}

/// How long a worker may be without progress before the process is ended: longer than every deadline of ours, so that
/// only a call that never returns gets here.
const HANG_DEADLINE: Duration = Duration::from_secs(90);
/// Pause between looks at the heartbeats.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a topic may be missing at start, since metadata of a topic made just now takes a moment to spread.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to serve what is there, and not felt at the start.
const SERVE_EVENTS: Duration = Duration::from_millis(5);

/// Runs `topology` with a stage for each worker until `app` shuts down. Waits for Kafka where it is away.
pub async fn run<S: Stage>(
    app: &App,
    kafka: &KafkaConfig,
    pipeline: &PipelineConfig,
    topology: Topology,
    stage: impl Fn() -> S + Send + 'static,
) -> Result<(), Error> {
    let gate = app.gate("kafka");
    // All of them before one opens: a service is not ready between two of its conditions.
    let gates: Vec<(String, Gate)> = (0..pipeline.workers)
        .map(|number| {
            let name = format!("worker-{number}");
            let gate = app.gate(&name);
            (name, gate)
        })
        .collect();
    let service = app.service().name;
    let probe_config = kafka.client(&format!("{service}-probe"));
    let heartbeat = app.heartbeat("connect", HANG_DEADLINE);
    let (probe_topology, shutdown) = (topology.clone(), app.shutdown());
    // librdkafka's calls block; they stay off the runtime's own threads.
    let counted = tokio::task::spawn_blocking(move || {
        let result = Partitions::find(&probe_config, &probe_topology, |reason| {
            heartbeat.beat();
            gate.close(reason);
            shutdown.is_cancelled()
        });
        gate.open();
        result
    })
    .await
    .map_err(|error| Error::internal(format!("connect: {error}")))??;
    let Some(partitions) = counted else {
        return Ok(());
    };
    partitions.check(&topology)?;

    let (ended, mut results) = mpsc::channel(pipeline.workers);
    for (number, (name, gate)) in gates.into_iter().enumerate() {
        let settings = Arc::new(Settings::new(
            service,
            kafka,
            pipeline,
            &topology,
            &partitions,
            number,
        ));
        let worker = Worker::new(
            settings,
            stage(),
            app.heartbeat(&name, HANG_DEADLINE),
            gate,
            app.shutdown(),
        )?;
        let ended = ended.clone();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let result = worker.run();
                // The receiver is gone only when the process is on its way out.
                drop(ended.blocking_send(result));
            })
            .map_err(|error| Error::internal(format!("thread: {error}")))?;
    }
    drop(ended);
    let mut first_error = None;
    loop {
        tokio::select! {
            result = results.recv() => match result {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    // The other workers finish what they have; then the process goes.
                    first_error.get_or_insert(error);
                    app.shutdown().cancel();
                }
                None => break,
            },
            () = tokio::time::sleep(WATCH_INTERVAL) => {
                if let Some((name, age)) = app.overdue().into_iter().next() {
                    return Err(Error::temporary(format!(
                        "{name}: a call into the Kafka client has not returned for {} s",
                        age.as_secs()
                    )));
                }
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Partition counts of the topics of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partitions {
    input: i32,
    outputs: Vec<i32>,
    changelog: Option<i32>,
    table: Option<i32>,
}

impl Partitions {
    /// Asks the broker, for as long as it is away. None when told to stop meanwhile.
    fn find(
        client: &ClientConfig,
        topology: &Topology,
        mut waiting: impl FnMut(&str) -> bool,
    ) -> Result<Option<Self>, Error> {
        let signs = producer::Signs::default();
        let consumer: BaseConsumer<producer::Signs> =
            rdkafka::config::FromClientConfigAndContext::from_config_and_context(
                client,
                signs.clone(),
            )
            .map_err(|error| Error::config(format!("kafka: {error}")))?;
        let mut said = false;
        let mut reached: Option<Instant> = None;
        loop {
            // Serves all of the client's events, of which errors alone tell of a wrong password. Without a wait a poll
            // serves one, and while Kafka is away more come than are asked for.
            while consumer.poll(SERVE_EVENTS).is_some() {}
            if signs.authentication_failed() {
                return Err(recovery::authentication_failed());
            }
            match Self::ask(&consumer, topology) {
                Ok(found) => {
                    if said {
                        info!("Kafka is there");
                    }
                    return Ok(Some(found));
                }
                Err(_) if signs.authentication_failed() => {
                    return Err(recovery::authentication_failed());
                }
                Err(Missing::Kafka(reason)) => {
                    reached = None;
                    if !said {
                        warn!(reason, "Kafka is not there yet; waiting for it");
                        said = true;
                    }
                    if waiting("Kafka is not there yet") {
                        return Ok(None);
                    }
                }
                Err(Missing::Right(topic)) => {
                    return Err(Error::permission(format!(
                        "no right to describe topic {topic}"
                    )));
                }
                Err(Missing::Topic(topic)) => {
                    if reached.get_or_insert_with(Instant::now).elapsed() >= TOPIC_PATIENCE {
                        return Err(Error::unavailable(format!(
                            "topic {topic} is not there; create it first"
                        )));
                    }
                    if waiting(&format!("topic {topic} is not there")) {
                        return Ok(None);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn ask(consumer: &BaseConsumer<producer::Signs>, topology: &Topology) -> Result<Self, Missing> {
        let count = |topic: &str| -> Result<i32, Missing> {
            let metadata = consumer
                .fetch_metadata(Some(topic), Duration::from_secs(1))
                .map_err(|error| Missing::Kafka(error.to_string()))?;
            let found = metadata
                .topics()
                .iter()
                .find(|found| found.name() == topic)
                .ok_or_else(|| Missing::Topic(topic.to_owned()))?;
            match found.error().map(Code::from) {
                None => {}
                Some(Code::TopicAuthorizationFailed) => {
                    return Err(Missing::Right(topic.to_owned()));
                }
                Some(_) => return Err(Missing::Topic(topic.to_owned())),
            }
            i32::try_from(found.partitions().len())
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Missing::Topic(topic.to_owned()))
        };
        let optional = |topic: &Option<String>| topic.as_deref().map(count).transpose();
        Ok(Self {
            input: count(&topology.input)?,
            outputs: topology
                .outputs
                .iter()
                .map(|topic| count(topic))
                .collect::<Result<_, _>>()?,
            changelog: optional(&topology.changelog)?,
            table: optional(&topology.table)?,
        })
    }

    /// State and order are tied to partition counts; refuse what would silently break them.
    fn check(&self, topology: &Topology) -> Result<(), Error> {
        let input = self.input;
        if let (Some(n), Some(topic)) = (self.changelog, &topology.changelog)
            && n != input
        {
            return Err(Error::data(format!(
                "changelog {topic} has {n} partitions, input {} has {input}: the state was built for another partition \
                 count. Partitions can't be added to topics with state; make a new generation of topics",
                topology.input
            )));
        }
        let others = topology
            .outputs
            .iter()
            .zip(&self.outputs)
            .map(|(topic, n)| (topic, *n))
            .chain(topology.table.iter().zip(self.table));
        for (topic, n) in others {
            if input % n != 0 {
                return Err(Error::data(format!(
                    "topic {topic} has {n} partitions, which does not divide the {input} of {}: the order of a key would be lost",
                    topology.input
                )));
            }
        }
        Ok(())
    }
}

enum Missing {
    Kafka(String),
    Topic(String),
    Right(String),
}

/// What one worker is made from.
#[derive(Debug)]
struct Settings {
    service: &'static str,
    kafka: KafkaConfig,
    pipeline: PipelineConfig,
    topology: Topology,
    output_partitions: Vec<i32>,
    table_partitions: i32,
    group: String,
    worker: usize,
    commit_interval: Duration,
    max_transaction_records: usize,
    idle_after: Option<Duration>,
    restore_deadline: Duration,
    lost_input: LostInput,
    deadlines: Deadlines,
}

impl Settings {
    fn new(
        service: &'static str,
        kafka: &KafkaConfig,
        pipeline: &PipelineConfig,
        topology: &Topology,
        partitions: &Partitions,
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
            commit_interval: Duration::from_millis(pipeline.commit_interval_ms),
            max_transaction_records: pipeline.max_transaction_records,
            idle_after: (pipeline.idle_after_ms > 0)
                .then(|| Duration::from_millis(pipeline.idle_after_ms)),
            restore_deadline: Duration::from_millis(pipeline.restore_deadline_ms),
            lost_input: pipeline.on_lost_input,
            deadlines: Deadlines {
                suspicious: Duration::from_millis(u64::from(kafka.socket_timeout_ms) / 2),
                give_up: Duration::from_millis(pipeline.transaction_timeout_ms),
            },
        }
    }

    fn instance(&self) -> String {
        format!("{}-{}", self.kafka.instance(), self.worker)
    }

    /// The transaction in words.
    fn subject(&self) -> String {
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
    fn metadata(&self, applied: Option<i64>) -> String {
        metadata::Metadata {
            transactional_id: &self.transactional_id(),
            client_id: &self.client_id("consumer"),
            applied,
        }
        .encode()
    }

    /// Changes are gathered for snapshots.
    fn is_rolling(&self) -> bool {
        self.pipeline.state == StateMode::Rolling && self.topology.changelog.is_some()
    }

    fn snapshot_interval(&self) -> Duration {
        Duration::from_millis(self.pipeline.snapshot_interval_ms)
    }

    /// When the first snapshot of a partition assigned at `now` is due: each in its turn, so that they don't come all
    /// in one transaction.
    fn first_snapshot(&self, partition: i32, now: Instant) -> Instant {
        const TURNS: u32 = 32;
        now + self.snapshot_interval() * (partition.unsigned_abs() % TURNS + 1) / TURNS
    }

    fn transactional_id(&self) -> String {
        format!("{}-{}", self.group, self.instance())
    }

    fn client_id(&self, role: &str) -> String {
        format!("{}-{}-{role}", self.service, self.instance())
    }

    fn client(&self, role: &str) -> ClientConfig {
        self.kafka.client(&self.client_id(role))
    }

    fn consumer(&self) -> ClientConfig {
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
            ("retry.backoff.max.ms", "100"),
            ("queued.max.messages.kbytes", &queue),
            // The default of 50 MB is what one answer may bring, and is then held decompressed.
            ("fetch.max.bytes", "4000000"),
            ("statistics.interval.ms", STATISTICS_INTERVAL_MS),
        ];
        for (key, value) in defaults {
            if config.get(key).is_none() {
                config.set(key, value);
            }
        }
        self.kafka.set_membership(&mut config, &self.instance());
        config
    }

    fn producer(&self) -> ClientConfig {
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
        for (key, value) in defaults {
            if config.get(key).is_none() {
                config.set(key, value);
            }
        }
        config
    }
}

pub(crate) fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "chassis_records_consumed_total",
        "Input records whose transaction was committed."
    );
    describe_counter!(
        "chassis_records_produced_total",
        "Output records sent, those of aborted transactions included."
    );
    describe_counter!(
        "chassis_changelog_records_total",
        "State changes sent, those of aborted transactions included."
    );
    describe_counter!("chassis_transactions_total", "Transactions by outcome.");
    describe_counter!(
        "chassis_producer_rebuilds_total",
        "Producers rebuilt after a slow, failed or fenced transaction."
    );
    describe_counter!(
        "chassis_rebalances_total",
        "Rebalances by kind: assigned, revoked, lost."
    );
    describe_counter!(
        "chassis_restore_records_total",
        "Changelog records read to restore state."
    );
    describe_counter!(
        "chassis_replayed_records_total",
        "Input records processed again after a crash to bring state on, with outputs muted (state = rolling)."
    );
    describe_gauge!(
        "chassis_replaying_partitions",
        "Partitions whose input is being replayed."
    );
    describe_gauge!(
        "chassis_restore_remaining_records",
        "Offsets of changelog and table that a restore has still to read."
    );
    describe_histogram!(
        "chassis_commit_duration_seconds",
        "Time from the decision to commit to its end, in seconds."
    );
    describe_histogram!(
        "chassis_restore_duration_seconds",
        "Time from assignment to the first record, in seconds."
    );
    describe_gauge!(
        "chassis_assigned_partitions",
        "Partitions assigned to a worker."
    );
    describe_gauge!(
        "chassis_restoring_partitions",
        "Partitions assigned to a worker whose state is not there yet."
    );
    describe_gauge!(
        "chassis_consumer_lag_records",
        "High watermark less position; it counts transaction markers too."
    );
    describe_gauge!(
        "chassis_state_entries",
        "Entries in the state of a worker's partitions."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology {
            input: "in".to_owned(),
            outputs: vec!["out".to_owned()],
            changelog: Some("changelog".to_owned()),
            table: Some("table".to_owned()),
        }
    }

    #[test]
    fn partition_counts_that_would_break_state_or_order_are_refused() {
        let check = |input, output, changelog, table| {
            Partitions {
                input,
                outputs: vec![output],
                changelog: Some(changelog),
                table: Some(table),
            }
            .check(&topology())
            .map_err(|error| error.to_string())
        };
        assert_eq!(check(32, 8, 32, 16), Ok(()));
        assert!(
            check(64, 8, 32, 16)
                .unwrap_err()
                .contains("changelog has 32 partitions, input in has 64")
        );
        assert!(
            check(32, 12, 32, 16)
                .unwrap_err()
                .contains("topic out has 12 partitions")
        );
        assert!(
            check(32, 8, 32, 64)
                .unwrap_err()
                .contains("topic table has 64 partitions")
        );
    }
}
