//! One instance of the stage: what is in its memory, and gone when it is killed.

use crate::broker::{Fold, InstanceId, Output, PARTITIONS, PartitionId, Produced, fold_one};
use crate::flaws::Flaws;

/// Whether the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It runs.
    Up,
    /// SIGSTOP.
    Stopped,
    /// Killed, not started again yet.
    Down,
}

/// How far the restore of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Assigned.
    Assigned,
    /// Reads the changelog once its last stable offset has reached `target`.
    Reading {
        /// The high watermark when the read was asked for.
        target: usize,
    },
    /// The changelog is read.
    Restored,
    /// Its records are processed.
    Running,
}

/// A partition that the instance believes to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// How far it is.
    pub phase: Phase,
    /// The offset to start from; once it runs, no more than a sign that it had one.
    pub start: Option<u8>,
    /// The next offset to process.
    pub next: u8,
    /// The next offset as of the last commit.
    pub committed: u8,
    /// The state with all that is processed.
    pub state: Fold,
    /// The state as of the last commit: where an abort goes back to.
    pub saved: Fold,
    /// Something was processed since the last commit.
    pub dirty: bool,
    /// Its last committer was looked up, and was gone.
    pub looked: bool,
}

impl Partition {
    /// As the assignment leaves it.
    pub const fn assigned() -> Self {
        Self {
            phase: Phase::Assigned,
            start: None,
            next: 0,
            committed: 0,
            state: 0,
            saved: 0,
            dirty: false,
            looked: false,
        }
    }

    /// As it is when nothing was ever processed.
    pub const fn fresh() -> Self {
        Self {
            phase: Phase::Running,
            start: Some(0),
            ..Self::assigned()
        }
    }

    /// Runs if changelog and start offset are there.
    pub const fn start_if_ready(&mut self) {
        if let (Phase::Restored, Some(start)) = (self.phase, self.start) {
            self.phase = Phase::Running;
            self.start = Some(0);
            self.next = start;
            self.committed = start;
            self.saved = self.state;
        }
    }

    const fn commit(&mut self) {
        self.saved = self.state;
        self.committed = self.next;
        self.dirty = false;
    }

    const fn undo(&mut self, flaws: Flaws) {
        if !flaws.state_not_undone {
            self.state = self.saved;
        }
        self.next = self.committed;
        self.dirty = false;
    }
}

/// Where the instance is in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Processing, or nothing to do.
    Working,
    /// The changes are queued; the offsets are to be sent with the metadata that was read just now.
    Offsets {
        /// The generation in the metadata.
        generation: u8,
    },
    /// The offsets are in the transaction, which is ended when nothing is queued. The loop flushes before it sends them;
    /// here what is queued arrives at any time before the end, which includes that.
    Ending,
    /// The commit got no answer yet.
    Unanswered,
    /// The flawed protocol that commits offsets afterwards has still to do so.
    OffsetsAfter,
}

/// What an instance knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance {
    /// Whether it runs.
    pub life: Life,
    /// The epoch of its producer; none when it has to call `init_transactions` first.
    pub epoch: Option<u8>,
    /// The generation in its group metadata; none when it is not in the group as far as it knows.
    pub generation: Option<u8>,
    /// The group has refused its offsets, since it is no member: it serves its callbacks before it touches a record.
    pub refused: bool,
    /// What it believes to have.
    pub partitions: [Option<Partition>; PARTITIONS],
    /// A transaction is begun.
    pub open: bool,
    /// Produced, and still in the client's queue.
    pub queue: Vec<Produced>,
    /// Where it is in its transaction.
    pub step: Step,
    /// The outcome of the last commit is not known.
    pub in_doubt: bool,
    /// A takeover has found this transactional id without a member, and is about to fence it.
    pub fencing: Option<InstanceId>,
}

impl Instance {
    /// A process that has just started.
    pub const fn started() -> Self {
        Self {
            life: Life::Up,
            epoch: None,
            generation: None,
            refused: false,
            partitions: [None; PARTITIONS],
            open: false,
            queue: Vec::new(),
            step: Step::Working,
            in_doubt: false,
            fencing: None,
        }
    }

    /// What is left of a killed process.
    pub fn killed() -> Self {
        Self {
            life: Life::Down,
            ..Self::started()
        }
    }

    /// Runs and is between two steps of the loop, where callbacks are served.
    pub fn is_polling(&self) -> bool {
        self.life == Life::Up && self.step == Step::Working
    }

    /// May touch records and state: it has a producer, and knows how its last transaction ended.
    pub fn is_sound(&self) -> bool {
        self.is_polling() && self.epoch.is_some() && !self.in_doubt
    }

    /// The partition, if it is in the given phase of its life.
    pub fn partition(
        &self,
        number: PartitionId,
        is_wanted: impl Fn(&Partition) -> bool,
    ) -> Option<&Partition> {
        self.partitions[number]
            .as_ref()
            .filter(|partition| is_wanted(partition))
    }

    /// Processes the next record of `number`, if it is running.
    pub fn process(&mut self, number: PartitionId) {
        let Some(partition) = &mut self.partitions[number] else {
            return;
        };
        let source = partition.next;
        partition.state = fold_one(partition.state, source);
        partition.next += 1;
        partition.dirty = true;
        self.open = true;
        self.queue.push(Produced::Output(Output {
            partition: number,
            source,
            state: partition.state,
        }));
    }

    /// Queues the changes of the transaction and reads the group metadata.
    pub fn begin_commit(&mut self) {
        let Some(generation) = self.generation else {
            return;
        };
        for (number, partition) in self.partitions.iter().enumerate() {
            if let Some(partition) = partition
                && partition.dirty
            {
                self.queue.push(Produced::Change(number, partition.state));
            }
        }
        self.step = Step::Offsets { generation };
    }

    /// The offsets that go with the transaction.
    pub fn offsets(&self) -> [Option<u8>; PARTITIONS] {
        self.partitions.map(|partition| {
            partition
                .filter(|partition| partition.dirty)
                .map(|partition| partition.next)
        })
    }

    /// The transaction is committed.
    pub fn committed(&mut self) {
        for partition in self.partitions.iter_mut().flatten() {
            if partition.dirty {
                partition.commit();
            }
        }
        self.over();
    }

    /// The transaction is aborted, and known to be.
    pub fn aborted(&mut self, flaws: Flaws) {
        self.undo(flaws);
        self.over();
    }

    /// The producer is fatal, or its state is unknown. In the middle of a commit the outcome is in doubt.
    pub fn abandon(&mut self, flaws: Flaws) {
        if self.step == Step::Working || flaws.doubt_is_abort {
            self.undo(flaws);
        } else {
            self.in_doubt = true;
        }
        self.over();
        self.epoch = None;
    }

    /// Takes the group's offsets as the outcome of the transaction in doubt.
    pub fn settle(&mut self, flaws: Flaws, positions: [u8; PARTITIONS]) {
        for (partition, position) in self.partitions.iter_mut().zip(positions) {
            if let Some(partition) = partition
                && partition.dirty
                && partition.next == position
            {
                partition.commit();
            }
        }
        self.undo(flaws);
        self.in_doubt = false;
    }

    fn undo(&mut self, flaws: Flaws) {
        for partition in self.partitions.iter_mut().flatten() {
            if partition.dirty {
                partition.undo(flaws);
            }
        }
    }

    fn over(&mut self) {
        self.queue.clear();
        self.open = false;
        self.step = Step::Working;
    }
}
