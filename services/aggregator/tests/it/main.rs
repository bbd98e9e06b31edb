//! The stage as its users see it: laws against the oracle, golden files, and the service on a real broker.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends here and says why"
)]

mod broker;
mod golden;
mod laws;
mod records;
