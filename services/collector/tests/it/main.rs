//! The collector against real endpoints and a real broker.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on ends here and says where"
)]

mod collector;
mod counters;
mod discovery;
mod endpoints;
mod kafka;
mod simulator;
