//! What the stages make of the same log when nobody strikes them: the real code of each, in memory.

use aggregator::stage::Aggregator;
use anomaly_detector::domain::detector::Detector;
use anomaly_detector::stage::AnomalyDetector;
use chassis::Stage;
use chassis::testing::{Emitted, Input, StageDriver};
use enricher::stage::Enricher;
use health_scorer::stage::Scorer;
use schema::topic::{self, Topic};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use testbed::OwnedRecord;
use validator::stage::Validator;

/// Records until memory is given back; a stage's outputs do not depend on it.
const TRANSACTION: usize = 1_000;

/// The values of each topic, partition and key, in their order.
pub type Values = BTreeMap<(&'static str, i32, Option<Vec<u8>>), Vec<Vec<u8>>>;

/// A stage on its way through a log.
pub struct Replay<S: Stage> {
    driver: StageDriver<S>,
    outputs: Vec<&'static Topic>,
    values: Values,
}

impl<S: Stage> fmt::Debug for Replay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("outputs", &self.outputs)
            .field("keys", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// The validator with its defaults.
pub fn validator() -> Replay<Validator> {
    let config = validator::config::Config::default();
    let stage = Validator::new(
        config.limits().unwrap(),
        config.ticks,
        config.duplicates.forget_after_ms,
    );
    Replay::new(stage, &topic::RAW, &[&topic::VALIDATED, &topic::INVALID])
}

/// The enricher with its defaults; feed it the table first.
pub fn enricher() -> Replay<Enricher> {
    let stage = Enricher::new(&enricher::config::Limits::default());
    Replay::new(
        stage,
        &topic::VALIDATED,
        &[&topic::ENRICHED, &topic::INVALID],
    )
}

/// The aggregator with these windows.
pub fn aggregator(windows: aggregator::Windows) -> Replay<Aggregator> {
    Replay::new(
        Aggregator::new(windows),
        &topic::ENRICHED,
        &[&topic::ONE_MINUTE, &topic::FIFTEEN_MINUTES, &topic::INVALID],
    )
}

/// The anomaly detector with its defaults.
pub fn anomaly_detector() -> Replay<AnomalyDetector> {
    let config = anomaly_detector::Config::default();
    let detector = Detector::new(config.limits(), &config.runbook.base);
    Replay::new(
        AnomalyDetector::new(Arc::new(detector)),
        &topic::ENRICHED,
        &[&topic::ALERTS, &topic::CRITICAL, &topic::INVALID],
    )
}

/// The health scorer with its defaults.
pub fn health_scorer() -> Replay<Scorer> {
    let rules = health_scorer::Config::default().rules().unwrap();
    Replay::new(
        Scorer::new(Arc::new(rules)),
        &topic::ENRICHED,
        &[&topic::HEALTH_SCORES, &topic::INVALID],
    )
}

impl<S: Stage> Replay<S> {
    fn new(stage: S, input: &Topic, outputs: &[&'static Topic]) -> Self {
        let partitions: Vec<i32> = outputs.iter().map(|topic| topic.partitions).collect();
        Self {
            driver: StageDriver::new(stage, input.name, &partitions),
            outputs: outputs.to_vec(),
            values: Values::new(),
        }
    }

    /// Feeds the table that the stage looks things up in.
    pub fn table(&mut self, records: &[OwnedRecord]) {
        for record in records {
            self.driver.table(&input(record));
        }
    }

    /// Feeds the next records of the log.
    pub fn feed(&mut self, records: &[OwnedRecord]) {
        for transaction in records.chunks(TRANSACTION) {
            for record in transaction {
                self.driver.process(&input(record));
            }
            let emitted = self.driver.commit();
            self.keep(emitted);
        }
    }

    /// What has come out.
    pub fn values(self) -> Values {
        self.values
    }

    fn keep(&mut self, emitted: Vec<Emitted>) {
        for record in emitted {
            let topic = self.outputs[record.output].name;
            self.values
                .entry((topic, record.partition, record.key))
                .or_default()
                .push(record.value.unwrap_or_default());
        }
    }
}

fn input(record: &OwnedRecord) -> Input {
    Input {
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect(),
    }
}

/// Records of a topic, as [`Replay::values`] gives them. Dead letters: only those of `service`.
pub fn values_of(topic: &'static Topic, service: &str, records: &[OwnedRecord]) -> Values {
    let begins = format!("{{\"service\":\"{service}\",");
    let mut values = Values::new();
    for record in records {
        let value = record.value.clone().unwrap_or_default();
        if topic.name == topic::INVALID.name && !value.starts_with(begins.as_bytes()) {
            continue;
        }
        values
            .entry((topic.name, record.partition, record.key.clone()))
            .or_default()
            .push(value);
    }
    values
}

/// How much of the actual values must be as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    Whole,
    /// The first: the log went on after what was replayed.
    Beginning,
}

/// A key whose values are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Topic.
    pub topic: &'static str,
    /// Partition.
    pub partition: i32,
    /// Key.
    pub key: String,
    /// The first value that differs, counted from 0.
    pub at: usize,
    /// What it should be.
    pub expected: Option<String>,
    /// What it is.
    pub found: Option<String>,
}

/// Holds values against each other, key by key.
pub fn differences(expected: &Values, actual: &Values, extent: Extent) -> Vec<Difference> {
    let none = Vec::new();
    let mut found = Vec::new();
    let strangers = actual.keys().filter(|key| !expected.contains_key(*key));
    for key in expected.keys().chain(strangers) {
        let wanted = expected.get(key).unwrap_or(&none);
        let values = actual.get(key).unwrap_or(&none);
        let length = match extent {
            Extent::Whole => wanted.len().max(values.len()),
            Extent::Beginning => wanted.len(),
        };
        if let Some(at) = (0..length).find(|at| wanted.get(*at) != values.get(*at)) {
            let text = |value: Option<&Vec<u8>>| {
                value.map(|value| String::from_utf8_lossy(value).into_owned())
            };
            found.push(Difference {
                topic: key.0,
                partition: key.1,
                key: text(key.2.as_ref()).unwrap_or_default(),
                at,
                expected: text(wanted.get(at)),
                found: text(values.get(at)),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Values {
        Values::from([(
            (topic::ALERTS.name, 0, Some(b"GPU-1".to_vec())),
            texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        )])
    }

    #[test]
    fn equal_values_do_not_differ() {
        let one = values(&["a", "b"]);
        assert_eq!(differences(&one, &one.clone(), Extent::Whole), []);
    }

    #[test]
    fn a_lost_a_doubled_and_a_changed_value_are_found() {
        let wanted = values(&["a", "b", "c"]);
        for (actual, at) in [
            (vec!["a", "b"], 2),
            (vec!["a", "a", "b", "c"], 1),
            (vec!["a", "x", "c"], 1),
            (vec!["a", "b", "c", "c"], 3),
        ] {
            let found = differences(&wanted, &values(&actual), Extent::Whole);
            assert_eq!(found.len(), 1, "{actual:?}");
            assert_eq!(found[0].at, at, "{actual:?}");
        }
        assert_eq!(
            differences(&wanted, &Values::new(), Extent::Whole)[0].found,
            None
        );
        assert_eq!(
            differences(&Values::new(), &wanted, Extent::Whole)[0].expected,
            None
        );
    }

    #[test]
    fn what_came_after_the_replayed_log_may_be_there() {
        let wanted = values(&["a"]);
        assert_eq!(
            differences(&wanted, &values(&["a", "b"]), Extent::Beginning),
            []
        );
        assert_eq!(
            differences(&wanted, &values(&["b"]), Extent::Beginning).len(),
            1
        );
    }

    #[test]
    fn dead_letters_are_told_apart_by_who_wrote_them() {
        let letter = |service: &str| OwnedRecord {
            partition: 0,
            offset: 0,
            key: None,
            value: Some(format!("{{\"service\":\"{service}\",\"version\":\"1\"}}").into_bytes()),
            headers: Vec::new(),
            timestamp: 0,
        };
        let records = [letter("validator"), letter("enricher")];
        let values = values_of(&topic::INVALID, "enricher", &records);
        assert_eq!(values.into_values().map(|v| v.len()).sum::<usize>(), 1);
    }
}
