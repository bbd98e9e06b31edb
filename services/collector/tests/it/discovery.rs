//! Targets that come and go.

use crate::collector::{InProcess, PATIENCE, config, event, exposition, serve};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::{consume_committed, topic, wait_until_async};

fn file(address: &str, hosts: &[u32]) -> String {
    let groups: Vec<_> = hosts
        .iter()
        .map(|host| {
            format!(
                r#"{{"targets":["{address}"],"labels":{{"__metrics_path__":"/host/{host}/metrics","rack":"rack-{host}"}}}}"#
            )
        })
        .collect();
    format!("[{}]", groups.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_file_is_read_again_when_it_changes_and_a_wrong_one_changes_nothing() {
    let raw = topic("raw", 32);
    let asked = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<u32, u32>::new()));
    let counting = std::sync::Arc::clone(&asked);
    let address = serve(Router::new().route(
        "/host/{host}/metrics",
        get(move |Path(host): Path<u32>| async move {
            *counting.lock().unwrap().entry(host).or_default() += 1;
            exposition(&format!("GPU-{host}"), 50)
        }),
    ))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    let mut config = config(&raw, &[]);
    config.targets_file = Some(path.clone());
    config.scrape.interval_ms = 100;
    config.scrape.timeout_ms = 100;
    let collector = InProcess::start(config);
    let count = |host: u32| asked.lock().unwrap().get(&host).copied().unwrap_or(0);

    // The file is not there yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(&path, file(&address, &[1, 2])).unwrap();
    wait_until_async(PATIENCE, "hosts 1 and 2", || async {
        count(1) >= 3 && count(2) >= 3
    })
    .await;

    std::fs::write(&path, file(&address, &[2, 3])).unwrap();
    wait_until_async(PATIENCE, "host 3", || async { count(3) >= 3 }).await;
    let gone = count(1);

    std::fs::write(&path, "[{\"targets\": oops").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = count(3);
    wait_until_async(PATIENCE, "host 3 goes on", || async {
        count(3) >= before + 3
    })
    .await;
    assert!(count(1) <= gone + 1, "host 1 was taken out");

    std::fs::write(&path, file(&address, &[1])).unwrap();
    wait_until_async(PATIENCE, "host 1 again", || async { count(1) >= gone + 3 }).await;
    collector.stop().await;

    let records = consume_committed(&testbed::kafka(), &raw, 15, PATIENCE);
    let mut sequences: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in records.iter().map(event) {
        let uuid = event.gpu.gpu_uuid.to_string();
        let rack = event.host.unwrap().rack.unwrap().to_string();
        assert_eq!(
            rack.replace("rack-", "GPU-"),
            uuid,
            "labels are the target's"
        );
        sequences
            .entry(uuid)
            .or_default()
            .push(event.collector.unwrap().sequence.unwrap());
    }
    for (uuid, sequences) in sequences {
        let expected: Vec<_> = (1..).take(sequences.len()).collect();
        assert_eq!(
            sequences, expected,
            "{uuid} goes on counting when its target comes back"
        );
    }
}
