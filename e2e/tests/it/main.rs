//! The fleet as its user sees it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on ends here, and shows what the services logged"
)]

mod manifests;
mod pipeline;
mod spec;
mod tidy;
