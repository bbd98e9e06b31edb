//! Increments of cumulative counters that may start again.

use serde::{Deserialize, Serialize};

/// The last value of a counter; none before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter(Option<u64>);

/// What a counter's fall means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It counts since the driver was loaded: a fall is a reset, and what it shows now has happened since.
    DriverLoad,
    /// It counts over the board's life: a fall is a correction or another board, and tells nothing.
    Lifetime,
}

/// How far a counter moved between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Increment {
    /// By how much.
    pub amount: u64,
    /// It started again in between.
    pub is_reset: bool,
    /// Its value before.
    pub before: u64,
    /// Its value now.
    pub now: u64,
}

impl Counter {
    /// Takes the next value. Nothing to say while the value is unknown, and for the first one: when what it counts
    /// happened is then unknown.
    pub fn advance(&mut self, value: Option<u64>, origin: Origin) -> Option<Increment> {
        let now = value?;
        let before = self.0.replace(now)?;
        let is_reset = now < before;
        let amount = match origin {
            Origin::DriverLoad if is_reset => now,
            Origin::Lifetime if is_reset => 0,
            _ => now - before,
        };
        Some(Increment {
            amount,
            is_reset,
            before,
            now,
        })
    }
}

impl Counter {
    /// As [`advance`](Self::advance) with [`Origin::DriverLoad`], but what the first value shows counts too: it has
    /// happened since the driver was loaded, and nobody has told of it yet.
    pub fn advance_from_load(&mut self, value: Option<u64>) -> Option<Increment> {
        if value.is_some() {
            self.0.get_or_insert(0);
        }
        self.advance(value, Origin::DriverLoad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to a counter: errors come, the driver is loaded again, a value is missing.
    #[derive(Clone, Debug)]
    enum Step {
        Errors(u16),
        Reset,
        Unread,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => any::<u16>().prop_map(Step::Errors),
            1 => Just(Step::Reset),
            2 => Just(Step::Unread),
        ]
    }

    #[test]
    fn from_load_on_the_first_value_counts_once() {
        let mut counter = Counter::default();
        assert_eq!(counter.advance_from_load(None), None);
        let amounts = [Some(2), Some(2), None, Some(3), Some(1)].map(|value| {
            counter
                .advance_from_load(value)
                .map(|increment| (increment.amount, increment.is_reset))
        });
        let expected = [(2, false), (0, false), (1, false), (1, true)].map(Some);
        assert_eq!(amounts[..2], expected[..2]);
        assert_eq!(amounts[2], None);
        assert_eq!(amounts[3..], expected[2..]);
    }

    proptest! {
        #[test]
        fn increments_add_up_to_what_a_list_of_all_values_says(steps in proptest::collection::vec(step(), 1..80)) {
            // The oracle keeps every value that was read and adds up rises, and what stands after a fall.
            let (mut real, mut values) = (0_u64, Vec::new());
            let (mut counter, mut total, mut resets) = (Counter::default(), 0, 0);
            for step in steps {
                let shown = match step {
                    Step::Errors(n) => { real += u64::from(n); Some(real) }
                    Step::Reset => { real = 0; Some(0) }
                    Step::Unread => None,
                };
                values.extend(shown);
                if let Some(increment) = counter.advance(shown, Origin::DriverLoad) {
                    total += increment.amount;
                    resets += u32::from(increment.is_reset);
                }
            }
            let rises: u64 = values.windows(2).map(|w| if w[1] >= w[0] { w[1] - w[0] } else { w[1] }).sum();
            let falls = values.windows(2).filter(|w| w[1] < w[0]).count();
            prop_assert_eq!(total, rises);
            prop_assert_eq!(resets as usize, falls);
        }
    }

    #[test]
    fn the_first_value_is_a_baseline_and_a_fall_is_a_new_segment() {
        let mut counter = Counter::default();
        let mut amount = |value, origin| {
            counter
                .advance(value, origin)
                .map(|i| (i.amount, i.is_reset))
        };
        assert_eq!(amount(Some(1_847), Origin::DriverLoad), None);
        assert_eq!(amount(Some(1_850), Origin::DriverLoad), Some((3, false)));
        assert_eq!(amount(None, Origin::DriverLoad), None);
        assert_eq!(amount(Some(1_850), Origin::DriverLoad), Some((0, false)));
        assert_eq!(amount(Some(2), Origin::DriverLoad), Some((2, true)));
        assert_eq!(amount(Some(1), Origin::Lifetime), Some((0, true)));
    }
}
