//! Three brokers, and the loss of one.

use std::time::Duration;
use testbed::{Cluster, NewRecord, consume_committed, produce};

const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn a_cluster_serves_without_one_of_its_brokers_and_takes_it_back() {
    let cluster = Cluster::start();
    assert_eq!(cluster.nodes().len(), 3);
    let topic = cluster.topic("replicated", 3);
    let batch = |from: u32| (from..from + 30).map(|n| NewRecord::new(n.to_string(), "value"));
    produce(cluster.bootstrap(), &topic, batch(0));

    cluster.nodes()[0].kill();
    produce(cluster.bootstrap(), &topic, batch(30));
    let records = consume_committed(cluster.bootstrap(), &topic, 60, DEADLINE);
    assert_eq!(records.len(), 60);

    // Now the others have something that it lacks; one of them goes, and two that know everything must be left.
    cluster.nodes()[0].restart();
    cluster.wait_until_in_sync(&topic, DEADLINE);
    cluster.nodes()[1].kill();
    produce(cluster.bootstrap(), &topic, batch(60));
    let records = consume_committed(cluster.bootstrap(), &topic, 90, DEADLINE);
    assert_eq!(records.len(), 90);
}
