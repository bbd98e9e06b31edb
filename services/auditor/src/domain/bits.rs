//! A set of offsets as bits, from a base that only rises.

use std::collections::VecDeque;

/// Offsets in one word.
const WORD: i64 = 64;

/// Offsets at and above a base.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    /// Offset of the first word's lowest bit, a multiple of [`WORD`].
    base: i64,
    words: VecDeque<u64>,
}

impl Bits {
    /// None yet; `from` is the lowest that will come.
    pub fn starting_at(from: i64) -> Self {
        Self {
            base: aligned(from),
            words: VecDeque::new(),
        }
    }

    /// Adds `offset`; false if it was there. Below the base nothing is kept: false too.
    pub fn insert(&mut self, offset: i64) -> bool {
        let Some(index) = self.index(offset) else {
            return false;
        };
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let Some(word) = self.words.get_mut(index) else {
            return false;
        };
        let bit = 1 << offset.rem_euclid(WORD);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// The word that holds `offset`.
    pub fn word(&self, offset: i64) -> u64 {
        self.index(offset)
            .and_then(|index| self.words.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Forgets what lies in words wholly below `to`.
    pub fn advance(&mut self, to: i64) {
        let to = aligned(to);
        while self.base < to && !self.words.is_empty() {
            self.words.pop_front();
            self.base += WORD;
        }
        self.base = self.base.max(to);
        // What a backlog has taken is given back.
        if self.words.capacity() > 1_024 && self.words.len() * 8 < self.words.capacity() {
            self.words.shrink_to(self.words.len() * 2);
        }
    }

    fn index(&self, offset: i64) -> Option<usize> {
        usize::try_from((offset - self.base).div_euclid(WORD)).ok()
    }
}

/// Calls `each` with the first offset of every word that holds a part of `[from, to)`, and the mask of that part.
pub fn words(from: i64, to: i64, mut each: impl FnMut(i64, u64)) {
    let mut first = aligned(from);
    while first < to {
        let mut mask = u64::MAX;
        if first < from {
            mask &= u64::MAX << (from - first);
        }
        if to - first < WORD {
            mask &= !(u64::MAX << (to - first));
        }
        each(first, mask);
        first += WORD;
    }
}

/// The offsets of the bits of `word`, ascending.
pub fn offsets(first: i64, mut word: u64) -> impl Iterator<Item = i64> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < u64::BITS).then(|| first + i64::from(bit))
    })
}

const fn aligned(offset: i64) -> i64 {
    offset - offset.rem_euclid(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bits_are_a_set(
            start in 0_i64..300,
            added in prop::collection::vec(0_i64..400, 0..80),
            (from, length) in (0_i64..300, 0_i64..300),
        ) {
            let mut bits = Bits::starting_at(start);
            let mut set = BTreeSet::new();
            for offset in added {
                let kept = offset >= aligned(start);
                prop_assert_eq!(bits.insert(offset), kept && set.insert(offset));
            }
            let mut found = Vec::new();
            words(from, from + length, |first, mask| found.extend(offsets(first, bits.word(first) & mask)));
            prop_assert_eq!(&found, &set.range(from..from + length).copied().collect::<Vec<_>>());
            bits.advance(from);
            for offset in 0..400 {
                let there = bits.word(offset) & (1 << offset.rem_euclid(64)) != 0;
                prop_assert_eq!(there, offset >= aligned(from).max(aligned(start)) && set.contains(&offset));
            }
        }
    }
}
