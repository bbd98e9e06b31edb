//! Asks Kafka how far topics and stages are, on a thread of its own: an answer may take its time, reading goes on.

use crate::SERVICE;
use crate::config::Config;
use crate::domain::audit::{Offsets, Survey};
use crate::domain::pipeline::STAGES;
use crate::kafka::{self, Signs};
use chassis::Error;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use tracing::debug;

/// Wait for one answer of the broker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no survey.
#[derive(Debug)]
pub(crate) enum NoSurvey {
    /// The broker does not answer, or a topic is not there: ask again later.
    Wait(String),
    /// Waiting does not help.
    Stop(Error),
}

impl From<KafkaError> for NoSurvey {
    fn from(error: KafkaError) -> Self {
        match kafka::check(&error) {
            Ok(()) => Self::Wait(error.to_string()),
            Err(stop) => Self::Stop(stop),
        }
    }
}

/// Asks.
pub(crate) struct Surveyor {
    config: Arc<Config>,
    /// Tells what is decided.
    committed: BaseConsumer<Signs>,
    /// Tells what is there.
    all: BaseConsumer<Signs>,
    groups: Vec<BaseConsumer<Signs>>,
    partitions: Vec<i32>,
}

impl fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surveyor").finish_non_exhaustive()
    }
}

impl Surveyor {
    pub(crate) fn new(config: &Arc<Config>, signs: &Signs) -> Result<Self, Error> {
        let own = config.kafka.group(SERVICE.name);
        let make = |role: &str, group: &str, committed: bool| {
            let client = kafka::consumer(config, role, group, committed);
            BaseConsumer::from_config_and_context(&client, signs.clone())
                .map_err(|error| Error::config(format!("kafka: {error}")))
        };
        Ok(Self {
            committed: make("stable", own, true)?,
            all: make("ends", own, false)?,
            // A reader of committed offsets is also told of them when no transaction is about to change them.
            groups: config
                .groups
                .by_stage()
                .into_iter()
                .map(|group| make("group", group, true))
                .collect::<Result<_, _>>()?,
            partitions: Vec::new(),
            config: Arc::clone(config),
        })
    }

    /// Answers until nobody asks any more.
    pub(crate) fn run(mut self, asked: &Receiver<()>, answer: &Sender<Result<Survey, NoSurvey>>) {
        while asked.recv().is_ok() {
            if answer.send(self.survey()).is_err() {
                return;
            }
        }
    }

    /// The order of the questions is what verdicts rest on: see [`crate::domain::audit`].
    fn survey(&mut self) -> Result<Survey, NoSurvey> {
        for client in [&self.committed, &self.all].into_iter().chain(&self.groups) {
            // Nothing is assigned: what comes is statistics.
            drop(client.poll(Duration::ZERO));
        }
        if self.partitions.is_empty() {
            self.partitions = self.count_partitions()?;
        }
        let stable = self.offsets(&self.committed, Offset::End)?;
        let committed = (0..STAGES.len())
            .map(|i| self.position(i))
            .collect::<Result<_, _>>()?;
        let ends = self.offsets(&self.all, Offset::End)?;
        let lows = self.offsets(&self.all, Offset::Beginning)?;
        Ok(Survey {
            stable,
            committed,
            ends,
            lows,
        })
    }

    fn count_partitions(&self) -> Result<Vec<i32>, NoSurvey> {
        let client = self.all.client();
        let mut counts = Vec::new();
        for name in self.config.topics.audited() {
            let metadata = client.fetch_metadata(Some(name), QUERY_TIMEOUT)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            let count = found.map_or(0, |topic| topic.partitions().len());
            if count == 0 {
                return Err(NoSurvey::Wait(format!("topic {name} is not there")));
            }
            counts.push(i32::try_from(count).unwrap_or(i32::MAX));
        }
        Ok(counts)
    }

    /// The offset of every partition that `what` stands for, in one request a broker.
    fn offsets(&self, consumer: &BaseConsumer<Signs>, what: Offset) -> Result<Offsets, NoSurvey> {
        let mut asked = TopicPartitionList::new();
        for (name, count) in self
            .config
            .topics
            .audited()
            .into_iter()
            .zip(&self.partitions)
        {
            for partition in 0..*count {
                asked.add_partition_offset(name, partition, what)?;
            }
        }
        let told = consumer.offsets_for_times(asked, QUERY_TIMEOUT);
        let offsets = told
            .map_err(NoSurvey::from)
            .and_then(|told| self.by_topic(&told));
        if offsets.is_err() {
            // Else a partition that had no leader when it was asked for is not found for a quarter of an hour: see
            // `chassis::watermarks`.
            for name in self.config.topics.audited() {
                if consumer.fetch_metadata(Some(name), QUERY_TIMEOUT).is_err() {
                    // Nobody is there; each of the others would wait as long.
                    break;
                }
            }
        }
        offsets
    }

    fn by_topic(&self, told: &TopicPartitionList) -> Result<Offsets, NoSurvey> {
        let map = told.to_topic_map();
        let topics = self
            .config
            .topics
            .audited()
            .into_iter()
            .zip(&self.partitions);
        topics
            .map(|(name, count)| {
                (0..*count)
                    .map(|partition| match map.get(&(name.to_owned(), partition)) {
                        Some(Offset::Offset(offset)) => Ok(*offset),
                        other => Err(NoSurvey::Wait(format!(
                            "no offset of {name}/{partition}: {other:?}"
                        ))),
                    })
                    .collect()
            })
            .collect()
    }

    /// What stage `index` has committed; none while a transaction is about to change it.
    fn position(&self, index: usize) -> Result<Option<Vec<Option<i64>>>, NoSurvey> {
        let (stage, consumer) = (&STAGES[index], &self.groups[index]);
        let name = self.config.topics.audited()[stage.input];
        let mut asked = TopicPartitionList::new();
        for partition in 0..self.partitions[stage.input] {
            asked.add_partition(name, partition);
        }
        let told = match consumer.committed_offsets(asked, QUERY_TIMEOUT) {
            Ok(told) => told,
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) =>
            {
                debug!(stage = stage.name, %error, "no stable position");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let map = told.to_topic_map();
        let positions = (0..self.partitions[stage.input])
            .map(|partition| match map.get(&(name.to_owned(), partition)) {
                Some(Offset::Offset(offset)) => Some(*offset),
                _ => None,
            })
            .collect();
        Ok(Some(positions))
    }
}
