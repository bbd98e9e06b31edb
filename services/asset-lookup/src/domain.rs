//! What an asset may be, and how it is read from CSV and JSON. Pure.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod draft;
pub mod field;
pub mod json_rows;
pub mod page;
pub mod rows;
