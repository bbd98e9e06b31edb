//! What may depend on what, and what must not appear where: the fence around the chassis, the purity of domains, the
//! smallness of `shared/`. Reasons: `docs/adr/0001-what-services-share.md`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of code in `libs/chassis/src`: without tests, comments and blank lines. Over it: take something out, do not
/// raise it. (Set with the first version at 3,900; again with takeover, lineage and rolling snapshots; and with
/// the second group protocol.)
const CHASSIS_BUDGET: usize = 4_400;

/// Words of our domain that the chassis must not know.
const DOMAIN_NOUNS: &[&str] = &[
    "gpu",
    "nvidia",
    "dcgm",
    "xid",
    "telemetry sample",
    "asset",
    "alert",
    "anomaly",
    "health score",
    "validator",
    "enricher",
    "aggregator",
    "timescale",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Folder of each member → the members it depends on in production, by folder.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |path: &str| {
        Path::new(path)
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches("/Cargo.toml")
            .to_owned()
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let depends = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["path"].as_str().map(folder))
                .collect();
            (folder(package["manifest_path"].as_str().unwrap()), depends)
        })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A file's lines up to its unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn services_share_the_schema_and_nothing_else_of_our_domain() {
    for (member, depends) in members() {
        if member.starts_with("services/") {
            for dependency in &depends {
                assert!(
                    dependency == "shared" || dependency == "libs/chassis",
                    "{member} depends on {dependency}"
                );
            }
        }
        if member.starts_with("libs/") {
            assert!(
                depends
                    .iter()
                    .all(|dependency| dependency == "libs/librdkafka-guard"),
                "{member} depends on {depends:?}"
            );
        }
        if member == "shared" {
            assert!(depends.is_empty(), "shared depends on {depends:?}");
        }
    }
}

#[test]
fn the_schema_does_no_io() {
    let manifest = std::fs::read_to_string(root().join("shared/Cargo.toml")).unwrap();
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let names: BTreeSet<&str> = dependencies
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .collect();
    assert_eq!(names, BTreeSet::from(["jiff", "serde", "serde_json"]));
    for file in rust_files(&root().join("shared/src")) {
        let code = code(&file);
        for banned in ["std::fs", "std::net", "std::env", "std::thread", "::now()"] {
            assert!(!code.contains(banned), "{}: {banned}", file.display());
        }
    }
}

#[test]
fn the_chassis_knows_no_domain_noun_and_keeps_its_budget() {
    let mut lines = 0;
    for file in rust_files(&root().join("libs/chassis/src")) {
        let code = code(&file);
        lines += code
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        let lower = code.to_lowercase();
        for noun in DOMAIN_NOUNS {
            let found = lower.match_indices(noun).any(|(at, _)| {
                let before = lower[..at].chars().next_back();
                !before.is_some_and(char::is_alphanumeric)
            });
            assert!(!found, "{}: \"{noun}\"", file.display());
        }
        assert!(!code.contains("schema::"), "{}", file.display());
    }
    assert!(
        lines <= CHASSIS_BUDGET,
        "{lines} lines, the budget is {CHASSIS_BUDGET}"
    );
}

#[test]
fn domains_are_pure() {
    const ALLOWED: &[&str] = &[
        "std",
        "core",
        "alloc",
        "base64",
        "crate",
        "super",
        "self",
        "schema",
        "serde",
        "serde_json",
        "rustc_hash",
        "thiserror",
        "jiff",
    ];
    let services = std::fs::read_dir(root().join("services")).unwrap();
    let mut domains = 0;
    for service in services {
        let service = service.unwrap().path();
        let head = service.join("src/domain.rs");
        if !head.exists() {
            continue;
        }
        domains += 1;
        let text = std::fs::read_to_string(&head).unwrap();
        for lint in [
            "clippy::disallowed_methods",
            "clippy::disallowed_types",
            "clippy::disallowed_macros",
        ] {
            assert!(
                text.contains(lint),
                "{} does not deny {lint}",
                head.display()
            );
        }
        let mut files = rust_files(&service.join("src/domain"));
        files.push(head);
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            for line in code(file).lines() {
                let Some(used) = line.trim_start().strip_prefix("use ") else {
                    continue;
                };
                let first = used
                    .trim_start_matches("::")
                    .split([':', ';', ' ', '{'])
                    .next()
                    .unwrap_or_default();
                let local = first.chars().next().is_none_or(char::is_uppercase)
                    || file.parent().unwrap().join(format!("{first}.rs")).exists()
                    || service
                        .join("src/domain")
                        .join(format!("{first}.rs"))
                        .exists();
                assert!(
                    ALLOWED.contains(&first) || local,
                    "{}: {line}",
                    file.display()
                );
                for banned in [
                    "std::fs",
                    "std::net",
                    "std::env",
                    "std::thread",
                    "std::process",
                    "std::io",
                ] {
                    assert!(!used.starts_with(banned), "{}: {line}", file.display());
                }
            }
        }
    }
    assert!(domains >= 4, "{domains} services with a domain");
}

#[test]
fn every_service_has_the_same_files() {
    for service in std::fs::read_dir(root().join("services")).unwrap() {
        let service = service.unwrap().path();
        for file in [
            "Cargo.toml",
            "README.md",
            "src/main.rs",
            "src/lib.rs",
            "src/config.rs",
            "src/metrics.rs",
        ] {
            assert!(
                service.join(file).exists(),
                "{} has no {file}",
                service.display()
            );
        }
        let main = std::fs::read_to_string(service.join("src/main.rs")).unwrap();
        assert!(
            main.lines().count() <= 40,
            "{}/src/main.rs decides something",
            service.display()
        );
    }
}

#[test]
fn no_file_is_called_after_nothing() {
    for folder in [
        "shared", "libs", "services", "tools", "e2e", "bench", "chaos",
    ] {
        for file in rust_files(&root().join(folder)) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            assert!(
                ![
                    "mod", "utils", "util", "common", "helpers", "helper", "types", "misc"
                ]
                .contains(&name),
                "{}",
                file.display()
            );
        }
    }
}
