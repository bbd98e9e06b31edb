//! The protocol explored: whole, and with one flaw at a time.
#![expect(
    clippy::print_stderr,
    reason = "the number of states is worth seeing, with --nocapture"
)]

mod flaws;
mod whole;

use model::bounds::{Bounds, Faults, Membership};

/// Two partitions with two records and one.
const WIDE: [u8; 2] = [2, 1];
/// A record each.
const PAIR: [u8; 2] = [1, 1];

fn bounds(records: [u8; 2], faults: Faults) -> Bounds {
    Bounds {
        records,
        faults,
        membership: Membership::Dynamic,
    }
}
