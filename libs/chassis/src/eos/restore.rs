//! From assigned to running: changelog, table and start offset of each partition.

use super::LostInput;
use super::metadata::Metadata;
use super::pace::Arrival;
use super::partition::{Partition, Phase};
use super::reader::{Progress, Read, Reader};
use super::tasks::{Tasks, record};
use super::worker::Group;
use crate::Error;
use crate::stage::{Stage, Task};
use librdkafka_guard::native;
use metrics::{counter, gauge, histogram};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Records read from a changelog or table before the group consumer is polled again.
const READ_SLICE: usize = 2_000;
/// What a takeover of little state takes on a broker that is busy with the rebalance: 0.1 to 0.4 s.
const TAKEOVER: Duration = Duration::from_millis(500);
/// What the first fetch of a partition that has begun takes there, unless it has nothing.
const FIRST_RECORD: Duration = Duration::from_millis(100);
/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

impl<S: Stage> Tasks<S> {
    /// How far the partitions are that came last.
    pub(super) fn arrival(&self, now: Instant) -> Arrival {
        let of = |partition: &Partition<S::Task>| match partition.phase {
            Phase::Restoring { since, .. } if now.duration_since(since) < TAKEOVER => {
                Arrival::Fresh
            }
            Phase::Restoring { .. } => Arrival::Long,
            Phase::Running
                if partition.next == partition.start
                    && now.duration_since(partition.last_record) < FIRST_RECORD =>
            {
                Arrival::Fresh
            }
            Phase::Running => Arrival::Over,
        };
        self.partitions
            .values()
            .map(of)
            .max()
            .unwrap_or(Arrival::Over)
    }

    pub(super) fn restoring(&self) -> usize {
        self.partitions
            .values()
            .filter(|partition| matches!(partition.phase, Phase::Restoring { .. }))
            .count()
    }

    /// Partitions whose state is being brought on by records that were processed before.
    pub(super) fn replaying(&self) -> usize {
        self.partitions
            .values()
            .filter(|partition| {
                matches!(partition.phase, Phase::Running)
                    && partition
                        .next
                        .is_some_and(|next| next < partition.replay_until)
            })
            .count()
    }

    /// Why it is not ready, with how far it is and how long it will take; None when it is.
    pub(super) fn unready(&self) -> Option<String> {
        let assigned = self.partitions.len();
        let (restoring, replaying) = (self.restoring(), self.replaying());
        if restoring == 0 {
            return (replaying > 0)
                .then(|| format!("replaying the input of {replaying} of {assigned} partitions"));
        }
        let progress = self.restore_progress();
        let since = self
            .partitions
            .values()
            .filter_map(|partition| match partition.phase {
                Phase::Restoring { since, .. } => Some(since),
                Phase::Running => None,
            })
            .min();
        let mut text = format!("restoring {restoring} of {assigned} partitions");
        if progress.all > 0 {
            let elapsed = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            text += &describe(progress, elapsed);
        }
        let untold = self.partitions.values().filter(|at| at.start.is_none());
        let hanging = "waiting for a transaction that somebody left open (kafka-transactions.sh find-hanging)";
        let waits = [
            (progress.unknown, "without an end that is known"),
            (progress.unstable, hanging),
            (untold.count(), "without the group's offset"),
        ];
        for (partitions, why) in waits.iter().filter(|(partitions, _)| *partitions > 0) {
            // Writing to a string does not fail.
            write!(text, ", {partitions} {why}").unwrap_or_default();
        }
        Some(text)
    }

    fn restore_progress(&self) -> Progress {
        let parts = [&self.changelog, &self.table].map(|reader| {
            reader
                .as_ref()
                .map_or_else(Progress::default, Reader::progress)
        });
        Progress {
            read: parts.iter().map(|part| part.read).sum(),
            all: parts.iter().map(|part| part.all).sum(),
            unstable: parts.iter().map(|part| part.unstable).sum(),
            unknown: parts.iter().map(|part| part.unknown).sum(),
        }
    }

    pub(super) fn read_tables_and_changelogs(&mut self) -> Result<(), Error> {
        if let Some(reader) = &mut self.changelog
            && reader.is_busy()
        {
            reader.advance();
            for _ in 0..READ_SLICE {
                match reader.poll(Duration::ZERO) {
                    Some(Read::Record(record)) => {
                        let number = record.partition();
                        let Some(partition) = self.partitions.get_mut(&number) else {
                            continue;
                        };
                        // After the restore this task is ahead of its own changelog.
                        if matches!(partition.phase, Phase::Running) {
                            continue;
                        }
                        let key = record.key().unwrap_or_default();
                        partition
                            .task
                            .restore(key, record.payload())
                            .map_err(|error| {
                                Error::data(format!(
                                    "changelog {} partition {number} offset {}: {error}",
                                    record.topic(),
                                    record.offset()
                                ))
                            })?;
                        partition.restored += 1;
                    }
                    Some(Read::CaughtUp) => {}
                    None => break,
                }
            }
        }
        if let Some(reader) = &mut self.table {
            if reader.is_busy() {
                reader.advance();
            }
            for _ in 0..READ_SLICE {
                match reader.poll(Duration::ZERO) {
                    Some(Read::Record(message)) => self.stage.table(&record(&message)),
                    Some(Read::CaughtUp) => {}
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Asks for the group's committed offsets of partitions that wait for theirs. A dead predecessor's open transaction
    /// makes the broker hold the answer back; then the next round asks again.
    pub(super) fn find_start_offsets(
        &mut self,
        consumer: &BaseConsumer<Group<S>>,
    ) -> Result<(), Error> {
        let topic = self.settings.topology.input.clone();
        let unknown = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.start.is_none());
        let wanted = self.settings.input_list(unknown.map(|(number, _)| *number));
        if wanted.count() == 0 {
            return Ok(());
        }
        let Ok(committed) = consumer.committed_offsets(wanted, QUERY_TIMEOUT) else {
            return Ok(());
        };
        // For all partitions at once: an answer waits behind the fetch that is under way, and with one request for each
        // a takeover of 32 partitions would wait for seconds.
        let mut starts = committed.clone();
        let Ok(starts) = starts
            .set_all_offsets(Offset::Beginning)
            .and_then(|()| consumer.offsets_for_times(starts, QUERY_TIMEOUT))
        else {
            return Ok(());
        };
        for element in committed.elements() {
            let number = element.partition();
            let start = starts.find_partition(&topic, number);
            let (Ok(()), Some(Offset::Offset(low)), Some(partition)) = (
                element.error(),
                start.map(|start| start.offset()),
                self.partitions.get_mut(&number),
            ) else {
                continue;
            };
            // A coordinator that has just come back may know less than it has confirmed. What this worker knows to be
            // committed is not done again; the broker is asked until it knows.
            if let Some(stood) = self.stood.get(&number)
                && element.offset().to_raw() < Some(*stood)
            {
                if let Phase::Restoring { outdated, .. } = &mut partition.phase
                    && !std::mem::replace(outdated, true)
                {
                    warn!(partition = number, told = ?element.offset(), stood, "the broker tells a committed offset that is out of date");
                }
                continue;
            }
            // Where reading goes on: at the committed offset, or before it, where the changelog is behind.
            let applied = Metadata::parse(element.metadata()).and_then(|metadata| metadata.applied);
            let from = |offset: i64| applied.map_or(offset, |applied| applied.min(offset));
            match element.offset() {
                Offset::Offset(offset) if from(offset) < low => {
                    if self.settings.pipeline.on_lost_input == LostInput::Stop {
                        return Err(Error::data(format!(
                            "topic {topic} partition {number}: committed offset {offset}, state as of {}, but retention has \
                             removed everything before {low}: {} records were lost unread. To go on behind the gap, start \
                             once with pipeline.on_lost_input = \"earliest\"",
                            from(offset),
                            low - from(offset)
                        )));
                    }
                    warn!(
                        partition = number,
                        offset, low, "records were removed unread; going on behind the gap"
                    );
                    partition.start = Some(low);
                    partition.replay_until = offset;
                }
                Offset::Offset(offset) => {
                    partition.start = Some(from(offset));
                    partition.replay_until = offset;
                }
                _ => partition.start = Some(low),
            }
            partition.snapshot.applied = partition.start;
            // Only now: the broker tells a committed offset when no transaction can change it any more, so whatever
            // that offset's transaction changed is below the high watermark from here on. Asked for before, the
            // changelog could end short of changes that a predecessor sends late and commits.
            if let Some(changelog) = &mut self.changelog {
                changelog.ask(number);
            }
            debug!(partition = number, committed = ?element.offset(), state_as_of = applied, "start offset");
        }
        Ok(())
    }

    /// Marks what is ready as running; the caller resumes it.
    pub(super) fn start_ready_partitions(&mut self) -> Result<Vec<i32>, Error> {
        let (mut ready, mut late) = (Vec::new(), None);
        for (number, partition) in &mut self.partitions {
            let Phase::Restoring { since, .. } = partition.phase else {
                continue;
            };
            let changelog_done = self
                .changelog
                .as_ref()
                .is_none_or(|reader| reader.is_done(*number));
            let table_done = self
                .table
                .as_ref()
                .is_none_or(|reader| reader.is_done(*number % self.settings.table_partitions));
            if changelog_done && table_done && partition.start.is_some() {
                // Restored state is the committed state; the undo log starts here.
                partition.task.committed();
                partition.phase = Phase::Running;
                partition.last_record = Instant::now();
                partition.committed = partition.start;
                partition.next = partition.start;
                // The group's consumer stands at the committed offset, wherever the state is.
                let behind = partition
                    .start
                    .is_some_and(|start| start < partition.replay_until);
                if partition.skipped || behind {
                    self.rewind = true;
                }
                histogram!("chassis_restore_duration_seconds")
                    .record(since.elapsed().as_secs_f64());
                counter!("chassis_restore_records_total").increment(partition.restored);
                ready.push(*number);
            } else if since.elapsed() > self.settings.restore_deadline {
                late = Some((*number, partition.restored));
            }
        }
        if let Some((number, restored)) = late {
            return Err(Error::temporary(format!(
                "state of partition {number} was not restored within pipeline.restore_deadline_ms = {} ({restored} records \
                 so far): {}",
                self.settings.restore_deadline.as_millis(),
                self.unready().unwrap_or_default()
            )));
        }
        if let Some(changelog) = &mut self.changelog {
            for number in &ready {
                changelog.stop(*number);
            }
        }
        if !ready.is_empty() {
            info!(partitions = ?ready, "running");
        }
        Ok(ready)
    }

    pub(super) fn measure(&self, consumer: &BaseConsumer<Group<S>>) {
        let topic = &self.settings.topology.input;
        let positions = consumer.position().ok();
        for number in self.partitions.keys() {
            let position = positions
                .as_ref()
                .and_then(|list| list.find_partition(topic, *number))
                .and_then(|element| element.offset().to_raw())
                .filter(|offset| *offset >= 0)
                .or_else(|| {
                    self.partitions
                        .get(number)
                        .and_then(|partition| partition.next)
                });
            if let (Some(high), Some(position)) = (
                native::cached_high_watermark(consumer.client(), topic, *number),
                position,
            ) {
                gauge!("chassis_consumer_lag_records", "topic" => topic.clone(), "partition" => number.to_string())
                    .set((high - position).max(0) as f64);
            }
        }
        let entries: usize = self
            .partitions
            .values()
            .map(|partition| partition.task.entries())
            .sum();
        self.meters.entries.set(entries as f64);
        let restoring = self.restoring();
        let worker = self.settings.worker.to_string();
        gauge!("chassis_restoring_partitions", "worker" => worker.clone()).set(restoring as f64);
        gauge!("chassis_replaying_partitions", "worker" => worker.clone())
            .set(self.replaying() as f64);
        let progress = self.restore_progress();
        gauge!("chassis_restore_remaining_records", "worker" => worker)
            .set(progress.all.saturating_sub(progress.read) as f64);
    }
}

/// `progress` after `elapsed` seconds.
fn describe(progress: Progress, elapsed: f64) -> String {
    let Progress { read, all, .. } = progress;
    let percent = read.saturating_mul(100) / all.max(1);
    let mut text = format!(", {percent} % of {all} offsets read");
    if read > 0 && read < all {
        let left = elapsed * (all - read) as f64 / read as f64;
        write!(text, ", about {:.0} s left", left.ceil()).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_says_how_far_it_is_and_how_long_it_will_take() {
        let at = |read, all| Progress {
            read,
            all,
            ..Progress::default()
        };
        assert_eq!(
            describe(at(250, 1_000), 2.0),
            ", 25 % of 1000 offsets read, about 6 s left"
        );
        assert_eq!(describe(at(0, 1_000), 2.0), ", 0 % of 1000 offsets read");
        assert_eq!(
            describe(at(1_000, 1_000), 2.0),
            ", 100 % of 1000 offsets read"
        );
    }
}
