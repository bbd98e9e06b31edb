//! What is stored, and how: pure functions of records, offsets and times.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod assignment;
pub mod batch;
pub mod bisect;
pub mod calendar;
pub mod copy;
pub mod decode;
pub mod description;
pub mod letter;
pub mod offsets;
pub mod statements;
pub mod table;
