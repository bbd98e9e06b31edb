//! The collector against real endpoints and a real broker.

mod collector;
mod counters;
mod discovery;
mod endpoints;
mod kafka;
mod simulator;
