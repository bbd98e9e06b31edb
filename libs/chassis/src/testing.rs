//! Drives a [`Stage`] without a broker: the same calls in the same order as [`crate::eos`].

use crate::stage::{Changelog, Headers, Outbox, Output, Record, RestoreError, Stage, Task};
use std::collections::BTreeMap;

/// A record that a stage emitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Emitted {
    /// Which output.
    pub output: usize,
    /// Which partition of it.
    pub partition: i32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
}

/// A record for a stage, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Append time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Input {
    fn record<'a>(&'a self, topic: &'a str) -> Record<'a> {
        Record {
            topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::from_slice(&self.headers),
        }
    }
}

/// A stage with its tasks, outputs and changelog, in memory.
///
/// `process` stages; `commit` makes it stand and returns what became visible; `abort` undoes it; `crash` throws memory
/// away and restores from the changelog. Whatever the mix, the committed outputs must be the same: that is the law to test.
#[derive(Debug)]
pub struct StageDriver<S: Stage> {
    stage: S,
    topic: String,
    tasks: BTreeMap<i32, S::Task>,
    outbox: Outbox,
    pending: Vec<Emitted>,
    changelog: BTreeMap<i32, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<S: Stage> StageDriver<S> {
    /// Drives `stage`, whose outputs have these numbers of partitions.
    pub fn new(stage: S, topic: &str, output_partitions: &[i32]) -> Self {
        Self {
            stage,
            topic: topic.to_owned(),
            tasks: BTreeMap::new(),
            outbox: Outbox::new(output_partitions.to_vec()),
            pending: Vec::new(),
            changelog: BTreeMap::new(),
        }
    }

    /// The stage.
    pub fn stage(&mut self) -> &mut S {
        &mut self.stage
    }

    /// The state of `partition`, if it was opened.
    pub fn task(&self, partition: i32) -> Option<&S::Task> {
        self.tasks.get(&partition)
    }

    /// Feeds one record of the table topic.
    pub fn table(&mut self, input: &Input) {
        self.stage.table(&input.record("table"));
    }

    /// Feeds one record.
    pub fn process(&mut self, input: &Input) {
        let partition = input.partition;
        let stage = &mut self.stage;
        let task = self
            .tasks
            .entry(partition)
            .or_insert_with(|| stage.open(partition));
        self.outbox.set_input_partition(partition);
        stage.process(task, &input.record(&self.topic), &mut self.outbox);
        self.drain();
    }

    /// Says that `partition` is idle at `now_ms`.
    pub fn idle(&mut self, partition: i32, now_ms: i64) {
        let stage = &mut self.stage;
        let task = self
            .tasks
            .entry(partition)
            .or_insert_with(|| stage.open(partition));
        self.outbox.set_input_partition(partition);
        stage.idle(task, now_ms, &mut self.outbox);
        self.drain();
    }

    /// Commits: state goes to the changelog, outputs become visible and are returned.
    pub fn commit(&mut self) -> Vec<Emitted> {
        let mut changelog = Changelog::default();
        for (partition, task) in &mut self.tasks {
            task.flush(&mut changelog);
            let log = self.changelog.entry(*partition).or_default();
            for (key, value) in changelog.staged() {
                match value {
                    Some(value) => log.insert(key.to_vec(), value.to_vec()),
                    None => log.remove(key),
                };
            }
            changelog.clear();
            task.committed();
        }
        std::mem::take(&mut self.pending)
    }

    /// Aborts: staged outputs are gone, state goes back.
    pub fn abort(&mut self) {
        self.pending.clear();
        for task in self.tasks.values_mut() {
            task.aborted();
        }
    }

    /// Crashes: memory is gone; every task is restored from the (compacted) changelog. What was staged is lost.
    pub fn crash(&mut self, stage: S) -> Result<(), RestoreError> {
        self.stage = stage;
        self.pending.clear();
        self.tasks.clear();
        for (partition, log) in &self.changelog {
            let mut task = self.stage.open(*partition);
            for (key, value) in log {
                task.restore(key, Some(value))?;
            }
            self.tasks.insert(*partition, task);
        }
        Ok(())
    }

    /// Feeds all records and commits once.
    pub fn run(&mut self, inputs: &[Input]) -> Vec<Emitted> {
        for input in inputs {
            self.process(input);
        }
        self.commit()
    }

    fn drain(&mut self) {
        self.pending
            .extend(self.outbox.staged().map(|staged| Emitted {
                output: staged.output.0,
                partition: staged.partition,
                key: staged.key.map(<[u8]>::to_vec),
                value: staged.value.map(<[u8]>::to_vec),
            }));
        self.outbox.clear();
    }
}

/// The emitted values of one output, in order.
pub fn values_of(emitted: &[Emitted], output: Output) -> Vec<&[u8]> {
    emitted
        .iter()
        .filter(|e| e.output == output.0)
        .filter_map(|e| e.value.as_deref())
        .collect()
}
