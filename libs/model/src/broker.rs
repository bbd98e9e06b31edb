//! The broker: transactional ids, the group, the changelog and the outputs. Each request takes effect at once.

use crate::flaws::Flaws;

/// Instances of the stage.
pub const INSTANCES: usize = 2;
/// Partitions of the input.
pub const PARTITIONS: usize = 2;

/// An instance, and its transactional id.
pub type InstanceId = usize;
/// A partition of the input, and the changelog partition that goes with it.
pub type PartitionId = usize;

/// The state of a task, readable: the numbers of the folded records from first to last, as decimal digits. Record 0 is
/// written 1. It is neither commutative nor idempotent: a record too many, too few or in another order shows.
pub type Fold = u32;

/// Folds one record into a state.
pub const fn fold_one(state: Fold, offset: u8) -> Fold {
    state * 10 + offset as Fold + 1
}

/// What the state must be when the records before `next` are folded, each once and in order.
pub fn fold_of(next: u8) -> Fold {
    (0..next).fold(0, fold_one)
}

/// An output record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Output {
    /// The input partition.
    pub partition: PartitionId,
    /// The offset of the input record: its lineage.
    pub source: u8,
    /// Its value: the state after that record.
    pub state: Fold,
}

/// Whether a transaction has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Not yet.
    Open,
    /// Its records count.
    Committed,
    /// Its records do not count.
    Aborted,
}

/// A record of the changelog. The state is one value, so that the last record is all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Whose transaction it is part of.
    pub writer: InstanceId,
    /// The state as of that transaction.
    pub state: Fold,
    /// How that transaction ended.
    pub outcome: Outcome,
}

/// What a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Produced {
    /// To an output topic.
    Output(Output),
    /// To the changelog.
    Change(PartitionId, Fold),
}

/// An open transaction. Its changes are in the changelog, where they hold back the last stable offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Outputs, not visible yet.
    pub outputs: Vec<Output>,
    /// Pending offsets.
    pub offsets: [Option<u8>; PARTITIONS],
    /// Some of it came with an old epoch, or some of the offsets are for a partition that the group had not given to the
    /// sender. Nobody but the properties looks at it.
    pub stale: bool,
}

/// What the transaction coordinator knows about one transactional id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    /// The epoch of the latest `init_transactions`.
    pub epoch: u8,
    /// The open transaction.
    pub open: Option<Transaction>,
    /// The last transaction of this epoch was committed: a commit that is sent again gets the same answer.
    pub committed: bool,
}

/// The group's offset of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The next offset to process.
    pub offset: u8,
    /// The metadata: who committed it.
    pub committer: Option<InstanceId>,
}

/// What the group coordinator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group {
    /// Rises with each rebalance.
    pub generation: u8,
    /// Which instances are members.
    pub members: [bool; INSTANCES],
    /// Who has each partition.
    pub owners: [Option<InstanceId>; PARTITIONS],
    /// The owner was asked to give it up.
    pub revoking: [bool; PARTITIONS],
    /// Something has changed since the last rebalance.
    pub behind: bool,
}

impl Group {
    /// Who should have `partition`: a partition each if there are two members, all of them if there is one.
    pub fn target(&self, partition: PartitionId) -> Option<InstanceId> {
        let preferred = partition % INSTANCES;
        if self.members[preferred] {
            return Some(preferred);
        }
        self.members.iter().position(|is_member| *is_member)
    }

    /// Gives free partitions out and asks for those that belong to another: the cooperative protocol.
    pub fn rebalance(&mut self) {
        self.generation += 1;
        self.behind = false;
        for partition in 0..PARTITIONS {
            let target = self.target(partition);
            if self.owners[partition].is_none() {
                self.owners[partition] = target;
            }
            self.revoking[partition] = self.owners[partition] != target;
        }
    }

    /// Removes a member that has not been heard of.
    pub fn expire(&mut self, instance: InstanceId) {
        self.members[instance] = false;
        self.behind = true;
        for partition in 0..PARTITIONS {
            if self.owners[partition] == Some(instance) {
                self.owners[partition] = None;
                self.revoking[partition] = false;
            }
        }
    }

    /// Takes back a partition that its owner has given up.
    pub fn release(&mut self, partition: PartitionId) {
        self.owners[partition] = None;
        self.revoking[partition] = false;
        self.behind = true;
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A producer with the same id has a higher epoch, or there is no such transaction: fatal for the producer.
    Fenced,
    /// Not a member, or not of this generation: the transaction must be aborted.
    Generation,
}

/// All that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    /// By transactional id.
    pub producers: [Producer; INSTANCES],
    /// The consumer group.
    pub group: Group,
    /// The group's offsets.
    pub positions: [Position; PARTITIONS],
    /// The changelog, with records of open transactions.
    pub changelog: [Vec<Change>; PARTITIONS],
    /// Committed outputs, sorted: what a `read_committed` consumer sees.
    pub outputs: Vec<Output>,
    /// Work of an older generation or epoch was committed. Nobody but the properties looks at it.
    pub stale_committed: bool,
}

impl Broker {
    /// An empty broker.
    pub fn new() -> Self {
        let producer = Producer {
            epoch: 0,
            open: None,
            committed: false,
        };
        Self {
            producers: [producer.clone(), producer],
            group: Group::default(),
            positions: [Position::default(); PARTITIONS],
            changelog: Default::default(),
            outputs: Vec::new(),
            stale_committed: false,
        }
    }

    /// `InitProducerId`: a new epoch; what the old one left open is aborted.
    pub fn init(&mut self, id: InstanceId) -> u8 {
        self.close(id, false);
        self.producers[id].epoch += 1;
        self.producers[id].committed = false;
        self.producers[id].epoch
    }

    /// `Produce`, with the partitions added to the transaction before.
    pub fn write(
        &mut self,
        flaws: Flaws,
        id: InstanceId,
        epoch: u8,
        batch: &[Produced],
    ) -> Result<(), Refused> {
        self.check(flaws, id, epoch)?;
        let is_old = epoch != self.producers[id].epoch;
        let open = self.producers[id].open.get_or_insert_default();
        open.stale |= is_old;
        for produced in batch {
            match *produced {
                Produced::Output(output) => open.outputs.push(output),
                Produced::Change(partition, state) => self.changelog[partition].push(Change {
                    writer: id,
                    state,
                    outcome: Outcome::Open,
                }),
            }
        }
        Ok(())
    }

    /// `TxnOffsetCommit`. The group checks member and generation; it does not check who has the partitions.
    pub fn send_offsets(
        &mut self,
        flaws: Flaws,
        id: InstanceId,
        epoch: u8,
        generation: u8,
        offsets: [Option<u8>; PARTITIONS],
    ) -> Result<(), Refused> {
        self.check(flaws, id, epoch)?;
        self.check_member(flaws, id, generation)?;
        let stale = epoch != self.producers[id].epoch || self.is_stale(id, offsets);
        let open = self.producers[id].open.get_or_insert_default();
        for (pending, offset) in open.offsets.iter_mut().zip(offsets) {
            *pending = offset.or(*pending);
        }
        open.stale |= stale;
        Ok(())
    }

    /// `OffsetCommit`: offsets that no transaction holds. Only a flawed protocol sends it.
    pub fn commit_offsets(
        &mut self,
        flaws: Flaws,
        id: InstanceId,
        generation: u8,
        offsets: [Option<u8>; PARTITIONS],
    ) -> Result<(), Refused> {
        self.check_member(flaws, id, generation)?;
        self.store(id, offsets);
        Ok(())
    }

    /// `EndTxn`.
    pub fn end(
        &mut self,
        flaws: Flaws,
        id: InstanceId,
        epoch: u8,
        commit: bool,
    ) -> Result<(), Refused> {
        self.check(flaws, id, epoch)?;
        let is_old = epoch != self.producers[id].epoch;
        if let Some(open) = &mut self.producers[id].open {
            open.stale |= is_old;
            self.close(id, commit);
            return Ok(());
        }
        if commit && !self.producers[id].committed {
            // INVALID_TXN_STATE.
            return Err(Refused::Fenced);
        }
        Ok(())
    }

    /// The transaction timeout: as if another producer had come.
    pub fn time_out(&mut self, id: InstanceId) {
        self.init(id);
    }

    /// `OffsetFetch` that requires a stable answer; none while a transaction may still move it.
    pub fn stable_position(&self, partition: PartitionId) -> Option<Position> {
        let is_pending = self
            .producers
            .iter()
            .filter_map(|producer| producer.open.as_ref())
            .any(|open| open.offsets[partition].is_some());
        (!is_pending).then_some(self.positions[partition])
    }

    /// The end of a changelog partition.
    pub fn high_watermark(&self, partition: PartitionId) -> usize {
        self.changelog[partition].len()
    }

    /// Where the first open transaction of a changelog partition begins; its end if there is none.
    pub fn last_stable_offset(&self, partition: PartitionId) -> usize {
        self.changelog[partition]
            .iter()
            .position(|change| change.outcome == Outcome::Open)
            .unwrap_or(self.changelog[partition].len())
    }

    /// What a reader of the changelog that stops at `end` makes of it.
    pub fn restore(&self, partition: PartitionId, end: usize, uncommitted: bool) -> Fold {
        self.changelog[partition][..end]
            .iter()
            .rfind(|change| uncommitted || change.outcome == Outcome::Committed)
            .map_or(0, |change| change.state)
    }

    /// Removes records of changelog `partition` that no reader can tell from none: aborted ones, and committed ones with
    /// another committed one right behind. Returns the offsets that were removed, last first.
    pub fn compact(&mut self, partition: PartitionId) -> Vec<usize> {
        let log = &mut self.changelog[partition];
        let mut removed = Vec::new();
        for at in (0..log.len()).rev() {
            let is_superseded = log[at].outcome == Outcome::Committed
                && log
                    .get(at + 1)
                    .is_some_and(|next| next.outcome == Outcome::Committed);
            if log[at].outcome == Outcome::Aborted || is_superseded {
                log.remove(at);
                removed.push(at);
            }
        }
        removed
    }

    fn check(&self, flaws: Flaws, id: InstanceId, epoch: u8) -> Result<(), Refused> {
        if flaws.epoch_unchecked || epoch == self.producers[id].epoch {
            Ok(())
        } else {
            Err(Refused::Fenced)
        }
    }

    fn check_member(&self, flaws: Flaws, id: InstanceId, generation: u8) -> Result<(), Refused> {
        let is_right = self.group.members[id] && generation == self.group.generation;
        if flaws.generation_unchecked || is_right {
            Ok(())
        } else {
            Err(Refused::Generation)
        }
    }

    fn is_stale(&self, id: InstanceId, offsets: [Option<u8>; PARTITIONS]) -> bool {
        offsets
            .into_iter()
            .zip(self.group.owners)
            .any(|(offset, owner)| offset.is_some() && owner != Some(id))
    }

    fn store(&mut self, id: InstanceId, offsets: [Option<u8>; PARTITIONS]) {
        for (position, offset) in self.positions.iter_mut().zip(offsets) {
            if let Some(offset) = offset {
                *position = Position {
                    offset,
                    committer: Some(id),
                };
            }
        }
    }

    /// Ends the open transaction, if there is one: markers in every partition of it.
    fn close(&mut self, id: InstanceId, commit: bool) {
        let Some(ended) = self.producers[id].open.take() else {
            return;
        };
        self.producers[id].committed = commit;
        for change in self.changelog.iter_mut().flatten() {
            if change.writer == id && change.outcome == Outcome::Open {
                change.outcome = if commit {
                    Outcome::Committed
                } else {
                    Outcome::Aborted
                };
            }
        }
        if !commit {
            return;
        }
        self.stale_committed |= ended.stale;
        self.outputs.extend(ended.outputs);
        // Nothing depends on their order, and fewer states differ.
        self.outputs.sort_unstable();
        self.store(id, ended.offsets);
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}
