use std::time::Duration;
use testbed::{NewRecord, consume_committed, kafka, produce, topic, topic_with};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn what_is_produced_is_read_back_with_its_place_and_headers() {
    let topic = topic("testbed", 3);
    let records = vec![
        NewRecord::new("k", "first")
            .partition(2)
            .header("a", "1")
            .header("a", "2"),
        NewRecord::new("k", "second").partition(2),
        NewRecord::tombstone("k").partition(0),
        NewRecord::keyless("third").partition(1),
    ];
    assert_eq!(
        produce(&kafka(), &topic, records),
        [(2, 0), (2, 1), (0, 0), (1, 0)]
    );

    let read = consume_committed(&kafka(), &topic, 4, DEADLINE);
    let places: Vec<_> = read
        .iter()
        .map(|record| (record.partition, record.offset))
        .collect();
    assert_eq!(places, [(0, 0), (1, 0), (2, 0), (2, 1)]);
    assert_eq!(read[0].value, None);
    assert_eq!(read[1].key, None);
    assert_eq!(read[2].text(), "first");
    assert_eq!(read[2].header("a"), Some(b"2".as_slice()));
    assert_eq!(read[2].headers.len(), 2);
    assert!(read[2].timestamp > 1_600_000_000_000);
}

#[test]
fn timestamps_are_the_brokers_append_time() {
    let topic = topic("testbed", 1);
    produce(
        &kafka(),
        &topic,
        [NewRecord::new("k", "v").timestamp(1_000)],
    );
    let created = topic_with("testbed", 1, &[("message.timestamp.type", "CreateTime")]);
    produce(
        &kafka(),
        &created,
        [NewRecord::new("k", "v").timestamp(1_000)],
    );

    assert!(consume_committed(&kafka(), &topic, 1, DEADLINE)[0].timestamp > 1_600_000_000_000);
    assert_eq!(
        consume_committed(&kafka(), &created, 1, DEADLINE)[0].timestamp,
        1_000
    );
}

#[test]
fn a_topic_without_records_is_read_to_its_end() {
    let topic = topic("testbed", 2);
    assert_eq!(consume_committed(&kafka(), &topic, 0, DEADLINE), []);
}

#[test]
#[should_panic(expected = "1 of 2 records")]
fn records_that_do_not_come_are_a_failure() {
    let topic = topic("testbed", 1);
    produce(&kafka(), &topic, [NewRecord::new("k", "v")]);
    consume_committed(&kafka(), &topic, 2, Duration::from_secs(2));
}

#[test]
#[should_panic(expected = "there is no topic")]
fn a_missing_topic_is_a_failure() {
    consume_committed(&kafka(), "testbed-absent", 0, DEADLINE);
}

#[tokio::test]
async fn everything_works_inside_a_runtime() {
    let topic = topic("testbed", 1);
    produce(&kafka(), &topic, [NewRecord::new("k", "v")]);
    testbed::wait_until_async(DEADLINE, "the record is there", async || {
        tokio::task::yield_now().await;
        consume_committed(&kafka(), &topic, 0, DEADLINE).len() == 1
    })
    .await;
    testbed::add_partitions(&kafka(), &topic, 4);
    testbed::delete_topic(&kafka(), &topic);
}
