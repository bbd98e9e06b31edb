//! The validator from outside: its stage driven without a broker, and the running service with one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends here and says why"
)]

mod broker;
mod golden;
mod properties;
