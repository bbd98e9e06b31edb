//! A factor at work: what it takes, what it forbids, and the sentence that says why.

use super::factor::Factor;
use super::number::rounded;
use super::rules::Rules;
use schema::{HealthState, Timestamp};

/// One reason why a score is not 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub factor: Factor,
    /// Points that it takes from its dimension, after decay.
    pub points: f64,
    /// Its condition holds: its cap and its state are in force.
    pub holds: bool,
    /// What was seen.
    pub value: Option<f64>,
    /// What it was held against.
    pub limit: Option<f64>,
    /// When it was last seen, in milliseconds since the epoch.
    pub last_seen_ms: i64,
    /// The Xid that told of it; 0 where none did.
    pub xid: u16,
}

impl Finding {
    /// A finding whose condition does not hold and that has nothing but points.
    pub const fn new(factor: Factor, points: f64, last_seen_ms: i64) -> Self {
        Self {
            factor,
            points,
            holds: false,
            value: None,
            limit: None,
            last_seen_ms,
            xid: 0,
        }
    }

    /// Its condition holds, or not.
    #[must_use]
    pub const fn holding(mut self, holds: bool) -> Self {
        self.holds = holds;
        self
    }

    /// What was seen, against what.
    #[must_use]
    pub const fn seen(mut self, value: f64, limit: Option<f64>) -> Self {
        self.value = Some(value);
        self.limit = limit;
        self
    }

    /// The Xid that told of it.
    #[must_use]
    pub const fn xid(mut self, xid: u16) -> Self {
        self.xid = xid;
        self
    }

    /// The most that the overall score may be because of it.
    pub fn cap(&self, rules: &Rules) -> Option<f64> {
        rules.of(self.factor).cap.filter(|_| self.holds)
    }

    /// What should happen with the GPU because of it.
    pub fn state(&self, rules: &Rules) -> HealthState {
        let implied = self.factor.spec().state.filter(|_| self.holds);
        implied.unwrap_or(if self.points > rules.limits.publish.degraded_points {
            HealthState::Degraded
        } else {
            HealthState::Ok
        })
    }

    /// A sentence for a person.
    pub fn evidence(&self) -> String {
        let mut text = self.factor.spec().evidence.to_owned();
        let places = [
            ("{value}", self.value, 1.0, 4),
            ("{limit}", self.limit, 1.0, 4),
            ("{value%}", self.value, 100.0, 1),
            ("{limit%}", self.limit, 100.0, 1),
        ];
        for (place, number, unit, digits) in places {
            if text.contains(place) {
                let number = rounded(number.unwrap_or(0.0) * unit, digits);
                text = text.replace(place, &number.to_string());
            }
        }
        if self.xid == 0 {
            text
        } else {
            format!("{text} (Xid {})", self.xid)
        }
    }

    /// As it is written.
    pub fn render(&self, rules: &Rules) -> schema::Factor {
        let spec = self.factor.spec();
        schema::Factor {
            name: spec.name.to_owned(),
            dimension: spec.dimension.name().to_owned(),
            points: rounded(self.points, 2),
            cap: self.cap(rules),
            value: self.value,
            limit: self.limit,
            last_seen: Timestamp::from_millis(self.last_seen_ms),
            evidence: self.evidence(),
        }
    }
}
