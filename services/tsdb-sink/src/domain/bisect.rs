//! Finds the rows that the database refuses, by halving.

use std::ops::Range;

/// Refused rows without one that was taken until the trouble counts as the table's, not the rows'.
const ALL_BAD: usize = 64;

/// A search among `n` rows: ask for the next range, try it, tell the answer.
///
/// Finds `b` bad rows with about `b * log2(n)` tries, most of them small.
#[derive(Clone, Debug)]
pub struct Bisect {
    pending: Vec<Range<usize>>,
    bad: Vec<usize>,
    good: usize,
}

impl Bisect {
    /// Among `n` rows, of which at least one is bad.
    pub fn new(n: usize) -> Self {
        let mut search = Self {
            pending: Vec::new(),
            bad: Vec::new(),
            good: 0,
        };
        search.split(0..n);
        search
    }

    /// The rows to try next.
    pub fn next_range(&self) -> Option<Range<usize>> {
        self.pending.last().cloned()
    }

    /// Whether the database took the rows of [`Bisect::next_range`].
    pub fn answer(&mut self, taken: bool) {
        let Some(range) = self.pending.pop() else {
            return;
        };
        if taken {
            self.good += range.len();
        } else if range.len() == 1 {
            self.bad.push(range.start);
        } else {
            self.split(range);
        }
    }

    /// The bad rows found so far, ascending.
    pub fn bad(&self) -> &[usize] {
        &self.bad
    }

    /// Many rows were refused and none was taken: it is not the rows.
    pub fn is_hopeless(&self) -> bool {
        self.good == 0 && self.bad.len() >= ALL_BAD
    }

    /// Lower half last, since the last is tried first.
    fn split(&mut self, range: Range<usize>) {
        if range.len() <= 1 {
            self.pending.extend((!range.is_empty()).then_some(range));
            return;
        }
        let middle = range.start + range.len() / 2;
        self.pending.push(middle..range.end);
        self.pending.push(range.start..middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn search(n: usize, bad: &BTreeSet<usize>) -> (Vec<usize>, usize, bool) {
        let mut search = Bisect::new(n);
        let mut tries = 0;
        while let Some(range) = search.next_range() {
            tries += 1;
            assert!(tries <= 2 * n + 2);
            search.answer(bad.range(range).next().is_none());
            if search.is_hopeless() {
                return (Vec::new(), tries, true);
            }
        }
        (search.bad().to_vec(), tries, false)
    }

    #[test]
    fn one_bad_row_in_ten_thousand_takes_few_tries() {
        let (found, tries, _) = search(10_000, &BTreeSet::from([4_711]));
        assert_eq!(found, [4_711]);
        assert!(tries <= 28, "{tries}");
    }

    #[test]
    fn a_table_that_takes_no_row_is_told_from_bad_rows() {
        let all: BTreeSet<usize> = (0..1_000).collect();
        assert!(search(1_000, &all).2);
        let few: BTreeSet<usize> = (0..10).collect();
        assert_eq!(search(10, &few).0.len(), 10);
        let but_one: BTreeSet<usize> = (1..1_000).collect();
        assert_eq!(search(1_000, &but_one).0.len(), 999);
    }

    proptest! {
        #[test]
        fn exactly_the_bad_rows_are_found(n in 1_usize..300, bad in prop::collection::btree_set(0_usize..300, 1..40)) {
            let bad: BTreeSet<usize> = bad.into_iter().map(|row| row % n).collect();
            let (found, _, hopeless) = search(n, &bad);
            prop_assert!(!hopeless);
            prop_assert_eq!(found, bad.into_iter().collect::<Vec<_>>());
        }
    }
}
