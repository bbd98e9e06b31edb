//! What every Kafka client of a service is configured with.

use crate::InvalidConfig;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// `[kafka]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// The consumer group; the service's name unless set.
    pub group_id: Option<String>,
    /// Tells this instance from the others of its service: part of the transactional id, and the `group.instance.id` of
    /// a static member. The host's name unless set (a pod's name in a `StatefulSet`, say). Two instances with one name fence
    /// each other.
    pub instance_id: Option<String>,
    /// Whether a restart within the session keeps its partitions.
    pub membership: Membership,
    /// Who assigns partitions. With `consumer` the two keys below are the broker's to set, and are not used.
    pub group_protocol: GroupProtocol,
    /// Milliseconds without a heartbeat until the group gives a member's partitions away.
    pub session_timeout_ms: u32,
    /// Milliseconds between heartbeats; also about how long a hand-over takes.
    pub heartbeat_interval_ms: u32,
    /// Milliseconds until a request counts as lost. A transaction call that took half of it makes the producer suspect.
    pub socket_timeout_ms: u32,
    /// How the broker is talked to.
    pub security_protocol: SecurityProtocol,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: Option<String>,
    /// User name.
    pub sasl_username: Option<String>,
    /// Password.
    pub sasl_password: Option<Secret>,
    /// A file that holds the password (a mounted secret).
    pub sasl_password_file: Option<String>,
    /// CA certificates (PEM).
    pub ssl_ca_location: Option<String>,
    /// The client's certificate (PEM).
    pub ssl_certificate_location: Option<String>,
    /// The client's key (PEM).
    pub ssl_key_location: Option<String>,
    /// Any further librdkafka setting, for every client of the service; underscores stand for dots. Values are not
    /// shown, since some are secrets. What `debug` (`cgrp,eos`) makes librdkafka say is logged at `debug`: the log's
    /// filter has to let it through (`info,chassis=debug`).
    pub properties: BTreeMap<String, Secret>,
}

/// Group membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// For a `Deployment`: a member that stops leaves the group.
    Dynamic,
    /// For a `StatefulSet`: `group.instance.id` is the instance id, a quick restart moves no partition.
    Static,
}

/// `group.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// The group's leader, a member: cooperative-sticky.
    Classic,
    /// The broker (KIP-848). Its limits are in `docs/adr/0008-group-protocol.md`.
    Consumer,
}

/// `security.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Clear text.
    Plaintext,
    /// TLS.
    Ssl,
    /// Clear text with a password.
    SaslPlaintext,
    /// TLS with a password.
    SaslSsl,
}

impl SecurityProtocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    const fn needs_password(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// With the classic protocol it is also how long a rebalance waits for members that do not join again.
const REBALANCE_TIMEOUT: &str = "max.poll.interval.ms";
/// Our loops poll many times a second. The default is five minutes; under `chaos` a group on Kafka 4.3.1 stood still for
/// more than four after a broker's restart, though its processes asked to join.
const REBALANCE_TIMEOUT_MS: u32 = 45_000;
/// Below this the broker refuses a classic member (`group.min.session.timeout.ms`).
const MIN_SESSION_TIMEOUT_MS: u32 = 6_000;

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            group_id: None,
            instance_id: None,
            membership: Membership::Dynamic,
            group_protocol: GroupProtocol::Classic,
            session_timeout_ms: 6_000,
            heartbeat_interval_ms: 200,
            socket_timeout_ms: 10_000,
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password: None,
            sasl_password_file: None,
            ssl_ca_location: None,
            ssl_certificate_location: None,
            ssl_key_location: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaConfig {
    /// Checks what types can't say; `section` is the path of this block in the configuration.
    pub fn validate(&self, section: &str) -> Result<(), InvalidConfig> {
        let invalid =
            |key: &str, reason: &str| Err(InvalidConfig::new(format!("{section}.{key}"), reason));
        if self.bootstrap_servers.trim().is_empty() {
            return invalid("bootstrap_servers", "must name at least one host:port");
        }
        if self.bootstrap_servers.split(',').any(|server| {
            server
                .trim()
                .rsplit_once(':')
                .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        }) {
            return invalid("bootstrap_servers", "must be host:port, comma-separated");
        }
        if self.session_timeout_ms < MIN_SESSION_TIMEOUT_MS {
            return invalid(
                "session_timeout_ms",
                "must be at least 6000, or the broker refuses the member",
            );
        }
        if self.heartbeat_interval_ms == 0
            || self.heartbeat_interval_ms * 3 > self.session_timeout_ms
        {
            return invalid(
                "heartbeat_interval_ms",
                "must be above 0 and at most a third of session_timeout_ms",
            );
        }
        // Killed and started again, it would be refused until its old session expires (UNRELEASED_INSTANCE_ID).
        if self.group_protocol == GroupProtocol::Consumer && self.membership == Membership::Static {
            return invalid(
                "group_protocol",
                "must be classic with static membership: with the consumer protocol a static member that crashed can't come back before its session expires",
            );
        }
        if self.socket_timeout_ms < 1_000 {
            return invalid("socket_timeout_ms", "must be at least 1000");
        }
        if self.security_protocol.needs_password() {
            if self.sasl_username.is_none() {
                return invalid("sasl_username", "is needed with security_protocol sasl_*");
            }
            if self.sasl_password.is_none() && self.sasl_password_file.is_none() {
                return invalid(
                    "sasl_password",
                    "or sasl_password_file is needed with security_protocol sasl_*",
                );
            }
        }
        if let Some(path) = &self.sasl_password_file
            && let Err(error) = std::fs::metadata(path)
        {
            let key = format!("{section}.sasl_password_file");
            return Err(InvalidConfig::new(key, format!("{path}: {error}")));
        }
        // librdkafka knows its own keys best; a client made later would fail with the same words.
        if let Err(error) = self.client("check").create_native_config() {
            let text = match error {
                rdkafka::error::KafkaError::ClientConfig(_, reason, key, value) => {
                    format!("{key} = {value}: {reason}")
                }
                other => other.to_string(),
            };
            return Err(InvalidConfig::new(format!("{section}.properties"), text));
        }
        Ok(())
    }

    /// The consumer group.
    pub fn group<'a>(&'a self, service: &'a str) -> &'a str {
        self.group_id.as_deref().unwrap_or(service)
    }

    /// Makes `consumer` a member of its group as `membership` and `group_protocol` say; `instance` is the name of a static one.
    pub fn set_membership(&self, consumer: &mut ClientConfig, instance: &str) {
        if self.group_protocol == GroupProtocol::Consumer {
            // With it each of the classic keys is an error.
            consumer.set("group.protocol", "consumer");
            return;
        }
        consumer
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set(
                "heartbeat.interval.ms",
                self.heartbeat_interval_ms.to_string(),
            );
        if consumer.get(REBALANCE_TIMEOUT).is_none() {
            let timeout = REBALANCE_TIMEOUT_MS.max(self.session_timeout_ms);
            consumer.set(REBALANCE_TIMEOUT, timeout.to_string());
        }
        if self.membership == Membership::Static {
            consumer.set("group.instance.id", instance);
        }
    }

    /// This instance's name.
    pub fn instance(&self) -> String {
        self.instance_id
            .clone()
            .or_else(|| {
                let name = std::env::var("HOSTNAME").ok()?;
                (!name.is_empty()).then_some(name)
            })
            .or_else(|| {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
                Some(name.trim().to_owned())
            })
            .unwrap_or_else(|| "0".to_owned())
    }

    /// Settings common to every client; `client_id` is what the broker's logs and quotas see.
    pub fn client(&self, client_id: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            .set("security.protocol", self.security_protocol.as_str())
            .set("socket.timeout.ms", self.socket_timeout_ms.to_string())
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // Topics are made on purpose, never by a typing error.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Notice);
        if self.properties.contains_key("debug") {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
        let password = self.sasl_password.clone().or_else(|| {
            let path = self.sasl_password_file.as_ref()?;
            let text = std::fs::read_to_string(path).ok()?;
            Some(Secret::new(text.trim_end()))
        });
        let optional = [
            ("sasl.mechanism", self.sasl_mechanism.as_deref()),
            ("sasl.username", self.sasl_username.as_deref()),
            ("sasl.password", password.as_ref().map(Secret::expose)),
            ("ssl.ca.location", self.ssl_ca_location.as_deref()),
            (
                "ssl.certificate.location",
                self.ssl_certificate_location.as_deref(),
            ),
            ("ssl.key.location", self.ssl_key_location.as_deref()),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                client.set(key, value);
            }
        }
        for (key, value) in &self.properties {
            client.set(key.replace('_', "."), value.expose());
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(kafka: &KafkaConfig) -> ClientConfig {
        let mut consumer = kafka.client("member");
        consumer.set("group.id", "group");
        kafka.set_membership(&mut consumer, "instance");
        consumer
    }

    #[test]
    fn librdkafka_takes_every_membership_that_is_valid() {
        for (group_protocol, membership, valid) in [
            (GroupProtocol::Classic, Membership::Dynamic, true),
            (GroupProtocol::Classic, Membership::Static, true),
            (GroupProtocol::Consumer, Membership::Dynamic, true),
            (GroupProtocol::Consumer, Membership::Static, false),
        ] {
            let kafka = KafkaConfig {
                membership,
                group_protocol,
                ..KafkaConfig::default()
            };
            let found = kafka.validate("kafka").map_err(|error| error.key);
            if valid {
                assert_eq!(found, Ok(()));
                let made: Result<rdkafka::consumer::BaseConsumer, _> = member(&kafka).create();
                assert!(
                    made.is_ok(),
                    "{group_protocol:?} {membership:?}: {:?}",
                    made.err()
                );
            } else {
                assert_eq!(found, Err("kafka.group_protocol".to_owned()));
            }
        }
    }

    #[test]
    fn librdkafka_says_what_it_is_asked_to_debug() {
        let mut kafka = KafkaConfig::default();
        let level = |kafka: &KafkaConfig| kafka.client("any").log_level as i32;
        assert_eq!(level(&kafka), RDKafkaLogLevel::Notice as i32);
        kafka.properties.insert("debug".into(), Secret::new("cgrp"));
        assert_eq!(level(&kafka), RDKafkaLogLevel::Debug as i32);
    }
}
