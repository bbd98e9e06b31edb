//! The manual is right: its tables are the code's, and its example comes out as it says.

use crate::golden;
use health_scorer::domain::factor::Factor;
use health_scorer::domain::limits::Limits;
use schema::HealthScore;
use std::fmt::Write;
use std::path::PathBuf;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn readme() -> String {
    std::fs::read_to_string(path()).unwrap()
}

/// Where the part between the two comments of `name` begins and ends.
fn part(text: &str, name: &str) -> (usize, usize) {
    let from = text.find(&format!("<!-- {name}:")).unwrap();
    let from = from + text[from..].find('\n').unwrap() + 1;
    let to = text.find(&format!("<!-- end of {name} -->")).unwrap();
    (from, to)
}

fn factors() -> String {
    let mut table = String::from(
        "| factor | takes | at most | half-life | cap | state | what | source |\n|---|---|---|---|---|---|---|---|\n",
    );
    let text = |value: Option<f64>, unit: &str| {
        value.map_or_else(String::new, |value| format!("{value}{unit}"))
    };
    let mut dimension = "";
    for factor in Factor::ALL {
        let spec = factor.spec();
        if spec.dimension.name() != dimension {
            dimension = spec.dimension.name();
            writeln!(table, "| **{dimension}** | | | | | | | |").unwrap();
        }
        let rule = spec.rule;
        let points = (rule.points > 0.0).then(|| rule.points.to_string());
        let slope = rule.slope.map(|slope| format!("{slope} x"));
        let takes: Vec<_> = points.into_iter().chain(slope).collect();
        let most = if takes.is_empty() {
            None
        } else {
            Some(rule.max_points)
        };
        let state = spec.state.map_or_else(String::new, |state| {
            serde_json::to_value(state)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        });
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {state} | {} | {} |",
            spec.name,
            takes.join(" + "),
            text(most, ""),
            text(rule.half_life_days, " d"),
            text(rule.cap, ""),
            spec.what,
            spec.source,
        )
        .unwrap();
    }
    table
}

fn limits() -> String {
    let mut table = String::from("| key | default | |\n|---|---|---|\n");
    for key in Limits::keys() {
        writeln!(
            table,
            "| `limits.{}` | {} | {} |",
            key.path, key.default, key.text
        )
        .unwrap();
    }
    table
}

#[test]
fn the_tables_are_the_codes() {
    let mut text = readme();
    for (name, table) in [("factors", factors()), ("limits", limits())] {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let (from, to) = part(&text, name);
            text.replace_range(from..to, &table);
            std::fs::write(path(), &text).unwrap();
        }
        let (from, to) = part(&text, name);
        assert_eq!(&text[from..to], table, "{name}");
    }
}

/// The golden score of the GPU whose UUID ends in `gpu`, written at `time`.
fn score(gpu: char, time: &str) -> HealthScore {
    let scores = golden::expected();
    let mut scores = scores
        .iter()
        .map(|text| serde_json::from_str::<HealthScore>(text).unwrap());
    scores
        .find(|score| score.gpu_uuid.ends_with(gpu) && score.timestamp.to_string().contains(time))
        .unwrap()
}

fn points(score: &HealthScore) -> Vec<(&str, String)> {
    let points = |factor: &schema::Factor| format!("{:.2}", factor.points);
    score
        .factors
        .iter()
        .map(|f| (f.name.as_str(), points(f)))
        .collect()
}

fn told(text: &str, number: f64) {
    let number = format!("{number:.2}");
    assert!(text.contains(&number), "the example does not have {number}");
}

fn example() -> String {
    let text = readme();
    let from = text.find("## A score by hand").unwrap();
    let to = text.find("## When a score is written").unwrap();
    text[from..to].to_owned()
}

#[test]
fn the_worked_example_is_what_the_service_writes() {
    let text = example();
    let score = score('c', "10:41:02");
    // By hand, from what the readings say.
    let (remaps, margin, throttled, slowed) = (
        5.0 * (1.0_f64 + 3.0).log2(),
        2.0 * (8.0 - (83.0 - 86.0)),
        10.0 + 100.0 * 6.0 / 60.0,
        20.0 * 6.0 / 60.0,
    );
    let by_name = |name: &str| {
        let factor = score.factors.iter().find(|f| f.name == name);
        factor.map(|f| f.points).unwrap()
    };
    for (name, by_hand) in [
        ("row_remaps", remaps),
        ("thermal_margin", margin),
        ("hw_thermal_slowdown", throttled),
        ("hw_slowdown", slowed),
    ] {
        assert!((by_name(name) - by_hand).abs() < 0.005, "{name}");
        assert!(text.contains(&format!("| {by_hand:.2} |")), "{name}");
    }
    assert_eq!(score.factors.len(), 4);
    let dimensions = [
        (100.0 - remaps, 0.30, score.dimension_scores.memory_health),
        (
            100.0 - margin - throttled,
            0.25,
            score.dimension_scores.thermal_health,
        ),
        (
            100.0 - slowed,
            0.20,
            score.dimension_scores.performance_health,
        ),
        (100.0, 0.15, score.dimension_scores.power_health),
        (100.0, 0.10, score.dimension_scores.reliability_health),
    ];
    let mut overall = 0.0;
    for (by_hand, weight, written) in dimensions {
        assert!((written.unwrap() - by_hand).abs() < 0.005);
        told(&text, by_hand);
        told(&text, by_hand * weight);
        overall += by_hand * weight;
    }
    assert!((score.overall_score.unwrap() - overall).abs() < 0.005);
    assert!(text.contains(&format!("**{overall:.2}**")));
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    assert_eq!(
        word(serde_json::to_value(score.health_grade).unwrap()),
        "good"
    );
    assert_eq!(word(serde_json::to_value(score.state).unwrap()), "degraded");
}

#[test]
fn the_example_of_a_cap_is_what_the_service_writes() {
    let text = example();
    let score = score('a', "10:52:01");
    assert_eq!(
        points(&score),
        [
            ("gpu_returned", "0.00".to_owned()),
            ("gpu_lost", "59.99".to_owned()),
            ("contained_ecc", "14.99".to_owned()),
            ("completeness", "11.36".to_owned()),
        ]
    );
    let minutes = |minutes: f64, days: f64| (-minutes / (days * 24.0 * 60.0)).exp2();
    let (error, loss, missing) = (
        15.0 * minutes(19.0, 14.0),
        60.0 * minutes(7.8, 28.0),
        100.0 * (0.95 - 0.8364),
    );
    let reliability = 100.0 - loss - missing;
    let mean =
        0.30 * (100.0 - error) + 0.25 * 100.0 + 0.20 * 100.0 + 0.15 * 100.0 + 0.10 * reliability;
    for number in [error, loss, missing, 100.0 - error, reliability, mean, 50.0] {
        told(&text, number);
    }
    assert_eq!(score.overall_score, Some(50.0));
}
