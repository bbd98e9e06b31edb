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
    Auditor,
}

impl Role {
    /// In the order of the data's way.
    pub(crate) const ALL: [Self; 8] = [
        Self::AssetLookup,
        Self::Validator,
        Self::Enricher,
        Self::Aggregator,
        Self::AnomalyDetector,
        Self::HealthScorer,
        Self::TsdbSink,
        Self::Auditor,
    ];

    /// Those that consume, transform and produce in transactions.
    pub(crate) const STAGES: [Self; 5] = [
        Self::Validator,
        Self::Enricher,
        Self::Aggregator,
        Self::AnomalyDetector,
        Self::HealthScorer,
    ];

    /// The stages that the Kafka Streams peer has too.
    pub(crate) const COMPARED: [Self; 3] = [Self::Validator, Self::Enricher, Self::Aggregator];

    /// Everything that reads telemetry to make something of it.
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
            Self::Auditor => "auditor",
        }
    }

    /// What it reads, as far as its progress is kept in its consumer group.
    pub(crate) const fn input(self) -> Option<&'static Topic> {
        match self {
            Self::AssetLookup | Self::TsdbSink | Self::Auditor => None,
            Self::Validator => Some(&topic::RAW),
            Self::Enricher => Some(&topic::VALIDATED),
            Self::Aggregator | Self::AnomalyDetector | Self::HealthScorer => Some(&topic::ENRICHED),
        }
    }
}

/// Whose stages are struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Ours,
    KafkaStreams,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::KafkaStreams => "Kafka Streams",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
