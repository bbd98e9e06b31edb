//! The service as a process, on a real broker and a real PostgreSQL.
#![expect(
    clippy::float_cmp,
    reason = "a value is stored bit for bit, and counts are whole numbers"
)]

#[cfg(test)]
mod bad_rows;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod overview;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod service;
#[cfg(test)]
mod start;
#[cfg(test)]
mod upkeep;
