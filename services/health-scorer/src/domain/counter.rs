//! Increments of cumulative counters that may start again.

use serde::{Deserialize, Serialize};

/// The last value of a counter; none before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter(Option<u64>);

/// What a counter's fall means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// It counts since the driver was loaded: a fall is a restart, and what it shows now has happened since.
    DriverLoad,
    /// It counts over the board's life: a fall is a correction, and tells nothing.
    Lifetime,
}

/// How far a counter moved since the last reading that had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// By how much.
    pub increment: u64,
    /// It started again in between.
    pub is_restart: bool,
}

impl Counter {
    /// Takes the next value. No step while the value is unknown, and none for the first one: when what it counts
    /// happened is then unknown.
    pub fn advance(&mut self, value: Option<u64>, span: Span) -> Option<Step> {
        let now = value?;
        let before = self.0.replace(now)?;
        let is_restart = now < before;
        let increment = match span {
            Span::DriverLoad if is_restart => now,
            Span::Lifetime if is_restart => 0,
            _ => now - before,
        };
        Some(Step {
            increment,
            is_restart,
        })
    }

    /// No reading has had it yet.
    pub const fn is_new(self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to a counter: errors come, the driver is loaded again, a value is missing.
    #[derive(Clone, Debug)]
    enum Event {
        Errors(u16),
        Restart,
        Unread,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => any::<u16>().prop_map(Event::Errors),
            1 => Just(Event::Restart),
            2 => Just(Event::Unread),
        ]
    }

    proptest! {
        #[test]
        fn increments_add_up_to_what_a_list_of_all_values_says(events in proptest::collection::vec(event(), 1..80)) {
            // The oracle keeps every value that was read and adds up rises, and what stands after a fall.
            let (mut real, mut values) = (0_u64, Vec::new());
            let (mut counter, mut total, mut restarts) = (Counter::default(), 0, 0);
            for event in events {
                let shown = match event {
                    Event::Errors(n) => { real += u64::from(n); Some(real) }
                    Event::Restart => { real = 0; Some(0) }
                    Event::Unread => None,
                };
                values.extend(shown);
                if let Some(step) = counter.advance(shown, Span::DriverLoad) {
                    total += step.increment;
                    restarts += usize::from(step.is_restart);
                }
            }
            let rises: u64 = values.windows(2).map(|w| if w[1] >= w[0] { w[1] - w[0] } else { w[1] }).sum();
            prop_assert_eq!(total, rises);
            prop_assert_eq!(restarts, values.windows(2).filter(|w| w[1] < w[0]).count());
        }
    }

    #[test]
    fn the_first_value_is_a_baseline_and_a_fall_is_a_new_segment() {
        let mut counter = Counter::default();
        assert!(counter.is_new());
        let mut step = |value, span| {
            let step = counter.advance(value, span);
            step.map(|s| (s.increment, s.is_restart))
        };
        assert_eq!(step(Some(1_847), Span::DriverLoad), None);
        assert_eq!(step(Some(1_850), Span::DriverLoad), Some((3, false)));
        assert_eq!(step(None, Span::DriverLoad), None);
        assert_eq!(step(Some(1_850), Span::DriverLoad), Some((0, false)));
        assert_eq!(step(Some(2), Span::DriverLoad), Some((2, true)));
        assert_eq!(step(Some(1), Span::Lifetime), Some((0, true)));
    }
}
