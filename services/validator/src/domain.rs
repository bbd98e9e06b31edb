//! What makes a raw record valid. Pure: the record, its append time and the state of its partition decide, nothing else.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod audit;
pub mod blank;
pub mod bucket;
pub mod checks;
pub mod flags;
pub mod gpu_id;
pub mod history;
pub mod ingest;
pub mod judge;
pub mod layout;
pub mod ledger;
pub mod limits;
pub mod nesting;
pub mod reading;
pub mod reason;
pub mod rewrite;
#[cfg(test)]
mod sample;
pub mod scan;

/// The version of the rules, written into every record that they let through and every dead letter. It changes when the
/// same record would be judged differently.
pub const RULES_VERSION: &str = "1";
