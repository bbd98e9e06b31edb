//! What a health score is: pure functions of readings, state and time.
//!
//! A [`reading::Reading`] is applied to a GPU's [`state::GpuState`] by [`apply::apply`]; [`score::score`] says what the
//! state is worth at a time; [`judge::judge`] decides whether anybody needs to hear of it.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod absence;
pub mod apply;
pub mod clock;
pub mod counter;
pub mod dead_letter;
pub mod dimension;
pub mod factor;
pub mod finding;
pub mod grade;
pub mod history;
pub mod hour;
pub mod index;
pub mod judge;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod number;
pub mod quarter;
pub mod reading;
pub mod rules;
pub mod score;
pub mod sku;
pub mod state;
pub mod streak;
pub mod tally;
pub mod trend;
pub mod xid;

/// The version of these rules, as written into every score. 1.0 is the brief's window of raw sums.
pub const SCORING_VERSION: &str = "2.0";

#[cfg(test)]
pub(crate) mod fixture;
