//! The topic catalogue on a broker or on paper: create what is missing, check what is there, render it for Kubernetes.

use librdkafka_guard as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use schema::topic::{CATALOGUE, CHANGELOGS, Topic};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time for one request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Every topic of the fleet, changelogs included.
pub fn all() -> impl Iterator<Item = &'static Topic> {
    CATALOGUE.iter().chain(CHANGELOGS)
}

/// What [`apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Topics made now.
    pub created: Vec<&'static str>,
    /// Topics that were there.
    pub present: Vec<&'static str>,
}

/// Creates the topics that are missing. Existing ones are left as they are; [`differences`] tells how they differ.
pub async fn apply(client: &ClientConfig, replication_factor: i32) -> Result<Applied, String> {
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|error| error.to_string())?;
    let min_insync = Topic::MIN_INSYNC_REPLICAS
        .min(replication_factor)
        .to_string();
    let configs: Vec<_> = all().map(Topic::config).collect();
    let new: Vec<NewTopic<'_>> = all()
        .zip(&configs)
        .map(|(topic, config)| {
            let topic = NewTopic::new(
                topic.name,
                topic.partitions,
                TopicReplication::Fixed(replication_factor),
            )
            .set("min.insync.replicas", &min_insync);
            config
                .iter()
                .fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(REQUEST_TIMEOUT))
        .request_timeout(Some(REQUEST_TIMEOUT));
    let results = admin
        .create_topics(&new, &options)
        .await
        .map_err(|error| error.to_string())?;
    let mut applied = Applied::default();
    for (topic, result) in all().zip(results) {
        match result {
            Ok(_) => applied.created.push(topic.name),
            Err((_, Code::TopicAlreadyExists)) => applied.present.push(topic.name),
            Err((name, code)) => return Err(format!("topic {name}: {code}")),
        }
    }
    Ok(applied)
}

/// How the topics on the broker differ from the catalogue; one line each, none when they agree.
pub async fn differences(client: &ClientConfig) -> Result<Vec<String>, String> {
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|error| error.to_string())?;
    let metadata = admin
        .inner()
        .fetch_metadata(None, REQUEST_TIMEOUT)
        .map_err(|error| error.to_string())?;
    let partitions: BTreeMap<&str, usize> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    let mut lines = Vec::new();
    let mut found = Vec::new();
    for topic in all() {
        match partitions.get(topic.name) {
            None => lines.push(format!("{}: missing", topic.name)),
            Some(n) if i32::try_from(*n) != Ok(topic.partitions) => {
                lines.push(format!(
                    "{}: {n} partitions, the catalogue has {}",
                    topic.name, topic.partitions
                ));
                found.push(topic);
            }
            Some(_) => found.push(topic),
        }
    }
    let resources: Vec<_> = found
        .iter()
        .map(|topic| ResourceSpecifier::Topic(topic.name))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = admin
        .describe_configs(&resources, &options)
        .await
        .map_err(|error| error.to_string())?;
    for (topic, resource) in found.iter().zip(described) {
        let resource = resource.map_err(|code| format!("topic {}: {code}", topic.name))?;
        let entries: BTreeMap<&str, &ConfigEntry> = resource
            .entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry))
            .collect();
        for (key, expected) in topic.config() {
            let actual = entries.get(key).and_then(|entry| entry.value.as_deref());
            if actual != Some(expected.as_str()) {
                lines.push(format!(
                    "{}: {key} = {}, the catalogue has {expected}",
                    topic.name,
                    actual.unwrap_or("unset")
                ));
            }
        }
    }
    Ok(lines)
}

/// The catalogue as Strimzi `KafkaTopic`s (`kafka.strimzi.io/v1`), as YAML documents.
pub fn render_strimzi(cluster: &str) -> Result<String, String> {
    let mut text =
        String::from("# Rendered from the topic catalogue by `topics render`; do not edit.\n");
    for topic in all() {
        let mut config: Map<String, Value> = topic
            .config()
            .into_iter()
            .map(|(key, value)| {
                (
                    key.to_owned(),
                    value
                        .parse::<i64>()
                        .map_or(Value::String(value), Value::from),
                )
            })
            .collect();
        config.insert(
            "min.insync.replicas".to_owned(),
            json!(Topic::MIN_INSYNC_REPLICAS),
        );
        config.sort_keys();
        let document = json!({
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": { "name": topic.name, "labels": { "strimzi.io/cluster": cluster } },
            "spec": { "partitions": topic.partitions, "replicas": Topic::REPLICATION_FACTOR, "config": config },
        });
        text.push_str("---\n");
        text.push_str(&serde_yaml_ng::to_string(&document).map_err(|error| error.to_string())?);
    }
    Ok(text)
}

/// The catalogue as a Markdown table, for `docs/spec/topics.md`.
pub fn render_markdown() -> String {
    const DAY_MS: i64 = 86_400_000;
    let header = "| topic | partitions | retention | compression | cleanup | key | value | writer | readers |\n|---|---|---|---|---|---|---|---|---|\n";
    all().fold(header.to_owned(), |mut text, topic| {
        let retention = topic
            .retention_ms
            .map_or("for ever".to_owned(), |ms| format!("{} d", ms / DAY_MS));
        let row = [
            format!("`{}`", topic.name),
            topic.partitions.to_string(),
            retention,
            format!("{:?}", topic.compression).to_lowercase(),
            format!("{:?}", topic.cleanup).to_lowercase(),
            topic.key.to_owned(),
            topic.value.to_owned(),
            topic.writer.to_owned(),
            topic.readers.join(", "),
        ];
        text.push_str("| ");
        text.push_str(&row.join(" | "));
        text.push_str(" |\n");
        text
    })
}
