//! What a scrape says: pure functions of the text and of the times at which it was asked for.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod buffer;
pub mod event;
pub mod exposition;
pub mod fields;
pub mod join;
pub mod reading;
pub mod sequence;
pub mod shard;
pub mod target;
