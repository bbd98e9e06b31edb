//! A stage on Kafka Streams as a process: how it is started, and what it says. See `bench/peers/kafka-streams/README.md`.

use crate::supervisor::{Instance, Settings};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Enough for the state of this suite, and three such processes fit beside a broker.
const HEAP: &str = "-Xmx512m";

/// Where `make chaos` puts it.
pub(crate) fn jar() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../bench/peers/kafka-streams/target/kafka-streams-peer.jar")
}

/// Starts `instance` as the same member of the same group as ours would be.
pub(crate) fn command(
    jar: &Path,
    state: &Path,
    instance: Instance,
    settings: &Settings,
) -> Command {
    let mut command = Command::new("java");
    // Native libraries are unpacked there; a process that is killed leaves them.
    let unpacked = state.join("tmp");
    std::fs::create_dir_all(&unpacked)
        .unwrap_or_else(|error| panic!("{}: {error}", unpacked.display()));
    command
        .arg(format!("-Djava.io.tmpdir={}", unpacked.display()))
        .args([HEAP, "-jar"])
        .arg(jar)
        .arg(instance.role.name())
        .env("KS_BOOTSTRAP_SERVERS", &settings.bootstrap)
        .env("KS_APPLICATION_ID", instance.role.name())
        .env("KS_STATE_DIR", state.join(instance.to_string()))
        // As the topics and our services have it.
        .env("KS_COMPRESSION", "snappy");
    if settings.is_static {
        command.env("KS_GROUP_INSTANCE_ID", instance.to_string());
    }
    command
}

/// Do all its tasks work, by the last thing it said of them?
pub(crate) fn is_running(events: &str) -> bool {
    events
        .lines()
        .rev()
        .find_map(|line| match field(line, "event")? {
            "\"running\"" => Some(true),
            "\"rebalancing\"" | "\"failed\"" | "\"stopped\"" => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

/// Records restored, all restores together.
pub(crate) fn restored(events: &str) -> u64 {
    events
        .lines()
        .filter(|line| field(line, "event") == Some("\"restored\""))
        .filter_map(|line| field(line, "records")?.parse::<u64>().ok())
        .sum()
}

/// A member of a flat JSON object, as written.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let end = rest.find([',', '}'])?;
    Some(rest[..end].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: [&str; 4] = [
        r#"{"time_ms":1,"event":"rebalancing","from":"CREATED"}"#,
        r#"{"time_ms":2,"event":"restored","stores":2,"records":70,"ms":9}"#,
        r#"{"time_ms":3,"event":"running","since_start_ms":900}"#,
        r#"{"time_ms":4,"event":"rebalancing","from":"RUNNING"}"#,
    ];

    #[test]
    fn the_last_word_on_its_tasks_counts() {
        let told = |lines: usize| LIFE[..lines].join("\n");
        assert!(!is_running(""));
        assert!(!is_running(&told(2)));
        assert!(is_running(&told(3)));
        assert!(!is_running(&told(4)));
        assert_eq!(restored(&told(4)), 70);
    }
}
