//! What one rule says about one reading.

use super::recent::Level;
use super::rule::Rule;

/// Whether a rule's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The reading does not tell: nothing changes.
    Unknown,
    /// It does not hold, and the alert may end when this lasts.
    Clear,
    /// It does not hold, but is too near for the alert to end.
    Quiet,
    /// It holds.
    Raise,
    /// It holds in its graver form.
    Urgent,
}

/// The values that show how it came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Series {
    /// None but the current one.
    Current,
    /// Those kept of a level.
    Level(Level),
    /// The one before, then the current one.
    Before(f64),
    /// Throttled percent of each of the last minutes, for the reason at this place of the window.
    Throttled(usize),
}

/// One rule, one reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it says.
    pub signal: Signal,
    /// How often it was seen in this reading.
    pub occurrences: u32,
    /// The metric that decided.
    pub metric: &'static str,
    /// Its value.
    pub value: Option<f64>,
    /// The limit it was held against.
    pub threshold: Option<f64>,
    /// The Xid.
    pub xid: Option<u16>,
    /// What surrounds the value.
    pub series: Series,
    /// What a message needs beside value and threshold.
    pub detail: Detail,
}

/// What a message needs beside value and threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detail {
    /// Nothing.
    None,
    /// Which of a rule's conditions it is.
    Cause(&'static str),
    /// A number.
    Number(f64),
}

impl Finding {
    /// A finding of `rule` from `metric`.
    pub const fn new(rule: Rule, signal: Signal, metric: &'static str) -> Self {
        Self {
            rule,
            signal,
            occurrences: 1,
            metric,
            value: None,
            threshold: None,
            xid: None,
            series: Series::Current,
            detail: Detail::None,
        }
    }

    /// With the value and the limit it was held against.
    #[must_use]
    pub const fn against(mut self, value: f64, threshold: f64) -> Self {
        self.value = Some(value);
        self.threshold = Some(threshold);
        self
    }

    /// With what surrounds the value.
    #[must_use]
    pub const fn series(mut self, series: Series) -> Self {
        self.series = series;
        self
    }

    /// With what its message needs.
    #[must_use]
    pub const fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// The value for a message.
    pub fn shown(&self) -> String {
        self.value.map_or_else(|| "unknown".to_owned(), plain)
    }

    /// The limit for a message.
    pub fn limit(&self) -> String {
        self.threshold.map_or_else(|| "none".to_owned(), plain)
    }
}

/// A number as a person writes it: at most two places, none where it is whole.
pub fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_a_person_would() {
        assert_eq!(plain(95.0), "95");
        assert_eq!(plain(0.067), "0.07");
        assert_eq!(plain(61.50), "61.5");
        assert_eq!(plain(100.0), "100");
        assert_eq!(plain(0.0), "0");
    }
}
