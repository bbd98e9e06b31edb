//! Holds everything that the fleet has written against what it should have written, a partition at a time: a run may
//! hold more than fits into memory.

use crate::ground::{Ground, POISON_HEADER};
use crate::lineage;
use crate::load::Sent;
use crate::verdict::{Kind, Verdict, Violation};
use chassis::Stage;
use e2e::conservation::{self, ENRICHMENT, Letter, Tally, VALIDATION, Wrong};
use e2e::stored;
use e2e::undisturbed::{self, Extent, Replay, Values};
use schema::topic::{self, Topic};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use testbed::{OwnedRecord, Reader};

/// How long one partition may take to be read.
const READ_WITHIN: Duration = Duration::from_mins(5);
/// Partitions that are held in memory at a time.
const THREADS: usize = 3;
/// One GPU in so many has its rows compared in every column; all rows are compared by their keys.
const WHOLE_ROWS_ONE_IN: u32 = 20;

/// How the table calls the records that were there to be processed: raw and validated ones once, enriched ones by three stages.
pub(crate) const INPUTS: &str = "inputs of the stages";

/// The dead letters of a run, and whose each is.
struct Letters {
    records: Vec<OwnedRecord>,
    parsed: Vec<Letter>,
}

impl Letters {
    fn read(reader: &Reader) -> Self {
        let mut records = Vec::new();
        for partition in 0..topic::INVALID.partitions {
            records.extend(read(reader, &topic::INVALID, partition));
        }
        let parsed = conservation::letters(&records);
        Self { records, parsed }
    }

    /// Those of `service` about a partition of `input`, in their order.
    fn of(&self, service: &str, input: &Topic, partition: i32) -> Vec<&OwnedRecord> {
        self.records
            .iter()
            .zip(&self.parsed)
            .filter(|(_, letter)| {
                letter.service == service
                    && letter.source.topic == input.name
                    && letter.source.partition == partition
            })
            .map(|(record, _)| record)
            .collect()
    }
}

/// Everything but the rows.
pub(crate) fn topics(ground: &Ground, sent: &[Sent]) -> Verdict {
    let letters = Letters::read(&Reader::new(ground.bootstrap()));
    let assets = testbed::consume_committed(ground.bootstrap(), topic::ASSETS.name, 0, READ_WITHIN);
    let next = AtomicI32::new(0);
    let verdict = Mutex::new(Verdict::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let reader = Reader::new(ground.bootstrap());
                loop {
                    let partition = next.fetch_add(1, Ordering::Relaxed);
                    if partition >= topic::RAW.partitions {
                        return;
                    }
                    let found = Partition {
                        reader: &reader,
                        letters: &letters,
                        number: partition,
                    }
                    .check(&sent[usize::try_from(partition).unwrap_or(0)], &assets);
                    verdict
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(found);
                }
            });
        }
    });
    let mut verdict = verdict.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdict.count("dead letters", letters.records.len());
    verdict
}

/// The sink's rows.
pub(crate) fn rows(ground: &Ground) -> Verdict {
    let mut verdict = Verdict::default();
    let sql = |query: &str| {
        ground
            .sql(query)
            .unwrap_or_else(|error| panic!("the rows can't be read: {error}"))
    };
    let reader = Reader::new(ground.bootstrap());
    let read = |topic: &Topic, partition: i32| read(&reader, topic, partition);
    let compared = stored::compare(&sql, &read, &is_sampled);
    for rows in compared.rows.values() {
        verdict.count("rows", *rows);
    }
    verdict.count("rows compared in every column", compared.whole);
    verdict.violations.extend(
        compared
            .differences
            .into_iter()
            .map(|difference| Violation::new(Kind::Differs, None, difference)),
    );
    verdict
}

fn is_sampled(gpu: &str) -> bool {
    schema::partition_for(gpu.as_bytes(), i32::MAX)
        .unsigned_abs()
        .is_multiple_of(WHOLE_ROWS_ONE_IN)
}

/// One partition of the inputs, and what came of it.
struct Partition<'a> {
    reader: &'a Reader,
    letters: &'a Letters,
    number: i32,
}

impl Partition<'_> {
    fn check(&self, sent: &Sent, assets: &[OwnedRecord]) -> Verdict {
        let mut verdict = Verdict::default();
        let raw = self.read(&topic::RAW);
        verdict.count("raw records", raw.len());
        verdict.violations.extend(self.as_sent(sent, &raw));

        let validated = self.read(&topic::VALIDATED);
        // Ticks are the validator's own, and the poison between its records the suite's.
        let valid = keyed(&own(&validated));
        verdict.count("validated", valid.len());
        self.conserve(&VALIDATION, &raw, &valid, &mut verdict);
        self.replay(
            undisturbed::validator(),
            "validator",
            &raw,
            &[(&topic::VALIDATED, own(&validated))],
            &mut verdict,
        );
        let raw_inputs = raw.len();
        drop((raw, valid));

        let enriched = self.read(&topic::ENRICHED);
        let own_enriched = own(&enriched);
        verdict.count("enriched", keyed(&own_enriched).len());
        verdict.count(INPUTS, raw_inputs + validated.len() + 3 * enriched.len());
        self.conserve(&ENRICHMENT, &validated, &own_enriched, &mut verdict);
        let mut joining = undisturbed::enricher();
        joining.table(assets);
        self.replay(
            joining,
            "enricher",
            &validated,
            &[(&topic::ENRICHED, own_enriched)],
            &mut verdict,
        );
        drop(validated);
        self.stages(&enriched, &mut verdict);
        self.sink_letters(&enriched, &mut verdict);
        verdict
    }

    fn stages(&self, enriched: &[OwnedRecord], verdict: &mut Verdict) {
        let windows = aggregator::config::Config::default().windows.windows();
        self.replay(
            undisturbed::aggregator(windows),
            "aggregator",
            enriched,
            &[
                self.output(&topic::ONE_MINUTE),
                self.output(&topic::FIFTEEN_MINUTES),
            ],
            verdict,
        );
        self.replay(
            undisturbed::anomaly_detector(),
            "anomaly-detector",
            enriched,
            &[self.output(&topic::ALERTS), self.output(&topic::CRITICAL)],
            verdict,
        );
        self.replay(
            undisturbed::health_scorer(),
            "health-scorer",
            enriched,
            &[self.output(&topic::HEALTH_SCORES)],
            verdict,
        );
    }

    /// Is the input what the load has sent, in its order?
    fn as_sent(&self, sent: &Sent, raw: &[OwnedRecord]) -> Option<Violation> {
        let mut found = Sent::default();
        for record in raw.iter().filter(|record| !is_poison(record)) {
            found.add(
                record.key.as_deref().unwrap_or_default(),
                record.value.as_deref().unwrap_or_default(),
            );
        }
        (found != *sent).then(|| {
            Violation::new(
                Kind::Changed,
                None,
                format!(
                    "{}/{} holds {} records, {} were sent: the broker or the load's producer is at fault",
                    topic::RAW.name,
                    self.number,
                    found.records,
                    sent.records
                ),
            )
        })
    }

    /// One outcome each, by the records' bytes and by where the outcomes say that they come from.
    fn conserve(
        &self,
        step: &conservation::Step,
        inputs: &[OwnedRecord],
        outputs: &[OwnedRecord],
        verdict: &mut Verdict,
    ) {
        let letters = self.letters.of(step.service, step.input, self.number);
        let parsed: Vec<Letter> = self
            .letters
            .parsed
            .iter()
            .filter(|letter| {
                letter.service == step.service && letter.source.partition == self.number
            })
            .cloned()
            .collect();
        let tally = conservation::conserve(step, inputs, outputs, &parsed);
        verdict.violations.extend(findings(step, &tally));
        let outcomes: Vec<&OwnedRecord> = outputs.iter().chain(letters).collect();
        verdict.count("outcomes traced to their source", outcomes.len());
        verdict.violations.extend(lineage::trace(
            step.input.name,
            self.number,
            inputs,
            &outcomes,
        ));
    }

    /// Does a stage say what it says when nobody strikes it?
    fn replay<S: Stage>(
        &self,
        mut replay: Replay<S>,
        service: &'static str,
        inputs: &[OwnedRecord],
        outputs: &[(&'static Topic, Vec<OwnedRecord>)],
        verdict: &mut Verdict,
    ) {
        replay.feed(inputs);
        let expected = replay.values();
        let mut actual = Values::new();
        for (topic, records) in outputs {
            actual.extend(undisturbed::values_of(topic, service, records));
        }
        let input = inputs_of(service);
        let letters: Vec<OwnedRecord> = self
            .letters
            .of(service, input, self.number)
            .into_iter()
            .cloned()
            .collect();
        actual.extend(undisturbed::values_of(&topic::INVALID, service, &letters));
        for (topic, ..) in expected.keys().chain(actual.keys()) {
            // Both sides are looked at, so that nothing is compared with nothing.
            verdict.count(counted_as(topic), 0);
        }
        for ((topic, ..), values) in &expected {
            verdict.count(counted_as(topic), values.len());
        }
        for difference in undisturbed::differences(&expected, &actual, Extent::Whole) {
            verdict.violations.push(Violation::new(
                Kind::Differs,
                None,
                format!(
                    "{service}, input partition {}: {}/{} key {} value {}:\n  undisturbed: {}\n  found:       {}",
                    self.number,
                    difference.topic,
                    difference.partition,
                    difference.key,
                    difference.at,
                    difference.expected.as_deref().unwrap_or("nothing"),
                    difference.found.as_deref().unwrap_or("nothing"),
                ),
            ));
        }
    }

    /// The sink gives up what nobody can read, once, and nothing else.
    fn sink_letters(&self, enriched: &[OwnedRecord], verdict: &mut Verdict) {
        let wanted: Vec<i64> = enriched
            .iter()
            .filter(|record| is_poison(record))
            .map(|record| record.offset)
            .collect();
        let mut found: Vec<i64> = self
            .letters
            .parsed
            .iter()
            .filter(|letter| {
                letter.service == "tsdb-sink"
                    && letter.source.topic == topic::ENRICHED.name
                    && letter.source.partition == self.number
            })
            .map(|letter| letter.source.offset)
            .collect();
        found.sort_unstable();
        if wanted != found {
            verdict.violations.push(Violation::new(
                Kind::Differs,
                None,
                format!(
                    "tsdb-sink: dead letters of {}/{} at offsets {found:?}, poison at {wanted:?}",
                    topic::ENRICHED.name,
                    self.number
                ),
            ));
        }
    }

    /// What came of this partition in a topic that has fewer.
    fn output(&self, topic: &'static Topic) -> (&'static Topic, Vec<OwnedRecord>) {
        let mut records = read(self.reader, topic, self.number % topic.partitions);
        records.retain(|record| {
            record.key.as_deref().is_none_or(|key| {
                schema::partition_for(key, topic::ENRICHED.partitions) == self.number
            })
        });
        (topic, records)
    }

    fn read(&self, topic: &Topic) -> Vec<OwnedRecord> {
        read(self.reader, topic, self.number)
    }
}

fn inputs_of(service: &str) -> &'static Topic {
    match service {
        "validator" => &topic::RAW,
        "enricher" => &topic::VALIDATED,
        _ => &topic::ENRICHED,
    }
}

/// How the table calls the values of a topic that were compared.
fn counted_as(name: &str) -> &'static str {
    [
        (topic::VALIDATED.name, "validated, compared"),
        (topic::ENRICHED.name, "enriched, compared"),
        (topic::ONE_MINUTE.name, "1-minute windows, compared"),
        (topic::FIFTEEN_MINUTES.name, "15-minute windows, compared"),
        (topic::ALERTS.name, "alerts, compared"),
        (topic::CRITICAL.name, "critical alerts, compared"),
        (topic::HEALTH_SCORES.name, "health scores, compared"),
    ]
    .into_iter()
    .find_map(|(topic, counted)| (topic == name).then_some(counted))
    .unwrap_or("dead letters, compared")
}

fn findings(step: &conservation::Step, tally: &Tally) -> Vec<Violation> {
    let kind = |wrong: Wrong| match wrong {
        Wrong::Lost => Kind::Lost,
        Wrong::Doubled => Kind::Doubled,
        Wrong::Changed => Kind::Changed,
        Wrong::Invented => Kind::Invented,
    };
    tally
        .findings
        .iter()
        .map(|finding| {
            Violation::new(
                kind(finding.wrong),
                Some(finding.timestamp_ms),
                format!(
                    "{}: {}/{}/{}: {}",
                    step.service,
                    finding.topic,
                    finding.partition,
                    finding.offset,
                    String::from_utf8_lossy(&finding.value)
                ),
            )
        })
        .collect()
}

fn is_poison(record: &OwnedRecord) -> bool {
    record.header(POISON_HEADER).is_some()
}

/// What the fleet itself has written.
fn own(records: &[OwnedRecord]) -> Vec<OwnedRecord> {
    records
        .iter()
        .filter(|record| !is_poison(record))
        .cloned()
        .collect()
}

fn keyed(records: &[OwnedRecord]) -> Vec<OwnedRecord> {
    records
        .iter()
        .filter(|record| record.key.is_some())
        .cloned()
        .collect()
}

fn read(reader: &Reader, topic: &Topic, partition: i32) -> Vec<OwnedRecord> {
    reader.read(topic.name, &BTreeMap::from([(partition, 0)]), READ_WITHIN)
}
