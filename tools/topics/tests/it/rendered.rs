use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `UPDATE_GOLDEN=1` rewrites the file.
fn assert_committed(path: &str, rendered: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed,
        rendered,
        "{} is stale; UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

#[test]
fn the_committed_kafka_topics_are_the_catalogue() {
    let rendered = topics::render_strimzi("kafka").unwrap();
    assert_committed(
        "deploy/k8s/components/strimzi-topics/topics.yaml",
        &rendered,
    );
}

#[test]
fn the_documented_topics_are_the_catalogue() {
    let text = format!(
        "# Topics\n\nRendered from `shared/src/topic.rs`; do not edit.\nEvery topic uses log-append time.\nReplication factor 3, `min.insync.replicas` 2 in production.\n\n{}",
        topics::render_markdown()
    );
    assert_committed("docs/spec/topics.md", &text);
}

/// The fields of Strimzi's `KafkaTopic` v1, and no others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only that they are there and nothing else is")]
struct KafkaTopic {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only that they are there and nothing else is")]
struct Spec {
    partitions: i32,
    replicas: i32,
    config: BTreeMap<String, serde_yaml_ng::Value>,
}

#[test]
fn every_kafka_topic_has_strimzis_fields_and_a_name_that_kubernetes_takes() {
    let rendered = topics::render_strimzi("kafka").unwrap();
    let mut n = 0;
    for document in serde_yaml_ng::Deserializer::from_str(&rendered) {
        let topic = KafkaTopic::deserialize(document).unwrap();
        assert!(
            topic
                .metadata
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert_eq!(topic.metadata.labels["strimzi.io/cluster"], "kafka");
        n += 1;
    }
    assert_eq!(n, topics::all().count());
}
