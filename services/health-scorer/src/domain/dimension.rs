//! The five dimensions of a score and what each weighs.

use serde::{Deserialize, Serialize};

/// A dimension, in the brief's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dimension {
    /// ECC, row remapping, page retirement.
    Memory,
    /// Temperatures against the device's own limits.
    Thermal,
    /// Clocks, PCIe, throughput.
    Performance,
    /// Power draw, brakes and limits.
    Power,
    /// Xids, links, absence, repeats.
    Reliability,
}

impl Dimension {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Memory,
        Self::Thermal,
        Self::Performance,
        Self::Power,
        Self::Reliability,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory_health",
            Self::Thermal => "thermal_health",
            Self::Performance => "performance_health",
            Self::Power => "power_health",
            Self::Reliability => "reliability_health",
        }
    }

    /// Its place in [`Dimension::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its bit in a set of known dimensions.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What each dimension weighs, in the order of [`Dimension::ALL`]. They sum to 1.
pub type Weights = [f64; 5];

/// A set of weights by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The brief's.
    #[default]
    Default,
    /// What interrupts jobs, by the failure studies: thermal trouble was 1.4 % of Llama 3's interruptions (arXiv
    /// 2407.21783) and 0.15 % of FT-HSDP's (2602.00277), while repeats, links and the bus dominate.
    Evidence,
}

impl Profile {
    /// Its weights.
    pub const fn weights(self) -> Weights {
        match self {
            Self::Default => [0.30, 0.25, 0.20, 0.15, 0.10],
            Self::Evidence => [0.35, 0.10, 0.15, 0.10, 0.30],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_sums_to_one() {
        for profile in [Profile::Default, Profile::Evidence] {
            let sum: f64 = profile.weights().iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{profile:?}");
        }
    }

    #[test]
    fn indices_and_bits_follow_the_order() {
        for (at, dimension) in Dimension::ALL.into_iter().enumerate() {
            assert_eq!(dimension.index(), at);
            assert_eq!(dimension.bit(), 1 << at);
        }
    }
}
