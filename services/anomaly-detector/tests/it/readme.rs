//! The manual is right: its tables are the code's, and its example is an alert that the service writes.

use crate::document::{assert_part, read};
use anomaly_detector::Config;
use anomaly_detector::domain::limits::Limits;
use anomaly_detector::domain::rule::{RULES, RuleDef};
use anomaly_detector::metrics::NAMES;
use schema::Severity;
use std::fmt::Write;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// `warning`, or `warning, critical` where a rule has a graver form.
pub(crate) fn severities(def: &RuleDef) -> String {
    let name = |severity| match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    if def.severity == def.urgent_severity {
        name(def.severity).to_owned()
    } else {
        format!("{}, {}", name(def.severity), name(def.urgent_severity))
    }
}

/// Likewise for what NVSentinel calls the action.
pub(crate) fn actions(def: &RuleDef) -> String {
    let (action, urgent) = (def.action.code(), def.urgent_action.code());
    if action == urgent {
        format!("`{action}`")
    } else {
        format!("`{action}`, `{urgent}`")
    }
}

fn rules() -> String {
    let mut table = String::from(
        "| rule | type | severity | fires when | ends when | action | source |\n|---|---|---|---|---|---|---|\n",
    );
    for def in &RULES {
        writeln!(
            table,
            "| [`{0}`](../../docs/runbook/{0}.md) | `{1}` | {2} | {3} | {4} | {5} | {6} |",
            def.id,
            def.alert_type,
            severities(def),
            def.condition,
            def.clears,
            actions(def),
            def.source,
        )
        .unwrap();
    }
    table
}

fn limits() -> String {
    let mut table = String::from("| key | default | |\n|---|---|---|\n");
    for key in Limits::keys() {
        writeln!(table, "| `{}` | {} | {} |", key.path, key.default, key.text).unwrap();
    }
    table
}

fn metrics() -> String {
    let mut table = String::from("| name | |\n|---|---|\n");
    for (name, text) in NAMES {
        writeln!(table, "| `{name}` | {text} |").unwrap();
    }
    table
}

fn topics() -> String {
    let Config {
        topics, runbook, ..
    } = Config::default();
    let mut table = String::from("| key | default | |\n|---|---|---|\n");
    for (key, default, text) in [
        ("topics.enriched", topics.enriched, "read"),
        ("topics.alerts", topics.alerts, "written"),
        (
            "topics.critical",
            topics.critical,
            "written: critical alerts once more",
        ),
        ("topics.invalid", topics.invalid, "written: dead letters"),
        ("topics.changelog", topics.changelog, "state"),
        (
            "runbook.base",
            runbook.base,
            "what an alert's `runbook` begins with: a folder or a URL",
        ),
    ] {
        writeln!(table, "| `{key}` | `{default}` | {text} |").unwrap();
    }
    table
}

/// An alert of the golden story.
fn example() -> String {
    let alerts = read(&file("testdata/alerts.json"));
    let alert = serde_json::Deserializer::from_str(&alerts)
        .into_iter::<schema::Alert>()
        .map(Result::unwrap)
        .find(|alert| alert.rule_id == "thermal_margin")
        .unwrap();
    let text = serde_json::to_string_pretty(&alert).unwrap();
    format!("```json\n{text}\n```\n")
}

// One test, since each part is written into the same file.
#[test]
fn tables_and_example_are_the_codes() {
    let readme = file("README.md");
    assert_part(&readme, "example", &example());
    assert_part(&readme, "rules", &rules());
    assert_part(&readme, "topics", &topics());
    assert_part(&readme, "limits", &limits());
    assert_part(&readme, "metrics", &metrics());
}

#[test]
fn every_way_to_become_a_dead_letter_is_listed() {
    use anomaly_detector::domain::dead_letter::Unreadable;
    let text = read(&file("README.md"));
    let broken = || serde_json::from_str::<()>("").unwrap_err();
    for reason in [
        Unreadable::NoValue,
        Unreadable::NotATick(broken()),
        Unreadable::KeyNotText,
        Unreadable::NotAReading(broken()),
    ] {
        assert!(text.contains(&format!("`{}`", reason.code())), "{reason}");
    }
}
