//! What becomes of the partitions that a consumer is given: claimed, placed, read, stopped.
//!
//! Times are durations since any one instant; the caller has the clock.

use super::offsets::{Continuity, Place, Stored};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a partition is left alone after somebody else has claimed it.
///
/// An instance that woke up late may have claimed what it had lost already. It finds that out within a session; then the
/// partition must be claimed back, or nobody would store it.
pub const FENCED_PAUSE: Duration = Duration::from_secs(8);
/// Time between two looks at a partition whose log is not as it should be.
pub const STOPPED_PAUSE: Duration = Duration::from_secs(10);

/// Where a partition is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be claimed, not before this time.
    Unclaimed(Duration),
    /// A claim is on its way.
    Claiming,
    /// Claimed, and not read yet: its log is to be compared with what is stored.
    Claimed(Progress),
    /// Read.
    Reading(Progress),
    /// Not read, since its log is not as it should be; looked at again at this time.
    Stopped(Progress, Duration),
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    epoch: i64,
    /// The next offset to read; none for a partition of which nothing was read yet.
    next: Option<i64>,
    /// The next offset to store.
    stored: Option<i64>,
}

/// What to do with a partition whose log was compared with what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Read it from this offset on; none is the log's beginning.
    Read(Option<i64>),
    /// Leave it alone; `news` when that was not said yet.
    Stop {
        /// It was not stopped before.
        news: bool,
    },
    /// It is not ours any more.
    Gone,
}

/// How many partitions are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub assigned: usize,
    /// Those that are read.
    pub reading: usize,
    /// Those whose log is not as it should be.
    pub stopped: usize,
}

/// The partitions of one consumer.
#[derive(Clone, Debug, Default)]
pub struct Assignment {
    phases: BTreeMap<Place, Phase>,
}

impl Assignment {
    /// The group gave `place` to this consumer.
    pub fn add(&mut self, place: Place) {
        self.phases.insert(place, Phase::Unclaimed(Duration::ZERO));
    }

    /// The group took it away; true if it was read.
    pub fn remove(&mut self, place: Place) -> bool {
        matches!(self.phases.remove(&place), Some(Phase::Reading(_)))
    }

    /// The partitions to claim now. They count as being claimed.
    pub fn to_claim(&mut self, now: Duration) -> Vec<Place> {
        let mut places = Vec::new();
        for (place, phase) in &mut self.phases {
            if matches!(phase, Phase::Unclaimed(at) if *at <= now) {
                *phase = Phase::Claiming;
                places.push(*place);
            }
        }
        places
    }

    /// The database's answer to a claim of what [`Assignment::to_claim`] named.
    pub fn claimed(&mut self, claims: &[(Place, Stored)]) {
        let claims: BTreeMap<Place, Stored> = claims.iter().copied().collect();
        for (place, phase) in &mut self.phases {
            // A partition that was taken away and given back meanwhile is claimed anew: the answer may be an old one.
            if *phase == Phase::Claiming {
                *phase = claims
                    .get(place)
                    .map_or(Phase::Unclaimed(Duration::ZERO), |stored| {
                        Phase::Claimed(Progress {
                            epoch: stored.epoch,
                            next: stored.next,
                            stored: stored.next,
                        })
                    });
            }
        }
    }

    /// The claim did not come to an end.
    pub fn claim_failed(&mut self, at: Duration) {
        for phase in self.phases.values_mut() {
            if *phase == Phase::Claiming {
                *phase = Phase::Unclaimed(at);
            }
        }
    }

    /// The partitions whose log is to be compared with what is stored now, and the offset that is wanted next.
    pub fn to_place(&self, now: Duration) -> Vec<(Place, Option<i64>)> {
        let wanted = |(place, phase): (&Place, &Phase)| match phase {
            Phase::Claimed(progress) => Some((*place, progress.next)),
            Phase::Stopped(progress, at) if *at <= now => Some((*place, progress.next)),
            _ => None,
        };
        self.phases.iter().filter_map(wanted).collect()
    }

    /// Decides what to do with a partition of which `continuity` was found. `skip_lost`: go on where records were lost.
    pub fn place(
        &mut self,
        place: Place,
        continuity: Continuity,
        skip_lost: bool,
        now: Duration,
    ) -> Placement {
        let Some(phase) = self.phases.get_mut(&place) else {
            return Placement::Gone;
        };
        let (progress, was_stopped) = match *phase {
            Phase::Claimed(progress) => (progress, false),
            Phase::Stopped(progress, _) => (progress, true),
            Phase::Unclaimed(_) | Phase::Claiming | Phase::Reading(_) => return Placement::Gone,
        };
        let start = match continuity {
            Continuity::Whole(next) => next,
            // Its slices still begin where the database ends: there is nothing between.
            Continuity::Lost { to, .. } if skip_lost => Some(to),
            Continuity::Lost { .. } | Continuity::Ahead { .. } => {
                *phase = Phase::Stopped(progress, now + STOPPED_PAUSE);
                return Placement::Stop { news: !was_stopped };
            }
        };
        *phase = Phase::Reading(progress);
        Placement::Read(start)
    }

    /// A record was read: the epoch to store it under, and where reading it began. None when it is not to be stored.
    pub fn read(&mut self, place: Place, offset: i64) -> Option<(i64, Option<i64>)> {
        let Some(Phase::Reading(progress)) = self.phases.get_mut(&place) else {
            return None;
        };
        if progress.next.is_some_and(|next| offset < next) {
            return None;
        }
        let base = progress.next.replace(offset + 1);
        Some((progress.epoch, base))
    }

    /// Everything below `end` is stored.
    pub fn stored(&mut self, place: Place, epoch: i64, end: i64) {
        if let Some(progress) = self.progress_mut(place, epoch) {
            progress.stored = progress.stored.max(Some(end));
        }
    }

    /// Somebody else has claimed `place` after `epoch`; true if it was read until now.
    pub fn fenced(&mut self, place: Place, epoch: i64, now: Duration) -> bool {
        if self.progress_mut(place, epoch).is_none() {
            return false;
        }
        let before = self
            .phases
            .insert(place, Phase::Unclaimed(now + FENCED_PAUSE));
        matches!(before, Some(Phase::Reading(_)))
    }

    /// Reading `place` shall begin again at `next`; true if it was read until now.
    pub fn rewind(&mut self, place: Place, epoch: i64, next: Option<i64>) -> bool {
        let Some(progress) = self.progress_mut(place, epoch) else {
            return false;
        };
        let progress = Progress { next, ..*progress };
        let before = self.phases.insert(place, Phase::Claimed(progress));
        matches!(before, Some(Phase::Reading(_)))
    }

    /// Has every partition that is read compared with its log again, which goes on where it was; those are returned.
    pub fn doubt(&mut self) -> Vec<Place> {
        let mut places = Vec::new();
        for (place, phase) in &mut self.phases {
            if let Phase::Reading(progress) = *phase {
                *phase = Phase::Claimed(progress);
                places.push(*place);
            }
        }
        places
    }

    /// The claim under which `place` is read.
    pub fn epoch(&self, place: Place) -> Option<i64> {
        match self.phases.get(&place)? {
            Phase::Claimed(progress) | Phase::Reading(progress) | Phase::Stopped(progress, _) => {
                Some(progress.epoch)
            }
            Phase::Unclaimed(_) | Phase::Claiming => None,
        }
    }

    /// The next offset to store of a partition that is claimed, and whether all that was read of it is stored.
    pub fn stored_next(&self, place: Place) -> Option<(Option<i64>, bool)> {
        match self.phases.get(&place)? {
            Phase::Claimed(progress) | Phase::Reading(progress) | Phase::Stopped(progress, _) => {
                Some((progress.stored, progress.next == progress.stored))
            }
            Phase::Unclaimed(_) | Phase::Claiming => None,
        }
    }

    /// Those that are read.
    pub fn reading(&self) -> impl Iterator<Item = Place> {
        let is_read =
            |(place, phase): (&Place, &Phase)| matches!(phase, Phase::Reading(_)).then_some(*place);
        self.phases.iter().filter_map(is_read)
    }

    /// All, ascending.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.phases.keys().copied()
    }

    /// How many are where.
    pub fn counts(&self) -> Counts {
        let is_stopped = |phase: &&Phase| matches!(phase, Phase::Stopped(..));
        Counts {
            assigned: self.phases.len(),
            reading: self.reading().count(),
            stopped: self.phases.values().filter(is_stopped).count(),
        }
    }

    /// The progress of a partition that is claimed under `epoch`: news of an older claim are none.
    fn progress_mut(&mut self, place: Place, epoch: i64) -> Option<&mut Progress> {
        match self.phases.get_mut(&place)? {
            Phase::Claimed(progress) | Phase::Reading(progress) | Phase::Stopped(progress, _) => {
                (progress.epoch == epoch).then_some(progress)
            }
            Phase::Unclaimed(_) | Phase::Claiming => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::offsets::continuity;
    use crate::domain::table::Table;

    const A: Place = Place {
        table: Table::Readings,
        partition: 0,
    };
    const B: Place = Place {
        table: Table::Alerts,
        partition: 3,
    };
    const NOW: Duration = Duration::from_secs(100);

    fn stored(next: Option<i64>, epoch: i64) -> Stored {
        Stored { next, epoch }
    }

    /// `A`, claimed with epoch 5 and read from `next`.
    fn reading(next: Option<i64>) -> Assignment {
        let mut assignment = Assignment::default();
        assignment.add(A);
        assert_eq!(assignment.to_claim(NOW), [A]);
        assignment.claimed(&[(A, stored(next, 5))]);
        assert_eq!(assignment.to_place(NOW), [(A, next)]);
        let whole = Continuity::Whole(next);
        assert_eq!(
            assignment.place(A, whole, false, NOW),
            Placement::Read(next)
        );
        assignment
    }

    #[test]
    fn nothing_is_read_before_it_is_claimed_and_placed() {
        let mut assignment = Assignment::default();
        assignment.add(A);
        assignment.add(B);
        assert_eq!(assignment.read(A, 0), None);
        assert_eq!(assignment.to_claim(NOW), [A, B]);
        assert_eq!(assignment.to_claim(NOW), []);
        assignment.claimed(&[(A, stored(Some(7), 2))]);
        assert_eq!(assignment.read(A, 7), None);
        // What the answer left out is claimed again.
        assert_eq!(assignment.to_claim(NOW), [B]);
        let whole = Continuity::Whole(Some(7));
        assert_eq!(
            assignment.place(A, whole, false, NOW),
            Placement::Read(Some(7))
        );
        assert_eq!(assignment.read(A, 9), Some((2, Some(7))));
        assert_eq!(assignment.read(A, 10), Some((2, Some(10))));
        assert_eq!(assignment.read(A, 10), None, "read already");
        let counts = assignment.counts();
        assert_eq!((counts.assigned, counts.reading, counts.stopped), (2, 1, 0));
    }

    #[test]
    fn an_answer_to_a_claim_from_before_a_revocation_does_not_count() {
        let mut assignment = Assignment::default();
        assignment.add(A);
        assert_eq!(assignment.to_claim(NOW), [A]);
        assert!(!assignment.remove(A));
        assignment.add(A);
        assignment.claimed(&[(A, stored(Some(1), 1))]);
        assert_eq!(assignment.to_place(NOW), []);
        assert_eq!(assignment.to_claim(NOW), [A]);
        assignment.claim_failed(NOW);
        assert_eq!(assignment.to_claim(NOW), [A]);
    }

    #[test]
    fn a_fenced_partition_is_claimed_back_when_it_is_still_ours_after_a_session() {
        let mut assignment = reading(Some(3));
        assert!(!assignment.fenced(A, 4, NOW), "news of an older claim");
        assert!(assignment.fenced(A, 5, NOW));
        assert_eq!(assignment.read(A, 3), None);
        assert_eq!(assignment.to_claim(NOW), []);
        assert_eq!(assignment.to_claim(NOW + FENCED_PAUSE), [A]);
    }

    #[test]
    fn a_rewind_begins_again_where_it_says_and_only_for_its_own_claim() {
        let mut assignment = reading(None);
        assert_eq!(assignment.read(A, 2), Some((5, None)));
        assert!(!assignment.rewind(A, 4, None));
        assert!(assignment.rewind(A, 5, None));
        assert_eq!(assignment.to_place(NOW), [(A, None)]);
        assert!(!assignment.rewind(A, 5, Some(1)), "it is not read");
        assert_eq!(assignment.to_place(NOW), [(A, Some(1))]);
    }

    #[test]
    fn lost_records_stop_a_partition_until_its_log_is_whole_or_they_may_be_skipped() {
        let mut assignment = reading(Some(3));
        assert_eq!(assignment.read(A, 3), Some((5, Some(3))));
        assert_eq!(assignment.doubt(), [A]);
        let lost = continuity(Some(4), 8, 9);
        let stop = |news| Placement::Stop { news };
        assert_eq!(assignment.place(A, lost, false, NOW), stop(true));
        assert_eq!(assignment.counts().stopped, 1);
        assert_eq!(assignment.to_place(NOW), []);
        let later = NOW + STOPPED_PAUSE;
        assert_eq!(assignment.to_place(later), [(A, Some(4))]);
        let ahead = continuity(Some(4), 0, 2);
        assert_eq!(assignment.place(A, ahead, true, later), stop(false));
        assert_eq!(
            assignment.place(A, lost, true, later),
            Placement::Read(Some(8))
        );
        // The slice begins where the database ends.
        assert_eq!(assignment.read(A, 8), Some((5, Some(4))));
    }

    #[test]
    fn what_is_stored_lags_behind_what_is_read() {
        let mut assignment = reading(Some(3));
        assert_eq!(assignment.stored_next(A), Some((Some(3), true)));
        assignment.read(A, 3);
        assert_eq!(assignment.stored_next(A), Some((Some(3), false)));
        assignment.stored(A, 4, 4);
        assert_eq!(assignment.stored_next(A), Some((Some(3), false)));
        assignment.stored(A, 5, 4);
        assert_eq!(assignment.stored_next(A), Some((Some(4), true)));
        assert_eq!(assignment.epoch(A), Some(5));
        assert!(assignment.remove(A));
        assert_eq!(assignment.stored_next(A), None);
    }
}
