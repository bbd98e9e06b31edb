use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};
use std::time::Duration;
use testbed::{
    Broker, NewRecord, Operation, Resource, consume_committed, create_topic, produce,
    read_committed,
};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_broker_keeps_its_port_and_its_data_over_kill_9_and_over_a_stop() {
    let broker = Broker::start();
    let topic = broker.topic("kept", 2);
    produce(
        broker.bootstrap(),
        &topic,
        [NewRecord::new("a", "1").partition(1)],
    );
    let bootstrap = broker.bootstrap().to_owned();

    broker.kill();
    broker.restart();
    assert_eq!(broker.bootstrap(), bootstrap);
    assert_eq!(
        consume_committed(&bootstrap, &topic, 1, DEADLINE)[0].text(),
        "1"
    );

    broker.stop();
    assert!(
        std::net::TcpStream::connect(&bootstrap).is_err(),
        "a stopped broker listens"
    );
    broker.restart();
    produce(&bootstrap, &topic, [NewRecord::new("a", "2").partition(1)]);
    assert_eq!(
        consume_committed(&bootstrap, &topic, 2, DEADLINE)[1].text(),
        "2"
    );
}

#[test]
fn a_paused_broker_answers_once_it_goes_on() {
    let broker = Broker::start();
    let topic = broker.topic("paused", 1);
    let client: BaseConsumer = config(broker.bootstrap()).create().unwrap();
    broker.pause();
    assert!(
        client
            .fetch_metadata(Some(&topic), Duration::from_secs(1))
            .is_err()
    );
    broker.resume();
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
}

#[test]
fn properties_reach_the_broker() {
    let broker = Broker::builder()
        .property("message.max.bytes", "1000")
        .start();
    let topic = broker.topic("small", 1);
    let outcome = std::panic::catch_unwind(|| {
        produce(
            broker.bootstrap(),
            &topic,
            [NewRecord::new("k", vec![b'x'; 2_000])],
        );
    });
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("MessageSizeTooLarge"), "{message}");
}

#[test]
fn users_log_in_and_may_do_only_what_they_are_allowed() {
    let broker = Broker::builder()
        .user("admin", "root")
        .user("alice", "wonder")
        .start();
    let topic = "rights".to_owned();
    create_topic(&broker.internal(), &topic, 1, &[]);
    produce(&broker.internal(), &topic, [NewRecord::new("k", "v")]);

    let admin = read_committed(&broker.client("admin"), &topic, 1, DEADLINE);
    assert_eq!(admin[0].text(), "v");

    let alice: BaseConsumer = broker.client("alice").create().unwrap();
    assert_eq!(
        topic_error(&alice, &topic),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    );
    broker.allow(
        "alice",
        Resource::Topic(&topic),
        &[Operation::Read, Operation::Describe],
    );
    testbed::wait_until(DEADLINE, "alice sees the topic", || {
        topic_error(&alice, &topic).is_none()
    });
    assert_eq!(
        read_committed(&broker.client("alice"), &topic, 1, DEADLINE)[0].text(),
        "v"
    );
}

#[test]
fn a_transaction_is_seen_when_it_is_committed_and_not_before() {
    let broker = Broker::start();
    let topic = broker.topic("transaction", 1);
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> =
        config(broker.bootstrap())
            .set("transactional.id", "one")
            .create()
            .unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer
        .send(
            rdkafka::producer::BaseRecord::to(&topic)
                .key("k")
                .payload("v"),
        )
        .unwrap();
    producer.flush(DEADLINE).unwrap();
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 0, DEADLINE).len(),
        0
    );
    producer.commit_transaction(DEADLINE).unwrap();
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 1, DEADLINE).len(),
        1
    );
}

#[test]
fn a_broker_and_its_folder_end_with_their_owner() {
    let broker = Broker::start();
    let port = broker.port();
    drop(broker);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn config(bootstrap: &str) -> rdkafka::ClientConfig {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn topic_error(client: &BaseConsumer, topic: &str) -> Option<RDKafkaErrorCode> {
    match client.fetch_metadata(Some(topic), DEADLINE) {
        Ok(metadata) => metadata.topics()[0].error().map(RDKafkaErrorCode::from),
        Err(KafkaError::MetadataFetch(code)) => Some(code),
        Err(error) => panic!("{error}"),
    }
}
