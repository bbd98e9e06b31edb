//! Folding readings into windows: a pure function of the records and the configuration.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod base;
pub mod block;
pub mod column;
pub mod fold;
pub mod gpu;
pub mod journal;
pub mod partition;
pub mod reading;
pub mod render;
pub mod row;
pub mod scan;
pub mod snapshot;
pub mod time_text;
pub mod window;
pub mod wire;
