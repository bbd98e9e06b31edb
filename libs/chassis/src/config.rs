//! Layered, typed configuration: defaults, then a TOML file, then the environment. Unknown keys are errors.

use crate::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What the chassis needs of a service's configuration before the service runs.
pub trait ServiceConfig: DeserializeOwned + fmt::Debug + Send + 'static {
    /// Where the endpoints listen.
    fn http(&self) -> &HttpConfig;
    /// How logs are written.
    fn log(&self) -> &LogConfig;
    /// How long draining may take.
    fn shutdown(&self) -> &ShutdownConfig;
    /// What types can't say: relations between keys. Called before anything is touched.
    fn validate(&self) -> Result<(), InvalidConfig>;
}

/// A key whose value won't do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    /// The key, as a dotted path.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidConfig {
    /// `key` (a dotted path) won't do because of `reason`.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl std::error::Error for InvalidConfig {}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Text for people, JSON for machines.
    pub format: LogFormat,
    /// `tracing` filter directives: `info`, `warn,chassis=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// Milliseconds from SIGTERM until draining is given up. Must be below the pod's
    /// `terminationGracePeriodSeconds`.
    pub grace_ms: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace_ms: 20_000 }
    }
}

impl ShutdownConfig {
    /// The grace period.
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// The environment variables' prefix for `service`: `tsdb-sink` reads `TSDB_SINK__KAFKA__BOOTSTRAP_SERVERS`.
pub fn env_prefix(service: &str) -> String {
    service.to_uppercase().replace('-', "_")
}

/// Loads and validates the configuration of `service`.
pub fn load<C: ServiceConfig>(service: &str, file: Option<&Path>) -> Result<C, Error> {
    let environment = config::Environment::with_prefix(&env_prefix(service))
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true);
    load_from(file, environment)
}

fn load_from<C: ServiceConfig>(
    file: Option<&Path>,
    environment: config::Environment,
) -> Result<C, Error> {
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(
            config::File::from(path)
                .format(config::FileFormat::Toml)
                .required(true),
        );
    }
    let loaded: C = builder
        .add_source(environment)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| Error::config(format!("configuration: {error}")))?;
    loaded
        .validate()
        .map_err(|invalid| Error::config(format!("configuration: {invalid}")))?;
    Ok(loaded)
}

/// Reads a list given as a TOML array or as one comma-separated string (as the environment gives it).
pub fn comma_separated<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Array(Vec<String>),
        Text(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Array(items) => items,
        List::Text(text) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::io::Write;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        http: HttpConfig,
        log: LogConfig,
        shutdown: ShutdownConfig,
        kafka: crate::KafkaConfig,
        #[serde(deserialize_with = "comma_separated")]
        targets: Vec<String>,
        limit: u32,
    }

    impl ServiceConfig for Example {
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
            if self.limit > 10 {
                return Err(InvalidConfig::new("limit", "must be at most 10"));
            }
            self.kafka.validate("kafka")
        }
    }

    fn load_with(pairs: &[(&str, &str)], file: Option<&Path>) -> Result<Example, String> {
        let map: HashMap<String, String> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let environment = config::Environment::with_prefix("EXAMPLE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .source(Some(map));
        load_from(file, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "limit = 3\n[kafka]\nbootstrap_servers = \"a:1\"\ngroup_id = \"g\""
        )
        .unwrap();
        let config = load_with(
            &[
                ("EXAMPLE__KAFKA__BOOTSTRAP_SERVERS", "b:2"),
                ("EXAMPLE__TARGETS", "http://x/metrics, http://y/metrics"),
                ("EXAMPLE__KAFKA__PROPERTIES__FETCH_WAIT_MAX_MS", "50"),
            ],
            Some(file.path()),
        )
        .unwrap();
        assert_eq!(config.limit, 3);
        assert_eq!(config.kafka.bootstrap_servers, "b:2");
        assert_eq!(config.kafka.group_id.as_deref(), Some("g"));
        assert_eq!(config.targets, ["http://x/metrics", "http://y/metrics"]);
        assert_eq!(config.http.listen.port(), 8080);
        assert_eq!(
            config.kafka.client("c").get("fetch.wait.max.ms"),
            Some("50")
        );
    }

    #[test]
    fn wrong_configuration_is_one_line_that_names_the_key() {
        let check = |pairs: &[(&str, &str)], needle: &str| {
            let error = load_with(pairs, None).unwrap_err();
            assert!(error.contains(needle), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        };
        check(&[("EXAMPLE__LIMIT", "many")], "limit");
        check(&[("EXAMPLE__LIMIT", "11")], "limit: must be at most 10");
        check(&[("EXAMPLE__LIMITT", "1")], "limitt");
        check(&[("EXAMPLE__LOG__FORMAT", "xml")], "log.format");
        check(&[("EXAMPLE__HTTP__LISTEN", "nowhere")], "http.listen");
        check(
            &[("EXAMPLE__KAFKA__BOOTSTRAP_SERVERS", " ")],
            "kafka.bootstrap_servers",
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = load_with(&[("EXAMPLE__KAFKA__SASL_PASSWORD", "hunter2")], None).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
