use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Creates a topic with log-append time, and waits until clients see all its partitions.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, config: &[(&str, &str)]) {
    create_replicated_topic(bootstrap, name, partitions, 1, config);
}

/// [`create_topic`] with more than one replica.
pub(crate) fn create_replicated_topic(
    bootstrap: &str,
    name: &str,
    partitions: i32,
    replicas: i32,
    config: &[(&str, &str)],
) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    if !config
        .iter()
        .any(|(key, _)| *key == "message.timestamp.type")
    {
        topic = topic.set("message.timestamp.type", "LogAppendTime");
    }
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    admin(bootstrap, async |admin| {
        one(admin.create_topics([&topic], &options()).await);
    });
    await_partitions(bootstrap, name, partitions);
}

/// Grows a topic to `partitions` in all.
pub fn add_partitions(bootstrap: &str, name: &str, partitions: i32) {
    let new = NewPartitions::new(
        name,
        usize::try_from(partitions).expect("a number of partitions"),
    );
    admin(bootstrap, async |admin| {
        one(admin.create_partitions([&new], &options()).await);
    });
    await_partitions(bootstrap, name, partitions);
}

/// Deletes a topic.
pub fn delete_topic(bootstrap: &str, name: &str) {
    admin(bootstrap, async |admin| {
        one(admin.delete_topics(&[name], &options()).await);
    });
}

/// The number of partitions that a client sees; 0 if it sees no such topic.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .unwrap_or_else(|error| panic!("the metadata of topic {topic}: {error}"));
    let found = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic && found.error().is_none());
    found.map_or(0, |found| {
        i32::try_from(found.partitions().len()).expect("a number of partitions")
    })
}

/// Are all replicas of all its partitions in sync?
pub(crate) fn in_sync(bootstrap: &str, topic: &str) -> bool {
    let consumer: BaseConsumer = client(bootstrap).create().expect("a Kafka client");
    consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .is_ok_and(|metadata| {
            metadata
                .topics()
                .iter()
                .flat_map(rdkafka::metadata::MetadataTopic::partitions)
                .all(|partition| partition.isr().len() == partition.replicas().len())
        })
}

fn await_partitions(bootstrap: &str, name: &str, count: i32) {
    let consumer: BaseConsumer = client(bootstrap).create().expect("a Kafka client");
    crate::wait_until(
        TIMEOUT,
        &format!("topic {name} has {count} partitions"),
        || partitions(&consumer, name) == count,
    );
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(TIMEOUT))
        .request_timeout(Some(TIMEOUT))
}

type Outcome = Result<Vec<Result<String, (String, RDKafkaErrorCode)>>, rdkafka::error::KafkaError>;

fn one(outcome: Outcome) {
    for result in outcome.unwrap_or_else(|error| panic!("the broker did not answer: {error}")) {
        if let Err((topic, code)) = result {
            panic!("topic {topic}: {code}");
        }
    }
}

/// Runs an administrative call to its end. On a thread of its own: the caller may be inside a runtime, which must not be
/// entered twice.
fn admin(bootstrap: &str, call: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let admin: AdminClient<DefaultClientContext> =
                client(bootstrap).create().expect("a Kafka client");
            runtime.block_on(call(&admin));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
