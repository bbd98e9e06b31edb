//! What must hold: the invariants of `docs/spec/exactly-once.md`, under their names there.

use crate::broker::{Outcome, PARTITIONS, PartitionId, fold_of};
use crate::instance::{Life, Phase};
use crate::protocol::{Protocol, World};
use stateright::Property;

/// Each input record has at most one committed output.
pub const ONE_OUTCOME: &str = "each record has at most one committed outcome";
/// The committed outputs are those of the records before the committed offset.
pub const POSITION_IS_OUTPUTS: &str = "the committed offset says which outputs are committed";
/// Each committed output is computed from all records before it, each once.
pub const OUTPUTS_ARE_THE_FOLD: &str =
    "a committed output is the fold of the records up to its source";
/// The committed changelog holds the state as of the committed offset.
pub const CHANGELOG_IS_THE_FOLD: &str =
    "the committed changelog is the fold of the committed records";
/// A running task has the state that its position says, if it is its owner's: a zombie's work is never committed.
pub const STATE_IS_THE_FOLD: &str =
    "a running task's state is the fold of the records before its position";
/// Nothing of an old epoch or of a partition that belonged to another is committed.
pub const NOTHING_STALE: &str = "no work of an older epoch or generation is committed";
/// When nothing more can happen, every record has its output.
pub const ALL_COMMITTED: &str = "every record gets its committed outcome";
/// The same, after faults and their recovery.
pub const ALL_COMMITTED_AFTER_FAULTS: &str = "every record is committed after the last fault";

/// A commit in doubt did take effect.
pub const DOUBT_WAS_COMMITTED: &str = "a commit in doubt did take effect";
/// A commit in doubt did not take effect.
pub const DOUBT_WAS_ABORTED: &str = "a commit in doubt did not take effect";
/// An instance works on a partition that another has.
pub const ZOMBIE_AT_WORK: &str = "a zombie works on a partition that another has";
/// An open transaction holds a restore back.
pub const RESTORE_WAITS: &str = "a restore waits for an open transaction";
/// A late commit meets a transaction that is not its own.
pub const LATE_COMMIT_MEETS_NEXT: &str = "a late commit meets the next transaction of its id";
/// A takeover ends what a dead member left open.
pub const TAKEOVER_FENCES: &str = "a takeover is about to fence an open transaction";

/// Safety and liveness: what is broken when one of them fails.
pub const PROMISES: [&str; 7] = [
    ONE_OUTCOME,
    POSITION_IS_OUTPUTS,
    OUTPUTS_ARE_THE_FOLD,
    CHANGELOG_IS_THE_FOLD,
    STATE_IS_THE_FOLD,
    NOTHING_STALE,
    ALL_COMMITTED,
];

/// Dangers that the exploration must have met, or it would prove little.
pub const DANGERS: [&str; 7] = [
    ALL_COMMITTED_AFTER_FAULTS,
    DOUBT_WAS_COMMITTED,
    DOUBT_WAS_ABORTED,
    ZOMBIE_AT_WORK,
    RESTORE_WAITS,
    LATE_COMMIT_MEETS_NEXT,
    TAKEOVER_FENCES,
];

/// All of them.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_OUTCOME, |_, world: &World| {
            let outputs = &world.broker.outputs;
            outputs.iter().enumerate().all(|(at, one)| {
                !outputs[..at]
                    .iter()
                    .any(|other| other.partition == one.partition && other.source == one.source)
            })
        }),
        Property::always(POSITION_IS_OUTPUTS, |protocol: &Protocol, world: &World| {
            (0..PARTITIONS).all(|p| {
                (0..protocol.bounds.records[p]).all(|offset| {
                    has_output(world, p, offset) == (offset < world.broker.positions[p].offset)
                })
            })
        }),
        Property::always(OUTPUTS_ARE_THE_FOLD, |_, world: &World| {
            world
                .broker
                .outputs
                .iter()
                .all(|output| output.state == fold_of(output.source + 1))
        }),
        Property::always(CHANGELOG_IS_THE_FOLD, |_, world: &World| {
            let broker = &world.broker;
            (0..PARTITIONS).all(|p| {
                broker.restore(p, broker.high_watermark(p), false)
                    == fold_of(broker.positions[p].offset)
            })
        }),
        Property::always(STATE_IS_THE_FOLD, |_, world: &World| {
            (0..PARTITIONS).all(|p| {
                let Some(owner) = world.broker.group.owners[p] else {
                    return true;
                };
                world.instances[owner]
                    .partition(p, |mine| mine.phase == Phase::Running)
                    .is_none_or(|mine| {
                        mine.state == fold_of(mine.next) && mine.saved == fold_of(mine.committed)
                    })
            })
        }),
        Property::always(NOTHING_STALE, |_, world: &World| {
            !world.broker.stale_committed
        }),
        Property::eventually(ALL_COMMITTED, all_committed),
        Property::sometimes(
            ALL_COMMITTED_AFTER_FAULTS,
            |protocol: &Protocol, world: &World| {
                world.faults.any == 0
                    && all_committed(protocol, world)
                    && world
                        .instances
                        .iter()
                        .all(|instance| instance.life == Life::Up)
            },
        ),
        Property::sometimes(DOUBT_WAS_COMMITTED, |_, world: &World| doubt(world, true)),
        Property::sometimes(DOUBT_WAS_ABORTED, |_, world: &World| doubt(world, false)),
        Property::sometimes(ZOMBIE_AT_WORK, |_, world: &World| {
            world.instances.iter().enumerate().any(|(i, instance)| {
                instance.life == Life::Up
                    && (0..PARTITIONS).any(|p| {
                        let owner = world.broker.group.owners[p];
                        instance.partition(p, |mine| mine.dirty).is_some()
                            && owner.is_some_and(|owner| {
                                owner != i && world.instances[owner].partitions[p].is_some()
                            })
                    })
            })
        }),
        Property::sometimes(RESTORE_WAITS, |_, world: &World| {
            world.instances.iter().any(|instance| {
                instance.partitions.iter().enumerate().any(|(p, mine)| {
                    mine.is_some_and(|mine| match mine.phase {
                        Phase::Reading { target } => world.broker.last_stable_offset(p) < target,
                        Phase::Assigned | Phase::Restored | Phase::Running => false,
                    })
                })
            })
        }),
        Property::sometimes(LATE_COMMIT_MEETS_NEXT, |_, world: &World| {
            world.held.is_some_and(|held| {
                let producer = &world.broker.producers[held.id];
                held.commit && held.epoch < producer.epoch && producer.open.is_some()
            })
        }),
        Property::sometimes(TAKEOVER_FENCES, |_, world: &World| {
            world.instances.iter().any(|instance| {
                instance.fencing.is_some_and(|orphan| {
                    let changelogs = world.broker.changelog.iter().flatten();
                    world.instances[orphan].life == Life::Down
                        && changelogs
                            .filter(|change| change.writer == orphan)
                            .any(|change| change.outcome == Outcome::Open)
                })
            })
        }),
    ]
}

fn has_output(world: &World, partition: PartitionId, offset: u8) -> bool {
    world
        .broker
        .outputs
        .iter()
        .any(|output| output.partition == partition && output.source == offset)
}

fn all_committed(protocol: &Protocol, world: &World) -> bool {
    (0..PARTITIONS).all(|p| {
        world.broker.positions[p].offset == protocol.bounds.records[p]
            && (0..protocol.bounds.records[p]).all(|offset| has_output(world, p, offset))
    })
}

/// An instance is about to settle a doubt, and this is what it will find.
fn doubt(world: &World, took_effect: bool) -> bool {
    world.instances.iter().any(|instance| {
        instance.in_doubt
            && instance.epoch.is_some()
            && (0..PARTITIONS).any(|p| {
                let position = world.broker.positions[p].offset;
                instance
                    .partition(p, |mine| {
                        mine.dirty && (mine.next == position) == took_effect
                    })
                    .is_some()
            })
    })
}
