//! A worker's tasks and the transaction that they are in: what its loop and its rebalance callback share.

use super::meters::Meters;
use super::pace::Pace;
use super::partition::{Partition, Phase, dirty};
use super::producer::Producer;
use super::reader::Reader;
use super::recovery::Recovery;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::takeover;
use super::worker::Group;
use crate::Error;
use crate::stage::{Changelog, HeaderSource, Headers, Outbox, Record, Stage, Task};
use metrics::{counter, gauge};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// So many fencings within the window mean that a twin is running, not that a transaction timed out.
const FENCED_LIMIT: usize = 5;
const FENCED_WINDOW: Duration = Duration::from_mins(1);

/// What the rebalance callback and the loop share.
pub(super) struct Tasks<S: Stage> {
    pub(super) stage: S,
    pub(super) partitions: BTreeMap<i32, Partition<S::Task>>,
    pub(super) producer: Producer,
    pub(super) changelog: Option<Reader>,
    pub(super) table: Option<Reader>,
    pub(super) outbox: Outbox,
    /// Where what is in the outbox came from; empty when no record caused it.
    pub(super) source: String,
    pub(super) changes: Changelog,
    pub(super) settings: Arc<Settings>,
    /// Retained partitions must go back to their committed offsets before the next record.
    pub(super) rewind: bool,
    /// The last commit's outcome is not known: no record is touched before the group's offsets tell.
    pub(super) in_doubt: bool,
    pub(super) pace: Pace,
    /// The time of this stretch of records; the clock is not read for each.
    pub(super) now: Instant,
    pub(super) fenced: Vec<Instant>,
    /// Next offset of each partition as of the last commit by this worker, also of those that it does not own any more.
    pub(super) stood: BTreeMap<i32, i64>,
    /// The next commit is this worker's last.
    pub(super) signing_off: bool,
    pub(super) failure: Option<Error>,
    pub(super) meters: Meters,
}

impl<S: Stage> Tasks<S> {
    // === rebalance ===

    pub(super) fn assigned(&mut self, list: &TopicPartitionList) {
        let now = Instant::now();
        for element in list.elements() {
            let number = element.partition();
            let task = self.stage.open(number);
            self.partitions.insert(
                number,
                Partition {
                    task,
                    phase: Phase::Restoring {
                        since: now,
                        outdated: false,
                    },
                    start: None,
                    next: None,
                    committed: None,
                    dirty: false,
                    skipped: false,
                    restored: 0,
                    snapshot: Snapshot::new(self.settings.first_snapshot(number, now)),
                    replay_until: 0,
                    replayed: false,
                    last_record: now,
                    last_idle: now,
                },
            );
            // It is asked for once the start offset is known, never before.
            if let Some(changelog) = &mut self.changelog {
                changelog.stop(number);
            }
            if let Some(table) = &mut self.table {
                table.ask(number % self.settings.table_partitions);
            }
        }
        if list.count() > 0 {
            takeover::begin(&self.settings, numbers(list));
        }
        counter!("chassis_rebalances_total", "kind" => "assigned").increment(1);
        self.meters.assigned.set(self.partitions.len() as f64);
        info!(partitions = ?numbers(list), "assigned");
    }

    /// The only place where work of a partition that is going away may still be committed; after it, none is left.
    pub(super) fn revoked(&mut self, consumer: &BaseConsumer<Group<S>>, list: &TopicPartitionList) {
        let is_lost = consumer.assignment_lost();
        if !is_lost {
            let leaving = numbers(list);
            self.prepare_to_leave(|number| leaving.contains(&number), false);
        }
        if self.producer.is_open() {
            // Lost: others own the partitions by now, and the coordinator does not check ownership. Only an abort is
            // right. Not lost: this member still owns them, and metadata read live carries the right generation.
            let result = if is_lost {
                Err(Recovery::Abort)
            } else {
                self.commit(consumer)
            };
            if let Err(recovery) = result
                && let Err(stop) = self.give_up_transaction(recovery)
            {
                self.failure.get_or_insert(stop);
            }
        }
        for element in list.elements() {
            let number = element.partition();
            self.partitions.remove(&number);
            if let Some(changelog) = &mut self.changelog {
                changelog.stop(number);
            }
            // The new owner reports its lag; a sum over instances must not count it twice.
            gauge!("chassis_consumer_lag_records", "topic" => self.settings.topology.input.clone(), "partition" => number.to_string())
                .set(0.0);
        }
        if let Some(table) = &mut self.table {
            let n = self.settings.table_partitions;
            for table_partition in numbers(list).into_iter().map(|number| number % n) {
                if !self
                    .partitions
                    .keys()
                    .any(|number| number % n == table_partition)
                {
                    table.stop(table_partition);
                    self.stage.forget_table(table_partition);
                }
            }
        }
        let kind = if is_lost { "lost" } else { "revoked" };
        counter!("chassis_rebalances_total", "kind" => kind).increment(1);
        self.meters.assigned.set(self.partitions.len() as f64);
        info!(partitions = ?numbers(list), lost = is_lost, "revoked");
    }

    // === records ===

    pub(super) fn process(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Recovery> {
        let (number, offset) = (message.partition(), message.offset());
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(());
        };
        if !matches!(partition.phase, Phase::Running) || self.rewind || self.in_doubt {
            partition.skipped = true;
            return Ok(());
        }
        // What a rewind left behind in the client's queue comes again in its turn.
        if partition.next.is_some_and(|next| offset < next) {
            return Ok(());
        }
        if offset < partition.replay_until {
            self.replay(message);
            return Ok(());
        }
        if partition.replayed {
            self.gather_replayed();
        }
        if let Err(recovery) = self.open_transaction() {
            // This record has left the client's queue, and no partition is dirty: only a rewind brings it back.
            self.rewind = true;
            return Err(recovery);
        }
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(());
        };
        self.outbox.set_input_partition(number);
        self.stage
            .process(&mut partition.task, &record(message), &mut self.outbox);
        if partition.committed.is_none() {
            partition.committed = Some(partition.start.unwrap_or(offset));
        }
        partition.next = Some(offset + 1);
        partition.dirty = true;
        partition.last_record = self.now;
        self.pace.processed();
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.source.clear();
        // Writing to a string does not fail.
        write!(self.source, "{}/{number}/{offset}", message.topic()).unwrap_or_default();
        self.send_staged()
    }

    /// Brings the state on by a record whose outputs are committed already.
    fn replay(&mut self, message: &BorrowedMessage<'_>) {
        let Some(partition) = self.partitions.get_mut(&message.partition()) else {
            return;
        };
        self.outbox.set_input_partition(message.partition());
        self.stage
            .process(&mut partition.task, &record(message), &mut self.outbox);
        self.outbox.clear();
        // An abort of other partitions' work finds nothing to undo here, and must not rewind behind the state.
        partition.next = Some(message.offset() + 1);
        partition.committed = partition.next;
        partition.replayed = true;
        partition.last_record = self.now;
        self.meters.replayed.increment(1);
    }

    /// What replayed records changed is as good as committed, but for the changelog.
    pub(super) fn gather_replayed(&mut self) {
        for partition in self
            .partitions
            .values_mut()
            .filter(|partition| partition.replayed)
        {
            self.changes.clear();
            partition.task.flush(&mut self.changes);
            partition.snapshot.absorb(&self.changes);
            partition.task.committed();
            partition.replayed = false;
        }
        self.changes.clear();
    }

    /// Before partitions are given away in order: makes the next commit bring their changelogs up to their offsets, so
    /// that nobody has to replay. Where that can't be, somebody replays.
    ///
    /// `for_good`: that commit is this worker's last. It names no committer, for whoever takes the partitions over has
    /// nothing to fence: a successor of the same name may have begun by then, and would be hit.
    pub(super) fn prepare_to_leave(&mut self, leaving: impl Fn(i32) -> bool, for_good: bool) {
        if self.in_doubt {
            return;
        }
        self.gather_replayed();
        self.signing_off = for_good;
        let rolling = self.settings.is_rolling();
        let concerned: Vec<i32> = self
            .partitions
            .iter()
            .filter(|(number, partition)| {
                let is_behind = rolling && (partition.dirty || partition.snapshot.is_behind());
                leaving(**number)
                    && (is_behind || (for_good && self.stood.contains_key(number)))
                    && partition
                        .next
                        .is_some_and(|next| next >= partition.replay_until)
            })
            .map(|(number, _)| *number)
            .collect();
        if concerned.is_empty() || self.open_transaction().is_err() {
            return;
        }
        let now = Instant::now();
        for number in concerned {
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.snapshot.hurry(now);
                partition.dirty = true;
            }
        }
    }

    pub(super) fn idle(&mut self, number: i32, high: i64, now_ms: i64) -> Result<(), Recovery> {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(());
        };
        partition.last_idle = Instant::now();
        self.outbox.set_input_partition(number);
        self.stage
            .idle(&mut partition.task, now_ms, &mut self.outbox);
        if self.outbox.is_empty() {
            return Ok(());
        }
        if let Err(recovery) = self.open_transaction() {
            self.outbox.clear();
            return Err(recovery);
        }
        // A transaction without an offset would not be fenced by the group's generation.
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(());
        };
        let next = partition.next.unwrap_or(high).max(high);
        if partition.committed.is_none() {
            partition.committed = Some(next);
        }
        partition.next = Some(next);
        partition.dirty = true;
        // No record caused it.
        self.source.clear();
        self.send_staged()
    }

    /// A record came while its partition may not be processed.
    pub(super) fn leave(&mut self, number: i32, offset: i64) {
        if let Some(partition) = self.partitions.get_mut(&number) {
            debug!(partition = number, offset, "left for later");
            if matches!(partition.phase, Phase::Running) {
                if partition.committed.is_none() {
                    partition.committed = Some(partition.start.unwrap_or(offset));
                }
                self.rewind = true;
            } else {
                partition.skipped = true;
            }
        }
    }

    pub(super) fn send_staged(&mut self) -> Result<(), Recovery> {
        let mut result = Ok(());
        for staged in self.outbox.staged() {
            let topic = &self.settings.topology.outputs[staged.output.0];
            let source = (!self.source.is_empty()).then_some(self.source.as_str());
            result = self
                .producer
                .send(topic, staged.partition, staged.key, staged.value, source);
            if result.is_err() {
                break;
            }
            self.meters.produced[staged.output.0].increment(1);
        }
        self.outbox.clear();
        result
    }

    // === transactions ===

    /// Begins a transaction, if none is open.
    fn open_transaction(&mut self) -> Result<(), Recovery> {
        if !self.producer.is_open() {
            self.producer.begin()?;
            self.pace.opened(Instant::now());
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, consumer: &BaseConsumer<Group<S>>) -> Result<(), Recovery> {
        if !self.producer.is_open() {
            return Ok(());
        }
        let started = Instant::now();
        self.flush_changes()?;
        let metadata = (!self.signing_off).then(|| self.settings.metadata(None));
        let mut offsets = TopicPartitionList::new();
        for (number, partition) in dirty(&mut self.partitions) {
            if let Some(next) = partition.next {
                let mut element = offsets.add_partition(&self.settings.topology.input, number);
                element
                    .set_offset(Offset::Offset(next))
                    .map_err(|error| Recovery::Stop(Error::internal(format!("offset: {error}"))))?;
                match partition.snapshot.behind_at() {
                    Some(applied) if applied != next && self.settings.is_rolling() => {
                        element.set_metadata(self.settings.metadata(Some(applied)));
                    }
                    _ => {
                        element.set_metadata(metadata.as_deref().unwrap_or_default());
                    }
                }
            }
        }
        // Read live, never kept: it is right only because staged work of partitions we do not own can't exist here.
        let Some(group) = consumer.group_metadata() else {
            return Err(Recovery::Abort);
        };
        if let Err(recovery) = self.producer.commit(&offsets, &group) {
            self.in_doubt = matches!(recovery, Recovery::Rebuild { .. });
            debug!(offsets = ?places(&offsets), took = ?started.elapsed(), ?recovery, "not committed");
            return Err(recovery);
        }
        debug!(offsets = ?places(&offsets), took = ?started.elapsed(), "committed");
        let interval = self.settings.snapshot_interval();
        for (number, partition) in dirty(&mut self.partitions) {
            partition.stand(started, interval);
            self.stood.extend(partition.next.map(|next| (number, next)));
        }
        let took = started.elapsed();
        let records = self.pace.committed(Instant::now(), took);
        self.meters.consumed.increment(records as u64);
        self.meters.committed.increment(1);
        self.meters.commit_duration.record(took.as_secs_f64());
        Ok(())
    }

    pub(super) fn flush_changes(&mut self) -> Result<(), Recovery> {
        let Some(topic) = &self.settings.topology.changelog else {
            return Ok(());
        };
        let (rolling, now) = (self.settings.is_rolling(), Instant::now());
        for (number, partition) in dirty(&mut self.partitions) {
            if !partition.snapshot.begin(now, rolling) {
                partition.task.flush(partition.snapshot.stage());
                continue;
            }
            self.changes.clear();
            partition.task.flush(&mut self.changes);
            let lacking = partition.snapshot.lacking(&self.changes);
            for (key, value) in lacking.into_iter().chain(self.changes.staged()) {
                self.producer.send(topic, number, Some(key), value, None)?;
                self.meters.changelog.increment(1);
            }
        }
        self.changes.clear();
        Ok(())
    }

    /// Ends the open transaction without its effects, as `recovery` demands, and undoes state.
    pub(super) fn give_up_transaction(&mut self, recovery: Recovery) -> Result<(), Error> {
        if !self.in_doubt {
            self.undo();
            self.meters.aborted.increment(1);
        }
        debug!(?recovery, in_doubt = self.in_doubt, "transaction given up");
        let next = match recovery {
            Recovery::Stop(stop) => {
                // Best effort: readers of the outputs need not wait for the transaction to time out.
                if self.producer.is_open() && self.producer.abort().is_err() {
                    self.producer.abandon();
                }
                return Err(stop);
            }
            Recovery::Retry | Recovery::Abort if self.producer.is_open() => self.producer.abort(),
            Recovery::Retry | Recovery::Abort => Ok(()),
            Recovery::Rebuild { fenced } => Err(Recovery::Rebuild { fenced }),
        };
        match next {
            Ok(()) => Ok(()),
            Err(Recovery::Stop(stop)) => Err(stop),
            Err(Recovery::Rebuild { fenced: true }) => {
                self.producer.abandon();
                self.count_fencing()
            }
            Err(_) => {
                self.producer.abandon();
                Ok(())
            }
        }
    }

    pub(super) fn count_fencing(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.fenced
            .retain(|at| now.duration_since(*at) < FENCED_WINDOW);
        self.fenced.push(now);
        if self.fenced.len() >= FENCED_LIMIT {
            return Err(Error::temporary(format!(
                "fenced {FENCED_LIMIT} times within {} s: another instance runs with the same kafka.instance_id",
                FENCED_WINDOW.as_secs()
            )));
        }
        Ok(())
    }

    /// State and positions go back to the last commit.
    pub(super) fn undo(&mut self) {
        self.outbox.clear();
        self.changes.clear();
        for (_, partition) in dirty(&mut self.partitions) {
            partition.task.aborted();
            partition.snapshot.aborted();
            partition.next = partition.committed;
            partition.dirty = false;
            self.rewind = true;
        }
        self.pace.closed();
    }

    pub(super) fn dirty_list(&mut self) -> TopicPartitionList {
        let numbers = dirty(&mut self.partitions).map(|(number, _)| number);
        self.settings.input_list(numbers)
    }

    /// Takes the group's committed offsets as the outcome of the transaction in doubt; false when they are not all
    /// there yet.
    pub(super) fn settle(&mut self, committed: &TopicPartitionList) -> bool {
        if committed
            .elements()
            .iter()
            .any(|element| element.error().is_err())
        {
            return false;
        }
        let mut took_effect = false;
        for element in committed.elements() {
            if let Some(partition) = self.partitions.get_mut(&element.partition())
                && let (Offset::Offset(offset), Some(next)) = (element.offset(), partition.next)
                && partition.dirty
                && offset == next
            {
                partition.stand(Instant::now(), self.settings.snapshot_interval());
                self.stood.insert(element.partition(), next);
                took_effect = true;
            }
        }
        if took_effect {
            self.meters.consumed.increment(self.pace.closed() as u64);
            self.meters.committed.increment(1);
        } else {
            self.meters.aborted.increment(1);
        }
        info!(took_effect, "the commit that got no answer is settled");
        self.in_doubt = false;
        self.undo();
        // What was polled while in doubt was left; go back for it.
        self.rewind = true;
        true
    }

    pub(super) fn rewind_list(&self) -> TopicPartitionList {
        let (topic, mut list) = (&self.settings.topology.input, TopicPartitionList::new());
        for (number, partition) in &self.partitions {
            if let (Phase::Running, Some(offset)) = (&partition.phase, partition.committed)
                && list
                    .add_partition_offset(topic, *number, Offset::Offset(offset))
                    .is_err()
            {
                warn!(partition = number, offset, "rewind: offset refused");
            }
        }
        list
    }
}

pub(super) fn record<'a>(message: &'a BorrowedMessage<'a>) -> Record<'a> {
    Record {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key(),
        value: message.payload(),
        headers: Headers(HeaderSource::Kafka(message)),
    }
}

/// Partitions and offsets, for a log.
fn places(list: &TopicPartitionList) -> Vec<(i32, Offset)> {
    list.elements()
        .iter()
        .map(|element| (element.partition(), element.offset()))
        .collect()
}

pub(super) fn numbers(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(TopicPartitionListElem::partition)
        .collect()
}
