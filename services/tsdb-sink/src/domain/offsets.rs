//! Which records of a batch are still to be stored: offsets compared with what the database holds.

use super::table::Table;

/// A partition of one of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Whose topic.
    pub table: Table,
    /// The partition.
    pub partition: i32,
}

/// The records of one partition in a batch: all there are in `[base, end)`.
///
/// Offsets have holes (transaction markers, aborted records), so that a missing record can't be told from a record's own
/// offset; it can from where the reading before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The partition.
    pub place: Place,
    /// The claim under which it was read.
    pub epoch: i64,
    /// Where reading it began; none for the first of a partition of which nothing was stored.
    pub base: Option<i64>,
    /// One more than the last record's offset.
    pub end: i64,
}

/// A partition's row in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The next offset to store; none before the first.
    pub next: Option<i64>,
    /// The number of the last claim.
    pub epoch: i64,
}

/// What to do with a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Store its records from this offset on; those before are there already.
    Store {
        /// The first offset.
        from: i64,
    },
    /// All of it is there already.
    Already,
    /// Something before it is not there: it must not be stored.
    Gap {
        /// What the database waits for.
        wanted: Option<i64>,
    },
    /// Somebody else has claimed the partition.
    Fenced,
}

/// Judges `slice` by what is stored.
pub fn judge(slice: &Slice, stored: &Stored) -> Verdict {
    if slice.epoch != stored.epoch {
        return Verdict::Fenced;
    }
    match (slice.base, stored.next) {
        (None, None) => Verdict::Store { from: i64::MIN },
        (Some(_), None) => Verdict::Gap { wanted: None },
        (_, Some(next)) if next >= slice.end => Verdict::Already,
        (Some(base), Some(next)) if base > next => Verdict::Gap { wanted: Some(next) },
        (_, Some(next)) => Verdict::Store { from: next },
    }
}

/// Whether a partition's log still holds everything from the stored offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It does: go on at this offset, or at the log's start.
    Whole(Option<i64>),
    /// Records that were never stored have been removed from the log.
    Lost {
        /// Where they began.
        from: i64,
        /// The log's start now.
        to: i64,
    },
    /// The log ends before what was stored: it is another log.
    Ahead {
        /// What is stored.
        stored: i64,
        /// The log's end.
        end: i64,
    },
}

/// Compares the stored offset with the log's `[low, high)`.
pub const fn continuity(next: Option<i64>, low: i64, high: i64) -> Continuity {
    match next {
        None => Continuity::Whole(None),
        Some(next) if next < low => Continuity::Lost {
            from: next,
            to: low,
        },
        Some(next) if next > high => Continuity::Ahead {
            stored: next,
            end: high,
        },
        Some(next) => Continuity::Whole(Some(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slice(base: Option<i64>, end: i64) -> Slice {
        Slice {
            place: Place {
                table: Table::Alerts,
                partition: 0,
            },
            epoch: 3,
            base,
            end,
        }
    }

    fn verdict(base: Option<i64>, end: i64, next: Option<i64>) -> Verdict {
        judge(&slice(base, end), &Stored { next, epoch: 3 })
    }

    #[test]
    fn a_stored_prefix_is_left_out_a_gap_is_refused_and_a_foreign_claim_fences() {
        let all = Verdict::Store { from: i64::MIN };
        assert_eq!(verdict(None, 5, None), all);
        assert_eq!(verdict(None, 5, Some(3)), Verdict::Store { from: 3 });
        assert_eq!(verdict(Some(2), 5, Some(2)), Verdict::Store { from: 2 });
        assert_eq!(verdict(Some(2), 5, Some(4)), Verdict::Store { from: 4 });
        assert_eq!(verdict(Some(2), 5, Some(5)), Verdict::Already);
        assert_eq!(verdict(Some(2), 5, Some(9)), Verdict::Already);
        let gap = Verdict::Gap { wanted: Some(1) };
        assert_eq!(verdict(Some(2), 5, Some(1)), gap);
        assert_eq!(verdict(Some(2), 5, None), Verdict::Gap { wanted: None });
        let stored = Stored {
            next: Some(2),
            epoch: 4,
        };
        assert_eq!(judge(&slice(Some(2), 5), &stored), Verdict::Fenced);
    }

    #[test]
    fn a_log_that_lost_records_or_was_made_anew_is_told_from_a_whole_one() {
        assert_eq!(continuity(None, 7, 9), Continuity::Whole(None));
        assert_eq!(continuity(Some(7), 7, 9), Continuity::Whole(Some(7)));
        assert_eq!(continuity(Some(9), 7, 9), Continuity::Whole(Some(9)));
        assert_eq!(
            continuity(Some(6), 7, 9),
            Continuity::Lost { from: 6, to: 7 }
        );
        assert_eq!(
            continuity(Some(10), 7, 9),
            Continuity::Ahead { stored: 10, end: 9 }
        );
    }

    proptest! {
        /// However slices are cut, repeated and reordered, each offset is stored once, in order.
        #[test]
        fn each_record_is_stored_once_whatever_is_sent_again(
            cuts in prop::collection::btree_set(1_i64..60, 1..8),
            sends in prop::collection::vec((0_usize..8, 0_usize..8), 1..40),
        ) {
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let mut next = None;
            let mut rows = Vec::new();
            for (a, b) in sends {
                let (a, b) = (a % cuts.len(), b % cuts.len());
                let (first, last) = (a.min(b), a.max(b));
                let base = (first > 0).then(|| cuts[first - 1]);
                let end = cuts[last];
                if let Verdict::Store { from } = verdict(base, end, next) {
                    let start = base.unwrap_or(0);
                    rows.extend((start..end).filter(|offset| *offset >= from));
                    next = Some(end);
                }
            }
            let expected: Vec<i64> = (0..next.unwrap_or(0)).collect();
            prop_assert_eq!(rows, expected);
        }
    }
}
