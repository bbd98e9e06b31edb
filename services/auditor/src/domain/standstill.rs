//! Tells a reader that stands still from one that is slow.
//!
//! A client can stop to fetch a partition without a word: librdkafka 2.12 does after a broker's kill -9, while it
//! validates a position (confluentinc/librdkafka#4492). Nothing but another client reads on then. That a partition does
//! not move is no sign by itself, since in a backlog it may wait for its turn. So one answer of the broker is held
//! until every partition has come to it: then the only ones left behind are those that no turn comes to.

use super::audit::Offsets;
use super::pipeline::TopicId;
use std::time::Duration;

/// A fetch takes a second at most, a connection is made anew within ten.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than this between two looks was time in which the process did not run, and does not count.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A partition that is not read though there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Its topic.
    pub topic: TopicId,
    /// Its number.
    pub partition: usize,
    /// Where reading stands.
    pub next: i64,
    /// What lies below can be read.
    pub stable: i64,
}

/// Watches how a reader moves.
#[derive(Debug, Default)]
pub struct Watch {
    /// How far reading can come at least; none until the broker tells.
    goal: Option<Offsets>,
    seen: Offsets,
    still: Duration,
}

impl Watch {
    /// The broker has told how far each partition is decided.
    pub fn told(&mut self, stable: &Offsets) {
        if self.goal.is_none() {
            self.goal = Some(stable.clone());
            self.still = Duration::ZERO;
        }
    }

    /// The broker does not answer, or reading has been sent elsewhere: whatever stands still has a reason.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Looks at where reading is, `elapsed` after the look before; tells of a partition that has stood still for too long.
    pub fn look(&mut self, elapsed: Duration, next: &Offsets) -> Option<Standstill> {
        let goal = self.goal.as_ref()?;
        let Some(first) = behind(goal, next).next() else {
            self.goal = None;
            return None;
        };
        let before = |at: &Standstill| self.seen.get(at.topic)?.get(at.partition).copied();
        if behind(goal, next).any(|at| before(&at) != Some(at.next)) {
            self.still = Duration::ZERO;
            self.seen.clone_from(next);
        } else {
            self.still += elapsed.min(LONGEST_STEP);
        }
        (self.still >= PATIENCE).then_some(first)
    }
}

fn behind<'a>(goal: &'a Offsets, next: &'a Offsets) -> impl Iterator<Item = Standstill> + 'a {
    goal.iter()
        .zip(next)
        .enumerate()
        .flat_map(|(topic, (goal, next))| {
            let partitions = goal.iter().zip(next).enumerate();
            partitions.filter(|(_, (stable, next))| next < stable).map(
                move |(partition, (stable, next))| Standstill {
                    topic,
                    partition,
                    next: *next,
                    stable: *stable,
                },
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks each half second from `from` to `to` (in half seconds); the first that it is told, and when.
    fn watch(
        watch: &mut Watch,
        (from, to): (u32, u32),
        mut step: impl FnMut(&mut Watch, u32) -> Offsets,
    ) -> Option<(u32, Standstill)> {
        (from..to).find_map(|half| {
            let next = step(watch, half);
            let found = watch.look(Duration::from_millis(500), &next);
            found.map(|found| (half, found))
        })
    }

    #[test]
    fn one_partition_that_stays_behind_while_others_go_on_is_found() {
        let found = watch(&mut Watch::default(), (0, 200), |watch, half| {
            let all = i64::from(half) * 100;
            watch.told(&vec![vec![all, all], vec![all]]);
            vec![vec![all, all.min(1_000)], vec![all]]
        });
        let (half, found) = found.expect("it stands still");
        assert_eq!(
            (found.topic, found.partition, found.next, found.stable),
            (0, 1, 1_000, 1_100)
        );
        assert!((70..75).contains(&half), "after 30 s: {half}");
    }

    #[test]
    fn nobody_who_waits_for_a_turn_in_a_backlog_is_blamed() {
        let found = watch(&mut Watch::default(), (0, 600), |watch, half| {
            watch.told(&vec![vec![30_000, 30_000]]);
            // The second's turn comes after more than two minutes.
            let all = i64::from(half) * 100;
            vec![vec![all.min(30_000), (all - 30_000).max(0)]]
        });
        assert_eq!(found, None);
    }

    #[test]
    fn neither_a_broker_that_is_away_nor_a_process_that_sleeps_counts() {
        let stays = vec![vec![10]];
        let mut reader = Watch::default();
        let found = watch(&mut reader, (0, 400), |watch, half| {
            watch.told(&vec![vec![20]]);
            if half % 50 == 0 {
                watch.forget();
            }
            stays.clone()
        });
        assert_eq!(found, None);
        reader.told(&vec![vec![20]]);
        assert_eq!(reader.look(Duration::ZERO, &stays), None);
        assert_eq!(reader.look(Duration::from_mins(5), &stays), None);
    }

    #[test]
    fn a_reader_at_the_end_may_rest() {
        let found = watch(&mut Watch::default(), (0, 400), |watch, _| {
            watch.told(&vec![vec![10]]);
            vec![vec![10]]
        });
        assert_eq!(found, None);
    }
}
