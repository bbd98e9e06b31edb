//! The audit against an oracle: a stage that makes mistakes, a log that can be read in any order, restarts.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the log of a test is short"
)]

use super::super::pipeline::{ENRICHED, INVALID, ONE_MINUTE, RAW};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LIMITS: Limits = Limits {
    pending: 4_096,
    identities_ms: 60_000,
};
const PARTITIONS: usize = 2;

/// A record of an output: the input that it names; none for what a reader of committed records does not see.
type Entry = Option<(usize, i64)>;

/// A validator and its three topics, of two partitions each.
#[derive(Debug, Default)]
struct World {
    /// Whether an offset holds a record, or is a marker.
    raw: Vec<Vec<bool>>,
    /// By output (validated, invalid) and partition.
    outputs: [Vec<Vec<Entry>>; 2],
    committed: Vec<i64>,
    /// The open transaction: where the outputs were when it began, and what it will commit.
    open: Option<([Vec<usize>; 2], Vec<i64>)>,
    /// Outcomes of each input.
    outcomes: BTreeMap<(usize, i64), u64>,
    phantoms: u64,
}

impl World {
    fn new() -> Self {
        let empty = || vec![Vec::new(); PARTITIONS];
        Self {
            raw: vec![Vec::new(); PARTITIONS],
            outputs: [empty(), empty()],
            committed: vec![0; PARTITIONS],
            ..Self::default()
        }
    }

    fn lengths(&self) -> [Vec<usize>; 2] {
        [0, 1].map(|output| self.outputs[output].iter().map(Vec::len).collect())
    }

    /// Handles up to `count` offsets of a partition, with one mistake.
    fn process(&mut self, partition: usize, count: usize, mistake: u8) {
        let begun = self.lengths();
        if self.open.is_none() {
            self.open = Some((begun, self.committed.clone()));
        }
        let from = self.open.as_ref().map_or(0, |(_, to)| to[partition]);
        let to = (from + count as i64).min(self.raw[partition].len() as i64);
        for offset in from..to {
            let data = self.raw[partition][offset as usize];
            let first = offset == from;
            let mut copies = u64::from(data);
            match mistake {
                1 if first && data => copies = 0,
                2 if first && data => copies = 2,
                3 if !data => copies = 1,
                4 if first && offset > 0 && self.raw[partition][0] => self.emit(partition, 0),
                _ => {}
            }
            for _ in 0..copies {
                self.emit(partition, offset);
            }
        }
        if let Some((_, end)) = &mut self.open {
            end[partition] = to;
        }
    }

    fn emit(&mut self, partition: usize, offset: i64) {
        let output = &mut self.outputs[usize::from(offset % 5 == 3)];
        output[partition].push(Some((partition, offset)));
    }

    fn end(&mut self, commit: bool) {
        let Some((begun, to)) = self.open.take() else {
            return;
        };
        for (output, begun) in self.outputs.iter_mut().zip(begun) {
            for (entries, from) in output.iter_mut().zip(begun) {
                for entry in &mut entries[from..] {
                    if commit {
                        let Some((partition, offset)) = *entry else {
                            continue;
                        };
                        if self.raw[partition][offset as usize] {
                            *self.outcomes.entry((partition, offset)).or_default() += 1;
                        } else {
                            self.phantoms += 1;
                        }
                    } else {
                        *entry = None;
                    }
                }
                // The marker.
                entries.push(None);
            }
        }
        if commit {
            self.committed = to;
        }
    }

    fn survey(&self) -> Survey {
        let ends = |lengths: &[Vec<usize>; 2]| {
            let mut offsets = vec![vec![0]; TOPICS];
            let as_offsets = |of: &[usize]| of.iter().map(|n| *n as i64).collect();
            offsets[RAW] = self.raw.iter().map(|of| of.len() as i64).collect();
            offsets[VALIDATED] = as_offsets(&lengths[0]);
            offsets[INVALID] = as_offsets(&lengths[1]);
            offsets
        };
        let now = self.lengths();
        let stable = self.open.as_ref().map_or(&now, |(begun, _)| begun);
        let mut committed = vec![Some(vec![None]); STAGES.len()];
        committed[0] = Some(self.committed.iter().copied().map(Some).collect());
        let mut lows = vec![vec![0]; TOPICS];
        for topic in [RAW, VALIDATED, INVALID] {
            lows[topic] = vec![0; PARTITIONS];
        }
        Survey {
            stable: ends(stable),
            committed,
            ends: ends(&now),
            lows,
        }
    }

    /// Reads up to `count` offsets of a partition as a reader of committed records does.
    fn read(&self, audit: &mut Audit, topic: TopicId, partition: usize, count: usize) {
        let from = audit.next()[topic][partition] as usize;
        let end = self.survey().stable[topic][partition] as usize;
        for offset in from..(from + count).min(end) {
            let entry = match topic {
                RAW => self.raw[partition][offset].then_some(None),
                VALIDATED => self.outputs[0][partition][offset].map(Some),
                _ => self.outputs[1][partition][offset].map(Some),
            };
            let Some(source) = entry else {
                audit.reached(topic, partition, offset as i64 + 1);
                continue;
            };
            let source = source.map(|(p, o)| format!("raw/{p}/{o}"));
            audit.record(&Seen {
                topic,
                partition: partition as i32,
                offset: offset as i64,
                time_ms: 0,
                key: Some(b"k"),
                value: b"{}",
                source: source.as_deref().map(str::as_bytes),
                foreign: false,
            });
        }
    }
}

fn names() -> Vec<String> {
    let names = [
        "raw",
        "validated",
        "enriched",
        "invalid",
        "1min",
        "15min",
        "alerts",
        "critical",
        "scores",
    ];
    names.map(str::to_owned).to_vec()
}

#[derive(Clone, Debug)]
enum Action {
    Arrive(usize, Vec<bool>),
    Process(usize, usize, u8),
    End(bool),
    Read(TopicId, usize, usize),
    Survey,
    Settle,
    Snapshot,
    Kill,
}

fn action() -> impl Strategy<Value = Action> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        (
            partition.clone(),
            prop::collection::vec(prop::bool::weighted(0.9), 1..8)
        )
            .prop_map(|(p, records)| Action::Arrive(p, records)),
        (partition.clone(), 1..8_usize, 0..12_u8).prop_map(|(p, n, m)| Action::Process(p, n, m)),
        prop::bool::weighted(0.8).prop_map(Action::End),
        (
            prop::sample::select(vec![RAW, VALIDATED, INVALID]),
            partition,
            1..20_usize
        )
            .prop_map(|(topic, p, n)| Action::Read(topic, p, n)),
        Just(Action::Survey),
        Just(Action::Settle),
        Just(Action::Snapshot),
        Just(Action::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_loss_and_every_double_is_counted_once_in_any_interleaving_with_any_restarts(
        actions in prop::collection::vec(action(), 1..150),
    ) {
        let mut world = World::new();
        let begin = |snapshot: Option<&Snapshot>, survey: &Survey| {
            Audit::new(names(), LIMITS, Start::Earliest, snapshot, survey)
        };
        let mut audit = begin(None, &world.survey());
        let mut snapshot = audit.snapshot(0);
        for action in actions {
            match action {
                Action::Arrive(p, records) => world.raw[p].extend(records),
                Action::Process(p, n, mistake) => world.process(p, n, mistake),
                Action::End(commit) => world.end(commit),
                Action::Read(topic, p, n) => world.read(&mut audit, topic, p, n),
                Action::Survey => {
                    let asked = audit.next().clone();
                    prop_assert!(audit.survey(&world.survey(), &asked).is_empty());
                }
                Action::Settle => drop(audit.settle()),
                Action::Snapshot => snapshot = audit.snapshot(0),
                Action::Kill => audit = begin(Some(&snapshot), &world.survey()),
            }
        }
        world.end(true);
        for _ in 0..2 {
            for topic in [RAW, VALIDATED, INVALID] {
                for partition in 0..PARTITIONS {
                    world.read(&mut audit, topic, partition, usize::MAX / 2);
                }
            }
            audit.settle();
            let asked = audit.next().clone();
            audit.survey(&world.survey(), &asked);
            audit.settle();
        }
        let mut expected = Totals::default();
        for (partition, records) in world.raw.iter().enumerate() {
            for (offset, data) in (0..world.committed[partition]).zip(records) {
                match world.outcomes.get(&(partition, offset)) {
                    None if *data => expected.lost += 1,
                    Some(n) => {
                        expected.audited += 1;
                        expected.doubled += n - 1;
                    }
                    None => {}
                }
            }
        }
        expected.phantom = world.phantoms;
        prop_assert_eq!(audit.totals(0), expected);
        for stage in 1..STAGES.len() {
            prop_assert_eq!(audit.totals(stage), Totals::default());
        }
    }
}

/// One partition a topic, empty but for what the test says.
fn flat(set: &[(TopicId, i64)]) -> Offsets {
    let mut offsets = vec![vec![0]; TOPICS];
    for (topic, offset) in set {
        offsets[*topic][0] = *offset;
    }
    offsets
}

fn survey(ends: &[(TopicId, i64)], stage: usize, position: i64) -> Survey {
    let mut committed = vec![Some(vec![None]); STAGES.len()];
    committed[stage] = Some(vec![Some(position)]);
    Survey {
        stable: flat(ends),
        committed,
        ends: flat(ends),
        lows: flat(&[]),
    }
}

fn see(audit: &mut Audit, topic: TopicId, offset: i64, source: Option<&str>, value: &str) {
    audit.record(&Seen {
        topic,
        partition: 0,
        offset,
        time_ms: 1_000,
        key: Some(b"GPU-1"),
        value: value.as_bytes(),
        source: source.map(str::as_bytes),
        foreign: false,
    });
}

#[test]
fn a_window_that_comes_twice_is_a_double_though_its_sources_differ() {
    let mut audit = Audit::new(names(), LIMITS, Start::Earliest, None, &survey(&[], 2, 0));
    for offset in 0..4 {
        see(&mut audit, ENRICHED, offset, Some("validated/0/0"), "{}");
    }
    let window = |revision: u32, count: u32| {
        format!(r#"{{"gpu_uuid":"GPU-1","window":"1m","revision":{revision},"count":{count}}}"#)
    };
    see(
        &mut audit,
        ONE_MINUTE,
        0,
        Some("enriched/0/1"),
        &window(0, 3),
    );
    see(
        &mut audit,
        ONE_MINUTE,
        1,
        Some("enriched/0/2"),
        &window(1, 4),
    );
    assert_eq!(audit.totals(2).doubled, 0);
    see(
        &mut audit,
        ONE_MINUTE,
        2,
        Some("enriched/0/3"),
        &window(1, 5),
    );
    assert_eq!(audit.totals(2).doubled, 1);
    let findings = audit.take_findings();
    let last = findings.last().unwrap();
    assert_eq!(
        (
            last.stage,
            last.partition,
            last.verdict.doubled.to_string().as_str()
        ),
        (2, 0, "3")
    );
}

#[test]
fn an_output_without_a_source_is_counted_unless_it_is_a_tick_or_the_sinks() {
    let mut audit = Audit::new(names(), LIMITS, Start::Earliest, None, &survey(&[], 0, 0));
    see(&mut audit, VALIDATED, 0, None, "{}");
    see(&mut audit, VALIDATED, 1, Some("elsewhere/0/1"), "{}");
    see(&mut audit, VALIDATED, 2, Some("raw/7/1"), "{}");
    assert_eq!(audit.counts(VALIDATED), (3, 3));
    let tick = Seen {
        topic: VALIDATED,
        partition: 0,
        offset: 3,
        time_ms: 0,
        key: None,
        value: b"{}",
        source: None,
        foreign: false,
    };
    audit.record(&tick);
    assert_eq!(audit.counts(VALIDATED), (4, 3));
    audit.record(&Seen {
        topic: INVALID,
        foreign: true,
        offset: 0,
        ..tick
    });
    assert_eq!(audit.counts(INVALID), (1, 0));
}

#[test]
fn a_tick_beside_a_dead_letter_is_no_second_outcome() {
    let mut audit = Audit::new(names(), LIMITS, Start::Earliest, None, &survey(&[], 0, 0));
    see(&mut audit, RAW, 0, None, "{}");
    see(&mut audit, INVALID, 0, Some("raw/0/0"), "{}");
    audit.record(&Seen {
        topic: VALIDATED,
        partition: 0,
        offset: 0,
        time_ms: 0,
        key: None,
        value: b"{}",
        source: Some(b"raw/0/0"),
        foreign: false,
    });
    let asked = audit.next().clone();
    let ends = [(RAW, 1), (VALIDATED, 1), (INVALID, 1)];
    assert!(audit.survey(&survey(&ends, 0, 1), &asked).is_empty());
    audit.settle();
    let totals = audit.totals(0);
    assert_eq!((totals.audited, totals.doubled), (1, 0));
}

#[test]
fn a_topic_made_anew_begins_a_new_account_and_says_what_it_gave_up() {
    let mut audit = Audit::new(names(), LIMITS, Start::Earliest, None, &survey(&[], 0, 0));
    for offset in 0..10 {
        see(&mut audit, RAW, offset, None, "{}");
    }
    let asked = audit.next().clone();
    let moves = audit.survey(&survey(&[(RAW, 3)], 0, 0), &asked);
    assert_eq!(moves, [(RAW, 0, 0)]);
    assert!(audit.settle());
    assert_eq!(audit.totals(0).unaudited, 10);
    for offset in 0..3 {
        see(&mut audit, RAW, offset, None, "{}");
        see(
            &mut audit,
            VALIDATED,
            offset,
            Some(&format!("raw/0/{offset}")),
            "{}",
        );
    }
    let asked = audit.next().clone();
    audit.survey(&survey(&[(RAW, 3), (VALIDATED, 3)], 0, 3), &asked);
    audit.settle();
    assert_eq!(
        audit.totals(0),
        Totals {
            audited: 3,
            unaudited: 10,
            ..Totals::default()
        }
    );
}

#[test]
fn outputs_that_are_deleted_unread_excuse_their_inputs() {
    let mut audit = Audit::new(names(), LIMITS, Start::Earliest, None, &survey(&[], 0, 0));
    for offset in 0..5 {
        see(&mut audit, RAW, offset, None, "{}");
    }
    let mut told = survey(&[(RAW, 5), (VALIDATED, 4)], 0, 4);
    told.lows = flat(&[(VALIDATED, 2)]);
    let asked = audit.next().clone();
    assert_eq!(audit.survey(&told, &asked), [(VALIDATED, 0, 2)]);
    see(&mut audit, VALIDATED, 2, Some("raw/0/2"), "{}");
    see(&mut audit, VALIDATED, 3, Some("raw/0/3"), "{}");
    audit.settle();
    assert_eq!(
        audit.totals(0),
        Totals {
            audited: 2,
            unaudited: 2,
            ..Totals::default()
        }
    );
    see(&mut audit, VALIDATED, 4, Some("raw/0/4"), "{}");
    audit.reached(VALIDATED, 0, 6);
    let mut told = survey(&[(RAW, 5), (VALIDATED, 6)], 0, 5);
    told.lows = flat(&[(VALIDATED, 2)]);
    let asked = audit.next().clone();
    audit.survey(&told, &asked);
    audit.settle();
    assert_eq!(audit.totals(0).audited, 3);
}
