//! The stage, driven without a broker.

mod absence;
mod faults;
mod golden;
mod laws;
mod noise;
mod script;
mod state;
