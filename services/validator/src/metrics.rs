//! The service's own metrics.

use crate::domain::flags::Flag;
use crate::domain::reason::Code;
use metrics::{Counter, counter, describe_counter};

/// Records that went on.
pub const RECORDS_VALID: &str = "validator_records_valid_total";
/// Records that became dead letters, by reason; one with several reasons counts under each.
pub const RECORDS_INVALID: &str = "validator_records_invalid_total";
/// Dead letters written.
pub const DEAD_LETTERS: &str = "validator_dead_letters_total";
/// Valid records with something odd about them, by flag.
pub const QUALITY_FLAGS: &str = "validator_quality_flags_total";
/// Valid records that had to be rewritten.
pub const RECORDS_REWRITTEN: &str = "validator_records_rewritten_total";
/// Ticks written.
pub const TICKS: &str = "validator_ticks_total";

/// Gives every metric its help text.
pub fn describe() {
    describe_counter!(RECORDS_VALID, "Records that passed validation.");
    describe_counter!(
        RECORDS_INVALID,
        "Records that failed validation, by reason; a record with several reasons counts under each."
    );
    describe_counter!(DEAD_LETTERS, "Records written to the dead letter topic.");
    describe_counter!(
        QUALITY_FLAGS,
        "Valid records with something odd about them, by flag."
    );
    describe_counter!(
        RECORDS_REWRITTEN,
        "Valid records in which blank sentinels were made null or reserved names taken out."
    );
    describe_counter!(
        TICKS,
        "Ticks written, which move stream time on where no valid record does."
    );
}

const N_CODES: usize = Code::ALL.len();
const N_FLAGS: usize = Flag::ALL.len();

/// What happened since the last commit. It is counted when the transaction stands, so that an abort counts nothing
/// twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records that went on.
    pub valid: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Reasons, by place in [`Code::ALL`].
    pub reasons: [u64; N_CODES],
    /// Flags, by place in [`Flag::ALL`].
    pub flags: [u64; N_FLAGS],
    /// Records rewritten.
    pub rewritten: u64,
    /// Ticks.
    pub ticks: u64,
}

/// Handles to the counters, looked up once.
pub struct Counters {
    valid: Counter,
    dead_letters: Counter,
    reasons: [Counter; N_CODES],
    flags: [Counter; N_FLAGS],
    rewritten: Counter,
    ticks: Counter,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

impl Counters {
    /// Registers every counter, so that each is there from the start with zero.
    pub fn register() -> Self {
        Self {
            valid: counter!(RECORDS_VALID),
            dead_letters: counter!(DEAD_LETTERS),
            reasons: std::array::from_fn(
                |index| counter!(RECORDS_INVALID, "reason" => Code::ALL[index].as_str()),
            ),
            flags: std::array::from_fn(
                |index| counter!(QUALITY_FLAGS, "flag" => Flag::ALL[index].as_str()),
            ),
            rewritten: counter!(RECORDS_REWRITTEN),
            ticks: counter!(TICKS),
        }
    }

    /// Adds `tally` and empties it.
    pub fn add(&self, tally: &mut Tally) {
        let add = |counter: &Counter, count: u64| {
            if count > 0 {
                counter.increment(count);
            }
        };
        add(&self.valid, tally.valid);
        add(&self.dead_letters, tally.dead_letters);
        for (counter, count) in self.reasons.iter().zip(tally.reasons) {
            add(counter, count);
        }
        for (counter, count) in self.flags.iter().zip(tally.flags) {
            add(counter, count);
        }
        add(&self.rewritten, tally.rewritten);
        add(&self.ticks, tally.ticks);
        *tally = Tally::default();
    }
}
