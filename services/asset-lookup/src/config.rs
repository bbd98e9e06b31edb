//! The service's configuration.

use chassis::kafka::Secret;
use chassis::{HttpConfig, InvalidConfig, KafkaConfig, LogConfig, ShutdownConfig};
use schema::topic;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::Duration;

/// Everything that can be set. Environment variables begin with `ASSET_LOOKUP__`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Endpoints.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// Drain.
    pub shutdown: ShutdownConfig,
    /// Clients.
    pub kafka: KafkaConfig,
    /// The inventory's database.
    pub database: DatabaseConfig,
    /// Topic names.
    pub topics: Topics,
    /// Outbox to topic.
    pub relay: RelayConfig,
    /// What the API takes.
    pub limits: Limits,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// The most connections for API calls; the relay and the watch have one more each.
    pub max_connections: u32,
    /// Milliseconds that a call waits for a connection.
    pub acquire_timeout_ms: u64,
    /// Milliseconds that one statement may take.
    pub statement_timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("postgres://postgres@127.0.0.1:5432/gpu_assets"),
            max_connections: 8,
            acquire_timeout_ms: 3_000,
            statement_timeout_ms: 15_000,
        }
    }
}

/// `[topics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Written: every change of an asset.
    pub assets: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            assets: topic::ASSETS.name.to_owned(),
        }
    }
}

/// `[relay]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// The most changes in one Kafka transaction.
    pub batch_size: u32,
    /// Milliseconds until the relay looks into the outbox when nobody in this process has told it of a change.
    pub poll_interval_ms: u64,
    /// Milliseconds that a transaction may stay open; how long a dead relay's can hold readers back.
    pub transaction_timeout_ms: u32,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            batch_size: 500,
            poll_interval_ms: 500,
            transaction_timeout_ms: 10_000,
        }
    }
}

impl RelayConfig {
    pub(crate) const fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one asset's JSON.
    pub max_asset_bytes: usize,
    /// Bytes of an import.
    pub max_import_bytes: usize,
    /// Rows of an import.
    pub max_import_rows: usize,
    /// Imports at a time; a further one is told to come again.
    pub max_imports: usize,
    /// Milliseconds that a request may take.
    pub request_timeout_ms: u64,
    /// Milliseconds that an import may take.
    pub import_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_asset_bytes: 64 * 1024,
            max_import_bytes: 8 * 1024 * 1024,
            max_import_rows: 25_000,
            max_imports: 1,
            request_timeout_ms: 20_000,
            import_timeout_ms: 120_000,
        }
    }
}

impl chassis::ServiceConfig for Config {
    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn shutdown(&self) -> &ShutdownConfig {
        &self.shutdown
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        self.kafka.validate("kafka")?;
        // The parser's message may hold the URL, and with it the password.
        if PgConnectOptions::from_str(self.database.url.expose()).is_err() {
            return Err(InvalidConfig::new(
                "database.url",
                "must be like postgres://user:password@host:port/database",
            ));
        }
        let at_least = |key: &str, value: u64, least: u64| {
            if value < least {
                Err(InvalidConfig::new(key, format!("must be at least {least}")))
            } else {
                Ok(())
            }
        };
        let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let (database, relay, limits) = (&self.database, &self.relay, &self.limits);
        at_least(
            "database.max_connections",
            database.max_connections.into(),
            1,
        )?;
        at_least(
            "database.acquire_timeout_ms",
            database.acquire_timeout_ms,
            100,
        )?;
        at_least(
            "database.statement_timeout_ms",
            database.statement_timeout_ms,
            100,
        )?;
        at_least("relay.poll_interval_ms", relay.poll_interval_ms, 10)?;
        at_least(
            "relay.transaction_timeout_ms",
            relay.transaction_timeout_ms.into(),
            1_000,
        )?;
        at_least(
            "limits.max_asset_bytes",
            size(limits.max_asset_bytes),
            1_024,
        )?;
        at_least(
            "limits.max_import_bytes",
            size(limits.max_import_bytes),
            1_024,
        )?;
        at_least("limits.max_import_rows", size(limits.max_import_rows), 1)?;
        at_least("limits.max_imports", size(limits.max_imports), 1)?;
        at_least("limits.request_timeout_ms", limits.request_timeout_ms, 100)?;
        at_least("limits.import_timeout_ms", limits.import_timeout_ms, 100)?;
        if !(1..=MAX_BATCH).contains(&relay.batch_size) {
            return Err(InvalidConfig::new(
                "relay.batch_size",
                format!("must be 1 to {MAX_BATCH}"),
            ));
        }
        if self.topics.assets.trim().is_empty() {
            return Err(InvalidConfig::new("topics.assets", "must name a topic"));
        }
        Ok(())
    }
}

/// Well below what librdkafka queues (100,000 records), so that a batch never finds the queue full.
const MAX_BATCH: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::ServiceConfig;

    #[test]
    fn defaults_are_valid_and_what_is_not_is_named() {
        Config::default().validate().unwrap();
        let key = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(
            key(|c| c.database.url = Secret::new("mysql//x")),
            "database.url"
        );
        assert_eq!(
            key(|c| c.database.max_connections = 0),
            "database.max_connections"
        );
        assert_eq!(key(|c| c.relay.batch_size = 0), "relay.batch_size");
        assert_eq!(key(|c| c.limits.max_imports = 0), "limits.max_imports");
        assert_eq!(key(|c| c.topics.assets.clear()), "topics.assets");
        assert_eq!(
            key(|c| c.kafka.bootstrap_servers.clear()),
            "kafka.bootstrap_servers"
        );
    }

    #[test]
    fn a_database_password_is_neither_shown_nor_told() {
        let mut config = Config::default();
        config.database.url = Secret::new("postgres://u:hunter2@h:port/d");
        let told = format!("{config:?} {}", config.validate().unwrap_err());
        assert!(!told.contains("hunter2"), "{told}");
    }
}
