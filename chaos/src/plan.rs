//! What strikes when: a pure function of the seed.

mod blow;
mod step;

use blow::Make;
pub(crate) use blow::{Blow, Poison, Target};
pub(crate) use step::{Action, Step};

use crate::random::Random;
use crate::role::Role;
use clap::ValueEnum;

/// When a stage writes its state, by the values of `pipeline.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// With each commit.
    #[value(name = "every_commit")]
    EveryCommit,
    /// In rolling snapshots: what a crash leaves out is replayed.
    #[value(name = "rolling")]
    Rolling,
}

/// What there is to be struck.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) roles: Vec<Role>,
    /// Brokers: 1, or 3 of which one may be lost.
    pub(crate) brokers: usize,
    /// Each role has a way to the broker of its own that can be made bad.
    pub(crate) network: bool,
    /// There is a database.
    pub(crate) database: bool,
    /// Minutes of event time that a backlog holds.
    pub(crate) backlog_minutes: u64,
    /// Only blows whose description has one of these in it; all, if none.
    pub(crate) only: Vec<String>,
}

/// One blow, with its time in milliseconds since the load began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) blow: Blow,
    pub(crate) from_ms: u64,
    /// From here on everything is as it was, but for what has to be caught up.
    pub(crate) until_ms: u64,
    /// Another blow strikes something else at the same time.
    pub(crate) overlaps: bool,
}

/// How the stages keep their state, and all blows of a run, by their beginning, and the steps that they take, by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Stages that write their state in rolling snapshots.
    pub(crate) rolling: Vec<Role>,
    pub(crate) strikes: Vec<Strike>,
    pub(crate) steps: Vec<Step>,
}

/// Load alone at first: every stage has joined its group and has state.
const BEGIN_MS: u64 = 8_000;
/// Between the end of a blow and the next; a second one strikes what has not caught up yet on purpose.
const LEAST_PAUSE_MS: u64 = 4_000;
const MOST_PAUSE_MS: u64 = 7_000;
/// A companion begins so long after its blow at the latest.
const COMPANION_WITHIN_MS: u64 = 4_000;
/// One blow in so many has a companion.
const COMPANION_ONE_IN: u64 = 2;

/// The plan for `duration_ms` of load. Every blow is over by then.
pub(crate) fn plan(seed: u64, duration_ms: u64, layout: &Layout) -> Plan {
    let mut random = Random::new(seed);
    let mut kinds = Kinds::new(layout);
    let mut plan = Plan::default();
    let mut now = BEGIN_MS;
    while !kinds.all.is_empty() {
        let blow = kinds.draw(&mut random, layout, None);
        let until = now + blow.length_ms();
        if until > duration_ms {
            break;
        }
        let first = plan.add(blow, now);
        let mut end = until;
        if random.one_in(COMPANION_ONE_IN) {
            let companion = kinds.draw(&mut random, layout, Some(blow.target()));
            let from = now + random.between(500, COMPANION_WITHIN_MS);
            let until = from + companion.length_ms();
            if companion.can_overlap(&blow) && until <= duration_ms {
                let second = plan.add(companion, from);
                plan.strikes[first].overlaps = true;
                plan.strikes[second].overlaps = from < end;
                plan.strikes[first].overlaps = from < end;
                end = end.max(until);
            } else {
                kinds.put_back(companion);
            }
        }
        now = end + random.between(LEAST_PAUSE_MS, MOST_PAUSE_MS);
    }
    plan.steps.sort_by_key(|step| (step.at_ms, step.strike));
    plan
}

/// Those stages that write their state in rolling snapshots: about half, by the seed, unless it is said.
pub(crate) fn rolling(seed: u64, state: Option<State>) -> Vec<Role> {
    // Not the numbers that the blows follow from.
    let mut random = Random::new(!seed);
    let drawn = Role::STAGES.map(|role| (role, random.one_in(2)));
    drawn
        .into_iter()
        .filter(|(_, drawn)| state.map_or(*drawn, |state| state == State::Rolling))
        .map(|(role, _)| role)
        .collect()
}

impl Plan {
    fn add(&mut self, blow: Blow, from_ms: u64) -> usize {
        let strike = self.strikes.len();
        let steps = blow.steps();
        self.steps
            .extend(steps.into_iter().map(|(after_ms, action)| Step {
                at_ms: from_ms + after_ms,
                strike,
                action,
            }));
        self.strikes.push(Strike {
            blow,
            from_ms,
            until_ms: from_ms + blow.length_ms(),
            overlaps: false,
        });
        strike
    }
}

fn chosen(layout: &Layout) -> Vec<Make> {
    let mut kinds = Blow::kinds(layout);
    kinds.retain(|make| {
        let sample = make(&mut Random::new(0), layout).to_string();
        layout.only.is_empty() || layout.only.iter().any(|text| sample.contains(text))
    });
    kinds
}

/// Draws blows so that each kind comes up before any does twice.
struct Kinds {
    all: Vec<Make>,
    left: Vec<Make>,
    returned: Vec<Blow>,
}

impl Kinds {
    fn new(layout: &Layout) -> Self {
        Self {
            all: chosen(layout),
            left: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// The next blow, if possible on something else than `not`.
    fn draw(&mut self, random: &mut Random, layout: &Layout, not: Option<Target>) -> Blow {
        if let Some(at) = self
            .returned
            .iter()
            .position(|blow| Some(blow.target()) != not)
        {
            return self.returned.remove(at);
        }
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            random.shuffle(&mut self.left);
        }
        let make = self.left.pop().unwrap_or(self.all[0]);
        make(random, layout)
    }

    fn put_back(&mut self, blow: Blow) {
        self.returned.push(blow);
    }
}

#[cfg(test)]
mod tests;
