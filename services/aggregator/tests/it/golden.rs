//! Records in, records out, byte for byte: `testdata/NAME.in.jsonl` through the stage gives `testdata/NAME.out.jsonl`.
//!
//! `UPDATE_GOLDEN=1` writes what comes out; look at the difference before it is committed.
//!
//! A line of input is a record: `partition` (0 unless given), `key` (null unless given), and its value in one of the forms
//! of [`Line`], none for a tombstone. A line of output says after which line of input (from 0) it came.

use aggregator::Windows;
use aggregator::letter::Code;
use aggregator::stage::{Aggregator, FIFTEEN_MINUTES, INVALID, ONE_MINUTE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::Output;
use chassis::testing::{Emitted, Input, StageDriver};
use schema::{DeadLetter, WindowAggregate, topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    /// Why the line is there.
    #[serde(default, rename = "why")]
    _why: String,
    #[serde(default)]
    partition: i32,
    key: Option<String>,
    /// The value is the text of this JSON value, as it stands.
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    /// The value is text that is no JSON.
    text: Option<String>,
    /// The value is bytes that are no text.
    base64: Option<String>,
}

impl Line<'_> {
    fn value(&self) -> Option<Vec<u8>> {
        if let Some(json) = self.json {
            return Some(json.get().into());
        }
        if let Some(encoded) = &self.base64 {
            return Some(STANDARD.decode(encoded).unwrap());
        }
        self.text.as_deref().map(Into::into)
    }
}

#[derive(Serialize)]
struct OutLine<'a> {
    after: i64,
    output: &'static str,
    partition: i32,
    key: Option<&'a str>,
    value: &'a RawValue,
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(testdata().join(file)).unwrap_or_default()
}

/// What comes out after each line.
fn run(input: &str) -> Vec<(i64, Emitted)> {
    let partitions = [topic::ONE_MINUTE, topic::FIFTEEN_MINUTES, topic::INVALID];
    let mut driver = StageDriver::new(
        Aggregator::new(Windows::default()),
        topic::ENRICHED.name,
        &partitions.map(|topic| topic.partitions),
    );
    let mut emitted = Vec::new();
    for (offset, line) in (0..).zip(input.lines()) {
        let line: Line<'_> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        driver.process(&Input {
            partition: line.partition,
            offset,
            // The append time, 2026-02-11T10:30:00Z: only in dead letters of what can't be read.
            timestamp_ms: 1_770_805_800_000,
            value: line.value(),
            key: line.key.map(String::into_bytes),
            headers: Vec::new(),
        });
        emitted.extend(driver.commit().into_iter().map(|record| (offset, record)));
    }
    emitted
}

fn render(emitted: &[(i64, Emitted)]) -> String {
    let mut text = String::new();
    for (after, record) in emitted {
        let line = OutLine {
            after: *after,
            output: match Output(record.output) {
                ONE_MINUTE => "1min",
                FIFTEEN_MINUTES => "15min",
                INVALID => "invalid",
                other => panic!("no such output: {other:?}"),
            },
            partition: record.partition,
            key: record
                .key
                .as_deref()
                .map(|key| str::from_utf8(key).unwrap()),
            value: serde_json::from_slice(record.value.as_deref().unwrap()).unwrap(),
        };
        text += &serde_json::to_string(&line).unwrap();
        text.push('\n');
    }
    text
}

fn names(suffix: &str) -> BTreeSet<String> {
    std::fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(suffix).map(str::to_owned))
        .collect()
}

#[test]
fn records_come_out_as_they_did() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let inputs = names(".in.jsonl");
    assert!(inputs.len() >= 6, "{inputs:?}");
    for name in &inputs {
        let output = render(&run(&read(&format!("{name}.in.jsonl"))));
        let path = format!("{name}.out.jsonl");
        if update {
            std::fs::write(testdata().join(&path), &output).unwrap();
        }
        let expected = read(&path);
        for (number, (found, expected)) in (1..).zip(output.lines().zip(expected.lines())) {
            assert_eq!(found, expected, "{path}:{number}");
        }
        assert_eq!(output.lines().count(), expected.lines().count(), "{name}");
    }
    assert_eq!(inputs, names(".out.jsonl"), "an output without its input");
}

#[test]
fn every_output_is_what_the_schema_writes() {
    let mut codes = BTreeSet::new();
    for name in names(".in.jsonl") {
        for (_, record) in run(&read(&format!("{name}.in.jsonl"))) {
            let value = record.value.as_deref().unwrap();
            let written = if Output(record.output) == INVALID {
                let letter: DeadLetter = serde_json::from_slice(value).unwrap();
                let reasons = letter.validation_errors.iter();
                codes.extend(reasons.map(|reason| reason.code.clone()));
                serde_json::to_vec(&letter).unwrap()
            } else {
                let window: WindowAggregate = serde_json::from_slice(value).unwrap();
                assert_eq!(record.key.as_deref(), Some(window.gpu_uuid.as_bytes()));
                serde_json::to_vec(&window).unwrap()
            };
            assert_eq!(
                String::from_utf8(written).unwrap(),
                str::from_utf8(value).unwrap()
            );
        }
    }
    let all: BTreeSet<String> = Code::ALL
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    assert_eq!(codes, all, "the golden files show every reason there is");
}
