//! Pure logic: bytes in, bytes out.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros
)]

pub mod asset_table;
pub mod enrich;
pub mod ingest_day;
pub mod warranty;
