//! What is rendered from the catalogue and committed is what the catalogue says now; and a real broker takes it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on ends here")]

mod broker;
mod rendered;
