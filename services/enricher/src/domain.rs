//! Pure logic: bytes in, bytes out.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod asset_table;
pub mod dead_letter;
pub mod enrich;
pub mod ingest_day;
pub mod warranty;
