use super::*;

fn pass(from: i64, limit: i64) -> (Ledger, Verdict) {
    (
        Ledger::new(Kind::PassThrough, from, limit),
        Verdict::default(),
    )
}

#[test]
fn each_input_needs_one_outcome_in_whatever_order_they_are_read() {
    let (mut ledger, mut verdict) = pass(0, 1_000);
    for offset in [3, 0, 1, 3] {
        ledger.outcome(offset, false, &mut verdict);
    }
    // Offset 2 is a transaction marker, 4 has no outcome.
    for offset in [0, 1, 3, 4] {
        ledger.input(offset, &mut verdict);
    }
    assert_eq!(
        verdict,
        Verdict::default(),
        "nothing is judged before it is time"
    );
    assert_eq!(ledger.pending(), 1);
    ledger.settle(5, 0, &mut verdict);
    assert_eq!((verdict.audited, ledger.pending()), (3, 0));
    assert_eq!(verdict.lost.to_string(), "4");
    assert_eq!(verdict.doubled.to_string(), "3");
    assert!(verdict.phantom.is_empty() && verdict.unaudited.is_empty());
}

#[test]
fn an_outcome_after_the_judgement_is_one_too_many_unless_it_was_counted_before() {
    let (mut ledger, mut verdict) = pass(10, 1_000);
    ledger.input(10, &mut verdict);
    ledger.outcome(10, false, &mut verdict);
    ledger.settle(11, 0, &mut verdict);
    ledger.outcome(10, true, &mut verdict);
    assert!(verdict.doubled.is_empty());
    ledger.outcome(10, false, &mut verdict);
    assert_eq!(verdict.doubled.count, 1);
}

#[test]
fn an_outcome_of_what_is_no_input_is_a_phantom() {
    let (mut ledger, mut verdict) = pass(0, 100);
    ledger.input(0, &mut verdict);
    ledger.outcome(0, false, &mut verdict);
    ledger.outcome(1, false, &mut verdict);
    ledger.outcome(i64::MAX - 1, false, &mut verdict);
    ledger.settle(2, 0, &mut verdict);
    assert_eq!(verdict.phantom.count, 2);
    assert_eq!(verdict.audited, 1);
}

#[test]
fn what_retention_took_is_unaudited_and_not_lost() {
    let (mut ledger, mut verdict) = pass(0, 1_000);
    ledger.input(0, &mut verdict);
    ledger.input(1, &mut verdict);
    // The stage was away: 0 and 1 are deleted before it comes back, and it goes on with 7.
    ledger.deleted_below(5, &mut verdict);
    assert_eq!(verdict.unaudited.to_string(), "2-4");
    for offset in 5..8 {
        ledger.input(offset, &mut verdict);
        ledger.outcome(offset, false, &mut verdict);
    }
    ledger.settle(8, 5, &mut verdict);
    assert_eq!(verdict.unaudited.count, 5);
    assert!(verdict.lost.is_empty());
    assert_eq!(verdict.audited, 3);
}

#[test]
fn at_the_limit_the_oldest_are_given_up_and_counted() {
    let (mut ledger, mut verdict) = pass(0, 128);
    for offset in 0..200 {
        ledger.input(offset, &mut verdict);
    }
    assert_eq!(verdict.unaudited.to_string(), "0-71");
    assert_eq!(ledger.pending(), 128);
    // The stage comes late: what was given up is neither doubled nor lost.
    for offset in 0..200 {
        ledger.outcome(offset, false, &mut verdict);
    }
    ledger.settle(200, 0, &mut verdict);
    assert_eq!((verdict.audited, verdict.unaudited.count), (128, 72));
    assert!(verdict.lost.is_empty() && verdict.doubled.is_empty() && verdict.phantom.is_empty());
    // Later it is judged as ever.
    ledger.outcome(3, false, &mut verdict);
    assert_eq!(verdict.doubled.count, 1);
}

#[test]
fn a_folding_stage_may_say_much_or_nothing_of_an_input_but_only_while_it_is_at_it() {
    let mut ledger = Ledger::new(Kind::Folding, 0, 1_000);
    let mut verdict = Verdict::default();
    for offset in 0..4 {
        ledger.input(offset, &mut verdict);
    }
    for offset in [1, 1, 1, 3] {
        ledger.outcome(offset, false, &mut verdict);
    }
    ledger.settle(4, 0, &mut verdict);
    assert_eq!(verdict.audited, 4);
    assert!(verdict.lost.is_empty() && verdict.doubled.is_empty());
    ledger.outcome(1, false, &mut verdict);
    assert_eq!(verdict.doubled.to_string(), "1");
}
