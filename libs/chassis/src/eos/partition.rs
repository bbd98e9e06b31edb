//! One assigned partition: its task, where its records stand and what its changelog lacks.

use super::snapshot::Snapshot;
use crate::Task;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Where a partition's records stand.
#[derive(Debug)]
pub(super) enum Phase {
    /// Assigned; its start offset is not known or its state is not restored.
    Restoring {
        since: Instant,
        /// The broker has told an offset that is older than one it had confirmed.
        outdated: bool,
    },
    /// Records are processed.
    Running,
}

#[derive(Debug)]
pub(super) struct Partition<T> {
    pub(super) task: T,
    pub(super) phase: Phase,
    /// The offset to start from, once the group's committed offset is known.
    pub(super) start: Option<i64>,
    /// Next offset to process.
    pub(super) next: Option<i64>,
    /// Next offset as of the last commit: where an abort goes back to.
    pub(super) committed: Option<i64>,
    /// Something was processed since the last commit.
    pub(super) dirty: bool,
    /// A record came before its turn and was left; the partition is rewound when it starts.
    pub(super) skipped: bool,
    pub(super) restored: u64,
    pub(super) snapshot: Snapshot,
    /// Records below it were processed and committed by the predecessor: they only bring the state on.
    pub(super) replay_until: i64,
    /// Records were replayed, and their changes are not gathered yet.
    pub(super) replayed: bool,
    pub(super) last_record: Instant,
    pub(super) last_idle: Instant,
}

impl<T: Task> Partition<T> {
    /// The transaction that it took part in is committed.
    pub(super) fn stand(&mut self, now: Instant, interval: Duration) {
        self.task.committed();
        self.snapshot.committed(self.next, now, interval);
        self.committed = self.next;
        self.dirty = false;
    }
}

/// Those with work since the last commit.
pub(super) fn dirty<T>(
    partitions: &mut BTreeMap<i32, Partition<T>>,
) -> impl Iterator<Item = (i32, &mut Partition<T>)> {
    partitions
        .iter_mut()
        .filter(|(_, partition)| partition.dirty)
        .map(|(number, partition)| (*number, partition))
}
