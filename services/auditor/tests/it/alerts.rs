//! The alert rules: they ask for metrics that there are, and lead to pages that there are.

use serde_yaml_ng::Value;
use std::path::Path;

#[test]
fn every_alert_asks_for_metrics_that_are_described_and_has_a_page_that_tells_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let rules: Value = serde_yaml_ng::from_str(&read(&root.join("alerts.yaml"))).unwrap();
    let metrics = read(&root.join("src/metrics.rs"));
    let rules = rules["groups"][0]["rules"].as_sequence().unwrap();
    let names: Vec<&str> = rules
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "GpuHealthRecordsLost",
            "GpuHealthRecordsDoubled",
            "GpuHealthAuditorBehind"
        ]
    );
    for rule in rules {
        let (name, expression) = (
            rule["alert"].as_str().unwrap(),
            rule["expr"].as_str().unwrap(),
        );
        let asked = expression
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("auditor_"));
        let mut count = 0;
        for metric in asked {
            assert!(
                metrics.contains(&format!("\"{metric}\"")),
                "{name}: {metric}"
            );
            count += 1;
        }
        assert!(count > 0, "{name} asks for nothing of ours");
        let page = root
            .join("../..")
            .join(rule["annotations"]["runbook"].as_str().unwrap());
        let page = read(&page);
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for section in [
            "What it means",
            "Why it matters",
            "What to check",
            "What to do",
            "When to close",
        ] {
            assert!(
                page.contains(&format!("## {section}\n")),
                "{name}: {section}"
            );
        }
    }
}
