//! One flaw at a time: the promise that it breaks must be found broken, by a story with the right end.

use crate::{PAIR, WIDE, bounds};
use model::bounds::{Bounds, Faults};
use model::flaws::Flaws;
use model::properties::{
    ALL_COMMITTED, CHANGELOG_IS_THE_FOLD, NOTHING_STALE, ONE_OUTCOME, OUTPUTS_ARE_THE_FOLD,
    POSITION_IS_OUTPUTS, STATE_IS_THE_FOLD,
};
use model::protocol::Protocol;
use model::report::explore_until_broken;

const ONE: Faults = Faults::at_most(1);

fn assert_breaks(flaws: Flaws, bounds: Bounds, promise: &'static str) {
    let report = explore_until_broken(Protocol { bounds, flaws }, promise);
    eprintln!("{} states until: {promise}", report.states);
    let broken: Vec<_> = report.broken.keys().collect();
    assert!(
        report.broken.contains_key(promise),
        "{flaws:?} does not break \"{promise}\" in {} states, but {broken:?}",
        report.states
    );
    eprintln!("{}", report.broken[promise]);
}

#[test]
fn offsets_committed_before_the_outputs_lose_records() {
    let flaws = Flaws {
        offsets_before_outputs: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), POSITION_IS_OUTPUTS);
    assert_breaks(flaws, bounds(PAIR, ONE), ALL_COMMITTED);
}

#[test]
fn offsets_committed_after_the_outputs_double_records() {
    let flaws = Flaws {
        offsets_after_outputs: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), POSITION_IS_OUTPUTS);
    assert_breaks(flaws, bounds(PAIR, ONE), ONE_OUTCOME);
}

#[test]
fn without_the_check_of_the_epoch_a_late_commit_tears_the_next_transaction() {
    let flaws = Flaws {
        epoch_unchecked: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), NOTHING_STALE);
    assert_breaks(flaws, bounds(PAIR, ONE), POSITION_IS_OUTPUTS);
}

#[test]
fn a_suspect_producer_that_goes_on_lets_a_late_commit_tear_its_next_transaction() {
    let flaws = Flaws {
        suspect_reused: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(WIDE, ONE), POSITION_IS_OUTPUTS);
    assert_breaks(flaws, bounds(WIDE, ONE), ONE_OUTCOME);
}

#[test]
fn without_the_check_of_the_generation_a_zombie_doubles_records() {
    let flaws = Flaws {
        generation_unchecked: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), NOTHING_STALE);
    assert_breaks(flaws, bounds(PAIR, ONE), ONE_OUTCOME);
}

#[test]
fn lost_work_committed_with_the_metadata_of_the_next_generation_doubles_records() {
    let flaws = Flaws {
        work_kept_when_lost: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), NOTHING_STALE);
    assert_breaks(flaws, bounds(PAIR, ONE), ONE_OUTCOME);
}

#[test]
fn a_commit_in_doubt_taken_for_aborted_doubles_records() {
    let flaws = Flaws {
        doubt_is_abort: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), ONE_OUTCOME);
}

#[test]
fn state_that_an_abort_leaves_as_it_is_folds_records_twice() {
    let flaws = Flaws {
        state_not_undone: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), STATE_IS_THE_FOLD);
    assert_breaks(flaws, bounds(PAIR, ONE), OUTPUTS_ARE_THE_FOLD);
    assert_breaks(flaws, bounds(PAIR, ONE), CHANGELOG_IS_THE_FOLD);
}

#[test]
fn a_start_offset_that_an_open_transaction_may_still_move_doubles_records() {
    let flaws = Flaws {
        start_unstable: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), ONE_OUTCOME);
}

#[test]
fn a_restore_that_stops_at_an_open_transaction_misses_what_is_committed_behind_it() {
    let flaws = Flaws {
        restore_stops_at_open: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds([1, 0], Faults::at_most(2)), STATE_IS_THE_FOLD);
}

#[test]
fn a_restore_of_uncommitted_changes_restores_what_is_then_aborted() {
    let flaws = Flaws {
        restore_uncommitted: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), STATE_IS_THE_FOLD);
    assert_breaks(flaws, bounds(WIDE, ONE), OUTPUTS_ARE_THE_FOLD);
}

/// What a stopped member has queued reaches the changelog after its offsets were accepted; a heir that has read the
/// changelog by then starts behind records that its state does not hold.
#[test]
fn a_restore_that_reads_the_changelog_before_the_start_offset_loses_state() {
    let flaws = Flaws {
        restore_before_start: true,
        ..Flaws::default()
    };
    assert_breaks(flaws, bounds(PAIR, ONE), STATE_IS_THE_FOLD);
    assert_breaks(flaws, bounds([2, 0], ONE), OUTPUTS_ARE_THE_FOLD);
}
