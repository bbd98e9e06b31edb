//! One stage's account of one input partition: what came in, and what came of it.
//!
//! Two sets of bits from the offset up to which everything is judged: inputs that were read, and inputs that an output
//! names as its source. Judgement comes when the stage has committed a position and all that its outputs held then has
//! been read: below that position nothing can come any more. So no order of reading changes the verdict.

use super::bits::{self, Bits};
use super::ranges::Ranges;

/// What a stage owes for an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One output for each input.
    PassThrough,
    /// Any number of outputs for each input; none after the input is done with.
    Folding,
}

/// What has been found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Inputs that were judged and found right.
    pub audited: u64,
    /// Inputs without an outcome.
    pub lost: Ranges,
    /// Inputs with more than one.
    pub doubled: Ranges,
    /// Sources that are no input: a transaction marker, an aborted record.
    pub phantom: Ranges,
    /// Inputs that can't be judged, because records are gone or the limit was reached.
    pub unaudited: Ranges,
}

/// An account. Offsets are those of the input partition.
#[derive(Clone, Debug)]
pub struct Ledger {
    kind: Kind,
    /// Everything below has been judged: an outcome below it comes a second time.
    settled: i64,
    /// Below it what is missing is not held against the stage, nor what comes late.
    blind: i64,
    /// The lowest input that has not come yet.
    next_input: i64,
    inputs: Bits,
    outcomes: Bits,
    /// Pass-through: outcomes that came once more, told when their input is judged.
    repeats: Vec<i64>,
    limit: i64,
}

impl Ledger {
    /// Begins at `from`. `limit`: offsets that may wait for judgement.
    pub fn new(kind: Kind, from: i64, limit: i64) -> Self {
        Self {
            kind,
            settled: from,
            blind: i64::MIN,
            next_input: from,
            inputs: Bits::starting_at(from),
            outcomes: Bits::starting_at(from),
            repeats: Vec::new(),
            limit,
        }
    }

    /// Everything below has been judged.
    pub const fn settled(&self) -> i64 {
        self.settled
    }

    /// Below it an absence proves nothing; the lowest number there is while that is nowhere so.
    pub const fn blind(&self) -> i64 {
        self.blind
    }

    /// Below it an absence proves nothing: records that could have told are gone.
    pub fn blind_below(&mut self, offset: i64) {
        self.blind = self.blind.max(offset);
    }

    /// An input record was read. Inputs come in order; what is read again counts once.
    pub fn input(&mut self, offset: i64, verdict: &mut Verdict) {
        if offset < self.next_input {
            return;
        }
        self.next_input = offset + 1;
        if offset < self.settled {
            verdict.unaudited.push(offset);
            return;
        }
        if offset - self.settled >= self.limit {
            self.forget(offset + 1 - self.limit, verdict);
        }
        self.inputs.insert(offset);
    }

    /// Inputs below `low` were deleted before they were read.
    pub fn deleted_below(&mut self, low: i64, verdict: &mut Verdict) {
        if low > self.next_input {
            verdict.unaudited.extend(self.next_input, low);
            self.next_input = low;
            self.blind_below(low);
        }
    }

    /// An output names `offset` as its source. `seen`: the output was read before this process was started anew, and what
    /// it told about judged inputs has been counted.
    pub fn outcome(&mut self, offset: i64, seen: bool, verdict: &mut Verdict) {
        if offset < self.settled {
            if !seen && offset >= self.blind {
                verdict.doubled.push(offset);
            }
            return;
        }
        if offset - self.settled >= self.limit {
            // Further ahead of what was read than anything can be: not an offset of this partition.
            if offset - self.next_input >= self.limit {
                verdict.phantom.push(offset);
                return;
            }
            self.forget(offset + 1 - self.limit, verdict);
        }
        if !self.outcomes.insert(offset) && self.kind == Kind::PassThrough {
            if usize_from(self.limit) > self.repeats.len() {
                self.repeats.push(offset);
            } else {
                verdict.doubled.push(offset);
            }
        }
    }

    /// Judges everything below `position`: the stage has committed it, the inputs below it have been read, and all that the
    /// outputs held when it was asked for. `low`: the input's first offset that retention has left.
    pub fn settle(&mut self, position: i64, low: i64, verdict: &mut Verdict) {
        if position <= self.settled {
            return;
        }
        let excused = self.blind.max(low);
        bits::words(self.settled, position, |first, mask| {
            let (inputs, outcomes) = (
                self.inputs.word(first) & mask,
                self.outcomes.word(first) & mask,
            );
            let judged = match self.kind {
                Kind::PassThrough => inputs & outcomes,
                Kind::Folding => inputs,
            };
            verdict.audited += u64::from(judged.count_ones());
            for offset in bits::offsets(first, inputs & !judged) {
                if offset < excused {
                    verdict.unaudited.push(offset);
                } else {
                    verdict.lost.push(offset);
                }
            }
            for offset in bits::offsets(first, outcomes & !inputs) {
                if offset >= excused {
                    verdict.phantom.push(offset);
                }
            }
        });
        self.repeats.sort_unstable();
        let told = self.repeats.partition_point(|offset| *offset < position);
        for offset in self.repeats.drain(..told) {
            verdict.doubled.push(offset);
        }
        self.move_to(position);
        if position >= self.blind {
            self.blind = i64::MIN;
        }
    }

    /// Inputs that were read and whose outcome has not been.
    pub fn pending(&self) -> u64 {
        let mut pending = 0;
        bits::words(self.settled, self.next_input, |first, mask| {
            let word = self.inputs.word(first) & mask;
            let matched = match self.kind {
                Kind::PassThrough => self.outcomes.word(first),
                Kind::Folding => 0,
            };
            pending += u64::from((word & !matched).count_ones());
        });
        pending
    }

    /// Gives up what lies below `to`, since too much waits.
    fn forget(&mut self, to: i64, verdict: &mut Verdict) {
        bits::words(self.settled, to, |first, mask| {
            let (inputs, outcomes) = (
                self.inputs.word(first) & mask,
                self.outcomes.word(first) & mask,
            );
            verdict.audited += u64::from((inputs & outcomes).count_ones());
            for offset in bits::offsets(first, inputs & !outcomes) {
                verdict.unaudited.push(offset);
            }
        });
        self.repeats.retain(|offset| *offset >= to);
        self.blind_below(to);
        self.move_to(to);
    }

    fn move_to(&mut self, to: i64) {
        self.settled = to;
        self.inputs.advance(to);
        self.outcomes.advance(to);
    }
}

fn usize_from(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
