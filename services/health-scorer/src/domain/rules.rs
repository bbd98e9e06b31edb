//! Everything that a score is computed by, checked.

use super::dimension::{Profile, Weights};
use super::factor::{Factor, FactorRule};
use super::limits::Limits;

/// Weights, what each factor costs, and thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What each dimension weighs.
    pub weights: Weights,
    /// What each factor costs, in the order of [`Factor::ALL`].
    factors: Vec<FactorRule>,
    /// Thresholds.
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            weights: Profile::Default.weights(),
            factors: Factor::ALL.iter().map(|f| f.spec().rule).collect(),
            limits: Limits::default(),
        }
    }
}

impl Rules {
    /// What `factor` costs.
    pub fn of(&self, factor: Factor) -> &FactorRule {
        &self.factors[factor.index()]
    }

    /// The same, to change.
    pub fn of_mut(&mut self, factor: Factor) -> &mut FactorRule {
        &mut self.factors[factor.index()]
    }
}
