//! Explores, and tells what was found.

use crate::action::Action;
use crate::protocol::{Protocol, World};
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread::available_parallelism;

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states that were visited.
    pub states: usize,
    /// Steps of the longest path.
    pub depth: usize,
    /// Promises that do not hold, each with a shortest story of how they are broken.
    pub broken: BTreeMap<&'static str, String>,
    /// Dangers that were met.
    pub met: BTreeSet<&'static str>,
}

impl Report {
    /// The stories of all broken promises.
    pub fn stories(&self) -> String {
        let mut text = String::new();
        for (promise, story) in &self.broken {
            // Writing to a string does not fail.
            writeln!(text, "BROKEN: {promise}\n{story}").unwrap_or_default();
        }
        text
    }
}

/// Visits every state.
pub fn explore(protocol: Protocol) -> Report {
    // Nothing is found by this name: the search goes on to the end whatever it finds.
    run(
        protocol,
        HasDiscoveries::AllOf(BTreeSet::from(["the end"])),
        available_parallelism().map_or(1, usize::from),
    )
}

/// Visits states, nearest first, until `promise` is broken; the story is the shortest there is.
pub fn explore_until_broken(protocol: Protocol, promise: &'static str) -> Report {
    run(
        protocol,
        HasDiscoveries::AllOf(BTreeSet::from([promise])),
        1,
    )
}

fn run(protocol: Protocol, until: HasDiscoveries, threads: usize) -> Report {
    let checker = protocol
        .checker()
        .threads(threads)
        .finish_when(until)
        .spawn_bfs()
        .join();
    let mut broken = BTreeMap::new();
    let mut met = BTreeSet::new();
    for property in checker.model().properties() {
        let Some(path) = checker.discovery(property.name) else {
            continue;
        };
        if property.expectation.discovery_is_failure() {
            broken.insert(property.name, tell(path));
        } else {
            met.insert(property.name);
        }
    }
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken,
        met,
    }
}

/// A path as numbered sentences, and where it ends.
fn tell(path: Path<World, Action>) -> String {
    let mut story = String::new();
    let steps = path.into_vec();
    for (number, (_, action)) in steps.iter().enumerate() {
        // Writing to a string does not fail.
        if let Some(action) = action {
            writeln!(story, "{:>3}. {action}", number + 1).unwrap_or_default();
        }
    }
    if let Some((world, _)) = steps.last() {
        writeln!(story, "end: {world:#?}").unwrap_or_default();
    }
    story
}
