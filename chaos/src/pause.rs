//! What a strike at one member costs each partition. Pure functions over times.

use std::collections::BTreeMap;

/// An output record that a reader of committed records has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) partition: i32,
    /// When, in milliseconds of the measurement.
    pub(crate) at_ms: u64,
    /// The offset of the input record that it came of.
    pub(crate) source: i64,
}

/// One partition in the time after a strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// From the strike to the first output of an input that was written after it; none if there was none.
    pub(crate) first_ms: Option<u64>,
    /// The longest time without an output.
    pub(crate) longest_ms: u64,
}

/// Looks at each partition from the strike to the end of the look. `ends` are the input's ends at the strike.
pub(crate) fn pauses(
    arrivals: &[Arrival],
    ends: &BTreeMap<i32, i64>,
    strike_ms: u64,
    until_ms: u64,
) -> BTreeMap<i32, Pause> {
    let of = |partition: i32, end: i64| {
        let mut last = strike_ms;
        let mut pause = Pause {
            first_ms: None,
            longest_ms: 0,
        };
        for arrival in arrivals {
            if arrival.partition != partition || arrival.at_ms > until_ms {
                continue;
            }
            if arrival.at_ms < strike_ms {
                continue;
            }
            pause.longest_ms = pause.longest_ms.max(arrival.at_ms.saturating_sub(last));
            last = arrival.at_ms;
            if arrival.source >= end && pause.first_ms.is_none() {
                pause.first_ms = Some(arrival.at_ms - strike_ms);
            }
        }
        pause.longest_ms = pause.longest_ms.max(until_ms.saturating_sub(last));
        pause
    };
    ends.iter()
        .map(|(partition, end)| (*partition, of(*partition, *end)))
        .collect()
}

/// The highest and the middle one.
pub(crate) fn max_and_median(values: &mut [u64]) -> (u64, u64) {
    values.sort_unstable();
    let middle = values.get(values.len() / 2).copied().unwrap_or(0);
    (values.last().copied().unwrap_or(0), middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(partition: i32, at_ms: u64, source: i64) -> Arrival {
        Arrival {
            partition,
            at_ms,
            source,
        }
    }

    #[test]
    fn what_was_under_way_at_the_strike_is_not_the_first_output() {
        let arrivals = [
            arrival(0, 900, 10),
            arrival(0, 1_050, 11),
            arrival(0, 7_000, 12),
            arrival(0, 7_100, 13),
        ];
        let found = pauses(&arrivals, &BTreeMap::from([(0, 12)]), 1_000, 8_000);
        assert_eq!(
            found[&0],
            Pause {
                first_ms: Some(6_000),
                longest_ms: 5_950
            }
        );
    }

    #[test]
    fn a_partition_that_never_comes_back_pauses_to_the_end() {
        let found = pauses(
            &[arrival(1, 500, 1)],
            &BTreeMap::from([(0, 5), (1, 5)]),
            1_000,
            9_000,
        );
        let never = Pause {
            first_ms: None,
            longest_ms: 8_000,
        };
        assert_eq!((found[&0], found[&1]), (never, never));
    }

    #[test]
    fn highest_and_middle_are_of_the_sorted_values() {
        assert_eq!(max_and_median(&mut [5, 1, 3]), (5, 3));
        assert_eq!(max_and_median(&mut []), (0, 0));
    }
}
