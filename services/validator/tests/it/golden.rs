//! Records in, records out, byte for byte: `testdata/NAME.in.jsonl` through the stage gives `testdata/NAME.out.jsonl`.
//!
//! `UPDATE_GOLDEN=1` writes what comes out; look at the difference before it is committed.
//!
//! A line of input is a record: `partition` (0 unless given), `append_time`, `key` (null unless given), `headers`, and its
//! value in one of the forms of [`Line`]. Or it says that a partition is idle: `{"idle_at": TIME, "partition": 3}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::Output;
use chassis::testing::{Emitted, Input, StageDriver};
use schema::{DeadLetter, Timestamp, ValidatedEvent, topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use validator::config::Config;
use validator::domain::reason::Code;
use validator::stage::{INVALID, VALIDATED, Validator};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    /// Why the line is there.
    #[serde(default, rename = "why")]
    _why: String,
    #[serde(default)]
    partition: i32,
    idle_at: Option<Timestamp>,
    append_time: Option<Timestamp>,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The value is the text of this JSON value, as it stands.
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    /// The value is this file under `testdata/payloads`.
    payload: Option<String>,
    /// The value is text that is no JSON.
    text: Option<String>,
    /// The value is bytes that are no text.
    base64: Option<String>,
    /// The value is these texts, each so many times, one after the other.
    repeated: Option<Vec<(String, usize)>>,
}

impl Line<'_> {
    fn value(&self) -> Option<Vec<u8>> {
        if let Some(json) = self.json {
            return Some(json.get().into());
        }
        if let Some(name) = &self.payload {
            let text = std::fs::read_to_string(testdata().join("payloads").join(name)).unwrap();
            return Some(text.trim_end().into());
        }
        if let Some(encoded) = &self.base64 {
            return Some(STANDARD.decode(encoded).unwrap());
        }
        if let Some(parts) = &self.repeated {
            let text: String = parts.iter().map(|(text, n)| text.repeat(*n)).collect();
            return Some(text.into());
        }
        self.text.as_deref().map(Into::into)
    }
}

#[derive(Serialize)]
struct OutLine<'a> {
    output: &'static str,
    partition: i32,
    key: Option<&'a str>,
    value: &'a RawValue,
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn validator() -> Validator {
    let config = Config::default();
    Validator::new(
        config.limits().unwrap(),
        config.ticks,
        config.duplicates.forget_after_ms,
    )
}

fn run(input: &str) -> Vec<Emitted> {
    let mut driver = StageDriver::new(
        validator(),
        topic::RAW.name,
        &[topic::VALIDATED.partitions, topic::INVALID.partitions],
    );
    let mut emitted = Vec::new();
    for (offset, line) in (0..).zip(input.lines()) {
        let line: Line<'_> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(at) = line.idle_at {
            driver.idle(line.partition, at.as_millis());
        } else {
            driver.process(&Input {
                partition: line.partition,
                offset,
                timestamp_ms: line.append_time.unwrap().as_millis(),
                value: line.value(),
                key: line.key.map(String::into_bytes),
                headers: line
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name, value.into_bytes()))
                    .collect(),
            });
        }
        emitted.extend(driver.commit());
    }
    emitted
}

fn render(emitted: &[Emitted]) -> String {
    let mut text = String::new();
    for record in emitted {
        let line = OutLine {
            output: match Output(record.output) {
                VALIDATED => "validated",
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
    assert!(inputs.len() >= 8, "{inputs:?}");
    for name in &inputs {
        let input = std::fs::read_to_string(testdata().join(format!("{name}.in.jsonl"))).unwrap();
        let output = render(&run(&input));
        let path = testdata().join(format!("{name}.out.jsonl"));
        if update {
            std::fs::write(&path, &output).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (found, expected)) in (1..).zip(output.lines().zip(expected.lines())) {
            assert_eq!(found, expected, "{name}.out.jsonl:{number}");
        }
        assert_eq!(output.lines().count(), expected.lines().count(), "{name}");
    }
    assert_eq!(inputs, names(".out.jsonl"), "an output without its input");
}

#[test]
fn every_output_is_read_by_the_schema() {
    let mut codes = BTreeSet::new();
    for name in names(".in.jsonl") {
        let input = std::fs::read_to_string(testdata().join(format!("{name}.in.jsonl"))).unwrap();
        for record in run(&input) {
            let value = record.value.as_deref().unwrap();
            if Output(record.output) == INVALID {
                let letter: DeadLetter = serde_json::from_slice(value).unwrap();
                assert!(!letter.validation_errors.is_empty());
                codes.extend(
                    letter
                        .validation_errors
                        .into_iter()
                        .map(|reason| reason.code),
                );
            } else if let Some(key) = &record.key {
                let event: ValidatedEvent<'_> = serde_json::from_slice(value).unwrap();
                assert_eq!(event.gpu.gpu_uuid.as_bytes(), key);
            } else {
                serde_json::from_slice::<schema::Tick>(value).unwrap();
            }
        }
    }
    // The golden files show every reason there is, but for the one that takes a quarter of a megabyte to show.
    let all: BTreeSet<String> = Code::ALL
        .iter()
        .filter(|code| **code != Code::RecordTooLarge)
        .map(|code| code.as_str().to_owned())
        .collect();
    assert_eq!(codes, all);
}
