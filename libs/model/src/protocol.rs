//! The protocol: which actions are possible, and what each does.

use crate::action::Action;
use crate::bounds::{Bounds, Faults, Membership};
use crate::broker::{Broker, INSTANCES, InstanceId, PARTITIONS, PartitionId, Refused};
use crate::flaws::Flaws;
use crate::instance::{Instance, Life, Partition, Phase, Step};
use crate::normal_form;
use crate::properties;
use stateright::{Model, Property};

/// The exactly-once loop.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How much is explored.
    pub bounds: Bounds,
    /// What is left out.
    pub flaws: Flaws,
}

/// A commit or abort in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Whose.
    pub id: InstanceId,
    /// The epoch that it was sent with.
    pub epoch: u8,
    /// Commit or abort.
    pub commit: bool,
}

/// All there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The broker.
    pub broker: Broker,
    /// The instances.
    pub instances: [Instance; INSTANCES],
    /// A request that the network holds back.
    pub held: Option<Held>,
    /// Faults that may still come.
    pub faults: Faults,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    /// Two settled members with a partition each; and one with both, while the other is about to join.
    fn init_states(&self) -> Vec<World> {
        vec![self.world([true, true]), self.world([true, false])]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for i in 0..INSTANCES {
            self.offer_loop(world, i, actions);
            Self::offer_fate(world, i, actions);
            for p in 0..PARTITIONS {
                self.offer_partition(world, i, p, actions);
            }
        }
        if Self::may_rebalance(world) {
            actions.push(Action::Rebalance);
        }
        if world.held.is_some() {
            actions.push(Action::DeliverHeld);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        self.apply(&mut world, action);
        normal_form::of(&mut world);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    /// The protocol with nothing left out.
    pub fn sound(bounds: Bounds) -> Self {
        Self {
            bounds,
            flaws: Flaws::default(),
        }
    }

    fn world(&self, members: [bool; INSTANCES]) -> World {
        let mut broker = Broker::new();
        broker.group.members = members;
        broker.group.rebalance();
        let generation = broker.group.generation;
        let mut instances = [Instance::started(), Instance::started()];
        for (i, instance) in instances.iter_mut().enumerate() {
            instance.epoch = Some(broker.init(i));
            instance.generation = members[i].then_some(generation);
            for (p, partition) in instance.partitions.iter_mut().enumerate() {
                *partition = (broker.group.owners[p] == Some(i)).then(Partition::fresh);
            }
        }
        World {
            broker,
            instances,
            held: None,
            faults: self.bounds.faults,
        }
    }

    // === what is possible ===

    fn offer_loop(&self, world: &World, i: InstanceId, actions: &mut Vec<Action>) {
        let me = &world.instances[i];
        let group = &world.broker.group;
        if me.life != Life::Up {
            return;
        }
        let is_member = group.members[i];
        if me.is_polling() {
            if me.epoch.is_none() {
                actions.push(Action::Connect(i));
            }
            // The producer is there before the group is joined.
            let may_take_place = !is_member || self.bounds.membership == Membership::Static;
            if me.generation.is_none() && me.epoch.is_some() && may_take_place {
                actions.push(Action::Join(i));
            }
            if me.epoch.is_some() && me.in_doubt && self.doubt_is_answerable(world, i) {
                actions.push(Action::Settle(i));
            }
            if me.generation.is_some() && !is_member {
                actions.push(Action::NoticeLost(i));
                if me.open && world.faults.may_hold() && world.held.is_none() {
                    actions.push(Action::NoticeLostAbortHeld(i));
                }
            }
            if me.is_sound() && me.open && me.generation.is_some() {
                actions.push(Action::BeginCommit(i));
            }
        }
        if me.fencing.is_some() {
            actions.push(Action::Fence(i));
        }
        if !me.queue.is_empty() {
            actions.push(Action::Deliver(i));
        }
        match me.step {
            Step::Offsets { .. } => actions.push(Action::SendOffsets(i)),
            Step::Ending if me.queue.is_empty() => {
                actions.push(Action::EndTransaction(i));
                if world.faults.may_lose() {
                    actions.extend([Action::LoseRequest(i), Action::LoseAnswer(i)]);
                }
                if world.faults.may_hold() && world.held.is_none() {
                    actions.push(Action::HoldRequest(i));
                }
            }
            Step::Working | Step::Ending => {}
            Step::Unanswered => actions.extend([Action::RetryEnd(i), Action::GiveUp(i)]),
            Step::OffsetsAfter => actions.push(Action::CommitOffsetsAfter(i)),
        }
    }

    fn offer_partition(
        &self,
        world: &World,
        i: InstanceId,
        p: PartitionId,
        actions: &mut Vec<Action>,
    ) {
        let me = &world.instances[i];
        let broker = &world.broker;
        if !me.is_polling() {
            return;
        }
        let is_current = broker.group.members[i] && me.generation == Some(broker.group.generation);
        if broker.group.owners[p] == Some(i) && is_current {
            if !broker.group.revoking[p] && me.partitions[p].is_none() {
                actions.push(Action::Assign(i, p));
            }
            // What is open is committed first: the callback does not return with work left.
            if broker.group.revoking[p] && !me.open {
                actions.push(Action::Revoke(i, p));
            }
        }
        let Some(mine) = &me.partitions[p] else {
            return;
        };
        if me.fencing.is_none() && !mine.looked && Self::orphan(world, i, p).is_some() {
            actions.push(Action::LookUpCommitter(i, p));
        }
        if !me.is_sound() {
            return;
        }
        if mine.start.is_none() && self.start(world, p).is_some() {
            actions.push(Action::FindStart(i, p));
        }
        match mine.phase {
            // A transaction of an older generation may still commit until the start offset is stable: only then the
            // changelog's end is behind everything that belongs to that offset.
            Phase::Assigned if mine.start.is_some() || self.flaws.restore_before_start => {
                actions.push(Action::AskChangelog(i, p));
            }
            Phase::Reading { target }
                if broker.last_stable_offset(p) >= target || self.restores_at_once() =>
            {
                actions.push(Action::ReadChangelog(i, p));
            }
            Phase::Running if !me.refused && mine.next < self.bounds.records[p] => {
                actions.push(Action::Process(i, p));
            }
            Phase::Assigned | Phase::Reading { .. } | Phase::Restored | Phase::Running => {}
        }
    }

    fn offer_fate(world: &World, i: InstanceId, actions: &mut Vec<Action>) {
        let me = &world.instances[i];
        match me.life {
            Life::Up => {
                if world.faults.may_kill() {
                    actions.push(Action::Kill(i));
                }
                if world.faults.may_stop() {
                    actions.push(Action::Stop(i));
                }
            }
            Life::Stopped => actions.push(Action::Resume(i)),
            Life::Down => actions.push(Action::Restart(i)),
        }
        // A process that runs and has not joined is not the member that the group remembers.
        let is_silent = me.life != Life::Up || me.generation.is_none();
        if world.broker.group.members[i] && is_silent {
            actions.push(Action::ExpireSession(i));
        }
        if me.life != Life::Up && world.broker.producers[i].open.is_some() {
            actions.push(Action::TimeOutTransaction(i));
        }
    }

    /// A rebalance ends when all members have joined again, which their clients do beside the loop.
    fn may_rebalance(world: &World) -> bool {
        let group = &world.broker.group;
        group.behind
            && group.members.contains(&true)
            && (0..INSTANCES).all(|i| {
                let instance = &world.instances[i];
                !group.members[i] || (instance.life == Life::Up && instance.generation.is_some())
            })
    }

    fn start(&self, world: &World, p: PartitionId) -> Option<u8> {
        if self.flaws.start_unstable {
            return Some(world.broker.positions[p].offset);
        }
        Some(world.broker.stable_position(p)?.offset)
    }

    const fn restores_at_once(&self) -> bool {
        self.flaws.restore_stops_at_open || self.flaws.restore_uncommitted
    }

    fn doubt_is_answerable(&self, world: &World, i: InstanceId) -> bool {
        (0..PARTITIONS).all(|p| {
            let is_wanted = world.instances[i].partition(p, |mine| mine.dirty).is_some();
            !is_wanted || self.start(world, p).is_some()
        })
    }

    /// The last committer of `p`, if it is neither this instance nor a member.
    fn orphan(world: &World, i: InstanceId, p: PartitionId) -> Option<InstanceId> {
        world.broker.positions[p]
            .committer
            .filter(|committer| *committer != i && !world.broker.group.members[*committer])
    }

    // === what it does ===

    #[expect(
        clippy::too_many_lines,
        reason = "one arm an action, each a few lines: a list to read from top to bottom"
    )]
    fn apply(&self, world: &mut World, action: Action) {
        let broker = &mut world.broker;
        let instances = &mut world.instances;
        match action {
            Action::Connect(i) => instances[i].epoch = Some(broker.init(i)),
            Action::Join(i) => Self::join(broker, &mut instances[i], i),
            Action::Settle(i) => {
                instances[i].settle(self.flaws, broker.positions.map(|position| position.offset));
            }
            Action::Assign(i, p) => instances[i].partitions[p] = Some(Partition::assigned()),
            Action::Revoke(i, p) => {
                instances[i].partitions[p] = None;
                broker.group.release(p);
            }
            Action::NoticeLost(i) => {
                if let Some(epoch) = self.lose_partitions(&mut instances[i]) {
                    let result = broker.end(self.flaws, i, epoch, false);
                    if result.is_err() {
                        instances[i].epoch = None;
                    }
                }
            }
            Action::NoticeLostAbortHeld(i) => {
                world.faults.held();
                if let Some(epoch) = self.lose_partitions(&mut instances[i]) {
                    world.held = Some(Held {
                        id: i,
                        epoch,
                        commit: false,
                    });
                    if !self.flaws.suspect_reused {
                        instances[i].epoch = None;
                    }
                }
            }
            Action::LookUpCommitter(i, p) => {
                let orphan = Self::orphan(world, i, p);
                let me = &mut world.instances[i];
                me.fencing = orphan;
                if let Some(mine) = &mut me.partitions[p] {
                    mine.looked = true;
                }
            }
            Action::Fence(i) => {
                if let Some(orphan) = instances[i].fencing.take() {
                    broker.init(orphan);
                }
            }
            Action::FindStart(i, p) => {
                let start = self.start(world, p);
                if let Some(mine) = &mut world.instances[i].partitions[p] {
                    mine.start = start;
                    mine.start_if_ready();
                }
            }
            Action::AskChangelog(i, p) => {
                if let Some(mine) = &mut instances[i].partitions[p] {
                    mine.phase = Phase::Reading {
                        target: broker.high_watermark(p),
                    };
                }
            }
            Action::ReadChangelog(i, p) => {
                let end = if self.flaws.restore_uncommitted {
                    broker.high_watermark(p)
                } else {
                    broker.last_stable_offset(p)
                };
                if let Some(mine) = &mut instances[i].partitions[p] {
                    mine.state = broker.restore(p, end, self.flaws.restore_uncommitted);
                    mine.phase = Phase::Restored;
                    mine.start_if_ready();
                }
            }
            Action::Process(i, p) => instances[i].process(p),
            Action::Deliver(i) => self.deliver(broker, &mut instances[i], i),
            Action::BeginCommit(i) => instances[i].begin_commit(),
            Action::SendOffsets(i) => self.send_offsets(broker, &mut instances[i], i),
            Action::EndTransaction(i) => self.end(broker, &mut instances[i], i, false),
            Action::RetryEnd(i) => self.end(broker, &mut instances[i], i, true),
            Action::GiveUp(i) => instances[i].abandon(self.flaws),
            Action::CommitOffsetsAfter(i) => {
                self.commit_offsets_after(broker, &mut instances[i], i);
            }
            Action::Rebalance => {
                broker.group.rebalance();
                for (instance, is_member) in instances.iter_mut().zip(broker.group.members) {
                    if is_member {
                        instance.generation = Some(broker.group.generation);
                    }
                }
            }
            Action::ExpireSession(i) => broker.group.expire(i),
            Action::TimeOutTransaction(i) => broker.time_out(i),
            Action::Kill(i) => {
                world.faults.killed();
                instances[i] = Instance::killed();
            }
            Action::Restart(i) => instances[i] = Instance::started(),
            Action::Stop(i) => {
                world.faults.stopped();
                instances[i].life = Life::Stopped;
            }
            Action::Resume(i) => instances[i].life = Life::Up,
            Action::LoseRequest(i) => {
                world.faults.lost();
                instances[i].step = Step::Unanswered;
            }
            Action::LoseAnswer(i) => {
                world.faults.lost();
                if let Some(epoch) = instances[i].epoch {
                    // Whatever the answer is, nobody sees it.
                    broker.end(self.flaws, i, epoch, true).unwrap_or_default();
                }
                instances[i].step = Step::Unanswered;
            }
            Action::HoldRequest(i) => {
                world.faults.held();
                world.held = instances[i].epoch.map(|epoch| Held {
                    id: i,
                    epoch,
                    commit: true,
                });
                instances[i].step = Step::Unanswered;
            }
            Action::DeliverHeld => {
                if let Some(held) = world.held.take() {
                    broker
                        .end(self.flaws, held.id, held.epoch, held.commit)
                        .unwrap_or_default();
                }
            }
        }
    }

    fn join(broker: &mut Broker, me: &mut Instance, i: InstanceId) {
        if !broker.group.members[i] {
            broker.group.members[i] = true;
            broker.group.behind = true;
        }
        // A new member learns its real generation with the rebalance; until then it has no partition to commit.
        me.generation = Some(broker.group.generation);
    }

    /// What the callback does when others may have the partitions by now; the epoch of a transaction to abort.
    fn lose_partitions(&self, me: &mut Instance) -> Option<u8> {
        me.generation = None;
        me.refused = false;
        if self.flaws.work_kept_when_lost && me.open {
            return None;
        }
        let aborts = if me.open { me.epoch } else { None };
        if me.open {
            me.aborted(self.flaws);
        }
        me.partitions = [None; PARTITIONS];
        aborts
    }

    fn deliver(&self, broker: &mut Broker, me: &mut Instance, i: InstanceId) {
        let Some(epoch) = me.epoch else { return };
        if broker.write(self.flaws, i, epoch, &me.queue).is_err() {
            me.abandon(self.flaws);
        } else {
            me.queue.clear();
        }
    }

    fn send_offsets(&self, broker: &mut Broker, me: &mut Instance, i: InstanceId) {
        let (Some(epoch), Step::Offsets { generation }) = (me.epoch, me.step) else {
            return;
        };
        let result = if self.flaws.offsets_after_outputs {
            Ok(())
        } else if self.flaws.offsets_before_outputs {
            broker.commit_offsets(self.flaws, i, generation, me.offsets())
        } else {
            broker.send_offsets(self.flaws, i, epoch, generation, me.offsets())
        };
        match result {
            Ok(()) => me.step = Step::Ending,
            Err(Refused::Fenced) => me.abandon(self.flaws),
            Err(Refused::Generation) => {
                let aborted = broker.end(self.flaws, i, epoch, false).is_ok();
                me.aborted(self.flaws);
                // A refusal is an answer, and nothing is under way after it. Without one to the abort the producer is made anew.
                if !aborted {
                    me.epoch = None;
                }
                me.refused = !broker.group.members[i];
            }
        }
    }

    fn end(&self, broker: &mut Broker, me: &mut Instance, i: InstanceId, is_suspect: bool) {
        let Some(epoch) = me.epoch else { return };
        if broker.end(self.flaws, i, epoch, true).is_err() {
            me.abandon(self.flaws);
            return;
        }
        if is_suspect && !self.flaws.suspect_reused {
            // What was sent before may still come, and must not meet a transaction of this epoch.
            me.epoch = None;
        }
        if self.flaws.offsets_after_outputs {
            me.step = Step::OffsetsAfter;
        } else {
            me.committed();
        }
    }

    fn commit_offsets_after(&self, broker: &mut Broker, me: &mut Instance, i: InstanceId) {
        let generation = me.generation.unwrap_or_default();
        let offsets = me.offsets();
        if broker
            .commit_offsets(self.flaws, i, generation, offsets)
            .is_ok()
        {
            me.committed();
        } else {
            me.aborted(self.flaws);
        }
    }
}
