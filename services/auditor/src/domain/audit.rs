//! All accounts together: records and surveys in, findings out.
//!
//! A survey asks, in this order: how far each topic is decided (its last stable offset), what each stage has committed, and
//! how far each topic reaches. What a stage wrote for an input below its committed position was written before the third
//! answer, so it has been read when reading has passed that; and what it writes for inputs from there on lies above the
//! first answer, so a restart may read on from there.

use super::identity::{Memory, identity};
use super::ledger::{Kind, Ledger, Verdict};
use super::pipeline::{self, STAGES, TOPICS, TopicId, VALIDATED};
use super::snapshot::{AccountSnapshot, Snapshot, StageSnapshot};
use super::source;

/// An offset for each partition of each topic.
pub type Offsets = Vec<Vec<i64>>;

/// What a survey found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// First: the last stable offsets.
    pub stable: Offsets,
    /// Second: by stage, what it has committed of each partition of its input; none when that could not be told.
    pub committed: Vec<Option<Vec<Option<i64>>>>,
    /// Third: the ends.
    pub ends: Offsets,
    /// The first offsets that retention has left.
    pub lows: Offsets,
}

/// Where an audit without a past begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what each stage does next.
    Committed,
    /// With the oldest records.
    Earliest,
}

/// Sums since the audit began.
pub type Totals = AccountSnapshot;

/// Something found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stage's place in [`STAGES`].
    pub stage: usize,
    /// The partition of its input.
    pub partition: i32,
    /// What.
    pub verdict: Verdict,
}

/// A record as the audit sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its topic.
    pub topic: TopicId,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its append time in milliseconds.
    pub time_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; looked into only where a folding stage wrote it.
    pub value: &'a [u8],
    /// Its header `source`.
    pub source: Option<&'a [u8]>,
    /// A service that is no stage of the loop wrote it.
    pub foreign: bool,
}

/// A place to read on from.
pub type Move = (TopicId, i32, i64);

#[derive(Clone, Debug)]
struct Target {
    stable: Offsets,
    committed: Vec<Option<i64>>,
    ends: Offsets,
    lows: Vec<i64>,
}

#[derive(Clone, Debug)]
struct Account {
    ledgers: Vec<Ledger>,
    totals: Totals,
    /// By output: where a restart reads on.
    resume: Offsets,
    target: Option<Target>,
}

/// The audit.
#[derive(Debug)]
pub struct Audit {
    names: Vec<String>,
    /// The offset up to which each partition has been read.
    next: Offsets,
    /// What lies below was read, and its doubles counted, before a restart.
    counted: Offsets,
    ends: Offsets,
    accounts: Vec<Account>,
    memory: Memory,
    limit: i64,
    findings: Vec<Finding>,
    records: Vec<u64>,
    unsourced: Vec<u64>,
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Offsets of a partition that may wait for judgement.
    pub pending: i64,
    /// Milliseconds for which identities are remembered.
    pub identities_ms: i64,
}

impl Audit {
    /// Begins with `survey`, or where `snapshot` left off.
    pub fn new(
        names: Vec<String>,
        limits: Limits,
        start: Start,
        snapshot: Option<&Snapshot>,
        survey: &Survey,
    ) -> Self {
        let mut audit = Self {
            next: survey.ends.clone(),
            counted: survey.ends.clone(),
            ends: survey.ends.clone(),
            accounts: Vec::new(),
            memory: Memory::new(limits.identities_ms),
            limit: limits.pending,
            findings: Vec::new(),
            records: vec![0; TOPICS],
            unsourced: vec![0; TOPICS],
            names,
        };
        let fitting = snapshot.filter(|snapshot| snapshot.names == audit.names);
        for (index, stage) in STAGES.iter().enumerate() {
            let account = match fitting.and_then(|snapshot| snapshot.stages.get(index)) {
                Some(snapshot) => audit.resumed(index, snapshot, survey),
                None => audit.fresh(index, start, survey),
            };
            for (partition, ledger) in account.ledgers.iter().enumerate() {
                lower(&mut audit.next, stage.input, partition, ledger.settled());
            }
            for (output, resume) in stage.outputs.iter().zip(&account.resume) {
                for (partition, offset) in resume.iter().enumerate() {
                    lower(&mut audit.next, *output, partition, *offset);
                }
            }
            audit.accounts.push(account);
        }
        if let Some(snapshot) = fitting {
            for (topic, offsets) in snapshot.read_to.iter().enumerate() {
                for (partition, offset) in offsets.iter().enumerate() {
                    if let Some(counted) = at_mut(&mut audit.counted, topic, partition) {
                        *counted = *offset;
                    }
                }
            }
        }
        audit
    }

    fn fresh(&self, index: usize, start: Start, survey: &Survey) -> Account {
        let stage = &STAGES[index];
        let ledgers = lows(survey, stage.input)
            .iter()
            .enumerate()
            .map(|(partition, low)| {
                let committed = committed(survey, index, partition);
                let from = match start {
                    Start::Committed => committed.unwrap_or(*low).max(*low),
                    Start::Earliest => *low,
                };
                let mut ledger = Ledger::new(stage.kind, from, self.limit);
                // An output that has lost records can't tell of the inputs that are older than they were.
                let whole = stage
                    .outputs
                    .iter()
                    .all(|output| lows(survey, *output).iter().all(|low| *low == 0));
                if !whole {
                    ledger.blind_below(committed.unwrap_or(0));
                }
                ledger
            })
            .collect();
        let offsets = match start {
            Start::Committed => &survey.stable,
            Start::Earliest => &survey.lows,
        };
        Account {
            ledgers,
            totals: Totals::default(),
            resume: pick(offsets, stage.outputs),
            target: None,
        }
    }

    fn resumed(&self, index: usize, snapshot: &StageSnapshot, survey: &Survey) -> Account {
        let stage = &STAGES[index];
        let ledgers = lows(survey, stage.input)
            .iter()
            .enumerate()
            .map(|(partition, low)| {
                // A partition that is new since then begins with its first record.
                let (settled, blind) = snapshot
                    .settled
                    .get(partition)
                    .copied()
                    .unwrap_or((*low, i64::MIN));
                let mut ledger = Ledger::new(stage.kind, settled, self.limit);
                ledger.blind_below(blind);
                ledger
            })
            .collect();
        let mut resume = pick(&survey.lows, stage.outputs);
        for (offsets, told) in resume.iter_mut().zip(&snapshot.resume) {
            for (offset, told) in offsets.iter_mut().zip(told) {
                *offset = *told;
            }
        }
        Account {
            ledgers,
            totals: snapshot.totals,
            resume,
            target: None,
        }
    }

    /// Reads outputs of folding stages from `offsets` already, to know what was there before.
    pub fn remember_from(&mut self, offsets: &Offsets) {
        let outputs = STAGES.iter().filter(|stage| stage.kind == Kind::Folding);
        for topic in outputs.flat_map(|stage| stage.outputs) {
            for (partition, offset) in offsets.get(*topic).into_iter().flatten().enumerate() {
                lower(&mut self.next, *topic, partition, *offset);
            }
        }
    }

    /// Where reading is.
    pub const fn next(&self) -> &Offsets {
        &self.next
    }

    /// A record was read.
    pub fn record(&mut self, seen: &Seen<'_>) {
        let Ok(partition) = usize::try_from(seen.partition) else {
            return;
        };
        let counted = at(&self.counted, seen.topic, partition);
        match at_mut(&mut self.next, seen.topic, partition) {
            Some(next) if seen.offset >= *next => *next = seen.offset + 1,
            _ => return,
        }
        self.records[seen.topic] += 1;
        for (index, stage) in STAGES.iter().enumerate() {
            if stage.input == seen.topic
                && let Some(ledger) = self.accounts[index].ledgers.get_mut(partition)
            {
                let mut verdict = Verdict::default();
                ledger.input(seen.offset, &mut verdict);
                self.found(index, seen.partition, verdict);
            }
        }
        if seen.topic != pipeline::RAW {
            self.output(seen, seen.offset < counted);
        }
    }

    fn output(&mut self, seen: &Seen<'_>, counted: bool) {
        // A tick is nobody's outcome: one that the validator writes beside a dead letter names the same input.
        if seen.topic == VALIDATED && seen.key.is_none() {
            return;
        }
        let named = seen.source.and_then(source::parse).and_then(|source| {
            let input = self.names.iter().position(|name| name == source.topic)?;
            let stage = pipeline::writer(seen.topic, input, seen.value)?;
            let partition = usize::try_from(source.partition).ok()?;
            let ledger = self.accounts[stage].ledgers.get_mut(partition)?;
            Some((stage, source, ledger))
        });
        let Some((stage, source, ledger)) = named else {
            if !seen.foreign && !counted {
                self.unsourced[seen.topic] += 1;
            }
            return;
        };
        let mut verdict = Verdict::default();
        ledger.outcome(source.offset, counted, &mut verdict);
        if STAGES[stage].kind == Kind::Folding {
            let identity = identity(
                pipeline::identifies(seen.topic),
                seen.topic * STAGES.len() + stage,
                (source.partition, source.offset),
                seen.key.unwrap_or_default(),
                seen.value,
            );
            let new = self.memory.insert(identity, seen.time_ms);
            if !new && !counted && verdict.doubled.is_empty() {
                verdict.doubled.push(source.offset);
            }
        }
        self.found(stage, source.partition, verdict);
    }

    /// The reader has come to `offset`: what lies below is read, or was no record.
    pub fn reached(&mut self, topic: TopicId, partition: usize, offset: i64) {
        if let Some(next) = at_mut(&mut self.next, topic, partition) {
            *next = (*next).max(offset);
        }
    }

    /// Takes a survey that was asked for when reading was at `asked`. Where records are gone, or a topic was made anew,
    /// reading goes on at the places that are returned.
    pub fn survey(&mut self, survey: &Survey, asked: &Offsets) -> Vec<Move> {
        let mut moves = Vec::new();
        for topic in 0..self.names.len() {
            for partition in 0..self.next.get(topic).map_or(0, Vec::len) {
                let (low, end) = (
                    at(&survey.lows, topic, partition),
                    at(&survey.ends, topic, partition),
                );
                let anew = end < at(asked, topic, partition);
                if !anew && low <= at(&self.next, topic, partition) {
                    continue;
                }
                if let Some(next) = at_mut(&mut self.next, topic, partition) {
                    *next = low;
                }
                if anew && let Some(counted) = at_mut(&mut self.counted, topic, partition) {
                    *counted = low;
                }
                self.gone(topic, partition, (low, anew), survey);
                moves.push((topic, i32::try_from(partition).unwrap_or(i32::MAX), low));
            }
        }
        self.ends.clone_from(&survey.ends);
        for (index, stage) in STAGES.iter().enumerate() {
            let account = &mut self.accounts[index];
            if account.target.is_some() {
                continue;
            }
            let Some(Some(committed)) = survey.committed.get(index) else {
                continue;
            };
            // A position beyond the end is that of a topic that was there before.
            let ends = survey.ends.get(stage.input);
            let committed = committed
                .iter()
                .enumerate()
                .map(|(partition, position)| {
                    position.filter(|p| ends.and_then(|e| e.get(partition)).is_some_and(|e| p <= e))
                })
                .collect();
            account.target = Some(Target {
                stable: pick(&survey.stable, stage.outputs),
                committed,
                ends: pick(&survey.ends, stage.outputs),
                lows: lows(survey, stage.input).to_vec(),
            });
        }
        moves
    }

    /// Records of a partition can't be read any more.
    fn gone(
        &mut self,
        topic: TopicId,
        partition: usize,
        (low, anew): (i64, bool),
        survey: &Survey,
    ) {
        for (index, stage) in STAGES.iter().enumerate() {
            let account = &mut self.accounts[index];
            let mut verdict = Verdict::default();
            if stage.input == topic
                && let Some(ledger) = account.ledgers.get_mut(partition)
            {
                if anew {
                    let pending = i64::try_from(ledger.pending()).unwrap_or(i64::MAX);
                    verdict.unaudited.extend(low, low.saturating_add(pending));
                    *ledger = Ledger::new(stage.kind, low, self.limit);
                    account.target = None;
                } else {
                    ledger.deleted_below(low, &mut verdict);
                }
            }
            if stage.outputs.contains(&topic) {
                for (input, ledger) in account.ledgers.iter_mut().enumerate() {
                    if let Some(position) = committed(survey, index, input) {
                        ledger.blind_below(position);
                    }
                }
                account.target = None;
                for (output, offsets) in stage.outputs.iter().zip(&mut account.resume) {
                    if *output == topic
                        && let Some(offset) = offsets.get_mut(partition)
                    {
                        *offset = low;
                    }
                }
            }
            self.found(index, i32::try_from(partition).unwrap_or(i32::MAX), verdict);
        }
    }

    /// Judges what can be judged; whether every stage is ready for another survey.
    pub fn settle(&mut self) -> bool {
        let mut idle = true;
        for (index, stage) in STAGES.iter().enumerate() {
            let account = &mut self.accounts[index];
            let Some(target) = &account.target else {
                continue;
            };
            let outputs = pick(&self.next, stage.outputs);
            let inputs = self.next.get(stage.input).map_or(&[][..], Vec::as_slice);
            let all_read = reached(&outputs, &target.ends)
                && target
                    .committed
                    .iter()
                    .zip(inputs)
                    .all(|(position, next)| position.is_none_or(|position| *next >= position));
            if !all_read {
                idle = false;
                continue;
            }
            let Some(target) = account.target.take() else {
                continue;
            };
            account.resume = target.stable;
            let mut verdicts = Vec::new();
            for (partition, ledger) in account.ledgers.iter_mut().enumerate() {
                let mut verdict = Verdict::default();
                if let Some(Some(position)) = target.committed.get(partition) {
                    let low = target.lows.get(partition).copied().unwrap_or(0);
                    ledger.settle(*position, low, &mut verdict);
                }
                verdicts.push(verdict);
            }
            for (partition, verdict) in (0..).zip(verdicts) {
                self.found(index, partition, verdict);
            }
        }
        idle
    }

    fn found(&mut self, stage: usize, partition: i32, verdict: Verdict) {
        let totals = &mut self.accounts[stage].totals;
        totals.audited += verdict.audited;
        totals.lost += verdict.lost.count;
        totals.doubled += verdict.doubled.count;
        totals.phantom += verdict.phantom.count;
        totals.unaudited += verdict.unaudited.count;
        let told = [
            &verdict.lost,
            &verdict.doubled,
            &verdict.phantom,
            &verdict.unaudited,
        ];
        if told.iter().any(|ranges| !ranges.is_empty()) {
            self.findings.push(Finding {
                stage,
                partition,
                verdict,
            });
        }
    }

    /// Whether a survey is to be judged for `stage` yet.
    pub fn waits(&self, stage: usize) -> bool {
        self.accounts[stage].target.is_some()
    }

    /// What was found since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// The sums of a stage.
    pub fn totals(&self, stage: usize) -> Totals {
        self.accounts[stage].totals
    }

    /// Inputs of a stage that were read and wait for judgement.
    pub fn pending(&self, stage: usize) -> u64 {
        self.accounts[stage]
            .ledgers
            .iter()
            .map(Ledger::pending)
            .sum()
    }

    /// Records of a topic: read, and without a source that names an input.
    pub fn counts(&self, topic: TopicId) -> (u64, u64) {
        (self.records[topic], self.unsourced[topic])
    }

    /// How far reading is behind a topic's end, as it was at the last survey.
    pub fn lag(&self, topic: TopicId) -> i64 {
        let next = self.next.get(topic).into_iter().flatten();
        let ends = self.ends.get(topic).into_iter().flatten();
        next.zip(ends).map(|(next, end)| (end - next).max(0)).sum()
    }

    /// What a restart needs.
    pub fn snapshot(&self, time_ms: i64) -> Snapshot {
        Snapshot {
            time_ms,
            names: self.names.clone(),
            // A restart reads again; what it had read before it is still counted.
            read_to: self
                .next
                .iter()
                .zip(&self.counted)
                .map(|(next, counted)| next.iter().zip(counted).map(|(n, c)| *n.max(c)).collect())
                .collect(),
            stages: self
                .accounts
                .iter()
                .map(|account| StageSnapshot {
                    totals: account.totals,
                    settled: account
                        .ledgers
                        .iter()
                        .map(|ledger| (ledger.settled(), ledger.blind()))
                        .collect(),
                    resume: account.resume.clone(),
                })
                .collect(),
        }
    }
}

fn lows(survey: &Survey, topic: TopicId) -> &[i64] {
    survey.lows.get(topic).map_or(&[], Vec::as_slice)
}

fn committed(survey: &Survey, stage: usize, partition: usize) -> Option<i64> {
    *survey.committed.get(stage)?.as_ref()?.get(partition)?
}

fn pick(offsets: &Offsets, topics: &[TopicId]) -> Offsets {
    topics
        .iter()
        .map(|topic| offsets.get(*topic).cloned().unwrap_or_default())
        .collect()
}

fn reached(next: &Offsets, ends: &Offsets) -> bool {
    next.iter()
        .flatten()
        .zip(ends.iter().flatten())
        .all(|(next, end)| next >= end)
}

fn lower(offsets: &mut Offsets, topic: TopicId, partition: usize, to: i64) {
    if let Some(offset) = at_mut(offsets, topic, partition) {
        *offset = (*offset).min(to);
    }
}

fn at(offsets: &Offsets, topic: TopicId, partition: usize) -> i64 {
    offsets
        .get(topic)
        .and_then(|of| of.get(partition))
        .copied()
        .unwrap_or(0)
}

fn at_mut(offsets: &mut Offsets, topic: TopicId, partition: usize) -> Option<&mut i64> {
    offsets.get_mut(topic)?.get_mut(partition)
}

#[cfg(test)]
mod tests;
