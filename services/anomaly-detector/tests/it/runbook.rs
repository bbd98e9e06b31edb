//! The runbook: a page a rule, each with what whoever is woken needs, and none left over.

use crate::document::{assert_part, in_repository, read};
use crate::readme::{actions, severities};
use anomaly_detector::Config;
use anomaly_detector::domain::rule::{RULES, RuleDef};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

const SECTIONS: [&str; 5] = [
    "What it means",
    "Why it matters",
    "What to check",
    "What to do",
    "When to close",
];
/// What one of the commands of "What to check" begins with: a page that names no command checks nothing.
const TOOLS: [&str; 8] = [
    "nvidia-smi",
    "dcgmi",
    "dmesg",
    "journalctl",
    "lspci",
    "systemctl",
    "ipmitool",
    "curl",
];

fn folder() -> PathBuf {
    in_repository(&Config::default().runbook.base)
}

fn page(def: &RuleDef) -> PathBuf {
    folder().join(format!("{}.md", def.id))
}

fn facts(def: &RuleDef) -> String {
    format!(
        "| | |\n|---|---|\n| type | `{}` |\n| severity | {} |\n| fires | {} |\n| ends | {} |\n| action | {} |\n",
        def.alert_type,
        severities(def),
        def.condition,
        def.clears,
        actions(def),
    )
}

#[test]
fn every_rule_has_a_page_that_says_what_the_rule_is() {
    for def in &RULES {
        let path = page(def);
        assert!(
            read(&path).starts_with(&format!("# {}\n", def.id)),
            "{}",
            path.display()
        );
        assert_part(&path, "facts", &facts(def));
    }
}

#[test]
fn every_page_has_its_sections_in_order_and_none_is_empty() {
    for def in &RULES {
        let text = read(&page(def));
        let headings: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, SECTIONS, "{}", def.id);
        let bodies: Vec<_> = text.split("\n## ").skip(1).collect();
        for body in &bodies {
            let words = body.split_whitespace().count();
            assert!(words >= 15, "{}: {body}", def.id);
        }
        let commands = bodies[2];
        assert!(
            commands.contains("```") && TOOLS.iter().any(|tool| commands.contains(tool)),
            "{} names nothing to look at",
            def.id
        );
    }
}

#[test]
fn the_index_names_every_page_and_no_page_is_left_over() {
    let mut table = String::from("| rule | severity | what to do first |\n|---|---|---|\n");
    let mut alert_type = "";
    for def in &RULES {
        if def.alert_type != alert_type {
            alert_type = def.alert_type;
            writeln!(table, "| **{alert_type}** | | |").unwrap();
        }
        writeln!(
            table,
            "| [`{0}`]({0}.md) | {1} | {2} |",
            def.id,
            severities(def),
            def.words
        )
        .unwrap();
    }
    assert_part(&folder().join("README.md"), "index", &table);

    let expected: BTreeSet<_> = RULES
        .iter()
        .map(|def| format!("{}.md", def.id))
        .chain(["README.md".to_owned()])
        .collect();
    let found: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(Result::unwrap)
        // Other services have folders of their own there.
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn links_between_pages_lead_somewhere() {
    for name in RULES.iter().map(|def| def.id).chain(["README"]) {
        let text = read(&folder().join(format!("{name}.md")));
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(folder().join(target).exists(), "{name}: {target}");
        }
    }
}
