//! The last fifteen watched minutes of a GPU, minute by minute: what levels are judged by.
//!
//! Exact where it matters and small where it does not: of temperatures, only those near their limit are kept, which is all
//! that the worst few of them need.

use serde::{Deserialize, Serialize};

/// Minutes looked back on, the current one included.
pub const MINUTES: usize = 15;
const WINDOW_MINUTES: i64 = 15;
/// Low margins kept a minute, the lowest; more than the worst 5 % of any number of samples that a minute has in practice.
const LOWS_KEPT: usize = 32;
const MINUTE_MS: i64 = 60_000;

/// One minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Readings.
    pub samples: u16,
    /// The dimensions that they told something about.
    pub known: u8,
    /// Core temperatures under load.
    pub core: Margins,
    /// Memory temperatures under load.
    pub memory: Margins,
    /// Sum of power, in tenths of a watt.
    pub power_tenths: u32,
    /// Readings that had it.
    pub power_samples: u16,
    /// PCIe replays.
    pub replays: u32,
}

/// Margins to a maximum operating temperature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Margins {
    /// How many.
    samples: u16,
    /// The low ones, in tenths of a degree.
    lows: Vec<i16>,
}

impl Margins {
    /// Adds a margin; one of `fine_tenths` or more is counted only.
    pub fn add(&mut self, margin_tenths: i16, fine_tenths: i16) {
        self.samples = self.samples.saturating_add(1);
        if margin_tenths >= fine_tenths {
            return;
        }
        if self.lows.len() < LOWS_KEPT {
            self.lows.push(margin_tenths);
        } else if let Some(mildest) = self.lows.iter_mut().max()
            && margin_tenths < *mildest
        {
            *mildest = margin_tenths;
        }
    }
}

/// What the margins of fifteen minutes come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// How many there were.
    pub samples: u32,
    /// The mildest of the worst share of them, in degrees; none when that is a fine one.
    pub margin_c: Option<f64>,
}

/// The minutes, oldest first and without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarter {
    /// The last one's number, counted in watched time.
    newest: u32,
    minutes: Vec<Minute>,
}

impl Quarter {
    /// The minute that holds `watched_ms`, to add to. Older ones than [`MINUTES`] go.
    pub fn at(&mut self, watched_ms: i64) -> &mut Minute {
        let minute = super::number::period(watched_ms, MINUTE_MS).max(self.newest);
        let missing = usize::try_from(minute - self.newest).unwrap_or(MINUTES);
        if self.minutes.is_empty() || missing >= MINUTES {
            self.minutes.clear();
            self.minutes.push(Minute::default());
        } else {
            self.minutes.extend((0..missing).map(|_| Minute::default()));
            let surplus = self.minutes.len().saturating_sub(MINUTES);
            self.minutes.drain(..surplus);
        }
        self.newest = minute;
        let last = self.minutes.len() - 1;
        &mut self.minutes[last]
    }

    /// The minutes that are among the last [`MINUTES`] at `watched_ms`.
    pub fn live(&self, watched_ms: i64) -> &[Minute] {
        let now = super::number::period(watched_ms, MINUTE_MS);
        let aged = usize::try_from(now.saturating_sub(self.newest)).unwrap_or(MINUTES);
        let kept = MINUTES.saturating_sub(aged).min(self.minutes.len());
        &self.minutes[self.minutes.len() - kept..]
    }

    /// Where the live minutes begin, in watched time.
    pub fn begins_ms(watched_ms: i64) -> i64 {
        (watched_ms.div_euclid(MINUTE_MS) - (WINDOW_MINUTES - 1)) * MINUTE_MS
    }
}

/// The mildest of the worst `share` of the margins in `minutes`: the `ceil(share x n)`-th smallest, by nearest rank.
pub fn worst(minutes: &[Minute], share: f64, of: fn(&Minute) -> &Margins) -> Worst {
    let samples: u32 = minutes.iter().map(|m| u32::from(of(m).samples)).sum();
    let mut lows: Vec<i16> = minutes
        .iter()
        .flat_map(|m| of(m).lows.iter().copied())
        .collect();
    let rank = (share * f64::from(samples)).ceil().max(1.0);
    let rank = usize::from(super::number::small(rank)).min(LOWS_KEPT);
    if lows.len() < rank {
        return Worst {
            samples,
            margin_c: None,
        };
    }
    let (_, tenths, _) = lows.select_nth_unstable(rank - 1);
    Worst {
        samples,
        margin_c: Some(f64::from(*tenths) / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minute_leaves_after_fifteen() {
        let mut quarter = Quarter::default();
        for minute in 0..20 {
            quarter.at(minute * MINUTE_MS + 5).samples += 1;
        }
        assert_eq!(quarter.live(19 * MINUTE_MS).len(), 15);
        assert_eq!(quarter.live(25 * MINUTE_MS).len(), 9);
        assert_eq!(quarter.live(40 * MINUTE_MS).len(), 0);
        assert_eq!(Quarter::begins_ms(19 * MINUTE_MS + 7), 5 * MINUTE_MS);
        quarter.at(23 * MINUTE_MS).samples += 1;
        let samples: Vec<_> = quarter
            .live(23 * MINUTE_MS)
            .iter()
            .map(|m| m.samples)
            .collect();
        assert_eq!(samples, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1]);
        quarter.at(500 * MINUTE_MS).samples += 1;
        assert_eq!(quarter.live(500 * MINUTE_MS).len(), 1);
    }

    proptest! {
        #[test]
        fn the_worst_share_is_what_sorting_all_margins_says(
            margins in proptest::collection::vec((0..15_i64, -60..300_i16), 1..400),
        ) {
            let mut quarter = Quarter::default();
            let mut in_order = margins.clone();
            in_order.sort_by_key(|(minute, _)| *minute);
            for (minute, margin) in &in_order {
                quarter.at(minute * MINUTE_MS).core.add(*margin, 80);
            }
            let mut all: Vec<i16> = margins.iter().map(|(_, margin)| *margin).collect();
            all.sort_unstable();
            let rank = (all.len() * 5).div_ceil(100);
            let expected = Some(all[rank - 1]).filter(|m| *m < 80).map(|m| f64::from(m) / 10.0);
            let found = worst(quarter.live(14 * MINUTE_MS), 0.05, |m| &m.core);
            prop_assert_eq!(found.samples as usize, all.len());
            prop_assert_eq!(found.margin_c, expected);
        }
    }
}
