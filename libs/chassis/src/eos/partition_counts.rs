//! The partition counts of a topology's topics, on which state and order rest.

use super::producer::Signs;
use super::{Topology, recovery};
use crate::Error;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a topic may be missing at start, since metadata of a topic made just now takes a moment to spread.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to serve what is there, and not felt at the start.
const SERVE_EVENTS: Duration = Duration::from_millis(5);

/// Partition counts of the topics of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionCounts {
    input: i32,
    pub(super) outputs: Vec<i32>,
    changelog: Option<i32>,
    pub(super) table: Option<i32>,
}

impl PartitionCounts {
    /// Asks the broker, for as long as it is away. None when told to stop meanwhile.
    pub(super) fn find(
        client: &ClientConfig,
        topology: &Topology,
        mut waiting: impl FnMut(&str) -> bool,
    ) -> Result<Option<Self>, Error> {
        let signs = Signs::default();
        let consumer = BaseConsumer::from_config_and_context(client, signs.clone())
            .map_err(|error| Error::config(format!("kafka: {error}")))?;
        let mut said = false;
        let mut reached: Option<Instant> = None;
        loop {
            // Serves all of the client's events, of which errors alone tell of a wrong password. Without a wait a poll
            // serves one, and while Kafka is away more come than are asked for.
            while consumer.poll(SERVE_EVENTS).is_some() {}
            if signs.authentication_failed() {
                return Err(recovery::authentication_failed());
            }
            match Self::ask(&consumer, topology) {
                Ok(found) => {
                    if said {
                        info!("Kafka is there");
                    }
                    return Ok(Some(found));
                }
                Err(_) if signs.authentication_failed() => {
                    return Err(recovery::authentication_failed());
                }
                Err(Missing::Kafka(reason)) => {
                    reached = None;
                    if !said {
                        warn!(reason, "Kafka is not there yet; waiting for it");
                        said = true;
                    }
                    if waiting("Kafka is not there yet") {
                        return Ok(None);
                    }
                }
                Err(Missing::Right(topic)) => {
                    return Err(Error::permission(format!(
                        "no right to describe topic {topic}"
                    )));
                }
                Err(Missing::Topic(topic)) => {
                    if reached.get_or_insert_with(Instant::now).elapsed() >= TOPIC_PATIENCE {
                        return Err(Error::unavailable(format!(
                            "topic {topic} is not there; create it first"
                        )));
                    }
                    if waiting(&format!("topic {topic} is not there")) {
                        return Ok(None);
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn ask(consumer: &BaseConsumer<Signs>, topology: &Topology) -> Result<Self, Missing> {
        let count = |topic: &str| -> Result<i32, Missing> {
            let metadata = consumer
                .fetch_metadata(Some(topic), Duration::from_secs(1))
                .map_err(|error| Missing::Kafka(error.to_string()))?;
            let found = metadata
                .topics()
                .iter()
                .find(|found| found.name() == topic)
                .ok_or_else(|| Missing::Topic(topic.to_owned()))?;
            match found.error().map(Code::from) {
                None => {}
                Some(Code::TopicAuthorizationFailed) => {
                    return Err(Missing::Right(topic.to_owned()));
                }
                Some(_) => return Err(Missing::Topic(topic.to_owned())),
            }
            i32::try_from(found.partitions().len())
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Missing::Topic(topic.to_owned()))
        };
        let optional = |topic: &Option<String>| topic.as_deref().map(count).transpose();
        Ok(Self {
            input: count(&topology.input)?,
            outputs: topology
                .outputs
                .iter()
                .map(|topic| count(topic))
                .collect::<Result<_, _>>()?,
            changelog: optional(&topology.changelog)?,
            table: optional(&topology.table)?,
        })
    }

    /// State and order are tied to partition counts; refuse what would silently break them.
    pub(super) fn check(&self, topology: &Topology) -> Result<(), Error> {
        let input = self.input;
        if let (Some(n), Some(topic)) = (self.changelog, &topology.changelog)
            && n != input
        {
            return Err(Error::data(format!(
                "changelog {topic} has {n} partitions, input {} has {input}: the state was built for another partition \
                 count. Partitions can't be added to topics with state; make a new generation of topics",
                topology.input
            )));
        }
        let others = topology
            .outputs
            .iter()
            .zip(&self.outputs)
            .map(|(topic, n)| (topic, *n))
            .chain(topology.table.iter().zip(self.table));
        for (topic, n) in others {
            if input % n != 0 {
                return Err(Error::data(format!(
                    "topic {topic} has {n} partitions, which does not divide the {input} of {}: the order of a key would be lost",
                    topology.input
                )));
            }
        }
        Ok(())
    }
}

enum Missing {
    Kafka(String),
    Topic(String),
    Right(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology {
            input: "in".to_owned(),
            outputs: vec!["out".to_owned()],
            changelog: Some("changelog".to_owned()),
            table: Some("table".to_owned()),
        }
    }

    #[test]
    fn partition_counts_that_would_break_state_or_order_are_refused() {
        let check = |input, output, changelog, table| {
            PartitionCounts {
                input,
                outputs: vec![output],
                changelog: Some(changelog),
                table: Some(table),
            }
            .check(&topology())
            .map_err(|error| error.to_string())
        };
        assert_eq!(check(32, 8, 32, 16), Ok(()));
        assert!(
            check(64, 8, 32, 16)
                .unwrap_err()
                .contains("changelog has 32 partitions, input in has 64")
        );
        assert!(
            check(32, 12, 32, 16)
                .unwrap_err()
                .contains("topic out has 12 partitions")
        );
        assert!(
            check(32, 8, 32, 64)
                .unwrap_err()
                .contains("topic table has 64 partitions")
        );
    }
}
