//! One worker: a consumer and the loop that drives its [`Tasks`].
//!
//! Everything that can change during a rebalance lives in [`Tasks`], behind a mutex that the rebalance callback takes.
//! The callback runs on this worker's own thread, inside `poll`, so that the mutex is never contended; it must not be
//! held while the consumer is polled or dropped.

use super::meters::Meters;
use super::pace::{Arrival, Pace};
use super::partition::Phase;
use super::producer::{Producer, Signs};
use super::reader::Reader;
use super::recovery::{self, ConsumerTrouble, Recovery};
use super::settings::Settings;
use super::tasks::Tasks;
use crate::stage::{Changelog, Outbox, Stage};
use crate::stall::Stalls;
use crate::standby::Standby;
use crate::{Error, Gate, Heartbeat, resume};
use rdkafka::Statistics;
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long a poll waits for a record when there is nothing else to do.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long it waits while state is being restored.
const RESTORE_POLL_WAIT: Duration = Duration::from_millis(1);
/// Time for records before a restore gets its next turn.
const RESTORE_SLICE: Duration = Duration::from_millis(10);
/// The clock is looked at once for so many records.
const CLOCK_STRIDE: usize = 64;
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at what only metrics and idle partitions need.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);
/// Idle partitions that are confirmed in one round, so that a round stays short.
const IDLE_CHECKS_PER_ROUND: usize = 16;

/// The group consumer's context.
pub(super) struct Group<S: Stage> {
    tasks: Mutex<Tasks<S>>,
    signs: Signs,
    stalls: Arc<Stalls>,
}

impl<S: Stage> Group<S> {
    fn lock(&self) -> MutexGuard<'_, Tasks<S>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Stage> ClientContext for Group<S> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.signs.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.signs.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.stalls.note(Instant::now(), &statistics);
    }
}

impl<S: Stage> ConsumerContext for Group<S> {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RespErr,
        list: &mut TopicPartitionList,
    ) {
        let mut tasks = self.lock();
        let result = if event == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tasks.assigned(list);
            consumer
                .incremental_assign(list)
                .and_then(|()| consumer.pause(list))
        } else {
            tasks.revoked(consumer, list);
            consumer.incremental_unassign(list)
        };
        let held = tasks.partitions.keys().copied();
        resume::wake(consumer, tasks.settings.input_list(held));
        if let Err(error) = result
            && tasks.failure.is_none()
        {
            tasks.failure = Some(Error::temporary(format!("rebalance: {error}")));
        }
    }
}

pub(super) struct Worker<S: Stage> {
    consumer: BaseConsumer<Group<S>>,
    settings: Arc<Settings>,
    heartbeat: Arc<Heartbeat>,
    gate: Gate,
    shutdown: CancellationToken,
    /// Kafka is away, and it was said.
    away: bool,
    standby: Standby,
    housekeeping_due: Instant,
}

impl<S: Stage> Worker<S> {
    pub(super) fn new(
        settings: Arc<Settings>,
        stage: S,
        heartbeat: Heartbeat,
        gate: Gate,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let heartbeat = Arc::new(heartbeat);
        let stalls = Arc::new(Stalls::default());
        let reader = |topic: &Option<String>, watched: Option<&Arc<Stalls>>| {
            topic
                .as_deref()
                .map(|topic| Reader::new(&settings.client("reader"), topic, watched))
                .transpose()
        };
        let tasks = Tasks {
            stage,
            partitions: BTreeMap::new(),
            producer: Producer::new(
                settings.producer(),
                settings.subject(),
                settings.deadlines,
                Arc::clone(&heartbeat),
            ),
            changelog: reader(&settings.topology.changelog, None)?,
            table: reader(&settings.topology.table, Some(&stalls))?,
            outbox: Outbox::new(settings.output_partitions.clone()),
            source: String::new(),
            changes: Changelog::default(),
            rewind: false,
            in_doubt: false,
            pace: Pace::new(&settings.pipeline, Instant::now()),
            now: Instant::now(),
            fenced: Vec::new(),
            stood: BTreeMap::new(),
            signing_off: false,
            failure: None,
            meters: Meters::new(&settings),
            settings: Arc::clone(&settings),
        };
        let group = Group {
            tasks: Mutex::new(tasks),
            signs: Signs::default(),
            stalls,
        };
        let consumer = BaseConsumer::from_config_and_context(&settings.consumer(), group)
            .map_err(|error| Error::config(format!("kafka: {error}")))?;
        Ok(Self {
            consumer,
            settings,
            heartbeat,
            gate,
            shutdown,
            away: false,
            standby: Standby::default(),
            housekeeping_due: Instant::now(),
        })
    }

    /// Works until told to stop, then commits what is whole and leaves the group.
    pub(super) fn run(mut self) -> Result<(), Error> {
        // The transactional id is taken before the group is joined: whatever a predecessor left open is aborted before
        // this member reads an offset or a changelog.
        while !self.tasks().producer.connect()? {
            if self.pause_while_away("no answer to init_transactions") {
                return Ok(());
            }
        }
        self.consumer
            .subscribe(&[&self.settings.topology.input])
            .map_err(|error| Error::unavailable(format!("subscribe: {error}")))?;
        info!(
            worker = self.settings.worker,
            input = self.settings.topology.input,
            group = self.settings.group,
            "joining the group"
        );
        while !self.shutdown.is_cancelled() {
            self.heartbeat.beat();
            self.turn()?;
        }
        self.gate.close("draining");
        self.tasks().prepare_to_leave(|_| true, true);
        let result = self.commit();
        if result.is_err() {
            self.tasks().undo();
        }
        self.leave();
        result
    }

    /// Leaves the group; the callback finds nothing staged. A client takes up to 100 ms to be closed, and a restart waits
    /// for that: all are closed at the same time.
    fn leave(self) {
        let (producer, changelog, table) = {
            let mut tasks = self.tasks();
            (
                tasks.producer.take(),
                tasks.changelog.take(),
                tasks.table.take(),
            )
        };
        std::thread::scope(|scope| {
            scope.spawn(|| drop(producer));
            for reader in [changelog, table].into_iter().flatten() {
                let (one, other) = reader.into_clients();
                scope.spawn(|| drop(one));
                scope.spawn(|| drop(other));
            }
            drop(self.consumer);
        });
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks<S>> {
        self.consumer.context().lock()
    }

    /// One round: records until the batch is full, due or drained; commit; state; housekeeping.
    fn turn(&mut self) -> Result<(), Error> {
        let stalls = &self.consumer.context().stalls;
        stalls.check(Instant::now()).map_err(Error::temporary)?;
        if !self.tasks().producer.connect()? {
            // Also a fresh producer after a suspect one: no record is touched before it stands.
            self.serve_group(POLL_WAIT)?;
            self.pause_while_away("no answer to init_transactions");
            return Ok(());
        }
        if !self.resolve_doubt() {
            return self.serve_group(POLL_WAIT);
        }
        self.rewind()?;
        let drained = self.process_batch()?;
        let due = {
            let mut tasks = self.tasks();
            tasks.gather_replayed();
            let now = Instant::now();
            tasks.producer.is_open() && tasks.pace.is_due(now, drained, tasks.arrival(now))
        };
        if due {
            self.commit()?;
        }
        self.advance_state()?;
        if Instant::now() >= self.housekeeping_due {
            self.housekeeping()?;
            self.housekeeping_due = Instant::now() + HOUSEKEEPING_INTERVAL;
        }
        let failure = self.tasks().failure.take();
        failure.map_or(Ok(()), Err)
    }

    /// Polls without the intention to process: paused partitions yield nothing, callbacks and errors are served.
    fn serve_group(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.consumer.poll(timeout) {
            None => Ok(()),
            Some(Ok(record)) => {
                let (partition, offset) = (record.partition(), record.offset());
                drop(record);
                self.tasks().leave(partition, offset);
                Ok(())
            }
            Some(Err(error)) => self.consumer_error(&error),
        }
    }

    /// Processes records; true when nothing was left to read.
    fn process_batch(&mut self) -> Result<bool, Error> {
        let started = Instant::now();
        let mut tasks = self.tasks();
        tasks.now = started;
        let (mut timeout, slice) = if tasks.arrival(started) > Arrival::Over {
            (RESTORE_POLL_WAIT, RESTORE_SLICE)
        } else {
            let patience = tasks.pace.patience(started, POLL_WAIT);
            (patience, tasks.pace.interval)
        };
        drop(tasks);
        let mut polled = 0_usize;
        loop {
            let (outcome, rewind) = match self.consumer.poll(timeout) {
                None => return Ok(true),
                Some(Ok(record)) => {
                    let mut tasks = self.consumer.context().lock();
                    let outcome = tasks.process(&record);
                    (outcome, tasks.rewind)
                }
                Some(Err(error)) => {
                    self.consumer_error(&error)?;
                    (Ok(()), self.tasks().rewind)
                }
            };
            if let Err(recovery) = outcome {
                self.recover(recovery)?;
                return Ok(false);
            }
            timeout = Duration::ZERO;
            polled += 1;
            if rewind || polled >= self.settings.pipeline.max_transaction_records {
                return Ok(false);
            }
            if polled.is_multiple_of(CLOCK_STRIDE) {
                let now = Instant::now();
                if now.duration_since(started) >= slice {
                    return Ok(false);
                }
                self.tasks().now = now;
            }
        }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let result = {
            let mut tasks = self.tasks();
            tasks.commit(&self.consumer)
        };
        match result {
            Ok(()) => {
                self.back();
                Ok(())
            }
            Err(recovery) => self.recover(recovery),
        }
    }

    /// Undoes the transaction and brings consumer and producer to where they can go on.
    fn recover(&mut self, recovery: Recovery) -> Result<(), Error> {
        {
            let mut tasks = self.tasks();
            tasks.give_up_transaction(recovery)?;
        }
        self.rewind()
    }

    /// Finds out whether a commit without an answer took effect; true when there is no doubt (any more). The fresh
    /// producer has ended the old transaction either way, and the group's offsets moved only if it was committed.
    fn resolve_doubt(&self) -> bool {
        let wanted = {
            let mut tasks = self.tasks();
            if !tasks.in_doubt {
                return true;
            }
            tasks.dirty_list()
        };
        if wanted.count() == 0 {
            // Whatever was in doubt has been given away with its partitions.
            return self.tasks().settle(&wanted);
        }
        let answer = self.consumer.committed_offsets(wanted, QUERY_TIMEOUT);
        answer.is_ok_and(|committed| self.tasks().settle(&committed))
    }

    /// Brings retained partitions back to their committed offsets, if an abort asked for it.
    fn rewind(&mut self) -> Result<(), Error> {
        let list = {
            let mut tasks = self.tasks();
            if !tasks.rewind || tasks.in_doubt {
                return Ok(());
            }
            tasks.rewind = false;
            tasks.rewind_list()
        };
        if list.count() == 0 {
            return Ok(());
        }
        debug!(
            partitions = list.count(),
            "rewinding to the committed offsets"
        );
        let sought = self.consumer.seek_partitions(list, QUERY_TIMEOUT);
        let failed = match &sought {
            Ok(results) => results
                .elements()
                .iter()
                .any(|element| element.error().is_err()),
            Err(_) => true,
        };
        if failed {
            // The partitions may have moved in between; if they did not, the next round tries again.
            self.tasks().rewind = true;
            self.serve_group(RESTORE_POLL_WAIT)?;
        }
        Ok(())
    }

    /// Moves restores and tables on, and starts the partitions that are ready.
    fn advance_state(&mut self) -> Result<(), Error> {
        let ready = {
            let mut tasks = self.tasks();
            tasks.read_tables_and_changelogs()?;
            if tasks.restoring() > 0 {
                tasks.find_start_offsets(&self.consumer)?;
                tasks.start_ready_partitions()?
            } else {
                Vec::new()
            }
        };
        if !ready.is_empty() {
            let list = self.settings.input_list(ready.iter().copied());
            self.rewind()?;
            self.consumer
                .resume(&list)
                .map_err(|error| Error::internal(format!("resume: {error}")))?;
            resume::wake(&self.consumer, list);
        }
        let unready = self.tasks().unready();
        if let Some(reason) = unready {
            self.gate.close(reason);
        } else if !ready.is_empty() {
            self.back();
            self.gate.open();
        }
        Ok(())
    }

    fn housekeeping(&mut self) -> Result<(), Error> {
        self.tasks().measure(&self.consumer);
        if self.away {
            // Nothing tells that the broker is back but an answer.
            if self.answers() {
                self.back();
            }
            return Ok(());
        }
        let (assigned, unready) = {
            let tasks = self.tasks();
            (tasks.partitions.len(), tasks.unready())
        };
        // More members than partitions: a standby is ready to take over, so it is ready.
        let is_standby = self
            .standby
            .look(Instant::now(), self.consumer.client(), assigned);
        if assigned == 0 && !is_standby {
            self.gate.close("no partition assigned yet");
        } else if unready.is_none() {
            self.gate.open();
        }
        if let Some(after) = self.settings.idle_after {
            self.confirm_idle(after)?;
        }
        Ok(())
    }

    /// Asks the broker whether quiet partitions really hold nothing unread, and tells the stage.
    fn confirm_idle(&mut self, after: Duration) -> Result<(), Error> {
        let quiet: Vec<i32> = {
            let tasks = self.tasks();
            tasks
                .partitions
                .iter()
                .filter(|(_, partition)| {
                    matches!(partition.phase, Phase::Running)
                        && partition.last_record.elapsed() >= after
                        && partition.last_idle.elapsed() >= after
                })
                .map(|(number, _)| *number)
                .take(IDLE_CHECKS_PER_ROUND)
                .collect()
        };
        let topic = self.settings.topology.input.clone();
        for number in quiet {
            // The clock is read before the broker is asked: whatever was appended before this instant is below the
            // high watermark of the answer.
            let now_ms = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                });
            let Ok((low, high)) = self
                .consumer
                .fetch_watermarks(&topic, number, QUERY_TIMEOUT)
            else {
                break;
            };
            let position = self.position(number);
            let outcome = {
                let mut tasks = self.tasks();
                let next = position.or_else(|| tasks.partitions.get(&number).and_then(|p| p.start));
                let read_to_end = next.map_or(low == high, |next| next >= high);
                if read_to_end {
                    tasks.idle(number, high, now_ms)
                } else {
                    Ok(())
                }
            };
            if let Err(recovery) = outcome {
                return self.recover(recovery);
            }
        }
        if self.tasks().producer.is_open() {
            self.commit()?;
        }
        Ok(())
    }

    fn position(&self, partition: i32) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        match positions
            .find_partition(&self.settings.topology.input, partition)?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn consumer_error(&mut self, error: &KafkaError) -> Result<(), Error> {
        if self.consumer.context().signs.authentication_failed() {
            return Err(recovery::authentication_failed());
        }
        match recovery::of_consumer(&self.settings.topology.input, &self.settings.group, error) {
            ConsumerTrouble::Ignore => Ok(()),
            ConsumerTrouble::Stop(stop) => Err(stop),
            ConsumerTrouble::Away(text) => {
                // The event may be old news by the time it is read; only a question without an answer is proof.
                if matches!(error.rdkafka_error_code(), Some(Code::AllBrokersDown))
                    && !self.answers()
                {
                    self.say_away(&text);
                } else {
                    debug!(reason = text, "consumer");
                }
                Ok(())
            }
        }
    }

    fn answers(&self) -> bool {
        self.consumer
            .fetch_metadata(Some(&self.settings.topology.input), QUERY_TIMEOUT)
            .is_ok()
    }

    fn say_away(&mut self, reason: &str) {
        if !self.away {
            self.away = true;
            warn!(reason, "Kafka is away; waiting for it");
        }
        self.gate.close(format!("Kafka is away: {reason}"));
    }

    fn back(&mut self) {
        if self.away {
            self.away = false;
            info!("Kafka is back");
        }
    }

    /// Waits a little; true when it is time to stop.
    fn pause_while_away(&mut self, reason: &str) -> bool {
        self.heartbeat.beat();
        self.say_away(reason);
        std::thread::sleep(Duration::from_millis(50));
        self.shutdown.is_cancelled()
    }
}
