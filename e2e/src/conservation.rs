//! Does each record have exactly one outcome? Pure functions over records.
//!
//! A step takes each record of one topic and lets it through to another, with something added at its end, or makes a dead
//! letter of it. What it let through is matched by its original bytes; what it rewrote, and says so, by who took the
//! reading when.

use schema::{DeadLetter, topic};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use testbed::OwnedRecord;

/// What is wrong with a record's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// It has none.
    Lost,
    /// It has more than one.
    Doubled,
    /// It has one, with other bytes.
    Changed,
    /// An outcome of no record.
    Invented,
}

/// One record with a wrong outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub wrong: Wrong,
    /// The topic of the record at `partition` and `offset`: the input, or the output where there is no input.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was appended, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its value.
    pub value: Vec<u8>,
}

/// The outcomes of a step's inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that went in.
    pub inputs: usize,
    /// Records that were let through.
    pub passed: usize,
    /// Dead letters.
    pub dead_letters: usize,
    /// Records with blank sentinels, which are written anew.
    pub rewritten: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Tally {
    /// How many findings are of this kind.
    pub fn count(&self, wrong: Wrong) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.wrong == wrong)
            .count()
    }

    /// Adds what was found in another part of the topic.
    pub fn add(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.passed += other.passed;
        self.dead_letters += other.dead_letters;
        self.rewritten += other.rewritten;
        self.findings.extend(other.findings);
    }
}

/// One step of the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The service.
    pub service: &'static str,
    /// Its input.
    pub input: &'static topic::Topic,
    /// Its output.
    pub output: &'static topic::Topic,
    /// The first member that it adds.
    added: &'static str,
    /// What the added members hold when the rest was written anew.
    rewritten: Option<&'static str>,
}

/// Raw to validated. Ticks are the validator's own: leave them out.
pub const VALIDATION: Step = Step {
    service: "validator",
    input: &topic::RAW,
    output: &topic::VALIDATED,
    added: ",\"validation_timestamp\":",
    rewritten: Some("\"blank\""),
};

/// DCGM's blank sentinels, as a record spells them: what the validator makes null.
const SENTINELS: [&str; 4] = ["9223372036854775", "21474836", "14073748835532", "<<<"];

/// Validated to enriched, ticks included.
pub const ENRICHMENT: Step = Step {
    service: "enricher",
    input: &topic::VALIDATED,
    output: &topic::ENRICHED,
    added: ",\"asset_status\":",
    rewritten: None,
};

/// A dead letter, as far as it says whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who gave the record up.
    pub service: String,
    /// Where the record stands.
    pub source: schema::Source,
}

/// Reads dead letters.
pub fn letters(invalid: &[OwnedRecord]) -> Vec<Letter> {
    let read = |record: &OwnedRecord| {
        let letter: DeadLetter =
            serde_json::from_slice(record.value.as_deref().unwrap_or_default()).unwrap();
        Letter {
            service: letter.service,
            source: letter.source,
        }
    };
    invalid.iter().map(read).collect()
}

/// Holds the outcomes of `step` against its inputs: whole partitions of both topics, and the dead letters of any.
pub fn conserve(
    step: &Step,
    inputs: &[OwnedRecord],
    outputs: &[OwnedRecord],
    letters: &[Letter],
) -> Tally {
    let mut given_up: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for letter in letters {
        if letter.service == step.service && letter.source.topic == step.input.name {
            *given_up
                .entry((letter.source.partition, letter.source.offset))
                .or_default() += 1;
        }
    }
    let mut tally = Tally {
        inputs: inputs.len(),
        ..Tally::default()
    };

    // What can be matched by its bytes.
    let mut open: BTreeMap<u64, Vec<&OwnedRecord>> = BTreeMap::new();
    let mut known: BTreeMap<u64, &OwnedRecord> = BTreeMap::new();
    for input in inputs {
        let id = hash(value(input));
        known.insert(id, input);
        match given_up.get(&(input.partition, input.offset)) {
            None => open.entry(id).or_default().push(input),
            Some(n) => {
                tally.dead_letters += 1;
                for _ in 1..*n {
                    tally
                        .findings
                        .push(finding(Wrong::Doubled, step.input, input));
                }
            }
        }
    }
    let mut unmatched: Vec<(&OwnedRecord, Original)> = Vec::new();
    for output in outputs {
        let original = step.original(value(output));
        let waiting = open.get_mut(&original.hash).and_then(Vec::pop);
        if waiting.is_some() {
            tally.passed += 1;
        } else {
            unmatched.push((output, original));
        }
    }

    // What was written anew, by who took it when.
    let mut left: BTreeMap<String, Vec<&OwnedRecord>> = BTreeMap::new();
    for input in open.into_values().flatten() {
        left.entry(reading(value(input)).unwrap_or_else(|| {
            // What nobody can read can't have been let through.
            format!("{}/{}", input.partition, input.offset)
        }))
        .or_default()
        .push(input);
    }
    for (output, original) in unmatched {
        let waiting = reading(value(output))
            .and_then(|id| left.get_mut(&id))
            .and_then(Vec::pop);
        match (waiting, known.get(&original.hash)) {
            (Some(input), _) if original.rewritten && has_sentinel(value(input)) => {
                tally.passed += 1;
                tally.rewritten += 1;
            }
            (Some(input), _) => {
                tally.passed += 1;
                tally
                    .findings
                    .push(finding(Wrong::Changed, step.input, input));
            }
            (None, Some(input)) => {
                tally
                    .findings
                    .push(finding(Wrong::Doubled, step.input, input));
            }
            // A rewritten record that comes twice, or something that was never sent.
            (None, None) => {
                let twice = original.rewritten
                    && reading(value(output)).is_some_and(|id| left.contains_key(&id));
                let wrong = if twice {
                    Wrong::Doubled
                } else {
                    Wrong::Invented
                };
                tally.findings.push(finding(wrong, step.output, output));
            }
        }
    }
    for input in left.into_values().flatten() {
        tally.findings.push(finding(Wrong::Lost, step.input, input));
    }
    tally
        .findings
        .sort_by_key(|finding| (finding.partition, finding.offset, finding.wrong));
    tally
}

struct Original {
    hash: u64,
    rewritten: bool,
}

impl Step {
    /// What `value` was before this step added to it; a tick is as it was.
    fn original(&self, value: &[u8]) -> Original {
        match rfind(value, self.added.as_bytes()) {
            None => Original {
                hash: hash(value),
                rewritten: false,
            },
            Some(at) => {
                let mut original = value[..at].to_vec();
                original.push(b'}');
                let added = &value[at..];
                Original {
                    hash: hash(&original),
                    rewritten: self
                        .rewritten
                        .is_some_and(|mark| rfind(added, mark.as_bytes()).is_some()),
                }
            }
        }
    }
}

fn value(record: &OwnedRecord) -> &[u8] {
    record.value.as_deref().unwrap_or_default()
}

fn has_sentinel(value: &[u8]) -> bool {
    SENTINELS
        .iter()
        .any(|sentinel| rfind(value, sentinel.as_bytes()).is_some())
}

fn rfind(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).rposition(|found| found == what)
}

fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Who took a reading when.
fn reading(value: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reading<'a> {
        timestamp: String,
        gpu: Gpu,
        #[serde(borrow)]
        collector: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Gpu {
        gpu_uuid: String,
    }
    let reading: Reading<'_> = serde_json::from_slice(value).ok()?;
    Some(format!(
        "{} {} {}",
        reading.gpu.gpu_uuid, reading.timestamp, reading.collector
    ))
}

fn finding(wrong: Wrong, topic: &topic::Topic, record: &OwnedRecord) -> Finding {
    Finding {
        wrong,
        topic: topic.name.to_owned(),
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp,
        value: value(record).to_vec(),
    }
}

#[cfg(test)]
mod tests;
