//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A record without an outcome.
    Lost,
    /// A record with more than one.
    Doubled,
    /// A record with an outcome that has other bytes.
    Changed,
    /// An outcome of no record.
    Invented,
    /// An output that an undisturbed run would not have, or would have otherwise.
    Differs,
    /// Records left to be read.
    Stuck,
    /// A process that panicked, crashed, or did not drain.
    Broken,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Changed => "changed",
            Self::Invented => "invented",
            Self::Differs => "differs",
            Self::Stuck => "stuck",
            Self::Broken => "broken",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// When the record was appended, in milliseconds since the epoch: which blow was it?
    pub(crate) at_ms: Option<i64>,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) const fn new(kind: Kind, at_ms: Option<i64>, what: String) -> Self {
        Self { kind, at_ms, what }
    }
}

/// Counts and violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// By the name of what was counted, in the order of the names.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    pub(crate) violations: Vec<Violation>,
}

impl Verdict {
    pub(crate) fn count(&mut self, name: &'static str, more: usize) {
        *self.counts.entry(name).or_default() += more;
    }

    pub(crate) fn of(&self, kind: Kind) -> usize {
        self.violations
            .iter()
            .filter(|violation| violation.kind == kind)
            .count()
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (name, more) in other.counts {
            self.count(name, more);
        }
        self.violations.extend(other.violations);
    }
}
