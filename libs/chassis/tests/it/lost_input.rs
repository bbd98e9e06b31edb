//! What retention took before it was read.

use crate::support::{Counter, Topics, produce};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

fn delete_records(kafka: &str, topic: &str, partition: i32, before: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(admin.delete_records(&list, &AdminOptions::new()))
        .unwrap();
}

#[test]
fn records_that_were_removed_unread_stop_the_service_unless_told_otherwise() {
    let kafka = testbed::kafka();
    let topics = Topics::create(&kafka);
    produce(&kafka, &topics.input, 4, 40);
    let counter = Counter::start(&kafka, &topics, "a", &[]);
    testbed::consume_committed(&kafka, &topics.output, 40, Duration::from_secs(30));
    counter.signal("TERM");
    assert_eq!(counter.wait(Duration::from_secs(20)).0, 0);
    // Ten a partition were read; ten more come, and five of them go unread in partition 1.
    produce(&kafka, &topics.input, 4, 40);
    delete_records(&kafka, &topics.input, 1, 15);

    let (code, log) = Counter::start(&kafka, &topics, "a", &[]).wait(Duration::from_secs(30));
    assert_eq!(code, 65, "{log}");
    assert!(
        log.contains("partition 1") && log.contains("5 records were lost unread"),
        "{log}"
    );

    let _counter = Counter::start(
        &kafka,
        &topics,
        "a",
        &[("COUNTER__PIPELINE__ON_LOST_INPUT", "earliest")],
    );
    testbed::consume_committed(&kafka, &topics.output, 75, Duration::from_secs(30));
}
