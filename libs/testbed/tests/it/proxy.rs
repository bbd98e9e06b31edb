use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::time::{Duration, Instant};
use testbed::{Broker, NewRecord, Proxy, api, consume_committed, produce};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn clients_know_no_other_way_than_the_proxy() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topic = broker.topic("proxied", 1);
    let before = proxy.requests(api::PRODUCE);
    produce(broker.bootstrap(), &topic, [NewRecord::new("k", "v")]);
    assert_eq!(proxy.requests(api::PRODUCE), before + 1);
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 1, DEADLINE).len(),
        1
    );
}

#[test]
fn a_cut_line_fails_and_a_mended_one_works() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topic = broker.topic("cut", 1);
    let client = client(&broker);
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
    proxy.cut();
    assert!(
        client
            .fetch_metadata(Some(&topic), Duration::from_secs(1))
            .is_err()
    );
    proxy.mend();
    testbed::wait_until(DEADLINE, "the client is back", || {
        client
            .fetch_metadata(Some(&topic), Duration::from_secs(5))
            .is_ok()
    });
}

#[test]
fn a_paused_line_is_silent_and_loses_nothing() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topic = broker.topic("silent", 1);
    let client = client(&broker);
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
    proxy.pause();
    assert!(
        client
            .fetch_metadata(Some(&topic), Duration::from_millis(500))
            .is_err()
    );
    proxy.resume();
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
}

#[test]
fn a_slow_line_is_slow() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topic = broker.topic("slow", 1);
    let client = client(&broker);
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
    proxy.delay(Duration::from_millis(300));
    let started = Instant::now();
    assert!(client.fetch_metadata(Some(&topic), DEADLINE).is_ok());
    assert!(started.elapsed() >= Duration::from_millis(300));
}

// The danger that the whole exactly-once loop is built around: the request is late, the client does not know.
#[test]
fn a_held_end_of_a_transaction_tears_the_next_one_when_it_arrives() {
    let (broker, proxy) = Broker::builder().start_behind_proxy();
    let topic = broker.topic("torn", 1);
    let producer: ThreadedProducer<DefaultProducerContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("transactional.id", "held")
        .set("socket.timeout.ms", "2000")
        .create()
        .unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    producer
        .send(BaseRecord::to(&topic).key("k").payload("first"))
        .unwrap();
    producer.flush(DEADLINE).unwrap();
    let hold = proxy.hold_next(api::END_TXN);
    assert!(!hold.caught());
    producer.commit_transaction(DEADLINE).unwrap();
    hold.wait_until_caught(Duration::from_millis(1));
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 1, DEADLINE).len(),
        1
    );

    producer.begin_transaction().unwrap();
    producer
        .send(BaseRecord::to(&topic).key("k").payload("second"))
        .unwrap();
    producer.flush(DEADLINE).unwrap();
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 1, DEADLINE).len(),
        1
    );
    hold.release();
    // Nobody has committed the second transaction, and yet it is visible: the proxy has delivered the late request.
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 2, DEADLINE)[1].text(),
        "second"
    );
}

#[test]
fn a_proxy_of_bytes_stands_in_front_of_a_database() {
    let server = testbed::Postgres::start();
    let proxy = Proxy::of_bytes(server.port());
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let answer = |url: &str| {
        let psql = std::process::Command::new("psql")
            .args(["-XAtqc", "SELECT 40 + 2", url])
            .output()
            .unwrap();
        psql.status
            .success()
            .then(|| String::from_utf8(psql.stdout).unwrap().trim().to_owned())
    };
    assert_eq!(answer(&url).as_deref(), Some("42"));
    proxy.cut();
    assert_eq!(answer(&url), None);
}

fn client(broker: &Broker) -> BaseConsumer {
    rdkafka::ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .create()
        .unwrap()
}

#[test]
fn a_client_that_comes_one_way_knows_no_other() {
    let (broker, ways) = Broker::builder().start_with_ways(2);
    let topic = broker.topic("ways", 1);
    let begin = |way: &Proxy| format!("127.0.0.1:{}", way.port());
    produce(&begin(&ways[0]), &topic, [NewRecord::new("k", "v")]);
    assert_eq!(ways[0].requests(api::PRODUCE), 1);
    assert_eq!(ways[1].requests(api::PRODUCE), 0);
    ways[0].cut();
    produce(&begin(&ways[1]), &topic, [NewRecord::new("k", "v")]);
    // After a restart it listens where it did.
    broker.stop();
    broker.restart();
    produce(&begin(&ways[1]), &topic, [NewRecord::new("k", "v")]);
    assert_eq!(
        consume_committed(broker.bootstrap(), &topic, 3, DEADLINE).len(),
        3
    );
}
