//! Offsets as ranges, for people.

use std::fmt;

/// Ranges that are kept for the log; how many offsets there are is counted all the same.
const MOST: usize = 16;

/// A set of offsets: how many, and the first ranges of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Offsets.
    pub count: u64,
    first: Vec<(i64, i64)>,
    cut: bool,
}

impl Ranges {
    /// Adds an offset, not below those before it if ranges shall join.
    pub fn push(&mut self, offset: i64) {
        self.extend(offset, offset + 1);
    }

    /// Adds `[from, to)`.
    pub fn extend(&mut self, from: i64, to: i64) {
        if to <= from {
            return;
        }
        self.count += to.abs_diff(from);
        let ranges = self.first.len();
        match self.first.last_mut() {
            Some((_, end)) if *end == from && !self.cut => *end = to,
            _ if ranges < MOST => self.first.push((from, to)),
            _ => self.cut = true,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.first.iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            let last = to - 1;
            if *from == last {
                write!(f, "{separator}{from}")?;
            } else {
                write!(f, "{separator}{from}-{last}")?;
            }
        }
        if self.cut {
            f.write_str(" ..")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_a_long_list_is_cut_but_counted() {
        let mut ranges = Ranges::default();
        for offset in [3, 4, 5, 9] {
            ranges.push(offset);
        }
        assert_eq!(ranges.to_string(), "3-5 9");
        for offset in 0..100 {
            ranges.push(100 + 2 * offset);
        }
        assert_eq!(ranges.count, 104);
        assert!(ranges.to_string().ends_with(" .."), "{ranges}");
        assert!(ranges.to_string().len() < 120);
    }
}
