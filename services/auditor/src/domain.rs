//! Whether each input has one outcome: pure functions of offsets, headers and positions.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod audit;
pub mod bits;
pub mod identity;
pub mod ledger;
pub mod pipeline;
pub mod ranges;
pub mod sample;
pub mod snapshot;
pub mod source;
pub mod standstill;
