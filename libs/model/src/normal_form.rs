//! Makes states equal that behave equally, so that fewer are visited: epochs and generations count only by their order,
//! and of the changelog only what a reader can still see.

use crate::broker::PARTITIONS;
use crate::instance::{Phase, Step};
use crate::protocol::World;

/// Brings `world` into its normal form.
pub(crate) fn of(world: &mut World) {
    changelogs(world);
    epochs(world);
    generations(world);
}

fn changelogs(world: &mut World) {
    for p in 0..PARTITIONS {
        let removed = world.broker.compact(p);
        let stable = world.broker.last_stable_offset(p);
        for instance in &mut world.instances {
            let Some(mine) = &mut instance.partitions[p] else {
                continue;
            };
            if let Phase::Reading { target } = &mut mine.phase {
                *target -= removed.iter().filter(|at| **at < *target).count();
                if *target <= stable {
                    // Reached: how far beyond it is does not matter.
                    *target = 0;
                }
            }
        }
    }
}

fn epochs(world: &mut World) {
    for id in 0..world.broker.producers.len() {
        let held = world.held.as_mut().filter(|held| held.id == id);
        renumber(
            [
                Some(&mut world.broker.producers[id].epoch),
                world.instances[id].epoch.as_mut(),
                held.map(|held| &mut held.epoch),
            ]
            .into_iter()
            .flatten(),
        );
    }
}

fn generations(world: &mut World) {
    let mut numbers = vec![&mut world.broker.group.generation];
    for instance in &mut world.instances {
        numbers.extend(instance.generation.as_mut());
        if let Step::Offsets { generation } = &mut instance.step {
            numbers.push(generation);
        }
    }
    renumber(numbers.into_iter());
}

/// Gives the numbers the smallest values, from 1, that keep their order.
fn renumber<'a>(numbers: impl Iterator<Item = &'a mut u8>) {
    let mut numbers: Vec<&mut u8> = numbers.collect();
    numbers.sort_unstable();
    let mut last = None;
    let mut rank = 0;
    for number in numbers {
        if last != Some(*number) {
            last = Some(*number);
            rank += 1;
        }
        *number = rank;
    }
}
