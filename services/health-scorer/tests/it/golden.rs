//! Half an hour of three GPUs, and every score that comes of it.
//!
//! `testdata/half_an_hour.in.jsonl` holds the records of one partition; `UPDATE_GOLDEN=1` writes what comes out anew. What
//! happens: GPU a has a contained memory error in minute 3 and is silent from 12 to 22 while its host's other GPU reports; b
//! waits for a reset from minute 5 to 9 and has a narrow link from 15 on; c is too hot from 6 to 14. A broken record and one
//! out of order come in minute 10. Then nobody reports any more.

use chassis::testing::{Input, StageDriver, values_of};
use health_scorer::domain::rules::Rules;
use health_scorer::stage::{HEALTH_SCORES, INVALID, Scorer};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::sync::Arc;

/// The partition that the records stand in.
pub(crate) const PARTITION: i32 = 3;

/// A line of the input: a value, or text that is none.
#[derive(Deserialize)]
struct Line<'a> {
    key: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    text: Option<String>,
}

/// Keys and values, in order.
pub(crate) fn records() -> Vec<(Option<String>, String)> {
    let text = std::fs::read_to_string(file("half_an_hour.in.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let line: Line<'_> = serde_json::from_str(line).unwrap();
            let value = line.value.map(|value| value.get().to_owned());
            (line.key, value.or(line.text).unwrap())
        })
        .collect()
}

/// The scores that come of them, in order.
pub(crate) fn expected() -> Vec<String> {
    let text = std::fs::read_to_string(file("half_an_hour.out.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

fn inputs() -> Vec<Input> {
    (0..)
        .zip(records())
        .map(|(offset, (key, value))| Input {
            partition: PARTITION,
            offset,
            timestamp_ms: 1_770_805_800_000,
            key: key.map(String::into_bytes),
            value: Some(value.into_bytes()),
            headers: Vec::new(),
        })
        .collect()
}

#[test]
fn half_an_hour_of_three_gpus_gives_these_scores() {
    let stage = Scorer::new(Arc::new(Rules::default()));
    let emitted = StageDriver::new(stage, "gpu-metrics-enriched", &[2, 2]).run(&inputs());
    let scores: Vec<_> = values_of(&emitted, HEALTH_SCORES)
        .into_iter()
        .map(|value| str::from_utf8(value).unwrap())
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file("half_an_hour.out.jsonl"), scores.join("\n") + "\n").unwrap();
    }
    assert_eq!(scores, expected());
    assert_eq!(values_of(&emitted, INVALID).len(), 1);
}
