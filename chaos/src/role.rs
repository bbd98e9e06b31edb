//! The parts of the fleet that can be struck.

use schema::topic::{self, Topic};
use std::fmt;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    AssetLookup,
    Validator,
    Enricher,
    Aggregator,
    AnomalyDetector,
    HealthScorer,
    TsdbSink,
}

impl Role {
    /// In the order of the data's way.
    pub(crate) const ALL: [Self; 7] = [
        Self::AssetLookup,
        Self::Validator,
        Self::Enricher,
        Self::Aggregator,
        Self::AnomalyDetector,
        Self::HealthScorer,
        Self::TsdbSink,
    ];

    /// Those that consume, transform and produce in transactions.
    pub(crate) const STAGES: [Self; 5] = [
        Self::Validator,
        Self::Enricher,
        Self::Aggregator,
        Self::AnomalyDetector,
        Self::HealthScorer,
    ];

    /// Everything that reads telemetry.
    pub(crate) const CONSUMERS: [Self; 6] = [
        Self::Validator,
        Self::Enricher,
        Self::Aggregator,
        Self::AnomalyDetector,
        Self::HealthScorer,
        Self::TsdbSink,
    ];

    /// Name of its binary and of its consumer group.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AssetLookup => "asset-lookup",
            Self::Validator => "validator",
            Self::Enricher => "enricher",
            Self::Aggregator => "aggregator",
            Self::AnomalyDetector => "anomaly-detector",
            Self::HealthScorer => "health-scorer",
            Self::TsdbSink => "tsdb-sink",
        }
    }

    /// What it reads, as far as its progress is kept in its consumer group.
    pub(crate) const fn input(self) -> Option<&'static Topic> {
        match self {
            Self::AssetLookup | Self::TsdbSink => None,
            Self::Validator => Some(&topic::RAW),
            Self::Enricher => Some(&topic::VALIDATED),
            Self::Aggregator | Self::AnomalyDetector | Self::HealthScorer => Some(&topic::ENRICHED),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
