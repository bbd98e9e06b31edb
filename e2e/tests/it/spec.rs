//! `docs/spec/service.md`, held against every binary.

use e2e::{SERVICES, binary, http_get};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn run(service: &str, arguments: &[&str], environment: &[(String, String)]) -> Output {
    Command::new(binary(service))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What has no default, since nobody could guess it. Nobody listens at these addresses.
fn required(service: &str) -> Vec<(String, String)> {
    let setting =
        |key: &str, value: &str| vec![(format!("{}__{key}", prefix(service)), value.to_owned())];
    match service {
        "collector" => setting("TARGETS", "http://127.0.0.1:1/metrics"),
        "asset-lookup" | "tsdb-sink" => {
            setting("DATABASE__URL", "postgres://nobody@127.0.0.1:1/none")
        }
        _ => Vec::new(),
    }
}

fn prefix(service: &str) -> String {
    service.to_uppercase().replace('-', "_")
}

#[test]
fn every_service_prints_help_version_and_checks_its_configuration() {
    for service in SERVICES {
        for argument in ["--help", "--version", "--check-config"] {
            let output = run(service, &[argument], &required(service));
            assert_eq!(
                output.status.code(),
                Some(0),
                "{service} {argument}: {output:?}"
            );
            assert!(!output.stdout.is_empty(), "{service} {argument}");
        }
        let unknown = run(service, &["--no-such-argument"], &[]);
        assert_eq!(unknown.status.code(), Some(64), "{service}");
    }
}

#[test]
fn wrong_configuration_is_one_line_that_names_the_key_and_exit_64() {
    for service in SERVICES {
        let cases = [
            ("NO_SUCH_KEY", "1", "no_such_key"),
            ("HTTP__LISTEN", "nowhere", "http.listen"),
            ("LOG__FORMAT", "xml", "log.format"),
            ("SHUTDOWN__GRACE_MS", "soon", "shutdown.grace_ms"),
            ("KAFKA__BOOTSTRAP_SERVERS", "", "kafka.bootstrap_servers"),
        ];
        for (key, value, named) in cases {
            let mut environment = required(service);
            environment.push((format!("{}__{key}", prefix(service)), value.to_owned()));
            let output = run(service, &[], &environment);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{service} {key}: {text}");
            assert_eq!(text.lines().count(), 1, "{service} {key}: {text}");
            assert!(text.contains(named), "{service} {key}: {text}");
        }
    }
}

#[test]
fn every_service_answers_before_kafka_and_database_are_there_and_drains() {
    for service in SERVICES {
        let port = testbed::free_port();
        let nobody = testbed::free_port();
        let prefix = prefix(service);
        let mut child = Command::new(binary(service))
            .env(
                format!("{prefix}__HTTP__LISTEN"),
                format!("127.0.0.1:{port}"),
            )
            .env(
                format!("{prefix}__KAFKA__BOOTSTRAP_SERVERS"),
                format!("127.0.0.1:{nobody}"),
            )
            .envs(required(service))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        testbed::wait_until(Duration::from_secs(20), service, || {
            http_get(port, "/healthz").0 == 200
        });
        let (ready, why) = http_get(port, "/readyz");
        let (status, metrics) = http_get(port, "/metrics");
        let terminated = Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .unwrap();
        let mut code = None;
        testbed::wait_until(Duration::from_secs(30), "the drain to end", || {
            code = child.try_wait().unwrap();
            code.is_some()
        });
        assert!(terminated.success());
        assert_eq!(ready, 503, "{service} is ready without Kafka");
        assert!(!why.trim().is_empty(), "{service} says why it is not ready");
        assert_eq!(status, 200, "{service}");
        for name in [
            "build_info",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            assert!(
                metrics.contains(&format!("# HELP {name} ")),
                "{service}: {name}"
            );
        }
        for line in metrics
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{service}: {name}"
            );
            let family = name
                .trim_end_matches("_bucket")
                .trim_end_matches("_sum")
                .trim_end_matches("_count");
            assert!(
                metrics.contains(&format!("# HELP {name} "))
                    || metrics.contains(&format!("# HELP {family} ")),
                "{service}: {name} has no help text"
            );
        }
        assert_eq!(code.and_then(|status| status.code()), Some(0), "{service}");
    }
}
