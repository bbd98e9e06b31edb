//! The protocol with nothing left out.

use crate::{PAIR, WIDE, bounds};
use model::bounds::{Bounds, Faults, Membership};
use model::properties::{ALL_COMMITTED_AFTER_FAULTS, DANGERS};
use model::protocol::Protocol;
use model::report::{Report, explore};
use std::time::Instant;

fn assert_holds(bounds: Bounds) -> Report {
    let started = Instant::now();
    let report = explore(Protocol::sound(bounds));
    eprintln!(
        "{:?}: {} states, {} steps deep, {:.1} s",
        bounds,
        report.states,
        report.depth,
        started.elapsed().as_secs_f64()
    );
    assert!(report.broken.is_empty(), "{}", report.stories());
    assert!(report.met.contains(ALL_COMMITTED_AFTER_FAULTS));
    report
}

#[test]
fn without_a_fault_every_record_is_committed_once() {
    assert_holds(bounds(WIDE, Faults::NONE));
}

#[test]
fn one_fault_at_any_point_loses_and_doubles_nothing() {
    let report = assert_holds(bounds(WIDE, Faults::at_most(1)));
    for danger in DANGERS {
        assert!(report.met.contains(danger), "never met: {danger}");
    }
}

#[test]
fn one_fault_at_any_point_of_three_records_loses_and_doubles_nothing() {
    assert_holds(bounds([3, 0], Faults::at_most(1)));
}

#[test]
fn two_faults_at_any_points_lose_and_double_nothing() {
    assert_holds(bounds([1, 0], Faults::at_most(2)));
}

#[test]
fn a_static_member_that_takes_its_old_place_loses_and_doubles_nothing() {
    assert_holds(Bounds {
        membership: Membership::Static,
        ..bounds(PAIR, Faults::at_most(1))
    });
}

#[test]
#[ignore = "minutes and gigabytes"]
fn two_faults_at_any_points_of_two_partitions_lose_and_double_nothing() {
    assert_holds(bounds(PAIR, Faults::at_most(2)));
}
