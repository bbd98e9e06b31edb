//! The stage as its users see it: laws against the oracle, golden files, and the service on a real broker.

mod broker;
mod golden;
mod laws;
mod records;
